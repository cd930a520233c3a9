from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from toolchat.engine.codec import (
    decode_delta,
    decode_message,
    decode_tool,
    encode_delta,
    encode_message,
    encode_tool,
    line,
)
from toolchat.wire.deltas import (
    CallArguments,
    CallEnded,
    CallStarted,
    Finished,
    FinishReason,
    Text,
    Thinking,
    Usage,
)
from toolchat.wire.messages import (
    AssistantMessage,
    CallOrigin,
    FailedCall,
    Part,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

TEXT = st.text(alphabet=st.characters(codec=None))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
CALLS = st.builds(ToolCall, TEXT, TEXT, st.dictionaries(TEXT, JSON), st.sampled_from(CallOrigin))
FAILED = st.builds(FailedCall, TEXT, TEXT, TEXT, TEXT, st.booleans())
INDEX = st.integers(0, 9)
DELTAS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Thinking, TEXT),
    st.builds(CallStarted, INDEX, TEXT),
    st.builds(CallArguments, INDEX, TEXT),
    st.builds(CallEnded, INDEX, CALLS | FAILED),
    st.builds(Finished, st.sampled_from(FinishReason), st.builds(Usage, INDEX, INDEX, INDEX)),
)
PARTS = st.lists(st.builds(Part, TEXT, st.booleans()), max_size=3).map(tuple)
MESSAGES = st.one_of(
    st.builds(SystemMessage, TEXT),
    st.builds(UserMessage, TEXT),
    st.builds(AssistantMessage, TEXT, st.lists(CALLS, max_size=3).map(tuple), TEXT, PARTS),
    st.builds(ToolMessage, TEXT, TEXT, TEXT),
)


def over_the_socket(message: dict[str, Any]) -> dict[str, Any]:
    sent = line(message)
    assert sent.count(b"\n") == 1
    received: dict[str, Any] = json.loads(sent)
    return received


@given(DELTAS)
def test_deltas_arrive_as_they_were_sent(delta: Any) -> None:
    assert decode_delta(over_the_socket(encode_delta(delta))) == delta


@given(MESSAGES)
def test_messages_arrive_as_they_were_sent(message: Any) -> None:
    assert decode_message(over_the_socket(encode_message(message))) == message


def test_tools_arrive_as_they_were_sent() -> None:
    tool = ToolSpec("add", "Add.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    assert decode_tool(over_the_socket(encode_tool(tool))) == tool
