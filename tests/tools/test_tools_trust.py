from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.tools.load import sample_tools_path
from toolchat.tools.trust import TrustStore, describe, fingerprint, is_samples_only
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


def test_the_samples_alone_need_no_consent(project: Path) -> None:
    assert is_samples_only(sample_tools_path())
    assert not is_samples_only(project / "tools.yaml")


def test_nothing_is_imported_to_decide(project: Path) -> None:
    before = set(sys.modules)
    is_samples_only(project / "tools.yaml")
    fingerprint(project / "tools.yaml")
    assert describe(project / "tools.yaml") == [
        "trust_tools:greet",
        "pack.inner.deep:dig",
        "toolchat.samples.weather:get_current_weather",
        "math:sqrt",
    ]
    assert not any(name.startswith(("trust_", "pack")) for name in set(sys.modules) - before)


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
    assert not store.is_trusted(path)
    store.trust(path)
    assert store.is_trusted(path)
    change(project)
    assert not store.is_trusted(path)
    store.trust(path)
    assert store.is_trusted(path)


@pytest.mark.parametrize("change", [append("trust_other.py"), add("notes.txt"), add("data.json")])
def test_trust_outlives_changes_of_what_the_tools_do_not_reach(
    project: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    store = TrustStore(tmp_path / "state")
    store.trust(project / "tools.yaml")
    change(project)
    (project / "pack" / "__pycache__").mkdir()
    (project / "pack" / "__pycache__" / "deep.cpython-311.pyc").write_bytes(b"x")
    assert store.is_trusted(project / "tools.yaml")


def test_trust_is_for_one_path_however_it_is_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrustStore(tmp_path / "state")
    monkeypatch.chdir(project)
    store.trust(Path("tools.yaml"))
    (tmp_path / "link.yaml").symlink_to(project / "tools.yaml")
    assert store.is_trusted(project / "pack" / ".." / "tools.yaml")
    assert store.is_trusted(tmp_path / "link.yaml")
    copy = tmp_path / "copy"
    project.rename(copy)
    assert not store.is_trusted(copy / "tools.yaml")


def test_what_is_accepted_is_what_was_seen(project: Path, tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "state")
    seen = fingerprint(project / "tools.yaml")
    append("trust_helper.py")(project)
    store.trust(project / "tools.yaml", seen)
    assert not store.is_trusted(project / "tools.yaml")


def test_the_store_is_private_and_keeps_earlier_entries(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    other = tmp_path / "tools.yaml"
    other.write_text("version: 1\ntools: []\n")
    TrustStore(state).trust(project / "tools.yaml")
    TrustStore(state).trust(other)
    file = state / "trusted-tools.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert set(json.loads(file.read_text())["files"]) == {str(project / "tools.yaml"), str(other)}
    assert sorted(path.name for path in state.iterdir()) == ["trusted-tools.json", "trusted-tools.lock"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"version": 2, "files": {}}', b'{"version": 1, "files": 3}', b"\xff"]
)
def test_a_broken_store_trusts_nothing_and_is_mended(project: Path, tmp_path: Path, data: bytes) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "trusted-tools.json").write_bytes(data)
    store = TrustStore(state)
    assert not store.is_trusted(project / "tools.yaml")
    store.trust(project / "tools.yaml")
    assert store.is_trusted(project / "tools.yaml")


def test_a_state_folder_that_cannot_be_made_is_an_error_in_one_line(project: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(ToolchatError, match="cannot be written"):
        TrustStore(tmp_path / "state").trust(project / "tools.yaml")


def test_a_file_that_is_no_tools_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("version: [")
    for decide in (is_samples_only, fingerprint, describe, TrustStore(tmp_path).is_trusted):
        with pytest.raises(UsageError, match="not valid YAML"):
            decide(tmp_path / "tools.yaml")
