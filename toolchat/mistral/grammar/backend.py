"""Describes what a grammar backend enforces of a JSON Schema and what that costs it; one budget for a whole grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]
"""A narrowed schema."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What one grammar backend enforces, as far as backends differ."""

    formats: Mapping[str, Node]
    """The formats it knows, each with the keywords that it is written with."""
    pattern: re.Pattern[str]
    """Matches the patterns that it writes as JSON in UTF-8."""
    combines: bool
    """Whether it holds a string to a pattern, a format and lengths at once; else a pattern goes before a format, and
    either before the lengths."""
    spells_out: bool
    """Whether it writes out how often one character of a pattern may come."""
    costs: Costs
    valid: Callable[[Node], bool]
    """Whether it takes a whole schema."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What parts of a schema cost a backend, in milliseconds: to convert, to try twice, and to compile in the engine.

    Measured on a core of the machine that docs/benchmarks.md describes, with a vocabulary of 32,768 tokens.
    """

    schema: float
    optional: float
    """The square of the number of an object's properties that may be missing."""
    open: float
    """A named property of an object that takes others, too."""
    bounds: float
    lengths: float
    format: float
    letter: float
    """Of the values of an enum."""
    pattern: float = 1.0
    """In the unit of pattern_cost."""
    items: float = 0.05
    """One of those that an array is bounded to."""


@dataclass(slots=True)
class Budget:
    """What all schemas of one grammar may cost the backend together, in milliseconds."""

    left: float = 1_000.0

    def spend(self, cost: float) -> bool:
        """Take `cost` from what is left, if there is as much."""
        affordable = cost <= self.left
        self.left -= cost * affordable
        return affordable
