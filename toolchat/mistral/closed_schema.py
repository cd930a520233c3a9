"""A tool's JSON Schema made to say what its author meant: no argument but those it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_SCHEMAS = ("items", "prefixItems", "additionalItems", "additionalProperties")
_ALTERNATIVES = ("anyOf", "oneOf")
_SAY_MORE = (
    *("additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf"),
    *("not", "if", "then", "else", "$ref", "dependentSchemas"),
)
"""Beside `properties`, these too tell which keys an object may have."""


def closed_schema(schema: Mapping[str, Any], *, arguments: bool = True) -> dict[str, Any]:
    """A copy of `schema` with `additionalProperties: false` in every object schema that names its properties.

    Left as they are: objects that already say what else they take; nested objects that name no properties,
    which are free-form by intent; what stands under `not`, `if`, `then` and `else`; and objects put together from
    several schemas (`allOf`, or `properties` beside `anyOf` or `$ref`, also through `$defs`), because
    `additionalProperties` sees its own schema's properties only: closing one part would forbid the others.

    Where the schema is a tool's, of its `arguments`, the outermost object is not free-form either: one that names no
    properties takes no arguments.
    """
    shared: set[str] = set()
    while True:
        closer = _Closer(shared)
        result = closer.close(schema)
        if (
            arguments
            and result.get("type") == "object"
            and not any(key in result for key in ("properties", *_SAY_MORE))
        ):
            result["additionalProperties"] = False
        if closer.merged_refs <= shared:
            return result
        # A definition that is merged somewhere stays open everywhere: see it from the start.
        shared |= closer.merged_refs


class _Closer:
    """One pass over a schema. `shared` are the references whose targets must stay open."""

    def __init__(self, shared: set[str]) -> None:
        self._shared = frozenset(shared)
        self.merged_refs: set[str] = set()

    def close(self, schema: Mapping[str, Any], *, merged: bool = False, path: str = "#") -> dict[str, Any]:
        """`merged` where the schema is one part of an object that others describe too."""
        merged = merged or path in self._shared
        has_own = "properties" in schema
        if isinstance(schema.get("$ref"), str) and (merged or has_own):
            self.merged_refs.add(schema["$ref"])
        closed: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _NAMED_SCHEMAS and isinstance(value, Mapping):
                closed[key] = {name: self._any(sub, f"{path}/{key}/{name}") for name, sub in value.items()}
            elif key in _SCHEMAS:
                closed[key] = self._any(value, f"{path}/{key}")
            elif key in _ALTERNATIVES and isinstance(value, list):
                closed[key] = [self._any(sub, path, merged or has_own) for sub in value]
            elif key == "allOf" and isinstance(value, list):
                closed[key] = [self._any(sub, path, merged or has_own or len(value) > 1) for sub in value]
            else:
                closed[key] = value
        if has_own and not merged and not any(key in schema for key in _SAY_MORE):
            closed["additionalProperties"] = False
        return closed

    def _any(self, value: Any, path: str, merged: bool = False) -> Any:
        match value:
            case Mapping():
                return self.close(value, merged=merged, path=path)
            case list():
                return [self._any(item, f"{path}/{index}", merged) for index, item in enumerate(value)]
            case _:
                return value
