"""Chooses the number format of a model on a CPU: float32 if the CPU has no bfloat16 arithmetic.

vLLM's `auto` uses the format of the weights, bfloat16. On a CPU that emulates it, a prompt of 400 tokens took
5 to 15 s against 1.4 to 2.0 in float32, and a whole question 29.7 s against 18.4 (two cores with AVX2 alone); with
AVX512-BF16 it is the other way round (0.7 s against 1.2, a token 31 ms against 55).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

MEASURED = "measured"
"""The CPU's flags do not decide it: the worker calls `measure`."""

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Linux's flags for bfloat16 arithmetic on x86-64; vLLM's own kernels check for the first."""
CONVERTS_BFLOAT16 = frozenset({"avx_ne_convert"})
"""Flags for converting bfloat16 without computing in it. Whether that suffices depends on the kernels."""


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's features by Linux's names; empty if they cannot be read."""
    try:
        match = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(match.group(1).split()) if match else frozenset()


def by_flags(flags: frozenset[str]) -> str:
    """The format for a CPU with these flags: "auto" (that of the weights), "float32", or `MEASURED`."""
    if flags & BFLOAT16:
        return "auto"
    if not flags or flags & CONVERTS_BFLOAT16:
        return MEASURED
    return "float32"


def settled(dtype: str) -> str:
    """`dtype`, or the result of `measure` if it is `MEASURED`."""
    return measure() if dtype == MEASURED else dtype


def measure(
    multiplication: Callable[[str], Callable[[], object]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = 0.5,
) -> str:
    """ "auto" or "float32", whichever multiplies matrices of a small model's prefill in less time.

    `multiplication` returns the function that multiplies in "auto" (bfloat16) or in "float32"; torch's is the default.
    Its least time counts, of as many calls as fit into half of `seconds` by `clock`.
    """
    multiplication = multiplication or torch_multiplication
    least: dict[str, float] = {}
    for name in ("auto", "float32"):
        multiply = multiplication(name)
        multiply()  # the first call also chooses a kernel
        began = clock()
        until = began + seconds / 2
        while True:
            multiply()
            ended = clock()
            least[name] = min(least.get(name, ended - began), ended - began)
            if ended > until:
                break
            began = clock()
    return "float32" if least["float32"] < least["auto"] else "auto"


def torch_multiplication(name: str) -> Callable[[], object]:
    """A multiplication of a small model's prefill in bfloat16 ("auto") or float32. Imports torch."""
    import torch

    dtype = torch.bfloat16 if name == "auto" else torch.float32
    rows, weights = torch.ones(128, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
    return lambda: torch.nn.functional.linear(rows, weights)
