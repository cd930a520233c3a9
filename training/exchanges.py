"""Exchanges (a question, its calls, results and answer) and how new ones are made of those that scenarios hold.

Pure: what is drawn comes from the `random.Random` that is given. Never reads a file, knows no tokenizer.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from expand import SLOT, fill

Tool = dict[str, Any]
Call = dict[str, Any]

LISTED_SHARE = 0.6
"""Of parallel questions that can be put as one ("in Dallas and in Lyon"), how many are; the others are two sentences."""
LONGEST_PART = 7
"""Words that a member of such a list may have."""


@dataclass(frozen=True)
class Exchange:
    """One question and its answer, with the calls between; the tools are those that it needs to be offered."""

    question: str
    say: str
    tools: tuple[Tool, ...] = ()
    calls: tuple[Call, ...] = ()
    results: tuple[str, ...] = ()

    @property
    def needed(self) -> set[str]:
        """Names of the tools that it calls."""
        return {call["name"] for call in self.calls}

    def turns(self) -> list[dict[str, Any]]:
        """As the turns of a scenario."""
        between = [{"call": list(self.calls)}, {"result": list(self.results)}] if self.calls else []
        return [{"user": self.question}, *between, {"say": self.say}]


def begins_with_call(scenario: dict[str, Any]) -> bool:
    """Whether its first exchange is a question, one call or several at once, results, and an answer."""
    return [next(iter(turn)) for turn in scenario["turns"][:4]] == ["user", "call", "result", "say"]


def first(scenario: dict[str, Any], rng: random.Random) -> Exchange:
    """The first exchange of a scenario that `begins_with_call`, its slots filled."""
    return _filled(scenario, _chosen(scenario, rng))


def parallel(scenario: dict[str, Any], rng: random.Random, count: int) -> Exchange | None:
    """One question for the same tool with `count` different values; None where the scenario has no such values.

    Only the slots of the call, its result and its answer are drawn anew, so the words around them stay.
    """
    if len(scenario["turns"][1]["call"]) != 1:
        return None
    chosen = _chosen(scenario, rng)
    parts = "".join(json.dumps(turn) for turn in scenario["turns"][1:4])
    varied = sorted({match[1] for match in SLOT.finditer(parts)} & chosen.keys())
    draws: list[Exchange] = []
    for _ in range(count * 4):
        new = {name: rng.choice(scenario["slots"][name]) for name in varied}
        draw = _filled(scenario, chosen | new)
        known = {part for one in draws for part in (one.question, json.dumps(one.calls))}
        if not known & {draw.question, json.dumps(draw.calls)}:
            draws.append(draw)
        if len(draws) == count:
            return together(draws, rng, listed=rng.random() < LISTED_SHARE)
    return None


def together(exchanges: Sequence[Exchange], rng: random.Random, *, listed: bool = False) -> Exchange:
    """Asked in one message, called at once in that order, and answered one after the other."""
    questions = [exchange.question for exchange in exchanges]
    question = (_listed(questions, rng) if listed else None) or _joined(questions, rng)
    tools: dict[str, Tool] = {}
    for exchange in exchanges:
        for tool in exchange.tools:
            tools.setdefault(tool["name"], tool)
    return Exchange(
        question,
        _said(exchanges),
        tuple(tools.values()),
        tuple(call for exchange in exchanges for call in exchange.calls),
        tuple(result for exchange in exchanges for result in exchange.results),
    )


def _said(exchanges: Sequence[Exchange]) -> str:
    joint = "\n\n" if any("```" in exchange.say for exchange in exchanges) else " "  # a fence begins its line
    return joint.join(exchange.say for exchange in exchanges)


def compatible(one: Exchange, other: Exchange) -> bool:
    """Whether no tool of one is named or meant like one that the other needs."""
    return not (clash(other, one.tools) or clash(one, other.tools))


NO_TOOL = (
    "Sorry, I have no tool for that.",
    "I can't do that: none of my tools does it.",
    "None of my tools can do that.",
    "Sorry, I can't help with that. I have no tool for it.",
    "I'm sorry, but I have no tool for that.",
    "I can't do that with the tools I have.",
    "That is not something my tools can do.",
    "I have no tool that does that.",
)
ONLY = (
    "Sorry, I can't do that. I only have {tools}.",
    "I have no tool for that, only {tools}.",
    "None of my tools does that: I have {tools}.",
)
NO_TOOL_FOR_REST = (
    "I have no tool for the other request.",
    "Sorry, none of my tools can do the other part.",
    "For the rest I have no tool.",
    "I can't do the other thing: I have no tool for it.",
)


def clash(asked: Exchange, offered: Sequence[Tool]) -> bool:
    """Whether one of the `offered` tools may well answer what `asked` needs a tool for."""
    return bool(_topics(offered) & _topics(_called(asked)))


def sorry(names: Sequence[str], rng: random.Random) -> str:
    """Says that none of the tools does it, now and then which there are."""
    if len(names) <= 3 and rng.random() < 0.25:
        return rng.choice(ONLY).format(tools=_and(names))
    return rng.choice(NO_TOOL)


def partly_declined(answered: Exchange, asked: Exchange, rng: random.Random) -> Exchange:
    """Both questions in one message, with the tools of the first only."""
    rest = Exchange(asked.question, rng.choice(NO_TOOL_FOR_REST))
    both = [answered, rest] if rng.random() < 0.6 else [rest, answered]
    joined = together(both, rng)
    return replace(joined, say=_said([answered, rest]))


FAILURES = (
    ("Error: TimeoutError: no answer within {n} seconds", ("The tool did not answer in time, so I can't say.",
        "Sorry, that took too long: there was no answer within {n} seconds.", "It timed out after {n} seconds.")),
    ("Error: ConnectionError: the service cannot be reached", ("The service cannot be reached right now.",
        "Sorry, I could not reach the service.", "That failed: the service cannot be reached.")),
    ("Error: PermissionError: not allowed", ("That is not allowed.", "Sorry, I am not allowed to do that.")),
    ("Error: RuntimeError: the service is down for maintenance", ("The service is down for maintenance.",
        "Sorry, that is not possible now: the service is down for maintenance.")),
    ("Error: the user declined this call", ("Okay, I did not do that.", "All right, I left it. You declined the call.",
        "You declined the call, so I have no answer.")),
)  # fmt: skip
UNKNOWN = (
    ("Error: ValueError: unknown {key}: {value}", ("Sorry, {value} is unknown.", "I could not find {value}.",
        "{value} is not known, so I can't say.")),
    ("Error: LookupError: {value} not found", ("Sorry, {value} was not found.", "I could not find {value}.",
        "{value} could not be found.")),
    ("Error: ValueError: there is no {key} {value}", ("There is no {key} {value}.", "Sorry, there is no {key} {value}.")),
    ("Error: ValueError: {value} is not a valid {key}", ("{value} is not a valid {key}.",
        "That did not work: {value} is not a valid {key}.")),
)  # fmt: skip
OUT_OF_RANGE = (
    ("Error: ValueError: {key} {value} is out of range", ("That did not work: {value} is out of range.",
        "Sorry, {value} is out of range.")),
    ("Error: ValueError: {value} is too large", ("Sorry, {value} is too large.", "That failed: {value} is too large.")),
)  # fmt: skip


def failed(exchange: Exchange, rng: random.Random) -> Exchange:
    """With one call, whose result is an error that the answer passes on."""
    (call,) = exchange.calls
    values = [(key, value) for key, value in call["arguments"].items() if isinstance(value, str | int | float)]
    values = [(key, value) for key, value in values if not isinstance(value, bool)]
    key, value = rng.choice(values) if values else ("", "")
    kinds = FAILURES
    if values and rng.random() < 0.65:
        kinds = UNKNOWN if isinstance(value, str) else OUT_OF_RANGE
    error, answers = rng.choice(kinds)
    words = {"key": key.replace("_", " "), "value": value, "n": rng.choice((5, 10, 20, 30, 60))}
    return replace(exchange, results=(error.format(**words),), say=rng.choice(answers).format(**words))


def _chosen(scenario: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in scenario.get("slots", {}).items()}


def _filled(scenario: dict[str, Any], chosen: dict[str, Any]) -> Exchange:
    asked, calls, results, said = fill(scenario["turns"][:4], chosen)
    tools = tuple(scenario["tools"])
    return Exchange(asked["user"], said["say"], tools, tuple(calls["call"]), tuple(results["result"]))


def _called(exchange: Exchange) -> list[Tool]:
    return [tool for tool in exchange.tools if tool["name"] in exchange.needed]


_VERBS = frozenset(
    [
        "get",
        "set",
        "find",
        "search",
        "list",
        "add",
        "create",
        "show",
        "check",
        "update",
        "delete",
        "remove",
        "book",
        "send",
        "make",
        "start",
        "stop",
        "read",
        "write",
        "look",
        "lookup",
        "fetch",
        "calculate",
        "compute",
        "convert",
        "current",
        "the",
        "for",
        "with",
        "and",
        "from",
        "new",
        "next",
        "open",
        "close",
        "all",
        "info",
        "data",
    ]
)


def _topics(tools: Sequence[Tool]) -> set[str]:
    """The nouns of the tools' names, in the singular."""
    words = {
        word.casefold().rstrip("s")
        for tool in tools
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", tool["name"])
    }
    nouns = {word for word in words if len(word) > 2 and word not in _VERBS}
    return nouns or {tool["name"] for tool in tools}


_PLAIN_BEGINNING = frozenset(
    [
        "what",
        "what's",
        "whats",
        "how",
        "how's",
        "where",
        "when",
        "who",
        "which",
        "is",
        "are",
        "was",
        "do",
        "does",
        "did",
        "can",
        "could",
        "please",
        "show",
        "give",
        "tell",
        "find",
        "add",
        "set",
        "book",
        "send",
        "turn",
        "make",
        "check",
        "look",
        "read",
        "list",
        "convert",
        "calculate",
        "compute",
        "work",
        "put",
        "create",
        "open",
        "get",
        "search",
        "remove",
        "delete",
        "start",
        "stop",
        "play",
        "mark",
        "log",
        "run",
        "any",
        "has",
        "have",
        "will",
        "should",
        "would",
    ]
)


NUMBERINGS = (
    ("First,", "Second,", "Third,", "Fourth,", "Fifth,"), ("First,", "Secondly,", "Thirdly,", "After that,", "Then,"),
    ("First,", "Then,", "After that,", "Next,", "Also,"), ("1.", "2.", "3.", "4.", "5."), ("To begin,", "Then,", "Next,", "Then,", "Also,"),
)  # fmt: skip
NUMBERED_OPENINGS = ("", "", "I need a few things. ", "Could you help me with a few things? ", "I have some questions. ",
    "Help me with these, please. ", "There are some things to do. ", "Can you do these for me? ")  # fmt: skip


def _numbered(questions: Sequence[str], rng: random.Random) -> str:
    """Requests one after the other: "I need a few things. First, …? Second, …? Lastly, …?"."""
    words = list(rng.choice(NUMBERINGS)[: len(questions)])
    if words[0] != "1.":
        words[-1] = rng.choice(("Lastly,", "Finally,", words[-1]))
    parts = [f"{word} {_lowered(_ended(question))}" for word, question in zip(words, questions, strict=True)]
    return f"{rng.choice(NUMBERED_OPENINGS)}{' '.join(parts)}"


def _joined(questions: Sequence[str], rng: random.Random) -> str:
    """Two or three requests in one message, in the ways people join them."""
    if 1 < len(questions) <= 5 and rng.random() < (0.15 if len(questions) == 2 else 0.3):
        return _numbered(questions, rng)
    text = questions[0]
    for question in questions[1:]:
        match rng.randrange(6):
            case 0 | 1:
                text = f"{_bare(text)}, and {_lowered(question)}"
            case 2:
                text = f"{_ended(text)} Also, {_lowered(question)}"
            case 3:
                text = f"{_ended(text)} And {_lowered(question)}"
            case 4:
                text = f"{_bare(text)} and {_lowered(question)}"
            case _:
                text = f"{_ended(text)} {question}"
    return text


def _listed(questions: Sequence[str], rng: random.Random) -> str | None:
    """Requests that differ in one place, as one with a list there: "weather in Dallas and Lyon?"."""
    end = questions[0][-1] if questions[0][-1] in "?.!" else ""
    rows = [question.rstrip("?.!").split() for question in questions]
    shortest = min(map(len, rows))
    before = next((i for i in range(shortest) if len({row[i] for row in rows}) > 1), shortest)
    after = next((i for i in range(shortest - before) if len({row[-1 - i] for row in rows}) > 1), shortest - before)
    members = [row[before : len(row) - after] for row in rows]
    if not before or not all(0 < len(member) <= LONGEST_PART for member in members):
        return None
    if any(word.endswith(",") for member in members for word in member[:-1]):
        return None  # "to Lyon, France and Oslo, Norway"
    # A preposition belongs to each member as well: "in Dallas and in Lyon".
    texts = [" ".join(member).rstrip(",") for member in members]
    preposition = rows[0][before - 1]
    if preposition in ("in", "for", "of", "at", "to", "on", "from", "about") and rng.random() < 0.35:
        texts[1:] = [f"{preposition} {text}" for text in texts[1:]]
    if len(texts) == 2 and rng.random() < 0.15:
        texts[0] = f"both {texts[0]}"
    listing = _and(texts) if len(texts) > 2 or rng.random() < 0.8 else rng.choice((", and ", " and also ")).join(texts)
    comma = "," if members[0][-1].endswith(",") and after else ""
    return " ".join([*rows[0][:before], listing + comma, *rows[0][len(rows[0]) - after :]]) + end


def _and(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _bare(text: str) -> str:
    return text.rstrip("?.! ")


def _ended(text: str) -> str:
    return text if text[-1] in "?.!" else f"{text}."


def _lowered(text: str) -> str:
    word = text.split(maxsplit=1)[0]
    return text[0].lower() + text[1:] if word.rstrip(",").casefold() in _PLAIN_BEGINNING else text
