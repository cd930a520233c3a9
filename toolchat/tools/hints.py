"""Resolves the types of a function's parameters into the form that pydantic takes. Nothing here calls the function."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import numbers
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import typing_extensions
from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from toolchat.tools.checker_names import CheckerNames, Unresolved
from toolchat.tools.json_schema import ANYTHING, NUMBER, OBJECT, TEXT_OR_LIST


class HintError(Exception):
    """A type that no model can be asked for; the message says why and what to write instead."""


_READ_ONCE: tuple[Any, ...] = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
    collections.abc.Awaitable,
)
_AS_LIST = (
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Container,
    collections.abc.Reversible,
    collections.abc.MutableSequence,
)
_AS_SET = (collections.abc.Set, collections.abc.MutableSet)
_INSTEAD: tuple[tuple[Any, Any], ...] = (
    *((one, list) for one in (*_AS_LIST, collections.abc.Sequence, typing.Iterable, typing.Collection)),
    *((one, set) for one in (*_AS_SET, typing.AbstractSet)),
    (typing.LiteralString, str),
    (typing_extensions.LiteralString, str),
    (os.PathLike, Path),
    (numbers.Number, NUMBER),
    (numbers.Complex, NUMBER),
    (numbers.Real, NUMBER),
    (numbers.Rational, NUMBER),
    (numbers.Integral, int),
    (typing.SupportsFloat, NUMBER),
    (typing.SupportsInt, int),
    (typing.SupportsIndex, int),
)
_PLAIN: tuple[Any, ...] = (str, int, float, bool, type(None), bytes, list, dict, tuple, set)
_ALIASES: tuple[Any, ...] = tuple(
    {alias for module in (typing, typing_extensions) if (alias := getattr(module, "TypeAliasType", None)) is not None}
)
_MAX_WRAPPED = 50


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that holds the code: below partials, decorators, bound methods and callable objects."""
    for _ in range(_MAX_WRAPPED):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif (inner := inspect.getattr_static(function, "__wrapped__", None)) is not None and callable(inner):
            function = inner
        elif isinstance(called := inspect.getattr_static(type(function), "__call__", None), types.FunctionType):
            return called
        else:
            break
    return function


def resolved_hints(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], notes: list[str] | None = None
) -> dict[str, Any]:
    """The parameters' types. The result's type is left alone: it may exist for type checkers only.

    Names that are imported for type checkers only are looked up where that imports no other package; of the rest the
    type is any JSON value of bounded depth, and `notes` is given their names.

    Raises:
        HintError: a name in an annotation means nothing where the program runs, or the type cannot be asked for.
    """
    return {name: resolved_hint(function, name, item.annotation, notes) for name, item in parameters.items()}


def resolved_hint(function: Callable[..., Any], name: str, annotation: Any, notes: list[str] | None = None) -> Any:
    """As `resolved_hints`, of the one parameter `name`."""
    plain = plain_function(function)
    scope = _globals(plain)
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    names = CheckerNames(scope)
    try:
        try:
            found = typing.get_type_hints(holder, globalns=scope, include_extras=True)
        except NameError:
            found = typing.get_type_hints(holder, globalns=scope, localns=names, include_extras=True)
    except NameError as error:
        # One that stands in an alias of another module means something there; a misspelt one stands here.
        if isinstance(annotation, str) and _has_word(annotation, error.name):
            reason = f"the type of its parameter {name} cannot be resolved ({error})"
            raise HintError(f"{reason}; import that type where the program runs") from None
        if notes is not None:
            notes.append(name)
        return ANYTHING
    except AttributeError:
        # A module has a name for type checkers only, or has it no more.
        if notes is not None:
            notes.append(name)
        return ANYTHING
    except Exception as error:
        reason = f"the type of its parameter {name} cannot be resolved ({error})"
        raise HintError(f"{reason}; import that type where the program runs") from None
    try:
        hint = _rewritten(found[name], ())
    except HintError as error:
        raise HintError(f"its parameter {name} {error}") from None
    if names.unknown and notes is not None:
        notes.append(name)
    return hint


def _has_word(text: str, name: str | None) -> bool:
    return name is None or re.search(rf"\b{re.escape(name)}\b", text) is not None


def _globals(function: Any) -> dict[str, Any]:
    if isinstance(function, types.FunctionType):
        return function.__globals__
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return vars(module) if module is not None else {}


def _rewritten(hint: Any, inside: tuple[Any, ...]) -> Any:
    """`hint` in the words of pydantic, such as plain text in Annotated as a description, and Iterable as list."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and origin is None and issubclass(hint, Unresolved):
        return ANYTHING
    if any(hint is one or origin is one for one in _READ_ONCE):
        raise HintError("can be read only once, and JSON cannot hold that; take a list")
    if hint is type or origin is type:
        raise HintError("is a class, which JSON cannot hold; take its name as a string")
    if typing.is_typeddict(hint):
        return _typed_dict(hint, inside)
    if isinstance(hint, typing.NewType):
        return _rewritten(hint.__supertype__, inside)
    if isinstance(hint, dataclasses.InitVar):
        return _rewritten(hint.type, inside)
    kind = hint if origin is None else origin
    if isinstance(kind, type) and issubclass(kind, collections.abc.Mapping) and not holdable(hint):
        # Of a library's own kind, as requests has one: whatever can be done with it can be done with a dict, mostly.
        return OBJECT
    if isinstance(hint, type) and issubclass(hint, str | int | float) and not holdable(hint):
        # A text or number with methods of its own: made of a plain one, as its own module makes it.
        plain = next(base for base in (str, int, float) if issubclass(hint, base))
        return typing.Annotated[plain, AfterValidator(hint)]
    if isinstance(hint, _ALIASES):
        # One that holds itself stays: pydantic gives it a definition of its own.
        value = hint.__value__
        return hint if hint in inside or _holds(value, hint) else _rewritten(value, (*inside, hint))
    if isinstance(hint, typing.TypeVar):
        return _of_variable(hint, inside)
    for known, instead in _INSTEAD:
        if hint is known:
            return instead
    if origin in (None, typing.Literal, collections.abc.Callable):
        return hint
    if origin is typing.Final:
        return _rewritten(arguments[0], inside)
    if origin is typing.Annotated:
        inner = _rewritten(arguments[0], inside)
        extras = [_described(item) for item in arguments[1:]]
        return _annotated(inner, extras)
    if origin in (typing.Union, types.UnionType):
        return _union(hint, arguments, inside)
    if origin is collections.abc.Sequence and arguments and arguments[0] in (collections.abc.Hashable, object):
        # Of which a text is one: what compares any two sequences is mostly given texts.
        return TEXT_OR_LIST
    changed = tuple(_rewritten(argument, inside) for argument in arguments)
    if origin in _AS_LIST:
        # Pydantic would hand over an iterator that checks each item only when it is read, inside the function.
        return list[changed[0]]  # type: ignore[valid-type]
    if origin in _AS_SET:
        return set[changed[0]]  # type: ignore[valid-type]
    if origin is os.PathLike:
        return Path
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return hint
    # Unpack does not take a tuple.
    return origin[changed[0]] if len(changed) == 1 else origin[changed]


def _union(hint: Any, choices: tuple[Any, ...], inside: tuple[Any, ...]) -> Any:
    """Without the choices that JSON cannot hold, as long as one is left that it can."""
    kept: list[Any] = []
    problem: HintError | None = None
    for choice in choices:
        try:
            changed = _rewritten(choice, inside)
        except HintError as error:
            problem = error
            continue
        if changed in _PLAIN or holdable(changed):
            kept.append(changed)
    if not [choice for choice in kept if choice is not type(None)]:
        if problem is not None:
            raise problem
        return hint
    return hint if kept == list(choices) else typing.Union[tuple(kept)]  # noqa: UP007


def holdable(hint: Any, *, needed: bool = True) -> bool:
    """Whether pydantic can describe the type in JSON.

    `needed`: what pydantic cannot find the parts of counts as well, so that it is told with what to do about it; a
    parameter that may be left out need not be right.
    """
    if any(hint is plain for plain in _PLAIN):
        return True
    try:
        return _holdable_once(hint, needed)
    except TypeError:
        # What is put into an Annotated need not have a hash.
        return _holdable(hint, needed)


def _holdable(hint: Any, needed: bool) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TypeAdapter(hint).json_schema()
    except PydanticUserError as error:
        # These are told with what to do about them.
        return error.code == "typed-dict-version" or (needed and error.code == "class-not-fully-defined")
    except (TypeError, ValueError, AttributeError, RecursionError):
        return False
    return True


# One type stands at many parameters, and asking pydantic takes a millisecond.
_holdable_once = lru_cache(maxsize=1024, typed=True)(_holdable)


def _annotated(inner: Any, extras: list[Any]) -> Any:
    """Without what other libraries mean by it, where pydantic stumbles over that."""
    made = typing.Annotated[(inner, *extras)]
    if all(_of_pydantic(item) for item in extras) or holdable(made) or not holdable(inner):
        return made
    kept = [item for item in extras if _of_pydantic(item)]
    return typing.Annotated[(inner, *kept)] if kept else inner


def _of_pydantic(item: Any) -> bool:
    return type(item).__module__.partition(".")[0] in ("pydantic", "annotated_types", "toolchat")


def _of_variable(hint: typing.TypeVar, inside: tuple[Any, ...]) -> Any:
    if hint.__bound__ is not None and not isinstance(hint.__bound__, typing.ForwardRef):
        return _rewritten(hint.__bound__, inside)
    choices = hint.__constraints__
    if str in choices:
        # AnyStr and its like: of text and bytes, JSON holds text as it is.
        choices = tuple(choice for choice in choices if choice not in (bytes, bytearray, memoryview))
    return _union(typing.Union[choices], choices, inside) if choices else hint  # noqa: UP007


def _holds(value: Any, hint: Any) -> bool:
    return value is hint or any(_holds(item, hint) for item in typing.get_args(value)) or _names(value, hint)


def _names(value: Any, hint: Any) -> bool:
    return isinstance(value, str | typing.ForwardRef) and getattr(value, "__forward_arg__", value) == hint.__name__


def _described(item: Any) -> Any:
    if isinstance(item, str):
        return Field(description=" ".join(item.split()))
    if isinstance(item, typing_extensions.Doc):
        return Field(description=" ".join(item.documentation.split()))
    return field_of(item) or item


def field_of(item: Any) -> FieldInfo | None:
    """What `typer.Option(...)` and `typer.Argument(...)` say, as pydantic's Field; None for all else."""
    if type(item).__module__ != "typer.models" or not isinstance(getattr(item, "help", ""), str | None):
        return None
    words: dict[str, Any] = {"ge": getattr(item, "min", None), "le": getattr(item, "max", None)}
    words = {key: value for key, value in words.items() if value is not None}
    if item.help:
        words["description"] = " ".join(item.help.split())
    if item.default_factory is not None:
        words["default_factory"] = item.default_factory
    elif item.default is not ...:
        words["default"] = item.default
    field: FieldInfo = Field(**words)
    return field


def _typed_dict(hint: Any, inside: tuple[Any, ...]) -> Any:
    """Before Python 3.12 pydantic takes the TypedDict of typing_extensions only: the same one, made there."""
    if sys.version_info >= (3, 12) or type(hint).__module__ != "typing":
        return hint
    if hint in inside:
        raise HintError(f"is a TypedDict, {hint.__name__}, that holds itself; take TypedDict from typing_extensions")
    try:
        fields = typing.get_type_hints(hint, include_extras=True)
    except Exception as error:
        what = f"is a TypedDict, {hint.__name__}, whose types cannot be resolved ({error})"
        raise HintError(f"{what}; import them where the program runs") from None
    remade: dict[str, Any] = {}
    for name, value in fields.items():
        required = name in hint.__required_keys__
        # Annotations that are text hide these marks from typing itself.
        if typing.get_origin(value) in (typing.Required, typing.NotRequired):
            required = typing.get_origin(value) is typing.Required
            value = typing.get_args(value)[0]
        inner = _rewritten(value, (*inside, hint))
        remade[name] = inner if required else typing_extensions.NotRequired[inner]
    make: Any = typing_extensions.TypedDict
    made = make(hint.__name__, remade)
    made.__doc__ = hint.__doc__
    made.__module__ = hint.__module__
    return made
