"""Arguments against a tool's schema: what fits is converted, what does not is explained to the model.

The explanations name what is allowed, so that the model's next call can be right. Nothing here runs a tool.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from toolchat.tools.result import without_surrogates
from toolchat.tools.toolbox import Tool, Toolbox

_MAX_QUOTED = 60
_MAX_DETAILS = 3


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


def check_arguments(tool: Tool, arguments: dict[str, Any]) -> Checked | Rejected:
    """Check `arguments`, a JSON object, against the tool's parameters; convert where the intent is plain."""
    try:
        model = tool.model.model_validate_json(json.dumps(arguments, allow_nan=False), strict=True)
        return Checked(dict(arguments), _values(tool, model), repaired=False)
    except (ValidationError, ValueError, TypeError, RecursionError):
        pass
    required = tool.parameters.get("required", ())
    try:
        plain = json.loads(without_surrogates(json.dumps(arguments, ensure_ascii=False)))
        # A model that writes null for an optional parameter means that it leaves it out.
        given = {name: value for name, value in plain.items() if value is not None or name in required}
        model = tool.model.model_validate(given)
        repaired = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        return Rejected(f"Error: {'; '.join(_explained(tool, error))}")
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        return Rejected("Error: the arguments are nested too deeply or hold what is not JSON")
    return Checked(repaired, _values(tool, model), repaired=True)


def unknown_tool_message(name: str, toolbox: Toolbox) -> str:
    """What a model is told that called a tool which does not exist."""
    if not toolbox.tools:
        return f'Error: there is no tool "{name}"; there are no tools'
    return f'Error: there is no tool "{name}"; the tools are {", ".join(toolbox.names)}'


def _values(tool: Tool, model: BaseModel) -> dict[str, Any]:
    """What to call the function with; parameters left out keep the function's own defaults."""
    fields = tool.model.model_fields
    return {fields[name].alias or name: getattr(model, name) for name in fields if name in model.model_fields_set}


def _explained(tool: Tool, error: ValidationError) -> list[str]:
    """One explanation for each argument that is wrong; missing ones come first, in the signature's order."""
    properties: dict[str, Any] = tool.parameters["properties"]
    by_argument: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        by_argument.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
    missing: list[str] = []
    wrong: list[str] = []
    for name, details in by_argument.items():
        schema = properties.get(name)
        if schema is None:
            wrong.append(_unknown(name, properties))
        elif details[0]["type"] == "missing" and len(details[0]["loc"]) == 1:
            missing.append(f'missing argument "{name}"{_parenthesised(schema)}')
        elif len(details) > 1 and "anyOf" in schema and _allowed(schema):
            wrong.append(f"{name} must be {_allowed(schema)}")
        else:
            wrong.extend(_wrong(detail, schema) for detail in details[:_MAX_DETAILS])
    return missing + wrong


def _unknown(name: str, properties: dict[str, Any]) -> str:
    known = f"the arguments are {', '.join(properties)}" if properties else "the tool takes no arguments"
    return f"unknown argument {_quoted(name)}; {known}"


def _wrong(detail: ErrorDetails, schema: dict[str, Any]) -> str:
    path, got = _path(detail), f"(got {_quoted(detail['input'])})"
    if detail["type"] == "missing":
        return f"{path} is missing"
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


def _path(detail: ErrorDetails) -> str:
    """ "items[0].name" """
    first, *rest = detail["loc"] or ("arguments",)
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
