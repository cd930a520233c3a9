"""Fits the `arguments:` of a tools file to what a function or constructor takes, by its names and annotations."""

from __future__ import annotations

import copy
import inspect
import json
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from toolchat.tools.hints import HintError, resolved_hints
from toolchat.tools.options import not_as_meant
from toolchat.tools.problems import Place, did_you_mean
from toolchat.tools.variables import MissingVariable, expanded

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
Problem = tuple[Place, str]


def expanded_arguments(
    arguments: Mapping[str, Any] | None, places: Mapping[str, Place], environment: Mapping[str, str]
) -> tuple[dict[str, Any], list[Problem]]:
    """The values with `${NAME}` replaced, and what is missing for that."""
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in (arguments or {}).items():
        try:
            given[name] = expanded(value, environment)
        except MissingVariable as missing:
            what = f"{name} needs the variable {missing.name}, which is not set; set it before toolchat starts"
            problems.append(
                (places[f"arguments.{name}"], f"{what}, or write ${{{missing.name}:-another value}} for when it is not")
            )
    return given, problems


def fit_arguments(
    function: Callable[..., Any],
    hinted: Callable[..., Any],
    given: dict[str, Any],
    places: Mapping[str, Place],
    *,
    name: str,
    needs_all: Place | None = None,
    misread: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Convert `given` in place to what the annotations of `hinted` say; what does not fit is returned.

    Args:
        function: what is called.
        hinted: what has its annotations: of a class, the constructor.
        given: values by parameter.
        places: of each value, as "arguments.NAME".
        name: of the function, for people.
        misread: of `given`, how those are written that are a word which YAML reads as true or false. They are right
            only for a parameter that is true or false.
        needs_all: where to say that an argument is missing; None where the rest comes from the model.
    """
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    except (ValueError, TypeError):
        parameters = {}
    problems: list[Problem] = [
        (places[f"arguments.{key}"], not_as_meant(key, word, json.dumps(given[key])))
        for key, word in (misread or {}).items()
        if key in given and not is_switch(hinted, parameters.get(key))
    ]
    if problems or not parameters:
        return problems
    kinds = inspect.Parameter
    variadic = any(item.kind is kinds.VAR_KEYWORD for item in parameters.values())
    named = {key: item for key, item in parameters.items() if item.kind is not kinds.VAR_KEYWORD}
    for key in given:
        if key not in named and not variadic:
            known = f"expected {', '.join(named)}" if named else "expected none"
            what = f'"{name}" takes no argument "{key}"; {known}'
            problems.append((places[f"arguments.{key}"], f"{what}; {did_you_mean(key, named, 'remove it')}"))
    missing = [
        key
        for key, item in named.items()
        if item.default is kinds.empty and item.kind is not kinds.VAR_POSITIONAL and key not in given
    ]
    if missing and needs_all is not None:
        what = f'"{name}" needs the argument{"s" if len(missing) > 1 else ""} {", ".join(missing)}'
        problems.append((needs_all, f"{what}; expected arguments: with each of them; add {missing[0]}: VALUE"))
    for key, value in given.items():
        if key in named and (message := _convert(hinted, named[key], given, value)):
            what = f"{key} does not fit {'the constructor' if needs_all is not None else 'the function'}: {message}"
            problems.append((places[f"arguments.{key}"], f"{what}; correct it"))
    return problems


def is_switch(hinted: Any, parameter: inspect.Parameter | None) -> bool:
    """Whether a parameter is true or false, or nothing."""
    if parameter is None:
        return False
    if parameter.annotation is inspect.Parameter.empty:
        return isinstance(parameter.default, bool)
    try:
        hint = resolved_hints(hinted, {parameter.name: parameter})[parameter.name]
    except HintError:
        return False
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    choices = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return bool in choices and all(choice in (bool, type(None)) for choice in choices)


def _convert(hinted: Any, parameter: inspect.Parameter, given: dict[str, Any], value: Any) -> str | None:
    """What is wrong with the value of one argument; None where it fits, or where its type says nothing."""
    if parameter.kind is parameter.VAR_POSITIONAL and not isinstance(value, list):
        return "expected a list"
    if parameter.annotation is inspect.Parameter.empty:
        return None
    try:
        hint = resolved_hints(hinted, {parameter.name: parameter})[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            hint = types.GenericAlias(list, (hint,))
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except (HintError, PydanticUserError, TypeError):
        return None
    try:
        given[parameter.name] = adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Input should be ")
        return f"expected {message}"
    return None


def by_name(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """What a call with all of `values` by name gives, those that can be passed by position only among them."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return function(**values)
    kinds = inspect.Parameter
    bound = inspect.BoundArguments(signature, OrderedDict())
    others = {key: value for key, value in values.items() if key not in signature.parameters}
    ordered = [item for item in signature.parameters.values() if item.kind in (*_BY_POSITION, kinds.VAR_POSITIONAL)]
    # What is passed by position needs all before it in its place.
    forced = [item.name for item in ordered if item.kind is not kinds.POSITIONAL_OR_KEYWORD and item.name in values]
    needed = ordered[: [item.name for item in ordered].index(forced[-1])] if forced else []
    for item in signature.parameters.values():
        if item.name in values:
            value = values[item.name]
            bound.arguments[item.name] = tuple(value) if item.kind is kinds.VAR_POSITIONAL else value
        elif item.kind is kinds.VAR_KEYWORD:
            bound.arguments[item.name] = others
        elif item in needed and item.default is not kinds.empty:
            bound.arguments[item.name] = item.default
    return function(*bound.args, **bound.kwargs)


@dataclass(frozen=True, slots=True)
class Bound:
    """A callable with some of its parameters set: the model neither sees nor sets them."""

    function: Callable[..., Any]
    """Takes all of them by name."""
    values: Mapping[str, Any]

    def __call__(self, /, **values: Any) -> Any:
        # Each call its own: a list that one call changes is not the next one's.
        return self.function(**{name: _copied(value) for name, value in self.values.items()}, **values)

    def __repr__(self) -> str:
        # The values may be secret.
        return f"Bound({self.function!r}, {', '.join(self.values)})"


def _copied(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # what cannot be copied is shared
        return value
