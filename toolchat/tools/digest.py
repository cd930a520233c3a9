"""By what a tool is known again: what was allowed for good holds only while the digest of its code stays the same.

For the process that has imported the tools. It covers whole files: the callable's own, those of its class's bases, and
the local files that these can import; of installed packages only the files that hold the callable and the bases.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from toolchat.tools.code import ToolsCode
from toolchat.tools.spec import ToolEntry


def source_digest(
    function: Callable[..., Any],
    entry: ToolEntry,
    code: ToolsCode,
    *,
    parameters: Mapping[str, Any],
    reference: str,
    made_of: type | None = None,
) -> str:
    """A SHA-256 (hexadecimal) over a tool's code, its schema, its reference, and its entry in the tools file.

    Of a method, `made_of` is the class. The name that the model uses is no part of it. The same words in another folder
    have another digest: they may lead to other helpers there.
    """
    local = {file: code.files[file] for file in code.reach.get(entry.target.where, ())}
    parts = [reference.encode(), _json(parameters), _json(_of_entry(entry)), _json(local)]
    items = [function, inspect.unwrap(function)]
    items += [base for base in (made_of.__mro__ if made_of is not None else ()) if not _of_python(base)]
    for item in items:
        paths = _files_of(item)
        # Local files are known by what was read of them; they may be others by now.
        parts += [part for path in paths if path not in local for part in (os.fsencode(path), _digest_of(path))]
        if not paths:
            parts.append(f"{item.__module__}.{item.__qualname__} of Python {sys.version}".encode())
    digest = hashlib.sha256()
    for part in parts:
        # Lengths before contents: two lists must not hash like one that is split elsewhere.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _of_entry(entry: ToolEntry) -> dict[str, Any]:
    return {
        "description": entry.description,
        "options": asdict(entry.options),
        "parameters": {name: dict(parameter.keywords) for name, parameter in entry.parameters.items()},
        "arguments": entry.arguments,
        "methods": entry.methods,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _of_python(item: type) -> bool:
    return item.__module__.partition(".")[0] in sys.stdlib_module_names


def _files_of(item: Any) -> list[str]:
    """The file that holds a function or class, and that which its module is; none of what is built into Python."""
    paths: set[str] = set()
    module = sys.modules.get(item.__module__ or "")
    if module is not None and isinstance(file := vars(module).get("__file__"), str):
        paths.add(file)
    # Whatever inspect stumbles over in generated or compiled code; the module's file serves as well.
    with suppress(Exception):
        if (source := inspect.getsourcefile(item)) is not None and Path(source).is_file():
            paths.add(source)
    return sorted(paths)


@cache
def _digest_of(path: str) -> bytes:
    # Once for a file and not for each of its functions.
    with suppress(OSError):
        return hashlib.sha256(Path(path).read_bytes()).digest()
    return b""
