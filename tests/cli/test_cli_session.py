from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from image_files import image
from inprocess_tools import InProcessRunner
from stored import stored_rows

from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.images.image import image_bytes
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.ui.plain import PlainRenderer
from toolchat.wire import events
from toolchat.wire.codec import type_name
from toolchat.wire.deltas import FinishReason
from toolchat.wire.errors import EngineError, ExitCode, UsageError
from toolchat.wire.events import Event, TurnFinished
from toolchat.wire.messages import AssistantMessage, FailedCall, SystemMessage, UserMessage

WEATHER = call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")
ANSWER = "It is 85 degrees fahrenheit in Dallas, TX."


class Chat:
    """A session on a scripted engine, what it showed, and what its record held at that moment."""

    def __init__(self, records: Path, show: Callable[[Event], None] | None = None, **settings: Any) -> None:
        self.engine = ScriptedEngine()
        self.records = records
        self.events: list[Event] = []
        self.on_disk: list[int] = []
        self._show = show
        self._session: Session | None = None
        self.session = self._session = Session(Settings(**settings), "scripted", self.engine, records, self.show)
        self.session.equip(InProcessRunner(load_tools(sample_tools_path())))

    def show(self, event: Event) -> None:
        self.events.append(event)
        if self._session is not None and self._session.record.failure is None:
            self.on_disk.append(len(self.rows()))
        if self._show is not None:
            self._show(event)

    def rows(self) -> list[dict[str, Any]]:
        return stored_rows(self.records, self.session.record.session)

    def kinds(self) -> list[str]:
        return [type_name(type(event.body)) for event in self.events]

    async def started(self) -> Session:
        await self.session.launch()
        await self.session.ready()
        return self.session

    def ask(self, *questions: str) -> list[TurnFinished]:
        async def play() -> list[TurnFinished]:
            session = await self.started()
            finished = [await session.ask(question) for question in questions]
            await session.close()
            return finished

        return asyncio.run(play())


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def chat(records: Path) -> Chat:
    return Chat(records)


def run(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


def test_every_event_is_on_disk_before_it_is_shown(chat: Chat) -> None:
    chat.engine.enqueue(Answer(calls=[WEATHER]), ANSWER)
    chat.ask("The weather in Dallas?")
    # The first event is shown while the session is being made, when this test cannot yet see its record.
    assert [event.sequence + 1 for event in chat.events[1:]] == chat.on_disk
    assert [row["seq"] for row in chat.rows()] == list(range(len(chat.events)))
    assert [row["type"] for row in chat.rows()] == chat.kinds()


def test_the_record_tells_the_whole_turn_and_is_private(chat: Chat) -> None:
    chat.engine.enqueue(Answer(calls=[WEATHER]), ANSWER)
    chat.ask("The weather in Dallas?")
    by_type = {row["type"]: row["data"] for row in chat.rows()}
    assert by_type["session_started"]["model"] == "scripted"
    assert by_type["question_asked"]["text"] == "The weather in Dallas?"
    assert by_type["call_started"]["call"]["arguments"]["city"] == "Dallas"
    assert "85 degrees fahrenheit" in by_type["call_finished"]["result"]["content"]
    assert by_type["text_delta"]["text"] == ANSWER
    assert by_type["turn_finished"]["status"] == "answered"
    modes = {path.stat().st_mode & 0o777 for path in (chat.records / "sessions.db", chat.records / "sessions.lock")}
    assert (modes, chat.records.stat().st_mode & 0o777) == ({0o600}, 0o700)


def test_the_states_of_the_engine_are_events_of_the_same_stream(chat: Chat) -> None:
    chat.ask()
    states = [event.body.state for event in chat.events if isinstance(event.body, events.EngineState)]
    assert states == ["starting", "importing", "loading weights", "ready"]
    assert [event.sequence for event in chat.events] == list(range(len(chat.events)))


def test_settings_reach_the_engine(records: Path) -> None:
    chat = Chat(records, system="Be brief.", max_tokens=77, temperature=0.5)
    chat.engine.enqueue("Yes.")
    chat.ask("Are you there?")
    (request,) = chat.engine.requests
    assert request.messages == (SystemMessage("Be brief."), UserMessage("Are you there?"))
    assert (request.options.max_tokens, request.options.temperature) == (77, 0.5)
    assert "get_current_weather" in [tool.name for tool in request.tools]


def test_a_folder_that_cannot_hold_records_is_said_once_and_the_chat_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    chat = Chat(file / "sessions")
    chat.engine.enqueue("One.", "Two.")
    finished = chat.ask("first", "second")
    assert [end.exit_code for end in finished] == [ExitCode.OK, ExitCode.OK]
    notices = [event.body.text for event in chat.events if isinstance(event.body, events.Notice)]
    assert len(notices) == 1
    assert "not recorded" in notices[0]


def test_a_disk_that_fills_up_is_said_once_and_the_chat_goes_on(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    database = chat.session.record._database
    assert database is not None
    (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
    # SQLite then says what it says of a full disk.
    database.connection.execute(f"PRAGMA max_page_count = {pages}")
    chat.engine.enqueue("One. " * 5000, "Two.")
    chat.ask("first", "second")
    notices = [event.body.text for event in chat.events if isinstance(event.body, events.Notice)]
    assert len(notices) == 1
    assert "No space left" in notices[0]
    assert chat.kinds()[-1] == "turn_finished"


def test_an_engine_that_cannot_be_loaded_is_recorded_as_failed(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> Any:
        yield events.EngineState("starting")
        raise EngineError("no such weights")

    monkeypatch.setattr(chat.engine, "start", start)

    async def play() -> None:
        await chat.session.launch()
        with pytest.raises(EngineError, match="no such weights"):
            await chat.session.ready()
        assert chat.rows()[-1]["data"]["state"] == "failed"
        await chat.session.close()

    run(play())
    assert chat.events[-1].body == events.EngineState("failed", "no such weights")


def test_closing_while_the_engine_loads_ends_both(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = asyncio.Event()

    async def start() -> Any:
        yield events.EngineState("starting")
        loading.set()
        await asyncio.sleep(600)

    monkeypatch.setattr(chat.engine, "start", start)

    async def play() -> None:
        await chat.session.launch()
        await loading.wait()
        await chat.session.close()

    asyncio.run(asyncio.wait_for(play(), 30))
    assert chat.engine.closed


def test_a_refused_question_leaves_the_conversation_as_it_was(chat: Chat) -> None:
    chat.engine.enqueue("One.", Answer(error=EngineError("too long")), "Three.")

    async def play() -> None:
        session = await chat.started()
        await session.ask("first")
        before = session.conversation.messages
        with pytest.raises(EngineError, match="too long"):
            await session.ask("second")
        assert session.conversation.messages == before
        await session.ask("third")

    run(play())
    assert [message.content for message in chat.engine.requests[-1].messages] == ["first", "One.", "third"]


def test_a_show_that_fails_ends_the_turn_and_all_its_tasks_and_forgets_the_question(records: Path) -> None:
    def gone(event: Event) -> None:
        if isinstance(event.body, events.TextDelta):
            raise BrokenPipeError

    chat = Chat(records, gone)
    chat.engine.enqueue(Answer(text=["a", "b", "c"], delay=0.05))

    async def play() -> None:
        session = await chat.started()
        before = asyncio.all_tasks()
        with pytest.raises(BrokenPipeError):
            await session.ask("hi")
        assert session.conversation.messages == ()
        left = asyncio.all_tasks() - before
        if left:
            _, left = await asyncio.wait(left, timeout=30)
        assert not left

    run(play())


def test_an_interrupt_closes_the_turn_with_what_had_come(records: Path) -> None:
    begun = asyncio.Event()

    def note(event: Event) -> None:
        if isinstance(event.body, events.TextDelta):
            begun.set()

    chat = Chat(records, note)
    chat.engine.enqueue(Answer(text=["Once upon ", *["and on "] * 500], delay=0.02), "The end.")

    async def play() -> None:
        session = await chat.started()
        asking = asyncio.create_task(session.ask("A story."))
        await begun.wait()
        session.interrupt()
        assert (await asking).status == events.TurnStatus.INTERRUPTED
        told = session.conversation.messages[-1]
        assert isinstance(told, AssistantMessage)
        assert told.content.startswith("Once upon ")
        assert told.content.endswith("[interrupted]")
        assert (await session.ask("And then?")).exit_code == ExitCode.OK

    run(play())
    assert "interrupted" in [row["type"] for row in chat.rows()]


def test_a_crashed_engine_starts_again_and_the_conversation_is_intact(chat: Chat) -> None:
    chat.engine.enqueue("Ada is a nice name.", Answer(text="Half of", crash=True), "It is Ada.")

    async def play() -> None:
        session = await chat.started()
        await session.ask("My name is Ada.")
        crashed = await session.ask("Tell me a story.")
        assert crashed.exit_code == ExitCode.ENGINE
        assert session.info is None
        await chat.started()
        assert session.info is not None
        await session.ask("What is my name?")

    run(play())
    assert chat.engine.starts == 2
    assert [message.content for message in chat.engine.requests[-1].messages] == [
        "My name is Ada.",
        "Ada is a nice name.",
        "Tell me a story.",
        "Half of [interrupted]",
        "What is my name?",
    ]


class Plain(Chat):
    """The same, rendered as `ask` renders it."""

    def __init__(self, records: Path) -> None:
        self.out = io.StringIO()
        self.renderer = PlainRenderer(self.out)
        super().__init__(records, self.renderer.show)

    def ask(self, *questions: str) -> list[TurnFinished]:
        with self.renderer:
            return super().ask(*questions)


@pytest.fixture
def plain(records: Path) -> Plain:
    return Plain(records)


def test_only_the_answer_goes_to_stdout(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(Answer(calls=[WEATHER]), ANSWER)
    plain.ask("The weather in Dallas?")
    assert plain.out.getvalue() == f"{ANSWER}\n"
    shown = capsys.readouterr()
    assert shown.out == ""
    call_row, result_row = shown.err.splitlines()
    assert call_row == '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")'
    assert result_row.startswith("  ✓ The weather in Dallas, TX is 85 degrees fahrenheit.")


def test_a_failing_tool_is_shown_and_the_answer_still_counts(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(Answer(calls=[call("calculate", expression="1/0")]), "One cannot divide by zero.")
    (finished,) = plain.ask("1/0?")
    assert finished.exit_code == ExitCode.OK
    assert plain.out.getvalue() == "One cannot divide by zero.\n"
    assert "  ✗ " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call_", "said"),
    [
        (call("no_such_tool"), "no_such_tool"),
        (call("get_current_weather", city="Dallas"), "state"),
        (FailedCall("abcdefghi", "calculate", "{", "its arguments are not JSON"), "could not be read"),
    ],
)
def test_a_call_that_cannot_be_run_is_shown_with_its_reason(
    plain: Plain, capsys: pytest.CaptureFixture[str], call_: Any, said: str
) -> None:
    plain.engine.enqueue(Answer(calls=[call_]), "Sorry.")
    plain.ask("Try it.")
    assert said in capsys.readouterr().err
    assert plain.out.getvalue() == "Sorry.\n"


def test_text_before_a_call_stands_on_its_own_line(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(Answer(text="Let me look.", calls=[WEATHER]), ANSWER)
    plain.ask("The weather in Dallas?")
    assert plain.out.getvalue() == f"Let me look.\n{ANSWER}\n"
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_in_a_pipe_the_answer_is_the_models_own_bytes(plain: Plain) -> None:
    plain.engine.enqueue("a\x1b[31mb\u202ec\ttab\n\n")
    plain.ask("Colours.")
    assert plain.out.getvalue() == "a\x1b[31mb\u202ec\ttab\n\n"


def test_a_lone_surrogate_does_not_break_the_pipe(plain: Plain) -> None:
    plain.engine.enqueue("a\ud800b")
    plain.ask("Odd.")
    assert plain.out.getvalue() == "a?b\n"


def test_what_is_shown_of_calls_and_results_cannot_move_the_cursor(
    plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    plain.engine.enqueue(Answer(calls=[call("calculate", expression="\x1b]0;owned\x07")]), "No.")
    plain.ask("Try it.")
    err = capsys.readouterr().err
    assert "owned" in err
    assert "\x1b" not in err
    assert "\x07" not in err


def test_a_cut_off_answer_is_printed_and_told_about(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(Answer(text="Once upon", reason=FinishReason.LENGTH))
    (finished,) = plain.ask("A story.")
    assert finished.exit_code == ExitCode.TRUNCATED
    assert plain.out.getvalue() == "Once upon\n"
    assert "--max-tokens" in capsys.readouterr().err


def test_a_turn_of_calls_only_ends_at_the_limit_of_rounds(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(*[Answer(calls=[call("calculate", expression=f"1+{one}")]) for one in range(8)])
    (finished,) = plain.ask("Count.")
    assert finished.exit_code == ExitCode.LIMIT
    assert plain.out.getvalue() == ""
    assert "limit of 8 rounds" in capsys.readouterr().err


def test_a_crash_in_the_middle_keeps_what_had_come(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    plain.engine.enqueue(Answer(text="Half of", crash=True))
    (finished,) = plain.ask("A story.")
    assert finished.exit_code == ExitCode.ENGINE
    assert plain.out.getvalue() == "Half of\n"
    assert "toolchat: the engine's process ended" in capsys.readouterr().err


def test_two_sessions_at_once_have_their_own_records(records: Path) -> None:
    first, second = Chat(records), Chat(records)
    first.engine.enqueue("One.")
    first.ask("hello")
    assert not any(row["type"].startswith("turn_") for row in second.rows())
    assert len(first.rows()) == len(first.events) > 1


def test_an_image_is_refused_before_the_turn_where_the_model_does_not_see(chat: Chat) -> None:
    async def play() -> None:
        session = await chat.started()
        before = len(chat.events)
        with pytest.raises(UsageError, match="the model scripted cannot see images"):
            await session.ask("What is it?", (image(),))
        assert len(chat.events) == before
        assert session.conversation.messages == ()
        chat.engine.enqueue("Hello.")
        await session.ask("Hi")
        await session.close()

    run(play())
    assert len(chat.engine.requests) == 1


def test_an_attached_image_is_kept_beside_the_record(chat: Chat) -> None:
    async def play() -> None:
        session = await chat.started()
        assert chat.engine.info is not None
        chat.engine.info = replace(chat.engine.info, supports_images=True)
        chat.engine.enqueue("Red.")
        await session.ask("What is it?", (image(),))
        await session.close()

    run(play())
    (row,) = (row["data"]["images"][0] for row in chat.rows() if row["type"] == "question_asked")
    assert Path(row["file"]).parent == chat.records / "files"
    assert Path(row["file"]).read_bytes() == image_bytes(image())
    assert image().data not in json.dumps(chat.rows())
