from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.samples import sample_tools_path
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.entry import SAMPLES
from toolchat.tools.local_modules import MAX_SOURCE
from toolchat.tools.trust import TrustStore
from toolchat.wire.errors import ToolchatError, UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "pack" / "inner").mkdir(parents=True)
    (folder / "tools.yaml").write_text(
        "version: 1\ntools:\n"
        "- callable: trust_tools:greet\n"
        "- callable: pack.inner.deep:dig\n"
        "- callable: toolchat.samples.weather:get_current_weather\n"
        "- callable: math:sqrt\n"
    )
    marker = "raise SystemExit('this module must not be imported')\n"
    (folder / "trust_tools.py").write_text(f"import trust_helper, os.path\nfrom trust_from import x\n{marker}")
    (folder / "trust_helper.py").write_text(marker)
    (folder / "trust_from.py").write_text(marker)
    (folder / "trust_other.py").write_text(marker)
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "inner" / "deep.py").write_text(marker)
    return folder


def trust(store: TrustStore, path: Path) -> None:
    store.trust(store.read(path), allows=False)


def is_trusted(store: TrustStore, path: Path) -> bool:
    code = store.read(path)
    accepted = store.accepted(code)
    return accepted is not None and accepted.files == code.contents()


def test_the_samples_alone_need_no_consent(project: Path) -> None:
    samples = read_code(sample_tools_path())
    assert samples.samples_only
    assert (samples.files, samples.reach) == ({}, {})
    assert {entry.callable_ref for entry in samples.entries()} == SAMPLES
    assert not read_code(project / "tools.yaml").samples_only


def test_nothing_is_imported_to_decide(project: Path) -> None:
    before = set(sys.modules)
    code = read_code(project / "tools.yaml")
    assert not code.samples_only
    assert [entry.callable_ref for entry in code.entries()] == [
        "trust_tools:greet",
        "pack.inner.deep:dig",
        "toolchat.samples.weather:get_current_weather",
        "math:sqrt",
    ]
    assert not any(name.startswith(("trust_", "pack")) for name in set(sys.modules) - before)


def test_each_callable_leads_to_its_own_files(project: Path) -> None:
    reach = read_code(project / "tools.yaml").reach
    names = {where: sorted(str(Path(file).relative_to(project)) for file in files) for where, files in reach.items()}
    assert names == {
        "trust_tools": ["trust_from.py", "trust_helper.py", "trust_tools.py"],
        "pack.inner.deep": ["pack/__init__.py", "pack/inner/deep.py"],
        "math": [],
    }


def test_code_comes_out_of_a_descriptor_as_it_went_in_and_cannot_be_changed_there(project: Path) -> None:
    code = read_code(project / "tools.yaml")
    descriptor = code.to_descriptor()
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        assert ToolsCode.from_descriptor(descriptor) == ToolsCode.from_descriptor(descriptor) == code
    finally:
        os.close(descriptor)


def test_a_file_too_long_to_be_read_is_one_line(project: Path) -> None:
    with (project / "trust_helper.py").open("r+b") as file:
        file.truncate(MAX_SOURCE + 1)
    with pytest.raises(ToolchatError, match=r"trust_helper\.py: is larger than 16 MiB; expected Python code") as caught:
        read_code(project / "tools.yaml")
    assert "\n" not in str(caught.value)


def append(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).open("a").write("# changed\n")


def add(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("")


@pytest.mark.parametrize(
    "change",
    [
        append("tools.yaml"),
        append("trust_tools.py"),
        append("trust_helper.py"),
        append("trust_from.py"),
        append("pack/__init__.py"),
        append("pack/inner/deep.py"),
        add("pack/new.py"),
        add("math.py"),
        add("trust_tools.so"),
        add("os.py"),
        lambda folder: (folder / "trust_from.py").rename(folder / "trust_from2.py"),
    ],
)
def test_trust_ends_when_the_file_or_code_it_leads_to_changes(
    project: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    store = TrustStore(tmp_path / "state")
    path = project / "tools.yaml"
    assert not is_trusted(store, path)
    trust(store, path)
    assert is_trusted(store, path)
    change(project)
    assert not is_trusted(store, path)
    trust(store, path)
    assert is_trusted(store, path)


@pytest.mark.parametrize("change", [append("trust_other.py"), add("notes.txt"), add("data.json")])
def test_trust_outlives_changes_of_what_the_tools_do_not_reach(
    project: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    store = TrustStore(tmp_path / "state")
    trust(store, project / "tools.yaml")
    change(project)
    (project / "pack" / "__pycache__").mkdir()
    (project / "pack" / "__pycache__" / "deep.cpython-311.pyc").write_bytes(b"x")
    assert is_trusted(store, project / "tools.yaml")


def test_trust_is_for_one_path_however_it_is_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrustStore(tmp_path / "state")
    monkeypatch.chdir(project)
    trust(store, Path("tools.yaml"))
    (tmp_path / "link.yaml").symlink_to(project / "tools.yaml")
    assert is_trusted(store, project / "pack" / ".." / "tools.yaml")
    assert is_trusted(store, tmp_path / "link.yaml")
    copy = tmp_path / "copy"
    project.rename(copy)
    assert not is_trusted(store, copy / "tools.yaml")


def test_what_is_accepted_is_what_was_seen(project: Path, tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "state")
    seen = store.read(project / "tools.yaml")
    append("trust_helper.py")(project)
    store.trust(seen, allows=False)
    assert not is_trusted(store, project / "tools.yaml")


def test_the_store_is_private_and_keeps_earlier_entries(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    other = tmp_path / "tools.yaml"
    other.write_text("version: 1\ntools: []\n")
    trust(TrustStore(state), project / "tools.yaml")
    trust(TrustStore(state), other)
    file = state / "trusted-tools.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert set(json.loads(file.read_text())["files"]) == {str(project / "tools.yaml"), str(other)}
    assert sorted(path.name for path in state.iterdir()) == ["trusted-tools.json", "trusted-tools.lock"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 3, "files": {}}',
        b'{"version": 1, "files": {"x": "y"}}',
        b'{"version": 2, "files": 3}',
        b'{"version": 2, "files": {"x": 3}}',
        b"\xff",
    ],
)
def test_a_broken_store_trusts_nothing_and_is_mended(project: Path, tmp_path: Path, data: bytes) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "trusted-tools.json").write_bytes(data)
    store = TrustStore(state)
    assert not is_trusted(store, project / "tools.yaml")
    trust(store, project / "tools.yaml")
    assert is_trusted(store, project / "tools.yaml")


def test_a_state_folder_that_cannot_be_made_is_an_error_in_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(ToolchatError, match="cannot be written"):
        trust(TrustStore(tmp_path / "state"), project / "tools.yaml")


def test_a_file_that_is_no_tools_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("version: [")
    with pytest.raises(UsageError, match="not valid YAML"):
        TrustStore(tmp_path).read(tmp_path / "tools.yaml")
    (tmp_path / "tools.yaml").write_text("version: 2\ntools: []\n")
    with pytest.raises(UsageError, match="expected 1"):
        assert TrustStore(tmp_path).read(tmp_path / "tools.yaml").samples_only


def test_what_was_refused_is_asked_about_with_the_rest_until_it_is_gone(project: Path, tmp_path: Path) -> None:
    store, path = TrustStore(tmp_path / "state"), project / "tools.yaml"
    trust(store, path)
    store.refused(path, [str(project / "trust_other.py")])
    assert str(project / "trust_other.py") in store.read(path).files
    assert not is_trusted(store, path)
    trust(store, path)
    assert is_trusted(store, path)
    append("trust_other.py")(project)
    assert not is_trusted(store, path)
    (project / "trust_other.py").unlink()
    assert not is_trusted(store, path)
    trust(store, path)
    assert is_trusted(store, path)


@pytest.mark.parametrize("row", [3, {"files": 3}, {"files": {}, "allows": "yes"}, {"refused": 3}, {"refused": [3]}])
def test_a_broken_row_of_the_store_trusts_nothing(project: Path, tmp_path: Path, row: object) -> None:
    state = tmp_path / "state"
    state.mkdir()
    files = {str(project / "tools.yaml"): row}
    (state / "trusted-tools.json").write_text(json.dumps({"version": 2, "files": files}))
    store = TrustStore(state)
    assert not is_trusted(store, project / "tools.yaml")
    trust(store, project / "tools.yaml")
    assert is_trusted(store, project / "tools.yaml")
