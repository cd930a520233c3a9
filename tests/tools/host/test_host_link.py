from __future__ import annotations

import asyncio

from toolchat.tools.host.channel import Channel, Message, socket_pair
from toolchat.tools.host.link import Link


def test_the_last_words_of_a_process_that_left_what_it_was_sent_unread_are_heard() -> None:
    async def play() -> tuple[list[Message], bool]:
        heard: list[Message] = []
        ended = asyncio.Event()
        ours, theirs = socket_pair()
        link = Link(ours, "token", heard.append, ended.set)
        link.send({"op": "check"})
        child = Channel(theirs.detach(), "token")
        child.send({"op": "failed"})
        child.close()
        await asyncio.wait_for(ended.wait(), 5)
        return heard, ended.is_set()

    assert asyncio.run(play()) == ([{"op": "failed"}], True)
