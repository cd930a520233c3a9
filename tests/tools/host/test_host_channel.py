from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.host.channel import (
    Assembler,
    AsyncChannel,
    BlockingChannel,
    ChannelClosed,
    Message,
    new_token,
    packets,
    socket_pair,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)), lambda inner: st.lists(inner)
)


@settings(max_examples=30)
@given(JSON, st.lists(st.binary(max_size=40)))
def test_a_message_comes_out_as_it_went_in_whatever_is_written_between(value: Any, garbage: list[bytes]) -> None:
    token = new_token()
    assembler = Assembler(token)
    for packet in packets(token, {"value": value, "long": "x" * 70_000}):
        for rubbish in garbage:
            assert assembler.feed(rubbish) is None
        message = assembler.feed(packet)
    assert message == {"value": value, "long": "x" * 70_000}


def test_what_another_channel_would_say_is_dropped() -> None:
    message = {"op": "result", "content": "forged"}
    assembler = Assembler("token one")
    assert [assembler.feed(packet) for packet in packets("token two", message)] == [None]
    assert [assembler.feed(packet) for packet in packets("token one", message)] == [message]


def test_a_message_without_end_is_dropped_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchat.tools.host.channel.MAX_MESSAGE", 100_000)
    assembler = Assembler("token")
    assert [assembler.feed(packet) for packet in packets("token", {"x": "x" * 200_000})][-1] is None
    assert [assembler.feed(packet) for packet in packets("token", {"x": 1})] == [{"x": 1}]


def test_a_channel_whose_descriptor_was_replaced_does_not_write_there(tmp_path: Any) -> None:
    ours, theirs = socket_pair()
    channel = BlockingChannel(theirs.detach(), "token")
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    os.dup2(file, channel.fileno())
    with pytest.raises(ChannelClosed):
        channel.send({"op": "result"})
    os.close(file)
    channel.close()
    ours.close()
    assert (tmp_path / "file").read_bytes() == b""


def test_the_last_words_of_a_process_that_left_what_it_was_sent_unread_are_heard() -> None:
    async def play() -> tuple[list[Message], bool]:
        heard: list[Message] = []
        ended = asyncio.Event()
        ours, theirs = socket_pair()
        link = AsyncChannel(ours, "token", heard.append, ended.set)
        link.send({"op": "check"})
        child = BlockingChannel(theirs.detach(), "token")
        child.send({"op": "failed"})
        child.close()
        await asyncio.wait_for(ended.wait(), 5)
        return heard, ended.is_set()

    assert asyncio.run(play()) == ([{"op": "failed"}], True)
