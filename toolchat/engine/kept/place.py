"""Where kept engines listen: a folder for this user alone, and a name for each that says what is loaded in it.

A name is the digest of everything that shapes an engine. Who finds a socket under the name that it has computed may use
what listens there; what another toolchat, another file of the model or another variable has made has another name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import toolchat

CONTROL_VERSION = 1
"""Of what every toolchat says to every kept engine: hello, status, stop. A newer one must still end an older engine."""
ANSWER_SECONDS = 10.0
"""For an answer that takes a millisecond: on a machine that swaps, or while other code of the worker holds Python."""
MOST_BYTES = 100
"""Of a socket's path, of which the kernel takes 107; a name that is being made is a little longer."""
SUFFIX = ".sock"
SCRATCH = "toolchat-engine-"
"""How the name of an engine's temporary folder begins."""

SHAPING = (
    "CUDA_",
    "VLLM_",
    "OMP_",
    "KMP_",
    "MKL_",
    "NVIDIA_",
    "NCCL_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "PYTHON",
    "LD_",
)
"""How the variables begin that shape an engine: a kept one gets them, and another value makes it another engine."""
PASSED = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "CC", "CXX", "VIRTUAL_ENV", "CONDA_PREFIX", "TMPDIR")
)
PASSED_PREFIXES = ("LC_", "XDG_CACHE_")
"""What a kept engine gets beyond those. No token, no proxy, no name of a session that will end."""

_CODE = ("engine", "mistral", "wire", "images", "process.py", "private_file.py")
"""Of toolchat's own, what runs in the worker."""


def folder_for_sockets(*, make: bool = False) -> Path | None:
    """The folder of this user's sockets; None where there is none yet, and with `make` where there can be none.

    `$XDG_RUNTIME_DIR/toolchat`, else a folder of this user's own below the temporary directory.
    """
    for folder in _candidates():
        if len(os.fsencode(folder / f"{'0' * 16}{SUFFIX}")) > MOST_BYTES:
            continue
        with suppress(OSError):
            if make:
                folder.mkdir(mode=0o700, exist_ok=True)
            check_folder(folder)
            return folder
    return None


def _candidates() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        yield Path(runtime, "toolchat")
    for temporary in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        yield Path(temporary, f"toolchat-{os.geteuid()}").absolute()


def check_folder(folder: Path) -> None:
    """Raise OSError where somebody else could decide what is found in `folder`."""
    facts = folder.lstat()  # a link is nobody's folder
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        what = f"{folder}: expected a folder of yours with mode 0700; remove it"
        raise OSError(errno.EPERM, what)
    above = folder.parent.stat()
    if above.st_uid not in (0, os.geteuid()) or (above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX):
        raise OSError(
            errno.EPERM, f"{folder.parent}: others may rename what lies there; run: chmod go-w {folder.parent}"
        )


def note_of(path: Path) -> Path:
    """What a kept engine writes beside its socket for whoever cleans up after it."""
    return path.with_suffix(".json")


def sockets(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    return []


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end of a unix socket, as the kernel has them."""
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


def shaping_variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in sorted(environment.items()) if name.startswith(SHAPING)}


def kept_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of `environment` a kept engine gets."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES) or name.startswith(SHAPING)
    }
    if paths := passed.get("PYTHONPATH"):
        # It is started in another folder than the user is in.
        passed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths.split(os.pathsep))  # noqa: PTH100
    return passed


def digest(
    model: Path, device: str, settings: Mapping[str, Any], build: str, environment: Mapping[str, str] = os.environ
) -> str:
    """The name of an engine: 16 hexadecimal digits.

    `model` is the folder of the model's files, which are known by size, time and inode; of a folder or file that a
    setting names it is the same. `settings` is whatever shapes the engine, `build` the installed vLLM.
    """
    whole = {
        "toolchat": [toolchat.__version__, CONTROL_VERSION, sorted(_own_code())],
        "python": [sys.version, sys.executable, build],
        "model": [str(model.resolve()), *_stamps(model)],
        "device": device,
        "settings": {name: [str(value), *_named_by(value)] for name, value in sorted(settings.items())},
        "variables": shaping_variables(environment),
    }
    return hashlib.sha256(json.dumps(whole).encode(errors="surrogateescape")).hexdigest()[:16]


def _named_by(value: Any) -> Iterator[Any]:
    """The stamps of what a setting names, if it names anything on this machine: PATH, or NAME=PATH; one or several."""
    match value:
        case str():
            for path in {value, value.rpartition("=")[2]}:
                if "/" in path or path != value:
                    yield from _stamps(Path(path))
        case tuple() | list():
            for part in value:
                yield from _named_by(part)
        case dict():
            yield from _named_by(list(value.values()))


def _stamps(place: Path) -> Iterator[list[Any]]:
    """Of a file, or of each file in a folder: name, size, time of change, inode. Nothing where nothing is."""
    with suppress(OSError):
        if not place.is_dir():
            facts = place.stat()
            yield [place.name, facts.st_size, facts.st_mtime_ns, facts.st_ino]
            return
        for file in sorted(place.iterdir()):
            facts = file.stat()
            if stat.S_ISREG(facts.st_mode):
                yield [file.name, facts.st_size, facts.st_mtime_ns, facts.st_ino]


def _own_code() -> Iterator[list[Any]]:
    """Size and time of each of toolchat's files that run in the worker: a clone changes without a new version."""
    home = Path(toolchat.__file__).parent
    pending = [home / name for name in _CODE]
    while pending:
        place = pending.pop()
        if place.suffix == ".py":
            yield from _stamps(place)
        elif not place.name.startswith("_"):
            with suppress(OSError):
                pending += place.iterdir()
