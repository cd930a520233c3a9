from __future__ import annotations

import pytest

from toolchat.chat.context_window import KEPT_SHARE, reserve, too_long, turns_to_set_aside
from toolchat.chat.conversation import Turn
from toolchat.engine.base import ContextOverflowError
from toolchat.wire.deltas import TokenCount
from toolchat.wire.messages import (
    AssistantMessage,
    Image,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)


def count(*messages: int, tools: int = 0) -> TokenCount:
    return TokenCount(sum(messages) + tools, (tools,) if tools else (), messages)


def turns(*sizes: int, kept: tuple[int, ...] = ()) -> list[Turn]:
    """Turns of so many messages, numbered from 1."""
    return [Turn(number, (UserMessage("x"),) * size, kept=number in kept) for number, size in enumerate(sizes, start=1)]


def test_as_few_turns_go_as_leave_three_quarters() -> None:
    # The system prompt, four turns of 100, the one under way.
    counted = count(50, 50, 50, 50, 50, 50, 50, 50, 50, 50)
    assert turns_to_set_aside(counted, turns(2, 2, 2, 2, 1), context=500, needed=60) == (1, 2)
    assert KEPT_SHARE * 500 >= 500 - 200


def test_turns_that_the_user_keeps_go_last() -> None:
    counted = count(50, 50, 50, 50, 50, 50, 50, 50, 50, 50)
    assert turns_to_set_aside(counted, turns(2, 2, 2, 2, 1, kept=(1, 3)), context=500, needed=60) == (2, 4)
    assert turns_to_set_aside(counted, turns(2, 2, 2, 2, 1, kept=(1, 3)), context=340, needed=60) == (2, 4, 1)


def test_nothing_goes_where_everything_would_not_be_enough() -> None:
    assert turns_to_set_aside(count(100, 100, 900), turns(2, 1), context=900, needed=50) == ()


def test_all_that_may_go_goes_where_three_quarters_cannot_be_reached() -> None:
    assert turns_to_set_aside(count(100, 100, 850), turns(2, 1), context=1000, needed=50) == (1,)


def test_the_turn_under_way_stays_whole() -> None:
    assert turns_to_set_aside(count(10, 10, 10, 990), turns(4), context=1000, needed=50) == ()


@pytest.mark.parametrize(("most", "expected"), [(8192, 1024), (100, 100), (1, 1)])
def test_an_answer_is_left_an_eighth_of_the_context(most: int, expected: int) -> None:
    assert reserve(8192, most) == expected


def overflow(*messages: int, tools: tuple[int, ...] = (), context: int = 8192) -> ContextOverflowError:
    count = TokenCount(sum(messages) + sum(tools) + 3, tools, messages, 3)
    return ContextOverflowError("the engine's words", count, context)


def spec(name: str) -> ToolSpec:
    return ToolSpec(name, "", {})


SYSTEM, QUESTION = SystemMessage("s"), UserMessage("u")
CALL = AssistantMessage(calls=(ToolCall("a" * 9, "read", {}),))
MORE = "a larger --context helps too, or a model that has one"


def test_a_question_that_is_too_long_is_told_what_there_is_room_for() -> None:
    error = overflow(50, 9000, tools=(200,))
    assert too_long(error, [SYSTEM, QUESTION], [spec("add")], 1, needed=512) == (
        "the prompt takes 9,253 tokens, and the context of 8,192 has room for 7,680 beside the answer: the "
        f"question 9,000, the tools 200 (add 200), the system prompt 50; shorten the question; {MORE}"
    )


def test_a_context_that_the_tools_fill_is_told_of_by_their_names() -> None:
    tools = (300, 30_000, 200, 9_000, 1_500)
    why = too_long(overflow(4, tools=tools), [QUESTION], list(map(spec, "abcde")), 1, needed=1024)
    assert ": the tools 41,000 (b 30,000, d 9,000, e 1,500 and 2 more 500), the question 4; offer fewer tools" in why
    assert "--no-tools" in why
    assert "shorten" not in why


@pytest.mark.parametrize(
    ("messages", "sizes", "advice"),
    [
        ([SYSTEM, QUESTION], (9000, 10), "shorten the system prompt, or leave it out with --no-system"),
        ([UserMessage("u", (Image("image/png", "", 1, 1),))], (9000,), "send fewer images"),
        ([QUESTION, CALL, ToolMessage("a" * 9, "read", "")], (10, 10, 9000), "set max_result_tokens for the tool"),
        ([QUESTION, CALL, ToolMessage("a" * 9, "read", "")], (10, 9000, 10), "ask for less at once"),
    ],
)
def test_the_advice_is_about_what_takes_the_most(messages: list[Message], sizes: tuple[int, ...], advice: str) -> None:
    turn = len([one for one in messages if one is not SYSTEM])
    why = too_long(overflow(*sizes), messages, [], turn, needed=512)
    assert advice in why
    assert why.endswith(MORE)


def test_results_are_told_by_tool_and_earlier_turns_not_at_all() -> None:
    results = [ToolMessage("a" * 9, name, "") for name in ("read", "list", "read")]
    messages: list[Message] = [QUESTION, AssistantMessage("before"), QUESTION, CALL, *results]
    why = too_long(overflow(2000, 2000, 10, 30, 4000, 100, 4000), messages, [], 5, needed=512)
    assert why.startswith("the prompt takes 8,143 tokens,")
    assert "the results of calls 8,100 (read 8,000, list 100), the calls 30, the question 10;" in why


def test_without_an_account_the_engines_own_words_are_said() -> None:
    error = ContextOverflowError("9000 tokens", TokenCount(0), 1)
    assert too_long(error, [QUESTION], [], 1, 1) == "9000 tokens"
