"""Reads what the Hugging Face hub's cache on this disk holds, by its documented layout. Uses no network.

`models--OWNER--NAME/` holds `refs/main` (a commit), `snapshots/COMMIT/` (links into `blobs/`), and in
`.no_exist/COMMIT/` an empty file for each that the repository is known not to have.
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchat.engine.params import CONFIG, PARAMS
from toolchat.models.files import OPTIONAL, damaged, damaged_weights, lacking
from toolchat.private_file import OPEN, make_folder, read_file
from toolchat.wire.errors import EngineError

_ASKED = ".toolchat-asked"
"""Touched in a repository's folder when its small files were asked for in vain."""
_MAX_REF = 4096
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""The name of a blob: the SHA-1 or SHA-256 of what it holds."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ASK_AGAIN = 24 * 3600.0
"""Seconds until a repository is asked again: without a network each start would wait for that."""


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str
    folder: Path
    bytes: int
    """What it takes of the disk, unfinished files included."""
    lacks: str
    """What is missing of it or damaged, for people; empty where it is whole."""


def cache_root() -> Path | None:
    """The hub's cache, by the hub's own variables; None without its library."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return None
    return Path(HF_HUB_CACHE)


def repository_folder(root: Path, name: str) -> Path:
    return root / f"models--{name.replace('/', '--')}"


def snapshot(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model's files, of which some may be missing; None where there is none.

    `revision` is a branch, a tag or a commit; None for the main branch, or the newest that is here.
    """
    root = cache_root()
    return _snapshot(repository_folder(root, name), revision) if root is not None else None


def missing_of(folder: Path) -> str:
    """What a snapshot lacks or has damaged, for people; empty where it is a whole model."""
    try:
        return lacking(folder) or damaged(folder)
    except EngineError as error:
        return str(error).removeprefix(f"{folder}/")
    except OSError as error:
        return error.strerror or str(error)


def what_is_here(name: str, revision: str | None = None) -> str:
    """Begins a line about a model that is not whole: "NAME: not on this machine", or which part of it is."""
    folder = snapshot(name, revision)
    at = f" (revision {revision})" if revision else ""
    return f"{name}{at}: " + (
        f"only a part of it is on this machine (missing: {missing_of(folder)})" if folder else "not on this machine"
    )


def whole(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is here, and whole."""
    folder = snapshot(name, revision)
    return folder if folder is not None and not missing_of(folder) else None


def discard_damaged(folder: Path) -> None:
    """Delete what is damaged of a snapshot's weights, so that it is fetched again. Raises OSError."""
    for path in damaged_weights(folder):
        discard(path, folder.parent.parent)


def discard(path: Path, repository: Path) -> None:
    """Delete a file in the folder of a repository, and the blob that it links to. Raises OSError.

    Links may lead anywhere: nothing is deleted in folders outside, and of what a link leads to only a blob.
    """
    if not path.parent.resolve().is_relative_to(repository.resolve()):
        return
    blob = (path.parent / path.readlink()) if path.is_symlink() else None
    path.unlink(missing_ok=True)
    if blob is not None and _BLOB.fullmatch(blob.name) and blob.parent.resolve() == (repository / "blobs").resolve():
        blob.unlink(missing_ok=True)


def wants_small_files(folder: Path) -> bool:
    """Whether a snapshot lacks a file that a model can do without, and its repository has not been asked for it, nor
    lately in vain. Other programs, and versions of toolchat before, fetched fewer of them."""
    repository = folder.parent.parent
    absent = repository / ".no_exist" / folder.name
    if all((folder / name).is_file() or (absent / name).is_file() for name in OPTIONAL):
        return False
    try:
        return time.time() - (repository / _ASKED).stat().st_mtime > _ASK_AGAIN
    except OSError:
        return True


def note_asked(folder: Path, *, answered: bool) -> None:
    """Remember that a snapshot's repository was asked for the files that a model can do without.

    `answered`: it has none of those that are not here; else it did not say.
    """
    repository = folder.parent.parent
    absent = repository / ".no_exist" / folder.name
    missing = [absent / name for name in OPTIONAL if not (folder / name).is_file()]
    with suppress(OSError):
        for note in missing if answered else [repository / _ASKED]:
            make_folder(note.parent, OPEN)
            note.touch()


def note_commit(root: Path, name: str, revision: str | None, commit: str) -> None:
    """Write down which commit a branch or tag is, as the hub's library does where it is asked for one. Raises OSError.

    By this the other readers of the cache find the model. A revision that is a commit needs no note.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return
    note = repository_folder(root, name) / "refs" / (revision or "main")
    if ".." in note.parts:
        return
    with suppress(OSError, UnicodeDecodeError):
        if read_file(note, _MAX_REF).decode() == commit:
            return
    make_folder(note.parent, OPEN)
    made = note.with_name(f".{note.name}.{os.getpid()}")
    made.write_text(commit, encoding="ascii")
    made.replace(note)


def models() -> Iterator[CachedModel]:
    """The models that the cache holds and toolchat can load, whole or not."""
    root = cache_root()
    if root is None or not root.is_dir():
        return
    for repository in sorted(root.glob("models--*")):
        folder = _snapshot(repository)
        # Others' models are not listed. A link that leads nowhere counts: the file is to be fetched again.
        if folder is None or not _is_ours(folder):
            continue
        name = repository.name.removeprefix("models--").replace("--", "/", 1)
        yield CachedModel(name, folder, _disk_bytes(repository), missing_of(folder))


def _is_ours(folder: Path) -> bool:
    """Whether a snapshot is of a model in Mistral's format, or has a tokenizer that mistral_common reads."""
    if os.path.lexists(folder / PARAMS):
        return True
    return os.path.lexists(folder / CONFIG) and any(
        path.name == "tekken.json" or path.name.startswith("tokenizer.model.v") for path in folder.iterdir()
    )


def _snapshot(repository: Path, revision: str | None = None) -> Path | None:
    folders = repository / "snapshots"
    if revision is not None and _COMMIT.fullmatch(revision):
        return folders / revision if (folders / revision).is_dir() else None
    named = repository / "refs" / (revision or "main")
    if ".." in named.parts:
        return None
    with suppress(OSError, UnicodeDecodeError):
        commit = read_file(named, _MAX_REF).decode().strip()
        if commit and "/" not in commit and (folders / commit).is_dir():
            return folders / commit
    if revision is not None:
        return None
    with suppress(OSError):
        # Fetched by commit, as some programs do: the newest.
        found = [path for path in folders.iterdir() if path.is_dir()]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)
    return None


def _disk_bytes(repository: Path) -> int:
    total = 0
    for part in ("blobs", "snapshots"):
        for path in (repository / part).rglob("*"):
            with suppress(OSError):
                found = path.stat() if part == "blobs" else path.lstat()
                if not path.is_dir() and not (part == "snapshots" and path.is_symlink()):
                    # Blocks: an unfinished file is as long as it will be, and takes what it holds.
                    total += found.st_blocks * 512
    return total
