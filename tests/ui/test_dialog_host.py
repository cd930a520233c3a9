from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from approval_calls import pending
from prompt_toolkit.layout import Window

from toolchat.chat.approval import Reply
from toolchat.session.room import Fullness, Stopped
from toolchat.ui.dialog_host import STOPPED_SECONDS, DialogHost
from toolchat.ui.dialogs import ARMING_SECONDS


@dataclass
class FakeStage:
    """A terminal whose frames are drawn as soon as the others have had their turn."""

    columns: int = 80
    rows: int = 24
    waits: bool = False
    """Whether something was typed and not read yet."""
    dropped: int = 0

    def print(self, ansi: str) -> None: ...
    def redraw(self) -> None: ...
    def focus(self, window: Window | None) -> None: ...

    async def drawn(self) -> None:
        await asyncio.sleep(0)

    def drop_pending_input(self) -> bool:
        self.dropped += 1
        return self.waits


@dataclass
class Asked:
    """A question that was drawn, at a time that a test sets."""

    host: DialogHost
    stage: FakeStage
    reply: asyncio.Task[Reply]
    now: float = 0.0

    async def passes(self, seconds: float) -> None:
        self.now += seconds
        await turns()

    def key(self, name: str) -> None:
        self.host._key(name)

    @property
    def text(self) -> str:
        return "".join(fragment[1] for fragment in self.host._rows())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def with_a_question(test: Callable[[Asked], Awaitable[None]], *, waits: bool = False) -> None:
    async def run() -> None:
        stage = FakeStage(waits=waits)
        host = DialogHost(lambda: asked.now, lambda: 9, color=False)
        host.attach(stage)
        asked = Asked(host, stage, asyncio.create_task(host.ask(pending())))
        await turns()
        try:
            await test(asked)
        finally:
            asked.reply.cancel()
            await asyncio.gather(asked.reply, return_exceptions=True)

    asyncio.run(run())


TOO_SOON = "What was typed came too soon"


def test_a_key_after_a_time_without_a_beat_answers_nothing_and_is_told_of() -> None:
    async def test(asked: Asked) -> None:
        asked.now = STOPPED_SECONDS + 0.1
        asked.key("y")
        assert TOO_SOON in asked.text
        await turns()
        asked.key("y")
        assert TOO_SOON in asked.text
        assert not asked.reply.done()
        # In steps with a beat each, else it would be a stop again, as it may be once where the real machine is slow.
        for step in range(40):
            await asked.passes(ARMING_SECONDS / 2)
            await asyncio.sleep(0.12)
            if step % 4 == 3:
                asked.key("y")
                await turns()
            if asked.reply.done():
                break
        assert asked.reply.done()
        assert await asked.reply == Reply(True)

    with_a_question(test)


@pytest.mark.parametrize("waits", [True, False])
def test_what_is_thrown_away_unread_is_told_of(waits: bool) -> None:
    async def test(asked: Asked) -> None:
        assert asked.stage.dropped == 1
        assert (TOO_SOON in asked.text) is waits

    with_a_question(test, waits=waits)


@pytest.mark.parametrize("key", ["e", "r"])
def test_nothing_that_is_typed_into_an_editor_is_thrown_away(key: str) -> None:
    async def test(asked: Asked) -> None:
        asked.now = ARMING_SECONDS
        asked.key(key)
        asked.host.covered()
        asked.host.uncovered()
        await turns()
        assert asked.stage.dropped == 1

    with_a_question(test)


def test_the_question_that_follows_an_editor_counts_keys_only_once_it_is_drawn() -> None:
    async def test(asked: Asked) -> None:
        asked.now = ARMING_SECONDS
        asked.key("e")
        assert asked.host._dialog is not None
        asked.host._dialog.cancel(asked.now)
        asked.host._follow()
        # Not drawn yet, however much time has passed.
        assert asked.host._dialog.arms_at is None
        await turns()
        assert asked.stage.dropped == 2
        assert asked.host._dialog.arms_at == asked.now + ARMING_SECONDS

    with_a_question(test)


def with_a_question_about_room(keys: list[tuple[float, str]]) -> tuple[list[str], object]:
    """What was shown, and what the user's keys came to, each after so many seconds."""

    async def run() -> tuple[list[str], object]:
        now = 0.0
        host = DialogHost(lambda: now, lambda: 9, color=False)
        host.attach(FakeStage(columns=40))
        asking = asyncio.create_task(host.ask_room(Fullness(7100, 8192, 9)))
        shown = []
        for seconds, key in keys:
            await turns()
            now += seconds
            shown = "".join(fragment[1] for fragment in host._rows()).split("\n")
            host._key(key)
        await turns()
        assert asking.done()
        assert not host.is_open
        return shown, asking.exception() or asking.result()

    return asyncio.run(run())


@pytest.mark.parametrize(("key", "wanted"), [("y", True), ("n", False), ("c-m", False), ("escape", False)])
def test_room_is_made_as_the_user_says(key: str, wanted: bool) -> None:
    shown, said = with_a_question_about_room([(ARMING_SECONDS, key)])
    assert said is wanted
    assert " ".join(shown).startswith("The context is 87 % full (7,100 of 8,192 tokens). Sum the 9 older turns up")
    assert max(map(len, shown)) <= 40


def test_keys_that_were_typed_ahead_make_no_room() -> None:
    # All of it before the host takes the time that passes for a stop of the program.
    _, said = with_a_question_about_room([(0.05, "y"), (ARMING_SECONDS + 0.01, "n")])
    assert said is False


def test_ctrl_c_stops_the_question_that_room_was_to_be_made_for() -> None:
    _, said = with_a_question_about_room([(0.0, "c-c")])
    assert isinstance(said, Stopped)
