"""Links in the cache of the Hugging Face hub, which others may write in: nothing elsewhere is deleted or emptied."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchat.models import hub, hub_cache, parts
from toolchat.wire.errors import EngineError

SHA = "a" * 64


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One model of which a blob is cut off, and a snapshot that links to it."""
    repository = tmp_path / "hub" / "models--a--b"
    for name in ("blobs", "snapshots/abc", "refs"):
        (repository / name).mkdir(parents=True)
    (repository / "blobs" / SHA).write_text("cut off")
    return repository


def discarded(repository: Path) -> None:
    hub_cache.discard_damaged(repository / "snapshots" / "abc")


def test_a_damaged_file_is_deleted_with_its_blob(repository: Path) -> None:
    link = repository / "snapshots/abc/consolidated.safetensors"
    link.symlink_to(f"../../blobs/{SHA}")
    discarded(repository)
    assert not link.is_symlink()
    assert not (repository / "blobs" / SHA).exists()


@pytest.mark.parametrize(
    ("way", "target"),
    [
        ("{outside}/{target}", "thesis.txt"),
        ("{outside}/{target}", SHA),
        ("../../../../outside/{target}", "thesis.txt"),
        ("../../blobs/{target}", "thesis.txt"),
    ],
)
def test_a_link_in_the_hubs_cache_deletes_no_file_of_the_users(repository: Path, way: str, target: str) -> None:
    outside = repository.parent.parent / "outside"
    outside.mkdir()
    (outside / target).write_text("my thesis")
    if "blobs" in way:  # the folder of blobs is itself a link
        (repository / "blobs" / SHA).unlink()
        (repository / "blobs").rmdir()
        (repository / "blobs").symlink_to(outside)
    (repository / "snapshots/abc/consolidated.safetensors").symlink_to(way.format(outside=outside, target=target))
    discarded(repository)
    assert (outside / target).read_text() == "my thesis"


def test_a_snapshot_that_is_a_link_to_a_folder_of_the_users_loses_nothing(repository: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "consolidated.safetensors").write_text("cut off")
    (repository / "snapshots/abc").rmdir()
    (repository / "snapshots/abc").symlink_to(own)
    discarded(repository)
    assert (own / "consolidated.safetensors").exists()


@pytest.mark.parametrize("name", ["unfinished", "journal"])
def test_a_download_empties_no_file_that_a_link_leads_to(tmp_path: Path, name: str) -> None:
    file = parts.LargeFile(tmp_path / "blobs" / SHA, 10, SHA, tmp_path / "lock")
    precious = tmp_path / "thesis.txt"
    precious.write_text("my thesis!")
    file.destination.parent.mkdir()
    file.journal.write_text(f"10 {parts.PART}\n0 10\n")
    file.unfinished.write_text("0123456789")
    assert parts.bytes_there(file) == 10
    link = getattr(file, name)
    link.unlink()
    link.symlink_to(precious)
    assert parts.bytes_there(file) == 0
    parts._begin(file)
    assert precious.read_text() == "my thesis!"
    assert not link.is_symlink()


def test_a_repository_that_is_a_link_is_told_and_not_deleted(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_cache, "cache_root", lambda: tmp_path / "hub")
    documents = tmp_path / "documents"
    documents.mkdir()
    (tmp_path / "hub" / "models--c--d").symlink_to(documents)
    with pytest.raises(EngineError) as caught:
        hub.remove("c/d")
    link = tmp_path / "hub" / "models--c--d"
    assert str(caught.value) == f"c/d: {link} is a link to {documents}; delete that folder and the link"
    assert documents.is_dir()
