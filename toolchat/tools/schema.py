"""Makes a tool's JSON Schema for the model, and the pydantic model that checks its arguments, from its function.

Both come from the same signature, docstring and tools file, so they cannot disagree. The schema is as plain as those
that small models are trained on: no titles, no references where the thing itself fits, no null beside an optional
parameter. Nothing here calls the function.
"""

from __future__ import annotations

import copy
import json
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from toolchat.tools.bound import Bound, fit_arguments
from toolchat.tools.constraints import Parameter, contradictions, enforcer, merged
from toolchat.tools.json_schema import JsonSchemaError, Shown, hint_of, of_kinds, tidied
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place, did_you_mean
from toolchat.tools.signatures import EMPTY, Offered, SchemaError, Signature, no_json_fix, signature_of

__all__ = ["FunctionSchema", "ParametersError", "SchemaError", "function_schema"]


def signature_text(name: str, parameters: Mapping[str, Offered]) -> str:
    """For example `get_current_weather(city: str, unit: "celsius" | "fahrenheit")`."""
    return f"{name}({', '.join(map(_parameter, parameters.values()))})"


def _parameter(parameter: Offered) -> str:
    kind = type_text(parameter.hint)
    text = f"{parameter.name}: {kind}" if kind else parameter.name
    if parameter.default is EMPTY:
        return text
    return f"{text}{' = ' if kind else '='}{_value(parameter.default)}"


def type_text(annotation: Any) -> str:
    """An annotation without module names: literals and the members of an enum stand for themselves."""
    if annotation is Any:
        return "any"
    if annotation is None or annotation is type(None):
        return "None"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        shown = next((item.text for item in arguments[1:] if isinstance(item, Shown)), None)
        return type_text(arguments[0]) if shown is None else shown
    if origin is typing.Literal:
        return " | ".join(_value(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(type_text(argument) or "any" for argument in arguments))
    if origin is not None:
        inner = ", ".join("..." if argument is Ellipsis else type_text(argument) or "any" for argument in arguments)
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


# A small model writes 264 where "264" is asked for; the check marks such a conversion as a repair.
_CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


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
    whole: str | None
    """All that the docstring says before its sections, on one line."""
    call: Callable[..., Any]
    """Takes what the model checked, all of it by name."""
    plain: Callable[..., Any]
    """The function that holds the code, below decorators and partials."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it is offered."""
    untyped: tuple[str, ...] = ()
    """Parameters that neither the signature nor the tools file gives a type."""


def function_schema(
    function: Callable[..., Any],
    entries: Mapping[str, ParameterEntry] | None = None,
    *,
    refuse_untyped: bool = False,
    bound: Mapping[str, Any] | None = None,
) -> FunctionSchema:
    """The schema of a function from its type hints, its docstring and what a tools file says of its parameters.

    `bound` are values of parameters that the tools file sets: the model neither sees nor sets them.

    Raises:
        SchemaError: the function takes something that a model cannot be asked for.
        ParametersError: `entries` (None where the file says nothing) name parameters that it does not have, or
            contradict their types.
    """
    described = None if entries is None else {name: _says_type(entry) for name, entry in entries.items()}
    hidden = {name: entry for name, entry in (entries or {}).items() if entry.keywords.get("hidden")}
    bound = bound or {}
    signature = signature_of(
        function, described, refuse_untyped=refuse_untyped, bound=frozenset(bound) | frozenset(hidden)
    )
    bound = {**bound, **_hidden_values(hidden, bound, signature)}
    entries = {name: _shown_words(entry) for name, entry in (entries or {}).items() if name not in hidden}
    described = described or {}
    parameters = {name: _as_in_file(offered, entries.get(name)) for name, offered in signature.parameters.items()}
    fields: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(parameters.items()):
        info: dict[str, Any] = {"alias": name}
        if parameter.given is not None:
            info["default_factory"] = parameter.given
        elif parameter.default is not EMPTY:
            info["default"] = None
        # Given as None, it would hide a description in the annotation.
        if name in signature.documented.parameters:
            info["description"] = signature.documented.parameters[name]
        fields[f"p{number}"] = (parameter.hint, Field(**info))
    model, schema = _model(fields, {name: parameter.hint for name, parameter in parameters.items()})
    _set_defaults(schema["properties"], parameters)
    if entries:
        model, schema = _with_entries(fields, parameters, schema, entries, frozenset(bound))
    return FunctionSchema(
        schema,
        model,
        signature_text(signature.name, parameters),
        signature.documented.summary,
        signature.documented.whole,
        Bound(signature.call, bound) if bound else signature.call,
        signature.plain,
        signature.notes,
        tuple(
            name for name, parameter in signature.parameters.items() if not parameter.typed and not described.get(name)
        ),
    )


def _as_in_file(offered: Offered, entry: ParameterEntry | None) -> Offered:
    """With the type that the tools file gives a parameter that has none, or one that says little."""
    if entry is None:
        return offered
    if "schema" in entry.keywords:
        if offered.typed and not _is_open(offered.hint):
            what = f"schema of {offered.name} is given, but its signature says {type_text(offered.hint)}"
            what = f"{what}; expected it of a parameter without a type, a list or a dict; remove it"
            raise ParametersError([(entry.places["schema"], what)])
        try:
            return replace(offered, hint=hint_of(entry.keywords["schema"]))
        except JsonSchemaError as error:
            what = f"schema of {offered.name}: {error}"
            raise ParametersError([(entry.places["schema"], what)]) from None
    if "type" not in entry.keywords or offered.typed:
        return offered
    return replace(offered, hint=of_kinds(entry.keywords["type"]))


def _says_type(entry: ParameterEntry) -> bool:
    return "type" in entry.keywords or "schema" in entry.keywords


def _is_open(hint: Any) -> bool:
    """Whether a type is a list or dict, or says nothing: a schema of the file may say more of it."""
    return hint in (Any, object, list, dict) or typing.get_origin(hint) in (list, dict, Sequence, Mapping)


def _shown_words(entry: ParameterEntry) -> ParameterEntry:
    """Without `hidden: false`, which says what holds anyway."""
    return replace(entry, keywords={word: value for word, value in entry.keywords.items() if word != "hidden"})


def _hidden_values(
    hidden: Mapping[str, ParameterEntry], bound: Mapping[str, Any], signature: Signature
) -> dict[str, Any]:
    """What the function is given for the parameters that the model does not see, where that is not its own default."""
    problems: list[tuple[Place, str]] = []
    for name, entry in hidden.items():
        if name in bound:
            problems.append((entry.place, _twice(name)))
        elif name not in signature.defaults:
            known = ", ".join(signature.defaults) or "none"
            what = f'unknown parameter "{name}"; expected {known}'
            problems.append((entry.place, f"{what}; {did_you_mean(name, signature.defaults, 'remove it')}"))
        elif "default" not in entry.keywords and signature.defaults[name] is EMPTY:
            what = f"{name} is hidden, and the function needs it; expected what it is given; add default:"
            problems.append((entry.places["hidden"], what))
    values = {name: entry.keywords["default"] for name, entry in hidden.items() if "default" in entry.keywords}
    places = {f"arguments.{name}": hidden[name].places["default"] for name in values}
    misread = {name: hidden[name].misread["default"] for name in values if "default" in hidden[name].misread}
    problems = problems or fit_arguments(
        signature.plain, signature.plain, values, places, name=signature.name, misread=misread
    )
    if problems:
        raise ParametersError(problems)
    return values


def _twice(name: str) -> str:
    return f"{name} is set in arguments too, where the model does not see it; expected it in one place; remove it here"


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
        raise SchemaError(f"{reason}; {no_json_fix(name)}, or say parameters: {{{name}: {{type: string}}}}") from None


def _probe(hint: Any) -> type[BaseModel]:
    return create_model("Probe", __config__=_CONFIG, value=(hint, ...))


def _set_defaults(properties: dict[str, Any], parameters: Mapping[str, Offered]) -> None:
    """Tell the model the defaults that mean something; None only says "may be left out"."""
    for name, parameter in parameters.items():
        if parameter.default is EMPTY or parameter.default is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                properties[name]["default"] = to_jsonable_python(parameter.default)
        except (PydanticSerializationError, RecursionError):
            continue
        if properties[name]["default"] is None or not _is_written(properties[name]["default"]):
            del properties[name]["default"]


def _is_written(value: Any) -> bool:
    """Whether it is JSON, which has no NaN and no infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _with_entries(
    fields: dict[str, Any],
    parameters: Mapping[str, Offered],
    plain: dict[str, Any],
    entries: Mapping[str, ParameterEntry],
    bound: frozenset[str] = frozenset(),
) -> tuple[type[BaseModel], dict[str, Any]]:
    """The model and the schema once more, with what the tools file says; `plain` is the schema without it."""
    problems: list[tuple[Place, str]] = []
    own: dict[str, Parameter] = {}
    for name, entry in entries.items():
        if name in bound:
            problems.append((entry.place, _twice(name)))
            continue
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
            _probe(parameters[name].hint),
            None if default is EMPTY else default,
        )
        if "type" in entry.keywords and parameters[name].typed:
            what = f"type of {name} is given, but its signature says {type_text(parameters[name].hint)}"
            problems.append((entry.places["type"], f"{what}; expected it of a parameter without a type; remove it"))
            continue
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
