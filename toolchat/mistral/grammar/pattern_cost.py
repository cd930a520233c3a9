"""Estimates what a regular expression costs a grammar backend, before the backend sees it.

A backend that is given too much blocks the engine for minutes (xgrammar 0.2.8: 187 s for 500 times `[a-z0-9]?`), or
gives up in the middle of a call (llguidance 1.7.6). The patterns are untrusted: MCP servers send them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

TOO_COSTLY = 10**9
"""Of a pattern that is not estimated at all."""
_LONGEST = 1_000
_NESTING = 40
_MOST_TIMES = 127
"""Copies of anything that is written out: xgrammar cannot compile more."""
_SAMPLE = frozenset([*map(chr, range(128)), "é", "漢", "\u00a0"])
"""Characters that tell two atoms apart."""
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
    """One atom, or a group of alternative sequences; and how often it may come (`most` None: without end)."""

    atom: str = ""
    sequences: list[list[_Part]] = field(default_factory=lambda: [[]])
    least: int = 1
    most: int | None = 1
    begins: _Begins | None = None
    """Of one copy, once it was asked for."""

    @property
    def copies(self) -> int:
        return max(self.least, 1) if self.most is None else self.most


@dataclass(frozen=True, slots=True)
class _Begins:
    """How many atoms each sample character can begin a part with, and whether the part may be empty."""

    first: Counter[str]
    empty: bool


@lru_cache(maxsize=1024)
def pattern_cost(pattern: str, *, spells_out: bool) -> int:
    """Sum over the atoms, all repeats written out, of (most transitions on one character behind the atom)².

    Args:
        pattern: of any dialect; what is no regular expression has some cost too.
        spells_out: whether the backend writes out how often one character may come; one that counts (False) pays
            for that character once.
    """
    try:
        whole = _read(pattern, spells_out=spells_out)
    except _TooCostlyError:
        return TOO_COSTLY
    return _ways(_begins(whole).first) ** 2 + _cost(whole, Counter())


def _read(pattern: str, *, spells_out: bool) -> _Part:
    if len(pattern) > _LONGEST:
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
                sequence[-1] = _repeated(sequence[-1], token, spells_out=spells_out)
            case "atom" | "close" | "repeat":
                sequence.append(_Part(token[0]))
    return whole


def _repeated(part: _Part, token: re.Match[str], *, spells_out: bool) -> _Part:
    least: int
    most: int | None
    match token[0][0]:
        case "*":
            least, most = 0, None
        case "+":
            least, most = 1, None
        case "?":
            least, most = 0, 1
        case _:
            if max(len(token["least"]), len(token["most"] or "")) > 9:
                raise _TooCostlyError
            least = int(token["least"])
            most = int(token["most"]) if token["most"] else None if token["comma"] else least
    if part.atom and not spells_out and most not in (0, 1):
        least, most = min(least, 1), None
    if max(least, most or 0) > _MOST_TIMES:
        raise _TooCostlyError
    if (part.least, part.most) != (1, 1):
        # A repeat of a repeat.
        part = _Part(sequences=[[part]])
    part.least, part.most = least, most
    return part


def _begins(part: _Part) -> _Begins:
    """Of one copy."""
    if part.begins is None:
        if part.atom:
            part.begins = _Begins(Counter(_fitting(part.atom)), empty=False)
        else:
            branches = [_sequence_begins(sequence) for sequence in part.sequences]
            part.begins = _Begins(
                sum((branch.first for branch in branches), Counter()), any(branch.empty for branch in branches)
            )
    return part.begins


def _sequence_begins(sequence: list[_Part]) -> _Begins:
    first, empty = Counter[str](), True
    for part in sequence:
        first += _first(part)
        if not _begins(part).empty and part.least > 0:
            empty = False
            break
    return _Begins(first, empty)


def _first(part: _Part) -> Counter[str]:
    """Of all copies: those behind an empty one can be the first, too."""
    one = _begins(part)
    times = part.copies if one.empty else min(part.copies, 1)
    return Counter({char: count * times for char, count in one.first.items()}) if times else Counter()


def _cost(part: _Part, follow: Counter[str]) -> int:
    """Of one copy that `follow` can come behind."""
    if part.atom:
        return _ways(follow) ** 2
    total = 0
    for sequence in part.sequences:
        behind = follow
        for one in reversed(sequence):
            # Behind each copy may come another one, or what comes behind them all.
            repeats = one.most is None or one.most > 1
            total += one.copies * _cost(one, behind + _first(one) if repeats else behind)
            skippable = one.least == 0 or _begins(one).empty
            behind = _first(one) + behind if skippable else _first(one)
    return total


def _ways(atoms: Counter[str]) -> int:
    return max(atoms.values(), default=0)


@lru_cache(maxsize=1024)
def _fitting(atom: str) -> Iterable[str]:
    if len(atom) == 1 and atom != ".":
        return frozenset([atom])
    try:
        compiled = re.compile(atom)
    except re.error:
        return _SAMPLE
    return frozenset(char for char in _SAMPLE if compiled.fullmatch(char)) or frozenset([atom])
