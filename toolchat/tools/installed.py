"""What is installed: tells its modules from local code, and finds the packages that offer tools.

Installed are the standard library, `site-packages` and toolchat itself. The folders of PYTHONPATH and of editable
installs are not: who can change them is who can change a tools file, as a rule. A package offers tools through the
entry-point group `toolchat.tools`; nothing of it is imported here.
"""

from __future__ import annotations

import getpass
import hashlib
import importlib.machinery
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toolchat

GROUP = "toolchat.tools"
_CODE = (".py", ".so", ".pyd", ".txt")
"""Of a package's files, those that count: its code, and the list of its entry points."""
_MAX_BYTES = 512 * 1024**2
_INSTALLED_NAMES = {"site-packages", "dist-packages"}
"""Of folders that installers write to. Clusters and images list such in PYTHONPATH, with all that they have."""


def absolute(path: str) -> str:
    try:
        return os.path.abspath(path)  # noqa: PTH100 (`resolve` would follow links, which are told apart here)
    except OSError:  # the folder that it would begin in has been deleted: nothing is there
        return os.path.join("/", path)  # noqa: PTH118


def below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it, by their names."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def local_key(path: str, folder: str) -> str:
    """What a local file is known by: within `folder` its path, where a link is the folder's; else where links lead."""
    path = absolute(path)
    return path if below(path, folder) else os.path.realpath(path)


class Installed:
    """The places of installed modules, for the tools of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        paths = sysconfig.get_paths()
        library = paths.get("stdlib", os.path.dirname(os.__file__))  # noqa: PTH120
        zipped = os.path.join(os.path.dirname(library), f"python{sys.version_info[0]}{sys.version_info[1]}.zip")  # noqa: PTH118, PTH120
        found = {path for name, path in paths.items() if name in ("stdlib", "platstdlib", "purelib", "platlib")}
        found |= {zipped, *site.getsitepackages(), site.getusersitepackages(), _own_place()}
        found |= {path for path in _search_path() if self._is_named_so(path)}
        roots = {absolute(path) for path in found} | {os.path.realpath(path) for path in found}
        self._roots = tuple(sorted(roots - {self._folder}))

    def has(self, path: str) -> bool:
        """Whether an absolute path is of an installed module, by its name: links are not followed."""
        inside = below(path, self._folder)
        # A virtual environment may lie in the folder, and the folder below a place of installed modules.
        return any(below(path, root) and (not inside or below(root, self._folder)) for root in self._roots)

    def local(self, paths: Iterable[str]) -> list[str]:
        """Of what is on a search path, what is local; where links lead, outside the folder."""
        kept = (absolute(path) for path in paths if path)
        kept = (local_key(path, self._folder) for path in kept if not self.has(path))
        return [path for path in dict.fromkeys(kept) if not self.has(path) and os.path.exists(path)]  # noqa: PTH110

    def searched(self) -> list[str]:
        """The local folders that the tools' processes search from the beginning."""
        return self.local(_search_path())

    def _is_named_so(self, path: str) -> bool:
        real = os.path.realpath(path)
        return bool(_INSTALLED_NAMES & set(Path(real).parts)) and not below(real, self._folder)


def _own_place() -> str:
    """Of toolchat, with all that was installed beside it (`pip install --target`)."""
    package = Path(toolchat.__file__).parent
    return str(package.parent if any(package.parent.glob("toolchat-*.dist-info")) else package)


def _search_path() -> list[str]:
    """`sys.path` as tools' processes have it at their beginning: without the program's own folder."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in [*named, *sys.path[0 if sys.flags.safe_path else 1 :]] if path]


def found_elsewhere(name: str) -> Iterator[str]:
    """The file or folders of a module that an editable install has a finder of its own for."""
    usual: tuple[Any, ...] = (
        importlib.machinery.BuiltinImporter,
        importlib.machinery.FrozenImporter,
        importlib.machinery.PathFinder,
    )
    for finder in sys.meta_path:
        owner = finder if isinstance(finder, type) else type(finder)
        if finder in usual or "editable" not in owner.__module__:
            continue
        with suppress(Exception):
            spec = finder.find_spec(name, None, None)
            if spec is not None and spec.submodule_search_locations:
                yield from map(str, spec.submodule_search_locations)
            elif spec is not None and spec.origin is not None:
                yield spec.origin


def is_compiled_just_in_time(path: str) -> bool:
    """Whether a compiled module lies where a compiler of Python code keeps what it made."""
    real = os.path.realpath(path)
    return any(below(real, os.path.realpath(cache)) and _is_own(cache) for cache in _caches())


def _caches() -> Iterator[str]:
    home = os.path.expanduser("~")  # noqa: PTH111
    variables = ("TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "KEOPS_CACHE_FOLDER")
    yield from (value for name in variables if (value := os.environ.get(name)))
    yield from (f"{home}/{name}" for name in (".cache/torch_extensions", ".triton", ".pyxbld", ".pytensor"))
    with suppress(Exception):  # a user without a name
        yield f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"


def _is_own(folder: str) -> bool:
    # A folder in /tmp may be another user's.
    try:
        return os.stat(folder).st_uid == os.geteuid()  # noqa: PTH116
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Package:
    """What one installed package offers."""

    version: str
    points: tuple[tuple[str, str], ...]
    """The name and the "module:function" of each entry point, sorted."""
    digest: str
    """SHA-256 (hexadecimal) of its code."""

    @classmethod
    def decode(cls, data: dict[str, Any]) -> Package:
        """From what JSON makes of `dataclasses.asdict`."""
        return cls(data["version"], tuple((name, value) for name, value in data["points"]), data["digest"])


def find_package(name: str) -> Package | None:
    """The installed package of that name; None where there is none."""
    from importlib.metadata import Distribution, PackageNotFoundError  # 30 ms, for the few files that name a package

    try:
        found = Distribution.from_name(name)
    except (PackageNotFoundError, ValueError):
        return None
    points = sorted((point.name, point.value) for point in found.entry_points if point.group == GROUP)
    digest, room = hashlib.sha256(f"{found.metadata['Name']} {found.version}".encode()), _MAX_BYTES
    for file in sorted(found.files or (), key=str):
        if not str(file).endswith(_CODE) or "__pycache__" in file.parts:
            continue
        path = str(found.locate_file(file))
        # What RECORD lists and is not there runs nothing.
        with suppress(OSError):
            room -= os.stat(path).st_size  # noqa: PTH116
            if room < 0:
                break
            with open(path, "rb") as opened:  # noqa: PTH123
                digest.update(f"{file}\0".encode())
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Package(str(found.version), tuple(points), digest.hexdigest())


def offering() -> list[str]:
    """The names of the installed packages that offer tools, for an error to name them."""
    from importlib.metadata import entry_points

    return sorted({point.dist.name for point in entry_points(group=GROUP) if point.dist is not None})
