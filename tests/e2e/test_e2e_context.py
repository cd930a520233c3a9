"""What fills the context, and summaries, with the real engine and the demo model."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_engine import Running
from inprocess_tools import InProcessRunner
from mistral_tokenizers import ALL, load, vocabulary_of

from toolchat.chat.context_view import ContextView
from toolchat.engine.local import LocalEngine
from toolchat.mistral.render import encode
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.wire import events
from toolchat.wire.events import EngineState, Event
from toolchat.wire.messages import ToolResult, UserMessage

pytestmark = pytest.mark.engine

FACT = "The {} ferry of line {} leaves from pier {} and takes {} minutes to the island of Lumen. "


class Started:
    """An engine that is up, for a session that would start and end it."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self) -> AsyncIterator[EngineState]:
        yield EngineState("ready")

    async def close(self) -> None:
        pass


def parts(view: ContextView) -> int:
    tools = sum(tokens for _, tokens in view.tools)
    results = sum(one.tokens for one in view.results)
    return view.system + tools + view.questions + view.answers + view.summaries + results + view.format


@contextlib.asynccontextmanager
async def chat(running: Running, folder: Path, shown: list[Event]) -> AsyncIterator[Session]:
    engine: Any = Started(running.engine)
    settings = Settings(system="Be brief.", max_tokens=48, temperature=0.0)
    session = Session(settings, "demo", engine, folder, shown.append)
    session.equip(InProcessRunner(load_tools(sample_tools_path())))
    try:
        await session.launch()
        await session.ready()
        yield session
    finally:
        await session.close()


def talk(session: Session, turns: int) -> None:
    """Turns of about 240 tokens, one in three with a call, as if they had been."""
    told = session.transcript
    assert not told.turns
    for number in range(1, turns + 1):
        text = "".join(FACT.format(word, number, number + at, at * 7) for at, word in enumerate(("red", "blue") * 4))
        session.conversation.add_user(f"What of line {number}? {text[:200]}")
        if number % 3 == 0:
            from toolchat.engine.scripted import call

            item = call("read_file", path=f"line{number}.txt")
            session.conversation.add_calls("", [item])
            session.conversation.add_results([ToolResult(item.id, item.name, text)])
        session.conversation.add_answer(text)


def test_the_context_is_told_as_the_engine_reads_it(running: Running, tmp_path: Path) -> None:
    shown: list[Event] = []

    async def scene() -> None:
        async with chat(running, tmp_path, shown) as session:
            await session.ask("What is 17 * 24?")
            before = await session.room.view()
            assert parts(before) == before.total
            await session.ask("Thank you.")
            # The next prompt is what was told, and the question; what was cached is what was told, in blocks.
            usage = next(event.body.usage for event in shown[::-1] if isinstance(event.body, events.RoundFinished))
            alone = (await running.engine.count([UserMessage("Thank you.")], ())).messages[0]
            assert usage.prompt_tokens == before.total + alone
            assert before.cached is not None
            print(f"told {before.cached} cached of {before.total}; the engine found {usage.cached_tokens}")
            assert before.cached - 64 <= usage.cached_tokens <= before.cached + 32

    running.loop.run(scene())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_six_thousand_tokens_are_summed_up_into_a_history_that_every_version_takes(
    make_engine: Callable[..., contextlib.AbstractContextManager[Running]], tmp_path: Path
) -> None:
    shown: list[Event] = []
    with make_engine(context=8192) as running:
        running.start()

        async def scene() -> None:
            async with chat(running, tmp_path / "sessions", shown) as session:
                talk(session, 17)
                before = await session.room.view()
                assert 5500 < before.total < 7500
                assert parts(before) == before.total
                session.room.keep(3)
                made = await session.room.compact("numbers of lines")
                after = await session.room.view()
                print(f"{made.before} tokens became {made.after}: {made.text!r}")
                assert parts(after) == after.total == made.after < before.total * 0.7
                assert made.turns[:3] == (1, 2, 4)
                legal(tmp_path, session)
                await session.ask("And what of line 17?")
                last = shown[-1].body
                assert isinstance(last, events.TurnFinished)
                session.undo()
                session.room.undo_edit()
                assert (await session.room.view()).total == before.total

        running.loop.run(scene())


def legal(folder: Path, session: Session) -> None:
    """Every tokenizer version encodes what would be sent next."""
    messages = [*session.conversation.messages, UserMessage("And now?")]
    for label in ALL:
        tokenizer = load(folder, label)
        assert encode(tokenizer, vocabulary_of(tokenizer).version, messages, session.tools.offered()).tokens
