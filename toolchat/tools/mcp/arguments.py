"""Checks and converts the arguments of a call by its server's schema: in the bridge, with a limit on the time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolchat.tools.mcp.listed import TooSlow, limited

_MOST = 3
_MAX_QUOTED = 80
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def checked(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[dict[str, Any], bool] | str:
    """The arguments, converted where the intent is plain, and whether anything was; or what is wrong, for the model.

    A check that takes too long is left to the server.
    """
    import jsonschema  # noqa: F401 (here, so that its import takes nothing of the time below)

    try:
        with limited():
            if not (wrong := _problems(schema, arguments)):
                return dict(arguments), False
            converted = _converted(schema, arguments)
            if converted != arguments and not _problems(schema, converted):
                return converted, True
    except TooSlow:
        return dict(arguments), False
    except Exception as error:  # a schema may bring its validator to anything
        return f"Error: the arguments cannot be checked: {type(error).__name__}"
    return f"Error: {'; '.join(wrong)}"


def _problems(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    from jsonschema import Draft7Validator
    from referencing import Registry

    # An empty registry: nothing is fetched, whatever a schema refers to.
    errors = Draft7Validator(schema, registry=Registry()).iter_errors(dict(arguments))
    found = [error for error, _ in zip(errors, range(_MOST), strict=False)]
    return [_explained(error, schema) for error in found]


def _explained(error: Any, schema: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f'missing argument "{", ".join(missing)}"{f" in {where}" if where else ""}'
    if error.validator == "additionalProperties" and not where:
        known = ", ".join(schema.get("properties", {}))
        extra = [name for name in error.instance if name not in schema.get("properties", {})]
        return f'unknown argument "{", ".join(extra)}"; the arguments are {known or "none"}'
    if error.validator in ("type", "enum"):
        allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        shown = " or ".join(json.dumps(item) if error.validator == "enum" else str(item) for item in allowed)
        return f"{where or 'the arguments'} must be {shown[:400]} (got {_quoted(error.instance)})"
    return f"{where or 'the arguments'}: {' '.join(str(error.message).split())[:200]}"


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def _converted(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, truth values and objects that were written as text; without null for what may be left out."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    made: dict[str, Any] = {}
    for name, value in arguments.items():
        part = properties.get(name)
        part = part if isinstance(part, Mapping) else {}
        if value is None and name not in required and "null" not in json.dumps(part):
            continue
        made[name] = _one(part, value)
    return made


def _one(part: Mapping[str, Any], value: Any) -> Any:
    kind = part.get("type")
    if isinstance(value, str):
        text = value.strip()
        try:
            match kind:
                case "integer":
                    return int(text)
                case "number":
                    return float(text) if not text.lstrip("+-").isdigit() else int(text)
                case "boolean":
                    return _TRUTH.get(text.lower(), value)
                case "object" | "array":
                    read = json.loads(text)
                    return read if isinstance(read, dict if kind == "object" else list) else value
        except (ValueError, RecursionError):
            return value
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "array" and not isinstance(value, list):
        return [value]
    return value
