"""A function's signature as a person reads it in a table; it must never be parsed back."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic_core import to_jsonable_python


def signature_text(name: str, parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> str:
    """For example `get_current_weather(city: str, unit: "celsius" | "fahrenheit")`."""
    return f"{name}({', '.join(_parameter(parameter, hints[key]) for key, parameter in parameters.items())})"


def _parameter(parameter: inspect.Parameter, annotation: Any) -> str:
    text = f"{parameter.name}: {type_text(annotation)}"
    if parameter.default is inspect.Parameter.empty:
        return text
    return f"{text} = {_value(parameter.default)}"


def type_text(annotation: Any) -> str:
    """An annotation without module names: literals and the members of an enum stand for themselves."""
    if annotation is Any:
        return "any"
    if annotation is None or annotation is type(None):
        return "None"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " | ".join(_value(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is not None:
        inner = ", ".join("..." if argument is Ellipsis else type_text(argument) for argument in arguments)
        return f"{_class_name(origin)}[{inner}]"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(_value(member) for member in annotation)
    return _class_name(annotation)


def _class_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).rpartition(".")[2]


def _value(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return '"' + value.replace('"', '\\"') + '"'
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    try:
        return str(to_jsonable_python(value))
    except ValueError:
        return "..."
