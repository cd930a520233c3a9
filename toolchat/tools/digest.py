"""By what a tool is known again: what was allowed for good holds only while the digest of its code stays the same.

For the process that has imported the tools. It covers the callable's own source, not what that calls elsewhere.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any


def source_digest(
    function: Callable[..., Any],
    *,
    parameters: Mapping[str, Any],
    reference: str,
    made_of: type | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """A SHA-256 (hexadecimal) over a tool's code, the file that the code stands in, its schema and its reference.

    Of a method, `made_of` is the class, which counts whole, with its bases; and `arguments` are what its constructor
    was given, because they say what its methods work on. The same words in another file have another digest: they
    may lead to other helpers there.
    """
    parts = [reference.encode(), _json(parameters), _json(arguments)]
    parts += _code(inspect.unwrap(function))
    for base in made_of.__mro__ if made_of is not None else ():
        if base.__module__.partition(".")[0] not in sys.stdlib_module_names:
            parts += _code_of_class(base)
    digest = hashlib.sha256()
    for part in parts:
        # Lengths before contents: two lists must not hash like one that is split elsewhere.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


@cache
def _code_of_class(item: type) -> list[bytes]:
    # Once for a class and not for each of its methods: finding its source parses the whole file.
    return _code(item)


def _code(item: Any) -> list[bytes]:
    """The file and the source of a function or class; for what has no source, all that its module's file holds."""
    module = sys.modules.get(item.__module__ or "")
    file = module.__file__ if module is not None and "__file__" in vars(module) else None
    # Whatever inspect stumbles over in generated or compiled code; the module's file serves as well.
    with suppress(Exception):
        source = inspect.getsource(item).encode("utf-8", "surrogatepass")
        return [_place(inspect.getsourcefile(item)), source]
    if file is not None:
        with suppress(OSError):
            return [_place(file), Path(file).read_bytes()]
    # Built into Python itself.
    return [f"{item.__module__}.{item.__qualname__} of Python {sys.version}".encode()]


def _place(file: str | None) -> bytes:
    return os.fsencode(Path(file or "").resolve())
