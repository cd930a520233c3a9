"""The code beside a tools file that its callables lead to, found by reading, without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from pathlib import Path


def local_files(folder: Path, modules: set[str]) -> list[Path]:
    """The files in `folder` that importing `modules` can load, sorted: packages whole, and what they import.

    Compiled modules count as well as .py files. An import that is not written as a statement is not seen.
    """
    found: set[Path] = set()
    pending = {module.partition(".")[0] for module in modules}
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for path in _files_of(folder, name):
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
