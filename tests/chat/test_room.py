from __future__ import annotations

import pytest

from toolchat.chat.room import KEPT_SHARE, reserve, too_long, turns_to_set_aside
from toolchat.engine.base import ContextOverflowError
from toolchat.wire.messages import SystemMessage, UserMessage
from toolchat.wire.tokens import TokenCount


def count(*messages: int, tools: int = 0) -> TokenCount:
    return TokenCount(sum(messages) + tools, (tools,) if tools else (), messages)


def test_as_few_turns_go_as_leave_three_quarters() -> None:
    # The system prompt, four turns of 100, the one under way.
    turns = count(50, 50, 50, 50, 50, 50, 50, 50, 50, 50)
    assert turns_to_set_aside(turns, (2, 2, 2, 2, 1), context=500, needed=60) == 2
    assert KEPT_SHARE * 500 >= 500 - 200


def test_nothing_goes_where_everything_would_not_be_enough() -> None:
    assert turns_to_set_aside(count(100, 100, 900), (2, 1), context=900, needed=50) == 0


def test_all_that_may_go_goes_where_three_quarters_cannot_be_reached() -> None:
    assert turns_to_set_aside(count(100, 100, 850), (2, 1), context=1000, needed=50) == 1


def test_the_turn_under_way_stays_whole() -> None:
    assert turns_to_set_aside(count(10, 10, 10, 990), (4,), context=1000, needed=50) == 0


@pytest.mark.parametrize(("most", "expected"), [(8192, 1024), (100, 100), (1, 1)])
def test_an_answer_is_left_an_eighth_of_the_context(most: int, expected: int) -> None:
    assert reserve(8192, most) == expected


def test_a_question_that_is_too_long_is_told_what_there_is_room_for() -> None:
    error = ContextOverflowError("", count(50, 9000, tools=200), 8192)
    why = too_long(error, [SystemMessage("s"), UserMessage("u")], needed=512)
    assert why == (
        "this message takes 9,000 tokens, and the context of 8,192 has room for 7,430 "
        "(the system prompt takes 50, the tools take 200, 512 are kept for the answer); shorten it"
    )


def test_without_an_account_the_engines_own_words_are_said() -> None:
    assert too_long(ContextOverflowError("9000 tokens", TokenCount(0), 1), [UserMessage("u")], 1) == "9000 tokens"
