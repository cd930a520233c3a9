"""Generates the JSON Schema of tools files, for editors, from the tables of the reader itself."""

from __future__ import annotations

from typing import Any

from toolchat.tools.keywords import KEYWORDS
from toolchat.tools.options import OPTIONS
from toolchat.tools.spec import MAX_DESCRIPTION

_TEXT = {"type": "string", "pattern": r"\S"}
_CALLABLE = (
    r"^(\./([^/:]+/)*[^/:]+\.py|(?!.*\.py:)[^\s:./0-9-][^\s:./-]*(\.[^\s:./0-9-][^\s:./-]*)*)"
    r":[^\s:./0-9-][^\s:./-]*(\.[^\s:./0-9-][^\s:./-]*)*$"
)


def file_schema() -> dict[str, Any]:
    """A JSON Schema (draft 7) that every right tools file fits.

    It says what can be said without the functions: not every file that fits it is right.
    """
    options = {option.name: option.schema for option in OPTIONS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "toolchat tools file",
        "description": "The Python functions that a model may call.",
        "type": "object",
        "required": ["version", "tools"],
        "additionalProperties": False,
        "properties": {
            "version": {"const": 1, "description": "Of this format."},
            "defaults": {
                "type": "object",
                "additionalProperties": False,
                "properties": options,
                "description": "Options of every tool that does not say otherwise itself.",
            },
            "tools": {"type": "array", "items": _tool(options), "description": "In the order the model sees them."},
        },
    }


def _tool(options: dict[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
    method = {"type": "string", "pattern": r"^(?!__)[^\W\d]\w*$"}
    return {
        "type": "object",
        "required": ["callable"],
        "additionalProperties": False,
        "properties": {
            "callable": {
                "type": "string",
                "pattern": _CALLABLE,
                "description": "module:function, or ./file.py:function from this file's folder. A class in the "
                "function's place makes its public methods tools; Class.method and object.method are one tool.",
            },
            "name": {
                **name,
                "description": "What the model calls it. Default: the function's name. Of a class: what the names of "
                "its tools begin with.",
            },
            "description": {
                **_TEXT,
                "maxLength": MAX_DESCRIPTION,
                "description": "One sentence; it is how the model chooses. Default: the docstring's first paragraph.",
            },
            "parameters": {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [_TEXT, {"type": "object", "additionalProperties": False, "properties": KEYWORDS}]
                },
                "description": "What its signature and docstring do not say: by parameter a description, or keywords "
                "that are told to the model and enforced.",
            },
            "arguments": {
                "type": "object",
                "propertyNames": {"pattern": r"^[^\W\d]\w*$"},
                "description": "Of a class: what its constructor is given.",
            },
            "methods": {
                "type": "array",
                "items": method,
                "minItems": 1,
                "uniqueItems": True,
                "description": "Of a class: those of its methods that are tools. Default: all public ones.",
            },
            **options,
        },
    }
