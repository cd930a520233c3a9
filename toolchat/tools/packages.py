"""Installed packages that offer tools through the entry-point group `toolchat.tools`. Nothing of them is imported."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

GROUP = "toolchat.tools"
_CODE = (".py", ".so", ".pyd", ".txt")
"""Of a package's files, those that count: its code, and the list of its entry points."""
_MAX_BYTES = 512 * 1024**2


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
