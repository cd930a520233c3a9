"""Exchanges with made tools: data/made_tools.txt has each with the ways it is asked for, values.py what it is asked about.

A tool is a line `name | description | parameters`, and behind it ` ~` a thing that is wanted ("the area of …"), ` !` something to
do ("book …"), ` >` a story (see `told`) and ` =` the answer. A parameter is `name:kind description`, `name?:kind` where it may be
left out, `a.b:kind` in an object; kinds are those of values.py. What stands in [ ] may be left out of a question, and `@name=value` in it says what
it means. Pure: what is drawn comes from the `random.Random` that is given.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import exchanges
import values
from exchanges import Exchange, Tool
from values import Value

FILE = Path(__file__).with_name("data") / "made_tools.txt"
NEAR_FILE = FILE.with_name("near_misses.txt")

THINGS = (
    "What is {}?", "What's {}?", "Find {}.", "Tell me {}.", "Can you tell me {}?", "I need {}.", "Give me {}.", "{}?", "Get {}",
    "I'd like to know {}.", "Could you find {}?", "Please get me {}.", "Show me {}.", "I want to know {}", "Look up {} please.",
    "What would be {}?", "Do you know {}?", "Help me find {}.", "I am looking for {}.",
)  # fmt: skip
SUMS = (
    "What is {}?", "Calculate {}.", "Compute {}.", "Work out {}.", "Can you calculate {}?", "I need to know {}.", "Determine {}",
    "Please calculate {}.", "Could you work out {} for me?", "{}?", "Find {}.", "Help me calculate {}.", "I want to calculate {}.",
)  # fmt: skip
CLAUSES = (
    "Tell me {}.", "Can you tell me {}?", "I'd like to know {}.", "Do you know {}?", "Find out {}.", "I want to know {}",
    "Could you find out {}?", "I wonder {}.", "Please tell me {}.", "Any idea {}?", "Let me know {}.", "Check {}",
)  # fmt: skip
DEEDS = (
    "{}.", "Please {}.", "Can you {}?", "Could you {}, please?", "I want you to {}.", "I'd like to {}.", "I need to {}.", "{}",
    "Would you {}?", "Help me {}.", "Go ahead and {}.", "{} please", "{}, thanks.", "Hey, can you {}", "I have to {}.",
)  # fmt: skip
BEFORE = (
    "Quick question.", "I'm working on a report.", "Hi!", "For my homework:", "Hello there.", "I'm planning something.",
    "One more thing.", "Okay,", "My boss asked me this.", "I am curious.", "Just checking.", "Hey.", "We were discussing this.",
)  # fmt: skip
EXTRAS = (
    ("verbose", "boolean", "print more", False), ("limit", "integer", "most results", 10), ("language", "string", "of the answer", "en"),
    ("precision", "integer", "digits after the point", 2), ("format", "string", "of the output", "json"), ("timeout", "number", "seconds", 30),
    ("cached", "boolean", "use stored results", True), ("page", "integer", "page of the results", 1), ("locale", "string", "", "en_US"),
    ("include_details", "boolean", "with details", False), ("round_result", "boolean", "round it", True), ("notify", "boolean", "", False),
)  # fmt: skip
"""Optional parameters that any tool may have, and nobody asks for: name, type, description, default."""
EXTRA_SHARE = 0.35
DESCRIBED_SHARE = 0.85
"""Of parameters, how many have a description."""
OPTIONAL_SHARE = 0.4
"""Of what a question may say about an optional parameter, how much it says."""
PARALLEL_OPTIONAL_SHARE = 0.6
"""The same where several sets of values are asked for: each call is to have what is said of it."""
NAMED_SHARE = 0.12
"""Of questions, how many say an optional parameter by its name."""
NAMED = (" with {} {}", ", with {} set to {}", " using {} {}", ", {} {}", ", {}: {}")
NAMED_FLAGS = (", with {} set to {}", " and set '{}' to {}", ", {}: {}", " ({} {})")
STORY_SHARE = 0.15
"""Of questions for tools that have stories, how many are stories."""
PARALLEL_STORY_SHARE = 0.35
CROSSED_SHARE = 0.14
"""Of parallel questions, how many ask for each of some values with each of others."""
SAME_DOMAIN_SHARE = 0.5
NEAR_MISS_SHARE = 0.6
"""Of declined questions, how many are of the subject of the tool that is offered."""
VAGUE = {"c": "my town", "n": "someone", "f": "a friend", "o": "a company", "k": "the one I mean", "w": "something"}
ASKING = (
    "Which {} do you mean?",
    "What is the {}?",
    "Please tell me the {}.",
    "I need the {} for that. Which one is it?",
)


@dataclass(frozen=True)
class Parameter:
    path: tuple[str, ...]
    kind: str
    optional: bool
    description: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Made:
    """A tool, and how it is asked for."""

    domain: str
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    phrases: tuple[str, ...]
    """Each begins with ~ or !."""
    answer: str
    stories: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    """Questions of its subject that it does not answer."""

    def tool(self, rng: random.Random) -> Tool:
        """As it is offered: with or without descriptions, defaults, and parameters that nobody asks for."""
        whole: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        described = rng.random() < DESCRIBED_SHARE
        for parameter in self.parameters:
            inside = whole
            for name in parameter.path[:-1]:
                if name not in inside["required"] and not parameter.optional:
                    inside["required"].append(name)
                inside = inside["properties"].setdefault(name, {"type": "object", "properties": {}, "required": []})
            shape = values.schema(parameter.kind)
            if described and rng.random() < DESCRIBED_SHARE:
                shape["description"] = parameter.description
            if parameter.optional and rng.random() < 0.4:
                shape["default"] = _default(parameter.kind, rng)
            inside["properties"][parameter.path[-1]] = shape
            if not parameter.optional:
                inside["required"].append(parameter.path[-1])
        if rng.random() < EXTRA_SHARE:
            for name, kind, description, default in rng.sample(EXTRAS, rng.choice((1, 1, 2))):
                shape = {"type": kind, "description": description or name, "default": default}
                whole["properties"].setdefault(name, shape)
        return {"name": self.name, "description": self.description, "parameters": whole}


def _default(kind: str, rng: random.Random) -> Any:
    return False if kind == "b" else values.draw(kind, rng).meant


Pool = Sequence[Made]
HELD_OUT = 15
"""One tool in so many is kept out of training, to measure with."""


@cache
def tools() -> tuple[Made, ...]:
    near = parse_near(NEAR_FILE.read_text(encoding="utf-8"))
    found = parse(FILE.read_text(encoding="utf-8"))
    if unknown := near.keys() - {made.name for made in found}:
        raise ValueError(f"{NEAR_FILE}: no tool of {FILE.name} is called {sorted(unknown)[0]}")
    return tuple(replace(made, near=near.get(made.name, ())) for made in found)


def pool(*, held_out: bool) -> Pool:
    """The tools that training sees, or those that it never sees."""
    return [made for made in tools() if (zlib.crc32(made.name.encode()) % HELD_OUT == 0) is held_out]


def parse(text: str) -> list[Made]:
    """The tools of a text like made_tools.txt. Raises ValueError with the line's number where one is not."""
    domain, found = "", list[Made]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            domain = line[3:]
        elif line.startswith((" ~", " !")) and found:
            found[-1] = replace(found[-1], phrases=(*found[-1].phrases, line[1:]))
        elif line.startswith(" >") and found:
            if line.count(" || ") != 2 or "{* " not in line.split(" || ")[0]:
                raise ValueError(
                    f"line {number}: expected a story of three parts between ' || ', with {{* noun}} in the first"
                )
            found[-1] = replace(found[-1], stories=(*found[-1].stories, line[2:]))
        elif line.startswith(" =") and found:
            found[-1] = replace(found[-1], answer=line[2:])
        elif line.count(" | ") == 2:
            name, description, rest = line.split(" | ")
            found.append(Made(domain, name, description, tuple(map(_parameter, rest.split("; "))), (), ""))
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number}: expected a tool, a question (~, ! or >) or an answer (=)")
    return found


def parse_near(text: str) -> dict[str, tuple[str, ...]]:
    """The questions of a text like near_misses.txt, by the tool's name. Raises ValueError with the line's number."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" ?") and name:
            found[name] += (line[2:],)
        elif re.fullmatch(r"\w+", line):
            name = line
            found[name] = ()
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number}: expected a tool's name, or a question (?) behind one")
    return found


def _parameter(text: str) -> Parameter:
    match = re.fullmatch(r"([\w.]+)(\??):(es?\([^)]*\)|\S+) (.+)", text)
    if match is None:
        raise ValueError(f"expected name:kind description, not {text!r}")
    return Parameter(tuple(match[1].split(".")), match[3], bool(match[2]), match[4])


@dataclass(frozen=True)
class Wording:
    """How several questions for one tool are put alike."""

    phrase: str
    frame: str
    said: frozenset[str]
    """The optional parts that are said."""
    named: tuple[str, str] | None = None
    """An optional parameter that is said by its name, and how."""

    @classmethod
    def drawn(cls, made: Made, rng: random.Random, optional: float = OPTIONAL_SHARE) -> Wording:
        phrase = rng.choice(made.phrases)
        if phrase[0] == "!":
            frames: Sequence[str] = DEEDS
        elif re.match(
            r"~(\[.*?\])?((until|since|by|from|to|at|in|for) )?(how|what|which|where|when|who|whose|whom|why|if|whether)\b",
            phrase,
        ):
            frames = CLAUSES
        else:
            frames = SUMS if re.match("Calc|Comp|Estim|Sum|Find the|Prob", made.description) else THINGS
        return cls(phrase, rng.choice(frames), _some_parts(phrase, optional, rng), _named(made, phrase, rng))

    def spelled(self) -> str:
        """The phrase with the optional parts that are said, those not said taken out."""
        return _spelled(self.phrase[1:], self.said)


def asked(
    made: Made, rng: random.Random, wording: Wording | None = None, fixed: dict[str, Value] | None = None
) -> Exchange:
    """One question for the tool, with its call, result and answer."""
    wording = wording or Wording.drawn(made, rng)
    phrase, known = filled(made, wording, rng, fixed)
    return _exchange(made, made.tool(rng), _framed(wording.frame, phrase), known, rng)


def _some_parts(text: str, share: float, rng: random.Random) -> frozenset[str]:
    """Of the parts in [ ], some."""
    return frozenset(part for part in re.findall(r"\[(.*?)\]", text) if rng.random() < share)


def _spelled(text: str, said: frozenset[str]) -> str:
    """`text` without the parts in [ ] that are not `said`."""
    return re.sub(r"\[(.*?)\]", lambda part: part[1] if part[1] in said else "", text)


def _named(made: Made, phrase: str, rng: random.Random) -> tuple[str, str] | None:
    """Now and then an optional parameter of which `phrase` does not speak, and how it is said: "with page size 20"."""
    if rng.random() > NAMED_SHARE:
        return None
    able = [one for one in made.parameters if one.optional and len(one.path) == 1 and one.name not in phrase]
    if not able:
        return None
    parameter = rng.choice(able)
    return parameter.name, rng.choice(NAMED_FLAGS if parameter.kind == "b" else NAMED)


def filled(
    made: Made, wording: Wording, rng: random.Random, fixed: dict[str, Value] | None = None
) -> tuple[str, dict[str, Value]]:
    """What is wanted, and the values that it names."""
    text, known = _valued(made, wording.spelled(), rng, fixed)
    if wording.named:
        name, said = wording.named
        kind = next(parameter.kind for parameter in made.parameters if parameter.name == name)
        value = (fixed or {}).get(name) or values.draw(kind, rng)
        known[name] = value
        text += said.format(name.replace("_", " "), value.said)
    return text, known


def _valued(
    made: Made, text: str, rng: random.Random, fixed: dict[str, Value] | None = None
) -> tuple[str, dict[str, Value]]:
    """`text` with values for its `{parameters}`, and the values."""
    kinds = {parameter.name: parameter.kind for parameter in made.parameters}
    known: dict[str, Value] = {}
    for name, word in re.findall(r" ?@([\w.]+)=(\w+)", text):
        known[name] = Value("", {"true": True, "false": False}.get(word, word))
    text = re.sub(r" ?@[\w.]+=\w+", "", text)
    for name in re.findall(r"\{([\w.]+)\}", text):
        known[name] = (fixed or {}).get(name) or _fresh(kinds[name], known, rng)
    text = re.sub(r"\{([\w.]+)\}", lambda match: known[match[1]].said, text)
    return " ".join(text.split()), known


def _fresh(kind: str, known: dict[str, Value], rng: random.Random) -> Value:
    while True:
        value = values.draw(kind, rng)
        if isinstance(value.meant, int | float | bool) or value not in known.values():
            return value


def _framed(frame: str, phrase: str) -> str:
    text = frame.format(phrase)
    return text[0].upper() + text[1:]


def _exchange(made: Made, tool: Tool, question: str, known: dict[str, Value], rng: random.Random) -> Exchange:
    arguments: dict[str, Any] = {}
    for parameter in made.parameters:  # in the schema's order
        if parameter.name in known:
            inside = arguments
            for name in parameter.path[:-1]:
                inside = inside.setdefault(name, {})
            inside[parameter.path[-1]] = known[parameter.name].meant
    result: dict[str, Any] = {}

    def replaced(match: re.Match[str]) -> str:
        name, _, kind = match[1].partition(":")
        value = values.draw(kind, rng).meant if kind else known[name].meant
        if kind:
            result[name] = value
        if isinstance(value, list):
            return values.listing([f"{one}".replace("_", " ") for one in value], rng)
        return value if isinstance(value, str) else json.dumps(value)

    say = re.sub(r"\{(\w[\w.]*(?::[^}]+)?)\}", replaced, made.answer)
    said = json.dumps(result or {"status": "ok"}, ensure_ascii=False)
    return Exchange(question, say, (tool,), ({"name": made.name, "arguments": arguments},), (said,))


def told(made: Made, count: int, rng: random.Random) -> Exchange:
    """A story of `count` things, each with its values, and what is asked of them.

    A story is `It is about {* thing} with {values}. || What of it? || What of them?`: `{* thing}` becomes "A thing", or "the first
    thing" and so on; sentences before the one with it are said once.
    """
    story, one, several = rng.choice(made.stories).split(" || ")
    start = max((match.end() for match in re.finditer(r"[.!?:] ", story[: story.index("{* ")])), default=0)
    before, item = story[:start], story[start:]
    noun = re.search(r"\{\* (.*?)\}", item)
    assert noun is not None
    tool, sentences, rows = made.tool(rng), list[str](), list[Exchange]()
    parts = _some_parts(item, PARALLEL_OPTIONAL_SHARE, rng)
    alike = rng.random() < 0.6
    for name in _ordinals(noun[1], count, rng):
        said = parts if alike else _some_parts(item, PARALLEL_OPTIONAL_SHARE, rng)
        text, known = _valued(made, _spelled(item, said).replace(noun[0], name), rng)
        sentences.append(text[0].upper() + text[1:])
        rows.append(_exchange(made, tool, text, known, rng))
    asks = one if count == 1 else several
    whole = f"{before}{' '.join(sentences)} {asks}"
    if not before and rng.random() < 0.15:
        whole = f"{asks} {' '.join(sentences)}"
    return replace(exchanges.together(rows, rng), question=whole)


NUMBERED = ("first", "second", "third", "fourth", "fifth")


def _ordinals(noun: str, count: int, rng: random.Random) -> list[str]:
    """How so many things are named one after the other: "the first car", "the second car"."""
    article = "an" if noun[0] in "aeiou" else "a"
    if count == 1:
        return [rng.choice((f"{article} {noun}", f"{article} {noun}", f"the {noun}", f"one {noun}", f"my {noun}"))]
    match rng.randrange(5):
        case 0 if count == 2:
            return [f"one {noun}", rng.choice((f"another {noun}", f"the other {noun}", "the other one"))]
        case 1:
            return [f"{noun} {letter}" for letter in "ABCDE"[:count]]
        case 2:
            return [f"{article} {noun}", *(f"a {number} {rng.choice((noun, 'one'))}" for number in NUMBERED[1:count])]
        case 3:
            return [f"the {number} {noun if number == 'first' else 'one'}" for number in NUMBERED[:count]]
        case _:
            return [f"the {number} {noun}" for number in NUMBERED[:count]]


def single(pool: Pool, rng: random.Random) -> Exchange:
    """A question for one tool, perhaps with a sentence before it, or as a story."""
    made = rng.choice(pool)
    if made.stories and rng.random() < STORY_SHARE:
        return told(made, 1, rng)
    return _opened(asked(made, rng), rng)


def _opened(exchange: Exchange, rng: random.Random) -> Exchange:
    if rng.random() < 0.12:
        return replace(exchange, question=f"{rng.choice(BEFORE)} {exchange.question}")
    if rng.random() < 0.1:
        return replace(
            exchange, question=exchange.question.rstrip(".?").lower() if not _cased(exchange) else exchange.question
        )
    return exchange


def _cased(exchange: Exchange) -> bool:
    """Whether a value of a call has capitals, which the question must keep."""
    text = json.dumps([call["arguments"] for call in exchange.calls])
    return text != text.lower()


def parallel(pool: Pool, rng: random.Random) -> Exchange:
    """Two to five values or sets of values for one tool in one message."""
    made = rng.choice(pool)
    count = rng.choice((2, 2, 2, 3, 3, 4, 5))
    if made.stories and rng.random() < PARALLEL_STORY_SHARE:
        return told(made, count, rng)
    wording, tool = Wording.drawn(made, rng, PARALLEL_OPTIONAL_SHARE), made.tool(rng)
    if rng.random() < CROSSED_SHARE and (crossed := _crossed(made, wording, tool, rng)):
        return crossed
    names = re.findall(r"\{([\w.]+)\}", re.sub(r"\[.*?\]", "", wording.phrase))
    _, base = filled(made, wording, rng)
    varied = {rng.choice(names)} if rng.random() < 0.5 else set(names)
    fixed = {name: value for name, value in base.items() if name not in varied}
    phrases, rows, sets = list[str](), list[Exchange](), list[dict[str, Value]]()
    for _ in range(count * 5):
        phrase, known = filled(made, wording, rng, fixed)
        if phrase not in phrases:
            phrases.append(phrase)
            sets.append(known)
            rows.append(_exchange(made, tool, _framed(wording.frame, phrase), known, rng))
        if len(rows) == count:
            break
    if len(rows) == 1:
        return rows[0]
    joined = exchanges.together(rows, rng)
    chance = rng.random()
    if chance < 0.16 and (phrase := _respectively(made, wording, sets, rng)):
        return replace(joined, question=_framed(wording.frame, phrase))
    if chance < 0.28 and (again := _same_for(sets, rng)):
        return replace(joined, question=f"{_framed(wording.frame, phrases[0]).rstrip('.?')}. {again}")
    if chance < 0.40:
        phrase = (
            f"{', then '.join(phrases[:-1])}{rng.choice((', and then ', ', and finally ', ', then '))}{phrases[-1]}"
        )
        return replace(joined, question=_framed(wording.frame, phrase))
    if chance < 0.55:
        return replace(joined, question=_framed(wording.frame, values.listing(phrases, rng)))
    if chance < 0.62:
        return replace(joined, question=_framed(wording.frame, ", and also ".join(phrases)))
    if chance < 0.88:
        listed = exchanges.together(rows, rng, listed=True)
        words = {value.said for known in sets for value in known.values() if isinstance(value.meant, str)}
        # "the First and the Second League": it would have to be guessed.
        return listed if all(said in listed.question for said in words) else joined
    return joined


def _differing(sets: Sequence[dict[str, Value]]) -> dict[str, list[str]]:
    """Of the values that differ between `sets`, how each is said; nothing where one cannot stand in a list."""
    said = {name: [known[name].said for known in sets] for name in sets[0]}
    differing = {name: texts for name, texts in said.items() if len(set(texts)) > 1}
    return (
        {}
        if any(not text or re.search(", | and ", text) for texts in differing.values() for text in texts)
        else differing
    )


def _respectively(made: Made, wording: Wording, sets: Sequence[dict[str, Value]], rng: random.Random) -> str | None:
    """The phrase with a list for each value that differs: "from Dallas and Lyon to Rome and Oslo respectively"."""
    differing = _differing(sets)
    if not differing or len(differing) > 3 or re.search(r"\} (and|or|to) \{", wording.phrase):
        return None
    lists = {name: Value(f"{', '.join(texts[:-1])} and {texts[-1]}", None) for name, texts in differing.items()}
    phrase, _ = filled(made, wording, rng, {**sets[0], **lists})
    return phrase if len(differing) == 1 else phrase + rng.choice((" respectively", ", respectively"))


def _crossed(made: Made, wording: Wording, tool: Tool, rng: random.Random) -> Exchange | None:
    """A call for each of some values with each of others: "the weather of Lyon and Oslo on Monday and on Friday"."""
    names = list(dict.fromkeys(re.findall(r"\{([\w.]+)\}", re.sub(r"\[.*?\]", "", wording.phrase))))
    if len(names) < 2 or re.search(r"\} (and|or|to|by|x) \{", wording.phrase):
        return None
    first, second = sorted(rng.sample(names, 2), key=names.index)
    sets = [filled(made, wording, rng)[1] for _ in range(3)]
    base = sets[0]
    outer, inner = ([known[name] for known in sets] for name in (first, second))
    outer, inner = outer[:2], inner[: rng.choice((2, 2, 3))]
    texts = [[value.said for value in row] for row in (outer, inner)]
    if any(len(set(row)) < len(row) or any(not text or re.search(", | and ", text) for text in row) for row in texts):
        return None
    rows = []
    for a in outer:
        for b in inner:
            fixed = {**base, first: a, second: b}
            rows.append(_exchange(made, tool, "", filled(made, wording, rng, fixed)[1], rng))
    lists = {
        name: Value(f"{', '.join(row[:-1])} and {row[-1]}", None)
        for name, row in zip((first, second), texts, strict=True)
    }
    phrase, _ = filled(made, wording, rng, {**base, **lists})
    each = rng.choice(("", "", ", for each of them", " (each with each)", ", in every combination"))
    question = _framed(wording.frame, phrase + each)
    return replace(exchanges.together([replace(row, question=question) for row in rows], rng), question=question)


def _same_for(sets: Sequence[dict[str, Value]], rng: random.Random) -> str | None:
    """ "Then do the same for Lyon and Oslo." where one value differs, or "And once more with a mass of 3 and a time of 5." """
    differing = _differing(sets)
    if len(differing) != 1 and len(sets) == 2 and len(differing) <= 3:
        said = [
            f"{'an' if name[0] in 'aeiou' else 'a'} {_label(name)} of {texts[1]}" for name, texts in differing.items()
        ]
        begin = rng.choice(
            ("And once more with", "Then again with", "Repeat that with", "Then do the same with", "Also with")
        )
        return f"{begin} {' and '.join(said)}." if said else None
    if len(differing) != 1:
        return None
    ((name, texts),) = differing.items()
    label = f"a {_label(name)} of " if rng.random() < 0.4 else ""
    begin = rng.choice(
        ("Then do the same for", "Do the same for", "And the same for", "Also do that for", "Repeat it with")
    )
    return f"{begin} {label}{values.listing(texts[1:], rng)}{rng.choice(('.', '.', ', please.'))}"


def _label(name: str) -> str:
    return name.split(".")[-1].replace("_", " ")


def parallel_multiple(pool: Pool, rng: random.Random) -> Exchange:
    """Two to four requests for several tools in one message; one tool may be asked for twice."""
    picked = rng.sample(pool, rng.choice((2, 2, 2, 3, 3, 4)))
    if rng.random() < 0.5:
        near = [made for made in pool if made.domain == picked[0].domain]
        if len(near) > 1:
            picked = rng.sample(near, min(len(near), len(picked)))
    rows = [told(made, 1, rng) if made.stories and rng.random() < STORY_SHARE else asked(made, rng) for made in picked]
    if len(rows) < 4 and rng.random() < 0.3:
        again = asked(picked[0], rng)
        rows.insert(rng.choice((0, 1)), replace(again, tools=rows[0].tools))
    return exchanges.together(rows, rng)


def offered(needed: Sequence[Tool], pool: Pool, rng: random.Random) -> list[Tool]:
    """The tools that are needed, mostly with others beside them, often such of the same domain."""
    found = {tool["name"]: tool for tool in needed}
    domains = {made.domain for made in pool if made.name in found}
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 2, 3, 5))):
        near = [made for made in pool if made.domain in domains] if rng.random() < SAME_DOMAIN_SHARE else []
        other = rng.choice(near or pool)
        found.setdefault(other.name, other.tool(rng))
    shuffled = list(found.values())
    rng.shuffle(shuffled)
    return shuffled


def declined(pool: Pool, rng: random.Random) -> tuple[Exchange, list[Tool]]:
    """A question, and tools none of which answers it."""
    if rng.random() < NEAR_MISS_SHARE:
        return _near_miss(pool, rng)
    exchange = single(pool, rng)
    domain = next(made.domain for made in pool if made.name in exchange.needed)
    near = rng.random() < 0.35
    others = [made for made in pool if (made.domain == domain) is near and made.name not in exchange.needed]
    wrong: list[Tool] = []
    for made in rng.sample(others, min(len(others), 8)):
        tool = made.tool(rng)
        if not exchanges.clash(exchange, [tool]):
            wrong.append(tool)
    wrong = wrong[: rng.choice((1, 1, 1, 2, 3, 4))] or [_unlike(exchange, pool, rng)]
    return Exchange(exchange.question, exchanges.sorry([tool["name"] for tool in wrong], rng)), wrong


def _near_miss(pool: Pool, rng: random.Random) -> tuple[Exchange, list[Tool]]:
    """A question of a tool's subject that it does not answer, and that tool, now and then among such of other fields."""
    made = rng.choice([made for made in pool if made.near])
    others = [other for other in pool if other.domain != made.domain]
    wrong = [one.tool(rng) for one in (made, *rng.sample(others, rng.choice((0, 0, 0, 0, 1, 2))))]
    rng.shuffle(wrong)
    question = values.filled(rng.choice(made.near), rng)
    return Exchange(question, exchanges.sorry([tool["name"] for tool in wrong], rng)), wrong


def _unlike(exchange: Exchange, pool: Pool, rng: random.Random) -> Tool:
    while True:
        tool = rng.choice(pool).tool(rng)
        if not exchanges.clash(exchange, [tool]):
            return tool


def answered(offered: Sequence[Tool], pool: Pool, rng: random.Random) -> Exchange:
    """A question that one of the tools `offered` answers."""
    tool = rng.choice(offered)
    return replace(asked(next(made for made in pool if made.name == tool["name"]), rng), tools=(tool,))


def missing(pool: Pool, rng: random.Random) -> Exchange | None:
    """A question that leaves out what its tool needs, and the question for it."""
    made = rng.choice(pool)
    able = [p for p in made.parameters if p.kind in VAGUE and not p.optional and len(p.path) == 1]
    wording = Wording.drawn(made, rng)
    if not able:
        return None
    parameter = rng.choice(able)
    vague = Value(VAGUE[parameter.kind], None)
    phrase, known = filled(made, wording, rng, {parameter.name: vague})
    if parameter.name not in known:
        return None
    say = rng.choice(ASKING).format(parameter.name.replace("_", " "))
    return Exchange(_framed(wording.frame, phrase), say, (made.tool(rng),))
