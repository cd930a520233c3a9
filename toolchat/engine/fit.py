"""Estimates whether a model and the cache of one chat fit a memory, and which flags would make them fit.

The numbers are estimates from the files' sizes; what a GPU really has left is measured by vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolchat.engine.gpu import GIB

ONE_CHAT = 4096
"""Tokens of context that a short chat with a few tools takes."""
LEAST_CONTEXT = 1024
"""Tokens; with fewer, tools and a question hardly fit."""
FP8_CAPABILITY = (8, 9)
"""Ada. From here on vLLM computes and caches in FP8 on a GPU (`supports_fp8`)."""
FP8_CACHE_FLAG = "--engine-arg kv_cache_dtype=fp8"
FP8_WEIGHTS = "fp8_per_tensor"
"""vLLM's name for weights of 16 bits that are quantised while they are loaded, layer by layer."""
ONLINE = {
    FP8_WEIGHTS: 0.5,
    "fp8_per_block": 0.5,
    "fp8_per_channel": 0.5,
    "int8_per_channel_weight_only": 0.5,
    "mxfp8": 0.52,
    "nvfp4_per_token": 0.3,
}
"""vLLM's methods that quantise weights of 16 bits while they are loaded, and the share of the bytes that is left."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a model and one chat take of a memory, in bytes, and what could make it less."""

    weights: int
    per_token: int = 0
    """Keys and values of one token; 0 where the model's files do not say."""
    context: int = ONE_CHAT
    """Tokens of the chat."""
    context_asked: bool = False
    """Whether a smaller --context would make the cache smaller."""
    other: int = 0
    """Activations, the engine itself, CUDA graphs."""
    encoder: int = 0
    """Of the weights, the image encoder, which --text-only leaves out."""
    unquantized: int = 0
    """Of the weights, those of 16 bits that FP8 would halve; 0 where they are quantised or the device has no FP8."""
    fp8_cache: bool = False
    """Whether the device has an FP8 cache that is not in use."""
    smaller: str = ""
    """A quantised repository of the same model."""

    @property
    def chat(self) -> int:
        """Bytes of the keys and values of one chat."""
        return self.per_token * self.context

    @property
    def total(self) -> int:
        return self.weights + self.chat + self.other

    def flags_that_fit(self, memory: int) -> str:
        """Flags with each of which the model would fit `memory`, for people; else all of them together, else "".

        "--context 2048 or --text-only", "--text-only with --quantization fp8_per_tensor".
        """
        ways = list(self._ways())
        single = [flag for flag, less in ways if less.total <= memory]
        if context := self._context_in(memory):
            single.insert(0, f"--context {context}")
        if single:
            return " or ".join(single)
        both, flags = self, []
        for flag, _ in ways:
            both = next(less for other, less in both._ways() if other == flag)
            flags.append(flag)
            if both.total <= memory:
                return " with ".join(flags)
            if context := both._context_in(memory):
                return " with ".join([*flags, f"--context {context}"])
        return ""

    def remedy(self, memory: int) -> str:
        """What to do where the model does not fit `memory`, in a clause."""
        flags = self.flags_that_fit(memory)
        return f"{flags} would make it fit, or take {self._other()}" if flags else f"take {self._other()}"

    def savings(self) -> str:
        """What to do where the memory does not suffice and nobody knows by how much, in a clause."""
        flags = [flag for flag, _ in self._ways()] + ["a smaller --context"] * (self.per_token > 0)
        return f"try {' or '.join(flags)}, or take {self._other()}" if flags else f"take {self._other()}"

    def _other(self) -> str:
        return f"a quantised repository of it (--model {self.smaller})" if self.smaller else "a smaller model"

    def _ways(self) -> Iterator[tuple[str, Need]]:
        """Each flag that makes less of it, with what is needed then."""
        if self.encoder:
            yield "--text-only", replace(self, weights=self.weights - self.encoder, encoder=0)
        if self.fp8_cache and self.per_token:
            yield FP8_CACHE_FLAG, replace(self, per_token=self.per_token // 2, fp8_cache=False)
        if self.unquantized:
            less = self.weights - self.unquantized // 2
            yield f"--quantization {FP8_WEIGHTS}", replace(self, weights=less, unquantized=0)

    def _context_in(self, memory: int) -> int:
        """The context that would fit, in whole 512 tokens; 0 where it makes no difference or would be of no use."""
        if not (self.context_asked and self.per_token):
            return 0
        tokens = (memory - self.weights - self.other) // self.per_token // 512 * 512
        return tokens if LEAST_CONTEXT <= tokens < self.context else 0


def gib(count: float) -> str:
    """ "13.5 GiB"; two digits after the point below 1."""
    return f"{count / GIB:.2f} GiB" if count < GIB else f"{count / GIB:.1f} GiB"


def loaded_bytes(on_disk: int, quantization: str | None, params: dict[str, object]) -> int:
    """The bytes that weights of `on_disk` bytes take once they are loaded with --quantization `quantization`.

    vLLM's online methods leave embeddings and the output layer in 16 bits.
    """
    share = ONLINE.get(quantization or "")
    if share is None:
        return on_disk
    kept = min(on_disk, embedding_bytes(params))
    return kept + int((on_disk - kept) * share)


def embedding_bytes(params: dict[str, object]) -> int:
    """Bytes of embeddings and output layer in 16 bits; 0 where the parameters do not say."""
    words, dim = params.get("vocab_size"), params.get("dim")
    return 2 * 2 * words * dim if isinstance(words, int) and isinstance(dim, int) else 0
