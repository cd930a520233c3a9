"""Resolves the types of a function's parameters into the form that pydantic takes. Nothing here calls the function."""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import typing_extensions
from pydantic import Field


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


def resolved_hints(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The parameters' types. The result's type is left alone: it may exist for type checkers only.

    Raises:
        HintError: a name in an annotation means nothing where the program runs, or the type cannot be asked for.
    """
    plain = inspect.unwrap(function)
    plain = plain.__func__ if isinstance(plain, types.MethodType) else plain
    scope = plain.__globals__ if isinstance(plain, types.FunctionType) else {}
    hints: dict[str, Any] = {}
    for name, parameter in parameters.items():
        holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
        try:
            found = typing.get_type_hints(holder, globalns=scope, include_extras=True)
        except Exception as error:
            reason = f"the type of its parameter {name} cannot be resolved ({error})"
            raise HintError(f"{reason}; import that type where the program runs") from None
        try:
            hints[name] = _rewritten(found[name], ())
        except HintError as error:
            raise HintError(f"its parameter {name} {error}") from None
    return hints


def _rewritten(hint: Any, inside: tuple[Any, ...]) -> Any:
    """`hint` with plain text in Annotated as a description, Iterable as list, and TypedDict as pydantic wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _READ_ONCE or origin in _READ_ONCE:
        raise HintError("can be read only once, and JSON cannot hold that; take a list")
    if hint is type or origin is type:
        raise HintError("is a class, which JSON cannot hold; take its name as a string")
    if typing.is_typeddict(hint):
        return _typed_dict(hint, inside)
    if hint is collections.abc.Iterable or hint is typing.Iterable:
        return list
    if origin in (None, typing.Literal, collections.abc.Callable):
        return hint
    if origin is typing.Annotated:
        inner = _rewritten(arguments[0], inside)
        return typing.Annotated[(inner, *(_described(item) for item in arguments[1:]))]
    changed = tuple(_rewritten(argument, inside) for argument in arguments)
    if origin is collections.abc.Iterable:
        # Pydantic would hand over an iterator that checks each item only when it is read, inside the function.
        return list[changed[0]]  # type: ignore[valid-type]
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return hint
    if origin in (typing.Union, types.UnionType):
        return typing.Union[changed]  # noqa: UP007
    return origin[changed]


def _described(item: Any) -> Any:
    if isinstance(item, str):
        return Field(description=" ".join(item.split()))
    if isinstance(item, typing_extensions.Doc):
        return Field(description=" ".join(item.documentation.split()))
    return item


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
