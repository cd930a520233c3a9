"""Checks a call's arguments against the tool's schema: converts what fits and explains what does not to the model.

The explanations name what is allowed, so that the model's next call can be right. Pydantic ignores keys that a
dataclass does not know; they are reported, since a misspelt optional field would be lost. Nothing here runs a tool.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from toolchat.tools.json_schema import TOO_LONG
from toolchat.tools.problems import did_you_mean
from toolchat.tools.result import without_surrogates
from toolchat.tools.toolbox import LoadedTool
from toolchat.tools.yaml_file import one_name


def unknown_keys(given: Any, value: Any, path: str = "") -> Iterator[str]:
    """An explanation for each key in `given`, a JSON value, that `value`, made of it, has no field for."""
    if isinstance(given, Mapping):
        known = _fields(value)
        if known is not None:
            for key in given.keys() - known.keys():
                yield unknown_key(f"{path}.{key}", str(key), path, known)
        elif isinstance(value, dict) and value.keys() < given.keys():
            # A TypedDict inside a model of the user's: what it has no key for is dropped.
            for key in given.keys() - value.keys():
                yield unknown_key(f"{path}.{key}", str(key), path, None)
        inside: Mapping[Any, Any] = known if known is not None else value if isinstance(value, Mapping) else {}
        for key, inner in given.items():
            if key in inside:
                yield from unknown_keys(inner, inside[key], f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(value, list | tuple):
        for index, (one, other) in enumerate(zip(given, value, strict=False)):
            yield from unknown_keys(one, other, f"{path}[{index}]")


def unknown_key(where: str, key: str, outer: str, known: Iterable[str] | None) -> str:
    """The explanation of one key, at `where` in `outer`, whose fields are `known` (None where that is not known)."""
    if not known:
        return f"{where} is unknown; leave it out"
    return f"{where} is unknown; {outer} has {', '.join(known)}; {did_you_mean(key, known, 'leave it out')}"


def _fields(value: Any) -> dict[str, Any] | None:
    """Values by the names that an input may use; None for what is no object with fields, or takes any key."""
    if isinstance(value, BaseModel):
        if value.model_config.get("extra") == "allow":
            return None
        found: dict[str, Any] = {}
        for name, field in type(value).model_fields.items():
            alias = field.validation_alias or field.alias
            if alias is not None and not isinstance(alias, str):
                return None
            found[alias or name] = getattr(value, name)
            if alias is not None:
                found.setdefault(name, getattr(value, name))
        return found
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A pydantic dataclass has rules and aliases of its own.
        if "__pydantic_fields__" in vars(type(value)):
            return None
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


_MAX_QUOTED = 60
_MAX_DETAILS = 3
_NESTED = re.compile(r"[\[(]")
_PLAIN = (
    "str",
    "int",
    "float",
    "bool",
    "none",
    "bytes",
    "date",
    "datetime",
    "time",
    "timedelta",
    "uuid",
    "path",
    "decimal",
)
"""How pydantic names the alternatives of a type: "list[int]", "function-after[f(), str]", "str"."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Arguments that fit."""

    arguments: dict[str, Any]
    """As JSON values: what history should hold."""
    values: dict[str, Any]
    """As the function takes them: dates are dates, models are models."""
    repaired: bool
    """Whether anything had to be converted, such as "5" to 5."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Arguments that do not fit."""

    message: str
    """For the model, one line; begins with "Error: "."""


def check_arguments(loaded: LoadedTool, arguments: dict[str, Any]) -> Checked | Rejected:
    """Check `arguments`, a JSON object, against the tool's parameters; convert where the intent is plain."""
    try:
        model = loaded.model.model_validate_json(json.dumps(arguments, allow_nan=False), strict=True)
        return _unless_unknown(dict(arguments), loaded, model, repaired=False)
    except (ValidationError, ValueError, TypeError, RecursionError):
        pass
    required = loaded.tool.parameters.get("required", ())
    try:
        plain = json.loads(without_surrogates(json.dumps(arguments, ensure_ascii=False)))
        # A model that writes null for an optional parameter means that it leaves it out.
        given = {name: value for name, value in _named(plain, loaded).items() if value is not None or name in required}
        model = loaded.model.model_validate(given)
        repaired = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        return Rejected(f"Error: {'; '.join(_explained(loaded, error))}")
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        return Rejected("Error: the arguments are nested too deeply or hold what is not JSON")
    return _unless_unknown(repaired, loaded, model, repaired=True, given=given)


def _named(arguments: dict[str, Any], loaded: LoadedTool) -> dict[str, Any]:
    """`arguments` with each name as the tool has it, whether its accents are characters of their own or not."""
    known = loaded.tool.parameters.get("properties", {})
    return {name if name in known else one_name(name): value for name, value in arguments.items()}


def _unless_unknown(
    arguments: dict[str, Any],
    loaded: LoadedTool,
    model: BaseModel,
    *,
    repaired: bool,
    given: dict[str, Any] | None = None,
) -> Checked | Rejected:
    """The checked arguments, if no key deep inside them would be silently dropped."""
    values = _values(loaded, model)
    unknown = list(unknown_keys(arguments if given is None else given, values))
    if unknown:
        return Rejected(f"Error: {'; '.join(unknown[:_MAX_DETAILS])}")
    # A type may strip a text or change its case: who decides on the call sees, and rules compare, what the tool gets.
    changed = {name: value for name, value in values.items() if _reads_else(arguments.get(name), value)}
    return Checked(arguments | changed, values, repaired or bool(changed))


def _reads_else(given: Any, value: Any) -> bool:
    """Whether a text, or one in a list, is another one for the function."""
    if isinstance(given, list) and isinstance(value, list) and len(given) == len(value):
        texts = all(type(one) is str for one in (*given, *value))
        return texts and given != value
    return type(given) is str and type(value) is str and given != value


def _values(loaded: LoadedTool, model: BaseModel) -> dict[str, Any]:
    """What to call the function with; parameters left out keep the function's own defaults.

    A default from the tools file, which is a factory, is passed: the function does not know it.
    """
    given = model.model_fields_set
    return {
        field.alias or name: getattr(model, name)
        for name, field in loaded.model.model_fields.items()
        if name in given or field.default_factory is not None
    }


def _explained(loaded: LoadedTool, error: ValidationError) -> list[str]:
    """One explanation for each argument that is wrong; missing ones come first, in the signature's order."""
    properties: dict[str, Any] = loaded.tool.parameters["properties"]
    by_argument: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        by_argument.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    missing: list[str] = []
    wrong: list[str] = []
    for name, details in by_argument.items():
        schema = properties.get(name)
        if (long := next((detail for detail in details if detail["type"] == TOO_LONG), None)) is not None:
            # Of a type with alternatives the words on the others would hide it.
            wrong.append(f"{name} {long['msg']}")
        elif schema is None:
            wrong.append(_unknown(name, properties))
        elif details[0]["type"] == "missing" and len(details[0]["loc"]) == 1:
            missing.append(f'missing argument "{name}"{_parenthesised(schema)}')
        elif len(details) > 1 and isinstance(schema.get("type"), list):
            wrong.append(f"{name} must be {_allowed(schema)} (got {_quoted(details[0]['input'])})")
        elif len(details) > 1 and "anyOf" in schema and _allowed(schema):
            wrong.append(f"{name} must be {_allowed(schema)}")
        else:
            wrong.extend(_of_places(details, schema))
    return missing + wrong


def _of_places(details: Sequence[ErrorDetails], schema: dict[str, Any]) -> list[str]:
    """An explanation for each place in an argument; of a place with alternatives pydantic tells one for each."""
    places: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for detail in details:
        places.setdefault(_place(detail, schema), []).append(detail)
    found: list[str] = []
    for place, several in places.items():
        inner = _inside(schema, place[1:])
        if len(several) > 1 and inner is not None and (allowed := _allowed(inner)):
            found.append(f"{_joined(place)} must be {allowed} (got {_quoted(several[0]['input'])})")
        else:
            found.extend(_wrong({**detail, "loc": place}, schema) for detail in several)
    return found[:_MAX_DETAILS]


def _place(detail: ErrorDetails, schema: dict[str, Any]) -> tuple[int | str, ...]:
    """Where in the arguments it is, without the names that pydantic gives the alternatives of a type."""
    place = tuple(part for part in detail["loc"] if not (isinstance(part, str) and _NESTED.search(part)))
    *outer, last = place
    inner = _inside(schema, outer[1:]) or {}
    # That of a plain type comes last; it may be the key of an object as well.
    return (
        tuple(outer)
        if outer and last in _PLAIN and ("anyOf" in inner or isinstance(inner.get("type"), list))
        else place
    )


def _inside(schema: dict[str, Any], path: Sequence[int | str]) -> dict[str, Any] | None:
    """The schema of what is at `path` in a value of `schema`; None where that is not plain to see."""
    for part in path:
        inner = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        inner = inner if isinstance(inner, dict) else schema.get("additionalProperties")
        if not isinstance(inner, dict):
            return None
        schema = inner
    return schema


def _unknown(name: str, properties: dict[str, Any]) -> str:
    known = f"the arguments are {', '.join(properties)}" if properties else "the tool takes no arguments"
    return f"unknown argument {_quoted(name)}; {known}"


def _wrong(detail: ErrorDetails, schema: dict[str, Any]) -> str:
    path, got = _path(detail), f"(got {_quoted(detail['input'])})"
    if detail["type"] == "missing":
        return f"{path} is missing"
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown_inside(path, detail, schema)
    allowed = _allowed(schema) if len(detail["loc"]) == 1 else None
    plain = detail["type"].endswith(("_type", "_parsing", "_from_float")) or detail["type"] in (
        "literal_error",
        "enum",
    )
    if allowed and plain:
        return f"{path} must be {allowed} {got}"
    text = detail["msg"].removeprefix("Value error, ")
    if text.startswith("Input should be "):
        return f"{path} must be {text.removeprefix('Input should be ')} {got}"
    return f"{path}: {text} {got}"


def _unknown_inside(path: str, detail: ErrorDetails, schema: dict[str, Any]) -> str:
    """A key that an object inside an argument does not have."""
    *outer, key = detail["loc"]
    for part in outer[1:]:
        inner = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = inner if isinstance(inner, dict) else schema.get("additionalProperties") or {}
        schema = schema if isinstance(schema, dict) else {}
    known = schema.get("properties")
    return unknown_key(path, str(key), _joined(outer), known)


def _path(detail: ErrorDetails) -> str:
    """ "items[0].name" """
    return _joined(detail["loc"] or ("arguments",))


def _joined(parts: Sequence[int | str]) -> str:
    first, *rest = parts
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


def _parenthesised(schema: dict[str, Any]) -> str:
    allowed = _allowed(schema)
    return f" ({allowed.removeprefix('an ').removeprefix('a ')})" if allowed else ""


def _allowed(schema: dict[str, Any]) -> str | None:
    """What a value may be: 'one of "celsius", "fahrenheit"', "an integer"; None where words are too long."""
    match schema:
        case {"enum": [*values]}:
            return f"one of {', '.join(_quoted(value) for value in values)}"
        case {"const": value}:
            return _quoted(value)
        case {"anyOf": [*choices]}:
            names = [_allowed(choice) for choice in choices if isinstance(choice, dict)]
            return " or ".join(name for name in names if name) if all(names) else None
        case {"type": [*kinds]}:
            return " or ".join(str(_allowed({"type": kind})) for kind in kinds)
        case {"type": "array", "items": {"type": str(item)}}:
            return f"an array of {item}s"
        case {"type": "string", "format": str(form)}:
            return f"a {form}"
        case {"type": str(kind)}:
            return kind if kind == "null" else f"{'an' if kind[0] in 'aio' else 'a'} {kind}"
    return None


def _quoted(value: Any) -> str:
    """A value as JSON, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."
