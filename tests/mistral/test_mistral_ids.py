from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.mistral.ids import is_legal_call_id, is_legal_name, legal_name, new_call_id


def test_new_ids_are_legal_and_differ():
    ids = {new_call_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_legal_call_id(call_id) for call_id in ids)


def test_a_seeded_generator_makes_the_same_ids_again():
    assert new_call_id(random.Random(1)) == new_call_id(random.Random(1)) != new_call_id(random.Random(2))


@pytest.mark.parametrize("text", ["", "abcdefgh", "abcdefghij", "abcdefgh-", "abcdefgh\n", "abcdefghé", "call_1234"])
def test_illegal_ids(text):
    assert not is_legal_call_id(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("get_weather-2", "get_weather-2"),
        ("my tool!", "my_tool"),
        ("server.tool/name", "server_tool_name"),
        ("", "invalid_tool_call"),
        ("漢字", "invalid_tool_call"),
        ("f\n", "f"),
        ("x" * 70, "x" * 64),
    ],
)
def test_names_become_legal(text, expected):
    assert legal_name(text) == expected


@given(st.text())
def test_every_name_becomes_legal_and_legal_ones_stay(text):
    assert is_legal_name(legal_name(text))
    assert legal_name(legal_name(text)) == legal_name(text)
