from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.chat.conversation import Conversation
from toolchat.engine.scripted import call
from toolchat.mistral.render import to_openai
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)


def result(item: ToolCall, content: str = "ok") -> ToolResult:
    return ToolResult(item.id, item.name, content, ResultStatus.OK)


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
    with pytest.raises(ValueError, match="not closed"):
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
