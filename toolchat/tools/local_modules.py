"""The code beside a tools file that its callables lead to, found by reading, without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.machinery import all_suffixes
from pathlib import Path


def local_files(folder: Path, modules: set[str], files: Iterable[Path] = ()) -> list[Path]:
    """The files that importing `modules`, found in `folder`, and `files` can load, sorted.

    Packages count whole, with what they import; compiled modules count as well as .py files. What is imported may lie
    in `folder` or beside one of `files`. An import that is not written as a statement is not seen.
    """
    named = list(files)
    folders = {folder, *(file.parent for file in named)}
    found: set[Path] = set()
    pending = {module.partition(".")[0] for module in modules}
    for file in named:
        if file.is_file():
            found.add(file)
            pending |= _imported(file)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for path in (path for place in folders for path in _files_of(place, name)):
            if path not in found:
                found.add(path)
                pending |= _imported(path) - seen
    return sorted(found)


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    suffixes = tuple(all_suffixes())
    for suffix in suffixes:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            yield path
    package = folder / name
    if package.is_dir():
        for path in package.rglob("*"):
            # __pycache__ is written by every import; counting it would undo each acceptance.
            if path.name.endswith(suffixes) and "__pycache__" not in path.parts and path.is_file():
                yield path


def _imported(path: Path) -> set[str]:
    """The top-level names that a source file imports; none where it does not parse."""
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
