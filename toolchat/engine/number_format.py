"""In which number format a model runs on a CPU: float32 where the CPU has no bfloat16 arithmetic.

vLLM's `auto` takes the format of the weights, bfloat16. On a CPU that has to imitate it, a prompt of 400 tokens took
5 to 15 s against 1.4 to 2.0 in float32, and a whole question 29.7 s against 18.4 (two cores with AVX2 alone); with
AVX512-BF16 it is the other way round (0.7 s against 1.2, a token 31 ms against 55).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

MEASURED = "measured"
"""The worker is to find out by `measure`, since the CPU's flags do not tell."""

HAVE = frozenset({"avx512_bf16", "amx_bf16"})
"""Linux's names for bfloat16 arithmetic on x86-64; vLLM's own kernels ask for the first."""
UNSURE = frozenset({"avx_ne_convert"})
"""Converts bfloat16 without computing in it: whether that is enough depends on the kernels."""


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's features as Linux names them; empty where they cannot be read."""
    try:
        found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found.group(1).split()) if found else frozenset()


def by_flags(flags: frozenset[str]) -> str:
    """What suits a CPU with these flags: "auto" (the weights' own format), "float32", or `MEASURED`."""
    if flags & HAVE:
        return "auto"
    if not flags or flags & UNSURE:
        return MEASURED
    return "float32"


def settled(dtype: str) -> str:
    """`dtype`, or what `measure` finds where it is `MEASURED`."""
    return measure() if dtype == MEASURED else dtype


def measure(seconds: float = 0.5) -> str:
    """ "auto" or "float32", whichever multiplies matrices of a small model's prefill sooner here. Imports torch."""
    import torch

    best: dict[str, float] = {}
    for name, dtype in (("auto", torch.bfloat16), ("float32", torch.float32)):
        rows, weights = torch.ones(128, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        torch.nn.functional.linear(rows, weights)  # the first call also chooses a kernel
        until = time.monotonic() + seconds / 2
        best[name] = float("inf")
        while True:
            began = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            best[name] = min(best[name], time.perf_counter() - began)
            if time.monotonic() > until:
                break
    return "float32" if best["float32"] < best["auto"] else "auto"
