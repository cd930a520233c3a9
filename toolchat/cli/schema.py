"""The schema that `ask --schema` holds an answer to: JSON, a file, or made of a class in a process of its own."""

from __future__ import annotations

import json
from typing import Any

from toolchat.private_file import UnfitFileError, read_file
from toolchat.settings import user_path
from toolchat.wire.errors import UsageError

MAX_BYTES = 4 * 1024**2


def read_schema(written: str) -> dict[str, Any]:
    """What --schema names: JSON, which begins with "{"; else a file that is there; else "module:Model".

    Raises UsageError, one line, where there is no such thing, or no JSON Schema in it.
    """
    from toolchat.tools.model_schema import is_reference, model_schema

    if written.lstrip().startswith("{"):
        return _parsed("--schema", written)
    path = user_path(written)
    if is_reference(written) and not path.exists():
        return model_schema(written)
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"--schema {written}: no such file; expected a file with a JSON Schema, the schema itself ({{…}}), or "
            "module:Model"
        ) from None
    except UnfitFileError as error:
        raise UsageError(f"--schema {written}: {error.strerror}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--schema {written}: cannot be read: {reason}") from None
    return _parsed(f"--schema {written}", text)


def _parsed(where: str, text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where}: not JSON ({place}: {error.msg}); expected a JSON Schema") from None
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    check_schema(where, schema)
    assert isinstance(schema, dict)
    return schema


_TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")


def check_schema(where: str, schema: Any) -> None:
    """Raise UsageError for what is plainly no JSON Schema. What of one cannot be held to is told with the answer."""
    if not isinstance(schema, dict):
        raise UsageError(f'{where}: expected a JSON Schema, an object such as {{"type": "object", …}}')
    types = schema.get("type", [])
    for one in types if isinstance(types, list) else [types]:
        if one not in _TYPES:
            raise UsageError(f"{where}: type: expected one of {', '.join(_TYPES)}, not {json.dumps(one)[:60]}")
    if not isinstance(schema.get("properties", {}), dict):
        raise UsageError(f"{where}: properties: expected an object with a schema for each property")
