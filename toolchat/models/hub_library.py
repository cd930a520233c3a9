"""The Hugging Face hub's library, which may be missing, and its failures and the disk's told in one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from toolchat.images.image import size_text
from toolchat.models import hub_cache
from toolchat.models.parts import TransientError
from toolchat.wire.errors import EngineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        from toolchat.models.hardware import INSTALL

        raise EngineError(f"models of the Hugging Face hub need its library; {INSTALL}") from None
    return huggingface_hub


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what the hub's library and the disk raise into an EngineError of one line."""
    hub = library()
    try:
        yield
    except EngineError:
        raise
    except hub.errors.GatedRepoError:
        raise EngineError(
            f"{name}: its owner wants its terms accepted first, at https://huggingface.co/{name}; "
            "then log in with `hf auth login`"
        ) from None
    except hub.errors.RepositoryNotFoundError:
        raise EngineError(f"{name}: there is no such model on the Hugging Face hub, or it is private") from None
    except Exception as error:  # whatever HTTP library the hub uses in this version
        raise _failure(name, error) from None


def _failure(name: str, error: Exception) -> EngineError:
    root = hub_cache.cache_root() or Path()
    number = _disk_errno(error)
    if number in _FULL:
        free = free_bytes(root)
        left = f", {size_text(free)} are free" if free is not None else ""
        return EngineError(
            f"{name}: the disk is full ({os.strerror(number)}): {with_home(root)}{left}; make room, or set HF_HOME "
            "to a folder on another disk, and go on with the same command: what is fetched already is kept"
        )
    if number is not None:
        return EngineError(
            f"{name}: {with_home(root)} cannot be written to ({os.strerror(number)}); set HF_HOME to a folder that can"
        )
    if isinstance(error, TransientError):
        return EngineError(
            f"{name}: the connection to the Hugging Face hub broke off ({error}); check the network, and go on with "
            "the same command: what is fetched already is kept"
        )
    folder = hub_cache.snapshot(name)
    here = f"only a part of it is on this machine (missing: {hub_cache.missing_of(folder)})" if folder else ""
    return EngineError(
        f"{name}: {here or 'not on this machine'}, and the Hugging Face hub cannot be asked for it "
        f"({reason(error)}); check the network and the name"
    )


def _disk_errno(error: BaseException) -> int | None:
    """The number of the disk's error among what led to `error`; other libraries wrap it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # A firewall refuses a connection with EPERM, too: only files have a name.
        if isinstance(current, OSError) and (current.errno in _FULL or (current.errno in _CLOSED and current.filename)):
            return current.errno
        if os.strerror(errno.ENOSPC) in str(current):
            return errno.ENOSPC  # hf_xet's errors are text
        current = current.__cause__ or current.__context__
    return None


def reason(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {text}"


def free_bytes(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def with_home(path: Path) -> str:
    """A path as people write it, with ~ for their home."""
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)
