"""Computes whether a model fits a memory, which flags would make it fit, and what share of a GPU vLLM may take.

The numbers are estimates from the files' sizes; what a GPU really has left is measured by vLLM. Nothing here asks the
GPU. vLLM checks at its start that its share of the *whole* card is free, whether or not the cache's size is given, and
its default share, 0.92, is never free on a card that also drives a screen (vllm/v1/worker/utils.py, `request_memory`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolchat.engine.gpu import GIB
from toolchat.wire.errors import EngineError

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

MOST = 0.92
"""vLLM's default share of the card; the rest is for CUDA's context and for what vLLM's profiling does not see."""
MARGIN = 0.02
"""Share of the card that stays free, since a desktop may take more between our measurement and vLLM's."""
LEAST_MARGIN = GIB // 4
"""The same in bytes, at least."""
OVERHEAD = int(1.5 * GIB)
"""Estimate for activations, CUDA's context and CUDA graphs. Measured on an H100 for a model of four layers: 0.4 GiB."""
VISION_ENCODER = 800_000_000
"""Bytes of the image encoder of Mistral's vision models: 0.4 billion parameters of 16 bits, by their cards."""
USEFUL = GIB // 2
"""Least bytes for a context: 4,000 to 5,000 tokens of a model of 3 to 8 billion parameters."""


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


def granted(free: int, total: int) -> int:
    """The bytes that the engine takes of a card of `total` bytes if nothing else is asked for; 0 or less for none."""
    return int(min(MOST * total, free - max(LEAST_MARGIN, MARGIN * total)))


def left_for_context(weights: int, free: int, total: int, *, text_only: bool = False) -> int:
    """The bytes that a model with `weights` bytes leaves for its context, by estimate; negative if it does not fit.

    With `text_only`, `weights` includes an image encoder that is not loaded.
    """
    return granted(free, total) - (weights - VISION_ENCODER if text_only else weights) - OVERHEAD


def useful(need: Need, context: int, chats: int) -> int | None:
    """The bytes that a model uses at most, with `chats` chats of `context` tokens at once; None if that is not known.

    The engine takes no more, so that a small model on a large card leaves the rest to others. The estimate of what is
    beside weights and cache is taken twice: too little would end the start.
    """
    if not (need.per_token and need.weights):
        return None
    return need.weights + 2 * OVERHEAD + chats * need.per_token * context


def budget(free: int, total: int, asked: float | None = None, held_by: str = "", enough: int | None = None) -> float:
    """The share of a card of `total` bytes, `free` of them free, that vLLM is given (`gpu_memory_utilization`).

    `asked` is --gpu-memory: up to 1 a share of the card, above it GiB. `held_by` names the programs that hold the rest,
    as far as the driver lists them. `enough` is the result of `useful`. Raises EngineError if what was asked for is not
    free, or nothing is.
    """
    if total <= 0:
        raise EngineError("the GPU reports no memory of its own; name another with CUDA_VISIBLE_DEVICES")
    holders = _holders(held_by)
    if asked is not None:
        wanted = asked * total if asked <= 1 else asked * GIB
        if wanted > total:
            raise EngineError(f"--gpu-memory {asked:g}: the GPU has {total / GIB:.1f} GiB; ask for less")
        if wanted > free:
            raise EngineError(
                f"--gpu-memory {asked:g}: {wanted / GIB:.1f} GiB of the GPU are asked for and {free / GIB:.1f} of "
                f"{total / GIB:.1f} GiB are free{holders}; close what holds them, or ask for less"
            )
        # Rounded down: vLLM rounds its share of the bytes up.
        return max(int(wanted / total * 10_000 - 1) / 10_000, 0.0001)
    share = granted(free, total) / total
    if enough is not None:
        share = min(share, enough / total)
    if share <= 0:
        raise EngineError(
            f"only {free / GIB:.1f} of the GPU's {total / GIB:.1f} GiB are free{holders}; close what holds them, "
            "name another GPU with CUDA_VISIBLE_DEVICES, or use the CPU: make EXTRA=cpu install"
        )
    # The epsilon keeps 0.92 of a free card from becoming 0.9199.
    return int(share * 10_000 + 1e-3) / 10_000


def context_beside(need: Need, free: int, total: int) -> int:
    """The tokens of context that the memory left beside the weights holds, by estimate; 0 where that is not known."""
    return max(0, left_for_context(need.weights, free, total) // need.per_token) if need.per_token else 0


def little_left(model: str, need: Need, total: int) -> str:
    """A warning if `need` leaves little of a free GPU of `total` bytes for a context; "" if it leaves enough."""
    left = left_for_context(need.weights, total, total)
    enough = need.chat if need.context_asked else min(need.chat or USEFUL, USEFUL)
    if left >= enough:
        return ""
    tokens = f" of {context_beside(need, total, total)} tokens" if need.per_token else ""
    return (
        f"{model} will hardly fit this GPU: its weights take {need.weights / GIB:.1f} of {total / GIB:.1f} GiB, "
        f"which leaves {max(0, left) / GIB:.1f} GiB for a context{tokens}; {need.remedy(granted(total, total))} "
        "(docs/engines.md)"
    )


def check_fits(model: str, need: Need, share: float, total: int, free: int, held_by: str = "") -> None:
    """Raise EngineError if the weights and the cache of one chat exceed the budget: such a model cannot load.

    vLLM measures whether the rest fits (activations, CUDA graphs); what it takes is an estimate here, and counts only
    for the flags that are offered.
    """
    budgeted = share * total
    least = need.weights + need.chat
    if least < budgeted:
        return
    what = f"its weights take {need.weights / GIB:.1f} GiB"
    # A chat is told of only where it decides: without one the weights would do.
    what += f" and a chat of {need.context} tokens {gib(need.chat)}" if need.weights < budgeted else ""
    if least < MOST * total:
        raise EngineError(
            f"not enough GPU memory for {model}: {what}, and {free / GIB:.1f} of "
            f"{total / GIB:.1f} GiB are free{_holders(held_by)}, {budgeted / GIB:.1f} of them for the engine; "
            f"close what holds them, or {need.remedy(int(budgeted))}"
        )
    raise EngineError(
        f"{model} does not fit this GPU: {what}, and the GPU has {total / GIB:.1f} GiB; "
        f"{need.remedy(int(MOST * total))} (docs/engines.md), or one GPU that is larger"
    )


def _holders(held_by: str) -> str:
    # The driver lists the programs that compute; those that draw on a screen hold memory without being listed.
    return f" (held by {held_by or 'no program that the driver lists: perhaps by the desktop'})"
