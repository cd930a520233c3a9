from __future__ import annotations

import random

import pytest

from toolchat.mistral.ids import is_legal_call_id, new_call_id


def test_new_ids_are_legal_and_differ():
    ids = {new_call_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_legal_call_id(call_id) for call_id in ids)


def test_a_seeded_generator_makes_the_same_ids_again():
    assert new_call_id(random.Random(1)) == new_call_id(random.Random(1)) != new_call_id(random.Random(2))


@pytest.mark.parametrize("text", ["", "abcdefgh", "abcdefghij", "abcdefgh-", "abcdefgh\n", "abcdefghé", "call_1234"])
def test_illegal_ids(text):
    assert not is_legal_call_id(text)
