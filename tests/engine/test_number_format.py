from __future__ import annotations

from pathlib import Path

import pytest

from toolchat.engine.number_format import MEASURED, by_flags, cpu_flags


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
