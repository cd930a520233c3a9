"""Importing the functions that a tools file names. Importing runs their code: who calls this has consent.

Whatever that code does, the caller gets a function or a one-line reason, never a traceback.
"""

from __future__ import annotations

import importlib
import inspect
import io
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from toolchat.tools.spec import ToolEntry


class CallableError(Exception):
    """A callable that cannot be had; the message says why, what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A callable, and what its module printed while it was imported (as a rule nothing)."""

    function: Callable[..., Any]
    printed: str


def import_callable(entry: ToolEntry, folder: Path) -> Imported:
    """The callable of `entry`, whose module may lie in `folder`.

    `folder` is put first on `sys.path` and stays there, because a module may import its neighbours later; for
    toolchat's own samples it is not.

    Raises:
        CallableError: the module cannot be imported, or it holds no such function.
        KeyboardInterrupt: the user pressed Ctrl-C meanwhile.
    """
    if not entry.from_samples and sys.path[0] != str(folder):
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        module = _module(entry, folder)
        function = _attribute(module, entry, folder)
    return Imported(function, output.getvalue())


def _module(entry: ToolEntry, folder: Path) -> ModuleType:
    name = entry.module
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CallableError(_no_module(entry, folder)) from None
        reason = f'module "{name}" cannot be imported: {_reason(error, folder)}'
        raise CallableError(f'{reason}; expected it to be installed; install "{error.name}"') from None
    except BaseException as error:
        reason = f'module "{name}" cannot be imported: {_reason(error, folder)}'
        raise CallableError(f"{reason}; expected it to import quietly; correct it there") from None
    _check_not_shadowed(name.partition(".")[0], entry, folder)
    return module


def _no_module(entry: ToolEntry, folder: Path) -> str:
    if entry.from_samples:
        return f'there is no module "{entry.module}" among the samples; expected one of them; see tools.yaml'
    stems = [path.stem for path in sorted(folder.glob("*.py"))]
    near = get_close_matches(entry.module, stems, n=1)
    fix = f'did you mean "{near[0]}"?' if near else "correct the name"
    top = entry.module.partition(".")[0]
    expected = f"expected {top}.py beside the tools file or an installed module"
    return f'there is no module "{entry.module}"; {expected}; {fix}'


def _check_not_shadowed(top: str, entry: ToolEntry, folder: Path) -> None:
    """A random.py beside the tools file is not what `import random` finds once the library's is loaded."""
    if entry.from_samples:
        return
    local = next((path for path in (folder / f"{top}.py", folder / top / "__init__.py") if path.is_file()), None)
    found = sys.modules[top].__file__
    if local is None or (found is not None and Path(found).resolve().is_relative_to(folder)):
        return
    where = found or "Python itself"
    raise CallableError(f'module "{top}" is already taken by {where}; expected {local.name}; rename {local.name}')


def _attribute(module: ModuleType, entry: ToolEntry, folder: Path) -> Callable[..., Any]:
    try:
        value: Any = getattr(module, entry.function)
    except AttributeError:
        own = [name for name, item in vars(module).items() if inspect.isroutine(item) and not name.startswith("_")]
        near = get_close_matches(entry.function, own, n=1)
        fix = f'did you mean "{near[0]}"?' if near else f"it has: {', '.join(own[:8]) or 'no functions'}"
        what = f'module "{entry.module}" has no "{entry.function}"'
        raise CallableError(f"{what}; expected a function of that module; {fix}") from None
    except Exception as error:
        raise CallableError(f'"{entry.callable_ref}" cannot be had: {_reason(error, folder)}; correct it') from None
    if not callable(value):
        what = f'"{entry.callable_ref}" is {_article(type(value).__name__)}'
        raise CallableError(f"{what}; expected a function; name one that can be called")
    # A tools file of samples alone is used without asking: only what the samples themselves define counts.
    if entry.from_samples and getattr(value, "__module__", None) != entry.module:
        raise CallableError(f'"{entry.function}" is no sample of {entry.module}; expected one; see tools.yaml')
    function: Callable[..., Any] = value
    return function


def _reason(error: BaseException, folder: Path) -> str:
    """ "ValueError: no key (my_tools.py:3)": one line, with the line of the person's code that raised it."""
    text, where = _message(error), _raised_at(error, folder)
    if isinstance(error, SyntaxError) and error.filename:
        text, where = error.msg, f"{_relative(error.filename, folder)}:{error.lineno}"
    kind = type(error).__name__
    line = " ".join(f"{kind}: {text}".split()) if text else kind
    return f"{line} ({where})" if where else line


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _raised_at(error: BaseException, folder: Path) -> str | None:
    """The innermost line in `folder`, else the innermost of all, the import machinery left out."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename not in (__file__, importlib.__file__)
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    if not frames:
        return None
    frame = (own or frames)[-1]
    return f"{_relative(frame.filename, folder)}:{frame.lineno}"


def _relative(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else filename


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
