"""Computes how much of a GPU's memory vLLM may take, and what a model leaves of it for a context. Accesses no GPU.

vLLM checks at its start that its share of the *whole* card is free, whether or not the cache's size is given, and its
default share, 0.92, is never free on a card that also drives a screen (vllm/v1/worker/utils.py, `request_memory`).
"""

from __future__ import annotations

from toolchat.engine.fit import Need, gib
from toolchat.engine.gpu import GIB
from toolchat.wire.errors import EngineError

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
