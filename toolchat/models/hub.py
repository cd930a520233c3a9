"""Fetches models from the Hugging Face hub into the hub's own cache, shared with other programs.

Of a repository in both formats, Mistral's is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchat.engine.params import CONFIG, format_by
from toolchat.images.image import size_text
from toolchat.models import hub_cache, parts
from toolchat.models.files import (
    NEEDED,
    OPTIONAL,
    check_folder,
    is_first_vocabulary,
    is_weights,
    lacking_kinds,
    lacks_tokenizer,
    needed,
    only_bare_tokenizer,
)
from toolchat.models.hub_cache import CachedModel
from toolchat.models.hub_library import (
    Pace,
    amounts,
    free_bytes,
    library,
    offline,
    ranges,
    silence_bars,
    told,
    with_home,
    within,
)
from toolchat.models.origins import where_the_tokenizer_is
from toolchat.offline import remedy
from toolchat.wire.errors import EngineError

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole that is there, 0 to 1. What it raises stops it."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_LISTING_SECONDS = 10.0
_SMALL_FILES_SECONDS = 5.0
"""How long the hub may take for what a model can do without: to list it, and to send the next bytes of it."""
ASKING = "fetching, asking the hub"
"""The stage before it is known what there is to fetch."""
_NO_LISTING = (401, 403, 407, 429, 502, 503, 504)
"""Answers after which asking for the files themselves would be answered alike."""


@dataclass(frozen=True, slots=True)
class RemoteSize:
    """How large a model is on the hub, in bytes, and how much of it is here."""

    name: str
    weights: int
    other: int
    """What is fetched beside the weights."""
    cached: int
    """Of both together; parts of unfinished files count."""
    folder: Path
    """The hub's cache."""
    free: int | None
    """Of the disk that holds `folder`; None where it cannot be told."""

    @property
    def total(self) -> int:
        return self.weights + self.other

    @property
    def missing(self) -> int:
        return max(0, self.total - self.cached)

    def __str__(self) -> str:
        """ "14.5 GB to fetch into ~/.cache/huggingface/hub, 80 GB free"."""
        here = f" ({size_text(self.cached)} of {size_text(self.total)} are here)" if self.cached else ""
        free = f", {size_text(self.free)} free" if self.free is not None else ""
        return f"{size_text(self.missing)} to fetch into {with_home(self.folder)}{here}{free}"


Before = Callable[[RemoteSize], None]
"""Called once before the first byte of a download, where the hub says how large it is. What it raises stops it."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size: int
    sha256: str | None
    """Of a file in the hub's large-file storage; the name of its blob in the cache, too."""
    blob: str | None


@dataclass(frozen=True, slots=True)
class _Listing:
    commit: str
    files: tuple[_File, ...]
    """Those that are needed."""


def looks_like_repository(name: str) -> bool:
    """True for "owner/name"."""
    return _REPOSITORY.fullmatch(name) is not None


def cached(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is here and whole, without asking the network; of its main branch, or `revision`.

    None too where `pull` is to ask once for small files, which an earlier version did not fetch.
    """
    folder = hub_cache.whole(name, revision)
    if folder is None or (hub_cache.wants_small_files(folder) and _may_ask(folder)):
        return None
    return folder


def pull(name: str, report: Report | None = None, before: Before | None = None, revision: str | None = None) -> Path:
    """Fetch a model, or what is missing of it, and return its folder; of its main branch, or `revision`.

    An interrupted download, or one that what `report` raises has stopped, goes on where it stopped. Raises EngineError
    where the model does not exist, is not ours to read, is in neither format, does not fit the disk, or the network is
    away.
    """
    report = report or (lambda stage, fraction: None)
    if (folder := hub_cache.whole(name, revision)) is not None:
        _fetch_small_files(name, folder)
        return folder
    with told(name):
        if variable := offline():
            at = f" --revision {revision}" if revision else ""
            here = hub_cache.what_is_here(name, revision)
            raise EngineError(f"{here}, and {remedy(variable)}: toolchat models pull {name}{at}")
        report(ASKING, 0.0)
        silence_bars()
        listing = within(lambda: _remote_listing(name, revision), lambda _: report(ASKING, 0.0))
        if (folder := hub_cache.snapshot(name, revision)) is not None:
            hub_cache.discard_damaged(folder)
        if listing is None:
            folder = _by_library(name, report, revision)
        else:
            _discard_cut_off(name, listing)
            size = _size(name, listing)
            _require_room(size)
            if before is not None and size.missing:
                before(size)
            folder = _fetch(name, listing, size, report, revision)
        check_folder(folder)
        hub_cache.note_asked(folder, answered=True)
    return folder


def described(name: str, revision: str | None = None) -> tuple[set[str], Path | None]:
    """The names of a repository's files, and its config.json, whatever model it is; no weights are fetched.

    Raises EngineError where there is no such model for this user, or no hub.
    """
    folder = hub_cache.snapshot(name, revision)
    # What toolchat has fetched of a model of Mistral's may be a part of it; it fetches no tokenizer.json.
    if folder is not None and (offline() or (folder / "tokenizer.json").exists()):
        config = folder / CONFIG
        return {path.name for path in folder.iterdir()}, config if config.exists() else None
    with told(name):
        if variable := offline():
            raise EngineError(f"{name} is not on this machine, and {remedy(variable)}: toolchat models pull {name}")
        hub = library()
        silence_bars()
        info = hub.HfApi().model_info(name, revision=revision, timeout=_LISTING_SECONDS)
        names = {item.rfilename for item in info.siblings or ()}
        return names, Path(hub.hf_hub_download(name, CONFIG, revision=info.sha)) if CONFIG in names else None


def cached_models() -> Iterator[CachedModel]:
    """The models that the hub's cache holds and toolchat can load, whole or not."""
    return hub_cache.models()


def remove(name: str) -> bool:
    """Delete all that the hub's cache holds of a model; False where it holds nothing."""
    root = hub_cache.cache_root()
    if root is None or not looks_like_repository(name):
        return False
    repository = hub_cache.repository_folder(root, name)
    if not repository.is_dir():
        return False
    if repository.is_symlink():
        leads = with_home(repository.resolve())
        raise EngineError(f"{name}: {with_home(repository)} is a link to {leads}; delete that folder and the link")
    try:
        shutil.rmtree(repository)
    except OSError as error:
        raise EngineError(f"{name}: {error.filename} cannot be deleted: {error.strerror}") from None
    shutil.rmtree(root / ".locks" / repository.name, ignore_errors=True)
    return True


def _remote_listing(name: str, commit: str | None = None, seconds: float = _LISTING_SECONDS) -> _Listing | None:
    """The needed files of a repository at `commit` (None: its newest); None if the hub answers without sizes.

    Raises EngineError if there is no such model for this user, or no hub.
    """
    hub = library()
    with told(name):
        try:
            api = hub.HfApi()
            info = api.model_info(name, revision=commit, files_metadata=True, timeout=seconds)
            if info.gated:
                api.auth_check(name)
        except (hub.errors.GatedRepoError, hub.errors.RepositoryNotFoundError):
            raise
        except hub.errors.HfHubHTTPError as error:
            if error.response.status_code in _NO_LISTING:
                raise
            return None  # a mirror that knows only files, or a fault that may be the listing's alone
    names = {item.rfilename for item in info.siblings or ()}
    wanted = set(needed(names))
    found = [
        _File(item.rfilename, item.size, item.lfs.sha256 if item.lfs is not None else None, item.blob_id)
        for item in info.siblings or ()
        if item.rfilename in wanted
    ]
    if missing := lacking_kinds(wanted):
        lacks = ", ".join(missing)
        # What is fetched by hand is a folder, and the tokenizer can be put beside it.
        from_where = f"; {_by_hand(name)}" if len(missing) == 1 and lacks_tokenizer(lacks) else ""
        label = format_by(wanted).label
        raise EngineError(f"{name}: not a model in {label}: the repository lacks {lacks}{from_where}")
    if only_bare_tokenizer(wanted) and CONFIG in wanted:
        with told(name):
            config = Path(hub.hf_hub_download(name, CONFIG, revision=info.sha))
        if not is_first_vocabulary(config):
            raise EngineError(
                f"{name}: its tokenizer.model names no version, and mistral_common takes it as v1, without tools; "
                f"{_by_hand(name)}"
            )
    if info.sha is None or any(file.size is None for file in found):
        return None
    return _Listing(info.sha, tuple(found))


def _by_hand(name: str) -> str:
    """How a model without a tokenizer is made whole, as the end of a line."""
    folder = f"./{name.rpartition('/')[2]}"
    return (
        f"{where_the_tokenizer_is(name)} --local-dir {folder}, and hf download {name} --local-dir {folder}; "
        f"then --model {folder}"
    )


def _size(name: str, listing: _Listing) -> RemoteSize:
    root = hub_cache.cache_root()
    assert root is not None
    weights = sum(file.size for file in listing.files if is_weights(file.name))
    total = sum(file.size for file in listing.files)
    here = sum(_bytes_here(root, name, listing.commit, file) for file in listing.files)
    return RemoteSize(name, weights, total - weights, here, root, free_bytes(root))


def _discard_cut_off(name: str, listing: _Listing) -> None:
    """Delete the files whose size is not the one that they have on the hub: the library takes any that is there."""
    root = hub_cache.cache_root()
    assert root is not None
    repository = hub_cache.repository_folder(root, name)
    for file in listing.files:
        blob = file.sha256 or file.blob
        for path in (repository / "snapshots" / listing.commit / file.name, repository / "blobs" / (blob or "none")):
            if path.is_file() and path.stat().st_size != file.size:
                hub_cache.discard(path, repository)


def _bytes_here(root: Path, name: str, commit: str, file: _File) -> int:
    repository = hub_cache.repository_folder(root, name)
    blob = file.sha256 or file.blob
    if (repository / "snapshots" / commit / file.name).exists() or (blob and (repository / "blobs" / blob).exists()):
        return file.size
    return parts.bytes_there(_large(root, name, file)) if file.sha256 is not None else 0


def _large(root: Path, name: str, file: _File) -> parts.LargeFile:
    assert file.sha256 is not None
    repository = hub_cache.repository_folder(root, name)
    lock = root / ".locks" / repository.name / f"{file.sha256}.lock"
    return parts.LargeFile(repository / "blobs" / file.sha256, file.size, file.sha256, lock)


def _require_room(size: RemoteSize) -> None:
    if size.free is not None and size.missing > size.free:
        raise EngineError(
            f"{size.name}: the disk is too full: {size_text(size.missing)} are to be fetched into "
            f"{with_home(size.folder)}, and {size_text(size.free)} are free; make room, or set HF_HOME to a folder on "
            "another disk"
        )


def _fetch(name: str, listing: _Listing, size: RemoteSize, report: Report, revision: str | None) -> Path:
    # All of it at the commit that was listed: the branch may move on while the weights are on their way.
    hub = library()
    names = [file.name for file in listing.files]
    pace = Pace(size.total)

    def tell(stage: str, there: int) -> None:
        at = sum(count < file.size for file, count in ((file, done[file.name]) for file in listing.files))
        number = min(len(names), len(names) - at + 1)
        moving = pace.text(there) if stage == "fetching" else ""
        text = f"{stage} {amounts(there, size.total)}{moving}, file {number} of {len(names)}"
        report(text, min(1.0, there / max(1, size.total)))

    done = {file.name: _bytes_here(size.folder, name, listing.commit, file) for file in listing.files}
    tell("fetching", sum(done.values()))
    small = [file.name for file in listing.files if file.sha256 is None]
    if small:
        # First, so that the cache's other readers know the model while its weights are on their way.
        large = sum(done[file.name] for file in listing.files if file.sha256 is not None)
        within(
            lambda: hub.snapshot_download(name, revision=listing.commit, allow_patterns=small),
            lambda _: tell("fetching", large + sum(done[name] for name in small)),
            lambda: _blob_bytes(hub_cache.repository_folder(size.folder, name)),
        )
        hub_cache.note_commit(size.folder, name, revision, listing.commit)
    for file in listing.files:
        if file.sha256 is None or done[file.name] == file.size:
            done[file.name] = file.size
            continue
        elsewhere = sum(there for other, there in done.items() if other != file.name)

        def tell_file(stage: str, there: int, elsewhere: int = elsewhere, whole: int = file.size) -> None:
            if stage == "checking":
                report(f"checking {amounts(there, whole)}", (elsewhere + whole) / size.total)
            else:
                tell(stage, elsewhere + there)

        try:
            parts.fetch(_large(size.folder, name, file), ranges(name, listing.commit, file.name), tell_file)
        except parts.NoRangesError:
            return _by_library(name, report, listing.commit)
        except parts.DamagedError:
            raise EngineError(
                f"{name}: {file.name} came damaged from the hub (its SHA-256 is wrong), and is deleted; try again"
            ) from None
        done[file.name] = file.size
    # The library finds each file in its place, and links it.
    folder = Path(
        within(
            lambda: hub.snapshot_download(name, revision=listing.commit, allow_patterns=names),
            lambda _: tell("fetching", sum(done.values())),
        )
    )
    hub_cache.note_commit(size.folder, name, revision, listing.commit)
    return folder


def _by_library(name: str, report: Report, revision: str | None) -> Path:
    """Have the hub's library fetch it all; what it has not finished of a file is fetched again the next time."""
    hub = library()
    root = hub_cache.cache_root()
    assert root is not None
    repository = hub_cache.repository_folder(root, name)
    return Path(
        within(
            lambda: hub.snapshot_download(name, revision=revision, allow_patterns=list(NEEDED)),
            lambda there: report(f"fetching, {size_text(there)} so far", 0.0),
            lambda: _blob_bytes(repository),
        )
    )


def _blob_bytes(repository: Path) -> int:
    total = 0
    for path in (repository / "blobs").glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _fetch_small_files(name: str, folder: Path) -> None:
    """Fetch what a model that is here lacks of the files that it can do without; whatever fails, it goes on without."""
    if offline() or not hub_cache.wants_small_files(folder):
        return
    answered = False
    with suppress(Exception):  # of whatever library the hub uses; a model that is here needs no hub
        silence_bars()
        repository = folder.parent.parent
        limit = _SMALL_FILES_SECONDS
        answered = within(lambda: _ask_small(name, folder), lambda _: None, lambda: _blob_bytes(repository), limit)
    hub_cache.note_asked(folder, answered=answered)


def _ask_small(name: str, folder: Path) -> bool:
    """Fetch those of the optional files that the repository has; whether all of them are here now."""
    hub = library()
    # The library tries again for half a minute where there is no network; this does not.
    there = hub.HfApi().model_info(name, revision=folder.name, timeout=_SMALL_FILES_SECONDS)
    wanted = [item.rfilename for item in there.siblings or () if item.rfilename in OPTIONAL]
    if wanted:
        hub.snapshot_download(name, revision=folder.name, allow_patterns=wanted)
    return all((folder / file).is_file() for file in wanted)


def _may_ask(folder: Path) -> bool:
    """Whether the network may be asked for files of a snapshot, and they could be written."""
    return not offline() and os.access(folder, os.W_OK)
