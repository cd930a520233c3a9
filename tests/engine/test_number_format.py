from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toolchat.engine import number_format
from toolchat.engine.number_format import MEASURED, by_flags, cpu_flags, settled


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


@pytest.mark.process
def test_a_measurement_chooses_one_of_the_two() -> None:
    pytest.importorskip("torch")
    code = "from toolchat.engine.number_format import measure; print(measure(0.1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("auto", "float32")
