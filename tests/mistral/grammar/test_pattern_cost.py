from __future__ import annotations

import time

import pytest

from toolchat.mistral.grammar.narrowing import PATTERN_LIMIT
from toolchat.mistral.grammar.pattern_cost import pattern_cost


@pytest.mark.parametrize(
    ("pattern", "spelled_out", "counted"),
    [
        ("^abc$", 3, 3),
        ("^[a-z]{2,3}-\\d+$", 6, 4),
        ("^[a-z]{1,100}$", 101, 2),
        # From within a copy the next one may begin as well: two ways on.
        ("^([a-z]{1,3}){1,3}$", 1 + 9 * 4, 1 + 3 * 4),
        ("^(ab|ac)$", 4 + 2, 6),
        ("^(ab|cd)$", 3, 3),
        ("^a?a?a?a?$", 16 + 9 + 4 + 1, 30),
        ("^((a*)*)*$", 10, 10),
    ],
)
def test_places_cost_what_goes_on_alike_from_them(pattern, spelled_out, counted):
    assert pattern_cost(pattern, spells_out=True) == spelled_out
    assert pattern_cost(pattern, spells_out=False) == counted


@pytest.mark.parametrize(
    "pattern",
    [
        "^([a-z]{1,100}[0-9]{1,100}){1,100}xN$",
        "^[a-z]{128}$",
        "^" + "[a-z0-9]?" * 500 + "$",
        "^((a{1,30}){1,30}){1,30}$",
        "(" * 1000 + "a" + ")*" * 1000,
        "a" * 60_000,
        "a{1000000000000}",
        "(" * 39 + "a" + "){2}" * 39,
        "(((((((a{99}){99}){99}){99}){99}){99}){99})",
    ],
)
def test_what_would_take_long_is_told_in_no_time(pattern):
    began = time.process_time()
    assert pattern_cost(pattern, spells_out=True) > PATTERN_LIMIT
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern", ["", "(", ")", "[", "*", "a{2,1}", "\\", "(?i)", "(?<n>a)", "\\p{L}", "|", "[]a]"])
def test_what_is_no_pattern_or_of_another_dialect_has_some_cost_too(pattern):
    assert pattern_cost(pattern, spells_out=True) < 10
