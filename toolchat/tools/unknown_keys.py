"""Keys of nested objects that the conversion passed over: pydantic ignores what a dataclass does not know.

A model that misspells an optional field must hear of it, or its wish is lost without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from toolchat.tools.problems import did_you_mean


def unknown_keys(given: Any, value: Any, path: str = "") -> Iterator[str]:
    """An explanation for each key in `given`, a JSON value, that `value`, made of it, has no field for."""
    if isinstance(given, Mapping):
        known = _fields(value)
        if known is not None:
            for key in given.keys() - known.keys():
                yield unknown_key(f"{path}.{key}", str(key), path, known)
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
