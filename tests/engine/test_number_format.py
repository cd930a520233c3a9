from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.engine import number_format
from toolchat.engine.number_format import MEASURED, by_flags, cpu_flags, measure, settled


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ({"avx2"}, "float32"),
        ({"avx2", "avx512f", "avx512_vnni"}, "float32"),  # Cascade Lake
        ({"avx2", "avx512f", "avx512_bf16"}, "auto"),  # Zen 4, Cooper Lake
        ({"avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}, "auto"),  # Sapphire Rapids
        ({"avx2", "avx_vnni", "avx_ne_convert"}, MEASURED),
        (set(), MEASURED),
    ],
)
def test_the_format_follows_the_cpus_arithmetic(flags: set[str], dtype: str) -> None:
    assert by_flags(frozenset(flags)) == dtype


def test_flags_are_read_and_their_absence_is_no_failure(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    assert cpu_flags(cpuinfo) == frozenset()
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\nbugs\t\t: none\n")
    assert cpu_flags(cpuinfo) == {"fpu", "avx2", "fma"}


def test_what_the_flags_do_not_tell_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_format, "measure", lambda: "float32")
    assert settled(MEASURED) == "float32"
    assert settled("auto") == "auto"


@pytest.mark.parametrize(
    ("bfloat16", "float32", "dtype"), [(0.004, 0.001, "float32"), (0.001, 0.004, "auto"), (0.001, 0.001, "auto")]
)
def test_a_measurement_takes_the_format_that_multiplies_in_less_time(
    bfloat16: float, float32: float, dtype: str
) -> None:
    now = [0.0]
    calls: list[str] = []

    def multiplication(name: str) -> Callable[[], None]:
        def multiply() -> None:
            first, disturbed = name not in calls, len(calls) % 7 == 6
            calls.append(name)
            now[0] += (bfloat16 if name == "auto" else float32) + (1.0 if first else 0.03 if disturbed else 0.0)

        return multiply

    assert measure(multiplication, lambda: now[0], seconds=0.5) == dtype
    assert min(calls.count("auto"), calls.count("float32")) > 10
    # Half a second, two first calls, and the call that goes beyond each half.
    assert now[0] <= 2 + 0.5 + 2 * 0.04
