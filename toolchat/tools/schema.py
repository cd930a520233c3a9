"""What a tool's function takes: its JSON Schema for the model and the pydantic model that checks arguments.

Both come from the same signature, docstring and tools file, so they cannot disagree. Nothing here calls the function.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from toolchat.tools.constraints import Parameter, contradictions, enforcer, merged
from toolchat.tools.docstrings import documentation
from toolchat.tools.hints import HintError, resolved_hints
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place, did_you_mean
from toolchat.tools.schema_tidy import tidied
from toolchat.tools.signature import signature_text, type_text

_EMPTY = inspect.Parameter.empty
# A small model writes 264 where "264" is asked for; the check marks such a conversion as a repair.
_CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


class SchemaError(Exception):
    """A function that cannot be a tool; the message says why and what to change."""


class ParametersError(Exception):
    """What a tools file says of parameters does not fit the function."""

    def __init__(self, problems: list[tuple[Place, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """What is known of a function without calling it."""

    parameters: dict[str, Any]
    """A JSON Schema (draft 7) of type "object"; its properties stand in the order of the signature."""
    model: type[BaseModel]
    """Checks and converts arguments. Its fields have invented names, the parameters are their aliases: a
    parameter may be called "json" or "model_x" without clashing with pydantic's own. A field with a default factory
    has its default from the tools file, and the function is to be given it."""
    signature: str
    summary: str | None
    """The docstring's first paragraph, on one line."""


def function_schema(
    function: Callable[..., Any], entries: Mapping[str, ParameterEntry] | None = None
) -> FunctionSchema:
    """The schema of a function from its type hints, its docstring and what a tools file says of its parameters.

    Raises:
        SchemaError: the function takes something that a model cannot be asked for.
        ParametersError: `entries` name parameters that it does not have, or contradict their types.
    """
    _check_kind(function)
    parameters = _parameters(function)
    try:
        hints = resolved_hints(function, parameters)
    except HintError as error:
        raise SchemaError(str(error)) from None
    documented = documentation(function, parameters)
    fields: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(parameters.items()):
        info: dict[str, Any] = {"alias": name}
        if parameter.default is not _EMPTY:
            info["default"] = None
        # Given as None, it would hide a description in the annotation.
        if name in documented.parameters:
            info["description"] = documented.parameters[name]
        fields[f"p{number}"] = (hints[name], Field(**info))
    model, schema = _model(fields, hints)
    _set_defaults(schema["properties"], parameters)
    if entries:
        model, schema = _with_entries(fields, parameters, hints, schema, entries)
    return FunctionSchema(schema, model, signature_text(function.__name__, parameters, hints), documented.summary)


def _check_kind(function: Callable[..., Any]) -> None:
    if inspect.isclass(function):
        raise SchemaError("it is a class; expected a function; name the class in the tools file itself")
    if not inspect.isroutine(function):
        raise SchemaError(f"it is a {type(function).__name__}; expected a function; wrap it in a def")
    if function.__name__ == "<lambda>":
        raise SchemaError("it is a lambda, which has neither types nor a docstring; expected a def")
    if inspect.isasyncgenfunction(function):
        raise SchemaError(
            "it is an asynchronous generator, which cannot return a result; expected a function, or a generator that "
            "yields its progress and returns its result; leave out the async or the yield"
        )


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


class _Generator(GenerateJsonSchema):
    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number; the string that pydantic takes as well would only confuse a model."""
        made = super().decimal_schema(schema)
        numbers = [choice for choice in made.get("anyOf", ()) if choice.get("type") == "number"]
        return numbers[0] if numbers else made


def _model(fields: dict[str, Any], hints: dict[str, Any]) -> tuple[type[BaseModel], dict[str, Any]]:
    try:
        model = create_model("Arguments", __config__=_CONFIG, **fields)
        return model, tidied(model.model_json_schema(schema_generator=_Generator))
    except Exception:
        for name, hint in hints.items():
            _check_type(name, hint)
        raise


def _check_type(name: str, hint: Any) -> None:
    try:
        _probe(hint).model_json_schema()
    except (PydanticUserError, TypeError, RecursionError) as error:
        reason = f"its parameter {name} is a {type_text(hint)}, which JSON cannot hold"
        if isinstance(error, PydanticUserError) and error.code == "typed-dict-version":
            reason = f"its parameter {name} holds a TypedDict inside another type; import it from typing_extensions"
            raise SchemaError(f"{reason}; expected that before Python 3.12") from None
        raise SchemaError(f"{reason}; take str, int, float, bool, a list or a dict") from None


def _probe(hint: Any) -> type[BaseModel]:
    return create_model("Probe", __config__=_CONFIG, value=(hint, ...))


def _set_defaults(properties: dict[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Tell the model the defaults that mean something; None only says "may be left out"."""
    for name, parameter in parameters.items():
        if parameter.default is _EMPTY or parameter.default is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                properties[name]["default"] = to_jsonable_python(parameter.default)
        except (PydanticSerializationError, RecursionError):
            continue


def _with_entries(
    fields: dict[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    plain: dict[str, Any],
    entries: Mapping[str, ParameterEntry],
) -> tuple[type[BaseModel], dict[str, Any]]:
    """The model and the schema once more, with what the tools file says; `plain` is the schema without it."""
    problems: list[tuple[Place, str]] = []
    own: dict[str, Parameter] = {}
    for name, entry in entries.items():
        if name not in parameters:
            known = f"expected {', '.join(parameters)}" if parameters else "expected none, the function takes nothing"
            problems.append(
                (entry.place, f'unknown parameter "{name}"; {known}; {did_you_mean(name, parameters, "remove it")}')
            )
            continue
        default = parameters[name].default
        own[name] = Parameter(
            name,
            plain["properties"][name],
            plain.get("$defs", {}),
            _probe(hints[name]),
            None if default is _EMPTY else default,
        )
        problems.extend(contradictions(own[name], entry))
    if problems:
        raise ParametersError(problems)
    changed: dict[str, Any] = {}
    for field, (hint, info) in fields.items():
        if info.alias not in own:
            changed[field] = (hint, info)
            continue
        entry, parameter = entries[info.alias], own[info.alias]
        if "default" in entry.keywords:
            value = parameter.converted(entry.keywords["default"])
            info = Field(default_factory=_copies(value), alias=info.alias)
        changed[field] = (Annotated[hint, AfterValidator(enforcer(parameter, entry))], info)
    model = create_model("Arguments", __config__=_CONFIG, **changed)
    schema = tidied(model.model_json_schema(schema_generator=_Generator))
    _set_defaults(schema["properties"], parameters)
    for name, parameter in own.items():
        now = Parameter(name, schema["properties"][name], parameter.definitions, parameter.probe)
        required = name in schema.get("required", ())
        schema["properties"][name] = merged(now, entries[name], required=required)
    return model, schema


def _copies(value: Any) -> Callable[[], Any]:
    return lambda: copy.deepcopy(value)
