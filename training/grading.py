"""The everyday page: its questions, and the rules by which an answer to one is right. Starts nothing.

A row of page/*.yaml has the tool set that is offered (`set`), the question (`ask`), the calls that answer it, by name with
their arguments, and sometimes `says`, patterns that the answer must have. An argument is a value, a list of values
any of which will do, or `any`; null stands for leaving it out. A row of two turns has them under `turns`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from toolchat.samples.calculator import calculate
from toolchat.samples.units import convert_units

PAGE = Path(__file__).with_name("page")
HALVES = ("sealed", "open")

FILES = {
    "notes.txt": "Buy bread and cheese.",
    "report.md": "Sales went up in March.\nCosts stayed the same.\nNext report in June.",
    "data/prices.csv": "item,price\npen,2",
    "data/people.csv": "name,age\nAva,31",
    "data/readme.txt": "Prices and people.",
}
"""The folder that the sample tools look at."""


@dataclass(frozen=True)
class Turn:
    ask: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    tools: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class MadeCall:
    """A call that the model made, and what came back."""

    name: str
    arguments: Mapping[str, Any]
    result: str
    failed: bool


def read_page(half: str) -> list[Row]:
    """The rows of page/HALF.yaml, named KIND-NUMBER."""
    page = yaml.safe_load((PAGE / f"{half}.yaml").read_text(encoding="utf-8"))
    return [
        Row(f"{kind}-{number}", kind, row["set"], tuple(_turn(turn) for turn in row.get("turns", [row])))
        for kind, rows in page.items()
        for number, row in enumerate(rows, 1)
    ]


def _turn(entry: Mapping[str, Any]) -> Turn:
    # YAML takes a key `on` for true.
    calls = tuple(
        (name, {"on" if key is True else key: value for key, value in arguments.items()})
        for call in entry.get("calls", [])
        for name, arguments in call.items()
    )
    return Turn(entry["ask"], calls, tuple(entry.get("says", [])))


def problem(turn: Turn, calls: Sequence[MadeCall], answer: str) -> str:
    """Why an answer is wrong, in a few words; "" where it is right."""
    if not answer.strip():
        return "no answer"
    if len(calls) != len(turn.calls):
        return f"{len(calls)} calls, expected {len(turn.calls)}"
    waiting = list(calls)
    for name, arguments in turn.calls:
        made = next((call for call in waiting if call.name == name and _agree(call, arguments)), None)
        if made is None:
            return f"no such call: {name} {dict(arguments)}"
        waiting.remove(made)
    text = _plain(answer)
    failed = [call for call in calls if call.failed]
    if failed and not _ADMITS.search(text):
        return "does not say that it failed"
    if failed and len(failed) == len(calls):
        known = set(_numbers(" ".join([turn.ask, *(call.result for call in calls)])))
        invented = [number for number in _numbers(text) if number not in known]
        if invented:
            return f"invents {invented[0]}"
    told = [fact for call in calls if not call.failed for fact in facts(call)]
    missing = [fact for fact in told if not _is_in(fact, text)]
    if missing:
        return f"does not say {missing[0]!r}"
    if not _in_order(calls, text):
        return "mixes the results up"
    return next((f"does not say {pattern!r}" for pattern in turn.says if not re.search(pattern, text, re.I)), "")


_ADMITS = re.compile(
    r"\b(no|not|cannot|can't|couldn't|don't|doesn't|isn't|unable|sorry|error|fail\w*|already|unknown|invalid|out of range)\b",
    re.I,
)
_TOLD = {
    "get_current_weather": r"is (-?\d+) degrees",
    "current_time": r"(\d\d:\d\d)",
    "cancel_order": r"(cancel)",
    "door_state": r"(unlocked|locked)",
    "switch_lamp": r"is (on|off)",
    "finish_task": r"^(done)",
}
"""What of a result must be in the answer; of other tools the numbers, or, where there are none, half of the words."""


_SYNONYMS = {
    "cancel": r"cancel",
    "done": r"\b(done|finished|complete|completed|ticked)\b",
    "0": r"\b(0|no|not|none|zero|out of stock)\b|n't\b",
}


def facts(call: MadeCall) -> list[str]:
    """What the answer must state of a result."""
    if call.name in _TOLD:
        return re.findall(_TOLD[call.name], call.result)
    if call.name == "list_files":
        return [name.rstrip("/") for name in call.result.splitlines()]
    lines = [re.sub(r"^\d+\. ", "", line) for line in call.result.splitlines()]
    numbers = _numbers(_plain(" ".join(lines)))
    return numbers or ["|".join(sorted(set(re.findall(r"\w{4,}", call.result.casefold()))))]


def _is_in(fact: str, text: str) -> bool:
    if "|" in fact:
        words = fact.split("|")
        return 2 * sum(word in re.findall(r"\w+", text.casefold()) for word in words) >= len(words)
    if fact in _SYNONYMS:
        return re.search(_SYNONYMS[fact], text, re.I) is not None
    return _position(fact, text) is not None


def _position(fact: str, text: str) -> int | None:
    found = re.search(rf"(?<![\w.]){re.escape(fact)}(?![\w])(?!\.\d)", text, re.I)
    return found.start() if found else None


def _in_order(calls: Sequence[MadeCall], text: str) -> bool:
    """Whether each result stands by what it is of: both come in the same order."""
    pairs = []
    for call in calls:
        own = facts(call) if not call.failed else []
        value = _position(own[0], text) if own and "|" not in own[0] else None
        anchor = _anchor(call, calls, text)
        if value is not None and anchor is not None:
            pairs.append((anchor, value))
    pairs.sort()
    return all(one[1] <= other[1] for one, other in itertools.pairwise(pairs))


def _anchor(call: MadeCall, calls: Sequence[MadeCall], text: str) -> int | None:
    """Where the answer names what only this call is about."""
    others = [str(value).casefold() for other in calls if other is not call for value in other.arguments.values()]
    for value in call.arguments.values():
        name = str(value).rpartition("/")[2].replace("_", " ") if call.name == "current_time" else str(value)
        if str(value).casefold() not in others and (position := _position(name, text)) is not None:
            return position
    return None


SAME_RESULT: dict[str, Callable[..., str]] = {"calculate": calculate, "convert_units": convert_units}
"""Tools whose call is right if it comes to the same: there are many ways to write a sum."""


def _agree(call: MadeCall, expected: Mapping[str, Any]) -> bool:
    if call.name in SAME_RESULT:
        return _outcome(call.name, call.arguments) == _outcome(call.name, expected)
    if not call.arguments.keys() <= expected.keys():
        return False
    return all(_fits(call.arguments.get(name), wanted) for name, wanted in expected.items())


def _outcome(name: str, arguments: Mapping[str, Any]) -> str:
    try:
        return SAME_RESULT[name](**arguments)
    except Exception as error:  # of two that fail, the reasons are compared
        return f"{type(error).__name__}: {error}"


def _fits(value: Any, wanted: Any) -> bool:
    if wanted == "any":
        return True
    choices = wanted if isinstance(wanted, list) else [wanted]
    return any(_same(value, choice) for choice in choices)


def _same(value: Any, choice: Any) -> bool:
    if isinstance(value, str) and isinstance(choice, str):
        return value.strip().strip("'\"").casefold() == choice.casefold()
    if isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    return bool(value == choice)


def _numbers(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])\d+(?:[.:]\d+)*(?!\w)", text)


def _plain(text: str) -> str:
    """Without commas between thousands."""
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)


def interval(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share, in percent."""
    if not of:
        return 0.0, 100.0
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def table(counts: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """A row of a Markdown table for each name: right ones of how many, percent, interval."""
    yield "| | right | % | 95 % interval |"
    yield "| --- | --- | --- | --- |"
    for name, (right, of) in counts.items():
        low, high = interval(right, of)
        yield f"| {name} | {right} of {of} | {100 * right / of if of else 0:.0f} | {low:.0f} to {high:.0f} |"
