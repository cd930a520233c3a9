"""Makes a tool's JSON Schema for the model, and the pydantic model that checks its arguments, from its function.

Both come from the same signature, docstring and tools file, so they cannot disagree. The schema is as plain as those
that small models are trained on: no titles, no references where the thing itself fits, no null beside an optional
parameter. Nothing here calls the function.
"""

from __future__ import annotations

import copy
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
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


Schema = dict[str, Any]

_PREFIX = "#/$defs/"
# Those that constrained generation can hold a model to. The others ("path", "binary") say nothing about the text.
_FORMATS = ("date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri")
# The order of the keywords in the schemas that tool-calling models are trained on.
_ORDER = ("type", "description", "enum")
_OF_SCHEMA = ("items", "additionalProperties", "not", "contains", "propertyNames")
_OF_LIST = ("anyOf", "allOf", "oneOf", "prefixItems")
_OF_MAPPING = ("properties", "$defs", "patternProperties")


def tidied(schema: Schema) -> Schema:
    """`schema` as {"type": "object", "properties": …, "required": …}; "$defs" only where it is recursive."""
    definitions: Schema = schema.get("$defs", {})
    recursive = {name for name in definitions if _reaches(definitions, name, name)}
    body = {key: value for key, value in schema.items() if key not in ("$defs", "additionalProperties")}
    result: Schema = _tidy(_inlined(body, definitions, recursive))
    result.setdefault("properties", {})
    if recursive:
        kept = {name: definitions[name] for name in definitions if name in recursive}
        result["$defs"] = {name: _tidy(_inlined(value, definitions, recursive)) for name, value in kept.items()}
    return result


def _mapped(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """`schema` with `change` applied to each schema directly inside it; data (enum, default) stays."""
    result: Schema = {}
    for key, value in schema.items():
        if key in _OF_MAPPING:
            result[key] = {name: change(inner) for name, inner in value.items()}
        elif key in _OF_LIST:
            result[key] = [change(inner) for inner in value]
        elif key in _OF_SCHEMA and isinstance(value, dict):
            result[key] = change(value)
        else:
            result[key] = value
    return result


def _references(schema: Any) -> set[str]:
    found: set[str] = set()

    def visit(inner: Any) -> Any:
        if isinstance(inner, dict):
            reference = inner.get("$ref")
            if isinstance(reference, str):
                found.add(reference.removeprefix(_PREFIX))
            _mapped(inner, visit)
        return inner

    visit(schema)
    return found


def _reaches(definitions: Schema, start: str, goal: str) -> bool:
    seen: set[str] = set()
    pending = [start]
    while pending:
        for name in _references(definitions[pending.pop()]):
            if name == goal:
                return True
            if name not in seen and name in definitions:
                seen.add(name)
                pending.append(name)
    return False


def _inlined(schema: Any, definitions: Schema, recursive: set[str]) -> Any:
    """`schema` with each reference replaced by what it refers to, but for those that would never end."""
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix(_PREFIX)
    if name in definitions and name not in recursive:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[name], **beside}
    return _mapped(schema, lambda inner: _inlined(inner, definitions, recursive))


def _tidy(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = _mapped(_plainer(schema), _tidy)
    required = result.get("required", [])
    if "properties" in result:
        result["properties"] = {
            name: value if name in required else _optional(value) for name, value in result["properties"].items()
        }
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}


def _plainer(schema: Schema) -> Schema:
    """`schema` in the keywords that constrained generation knows, and without those that say nothing to a model."""
    result = {key: value for key, value in schema.items() if key not in ("title", "discriminator", "uniqueItems")}
    if result.get("format") not in (None, *_FORMATS):
        del result["format"]
    if "description" in result:
        # A class's docstring: its first paragraph says what it is, the rest how it is used.
        result["description"] = " ".join(str(result["description"]).partition("\n\n")[0].split())
    if result.get("additionalProperties") is False and "properties" in result:
        # Constrained generation closes every object that names its properties; the model needs no word of it.
        del result["additionalProperties"]
    if "oneOf" in result:
        # Pydantic writes it for tagged unions alone, of whose choices never two fit.
        result["anyOf"] = result.pop("oneOf")
    items = result.get("prefixItems")
    if items:
        # The fields of a named tuple: their names stand in titles only.
        named = [{"description": item["title"], **item} if "title" in item else item for item in items]
        result["prefixItems"] = named
        if all(item == named[0] for item in named) and result.get("minItems") == result.get("maxItems") == len(named):
            result["items"] = result.pop("prefixItems")[0]
    names = result.get("propertyNames", {})
    if isinstance(names.get("enum"), list) and all(isinstance(name, str) for name in names["enum"]):
        value = result.pop("additionalProperties", True)
        del result["propertyNames"]
        result["properties"] = {name: {} if value is True else value for name in names["enum"]}
    return result


def _optional(schema: Any) -> Any:
    """A property that may be left out need not also allow null: {"type": "integer"} says enough."""
    if not isinstance(schema, dict) or "anyOf" not in schema:
        return {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    others = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    result = {**others[0], **rest} if len(others) == 1 else {**rest, "anyOf": others}
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}


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
