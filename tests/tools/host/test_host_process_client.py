from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.host.channel import new_token, socket_pair
from toolchat.tools.host.process_client import HEAD, TAIL, CallProcess, Cause, NoAnswer, Window


@settings(max_examples=50)
@given(
    st.lists(st.binary(max_size=TAIL).map(lambda data: data.translate(None, b"\r\b")), max_size=8), st.integers(0, 3)
)
def test_a_window_shows_the_beginning_and_the_end(parts: list[bytes], big: int) -> None:
    shown: list[str] = []

    async def main() -> None:
        window = Window(shown.append)
        for part in parts:
            window.feed(part)
            window.feed(b"y" * (HEAD // 2) * big)
        window.finish()

    asyncio.run(main())
    whole = b"".join(part + b"y" * (HEAD // 2) * big for part in parts).decode("utf-8", "replace")
    text = "".join(shown)
    if len(whole) <= HEAD + TAIL:
        assert text == whole
    else:
        assert text.startswith(whole[:HEAD])
        assert text.endswith(whole[-TAIL:])
        assert f"{len(whole) - HEAD - TAIL:,} of {len(whole):,} characters are left out here" in text


FLOOD = """
import socket, sys
from toolchat.tools.host.channel import packets
theirs = socket.socket(fileno=int(sys.argv[1]))
data = packets(sys.argv[2], {"op": sys.argv[3], "text": "x"})
try:
    while True:
        for packet in data:
            theirs.send(packet)
except OSError:
    pass
"""


@pytest.mark.process
@pytest.mark.parametrize("cancelled", [False, True])
def test_parts_without_end_hold_up_neither_the_deadline_nor_an_interrupt_and_do_not_pile_up(cancelled: bool) -> None:
    async def main() -> tuple[object, float, int]:
        ours, theirs = socket_pair()
        read, write = os.pipe()
        token = new_token()
        process = CallProcess(ours, token, read, lambda: None)
        flooded = asyncio.Event()

        def take(_: str) -> None:
            flooded.set()

        sender = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", FLOOD, str(theirs.fileno()), token, "part"], pass_fds=(theirs.fileno(),)
        )
        theirs.close()
        cancel = asyncio.Event()
        try:
            first = asyncio.create_task(process.ask({"op": "run"}, 30.0, cancel, take))
            await flooded.wait()
            began = time.monotonic()
            cancel.set()
            await first
            if not cancelled:
                began = time.monotonic()
                first = asyncio.create_task(process.ask({"op": "run"}, 0.2, None, take))
            return await first, time.monotonic() - began, process._heard.qsize()
        finally:
            sender.kill()
            sender.wait()
            process.drop()
            os.close(write)

    answer, seconds, unread = asyncio.run(main())
    assert answer == NoAnswer(Cause.CANCELLED if cancelled else Cause.TIMEOUT)
    assert seconds < 5
    assert unread == 0
