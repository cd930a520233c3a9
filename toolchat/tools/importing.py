"""Imports the functions that a tools file names. Importing runs their code: the caller has consent.

Whatever that code does, the caller gets a function or a one-line reason, never a traceback.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from toolchat.environment import wanting
from toolchat.private_file import no_file
from toolchat.tools.entry import ToolEntry
from toolchat.tools.import_guard import without_the_folder
from toolchat.tools.problems import did_you_mean, reason, with_article
from toolchat.tools.signatures import held_function


class CallableError(Exception):
    """A callable that cannot be had; the message says why, what was expected and what to do."""


class ModuleError(CallableError):
    """Its module cannot be had, and so none of its callables."""


class _EndedError(ModuleError):
    """It asked for input or ended, as a program does."""


_SHOWN = 120
_AS_PROGRAM = 'expected a module that only defines; put what it does as a program below if __name__ == "__main__":'


@dataclass(frozen=True, slots=True)
class Imported:
    """A callable, and what its module printed while it was imported (as a rule nothing)."""

    value: Any
    """A function or a class; of a pattern, the module."""
    printed: str
    owner: type | None = None
    """The class whose method the entry names, where calling that takes an object of the class."""


def import_callable(entry: ToolEntry, folder: Path) -> Imported:
    """The callable of `entry`, whose module may lie in `folder`.

    The folder of its module is put first on `sys.path` and stays there, because a module may import its neighbours
    later; toolchat's own samples are imported without it. A file is imported once, under a name that no other file has.

    Raises:
        CallableError: the module cannot be imported, or it holds no such function.
        KeyboardInterrupt: the user pressed Ctrl-C meanwhile.
    """
    file = entry.target.file
    path = folder / file if file is not None else None
    if entry.from_samples:
        near: AbstractContextManager[None] = without_the_folder()
    else:
        near = nullcontext()
        _put_first(path.parent if path is not None else folder)
    with quiet() as output, near:
        try:
            module = _module(entry, folder) if path is None else _file_module(entry, path, folder)
        except _EndedError as ended:
            last = output.getvalue().strip().rpartition("\n")[2][:_SHOWN]
            said = f', after it printed "{last}"' if last else ""
            raise ModuleError(f"{ended}{said}; {_AS_PROGRAM}") from None
        value, owner = (module, None) if entry.target.is_pattern else _attribute(module, entry, folder)
    return Imported(value, output.getvalue(), owner)


class _Kept(io.TextIOBase):
    """Keeps what is written, and from `end` on passes it to the stream that Python has by then: logging that was
    configured at import holds this object for good."""

    def __init__(self, name: Literal["stdout", "stderr"], kept: io.StringIO) -> None:
        self._name = name
        self._kept: io.StringIO | None = kept
        self._passing = False

    def end(self) -> None:
        self._kept = None

    def write(self, text: str, /) -> int:
        if self._kept is not None:
            return self._kept.write(text)
        stream = getattr(sys, self._name)
        # A tool may have put this object itself there.
        if stream is None or stream is self or self._passing:
            return len(text)
        self._passing = True
        try:
            return int(stream.write(text))
        finally:
            self._passing = False

    def flush(self) -> None:
        if self._kept is None and not self._passing and (stream := getattr(sys, self._name)) not in (None, self):
            self._passing = True
            try:
                stream.flush()
            finally:
                self._passing = False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class says None
        return "utf-8"


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keeps what is printed meanwhile from the screen, and holds it."""
    output = io.StringIO()
    streams = _Kept("stdout", output), _Kept("stderr", output)
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            yield output
    finally:
        for stream in streams:
            stream.end()


def _put_first(folder: Path) -> None:
    if sys.path[:1] == [str(folder)]:
        return
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def _module(entry: ToolEntry, folder: Path) -> ModuleType:
    name = entry.target.where
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModuleError(_no_module(entry, folder)) from None
        raise _failed(entry, error, folder) from None
    except BaseException as error:
        raise _failed(entry, error, folder) from None
    _check_not_shadowed(name.partition(".")[0], entry, folder)
    return module


def _file_module(entry: ToolEntry, path: Path, folder: Path) -> ModuleType:
    if (problem := no_file(path)) is not None:
        raise ModuleError(f'file "{entry.target.where}" {problem}')
    if not path.is_file():
        others = [f"./{other.relative_to(folder)}" for other in sorted(path.parent.glob("*.py"))]
        fix = did_you_mean(entry.target.where, others, "correct the path")
        raise ModuleError(f'there is no file "{entry.target.where}"; expected it beside the tools file; {fix}')
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]
    name = f"toolchat_file_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleError(f'file "{entry.target.where}" cannot be imported; expected Python source; correct it')
    module = importlib.util.module_from_spec(spec)
    # Before it runs: dataclasses and pydantic look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failed(entry, error, folder) from None
    return module


def _failed(entry: ToolEntry, error: BaseException, folder: Path) -> ModuleError:
    kind = "module" if entry.target.file is None else "file"
    what = f'{kind} "{entry.target.where}" cannot be imported: {reason(error, folder)}'
    if isinstance(error, SystemExit | EOFError):
        return _EndedError(what)
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if (problem := _in_the_way(error.name, folder)) is not None:
            return ModuleError(f"{what}; {problem}")
        return ModuleError(f'{what}; expected it to be installed; install "{error.name}"')
    if (why := wanting(error)) is not None:
        return ModuleError(f"{what}; the module may be right: {why}")
    if (remedy := _as_package(entry, error)) is not None:
        return ModuleError(f"{what}; expected a file that imports its neighbours by their names; {remedy}")
    if (beside := _beside(entry, error, folder)) is not None:
        return ModuleError(f"{what}; it lies beside the module, and this is another folder; {beside}")
    return ModuleError(f"{what}; expected it to import quietly; correct it there")


def _beside(entry: ToolEntry, error: BaseException, folder: Path) -> str | None:
    """How to open a file that lies beside the module, where that looked in the working folder for it."""
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str):
        return None
    own = (
        folder / entry.target.file if entry.target.file is not None else folder.joinpath(*entry.target.where.split("."))
    )
    name = Path(error.filename)
    if name.is_absolute() or not (own.parent / name).exists():
        return None
    return f"write Path(__file__).parent / {str(name)!r} there, or start toolchat in that folder"


def _as_package(entry: ToolEntry, error: BaseException) -> str | None:
    """How to name a file that imports its neighbours as `from . import x`, which only a package's module can."""
    if entry.target.file is None or not (isinstance(error, ImportError) and "relative import" in str(error)):
        return None
    parts = entry.target.file.with_suffix("").parts
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return "put it in a package, and name it as package.module:function"
    return f"write callable: {'.'.join(parts)}:{entry.target.attribute}"


def _no_module(entry: ToolEntry, folder: Path) -> str:
    if entry.from_samples:
        return f'there is no module "{entry.target.where}" among the samples; expected one of them; see tools.yaml'
    if (problem := _in_the_way(entry.target.where, folder)) is not None:
        return f'there is no module "{entry.target.where}": {problem}'
    stems = [path.stem for path in sorted(folder.glob("*.py"))]
    fix = did_you_mean(entry.target.where, stems, "correct the name")
    top = entry.target.where.partition(".")[0]
    expected = f"expected {top}.py beside the tools file or an installed module"
    return f'there is no module "{entry.target.where}"; {expected}; {fix}'


def _in_the_way(module: str, folder: Path) -> str | None:
    """What stands beside the tools file in place of a module's source, and what to do; None if nothing does."""
    source = folder.joinpath(*module.split(".")).with_suffix(".py")
    problem = no_file(source)
    return f"{source.relative_to(folder)} {problem}" if problem is not None else None


def _check_not_shadowed(top: str, entry: ToolEntry, folder: Path) -> None:
    """A random.py beside the tools file is not what `import random` finds once the library's is loaded."""
    if entry.from_samples:
        return
    local = next((path for path in (folder / f"{top}.py", folder / top / "__init__.py") if path.is_file()), None)
    # Modules that are built into the interpreter have no file.
    found = getattr(sys.modules[top], "__file__", None)
    # A module may be a link to a file elsewhere, and the folder be known by another path.
    places = [Path(found), Path(found).resolve()] if found is not None else []
    if local is None or any(place.is_relative_to(folder) for place in places):
        return
    where = found or "Python itself"
    raise ModuleError(f'module "{top}" is already taken by {where}; expected {local.name}; rename {local.name}')


def functions_of(module: ModuleType, entry: ToolEntry) -> dict[str, Callable[..., Any]]:
    """The functions of a module that the pattern of `entry` fits: those that the module lists in `__all__`, else the
    public ones that it defines itself."""
    listed = getattr(module, "__all__", None)
    # The samples' package offers what it defines, and nothing that it imports.
    own = entry.from_samples or not isinstance(listed, list | tuple)
    found: dict[str, Callable[..., Any]] = {}
    for name in list(vars(module)) if own else [name for name in listed or () if isinstance(name, str)]:
        if name.startswith("_") or not fnmatchcase(name, entry.target.attribute):
            continue
        value: Any = getattr(module, name, None)
        routine = inspect.isroutine(value) or isinstance(value, partial) or held_function(value) is not None
        if routine and (not own or getattr(value, "__module__", None) == module.__name__):
            found[name] = value
    return found


def _attribute(module: ModuleType, entry: ToolEntry, folder: Path) -> tuple[Callable[..., Any], type | None]:
    attribute, *inner = entry.target.attribute.split(".")
    try:
        value: Any = getattr(module, attribute)
    except AttributeError:
        own = [name for name, item in vars(module).items() if _could_be_tool(module.__name__, name, item)]
        fix = did_you_mean(attribute, own, f"it has: {', '.join(own[:8]) or 'no functions'}")
        kind = "module" if entry.target.file is None else "file"
        what = f'{kind} "{entry.target.where}" has no "{attribute}"'
        raise CallableError(f"{what}; expected a function of that {kind}; {fix}") from None
    except Exception as error:
        raise CallableError(f'"{entry.callable_ref}" cannot be had: {reason(error, folder)}; correct it') from None
    value, owner = _inside(value, attribute, inner, entry, folder)
    if not callable(value) and held_function(value) is None:
        what = f'"{entry.callable_ref}" is {with_article(type(value).__name__)}'
        raise CallableError(f"{what}; expected a function; name one that can be called")
    # A tools file of samples alone is used without asking: only what the samples themselves offer counts, not a step of
    # one that leaves out what the sample checks.
    private = any(part.startswith("_") for part in entry.target.attribute.split("."))
    if entry.from_samples and (private or getattr(value, "__module__", None) != entry.target.where):
        raise CallableError(
            f'"{entry.target.attribute}" is no sample of {entry.target.where}; expected one; see tools.yaml'
        )
    return value, owner


def _inside(value: Any, path: str, names: list[str], entry: ToolEntry, folder: Path) -> tuple[Any, type | None]:
    """What `names` lead to in `value`, at `path` in its module, and the class that it takes an object of."""
    owner: type | None = None
    for name in names:
        try:
            inner = getattr(value, name)
        except AttributeError:
            public = [one for one in dir(value) if not one.startswith("_")]
            fix = did_you_mean(name, public, f"it has: {', '.join(public[:8]) or 'nothing public'}")
            what = f'"{entry.target.where}:{path}" has no "{name}"'
            raise CallableError(f"{what}; expected a method of it; {fix}") from None
        except Exception as error:
            raise CallableError(f'"{entry.callable_ref}" cannot be had: {reason(error, folder)}; correct it') from None
        plain = inspect.isclass(value) and inspect.isfunction(inspect.getattr_static(value, name, None))
        owner = value if plain else None
        value, path = inner, f"{path}.{name}"
    return value, owner


def _could_be_tool(module: str, name: str, item: Any) -> bool:
    own = inspect.isclass(item) and item.__module__ == module
    return not name.startswith("_") and (own or inspect.isroutine(item))
