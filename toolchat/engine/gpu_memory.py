"""How much of a GPU's memory vLLM may take, decided from what is free. Numbers in, numbers out; touches no GPU.

vLLM checks at its start that its share of the *whole* card is free, whether or not the cache's size is given, and its
default share, 0.92, is never free on a card that also drives a screen (vllm/v1/worker/utils.py, `request_memory`).
"""

from __future__ import annotations

from toolchat.wire.errors import EngineError

GIB = 1024**3
MOST = 0.92
"""vLLM's own default: the rest is for CUDA's context and what its profiling does not see."""
LEAST_MARGIN = GIB // 4
BESIDE = int(1.5 * GIB)
"""What activations, CUDA's context and its graphs are reckoned with; not measured."""
VISION_ENCODER = 800_000_000
"""Bytes of the encoder of Mistral's models that see: 0.4 billion parameters of 16 bits, by their cards."""
USEFUL = GIB // 2
"""A cache of 4,000 to 5,000 tokens of a model of 3 to 8 billion parameters."""
MARGIN = 0.02
"""Of the card: left free for a desktop that takes a little more between our look and vLLM's."""


def budget(free: int, total: int, asked: float | None = None, held_by: str = "") -> float:
    """The share of a card of `total` bytes, `free` of them free, that vLLM is given (`gpu_memory_utilization`).

    `asked` is --gpu-memory: up to 1 a share of the card, above it GiB. `held_by` says who holds the rest, for people.
    Raises EngineError where what was asked for is not free, or nothing is.
    """
    if total <= 0:
        raise EngineError("the GPU reports no memory of its own; name another with CUDA_VISIBLE_DEVICES")
    holders = f" (held by {held_by})" if held_by else ""
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
    share = min(MOST, (free - max(LEAST_MARGIN, MARGIN * total)) / total)
    if share <= 0:
        raise EngineError(
            f"only {free / GIB:.1f} of the GPU's {total / GIB:.1f} GiB are free{holders}; close what holds them, "
            "name another GPU with CUDA_VISIBLE_DEVICES, or use the CPU: make EXTRA=cpu install"
        )
    return int(share * 10_000) / 10_000


def little_left(model: str, weights: int, total: int, *, text_only: bool = False) -> str:
    """What is to be said where `weights` bytes leave a GPU of `total` bytes little for a context; "" for nothing.

    With `text_only` the encoder for images is among `weights`, and is not loaded.
    """
    weights -= VISION_ENCODER if text_only else 0
    left = MOST * total - weights - BESIDE
    if left >= USEFUL:
        return ""
    return (
        f"{model} will hardly fit this GPU: its weights take {weights / GIB:.1f} of {total / GIB:.1f} GiB, "
        f"which leaves {max(0.0, left) / GIB:.1f} GiB for a context; a smaller model leaves more (docs/engines.md)"
    )


def check_weights(model: str, weights: int, share: float, total: int, free: int, held_by: str = "") -> None:
    """Raise EngineError where `weights` bytes alone exceed the budget: such a model cannot load.

    Whether the rest fits (activations, CUDA graphs, the KV cache of a useful context) is for vLLM to measure.
    """
    granted = share * total
    if weights < granted:
        return
    if weights < MOST * total:
        holders = f" (held by {held_by})" if held_by else ""
        raise EngineError(
            f"not enough GPU memory for {model}: its weights take {weights / GIB:.1f} GiB, and {free / GIB:.1f} of "
            f"{total / GIB:.1f} GiB are free{holders}, {granted / GIB:.1f} of them for the engine; "
            "close what holds them, or take a smaller model"
        )
    raise EngineError(
        f"{model} does not fit this GPU: its weights take {weights / GIB:.1f} GiB, and the GPU has "
        f"{total / GIB:.1f} GiB; take a smaller model (docs/engines.md), or one GPU that is larger"
    )
