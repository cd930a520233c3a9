"""Finds a type for parameters that have none: in a stub file, the docstring, its examples, the default, or the code.

What is found is only as good as the words it came from, so the types are plain: numbers, strings, arrays and objects.
Everything is read as text and compared with known names; no annotation or example is ever evaluated.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import Any, Union

from toolchat.tools.checker_names import stub_annotations
from toolchat.tools.docstrings import kinds_in_examples
from toolchat.tools.json_schema import ANYTHING, NUMBER, NUMBERS, OBJECT, ROWS, SCALAR, SCALARS, TEXT_OR_LIST


class NotJson:
    """The type that is found where the words name what JSON cannot hold, such as a callback."""


_CLASSES: dict[str, Any] = {
    **dict.fromkeys(("str", "string", "text", "unicode", "basestring", "char", "character", "anystr"), str),
    **dict.fromkeys(("int", "integer", "long"), int),
    **dict.fromkeys(("float", "double", "number", "numeric", "num", "real", "decimal", "numbers", "floating"), NUMBER),
    **dict.fromkeys(("bool", "boolean"), bool),
    **dict.fromkeys(("none", "null", "nonetype"), type(None)),
    **dict.fromkeys(("scalar", "object"), SCALAR),
    **dict.fromkeys(("any", "anything"), ANYTHING),
    **dict.fromkeys(
        ("list", "tuple", "set", "frozenset", "sequence", "iterable", "collection", "array", "iterator", "deque"),
        SCALARS,
    ),
    **dict.fromkeys(("dict", "dictionary", "mapping", "mutablemapping", "json", "hash"), OBJECT),
    **dict.fromkeys(("path", "filename", "pathlike", "path-like", "filepath", "bytes", "bytestring", "url"), str),
    **dict.fromkeys(("array_like", "array-like", "arraylike", "ndarray", "matrix"), NUMBERS),
    **dict.fromkeys(("callable", "function", "class", "type", "module", "logger", "generator"), NotJson),
    **dict.fromkeys(("file-like", "stream", "socket", "connection", "dtype", "data-type"), NotJson),
}  # fmt: skip
# What a parameter is called where its name says what it is. Such names have been looked for in the standard library.
_NAMED: dict[str, Any] = {
    **dict.fromkeys(("iterable", "iterables", "seq", "sequence", "lst", "population"), SCALARS),
    **dict.fromkeys(("mapping",), OBJECT),
    **dict.fromkeys(("callback", "callbacks", "func", "function", "fn", "predicate", "object_hook"), NotJson),
    **dict.fromkeys(("logger", "run_manager", "conn", "connection", "event_loop", "executor", "lock"), NotJson),
}
_LISTS = {"list", "tuple", "set", "frozenset", "sequence", "iterable", "collection", "array", "iterator", "deque"}
_DICTS = {"dict", "mapping", "mutablemapping", "ordereddict", "defaultdict"}
# For types that are known only here.
_LIST: Any = list
_DICT: Any = dict
_NOISE = re.compile(r":(?:py:)?\w+:`~?([^`]*)`|[`*]+")
_ASIDE = re.compile(
    r"\((?:optional|default)[^)]*\)|,?\s*\b(?:optional(?!\[)|default(?:s to|\s*[=:])?\s*\S+|required)\b.*$", re.I
)
_OF = re.compile(r"(?P<outer>[\w-]+?)s?\s+of\s+(?P<inner>.+)", re.I)
_ARRAY = re.compile(r"\b(array[_-]like|arrays?|ndarray|sequence|iterable|list)\b", re.I)
_BEFORE: dict[str, Any] = {
    **dict.fromkeys(("list", "sequence", "iterable", "array"), SCALARS),
    **dict.fromkeys(("dict", "dictionary", "mapping"), OBJECT),
    "bytes-like object": bytes,
}
# Functions to which a string is passed less often than an array is.
_EACH = (
    "sorted",
    "list",
    "tuple",
    "set",
    "frozenset",
    "sum",
    "fsum",
    "map",
    "zip",
    "enumerate",
    "max",
    "min",
    "any",
    "all",
)
_OF_TEXT = ("lower", "upper", "strip", "split", "encode", "startswith", "endswith", "replace", "format", "splitlines")
_OF_TABLES = ("items", "keys", "values", "get")
_CHOICES = re.compile(r"\{.*\}", re.S)


def type_of(
    parameter: inspect.Parameter, function: Callable[..., Any], words: str | None, examples: Mapping[str, Any]
) -> Any:
    """The type of a parameter without an annotation: `NotJson` where JSON cannot hold it, `SCALAR` where nothing says.

    `words` is what the docstring calls its type, `examples` what `in_examples` says.
    """
    scope = _scope(function)
    found = _in_stub(function, parameter.name, scope)
    if found is None and words:
        found = of_words(words, scope)
    if found is None:
        found = _of_default(parameter.default)
    if found is None:
        found = examples.get(parameter.name, _NAMED.get(parameter.name))
    if found is None:
        found = _in_prose(function, parameter.name)
    if found is None and parameter.kind is not parameter.VAR_POSITIONAL:
        # Of `*args` the body goes over the arguments, which says nothing of each.
        found = _in_body(function).get(parameter.name)
    return SCALAR if found is None else found


def named_items(name: str) -> Any:
    """The type of each of `*dicts`, `*paths`, `*numbers`: what the name is the plural of; else `SCALAR`."""
    found = _CLASSES.get(name.lower().removesuffix("s")) if name.endswith("s") else None
    return SCALAR if found in (None, NotJson) else found


def of_words(text: str, scope: Mapping[str, Any]) -> Any:
    """The type that `text` in a docstring names, such as "int or list of str"; None where none of it is known."""
    text = _NOISE.sub(lambda match: match[1] or "", text)
    text = _ASIDE.sub("", text).strip().rstrip(",.")
    if _CHOICES.fullmatch(text):
        return _choices(text)
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        tree = ast.parse(text, mode="eval")
        if not isinstance(tree.body, ast.Tuple) and (hint := _of_node(tree.body, scope)) is not None:
            return hint
    alternatives = re.split(r"\s+or\s+|\s*\|\s*|,\s*(?![^{]*\})(?![^\[]*\])", text)
    return _united([_of_phrase(part.strip(), scope) for part in alternatives if part.strip()])


def _of_phrase(text: str, scope: Mapping[str, Any]) -> Any:
    if _CHOICES.fullmatch(text):
        return _choices(text)
    if match := _OF.fullmatch(text):
        outer, inner = match["outer"].lower(), of_words(match["inner"].removesuffix("s"), scope)
        if outer in _LISTS:
            return _LIST[inner] if inner not in (None, NotJson) else SCALARS
        if outer in _CLASSES:
            return _CLASSES[outer]
    word = text.lower().removeprefix("a ").removeprefix("an ")
    if word in _CLASSES:
        return _CLASSES[word]
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        if (hint := _of_node(ast.parse(text, mode="eval").body, scope)) is not None:
            return hint
    # "(..., M, M) array_like", "1-D sequence of floats"
    if match := _ARRAY.search(text):
        return NUMBERS if "array" in match[0].lower() or "float" in text else SCALARS
    return None


def _choices(text: str) -> Any:
    """ "{'linear', 'nearest'}" as numpy's style writes it."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Set):
            values = [ast.literal_eval(item) for item in node.elts]
            if all(isinstance(value, str | int | bool | None) for value in values):
                return typing.Literal[tuple(values)]
    return None


def _of_node(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    """The type that an expression names; None where that is not known."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return of_words(text, scope)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named(name, scope)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _united([_of_node(left, scope), _of_node(right, scope)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _subscripted(name.lower(), inner.elts if isinstance(inner, ast.Tuple) else [inner], scope)
    return None


def _named(name: str, scope: Mapping[str, Any]) -> Any:
    value = scope.get(name)
    if isinstance(value, type) and getattr(builtins, name, None) is not value and name.lower() not in _CLASSES:
        if issubclass(value, Enum) or hasattr(value, "__dataclass_fields__") or hasattr(value, "model_fields"):
            return value
        if value.__module__ in ("datetime", "uuid", "decimal", "pathlib"):
            return value
        # Some class: no words of its would say whether JSON can hold it.
        return None
    return _CLASSES.get(name.lower())


def _subscripted(name: str, items: list[ast.expr], scope: Mapping[str, Any]) -> Any:
    if name == "literal":
        with suppress(ValueError):
            values = [ast.literal_eval(item) for item in items]
            return bool if all(isinstance(value, bool) for value in values) else typing.Literal[tuple(values)]
        return None
    if name == "sequence" and isinstance(items[0], ast.Name) and items[0].id in ("Hashable", "object"):
        return TEXT_OR_LIST
    inner = [_of_node(item, scope) for item in items]
    if name == "union":
        return _united(inner)
    if name == "optional":
        return _united([*inner, type(None)])
    if name in ("annotated", "final", "required", "notrequired"):
        return inner[0]
    known = [one for one in inner if one not in (None, NotJson)]
    if name in _LISTS:
        return _LIST[known[0]] if known and len(known) == 1 else SCALARS
    if name in _DICTS:
        return _DICT[str, known[-1]] if len(known) == 2 else OBJECT
    return _CLASSES.get(name)


def _united(choices: list[Any]) -> Any:
    known = [choice for choice in choices if choice is not None]
    held = [choice for choice in known if choice is not NotJson]
    if not held:
        return NotJson if known else None
    if held == [type(None)] and len(choices) > 1:
        # "None or Foo" says nothing of Foo.
        return NotJson if len(known) > 1 else None
    return Union[tuple(held)]  # noqa: UP007 (of a number of types that is not known here)


def _of_default(default: Any) -> Any:
    """The type that a default is of; None where it says nothing."""
    match default:
        case None | inspect.Parameter.empty:
            return None
        case bool():
            return bool
        case Enum():
            return type(default)
        case int() | float():
            return NUMBER
        case str() | bytes():
            return type(default) if type(default) in (str, bytes) else str
        case list() | tuple() | set() | frozenset():
            return SCALARS
        case dict():
            return OBJECT
    if type(default) is object or default is Ellipsis:
        # A mark for "not given".
        return None
    return NotJson if callable(default) or isinstance(default, types.ModuleType) else type(default)


def in_examples(name: str, text: str, parameters: list[inspect.Parameter]) -> dict[str, Any]:
    """By parameter, arrays and objects where the examples of a docstring (`>>> mean([1, 2])`) pass them."""
    found: dict[str, Any] = {}
    for parameter_name, seen in kinds_in_examples(name, text, parameters).items():
        if seen & {"array", "object", "rows"}:
            order = (("scalar", SCALAR), ("unknown", SCALAR), ("array", SCALARS), ("rows", ROWS), ("object", OBJECT))
            found[parameter_name] = _united([hint for kind, hint in order if kind in seen])
    return found


def _in_prose(function: Callable[..., Any], name: str) -> Any:
    """What stands around the name in the docstring: "insert x in list a", "the bytes-like object s", "items in a",
    "a and b (lists of strings)", "a -- list of lines"."""
    text, own = inspect.getdoc(function) or "", re.escape(name)
    if match := re.search(rf"\b({'|'.join(_BEFORE)})\W{{1,3}}{own}\b", text):
        return _BEFORE[match[1]]
    mark = "[`*'\"]*"
    behind = rf"\b{own}{mark}(?: and {mark}\w+{mark})? ?(?:--|\()\s?(?:both |an? )?(?:list|sequence|iterable|array)s?\b"
    inside = rf"\b(?:items|elements|members) (?:in|of) {mark}{own}\b"
    return SCALARS if re.search(behind, text) or re.search(inside, text) else None


@lru_cache(maxsize=512)
def _in_body(function: Callable[..., Any]) -> Mapping[str, Any]:
    """By parameter, what else than a scalar it may be: the function goes over it, takes it apart or looks keys up."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    # Whatever inspect stumbles over in generated code; a function of C has no source.
    except Exception:
        return {}
    arrays: set[str] = set()
    tables: set[str] = set()
    texts: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.For(iter=ast.Name(id=name)) | ast.comprehension(iter=ast.Name(id=name)):
                arrays.add(name)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=items) if called in _EACH:
                arrays.update(item.id for item in items if isinstance(item, ast.Name))
            case ast.Assign(targets=[ast.Tuple()], value=ast.Name(id=name)):
                arrays.add(name)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Slice()):
                arrays.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=method) if method in _OF_TEXT:
                texts.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=method) if method in _OF_TABLES:
                tables.add(name)
            case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id=name), ast.Constant(value="items")]):
                tables.add(name)
    found: dict[str, Any] = {}
    for name in (arrays | tables) - texts:
        hints = [hint for names, hint in ((arrays, SCALARS), (tables, OBJECT)) if name in names]
        found[name] = _united([SCALAR, *hints])
    return found


def _scope(function: Callable[..., Any]) -> Mapping[str, Any]:
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return vars(module) if module is not None else {}


def _in_stub(function: Callable[..., Any], name: str, scope: Mapping[str, Any]) -> Any:
    """The type that the stub file beside the function's module gives the parameter; None without one."""
    file = scope.get("__file__")
    if not isinstance(file, str):
        return None
    nodes = stub_annotations(file).get((str(getattr(function, "__qualname__", "")), name), ())
    hints = [_of_node(node, scope) for node in nodes]
    return _united(hints) if hints and None not in hints else None
