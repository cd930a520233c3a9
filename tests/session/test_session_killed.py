"""SIGKILL at random moments: all that was shown is there afterwards, in a whole database and a legal history."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import select
import signal
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from inprocess_tools import InProcessRunner
from stored import integrity, stored_rows

from toolchat.chat.fold import fold
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.store.sessions import open_session_of, stored_sessions
from toolchat.store.transcript import Transcript
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.wire import events
from toolchat.wire.codec import read_event
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Event, Notice

_SHOWN = struct.Struct("<22si?")


def chat(folder: Path, loaded: LoadedToolbox, resume: bool, shown: int) -> None:
    """Chat without end; of each event its place, and whether it says that nothing is stored, goes to `shown`."""

    def show(event: Event) -> None:
        lost = isinstance(event.body, Notice) and "not recorded" in event.body.text
        os.write(shown, _SHOWN.pack(event.session.encode(), event.sequence, lost))

    opened = open_session_of(folder, "last") if resume else None
    engine = ScriptedEngine()
    session = Session(Settings(), "m", engine, folder, show, opened=opened)

    async def play() -> None:
        session.equip(InProcessRunner(loaded))
        await session.launch()
        await session.ready()
        for turn in range(10_000):
            looks = [call("calculate", expression=f"{turn}*{factor}") for factor in (2, 3)]
            engine.enqueue(
                Answer(["I ", "look. "], calls=looks, thinking="Hm."), Answer(["It ", "is ", f"{turn}. "] * 20)
            )
            await session.ask(f"question {turn} " + "and " * (turn % 50))
            if turn % 7 == 6:
                session.undo()
            await edit(session, engine, turn)

    asyncio.run(play())


async def edit(session: Session, engine: ScriptedEngine, turn: int) -> None:
    """Make room, or go elsewhere."""
    numbers = session.conversation.numbers
    match turn % 4:
        case 0:
            session.room.keep(None)
        case 1:
            await session.room.trim(str(numbers[-1]))
        case 2 if len(numbers) > 1:
            engine.enqueue(Answer(["They ", "counted."]))
            with suppress(UsageError):
                await session.room.compact()
            engine.answers.clear()
        case 3:
            session.room.branch(numbers[0] if len(numbers) > 1 else 0)


def killed(
    folder: Path, loaded: LoadedToolbox, after: int, *, resume: bool, full: bool, suspend: bool
) -> tuple[str, list[int], bool]:
    """Kill a chat once it has shown so many events.

    Its session, the events that it showed up to a notice of loss, and whether one came.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if full:  # as a disk that is full: no file grows any more
                size = (folder / "sessions.db-wal").stat().st_size if (folder / "sessions.db-wal").exists() else 0
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, resource.RLIM_INFINITY))
            chat(folder, loaded, resume, write)
        finally:
            os._exit(1)
    os.close(write)
    content = b""
    # By events and not by seconds, so that a busy machine sees as many; where in the work for one it is is chance.
    while len(content) < after * _SHOWN.size:
        assert select.select([read], [], [], 60)[0]
        content += os.read(read, 32 * _SHOWN.size)
        os.kill(child, signal.SIGWINCH)
        if suspend:
            os.kill(child, signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(read, 65536):
        content += part
    os.close(read)
    shown = [_SHOWN.unpack_from(content, at) for at in range(0, len(content) // _SHOWN.size * _SHOWN.size, _SHOWN.size)]
    end = next((at for at, (*_, lost) in enumerate(shown) if lost), len(shown))
    # The event before the notice is the one that could not be stored.
    numbers = [number for _, number, _ in shown[: end - 1 if end < len(shown) else end]]
    return shown[0][0].decode(), numbers, end < len(shown)


def kill_and_look(folder: Path, moments: int, seed: int) -> tuple[int, int]:
    """How many of the kills were in the midst of a turn, and how many of the chats found no room."""
    drawn = random.Random(seed)
    loaded = load_tools(sample_tools_path())
    cut = full = 0
    for number in range(moments):
        with stored_sessions(folder) as store:
            resume = number % 3 != 0 and bool(store.latest())
        after = drawn.randint(1, 90)
        session, shown, lost = killed(
            folder, loaded, after, resume=resume, full=number % 4 == 3, suspend=number % 5 == 4
        )
        assert integrity(folder) == "ok"
        with stored_sessions(folder) as store:
            history = list(store.events(store.find(session)))
        assert [event.sequence for event in history] == list(range(len(history)))
        assert max(shown, default=-1) < len(history)
        cut += not all(turn.finished for turn in Transcript(history).turns)
        full += lost
        conversation = fold(history)
        assert not conversation.open
        opened = open_session_of(folder, session)
        assert not opened.copied_from
        asyncio.run(Session(Settings(), "m", ScriptedEngine(), folder, lambda event: None, opened=opened).close())
        closed = stored_events(folder, session)
        if not closed:  # nothing had been asked
            assert not conversation.turns
            continue
        assert fold(closed) == conversation
        assert all(turn.finished for turn in Transcript(closed).turns)
        assert not any(isinstance(event.body, events.SessionStarted) for event in closed[1:])
    return cut, full


def stored_events(folder: Path, session: str) -> list[Event]:
    return [read_event(json.dumps(row)) for row in stored_rows(folder, session)]


@pytest.mark.process
def test_a_chat_that_is_killed_at_any_moment_loses_nothing_that_was_shown(tmp_path: Path) -> None:
    cut, full = kill_and_look(tmp_path / "sessions", 12, 1)
    assert cut > 2
    assert full > 0


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(900)
def test_a_chat_that_is_killed_at_three_hundred_moments_loses_nothing_that_was_shown(tmp_path: Path) -> None:
    cut, full = kill_and_look(tmp_path / "sessions", 300, 2)
    assert cut > 60
    assert full > 20
