from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchat.engine import gpu
from toolchat.engine.gpu import (
    GIB,
    MIB,
    Gpu,
    Holder,
    held_by,
    missing_to_compile,
    parse_gpus,
    parse_slices,
    unfit,
    visible,
)

TWO = """\
0, GPU-1111aaaa-0000, NVIDIA GeForce RTX 4090, 24564, 22100, 8.9, 580.65.06
1, GPU-2222bbbb-0000, NVIDIA GeForce GTX 1080, 8192, 8000, 6.1, 580.65.06
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a program of that name is found; none is there yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu.all_gpus.cache_clear()
    yield folder / "nvidia-smi"
    gpu.all_gpus.cache_clear()


def program(path: Path, *rows: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *rows]))
    path.chmod(0o755)


def test_a_listing_is_read_in_bytes_and_numbers() -> None:
    first, second = parse_gpus(TWO)
    assert first == Gpu(0, "GPU-1111aaaa-0000", "NVIDIA GeForce RTX 4090", 24564 * MIB, 22100 * MIB, (8, 9), 580)
    assert second.capability == (6, 1)


def test_what_the_driver_does_not_tell_is_none_and_other_lines_are_skipped() -> None:
    (only,) = parse_gpus("warning: infoROM is corrupted\n0, GPU-1, GB10, [N/A], [N/A], 12.1, 580.95\n")
    assert (only.total, only.free, only.capability) == (None, None, (12, 1))
    assert parse_gpus("Failed to initialize NVML: Driver/library version mismatch") == ()


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        (None, [0, 1]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-2222", [1]),
        ("GPU-", []),  # means two
        ("1,7,0", [1]),  # as CUDA has it: the list ends where an entry names no GPU
        ("7", []),
    ],
)
def test_cuda_visible_devices_chooses_as_cuda_does(chosen: str | None, indices: list[int]) -> None:
    assert [one.index for one in visible(parse_gpus(TWO), chosen)] == indices


SLICES = """\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1111aaaa-0000)
GPU 1: NVIDIA GeForce GTX 1080 (UUID: GPU-2222bbbb-0000)
  MIG 1g.5gb      Device  0: (UUID: MIG-5e-0)
  MIG 1g.5gb      Device  1: (UUID: MIG-5e-1)
"""


@pytest.mark.parametrize("chosen", ["MIG-5e-1", "MIG-GPU-2222bbbb-0000/7/0"])
def test_a_slice_of_a_gpu_has_the_properties_of_its_parent_and_unknown_memory(chosen: str) -> None:
    (slice_,) = visible(parse_gpus(TWO), chosen, slices=parse_slices(SLICES))
    assert (slice_.index, slice_.uuid, slice_.name) == (1, chosen, "NVIDIA GeForce GTX 1080 (MIG)")
    assert (slice_.total, slice_.free, slice_.capability, slice_.driver) == (None, None, (6, 1), 580)


def test_a_slice_of_unknown_parent_has_only_what_all_gpus_have_in_common() -> None:
    (slice_,) = visible(parse_gpus(TWO), "MIG-77", slices=parse_slices(SLICES))
    assert (slice_.index, slice_.capability, slice_.driver) == (None, None, 580)


@pytest.mark.process
def test_the_parents_of_slices_are_asked_of_the_driver(nvidia_smi: Path) -> None:
    program(nvidia_smi, f"if [ $1 = -L ]; then echo '{SLICES}'; else echo '{TWO}'; fi")
    (slice_,) = gpu.gpus({"CUDA_VISIBLE_DEVICES": "MIG-5e-0"})
    assert slice_.capability == (6, 1)


def test_a_number_in_another_order_than_nvidia_smis_stands_for_what_all_gpus_have_in_common() -> None:
    for chosen in (None, "0", "1"):
        first = visible(parse_gpus(TWO), chosen, "FASTEST_FIRST")[0]
        assert first == Gpu(None, "", "GPU", None, None, None, 580)
    alike = parse_gpus(TWO.replace("GTX 1080, 8192, 8000, 6.1", "RTX 4090, 24564, 9000, 8.9"))
    (first,) = visible(alike, "0", "FASTEST_FIRST")
    assert first == Gpu(None, "", "NVIDIA GeForce RTX 4090", 24564 * MIB, 9000 * MIB, (8, 9), 580)


def test_a_uuid_and_a_single_gpu_are_known_in_every_order() -> None:
    both = parse_gpus(TWO)
    assert visible(both, "GPU-2222", "FASTEST_FIRST") == (both[1],)
    assert visible(both[:1], None, "FASTEST_FIRST") == both[:1]
    assert [one.index for one in visible(both, "1,7", "FASTEST_FIRST")] == [None]


@pytest.mark.process
def test_the_order_of_the_users_environment_counts(nvidia_smi: Path) -> None:
    program(nvidia_smi, f"echo '{TWO}'")
    assert gpu.gpus({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})[0].total is None
    assert gpu.gpus({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})[0].total == gpu.gpus({})[0].total == 24564 * MIB


@pytest.mark.process
def test_the_gpu_that_cuda_measured_is_found_by_its_uuid(nvidia_smi: Path) -> None:
    program(nvidia_smi, f"echo '{TWO}'")
    found = gpu.with_uuid("2222bbbb-0000")
    assert found is not None
    assert found.index == 1
    assert gpu.with_uuid("3333") is None


@pytest.mark.process
def test_no_driver_and_a_driver_that_fails_are_no_gpu(nvidia_smi: Path) -> None:
    assert gpu.gpus() == ()
    gpu.all_gpus.cache_clear()
    program(nvidia_smi, "echo 'NVIDIA-SMI has failed'", "exit 9")
    assert gpu.gpus() == ()


@pytest.mark.process
def test_the_driver_is_asked_once(nvidia_smi: Path) -> None:
    program(nvidia_smi, f"echo x >> {nvidia_smi}.log", f"echo '{TWO}'")
    assert [one.index for one in gpu.gpus()] == [0, 1]
    assert [one.index for one in gpu.gpus({"CUDA_VISIBLE_DEVICES": "1"})] == [1]
    assert Path(f"{nvidia_smi}.log").read_text() == "x\n"


@pytest.mark.process
def test_who_holds_the_memory_is_told_by_size(nvidia_smi: Path) -> None:
    program(
        nvidia_smi, "echo '71, /usr/bin/python3, odd, 4096'", "echo '9, /opt/blender, 512'", "echo '5, Xorg, [N/A]'"
    )
    programs = gpu.holders(parse_gpus(TWO)[0])
    assert programs == (Holder(71, "python3, odd", 4 * GIB), Holder(9, "blender", GIB // 2), Holder(5, "Xorg", None))
    assert held_by(programs) == "python3, odd (pid 71, 4.0 GiB), blender (pid 9, 0.5 GiB), Xorg (pid 5)"
    assert held_by([*programs, programs[0]]).endswith("and 1 more")
    assert held_by([]) == ""


@pytest.mark.process
def test_who_asks_is_none_of_the_holders(nvidia_smi: Path) -> None:
    program(nvidia_smi, f"echo '{os.getpid()}, /usr/bin/python3, 400'", "echo '9, /opt/blender, 512'")
    assert [one.pid for one in gpu.holders(parse_gpus(TWO)[0])] == [9]


@pytest.mark.parametrize(
    ("capability", "driver", "cuda", "reason"),
    [
        ((8, 9), 580, 13, None),
        ((7, 5), 590, 13, None),
        ((7, 0), 580, 13, "compute capability 7.0, and vLLM's CUDA build needs 7.5"),
        ((8, 6), 570, 13, "the NVIDIA driver is 570, and vLLM's build for CUDA 13 needs 580"),
        ((8, 6), 550, 12, None),
        ((8, 6), 520, 12, "needs 525"),
        (None, None, 13, None),
    ],
)
def test_old_cards_and_drivers_are_told_with_the_remedy(
    capability: tuple[int, int] | None, driver: int | None, cuda: int, reason: str | None
) -> None:
    told = unfit(Gpu(0, "GPU-1", "card", None, None, capability, driver), cuda)
    assert (told is None) == (reason is None)
    if reason is not None:
        assert reason in (told or "")
        assert "make EXTRA=cpu install" in (told or "")


def test_a_compiler_and_python_headers_are_missed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    include = tmp_path / "python3.11"
    include.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no C compiler" in (missing_to_compile({}, include) or "")
    assert "CC=tcc is not found" in (missing_to_compile({"CC": "tcc -O1"}, include) or "")
    program(tmp_path / "gcc", "exit 0")
    assert "apt install python3.11-dev" in (missing_to_compile({}, include) or "")
    (include / "Python.h").touch()
    assert missing_to_compile({}, include) is None
