"""From the words of `tools call NAME --city Dallas --state TX` to a call's arguments, by the tool's schema.

Only what a word means is decided here; whether a value fits is the tool's own check, the same as in a chat.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from toolchat.mistral.grammar.schema_reader import kind_of, kinds_of
from toolchat.tools.problems import did_you_mean
from toolchat.tools.toolbox import Tool
from toolchat.tools.yaml_file import one_name
from toolchat.wire.errors import UsageError

_WORDS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}


def arguments_of(tool: Tool, words: Sequence[str]) -> dict[str, Any]:
    """The arguments that `words` give, each as `--name value`, `--name=value`, `--flag` or `--no-flag`.

    A name that is given again adds to a list. `--max-tokens` is `max_tokens` too.

    Raises:
        UsageError: a word belongs to no parameter, or a value is missing.
    """
    given: dict[str, list[Any]] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--") or word == "--":
            first = next(iter(_properties(tool)), None)
            fix = f"write --{first} {word}" if first is not None else "it takes no arguments: leave it out"
            raise UsageError(f'"{word}" belongs to no parameter of {tool.name}; expected --NAME VALUE; {fix}')
        name, equals, text = word[2:].partition("=")
        parameter, negated = _parameter(tool, name)
        kinds = _kinds(tool, parameter)
        if negated:
            given.setdefault(parameter, []).append(False)
        elif equals:
            given.setdefault(parameter, []).append(text)
        elif "boolean" in kinds and not (waiting and _is_value_of_flag(waiting[0], kinds)):
            given.setdefault(parameter, []).append(True)
        elif not waiting or (waiting[0].startswith("--") and waiting[0] != "--"):
            what = f"--{name} has no value; expected one behind it"
            raise UsageError(f"{what}; of one that begins with two hyphens, write --{name}=VALUE")
        else:
            given.setdefault(parameter, []).append(waiting.pop(0))
    return {parameter: _value(tool, parameter, values) for parameter, values in given.items()}


def arguments_in(text: str, source: str) -> dict[str, Any]:
    """The JSON object in `text`, which came from `source`; none where it is empty. Raises UsageError."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{source}: not JSON: {error}; expected an object, such as {{"city": "Dallas"}}') from None
    if not isinstance(value, dict):
        raise UsageError(f'{source}: {json.dumps(value)[:60]}; expected an object, such as {{"city": "Dallas"}}')
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _properties(tool: Tool) -> dict[str, Any]:
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    return properties


def _parameter(tool: Tool, name: str) -> tuple[str, bool]:
    """The parameter that a word names, and whether it is its negation, `--no-flag`."""
    properties = _properties(tool)
    for spelled in (one_name(name), one_name(name).replace("-", "_")):
        if spelled in properties:
            return spelled, False
        if spelled[:3] in ("no-", "no_") and spelled[3:] in properties and "boolean" in _kinds(tool, spelled[3:]):
            return spelled[3:], True
    if not properties:
        raise UsageError(f"--{name}: {tool.name} takes no arguments; leave it out")
    fix = did_you_mean(f"--{name}", [f"--{known}" for known in properties], "correct it, or leave it out")
    raise UsageError(f"--{name}: {tool.name} takes {', '.join(f'--{known}' for known in properties)}; {fix}")


def _kinds(tool: Tool, parameter: str) -> frozenset[str]:
    definitions = tool.parameters.get("$defs", {})
    schema = _properties(tool)[parameter]
    return kinds_of(schema, lambda reference: definitions.get(str(reference).rpartition("/")[2], {}))


def _is_value_of_flag(word: str, kinds: frozenset[str]) -> bool:
    """Whether the word behind a flag is its value, and not the next word's beginning."""
    return not word.startswith("--") and (word.lower() in _WORDS or kinds != {"boolean"})


def _value(tool: Tool, parameter: str, values: list[Any]) -> Any:
    kinds, schema = _kinds(tool, parameter), _properties(tool)[parameter]
    if len(values) == 1:
        value = _read(values[0], kinds, schema)
        if kinds <= {"array", "null"} and not isinstance(value, list | None):
            return [_item(values[0], schema)]
        return value
    if "array" not in kinds:
        what = f"--{parameter} is given {len(values)} times; {tool.name} takes one value of it"
        raise UsageError(f"{what}; leave the others out")
    return [_item(value, schema) for value in values]


def _item(text: Any, schema: Any) -> Any:
    items = schema.get("items", {}) if isinstance(schema, dict) else {}
    return _read(text, kinds_of(items, lambda _: {}), items)


def _read(text: Any, kinds: frozenset[str], schema: Any) -> Any:
    """The value that a word is for: JSON where the parameter takes its kind, else text."""
    if not isinstance(text, str):
        return text
    for value in schema.get("enum", ()) if isinstance(schema, dict) else ():
        if text == value or (not isinstance(value, str) and text == json.dumps(value)):
            return value
    if kinds <= {"string", "null"}:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _WORDS.get(text.lower(), text) if "boolean" in kinds and "string" not in kinds else text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    kind = kind_of(value)
    # Quotes that a person typed on purpose, for text that looks like a number.
    fits = kind in kinds or (kind == "integer" and "number" in kinds)
    return value if fits or "string" not in kinds else text
