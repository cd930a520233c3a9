from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from e2e_engine import Running

from toolchat.engine.base import GenerateOptions
from toolchat.wire.deltas import Finished, FinishReason, Note, Text
from toolchat.wire.messages import UserMessage

pytestmark = pytest.mark.engine


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


STRING = {"type": "string", "maxLength": 20}
INTEGER = {"type": "integer", "minimum": 0, "maximum": 999}
COLOUR = {"enum": ["red", "green", "blue"]}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": object_of(name=STRING, age=INTEGER),
    "choice": COLOUR,
    "list of people": {"type": "array", "items": object_of(name=STRING), "minItems": 1, "maxItems": 2},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "integer": INTEGER,
    "negative": {"type": "integer", "minimum": -9, "maximum": -1},
    "number": {"type": "number", "minimum": 0, "maximum": 1},
    "string": STRING,
    "constant": {"const": {"a": [1, None]}},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "date": {"type": "string", "format": "date"},
    "nullable": {"type": ["string", "null"], "maxLength": 8},
    "optional": {"type": "object", "properties": {"a": INTEGER, "b": COLOUR}, "additionalProperties": False},
    "nested": object_of(outer=object_of(inner=object_of(value=INTEGER))),
    "empty object": object_of(),
    "any of": {"anyOf": [INTEGER, COLOUR]},
    "one of": {"oneOf": [object_of(kind={"const": "a"}, a=INTEGER), object_of(kind={"const": "b"}, b=COLOUR)]},
    "all of": {"allOf": [object_of(a=INTEGER)]},
    "definitions": {"$defs": {"c": COLOUR}, **object_of(first={"$ref": "#/$defs/c"}, second={"$ref": "#/$defs/c"})},
    "tree": {
        "$defs": {
            "node": {
                **object_of(name={"enum": ["x", "y"]}),
                "properties": {
                    "name": {"enum": ["x", "y"]},
                    "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
            }
        },
        "$ref": "#/$defs/node",
    },
    "tuple": {"type": "array", "prefixItems": [INTEGER, COLOUR], "items": False, "minItems": 2},
    "no items": {"type": "array", "maxItems": 0},
    "matrix": {
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {"type": "array", "items": INTEGER, "maxItems": 2},
    },
    "umlauts": object_of(größe={"enum": ["groß", "klein", "日本"]}),
    "quotes": object_of(**{'a "quoted" name': COLOUR, "back\\slash": COLOUR}),
    "bounded text": {"type": "string", "minLength": 3, "maxLength": 5},
    "mixed enum": {"enum": [1, "1", None, True, [1], {"a": 1}]},
    "map": {
        "type": "object",
        "additionalProperties": INTEGER,
        "propertyNames": {"enum": ["a", "b"]},
        "maxProperties": 1,
    },
    "multiple": {"type": "integer", "minimum": 0, "maximum": 10, "multipleOf": 5},
}
QUICK = ("person", "choice", "list of people")
QUESTION = "Tell me about Ada, who is 36 and likes the colour blue. Answer in JSON."


def answered(running: Running, names: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The answers that were not cut off, and the notes of what could not be held to."""
    answers: dict[str, str] = {}
    notes: dict[str, list[str]] = {}

    async def ask(name: str) -> None:
        options = GenerateOptions(max_tokens=160, temperature=1.0, seed=7, response_schema=SCHEMAS[name])
        text = ""
        async for delta in running.engine.generate(f"schema-{name}", (UserMessage(QUESTION),), (), options):
            match delta:
                case Text(more):
                    text += more
                case Note(note):
                    notes.setdefault(name, []).append(note)
                case Finished(FinishReason.STOP):
                    answers[name] = text

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, names))

    running.loop.run(ask_all())
    return answers, notes


def check(running: Running, names: list[str], least: int) -> None:
    answers, notes = answered(running, names)
    assert len(answers) >= least, answers
    for name, text in answers.items():
        value = json.loads(text)
        # What the grammar cannot hold is said, and nothing else is broken.
        if name not in notes:
            jsonschema.validate(value, SCHEMAS[name])
    assert set(notes) <= {"map", "multiple"}, notes


def test_answers_that_were_not_cut_off_fit_their_schemas(running: Running) -> None:
    check(running, list(QUICK), 3)


@pytest.mark.slow
def test_answers_to_thirty_schemas_that_were_not_cut_off_fit_them(running: Running) -> None:
    assert len(SCHEMAS) == 30
    check(running, list(SCHEMAS), 26)
