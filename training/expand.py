"""Scenarios of data/*.jsonl to conversations: fills the slots, and checks what comes out (data/FORMAT.md).

`python training/expand.py training/data/*.jsonl` prints every problem of those files.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z_][A-Za-z0-9_]*))?\}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

MAY_FOLLOW = {
    None: {"user"},
    "user": {"call", "say"},
    "call": {"result"},
    "result": {"say", "call"},
    "say": {"user"},
}


def fill(value: Any, chosen: dict[str, Any]) -> Any:
    """`value` with the slots in its strings replaced; a string that is one slot takes its JSON type."""
    if isinstance(value, dict):
        return {key: fill(item, chosen) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, chosen) for item in value]
    if not isinstance(value, str):
        return value
    whole = SLOT.fullmatch(value)
    if whole and _declared(whole, chosen):
        return _slot(whole, chosen)

    def replace(match: re.Match[str]) -> str:
        if not _declared(match, chosen):
            return match[0]
        filled = _slot(match, chosen)
        return filled if isinstance(filled, str) else json.dumps(filled)

    return SLOT.sub(replace, value)


def expand(scenario: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One conversation: every slot gets one of its values, the same everywhere."""
    chosen = {name: rng.choice(values) for name, values in scenario.get("slots", {}).items()}
    return {
        "id": scenario["id"],
        "system": fill(scenario.get("system"), chosen),
        "tools": scenario["tools"],
        "turns": fill(scenario["turns"], chosen),
    }


def problems(conversation: dict[str, Any]) -> Iterator[str]:
    """What breaks the rules of FORMAT.md in an expanded conversation."""
    tools = {tool["name"]: tool for tool in conversation["tools"]}
    previous = None
    calls = 0
    for i, turn in enumerate(conversation["turns"]):
        ((kind, body),) = turn.items()
        if kind not in MAY_FOLLOW[previous]:
            yield f"turn {i}: {kind} after {previous}"
        match kind:
            case "call":
                calls = len(body)
                yield from (f"turn {i}: {problem}" for problem in _call_problems(body, tools))
            case "result":
                if len(body) != calls:
                    yield f"turn {i}: {len(body)} results for {calls} calls"
                if not all(isinstance(result, str) for result in body):
                    yield f"turn {i}: result is not strings"
            case _ if not isinstance(body, str):
                yield f"turn {i}: {kind} is not a string"
            case _ if "{" in body or "}" in body:
                yield f"turn {i}: brace left in text: {body[:80]}"
        previous = kind
    if previous != "say":
        yield f"ends with {previous}"


def file_problems(path: Path, expansions: int, rng: random.Random) -> Iterator[str]:
    """What is wrong in a file of scenarios, each expanded `expansions` times."""
    ids = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            scenario = json.loads(line)
            if scenario["id"] in ids:
                yield f"{path}:{number}: duplicate id {scenario['id']}"
            ids.add(scenario["id"])
            for tool in scenario["tools"]:
                jsonschema.Draft202012Validator.check_schema(tool["parameters"])
                if not TOOL_NAME.fullmatch(tool["name"]):
                    yield f"{path}:{number}: tool name {tool['name']!r}"
            for _ in range(expansions):
                for problem in problems(expand(scenario, rng)):
                    yield f"{path}:{number}: {scenario['id']}: {problem}"
        except (ValueError, KeyError, TypeError, IndexError, jsonschema.SchemaError) as error:
            yield f"{path}:{number}: {type(error).__name__}: {error}"


def _declared(match: re.Match[str], chosen: dict[str, Any]) -> bool:
    name, field = match.groups()
    return name in chosen and (field is None or (isinstance(chosen[name], dict) and field in chosen[name]))


def _slot(match: re.Match[str], chosen: dict[str, Any]) -> Any:
    name, field = match.groups()
    return chosen[name] if field is None else chosen[name][field]


def _call_problems(calls: list[dict[str, Any]], tools: dict[str, Any]) -> Iterator[str]:
    for call in calls:
        if call["name"] not in tools:
            yield f"unknown tool {call['name']}"
            continue
        schema = {**tools[call["name"]]["parameters"], "additionalProperties": False}
        try:
            jsonschema.validate(call["arguments"], schema)
        except jsonschema.ValidationError as error:
            yield error.message
    values = json.dumps([list(call["arguments"].values()) for call in calls])
    if SLOT.search(values):
        yield f"unfilled slot in arguments: {values[:100]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="training/expand.py", description="Check files of scenarios; exit 1 where one is wrong."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file of data/, *.jsonl")
    parser.add_argument(
        "-n", type=int, default=4, metavar="N", help="expand each scenario N times (default: %(default)s)"
    )
    arguments = parser.parse_args()
    wrong = 0
    for path in arguments.files:
        for problem in file_problems(path, arguments.n, random.Random(0)):
            print(problem)
            wrong += 1
    print(f"{len(arguments.files)} files, {wrong} problems")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
