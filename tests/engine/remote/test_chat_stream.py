"""Whatever JSON a server streams, it is read without an exception, and every call that begins ends once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.engine.remote.chat_format import ChatStream
from toolchat.mistral.ids import is_legal_call_id, is_legal_name
from toolchat.wire.deltas import CallBegun, CallEnded, Text, Thinking

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=4)
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))
PIECE = st.sampled_from(["", "{", "}", '{"a": 1}', '"a"', ": 1", "<think>", "</think>", "x", "\ud800"])


def having(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of the fields, now and then of another type."""
    return st.fixed_dictionaries({}, optional={name: one | ANY for name, one in fields.items()})


FUNCTION = having(name=st.sampled_from(["f", "get_", "weather", "no name", ""]), arguments=PIECE)
CALL = having(index=st.integers(0, 3), id=st.sampled_from(["a", "b", "aaaaaaaaa", ""]), function=FUNCTION)
CHUNK = having(type=st.sampled_from(["text", "thinking"]), text=PIECE, thinking=PIECE)
DELTA = having(
    content=PIECE | st.lists(CHUNK, max_size=2), reasoning=PIECE, reasoning_content=PIECE, tool_calls=st.lists(CALL)
)
CHOICE = having(
    index=st.integers(0, 1), delta=DELTA, message=DELTA, finish_reason=st.none() | st.sampled_from(["stop", "length"])
)
COUNTS = having(prompt_tokens=st.integers(-1, 9), completion_tokens=st.integers(-1, 9), prompt_tokens_details=ANY)
EVENT = having(choices=st.lists(CHOICE, max_size=2), usage=COUNTS)


EVENTS = st.lists(st.dictionaries(st.text(max_size=3), ANY) | EVENT, max_size=6)


@settings(max_examples=25, deadline=None)
@given(EVENTS)
def test_any_stream_is_read_and_each_call_ends_once(events: list[dict[str, Any]]) -> None:
    check(events)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(EVENTS)
def test_thousands_of_streams_are_read(events: list[dict[str, Any]]) -> None:
    check(events)


def check(events: list[dict[str, Any]]) -> None:
    stream = ChatStream()
    deltas = [delta for event in events for delta in stream.feed(event)]
    deltas += stream.finish()[0]
    ended = [delta for delta in deltas if isinstance(delta, CallEnded)]
    assert [delta.index for delta in ended] == list(range(stream.calls))
    assert {delta.index for delta in deltas if isinstance(delta, CallBegun)} <= {delta.index for delta in ended}
    assert all(is_legal_call_id(delta.call.id) and is_legal_name(delta.call.name) for delta in ended)
    assert len({delta.call.id for delta in ended}) == len(ended)
    assert all(delta.text for delta in deltas if isinstance(delta, Text | Thinking))
