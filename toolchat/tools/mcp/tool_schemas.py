"""Makes a server's tools fit to be offered: names that are legal, texts that are bounded, schemas that can be rendered.

A schema is a stranger's: what a prompt's encoder would refuse, and what is far too long, is left out here and said.
The arguments of a call are checked and converted by it, with a limit on the time.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from toolchat.tools.result import clean

MOST_TOOLS = 512
"""Of one server."""
MAX_DESCRIPTION = 2048
"""Characters of a tool's description."""
MAX_SCHEMA = 32 * 1024
"""Characters of a schema as JSON."""
MAX_DEPTH = 24
CHECK_SECONDS = 0.5
"""For looking at one schema, or at arguments by it: a pattern of a stranger's may take for ever."""
_MOST_PROBLEMS = 3
_MAX_QUOTED = 80
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_PROSE = ("description", "title", "examples", "example", "$comment", "default", "markdownDescription")
_HINTS = {
    "readOnlyHint": ("only reads", "may change things"),
    "destructiveHint": ("may delete or overwrite", "deletes and overwrites nothing"),
    "idempotentHint": ("does no more when called twice", None),
    "openWorldHint": ("reaches out to the world", "stays on this machine"),
}


class TooSlow(BaseException):
    """What a stranger wrote takes too long to be looked at. No Exception: nobody's handler may swallow it."""


@contextmanager
def limited(seconds: float = CHECK_SECONDS) -> Iterator[None]:
    """Raise TooSlow within the block after so long: a signal gets through to regular expressions too. Main thread."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fingerprint(tool: Mapping[str, Any]) -> str:
    """A SHA-256 (hexadecimal) of all that a server says of a tool: another one once it says anything else."""
    return hashlib.sha256(json.dumps(tool, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def listed(tool: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """What the chat is told of a tool as its server describes it (JSON of the wire), and what is to be said of that.

    None where it cannot be offered.
    """
    import jsonschema  # noqa: F401 (here, so that its import takes nothing of the time below)

    name = str(tool.get("name", ""))
    note = ""
    schema = cleaned(tool.get("inputSchema") or {"type": "object"})
    try:
        with limited():
            if wrong := _wrong(schema):
                note = f"its schema {wrong}, and is left out: its server alone checks the arguments"
                schema = _names_only(schema)
    except (TooSlow, RecursionError):
        note = "its schema takes too long to be looked at, and is left out: its server alone checks the arguments"
        schema = {"type": "object"}
    if len(json.dumps(schema)) > MAX_SCHEMA:
        schema = _without_prose(schema)
        note = note or f"the descriptions of its parameters are left out: they are over {MAX_SCHEMA // 1024} KiB"
        if len(json.dumps(schema)) > MAX_SCHEMA:
            return None, f"its schema has more than {MAX_SCHEMA // 1024} KiB"
    description = clean(str(tool.get("description") or tool.get("title") or "")).strip()
    if len(description) > MAX_DESCRIPTION:
        description = f"{description[: MAX_DESCRIPTION - 1]}…"
    told = {
        "name": clean(name),
        "description": description or "(its server does not describe it)",
        "parameters": schema,
        "hints": _hints(tool.get("annotations")),
        "fingerprint": fingerprint(tool),
    }
    return told, note


def cleaned(value: Any, depth: int = 0) -> Any:
    """A JSON value with texts that UTF-8 can hold, and nothing too deep."""
    match value:
        case str():
            return clean(value)
        case list():
            return [cleaned(item, depth + 1) for item in value] if depth < 4 * MAX_DEPTH else []
        case dict():
            if depth >= 4 * MAX_DEPTH:
                return {}
            return {clean(str(key)): cleaned(item, depth + 1) for key, item in value.items()}
    return value


def _wrong(schema: Any) -> str:
    """What makes a schema useless to a prompt; "" for nothing."""
    from jsonschema import Draft7Validator, SchemaError

    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "is not that of an object"
    if _depth(schema) > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    schema["type"] = "object"
    if not isinstance(schema.get("properties", {}), dict):
        return "has properties that are no object"
    schema.setdefault("properties", {})
    schema.pop("$schema", None)
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "refers to another document"
    try:
        Draft7Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema ({' '.join(str(error.message).split())[:80]})"
    for pattern in _patterns(schema):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            return "has a pattern that cannot be read"
    return ""


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(inner, dict | list)
        ]
    return deepest


def _walk(schema: Any) -> Iterator[dict[str, Any]]:
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _references(schema: Any) -> Iterator[str]:
    yield from (part["$ref"] for part in _walk(schema) if isinstance(part.get("$ref"), str))


def _patterns(schema: Any) -> Iterator[str]:
    for part in _walk(schema):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        if isinstance(part.get("patternProperties"), dict):
            yield from part["patternProperties"]


def _names_only(schema: Any) -> dict[str, Any]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    names = list(properties)[:64] if isinstance(properties, dict) else []
    return {"type": "object", "properties": {name: {} for name in names}}


def _without_prose(schema: Any, *, named: bool = False) -> Any:
    match schema:
        case dict():
            return {
                key: _without_prose(value, named=key in ("properties", "$defs", "definitions") and not named)
                for key, value in schema.items()
                if named or key not in _PROSE
            }
        case list():
            return [_without_prose(item) for item in schema]
    return schema


def _hints(annotations: Any) -> list[str]:
    """What a server says that a tool does: never more than a hint."""
    if not isinstance(annotations, Mapping):
        return []
    hints = []
    for key, (yes, no) in _HINTS.items():
        said = annotations.get(key)
        if said is True or (said is False and no is not None):
            hints.append(yes if said else str(no))
    return hints


def checked_arguments(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[dict[str, Any], bool] | str:
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
    found = [error for error, _ in zip(errors, range(_MOST_PROBLEMS), strict=False)]
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
