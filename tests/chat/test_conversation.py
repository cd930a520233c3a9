from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.chat.conversation import SUMMED_UP, Conversation
from toolchat.engine.scripted import call
from toolchat.mistral.render import to_openai
from toolchat.wire.messages import Image, ResultStatus, ToolCall, ToolMessage, ToolResult

IMAGE = Image("image/png", "AAAA", 1, 1)
TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)


def result(item: ToolCall, content: str = "ok") -> ToolResult:
    return ToolResult(item.id, item.name, content, ResultStatus.OK)


@pytest.mark.long
@pytest.mark.parametrize("version", [3, 7, 11, 13])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_happens_the_history_is_legal_for_mistral(version: int, data: Any) -> None:
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    validator = get_validator(TokenizerVersion(f"v{version}"), mode=ValidationMode.test)
    conversation = Conversation(data.draw(st.sampled_from([None, "Be brief."])))
    for _ in range(data.draw(st.integers(1, 4))):
        before = conversation.mark()
        conversation.add_user(data.draw(TEXTS))
        for _ in range(data.draw(st.integers(0, 3))):
            calls = [call("add", a=1) for _ in range(data.draw(st.integers(1, 3)))]
            conversation.add_calls(data.draw(st.sampled_from(["", "Let me see."])), calls)
            conversation.add_results([result(item, data.draw(st.text(max_size=10))) for item in calls])
        match data.draw(st.sampled_from(["answer", "interrupt", "rewind"])):
            case "answer":
                conversation.add_answer(data.draw(TEXTS))
            case "interrupt":
                conversation.close(data.draw(st.text(max_size=10)))
            case "rewind":
                conversation.rewind(before)
    conversation.add_user("and now?")
    messages = [to_openai(message, version) for message in conversation.messages]
    validator.validate_request(ChatCompletionRequest(messages=messages))


def test_a_call_without_its_result_blocks_everything_else() -> None:
    conversation = Conversation()
    conversation.add_user("hi")
    first, second = call("add"), call("add")
    conversation.add_calls("", [first, second])
    with pytest.raises(ValueError, match="no results yet"):
        conversation.add_answer("x")
    with pytest.raises(ValueError, match="between turns"):
        conversation.add_user("x")
    with pytest.raises(ValueError, match="call order"):
        conversation.add_results([result(second), result(first)])
    with pytest.raises(ValueError, match="call order"):
        conversation.add_results([result(first)])
    conversation.add_results([result(first), result(second)])
    conversation.add_answer("done")
    assert not conversation.open


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_messages_are_refused(text: str) -> None:
    conversation = Conversation()
    with pytest.raises(ValueError, match="needs text"):
        conversation.add_user(text)
    conversation.add_user("hi")
    with pytest.raises(ValueError, match="needs text"):
        conversation.add_answer(text)


def test_illegal_ids_and_names_are_refused() -> None:
    conversation = Conversation()
    conversation.add_user("hi")
    with pytest.raises(ValueError, match="call ids"):
        conversation.add_calls("", [ToolCall("short", "add", {})])
    same = call("add")
    with pytest.raises(ValueError, match="call ids"):
        conversation.add_calls("", [same, same])
    with pytest.raises(ValueError, match="illegal tool name"):
        conversation.add_calls("", [ToolCall("abcdefghi", "math.add", {})])


def test_mark_lies_between_turns() -> None:
    conversation = Conversation()
    conversation.add_user("hi")
    with pytest.raises(ValueError, match="between turns"):
        conversation.mark()


def chat_of(*questions: str) -> Conversation:
    conversation = Conversation("Be brief.")
    for question in questions:
        conversation.add_user(question)
        conversation.add_answer(f"{question}!")
    return conversation


def contents(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def test_undo_takes_the_last_turn_back_and_returns_its_question() -> None:
    conversation = chat_of("a", "b")
    undone = conversation.undo()
    assert undone is not None
    assert undone.content == "b"
    assert contents(conversation) == ["Be brief.", "a", "a!"]
    conversation.undo()
    assert conversation.undo() is None
    assert contents(conversation) == ["Be brief."]


def test_turns_set_aside_are_not_sent_and_not_lost() -> None:
    conversation = chat_of("a", "b", "c")
    assert conversation.set_aside([2, 1]) == (1, 2)
    assert contents(conversation) == ["Be brief.", "c", "c!"]
    assert (conversation.numbers, [turn.number for turn in conversation.sent]) == ((1, 2, 3), [3])
    assert conversation.turn_sizes == (2,)


def test_undoing_a_turn_brings_back_what_was_set_aside_for_it() -> None:
    conversation = chat_of("a", "b")
    conversation.add_user("long")
    conversation.set_aside([1, 2])
    conversation.add_answer("long!")
    assert contents(conversation) == ["Be brief.", "long", "long!"]
    conversation.undo()
    assert contents(conversation) == ["Be brief.", "a", "a!", "b", "b!"]


def test_rewinding_brings_back_what_was_set_aside_since() -> None:
    conversation = chat_of("a", "b")
    mark = conversation.mark()
    conversation.add_user("long")
    conversation.set_aside([1])
    conversation.rewind(mark)
    assert contents(conversation) == ["Be brief.", "a", "a!", "b", "b!"]


@pytest.mark.parametrize("numbers", [[2], [1, 2], [3], [0]])
def test_the_last_turn_is_never_set_aside(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="can be set aside"):
        chat_of("a", "b").set_aside(numbers)


def test_a_summary_stands_for_its_turns_until_an_undo_puts_them_back() -> None:
    conversation = chat_of("a", "b", "c")
    assert conversation.summarise([1, 2], "a and b.") == 4
    assert contents(conversation)[1:] == [SUMMED_UP, "a and b.", "c", "c!"]
    conversation.change_summary(4, "Both.")
    assert contents(conversation)[1:] == [SUMMED_UP, "Both.", "c", "c!"]
    conversation.add_user("d")
    conversation.add_answer("d!")
    undone = conversation.undo()
    assert undone is not None
    assert undone.content == "d"
    for rest in (["a and b.", "c"], ["b!", "c"]):
        assert conversation.last_edit == "summary"
        conversation.undo_edit()
        assert contents(conversation)[-3:-1] == rest
    assert conversation.last_edit == ""
    with pytest.raises(ValueError, match="no edit came after the last turn"):
        conversation.undo_edit()


def test_a_summary_of_turns_that_were_set_aside_is_sent() -> None:
    conversation = chat_of("a", "b", "c", "d")
    conversation.set_aside([1, 2, 3])
    conversation.summarise([1, 2], "a and b.")
    assert contents(conversation)[1:] == [SUMMED_UP, "a and b.", "d", "d!"]


def test_a_summary_goes_round_a_turn_that_stays() -> None:
    conversation = chat_of("a", "b", "c", "d")
    conversation.summarise([1, 3], "a and c.")
    assert contents(conversation)[1:] == [SUMMED_UP, "a and c.", "b", "b!", "d", "d!"]


@pytest.mark.parametrize(("numbers", "text"), [([], "x"), ([2, 3], "x"), ([0, 1], "x"), ([1], " ")])
def test_a_summary_needs_turns_and_a_text(numbers: list[int], text: str) -> None:
    with pytest.raises(ValueError, match="cannot be summed up"):
        chat_of("a", "b").summarise(numbers, text)


def test_a_trimmed_result_keeps_its_place_and_an_undo_brings_it_back() -> None:
    conversation = Conversation()
    conversation.add_user("hi")
    calls = [call("add"), call("add")]
    conversation.add_calls("", calls)
    conversation.add_results([replace(result(item, "long"), images=(IMAGE,)) for item in calls])
    conversation.add_answer("done")
    before = conversation.messages
    conversation.trim(1, calls[1].id, "short", images=True)
    conversation.trim(1, calls[0].id, "")
    assert conversation.messages[2:4] == (
        ToolMessage(calls[0].id, "add", ""),
        ToolMessage(calls[1].id, "add", "short", (IMAGE,)),
    )
    conversation.undo_edit()
    conversation.undo_edit()
    assert conversation.messages == before
    for number, call_id in ((1, "b" * 9), (2, calls[0].id)):
        with pytest.raises(ValueError, match=r"no result of the call|there is no turn"):
            conversation.trim(number, call_id, "x")


def test_every_turn_that_was_left_can_be_gone_back_to() -> None:
    conversation = chat_of("a", "b", "c")
    conversation.undo()
    conversation.undo()
    conversation.add_user("d")
    conversation.add_answer("d!")
    reachable = [(turn.question.content, before) for turn, before in conversation.reachable()]
    assert reachable == [("a", 0), ("b", 1), ("c", 2), ("d", 1)]
    conversation.branch(3)
    assert contents(conversation)[1::2] == ["a", "b", "c"]
    conversation.branch(4)
    assert contents(conversation)[1::2] == ["a", "d"]
    conversation.branch(0)
    assert contents(conversation) == ["Be brief."]
    for places in (["a", "d"], ["a", "b", "c"], ["a", "d"]):
        assert conversation.last_edit == "branch"
        conversation.undo_edit()
        assert contents(conversation)[1::2] == places
    with pytest.raises(ValueError, match="there is no turn 9"):
        conversation.branch(9)
    with pytest.raises(ValueError, match="is the last one"):
        conversation.branch(4)
    conversation.clear()
    assert conversation.reachable() == []


def test_going_back_to_a_turn_is_going_back_to_the_chat_as_it_was_then() -> None:
    conversation = chat_of("a", "b", "c")
    conversation.summarise([1, 2], "a and b.")
    conversation.branch(2)
    assert contents(conversation)[1::2] == ["a", "b"]
    conversation.branch(3)
    assert contents(conversation)[1:] == [SUMMED_UP, "a and b.", "c", "c!"]


def test_a_turn_taken_back_behind_an_edit_leaves_the_edit() -> None:
    conversation = chat_of("a", "b", "c")
    conversation.summarise([1, 2], "a and b.")
    undone = conversation.undo()
    assert undone is not None
    assert undone.content == "c"
    assert contents(conversation)[1:] == [SUMMED_UP, "a and b."]
    conversation.undo_edit()
    assert contents(conversation)[-1] == "c!"


def test_a_long_chat_costs_no_more_than_its_turns() -> None:
    conversation = chat_of(*map(str, range(2000)))
    # A state for each turn, of which each shares what it has in common with the others.
    assert len(conversation.reachable()) == 2000
    conversation.branch(1000)
    assert conversation.turns == 1000


def test_no_edit_within_a_turn() -> None:
    conversation = chat_of("a")
    conversation.add_user("b")
    for edit in (conversation.undo, conversation.clear, lambda: conversation.set_system(None)):
        with pytest.raises(ValueError, match="between turns"):
            edit()


def test_clearing_keeps_the_system_prompt_and_another_one_may_follow() -> None:
    conversation = chat_of("a")
    conversation.clear()
    assert contents(conversation) == ["Be brief."]
    conversation.set_system("Be kind.")
    assert contents(conversation) == ["Be kind."]
