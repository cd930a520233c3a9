"""What a regular expression would cost a grammar's backend: known before the backend is let near it.

A backend that is given too much blocks the engine for minutes (xgrammar 0.2.8: 187 s for 500 times `[a-z0-9]?`), or
gives up in the middle of a call (llguidance 1.7.6). The patterns come from strangers: from tools of MCP servers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

TOO_COSTLY = 10**9
"""Of a pattern that was not even counted to its end."""
_NESTING = 40
_MOST_TIMES = 127
"""Of anything that is written out: xgrammar cannot compile more."""
_POSITIONS = 1_000
_EDGES = 50_000
_SAMPLE = frozenset([*map(chr, range(128)), "é", "漢", "\u00a0"])
"""Characters by which two atoms are told apart."""
_TOKEN = re.compile(
    r"""
      (?P<flags> \(\? [a-zA-Z-]+ \) | [$^] )
    | (?P<open> \( (?: \? (?: P?<\w+> | <[=!] | [:=!>] | [a-zA-Z-]+: ) )? )
    | (?P<close> \) )
    | (?P<bar> \| )
    | (?P<repeat> (?: [*+?] | \{ (?P<least>\d+) (?P<comma>,)? (?P<most>\d+)? \} ) [?+]? )
    | (?P<atom> \\[pPxu]\{[^}]*\} | \\u[0-9a-fA-F]{4} | \\x[0-9a-fA-F]{2} | \\.
              | \[\^?\]?(?: \\. | \[:\w+:\] | [^\]\\] )*\] | . )
    """,
    re.VERBOSE | re.DOTALL,
)


class _TooCostlyError(Exception):
    pass


@dataclass(slots=True)
class _Part:
    """A group, whose sequences are alternatives, or one atom; and how often it comes."""

    atom: str = ""
    sequences: list[list[_Part]] = field(default_factory=lambda: [[]])
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where a part of a pattern begins and ends, as numbers of its atoms, and whether it may be empty."""

    first: list[int]
    last: list[int]
    empty: bool


@lru_cache(maxsize=1024)
def pattern_cost(pattern: str, *, spells_out: bool) -> int:
    """How many places in the pattern a backend must look from, each squared by how many ways go on alike from there.

    Args:
        pattern: of any dialect; what is no regular expression has some cost too.
        spells_out: whether the backend writes out how often one character may come; one that counts (False) pays
            for that character once.
    """
    try:
        whole = _read(pattern)
        return _Automaton(spells_out=spells_out).cost(whole)
    except _TooCostlyError:
        return TOO_COSTLY


def _read(pattern: str) -> _Part:
    if len(pattern) > _EDGES:
        raise _TooCostlyError
    whole = _Part()
    stack = [whole]
    for token in _TOKEN.finditer(pattern):
        sequence = stack[-1].sequences[-1]
        match token.lastgroup:
            case "open":
                sequence.append(_Part())
                stack.append(sequence[-1])
                if len(stack) > _NESTING:
                    raise _TooCostlyError
            case "close" if len(stack) > 1:
                stack.pop()
            case "bar":
                stack[-1].sequences.append([])
            case "repeat" if sequence:
                sequence[-1] = _repeated(sequence[-1], token)
            case "atom" | "close" | "repeat":
                sequence.append(_Part(token[0]))
    return whole


def _repeated(part: _Part, token: re.Match[str]) -> _Part:
    if part.least != 1 or part.most != 1:
        part = _Part(sequences=[[part]])
    match token[0][0]:
        case "*":
            part.least, part.most = 0, None
        case "+":
            part.least, part.most = 1, None
        case "?":
            part.least, part.most = 0, 1
        case _:
            if max(len(token["least"]), len(token["most"] or "")) > 9:
                raise _TooCostlyError
            part.least = int(token["least"])
            part.most = int(token["most"]) if token["most"] else None if token["comma"] else part.least
    return part


class _Automaton:
    """The pattern with all that is repeated written out: its atoms, and which may follow which."""

    def __init__(self, *, spells_out: bool) -> None:
        self._spells_out = spells_out
        self._atoms: list[str] = []
        self._follow: list[set[int]] = []
        self._edges = 0

    def cost(self, whole: _Part) -> int:
        first = self._part(whole).first
        return sum(_alike(self._atoms[number] for number in places) ** 2 for places in [first, *self._follow])

    def _part(self, part: _Part) -> _Ends:
        least, most = part.least, part.most
        if part.atom and not self._spells_out and (least, most) not in ((0, 1), (1, 1)):
            least, most = min(least, 1), None
        if max(least, most or 0) > _MOST_TIMES:
            raise _TooCostlyError
        first: list[int] = []
        last: list[int] = []
        before: list[int] = []
        all_empty = True
        for copy in range(max(least, 1) if most is None else most):
            ends = self._once(part)
            self._link(before, ends.first)
            if all_empty:
                first += ends.first
            if most is None and copy == max(least, 1) - 1:
                self._link(ends.last, ends.first)
            before = [*ends.last, *(before if ends.empty else ())]
            all_empty = all_empty and ends.empty
            last = [*last, *ends.last] if copy >= least else before
        return _Ends(first, last, all_empty or least == 0)

    def _once(self, part: _Part) -> _Ends:
        if part.atom:
            if len(self._atoms) == _POSITIONS:
                raise _TooCostlyError
            self._atoms.append(part.atom)
            self._follow.append(set())
            number = len(self._atoms) - 1
            return _Ends([number], [number], empty=False)
        branches = [self._sequence(sequence) for sequence in part.sequences]
        return _Ends(
            [number for ends in branches for number in ends.first],
            [number for ends in branches for number in ends.last],
            any(ends.empty for ends in branches),
        )

    def _sequence(self, parts: list[_Part]) -> _Ends:
        first: list[int] = []
        before: list[int] = []
        empty = True
        for part in parts:
            ends = self._part(part)
            self._link(before, ends.first)
            if empty:
                first += ends.first
            before = [*ends.last, *(before if ends.empty else ())]
            empty = empty and ends.empty
        return _Ends(first, before, empty)

    def _link(self, before: list[int], after: list[int]) -> None:
        self._edges += len(before) * len(after)
        if self._edges > _EDGES:
            raise _TooCostlyError
        for number in before:
            self._follow[number].update(after)


def _alike(atoms: Iterable[str]) -> int:
    """The most of these atoms that one character fits."""
    counts = Counter[str]()
    for atom, times in Counter(atoms).items():
        for char in _fitting(atom):
            counts[char] += times
    return max(counts.values(), default=0)


@lru_cache(maxsize=1024)
def _fitting(atom: str) -> frozenset[str]:
    if len(atom) == 1 and atom != ".":
        return frozenset([atom])
    try:
        found = re.compile(atom)
    except re.error:
        return _SAMPLE
    return frozenset(char for char in _SAMPLE if found.fullmatch(char)) or frozenset([atom])
