"""A chat recorded on a cassette, and the same chat answered by it."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from image_files import image
from inprocess_tools import InProcessRunner

from toolchat.chat.approval import ApprovalPolicy, Decide, Reply
from toolchat.chat.calls import CallRunner
from toolchat.engine.base import Engine, EngineInfo
from toolchat.engine.record_replay import ReplayEngine
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.replaying import RecordedRunner, replay_plan
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.store.cassette_writer import CassetteWriter, write_session
from toolchat.store.cassettes import Cassette, Header, Report, read_cassette
from toolchat.store.grants import GrantStore
from toolchat.store.redaction import Redaction
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.wire import deltas, events
from toolchat.wire.deltas import FinishReason
from toolchat.wire.errors import EngineError, ToolchatError
from toolchat.wire.events import EngineState, Event, EventBody, Notice
from toolchat.wire.messages import FailedCall, Image, ToolCall, ToolResult

SECRET = "s3cr3t-value"
NOTHING = Redaction({})


def writer(path: Path, redaction: Redaction = NOTHING) -> CassetteWriter:
    return CassetteWriter(path, Header("toolchat test", "repl", "scripted", 1.0), redaction)


def play(
    engine: Engine,
    questions: Sequence[str],
    *,
    tape: CassetteWriter | None = None,
    runner: CallRunner | None = None,
    decide: Decide | None = None,
    policy: ApprovalPolicy | None = None,
    images: Sequence[Image] = (),
    **settings: Any,
) -> list[Event]:
    """What a chat shows in which these questions are asked."""
    shown: list[Event] = []
    session = Session(Settings(**settings), "scripted", engine, None, shown.append, tape=tape)

    async def run() -> None:
        session.equip(runner or InProcessRunner(samples()), policy, decide=decide)
        await session.launch()
        await session.ready()
        for question in questions:
            try:
                await session.ask(question, images)
            except EngineError as error:
                session.notify(f"refused: {error}")
        await session.close()
        if tape is not None:
            tape.close()

    asyncio.run(run())
    return shown


def transcript(shown: Sequence[Event]) -> list[EventBody]:
    """What is told of turns, without the rhythm in which text came."""
    told: list[EventBody] = []
    for event in shown:
        match told[-1:], event.body:
            case _, events.EngineState() | events.SessionStarted() | events.HistoryEdited() | events.CallWriting():
                continue
            case [events.TextDelta(before)], events.TextDelta(text):
                told[-1] = events.TextDelta(before + text)
            case _, events.CallFinished(result):
                told.append(events.CallFinished(replace(result, seconds=0.0)))
            case _, body:
                told.append(body)
    return told


def answers() -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.enqueue(
        Answer("Let me see. ", calls=[call("calculate", expression="17 * 24"), call("nothing")], thinking="A sum."),
        Answer(["It ", "is ", "408."], notes=["something to know"]),
        Answer("cut", reason=FinishReason.LENGTH),
        Answer("half", breaks="the connection broke"),
        Answer(error=EngineError("no")),
        Answer(calls=[FailedCall("a" * 9, "calculate", "{", "it is no JSON")]),
        Answer("So."),
        Answer("dead", crash=True),
    )
    return engine


QUESTIONS = ["17 * 24?", "and?", "more?", "refused?", "again?", "last?"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Cassette]:
    path = tmp_path_factory.mktemp("cassettes") / "c.jsonl"
    return play(answers(), QUESTIONS, tape=writer(path)), read_cassette(path)


@cache
def samples() -> LoadedToolbox:
    return load_tools(sample_tools_path())


def test_a_cassette_holds_every_event_that_was_shown_for_the_user_alone(
    recorded: tuple[list[Event], Cassette],
) -> None:
    shown, cassette = recorded
    assert cassette.events == tuple(shown)
    assert stat.S_IMODE(cassette.path.stat().st_mode) == 0o600
    assert cassette.header == Header("toolchat test", "repl", "scripted", 1.0)


def test_a_replayed_chat_whose_tools_run_again_has_the_same_transcript(
    recorded: tuple[list[Event], Cassette],
) -> None:
    shown, cassette = recorded
    again = play(ReplayEngine(cassette.recorded), QUESTIONS)
    assert transcript(again) == transcript(shown)
    assert next(body for body in transcript(shown) if isinstance(body, events.TurnFinished)).rounds == 2


def test_recorded_results_are_given_and_nothing_runs(recorded: tuple[list[Event], Cassette]) -> None:
    shown, cassette = recorded
    runner = RecordedRunner(cassette)
    again = play(ReplayEngine(cassette.recorded), QUESTIONS, runner=runner, decide=runner.decide)
    assert transcript(again) == transcript(shown)
    assert set(runner.toolbox.names) == set(samples().toolbox.names)
    assert not any(tool.callable_ref for tool in runner.toolbox.tools)


@pytest.mark.parametrize("reply", [Reply(False, reason="not now"), Reply(False, end_turn=True), None])
def test_a_declined_call_is_declined_again_for_the_same_reason(tmp_path: Path, reply: Reply | None) -> None:
    engine = ScriptedEngine()
    engine.enqueue(Answer(calls=[call("calculate", expression="1 + 1")]), "Well.")
    policy = ApprovalPolicy(GrantStore(tmp_path / "state"), deny=["calculate"])

    async def decide(pending: Any) -> Any:
        from toolchat.chat.approval import Decision

        assert reply is not None
        return Decision(False, reply.reason, end_turn=reply.end_turn)

    if reply is None:
        shown = play(engine, ["1 + 1?"], tape=writer(tmp_path / "c.jsonl"), policy=policy)
    else:
        shown = play(engine, ["1 + 1?"], tape=writer(tmp_path / "c.jsonl"), decide=decide)
    cassette = read_cassette(tmp_path / "c.jsonl")
    runner = RecordedRunner(cassette)
    again = play(ReplayEngine(cassette.recorded), ["1 + 1?"], runner=runner, decide=runner.decide)
    assert transcript(again) == transcript(shown)


def test_a_result_that_was_cut_is_given_as_it_was_cut(tmp_path: Path) -> None:
    engine = ScriptedEngine(context=2000)
    engine.enqueue(Answer(calls=[call("read_file", path="long.txt")]), "Long.")

    class Long(InProcessRunner):
        async def prepare(self, tool: Any, asked: ToolCall, cancel: Any = None) -> Any:
            prepared = await super().prepare(tool, replace(asked, arguments={"path": "x"}), cancel)
            if isinstance(prepared, ToolResult):
                return prepared

            async def run(*_: Any) -> ToolResult:
                return ToolResult(asked.id, asked.name, "word " * 5000)

            prepared.run = run
            return prepared

    shown = play(engine, ["Read."], tape=writer(tmp_path / "c.jsonl"), runner=Long(samples()))
    cassette = read_cassette(tmp_path / "c.jsonl")
    (cut,) = [body.result for body in transcript(shown) if isinstance(body, events.CallFinished)]
    assert cut.left_out > 0
    runner = RecordedRunner(cassette)
    again = play(ReplayEngine(cassette.recorded), ["Read."], runner=runner, decide=runner.decide)
    assert transcript(again) == transcript(shown)


def test_calls_whose_ids_had_to_be_drawn_anew_have_their_results_too(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    for factor in (2, 3):
        engine.enqueue(Answer(calls=[ToolCall("a" * 9, "calculate", {"expression": f"7 * {factor}"})]), "So.")
    shown = play(engine, ["One?", "Two?"], tape=writer(tmp_path / "c.jsonl"))
    cassette = read_cassette(tmp_path / "c.jsonl")
    runner = RecordedRunner(cassette)
    again = play(ReplayEngine(cassette.recorded), ["One?", "Two?"], runner=runner, decide=runner.decide)
    for told in (shown, again):
        results = [event.body.result.content for event in told if isinstance(event.body, events.CallFinished)]
        assert results == ["14", "21"]
    assert not any(isinstance(event.body, events.Notice) for event in again)


def test_what_is_asked_otherwise_is_told_once_as_a_diff_and_answered_all_the_same(
    recorded: tuple[list[Event], Cassette],
) -> None:
    _, cassette = recorded
    again = play(ReplayEngine(cassette.recorded), ["17 * 25?", "and?"], temperature=0.5, max_tokens=8192)
    notices = [body.text for body in transcript(again) if isinstance(body, events.Notice)]
    assert notices[0].splitlines() == [
        "this is not what was asked when it was recorded (- then, + now):",
        " option: max_tokens = 8192",
        "-option: temperature = None",
        "+option: temperature = 0.5",
        " option: top_p = None",
        "-user: 17 * 24?",
        "+user: 17 * 25?",
    ]
    assert not any("17 * 25" in notice for notice in notices[1:])
    assert any(isinstance(body, events.TextDelta) and "408" in body.text for body in transcript(again))


def test_a_changed_tool_and_a_changed_result_are_told(recorded: tuple[list[Event], Cassette]) -> None:
    _, cassette = recorded
    first, *rest = cassette.recorded.generations
    tools = tuple(replace(tool, description="Otherwise.") if tool.name == "calculate" else tool for tool in first.tools)
    changed = replace(cassette.recorded, generations=(replace(first, tools=tools), *rest))
    again = play(ReplayEngine(changed), ["17 * 24?"])
    (notice,) = [body.text for body in transcript(again) if isinstance(body, events.Notice) and "- then" in body.text]
    assert "-  Otherwise." in notice.splitlines()
    assert len(notice.splitlines()) < 10


def test_one_question_more_than_was_recorded_is_an_error_that_says_so(
    recorded: tuple[list[Event], Cassette],
) -> None:
    _, cassette = recorded
    short = replace(cassette.recorded, generations=cassette.recorded.generations[:3])
    again = play(ReplayEngine(short), QUESTIONS[:3])
    last = [body.text for body in transcript(again) if isinstance(body, events.Notice)][-1]
    assert last.startswith(f"refused: {cassette.path} has 3 answers, and one more is asked for; ")


def test_a_question_that_was_asked_later_gets_the_answer_that_it_had(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.enqueue("One.", "Two.")
    for number in (1, 2):
        play(engine, [f"{number}?"], tape=writer(tmp_path / f"{number}.jsonl"))
    one, two = (read_cassette(tmp_path / f"{number}.jsonl").recorded for number in (1, 2))
    both = replace(one, generations=one.generations + two.generations)
    told = transcript(play(ReplayEngine(both), ["2?"]))
    assert events.TextDelta("Two.") in told
    assert not any(isinstance(body, events.Notice) for body in told)


def test_secrets_are_nowhere_in_a_cassette_also_where_they_come_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    pieces: list[deltas.Delta] = [deltas.CallBegun(0, "calculate")]
    arguments = json.dumps({"expression": SECRET, "password": "hunter22"})
    pieces += [deltas.CallArguments(0, letter) for letter in arguments]
    asked = ToolCall("a" * 9, "calculate", json.loads(arguments))
    engine.enqueue(
        Answer(deltas=[*pieces, deltas.CallEnded(0, asked)]),
        Answer([*f"it is {SECRET}, ", SECRET[:5], SECRET[5:]], thinking=SECRET),
    )
    redaction = Redaction({"A_TOKEN": SECRET}, [Path("/home/anna")])
    tape = writer(tmp_path / "c.jsonl", redaction)
    play(engine, [f"Is it {SECRET} in /home/anna/x?"], tape=tape, system=f"Know {SECRET}.")
    text = (tmp_path / "c.jsonl").read_text()
    assert SECRET not in text
    assert "hunter22" not in text
    assert "/home/anna" not in text
    assert redaction.found["${A_TOKEN}"] > 5
    cassette = read_cassette(tmp_path / "c.jsonl")
    again = play(
        ReplayEngine(cassette.recorded, redaction.data), [f"Is it {SECRET} in /home/anna/x?"], system=f"Know {SECRET}."
    )
    told = transcript(again)
    assert events.TextDelta("it is ${A_TOKEN}, ${A_TOKEN}") in told
    assert not [body for body in told if isinstance(body, events.Notice) and "user:" in body.text]


def test_what_is_noted_before_the_tools_are_known_is_written_without_their_secrets(tmp_path: Path) -> None:
    header = Header("toolchat test", "repl", "/home/anna/model", 1.0)
    tape = CassetteWriter(tmp_path / "c.jsonl", header, Redaction({}, [Path("/home/anna")]))
    tape.engine(EngineInfo(f"/home/anna/{SECRET}", 100, 13, constrains_calls=True))
    tape.take(Event("s", 0, 0, 0, 1.0, events.Notice(f"Know {SECRET}.")))
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 1
    tape.know_tools({"BOUND": SECRET})
    tape.report(Report({}, (SECRET,)))
    tape.close()
    text = (tmp_path / "c.jsonl").read_text()
    assert SECRET not in text
    assert "/home/anna" not in text
    cassette = read_cassette(tmp_path / "c.jsonl")
    assert (cassette.model, cassette.recorded.infos[0].model) == ("~/model", "~/${BOUND}")


def test_what_the_tools_file_gives_a_tool_is_taken_out_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE", SECRET)
    runner = InProcessRunner(samples())
    options = replace(runner.toolbox.tools[0].options, given=("DATABASE",))
    runner.toolbox = replace(runner.toolbox, tools=(replace(runner.toolbox.tools[0], options=options),))
    engine = ScriptedEngine()
    engine.enqueue("Yes.")
    play(engine, [f"Is it {SECRET}?"], tape=writer(tmp_path / "c.jsonl"), runner=runner)
    text = (tmp_path / "c.jsonl").read_text()
    assert SECRET not in text
    assert "Is it ${DATABASE}?" in text


def test_images_are_in_the_cassette_whole(tmp_path: Path) -> None:
    class Seeing(ScriptedEngine):
        async def start(self) -> AsyncIterator[EngineState | Notice]:
            async for state in super().start():
                assert self.info is None or not self.info.supports_images
                if self.info is not None:
                    self.info = replace(self.info, supports_images=True)
                yield state

    sent = image("red")
    engine = Seeing()
    engine.enqueue("A cat.")
    play(engine, ["What is it?"], tape=writer(tmp_path / "c.jsonl"), images=[sent])
    cassette = read_cassette(tmp_path / "c.jsonl")
    (asked,) = [event.body for event in cassette.events if isinstance(event.body, events.QuestionAsked)]
    assert asked.images[0].data == sent.data
    again = play(ReplayEngine(cassette.recorded), ["What is it?"], images=[sent])
    assert not any(isinstance(body, events.Notice) for body in transcript(again))
    other = play(ReplayEngine(cassette.recorded), ["What is it?"], images=[image("blue")])
    assert any(isinstance(body, events.Notice) and "SHA-256" in body.text for body in transcript(other))


def test_a_chat_in_which_nothing_was_asked_leaves_no_cassette(tmp_path: Path) -> None:
    play(ScriptedEngine(), [], tape=writer(tmp_path / "c.jsonl"))
    assert not (tmp_path / "c.jsonl").exists()


def test_a_disk_that_is_full_is_told_once_and_the_chat_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from toolchat.store import cassette_writer

    tape = writer(tmp_path / "c.jsonl")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cassette_writer.os, "write", full)
    engine = ScriptedEngine()
    engine.enqueue("One.", "Two.")
    shown = play(engine, ["1?", "2?"], tape=tape)
    monkeypatch.setattr(cassette_writer.os, "write", os.write)
    notices = [event.body.text for event in shown if isinstance(event.body, events.Notice)]
    assert [notice.startswith(f"{tmp_path / 'c.jsonl'}: is not written any more: ") for notice in notices] == [True]
    assert events.TextDelta("Two.") in transcript(shown)


def test_a_stored_session_becomes_a_cassette_that_answers(tmp_path: Path) -> None:
    shown = play(answers(), QUESTIONS)
    tape = writer(tmp_path / "c.jsonl")
    tape.know_tools({})
    tape.report(Report({"toolchat": "1"}, ("python: ok: 3",)))
    write_session(tape, shown)
    tape.close()
    cassette = read_cassette(tmp_path / "c.jsonl")
    assert cassette.report == Report({"toolchat": "1"}, ("python: ok: 3",))
    # What the engine refused was taken back, and is not stored; why the connection broke is not known.
    runner = RecordedRunner(cassette)
    again = play(ReplayEngine(cassette.recorded), QUESTIONS[:2], runner=runner, decide=runner.decide)
    wanted = [body for body in transcript(shown) if not isinstance(body, events.Notice)]
    told = [body for body in transcript(again) if not isinstance(body, events.Notice)]
    assert told == wanted[: len(told)]
    assert sum(isinstance(body, events.TurnFinished) for body in told) == 2


HEAD = '{"format":"toolchat-cassette","version":1,"program":"p","command":"ask"}\n'
EVENT = '{"v":"2.2","session":"s","turn":0,"round":0,"seq":0,"time":1.0,"type":"notice","data":{"text":"hi"}}\n'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", ": is empty; expected a cassette, as --record writes one"),
        ("hello\n", ", line 1: expected a cassette, as --record writes one"),
        ('{"format":"other"}\n', ", line 1: expected a cassette, as --record writes one"),
        (HEAD.replace(":1,", ":2,"), ", line 1: a cassette of another version than 1; this is toolchat"),
        (HEAD.replace("ask", "sudo"), ", line 1: command: expected ask or repl"),
        (HEAD.replace("program", "programme"), ", line 1: programme: a field that this version does not have"),
        (f"{HEAD}{{\n", ", line 2: not a line of JSON: "),
        (f"{HEAD}{'[' * 100_000}\n", ", line 2: not a line of JSON: "),
        (f"{HEAD}{EVENT}[]\n", ", line 3: expected an event, or one of engine, generation, count, report"),
        (HEAD + EVENT.replace('"hi"', "1"), ", line 2: version 2.2: data.text: expected a text, not 1"),
        (HEAD + EVENT.replace("1.0", "1e999"), ", line 2: time: expected a number"),
        (f'{HEAD}{{"generation":{{"kept":1}}}}\n', ", line 2: generation.kept: expected 0 to 0, not 1"),
        (f'{HEAD}{{"generation":{{"deltas":[{{"type":"x"}}]}}}}\n', ", line 2: generation.deltas.0.type: expected one"),
        (f'{HEAD}{{"engine":{{"model":1}}}}\n', ", line 2: engine.model: expected a text, not 1"),
        (
            HEAD
            + EVENT.replace("notice", "question_asked").replace(
                '"hi"', '"hi","images":[{"media_type":"image/png","data":"!","width":1,"height":1}]'
            ),
            ", line 2: images.data: expected an image in base64",
        ),
    ],
)
def test_a_cassette_that_is_wrong_is_refused_in_a_line_with_file_and_line(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    with pytest.raises(ToolchatError) as raised:
        read_cassette(path)
    told = str(raised.value)
    assert told.startswith(f"{path}{problem}")
    assert "\n" not in told


def test_a_last_line_that_was_not_written_whole_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(HEAD + EVENT + EVENT.rstrip("\n")[:-5])
    assert [event.body for event in read_cassette(path).events] == [events.Notice("hi")]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, ": cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), ": is a folder; expected a file; remove it, or move it away"),
    ],
)
def test_a_cassette_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], object], problem: str) -> None:
    make(tmp_path / "c.jsonl")
    with pytest.raises(ToolchatError) as raised:
        read_cassette(tmp_path / "c.jsonl")
    assert str(raised.value) == f"{tmp_path / 'c.jsonl'}{problem}"


def test_the_settings_of_then_hold_where_none_are_given(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.enqueue("One.")
    play(engine, ["1?"], tape=writer(tmp_path / "c.jsonl"), temperature=0.7, max_tokens=99, system="Be brief.")
    cassette = read_cassette(tmp_path / "c.jsonl")
    then = replay_plan(cassette, {}, None).settings
    assert (then.temperature, then.max_tokens, then.system) == (0.7, 99, "Be brief.")
    now = replay_plan(cassette, {"temperature": 0.1, "system": "none"}, None).settings
    assert (now.temperature, now.max_tokens, now.system) == (0.1, 99, "")
