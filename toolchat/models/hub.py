"""Models of the Hugging Face hub, in its own cache, which other programs share; only Mistral's format is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.models.files import NEEDED, check_folder
from toolchat.wire.errors import EngineError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def looks_like_repository(name: str) -> bool:
    """True for "owner/name"."""
    return _REPOSITORY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str
    folder: Path
    bytes: int


def cached(name: str) -> Path | None:
    """The folder of a model that was fetched before and is whole, without asking the network."""
    snapshot_download, _ = _hub()
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(NEEDED), local_files_only=True))
        check_folder(folder)
    except (EngineError, OSError, ValueError):
        # The hub's LocalEntryNotFoundError is an OSError (FileNotFoundError) too.
        return None
    return folder


def pull(name: str, *, bars: bool = True) -> Path:
    """Fetch a model, or what is missing of it. With `bars` the hub's own progress bars go to stderr; without, from then
    on in this process they never do.

    Raises EngineError where it does not exist, is not ours to read, has no Mistral format, or the network is away.
    """
    snapshot_download, errors = _hub()
    if not bars:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(NEEDED)))
    except errors.GatedRepoError:
        raise EngineError(
            f"{name}: its owner wants its terms accepted first, at https://huggingface.co/{name}; "
            "then log in with `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise EngineError(f"{name}: there is no such model on the Hugging Face hub, or it is private") from None
    except Exception as error:  # whatever HTTP library the hub uses in this version
        reason = (str(error).splitlines() or [""])[0][:200]
        raise EngineError(
            f"{name}: not on this machine, and the Hugging Face hub cannot be asked for it "
            f"({type(error).__name__}: {reason}); check the network and the name"
        ) from None
    check_folder(folder)
    return folder


def listing() -> Iterator[CachedModel]:
    """The whole models in Mistral's format that the hub's cache holds."""
    for repository in _repositories():
        for revision in sorted(repository.revisions, key=lambda item: -item.last_modified)[:1]:
            if any(file.file_name == "params.json" for file in revision.files):
                yield CachedModel(repository.repo_id, Path(revision.snapshot_path), repository.size_on_disk)


def remove(name: str) -> bool:
    """Delete all that the hub's cache holds of a model; False where it holds nothing."""
    from huggingface_hub import scan_cache_dir

    revisions = [
        revision.commit_hash
        for repository in _repositories()
        if repository.repo_id == name
        for revision in repository.revisions
    ]
    if not revisions:
        return False
    scan_cache_dir().delete_revisions(*revisions).execute()
    return True


def _repositories() -> list[Any]:
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return []
    try:
        return [item for item in scan_cache_dir().repos if item.repo_type == "model"]
    except CacheNotFound:
        return []


def _hub() -> tuple[Any, Any]:
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        from toolchat.models.hardware import INSTALL

        raise EngineError(f"models of the Hugging Face hub need its library; {INSTALL}") from None
    return snapshot_download, errors
