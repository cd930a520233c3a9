from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.host import processes
from toolchat.tools.host.channel import Assembler, Channel, ChannelClosed, new_token, packets, socket_pair
from toolchat.tools.host.execute import Executor
from toolchat.tools.host.output import HEAD, TAIL, Window
from toolchat.tools.host.processes import children, descendants
from toolchat.tools.result import bounded

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
    channel = Channel(theirs.detach(), "token")
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    os.dup2(file, channel.fileno())
    with pytest.raises(ChannelClosed):
        channel.send({"op": "result"})
    os.close(file)
    channel.close()
    ours.close()
    assert (tmp_path / "file").read_bytes() == b""


@given(st.text(st.characters(codec=None), max_size=300), st.integers(10, 200))
def test_a_bounded_text_is_utf8_and_keeps_to_its_limit(text: str, limit: int) -> None:
    cut = bounded(text, limit)
    encoded = cut.encode()
    assert b"\0" not in encoded
    assert len(encoded) <= limit + 100
    if len(text) * 4 <= limit:
        assert len(cut) == len(text)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=TAIL)), st.integers(0, 3))
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
        assert f"{len(whole) - HEAD - TAIL:,} characters of its output are not shown" in text


def test_what_an_asynchronous_generator_yields_is_its_result() -> None:
    async def steps() -> AsyncIterator[str]:
        yield "one"
        yield "two"
        yield "result"

    said: list[str] = []
    outcome = Executor(said.append).run(steps, {})
    assert (outcome.content, outcome.ok, said) == ('["one", "two", "result"]', True, ["one", "two", "result"])


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Shouting(str):
    def __str__(self) -> str:
        raise RuntimeError


def returned(which: str) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    values: dict[str, Any] = {
        "text": "It is 5 °C",
        "own text": Shouting("loud"),
        "empty": "",
        "none": None,
        "number": 264,
        "dict": {"temp": 5, "when": date(2025, 3, 1), "city": "Zürich"},
        "nested surrogate": ["\udfff"],
        "set": {3},
        "bytes": b"\xff",
        "loop": loop,
    }
    return values[which]


@pytest.mark.parametrize(
    ("which", "content", "ok"),
    [
        ("text", "It is 5 °C", True),
        ("own text", "loud", True),
        ("empty", "", True),
        ("none", "(no result)", True),
        ("number", "264", True),
        ("dict", '{"temp": 5, "when": "2025-03-01", "city": "Zürich"}', True),
        ("nested surrogate", '["\ufffd"]', True),
        ("set", "[3]", True),
        ("bytes", "[1 byte of binary data]", True),
        ("loop", '["[…]"]\n[a value that holds itself is written as […] there]', True),
    ],
)
def test_what_a_tool_returns_becomes_text(which: str, content: str, ok: bool) -> None:
    outcome = Executor(lambda _: None).run(returned, {"which": which})
    assert (outcome.content, outcome.ok) == (content, ok)


def raised(which: str) -> str:
    errors: dict[str, BaseException] = {
        "value": ValueError("unknown time zone: Mars"),
        "empty": ValueError(),
        "long": ValueError("x" * 10_000),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "stop": StopIteration(1),
        "cancel": asyncio.CancelledError(),
        "mute": MuteError(),
        "surrogate": ValueError("\ud800"),
    }
    raise errors[which]


async def raised_later(which: str) -> str:
    await asyncio.sleep(0)
    return raised(which)


def raised_between(which: str) -> Iterator[str]:
    yield "one"
    raised(which)


@pytest.mark.parametrize("function", [raised, raised_later, raised_between])
@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("value", "Error: ValueError: unknown time zone: Mars"),
        ("empty", "Error: ValueError"),
        ("long", f"Error: ValueError: {'x' * 2000}..."),
        ("exit", "Error: SystemExit: 3"),
        ("interrupt", "Error: KeyboardInterrupt"),
        ("generator", "Error: GeneratorExit"),
        ("cancel", "Error: CancelledError"),
        ("mute", "Error: MuteError: its message cannot be shown"),
        ("surrogate", "Error: ValueError: \ufffd"),
    ],
)
def test_whatever_a_tool_raises_is_its_result(function: Any, which: str, content: str) -> None:
    outcome = Executor(lambda _: None).run(function, {"which": which})
    assert (outcome.content, outcome.ok) == (content, False)
    assert "in raised" in outcome.traceback


def test_stop_iteration_is_no_result() -> None:
    assert Executor(lambda _: None).run(raised, {"which": "stop"}).content == "Error: StopIteration: 1"


def test_coroutines_of_one_process_share_their_event_loop() -> None:
    async def which() -> int:
        return id(asyncio.get_running_loop())

    executor = Executor(lambda _: None)
    assert executor.run(which, {}).content == executor.run(which, {}).content


@pytest.mark.process
def test_the_children_of_a_process_are_found_without_the_kernels_list() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        assert pid in children(os.getpid())
        assert pid in descendants(os.getppid()) or os.getppid() == 0
        found = {child for child in processes._pids() if processes._parent(child) == os.getpid()}
        assert pid in found
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
