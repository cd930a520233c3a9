"""Rules by pattern and grants: which calls of a tool may run. Decides; asks and remembers nothing.

`deny` counts before `ask`, and `ask` before `allow`. A call that may mean what is denied, by a reading that the tool
could have, is asked about.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from toolchat.tools.argument_patterns import (
    RUNNERS,
    Fit,
    Kind,
    Pattern,
    kind_of,
    possibly,
    problem_of,
    resolved_pattern,
    surely,
)
from toolchat.tools.variables import working_folder_of

if TYPE_CHECKING:
    from toolchat.tools.toolbox import Tool

LIKE = "like "
"""Begins the arguments of a grant by pattern. A toolchat that knows none takes them for exact arguments, which no call
has: to it the grant means nothing."""
_LONGEST_OFFER = 300
"""Characters of a pattern that is offered: it has to be read."""
_NEVER_OFFERED = RUNNERS | frozenset(("chmod", "chown", "curl", "dd", "kill", "mv", "rm", "rmdir", "shred", "wget"))


@dataclass(frozen=True, slots=True)
class Rule:
    """Says which calls it means: every argument that it names has to fit one of its patterns."""

    arguments: tuple[tuple[str, tuple[Pattern, ...]], ...]

    def surely(self, call: Call) -> bool:
        return all(
            name in call.values
            and any(surely(one, call.values[name], call.kind(name, one), call.folder) for one in patterns)
            for name, patterns in self.arguments
        )

    def possibly(self, call: Call) -> Fit:
        """An argument that is left out, and whose default the schema does not tell, may be anything."""
        fits = []
        for name, patterns in self.arguments:
            if not call.takes(name):
                return Fit.NO
            if name not in call.values:
                fits.append(Fit.MAYBE)
                continue
            value = call.values[name]
            fits.append(max(possibly(one, value, call.kind(name, one), call.folder) for one in patterns))
        return min(fits, default=Fit.NO)

    def text(self) -> str:
        """For people: `path: docs/**, *.md`."""
        return "; ".join(f"{name}: {', '.join(map(_shown, patterns))}" for name, patterns in self.arguments)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of one tool."""

    deny: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    allow: tuple[Rule, ...] = ()

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From what JSON makes of `dataclasses.asdict`."""
        return cls(**{word: tuple(map(_rule, data[word])) for word in ("deny", "ask", "allow")})

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each rule for people, with its word."""
        for word, rules in (("deny", self.deny), ("ask", self.ask), ("allow", self.allow)):
            yield from ((word, rule.text()) for rule in rules)

    def names(self) -> set[str]:
        """The arguments that rules name."""
        return {name for rule in (*self.deny, *self.ask, *self.allow) for name, _ in rule.arguments}

    def problems(self, parameters: Mapping[str, Any], *, all_known: bool = True) -> Iterator[str]:
        """What is wrong with them for a tool of this schema; `all_known` if it has to have every argument."""
        properties = _properties(parameters)
        if all_known and parameters.get("additionalProperties", False) in (False, None):
            for name in sorted(self.names() - properties.keys()):
                known = f"expected {', '.join(properties)}" if properties else "the tool has none"
                yield f'approval names the argument "{name}"; {known}; correct it'
        for rule in (*self.deny, *self.ask, *self.allow):
            for name, patterns in rule.arguments:
                for pattern in patterns:
                    if what := problem_of(pattern, kind_of(name, properties.get(name, {}), pattern)):
                        yield f'approval holds the pattern "{pattern}" for {name}: {what}'

    def verdict(self, call: Call) -> str:
        """The word that counts: "deny", "ask", "allow", or "" where no rule means this call."""
        denied = max((rule.possibly(call) for rule in self.deny), default=Fit.NO)
        if denied is Fit.YES:
            return "deny"
        if denied is Fit.MAYBE or any(rule.possibly(call) for rule in self.ask):
            return "ask"
        return "allow" if any(rule.surely(call) for rule in self.allow) else ""


NO_RULES = Rules()


def call_of(tool: Tool, arguments: Mapping[str, Any]) -> Call:
    """A call of `tool` with these arguments, in the folder that it runs in."""
    if tool.options.cwd is not None and tool.folder is not None:
        folder = str(working_folder_of(tool.options.cwd, Path(tool.folder), os.environ)[0])
    else:
        try:
            folder = os.getcwd()  # noqa: PTH109
        except OSError:
            folder = os.devnull  # deleted: below this is nothing
    return Call(tool.parameters, arguments, folder)


class Call:
    """The arguments of a call as its tool gets them: those left out have the defaults that the schema tells."""

    def __init__(self, parameters: Mapping[str, Any], arguments: Mapping[str, Any], folder: str) -> None:
        self._properties = _properties(parameters)
        self._more = parameters.get("additionalProperties", False) not in (False, None)
        defaults = {name: said["default"] for name, said in self._properties.items() if "default" in said}
        self.given = arguments
        self.values = {**defaults, **arguments}
        self.folder = folder
        """Where relative paths begin."""

    def takes(self, name: str) -> bool:
        return self._more or name in self._properties or name in self.values

    def kind(self, name: str, pattern: Pattern) -> Kind:
        return kind_of(name, self.schema(name), pattern)

    def schema(self, name: str) -> Mapping[str, Any]:
        return self._properties.get(name, {})


def _properties(parameters: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The schemas of the arguments. A server may say true in the place of one, which is {}."""
    said = parameters.get("properties", {})
    return {name: one if isinstance(one, Mapping) else {} for name, one in said.items()}


@dataclass(frozen=True, slots=True)
class Likeness:
    """Calls like one that a user was asked about. What it does not name has to be left out, unlike in a `Rule`: nobody
    has looked at it."""

    like: Mapping[str, tuple[str, ...]]
    """By argument, patterns; of paths from the root on."""
    same: Mapping[str, Any]
    free: tuple[str, ...]
    """Texts that may be any other."""

    def means(self, call: Call) -> bool:
        named = {*self.like, *self.same, *self.free}
        if set(call.given) - named or (self.like.keys() | self.same.keys()) - set(call.given):
            return False
        same = all(canonical(call.given[name]) == canonical(value) for name, value in self.same.items())
        texts = all(isinstance(call.given.get(name, ""), str) for name in self.free)
        return (
            same
            and texts
            and all(
                any(surely(one, call.given[name], call.kind(name, one), call.folder) for one in patterns)
                for name, patterns in self.like.items()
            )
        )

    def text(self, folder: str = "/") -> str:
        """For people: `path: docs/*, content: anything`."""
        parts = [f"{name}: {' or '.join(_from(one, folder) for one in ones)}" for name, ones in self.like.items()]
        parts += [f"{name}: {_shown(value)}" for name, value in self.same.items()]
        return "; ".join([*parts, *(f"{name}: any text" for name in self.free)])

    def encode(self) -> str:
        return canonical(
            {"any": list(self.free), "like": {k: list(v) for k, v in self.like.items()}, "same": self.same}
        )

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """None for what is none, which means no call."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return None
        match data:
            case {"any": list(free), "like": dict(like), "same": dict(same)} if like:
                ones = [one for patterns in like.values() for one in (patterns if isinstance(patterns, list) else [0])]
                if all(isinstance(one, str) for one in (*free, *ones)):
                    return cls({name: tuple(patterns) for name, patterns in like.items()}, same, tuple(free))
        return None


def likeness(call: Call) -> Likeness | None:
    """The narrowest calls that are like this one and of use: in the same folder, of the same program or host.

    Numbers, switches and chosen words stay as they are, other texts may be any. None where there is no such pattern, or
    it would mean more than one would think.
    """
    like: dict[str, tuple[str, ...]] = {}
    same: dict[str, Any] = {}
    free: list[str] = []
    for name, value in call.given.items():
        kind = call.kind(name, None)
        if isinstance(value, str) and kind is not Kind.TEXT:
            patterns = _near(value, kind, call.folder)
            if not patterns or any(call.kind(name, one) is not kind for one in patterns):
                return None
            like[name] = patterns
        elif isinstance(value, str) and not _leads_somewhere(value, call.schema(name)):
            free.append(name)
        else:
            same[name] = value
    found = Likeness(like, same, tuple(free)) if like else None
    if found is None or len(found.encode()) > _LONGEST_OFFER or not found.means(call):
        return None
    return found


def _leads_somewhere(value: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text says more than text does: a chosen word, or what may be a path whatever its argument is called."""
    return bool({"enum", "const", "pattern", "format"} & schema.keys()) or (
        re.fullmatch(r"[~.].*|\S*[/\\]\S*", value) is not None
    )


def _near(value: str, kind: Kind, folder: str) -> tuple[str, ...]:
    if "*" in value or "?" in value or not value.isprintable():
        return ()
    match kind:
        case Kind.PATH:
            return _same_folder(value, folder)
        case Kind.URL:
            from urllib.parse import urlsplit  # not needed by most commands

            try:
                parts = urlsplit(value)
            except ValueError:
                return ()
            fits = parts.scheme in ("http", "https") and parts.hostname and parts.netloc.isascii()
            return (f"{parts.scheme}://{parts.netloc}/**",) if fits and "@" not in parts.netloc else ()
        case Kind.COMMAND:
            return _same_program(value)
    return ()


def _same_folder(value: str, folder: str) -> tuple[str, ...]:
    try:
        real = os.path.realpath(os.path.join(folder, os.path.expanduser(value)))  # noqa: PTH111, PTH118
    except ValueError:
        return ()
    parent = os.path.dirname(real)  # noqa: PTH120
    home = os.path.realpath(Path.home())
    # What lies directly in these, or in a hidden folder, are settings that decide what runs next.
    hidden = any(part.startswith(".") for part in real.split("/"))
    if (
        hidden
        or not real.isprintable()
        or parent in ("/", home)
        or "*" in parent
        or "?" in parent
        or home.startswith(f"{parent}/")
    ):
        return ()
    return (resolved_pattern(f"{parent}/*", folder),)


def _same_program(value: str) -> tuple[str, ...]:
    try:
        words = shlex.split(value)
    except ValueError:
        return ()
    if not words or not re.fullmatch(r"[A-Za-z][\w+.-]*", words[0]) or words[0] in _NEVER_OFFERED:
        return ()
    # "git log", "npm test": the second word says what is done.
    second = len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]) is not None
    begin = " ".join(words[: 1 + second])
    return (begin, f"{begin} *") if value == begin or value.startswith(f"{begin} ") else ()


def _from(pattern: str, folder: str) -> str:
    """A pattern as people know it: from the folder, where it lies below that."""
    root = os.path.realpath(folder)
    return pattern.removeprefix(f"{root}/") if pattern.startswith(f"{root}/") else pattern


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rule(data: Mapping[str, Any]) -> Rule:
    return Rule(tuple((name, tuple(patterns)) for name, patterns in data["arguments"]))


@dataclass(frozen=True, slots=True)
class Grant:
    """Two are equal where they allow the same calls, whatever the tool is called."""

    digest: str
    """The tool's `source_digest`: a change of its code or schema ends the grant."""
    arguments: str | None
    """Exactly these, as `canonical` writes them; behind `LIKE` those of a `Likeness`; None for any."""
    tool: str = field(compare=False, default="")
    """Its name when this was granted, for people."""
    callable_ref: str = field(compare=False, default="")

    @classmethod
    def of(cls, tool: Tool, arguments: Mapping[str, Any] | None = None) -> Self:
        """The grant for calls of `tool`: any, or those with `arguments`."""
        exactly = canonical(arguments) if arguments is not None else None
        return cls(tool.source_digest, exactly, tool.name, tool.callable_ref)

    @classmethod
    def like(cls, tool: Tool, likeness: Likeness) -> Self:
        """The grant for calls of `tool` that are meant by `likeness`."""
        return cls(tool.source_digest, f"{LIKE}{likeness.encode()}", tool.name, tool.callable_ref)

    @property
    def likeness(self) -> Likeness | None:
        """None for a grant of all calls or exact arguments."""
        if self.arguments is None or not self.arguments.startswith(LIKE):
            return None
        return Likeness.decode(self.arguments.removeprefix(LIKE))


def canonical(arguments: Any) -> str:
    """JSON that is the same for equal arguments, whatever the order of their keys; 1 and 1.0 and true differ."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))
