"""Whether a text fits a pattern with wildcards, in time proportional to its length, whatever the pattern."""

from __future__ import annotations

import re
from functools import lru_cache

UNUSUAL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Line breaks and other control characters: no wildcard stands for one where a call is to run unasked."""


class Stars:
    """What `*` and `?` stand for: all but some characters and those that are unusual, or any."""

    def __init__(self, excluded: frozenset[str] = frozenset(), *, any_character: bool = False) -> None:
        self._excluded, self._any = excluded, any_character

    def take(self, character: str) -> bool:
        return self._any or (character not in self._excluded and not UNUSUAL.match(character))


def glob(pattern: str, text: str, stars: Stars, double: Stars | None = None) -> bool:
    """Whether `text` fits, in time proportional to its length: the states of an automaton are the bits of a number."""
    tokens = _tokens(pattern)
    ones = sum(1 << at for at, token in enumerate(tokens) if token == "?")
    many = sum(1 << at for at, token in enumerate(tokens) if token == "*")
    more = sum(1 << at for at, token in enumerate(tokens) if token == "**")
    letters: dict[str, int] = {}
    for at, token in enumerate(tokens):
        if token not in ("?", "*", "**"):
            letters[token[-1]] = letters.get(token[-1], 0) | 1 << at
    loops = many | more

    def skipped(state: int) -> int:
        while (further := state | (state & loops) << 1) != state:
            state = further
        return state

    state = skipped(1)
    for character in text:
        stay = many | ones if stars.take(character) else 0
        if (double or stars).take(character):
            stay |= more
        kept = state & stay
        state = skipped((kept & loops) | (kept & ones) << 1 | (state & letters.get(character, 0)) << 1)
        if not state:
            return False
    return bool(state >> len(tokens) & 1)


@lru_cache(maxsize=512)
def _tokens(pattern: str) -> tuple[str, ...]:
    # A letter is marked, so that one is told from a wildcard; runs of stars are as one.
    parts: list[str] = re.findall(r"\*+|.", pattern, re.DOTALL)
    return tuple(part[:2] if part[0] == "*" else "?" if part == "?" else f"={part}" for part in parts)
