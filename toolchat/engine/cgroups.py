"""Reads how many cores and how much memory the control groups grant to this process.

A container sees all cores and all memory of its machine; what it may use of them stands in its control groups. Version
2 has one tree, version 1 one for each controller, and a slice within a slice has what is left in every one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 1 << 60
"""Version 1 writes the largest number that there is, in whole pages, where there is no limit."""


def granted_cores(root: Path = Path("/")) -> float:
    """Cores that this process may keep busy, with fractions: those that it may run on, or a smaller quota of time.

    `root` is where /proc and /sys are.
    """
    cores = float(_visible_cores())
    for group in _groups("cpu", root):
        quota = _quota_2(group.folder) if group.version == 2 else _quota_1(group.folder)
        if quota is not None:
            cores = min(cores, quota)
    return cores


def granted_memory(root: Path = Path("/")) -> int:
    """Bytes that a new process may use now: by the kernel's own estimate, and by what each control group leaves."""
    available = _machine_memory(root)
    for group in _groups("memory", root):
        left = _left_2(group.folder) if group.version == 2 else _left_1(group.folder)
        if left is not None:
            available = min(available, max(left, 0))
    return available


@dataclass(frozen=True, slots=True)
class _Group:
    version: int
    folder: Path


def _visible_cores() -> int:
    return len(os.sched_getaffinity(0))


def _machine_memory(root: Path) -> int:
    for row in _text(root / "proc/meminfo").splitlines():
        if row.startswith("MemAvailable:"):
            return int(row.split()[1]) * 1024
    # Without /proc: what is free, and not what could be freed.
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(controller: str, root: Path) -> Iterator[_Group]:
    """The control groups that hold this process for `controller`, from its own outwards, as far as they are seen."""
    paths = _own_paths(root)
    for row in _text(root / "proc/self/mountinfo").splitlines():
        # "36 35 98:0 ROOT PLACE OPTIONS … - TYPE SOURCE SUPEROPTIONS"; any number of fields stands before the "-".
        left, _, right = row.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            version, own = 2, paths.get("")
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            version, own = 1, paths.get(controller)
        else:
            continue
        if own is None:
            continue
        place = root / _unescaped(fields[4]).lstrip("/")
        for folder in _outwards(place, _unescaped(fields[3]), own):
            yield _Group(version, folder)


def _own_paths(root: Path) -> dict[str, str]:
    """The path of this process's control group, for each controller of version 1, and for version 2 as ""."""
    paths: dict[str, str] = {}
    for row in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(",") if number != "0" else ("",):
            paths[controller] = path
    return paths


def _outwards(place: Path, mounted: str, own: str) -> Iterator[Path]:
    """The folders from a control group out to where its tree is mounted, of which `mounted` is the topmost group.

    A container may be told its group's path on the machine and see nothing above it: then `place` is its own.
    """
    try:
        inside = PurePosixPath(own).relative_to(mounted)
    except ValueError:
        inside = PurePosixPath()
    parts = inside.parts if ".." not in inside.parts else ()
    if not place.joinpath(*parts).is_dir():
        parts = ()
    for depth in range(len(parts), -1, -1):
        yield place.joinpath(*parts[:depth])


def _unescaped(field: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as octal numbers."""
    for written, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(written, meant)
    return field


def _quota_2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return _share(_number(quota), _number(period or "100000"))


def _quota_1(folder: Path) -> float | None:
    return _share(_number(_text(folder / "cpu.cfs_quota_us")), _number(_text(folder / "cpu.cfs_period_us")))


def _share(quota: int | None, period: int | None) -> float | None:
    """None for no limit, which version 1 writes as -1 and version 2 as "max"."""
    return quota / period if quota is not None and quota > 0 and period is not None and period > 0 else None


def _left_2(folder: Path) -> int | None:
    # Beyond memory.high nothing is killed, but all is slowed down until it is of no use.
    limits = [_number(_text(folder / name)) for name in ("memory.max", "memory.high")]
    return _left(limits, _number(_text(folder / "memory.current")), _row(folder / "memory.stat", "inactive_file"))


def _left_1(folder: Path) -> int | None:
    used = _number(_text(folder / "memory.usage_in_bytes"))
    limit = _number(_text(folder / "memory.limit_in_bytes"))
    return _left([limit], used, _row(folder / "memory.stat", "total_inactive_file"))


def _left(limits: list[int | None], used: int | None, reclaimable: int) -> int | None:
    """What of the smallest limit is not in use. Pages of files that nobody looks at make room when it is asked for."""
    known = [limit for limit in limits if limit is not None and 0 <= limit < _UNLIMITED]
    return min(known) - max((used or 0) - reclaimable, 0) if known else None


def _row(path: Path, name: str) -> int:
    for row in _text(path).splitlines():
        key, _, value = row.partition(" ")
        if key == name:
            return _number(value) or 0
    return 0


def _number(text: str) -> int | None:
    with suppress(ValueError):
        return int(text)
    return None


def _text(path: Path) -> str:
    """What a file of the kernel says; "" where it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
