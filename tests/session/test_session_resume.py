from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inprocess_tools import InProcessRunner

from toolchat.chat.approval import ApprovalPolicy
from toolchat.chat.fold import CUT, fold
from toolchat.cli.repl import _hint
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.models.card import OwnPrompt
from toolchat.session.past import SHOWN_TURNS, with_model
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.store.grants import GrantStore
from toolchat.store.sessions import open_session_of, stored_sessions
from toolchat.store.transcript import Transcript
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.rules import Grant
from toolchat.tools.toolbox import Tool
from toolchat.wire import events
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Event, TurnStatus

LOOK = call("calculate", expression="6*7")
Scene = Callable[[Session], Coroutine[Any, Any, None]]


class Chats:
    """Chats of one user, one after the other, each in a program of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sessions"
        self.grants = GrantStore(folder)
        self.policy = ApprovalPolicy(self.grants)
        self.engine = ScriptedEngine()
        self.shown: list[Event] = []
        self.tools = load_tools(sample_tools_path())
        self.others: tuple[Tool, ...] | None = None
        """The tools that there are by now, where they are others."""
        self.only: tuple[str, ...] = ()
        """--tool."""

    def play(
        self,
        scene: Scene,
        resume: str | None = None,
        model: str = "m",
        *,
        store: bool = True,
        early: Callable[[Session], None] = lambda session: session.show_past(),
        **settings: Any,
    ) -> Session:
        """`early` is what is done to the session before it has tools."""
        opened = open_session_of(self.folder, resume) if resume is not None else None
        self.engine, self.shown = ScriptedEngine(), []
        self.policy = ApprovalPolicy(self.grants)
        folder = self.folder if store else None
        session = Session(Settings(**settings), model, self.engine, folder, self.shown.append, opened=opened)

        async def run() -> None:
            try:
                early(session)
                runner = InProcessRunner(self.tools)
                if self.others is not None:
                    runner.toolbox = replace(runner.toolbox, tools=self.others)
                session.equip(runner, self.policy, only=self.only)
                await session.launch()
                await session.ready()
                await scene(session)
            finally:
                await session.close()

        asyncio.run(asyncio.wait_for(run(), 60))
        return session

    def notices(self) -> list[str]:
        return [event.body.text for event in self.shown if isinstance(event.body, events.Notice)]

    def questions(self) -> list[str]:
        return [event.body.text for event in self.shown if isinstance(event.body, events.QuestionAsked)]

    def history(self, key: str = "last") -> list[Event]:
        with stored_sessions(self.folder) as store:
            return list(store.events(store.find(key)))


@pytest.fixture
def chats(tmp_path: Path) -> Chats:
    return Chats(tmp_path)


def asking(chats: Chats, *questions: str, answers: tuple[Any, ...] = ()) -> Scene:
    async def scene(session: Session) -> None:
        chats.engine.enqueue(*(answers or tuple(f"About {question}." for question in questions)))
        for question in questions:
            await session.ask(question)

    return scene


def test_a_chat_goes_on_as_it_was_and_its_record_stays_one(chats: Chats) -> None:
    first = chats.play(asking(chats, "6*7?", answers=(Answer(calls=[LOOK]), "42.")), system="Be brief.")
    second = chats.play(asking(chats, "again"), "last")
    assert second.record.session == first.record.session
    assert second.last_answer == "About again."
    assert [message.content for message in chats.engine.requests[-1].messages] == [
        *("Be brief.", "6*7?", "", "42", "42.", "again")
    ]
    history = chats.history()
    assert [event.sequence for event in history] == list(range(len(history)))
    assert fold(history) == second.conversation
    assert [turn.number for turn in Transcript(history).turns] == [1, 2]
    assert chats.notices() == []


def test_its_last_turns_are_shown_again_and_nothing_else_of_it(chats: Chats) -> None:
    chats.play(asking(chats, *"abcde"))

    async def undo(session: Session) -> None:
        session.undo()

    chats.play(undo, "last")
    assert chats.questions() == list("cde")
    chats.play(asking(chats, "f"), "last")
    assert len(chats.questions()) == SHOWN_TURNS + 1
    assert chats.questions() == [*"bcd", "f"]
    assert not any(isinstance(event.body, events.SessionStarted) for event in chats.shown)


def test_what_was_last_answered_can_be_copied_again(chats: Chats) -> None:
    chats.play(asking(chats, "6*7?", answers=(Answer(calls=[LOOK]), "42.")))

    async def look(session: Session) -> None:
        assert (session.last_answer, [one.content for one in session.last_results]) == ("42.", ["42"])

    chats.play(look, "last")


@pytest.mark.parametrize("at", range(1, 11))
def test_a_turn_that_was_cut_by_a_crash_is_closed_legally_and_shown_as_cut(chats: Chats, at: int) -> None:
    chats.play(asking(chats, "first"))
    answers = (Answer("I look.", calls=[LOOK]), "It is 42.")
    chats.play(asking(chats, "second", answers=answers), "last")
    history = chats.history()
    begin = next(number for number, event in enumerate(history) if event.turn == 2)
    cut = history[: begin + at]
    with stored_sessions(chats.folder) as store:
        store.delete(store.find("last"))
        store.put(cut)
    session = chats.play(asking(chats, "third"), "last")
    closed = chats.history()
    assert fold(closed) == session.conversation
    turns = Transcript(closed).turns
    assert all(turn.finished for turn in turns)
    if at == 1:  # not even the question is there
        assert [turn.question for turn in turns] == ["first", "third"]
        return
    assert [turn.question for turn in turns] == ["first", "second", "third"]
    assert turns[1].status is TurnStatus.INTERRUPTED
    assert turns[1].notices == [CUT]
    assert CUT in chats.notices()
    sent = [message.content for message in chats.engine.requests[-1].messages]
    assert sent[-2].endswith("[interrupted]")


def test_switched_off_tools_and_grants_of_the_session_come_back_and_the_other_ones_grants_do_not(chats: Chats) -> None:
    async def choose(session: Session) -> None:
        session.tools.switch("calculate", False)
        chats.policy.have_session_grants([Grant("d" * 64, None, "f", "mine:f"), Grant("e" * 64, '{"a":1}', "g")])
        await asking(chats, "first")(session)

    def given() -> list[str]:
        return [grant.digest[0] for grant in chats.policy.session_grants]

    async def look(session: Session) -> None:
        assert session.tools.switched_off == {"calculate"}
        assert given() == ["d", "e"]
        await asking(chats, "more")(session)
        assert "calculate" not in [spec.name for spec in chats.engine.requests[-1].tools]

    async def switch(session: Session) -> None:
        assert given() == []
        session.resume("chosen")
        assert (session.tools.switched_off, given()) == ({"calculate"}, ["d", "e"])
        session.resume("other")
        assert (session.tools.switched_off, given()) == (frozenset(), [])

    chats.play(choose)
    with stored_sessions(chats.folder) as store:
        store.rename(store.find("last"), "chosen")
    chats.play(look, "chosen")
    chats.play(asking(chats, "another"))
    with stored_sessions(chats.folder) as store:
        other = next(one for one in store.latest() if one.name is None)
        store.rename(other, "other")
    chats.play(switch)


@pytest.mark.parametrize("there", [[], ["current_time"]], ids=["--no-tools", "some of them"])
def test_a_tool_that_was_switched_off_stays_off_through_a_time_without_it(chats: Chats, there: list[str]) -> None:
    tools = chats.tools.toolbox.tools

    def offered() -> list[str]:
        return [spec.name for spec in chats.engine.requests[-1].tools]

    async def switch(session: Session) -> None:
        session.tools.switch("calculate", False)
        await asking(chats, "first")(session)

    async def without(session: Session) -> None:
        with pytest.raises(UsageError, match=r"there are no tools|there is no such tool"):
            session.set_for_turns("tool_choice", "calculate")
        await asking(chats, "second")(session)
        assert offered() == there

    async def comes_back(session: Session) -> None:
        session.tools.runner.toolbox = replace(session.tools.toolbox, tools=tools)
        await asking(chats, "third")(session)
        assert session.tools.switched_off == {"calculate"}
        assert [spec.name for spec in session.tools.offered()] == [one.name for one in tools if one.name != "calculate"]

    async def whole(session: Session) -> None:
        await asking(chats, "fourth")(session)
        assert offered() == [tool.name for tool in tools if tool.name != "calculate"]

    chats.play(switch)
    chats.others = tuple(tool for tool in tools if tool.name in there)
    chats.play(without, "last")
    chats.play(comes_back, "last")
    chats.others = None
    chats.play(whole, "last")


def test_what_one_start_leaves_out_by_its_flag_is_on_again_without_it_and_what_was_off_stays_off(chats: Chats) -> None:
    everything = [tool.name for tool in chats.tools.toolbox.tools]

    async def switch(session: Session) -> None:
        session.tools.switch("calculate", False)
        await asking(chats, "first")(session)

    async def only_time(session: Session) -> None:
        session.tools.switch("current_time", False)
        session.tools.switch("current_time", True)
        await asking(chats, "second")(session)
        assert [spec.name for spec in chats.engine.requests[-1].tools] == ["current_time"]

    async def whole(session: Session) -> None:
        await asking(chats, "third")(session)
        offered = [spec.name for spec in chats.engine.requests[-1].tools]
        assert offered == [name for name in everything if name != "calculate"]

    chats.play(switch)
    chats.only = ("current_time",)
    chats.play(only_time, "last")
    chats.only = ()
    chats.play(whole, "last")


def test_a_system_prompt_that_is_given_on_resuming_takes_neither_switched_off_tools_nor_grants(chats: Chats) -> None:
    grants = (Grant("d" * 64, None, "f", "mine:f"),)

    async def choose(session: Session) -> None:
        session.tools.switch("calculate", False)
        chats.policy.have_session_grants(grants)
        await asking(chats, "first")(session)

    async def leave(_: Session) -> None:
        pass

    async def look(session: Session) -> None:
        assert (session.tools.switched_off, session.tools.session_grants) == ({"calculate"}, grants)
        assert session.conversation.system == "Be brief."
        session.use_own_prompt(OwnPrompt("Be Magistral."))
        assert session.conversation.system == "Be brief."

    def fail(session: Session) -> None:
        session.set_system("Be brief.")
        raise UsageError("the tools cannot be read")

    chats.play(choose)
    chats.play(leave, "last", early=lambda session: session.set_system("Be long."))
    with pytest.raises(UsageError):
        chats.play(leave, "last", early=fail)
    chats.play(look, "last", "n")


def test_it_is_told_that_another_model_answers_and_that_the_tools_are_others(chats: Chats) -> None:
    chats.play(asking(chats, "first"))
    specs = chats.tools.toolbox.tools
    chats.others = (replace(specs[0], description="Otherwise."), *specs[2:])
    chats.play(asking(chats, "more"), "last", "n")
    other, tools = chats.notices()
    assert other == "n answers from here on; in this session it was m"
    assert tools == (f"the tools are not those that this session had: gone: {specs[1].name}; changed: {specs[0].name}")
    assert Transcript(chats.history()).model == "n"
    assert [turn.model for turn in Transcript(chats.history()).turns] == ["m", "n"]
    chats.play(asking(chats, "and more"), "last", "n")
    assert chats.notices() == []


def test_a_chat_goes_on_in_a_copy_where_another_program_has_the_session_open(chats: Chats) -> None:
    async def meanwhile(session: Session) -> None:
        await asking(chats, "first")(session)
        opened = open_session_of(chats.folder, "last")
        assert opened.copied_from == session.record.session
        shown: list[Event] = []
        second = Session(Settings(), "m", ScriptedEngine(), chats.folder, shown.append, opened=opened)
        assert f"is open in another program: this chat goes on in a copy of it, {second.record.session}" in str(shown)
        await second.close()

    chats.play(meanwhile)


def test_forking_leaves_the_session_as_it_is_and_goes_on_in_a_copy(chats: Chats) -> None:
    async def fork(session: Session) -> None:
        await asking(chats, "first")(session)
        before = session.record.session
        assert session.fork("mine") == "mine"
        await asking(chats, "second")(session)
        with stored_sessions(chats.folder) as store:
            assert [(one.handle, one.turns) for one in store.latest()] == [("mine", 2), (before, 1)]
        assert session.conversation.turns == 2
        with pytest.raises(UsageError, match="another session has that name"):
            session.fork("mine")
        with pytest.raises(UsageError, match="is this session"):
            session.resume("mine")
        session.resume(before)
        assert session.conversation.turns == 1

    chats.play(fork)
    assert fold(chats.history("mine")).turns == 2


def test_a_chat_that_is_not_stored_says_so_where_it_is_asked_to(chats: Chats) -> None:
    async def scene(session: Session) -> None:
        await asking(chats, "first")(session)
        for what in (lambda: session.save("x"), lambda: session.resume("last"), session.fork):
            with pytest.raises(UsageError, match="not stored"):
                what()
        assert session.transcript.turns[0].answer == "About first."

    chats.play(scene, store=False)
    assert not chats.folder.exists()
    assert chats.notices() == []


def test_a_session_that_no_question_was_asked_in_is_forgotten_unless_it_has_a_name(chats: Chats) -> None:
    async def nothing(_: Session) -> None:
        pass

    async def named(session: Session) -> None:
        session.save("plan")

    chats.play(nothing)
    chats.play(named)
    with stored_sessions(chats.folder) as store:
        assert [one.handle for one in store.latest(empty=True)] == ["plan"]


def test_the_line_that_says_how_to_go_on_names_the_session_and_comes_only_where_there_is_one(chats: Chats) -> None:
    async def scene(session: Session) -> None:
        assert _hint(session) == ""
        await asking(chats, "first")(session)
        assert _hint(session) == f"Go on with: toolchat repl --resume {session.record.session}"
        session.save("my trip")
        assert _hint(session) == "Go on with: toolchat repl --resume 'my trip'"

    async def unstored(session: Session) -> None:
        await asking(chats, "first")(session)
        assert _hint(session) == ""

    chats.play(scene)
    chats.play(unstored, store=False)


def test_the_sessions_model_is_loaded_unless_another_is_named_or_it_is_not_here() -> None:
    assert with_model({"model": None}, "demo") == {"model": "demo"}
    assert with_model({"model": "./mine"}, "demo") == {"model": "./mine"}
    for gone in ("/no/such/folder", "mistralai/not-fetched", "no model"):
        assert with_model({"model": None}, gone) == {"model": None}


def test_what_a_chat_takes_that_goes_on_is_counted_with_its_tools_and_no_speed_of_then_is_shown(
    tmp_path: Path,
) -> None:
    chats = Chats(tmp_path)

    async def ask(session: Session) -> None:
        chats.engine.enqueue("An answer.")
        await session.ask("A question?")

    chats.play(ask)
    opened = open_session_of(chats.folder, "last")
    shown: list[Event] = []
    engine = ScriptedEngine()
    session = Session(Settings(), "m", engine, chats.folder, shown.append, opened=opened)

    async def run() -> None:
        session.show_past()
        assert not any(isinstance(event.body, events.RoundFinished) for event in shown)
        # The engine may be there before the tools are, as one that stays loaded is.
        await session.launch()
        await session.ready()
        await asyncio.sleep(0)
        session.equip(InProcessRunner(chats.tools), chats.policy)
        expected = await engine.count(session.conversation.messages, session.tools.toolbox.specs)
        for _ in range(20):
            await asyncio.sleep(0)
        assert session.room.used_tokens == expected.total
        await session.close()

    asyncio.run(run())
