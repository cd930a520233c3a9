"""What a tool's function takes: its JSON Schema for the model and the pydantic model that checks arguments.

Both come from the same signature and docstring, so they cannot disagree. Nothing here calls the function.
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from toolchat.tools.schema_tidy import tidied
from toolchat.tools.signature import signature_text, type_text

_EMPTY = inspect.Parameter.empty


class SchemaError(Exception):
    """A function that cannot be a tool; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """What is known of a function without calling it."""

    parameters: dict[str, Any]
    """A JSON Schema (draft 7) of type "object"; its properties stand in the order of the signature."""
    model: type[BaseModel]
    """Checks and converts arguments. Its fields have invented names, the parameters are their aliases: a
    parameter may be called "json" or "model_x" without clashing with pydantic's own."""
    signature: str
    summary: str | None
    """The docstring's first line."""


def function_schema(function: Callable[..., Any]) -> FunctionSchema:
    """The schema of a function from its type hints and its docstring.

    Raises:
        SchemaError: the function takes something that a model cannot be asked for.
    """
    _check_kind(function)
    parameters = _parameters(function)
    hints = _hints(function, parameters)
    documentation = _documentation(function)
    described = {item.arg_name: " ".join((item.description or "").split()) for item in documentation.params}
    fields: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(parameters.items()):
        default = ... if parameter.default is _EMPTY else None
        info: Any = Field(default, alias=name, description=described.get(name) or None)
        fields[f"p{number}"] = (hints[name], info)
    model, schema = _model(fields, hints)
    _set_defaults(schema["properties"], parameters)
    name = function.__name__
    summary = documentation.short_description
    return FunctionSchema(
        schema, model, signature_text(name, parameters, hints), " ".join(summary.split()) if summary else None
    )


def _check_kind(function: Callable[..., Any]) -> None:
    if inspect.isclass(function):
        raise SchemaError("it is a class; expected a function; write a def that uses the class")
    if not inspect.isroutine(function):
        raise SchemaError(f"it is a {type(function).__name__}; expected a function; wrap it in a def")
    if function.__name__ == "<lambda>":
        raise SchemaError("it is a lambda, which has neither types nor a docstring; expected a def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SchemaError("it is a generator; expected a function that returns its result; collect the values")


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise SchemaError("it has no readable signature; wrap it in a def with type hints") from None
    for name, parameter in parameters.items():
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                raise SchemaError(f"it takes *{name}; expected named parameters; take a list instead")
            case inspect.Parameter.VAR_KEYWORD:
                raise SchemaError(f"it takes **{name}; expected named parameters; name each of them")
            case inspect.Parameter.POSITIONAL_ONLY:
                raise SchemaError(f"its parameter {name} is positional-only; remove the / from the signature")
        if parameter.annotation is _EMPTY:
            raise SchemaError(f"its parameter {name} has no type; add a type hint such as {name}: str")
    return parameters


def _hints(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The parameters' types. The result's type is left alone: it may exist for type checkers only."""
    plain = inspect.unwrap(function)
    scope = plain.__globals__ if isinstance(plain, types.FunctionType) else {}
    hints: dict[str, Any] = {}
    for name, parameter in parameters.items():
        holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
        try:
            hints.update(get_type_hints(holder, globalns=scope, include_extras=True))
        except Exception as error:
            reason = f"the type of its parameter {name} cannot be resolved ({error})"
            raise SchemaError(f"{reason}; import that type where the program runs") from None
    return hints


def _documentation(function: Callable[..., Any]) -> docstring_parser.Docstring:
    try:
        return docstring_parser.parse(inspect.getdoc(function) or "")
    except docstring_parser.ParseError:
        return docstring_parser.Docstring()


def _model(fields: dict[str, Any], hints: dict[str, Any]) -> tuple[type[BaseModel], dict[str, Any]]:
    # A small model writes 264 where "264" is asked for; the check marks such a conversion as a repair.
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)
    try:
        model = create_model("Arguments", __config__=config, **fields)
        return model, tidied(model.model_json_schema())
    except Exception:
        for name, hint in hints.items():
            _check_type(name, hint)
        raise


def _check_type(name: str, hint: Any) -> None:
    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError:
        reason = f"its parameter {name} is a {type_text(hint)}, which JSON cannot hold"
        raise SchemaError(f"{reason}; take str, int, float, bool, a list or a dict") from None


def _set_defaults(properties: dict[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Tell the model the defaults that mean something; None only says "may be left out"."""
    for name, parameter in parameters.items():
        if parameter.default is _EMPTY or parameter.default is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                properties[name]["default"] = to_jsonable_python(parameter.default)
        except PydanticSerializationError:
            continue
