"""What a module has for type checkers only: names below `if TYPE_CHECKING:`, and the annotations of its stub file.

Files are read, and never run. A name is looked up where that imports no other package; what stays unknown is
`Unresolved`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_MAX_STUB = 4 * 1024**2


class _AnyName(type):
    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unresolved

    def __or__(cls, other: Any) -> Any:
        return typing.Union[Unresolved, other]  # noqa: UP007

    def __ror__(cls, other: Any) -> Any:
        return typing.Union[other, Unresolved]  # noqa: UP007


class Unresolved(metaclass=_AnyName):
    """Stands for a name that only a type checker knows, and for all that is written of it."""

    def __class_getitem__(cls, item: Any) -> type:
        return cls


class CheckerNames(dict[str, Any]):
    """The names of a module, with those that it has for type checkers only."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        super().__init__()
        self._scope = scope
        self._resolving: set[str] = set()
        self.unknown: set[str] = set()

    def __missing__(self, name: str) -> Any:
        if name in self._scope or hasattr(builtins, name):
            raise KeyError(name)
        known = _for_checkers(str(self._scope.get("__file__")))
        if name not in known:
            raise KeyError(name)
        meaning = known[name]
        value = self._alias(name, meaning) if isinstance(meaning, str) else _imported(*meaning, self._scope)
        if value is Unresolved:
            self.unknown.add(name)
        return value

    def _alias(self, name: str, text: str) -> Any:
        """What `name = text` means, which is written like an annotation."""
        if name in self._resolving:
            return Unresolved
        self._resolving.add(name)
        holder = types.SimpleNamespace(__annotations__={name: text})
        try:
            return typing.get_type_hints(holder, globalns=dict(self._scope), localns=self, include_extras=True)[name]
        except Exception:
            # Whatever it raises: the program runs without it.
            return Unresolved
        finally:
            self._resolving.discard(name)


@lru_cache(maxsize=64)
def _for_checkers(file: str) -> Mapping[str, tuple[str, str | None, int] | str]:
    """What a module has where TYPE_CHECKING holds: by name what it imports (the module, the name in it, and the dots
    before it) or the text of an alias; the empty text for what has a meaning of another kind."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, tuple[str, str | None, int] | str] = {}
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and _says_checking(block.test):
            for node in (inner for outer in block.body for inner in ast.walk(outer)):
                match node:
                    case ast.Import(names=names):
                        for alias in names:
                            top = alias.name.partition(".")[0]
                            found[alias.asname or top] = (alias.name if alias.asname else top, None, 0)
                    case ast.ImportFrom(module=module, names=names, level=level):
                        for alias in names:
                            found[alias.asname or alias.name] = (module or "", alias.name, level)
                    case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                        found[name] = ast.unparse(value)
                    case ast.Assign(targets=[ast.Name(id=name)], value=value):
                        found[name] = ast.unparse(value)
                    case ast.ClassDef(name=name):
                        found[name] = ""
    return found


def _says_checking(test: ast.expr) -> bool:
    """Whether a condition holds for type checkers: `TYPE_CHECKING`, also with `or` something else."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.BoolOp(values=values):
            return any(map(_says_checking, values))
    return False


def _imported(module: str, attribute: str | None, level: int, scope: Mapping[str, Any]) -> Any:
    """What the import means, where looking does not import a package that the program does without."""
    package = str(scope.get("__package__") or "")
    try:
        name = importlib.util.resolve_name("." * level + module, package) if level else module
        top = name.partition(".")[0]
        # A module beside this one is the user's own, and counts as code of the tools file already.
        beside = Path(str(scope.get("__file__"))).parent
        own = top in (package.partition(".")[0], "") or (beside / f"{top}.py").is_file() or (beside / top).is_dir()
        if not (name in sys.modules or top in sys.modules or top in sys.stdlib_module_names or own):
            return Unresolved
        value = importlib.import_module(name)
        return value if attribute is None else getattr(value, attribute)
    except Exception:
        # Whatever it raises: the program runs without it.
        return Unresolved


@lru_cache(maxsize=32)
def stub_annotations(file: str) -> Mapping[tuple[str, str], list[ast.expr]]:
    """Those in the stub file beside a module's: by qualified name and parameter, one for each overload."""
    module = Path(file)
    found: dict[tuple[str, str], list[ast.expr]] = {}
    try:
        with module.with_name(f"{module.name.partition('.')[0]}.pyi").open("rb") as opened:
            tree = ast.parse(opened.read(_MAX_STUB))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return found

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef():
                    visit(node.body, f"{prefix}{node.name}.")
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    arguments = node.args
                    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                        if argument.annotation is not None:
                            found.setdefault((f"{prefix}{node.name}", argument.arg), []).append(argument.annotation)

    visit(tree.body, "")
    return found
