"""The commands about room in the context and about branches, on a session with a scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from toolchat.chat.context_view import ContextView, ResultView, TurnView
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.tools.run import ToolRunner
from toolchat.ui.commands import room
from toolchat.ui.commands.base import Context, Outcome
from toolchat.ui.commands.registry import Commands
from toolchat.ui.export import ExportFormat, export
from toolchat.ui.plain_lines import PlainLines
from toolchat.ui.transcript import Transcript
from toolchat.wire.events import Event

LONG = "word " * 200
SUMMARY = "They spoke of\n\x1b[31mwords."
Scene = Callable[["Typed"], Awaitable[None]]


class Typed:
    def __init__(self, folder: Path) -> None:
        self.engine = ScriptedEngine()
        self.shown: list[Event] = []
        self.chat = Session(Settings(system="Be brief."), "scripted", self.engine, folder, self.shown.append)
        self.width = 80
        self.commands = Commands(self.chat, width=lambda: self.width, models=list)

    async def ask(self, *questions: str) -> None:
        for question in questions:
            self.engine.enqueue(LONG)
            await self.chat.ask(question)

    async def __call__(self, line: str) -> Outcome:
        return await self.commands.run(line)

    async def says(self, line: str) -> list[str]:
        return [row.plain for row in (await self(line)).lines]


def play(folder: Path, scene: Scene) -> Typed:
    typed = Typed(folder)

    async def run() -> None:
        typed.chat.equip(ToolRunner.none())
        try:
            await typed.chat.launch()
            await typed.chat.ready()
            await scene(typed)
        finally:
            await typed.chat.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    return typed


def test_turns_are_summed_up_shown_edited_and_put_back(tmp_path: Path) -> None:
    async def scene(typed: Typed) -> None:
        await typed.ask("a", "b", "c")
        typed.engine.enqueue(SUMMARY)
        (row,) = await typed.says("/compact names of places")
        assert row.startswith("2 turns are summed up: the prompt takes ")
        assert "/undo puts them back, /summary edits" in row
        outcome = await typed("/summary")
        assert outcome.put == f"/summary {SUMMARY}"
        assert await typed.says("/summary They spoke.") == [
            "The summary has these words, from the next turn on; /undo takes them back."
        ]
        for _ in range(2):
            assert await typed.says("/undo") == [
                "The summary is taken back: the model is sent what it was sent before."
            ]
        outcome = await typed("/undo")
        assert outcome.put == "c"
        assert await typed.says("/summary") == ["toolchat: there is no summary; /compact makes one"]
        await typed("/undo")
        assert await typed.says("/compact") == ["toolchat: there is nothing to sum up before the last turn"]

    typed = play(tmp_path, scene)
    for shown in (_screen(typed.shown), _lines(typed.shown)):
        assert "They spoke of" in shown
        assert "\x1b[31m" not in shown.replace("\x1b[2m", "")
        assert "They spoke." in shown


def _screen(shown: list[Event]) -> str:
    printed: list[str] = []
    transcript = Transcript(printed.append, lambda: 40, lambda: 0.0, color=False)
    for event in shown:
        transcript.show(event)
    return "".join(printed)


def _lines(shown: list[Event]) -> str:
    printed: list[str] = []
    lines = PlainLines(printed.append, lambda: 0.0, to_person=True)
    for event in shown:
        lines.show(event)
    return "\n".join(printed)


def test_a_retried_answer_and_every_other_turn_stay_within_reach(tmp_path: Path) -> None:
    async def scene(typed: Typed) -> None:
        assert await typed.says("/branch") == ["There is no turn to go back to yet."]
        await typed.ask("first\nof all", "x" * 100)
        outcome = await typed("/retry")
        assert outcome.ask == "x" * 100
        assert [row.plain for row in outcome.lines] == ["/branch 2 goes back to the answer before."]
        await typed.ask("x" * 100)
        outcome = await typed("/branch")
        assert outcome.pick == "/branch "
        assert [row.plain for row in outcome.lines] == [
            "   0  the beginning",
            "●  1  first",
            f"   2  {'x' * 50}…",
            f"●  3  after 1: {'x' * 50}…",
            "/branch TURN goes there: the chat is then as it was when that turn had ended.",
        ]
        completed = typed.commands.complete("/branch ")
        assert [(one.text, one.help[:9]) for one in completed] == [
            ("2", "x" * 9),
            ("1", "first"),
            ("0", "the begin"),
        ]
        assert await typed.says("/branch 2") == [
            "From here on turn 2 is the last one. /undo goes back to where you were, and so does /branch."
        ]
        assert typed.chat.conversation.numbers == (1, 2)
        assert await typed.says("/undo") == ["This is where the chat was before."]
        assert typed.chat.conversation.numbers == (1, 3)
        await typed("/branch 0")
        assert typed.chat.conversation.numbers == ()

    play(tmp_path, scene)


WRONG = [
    ("/branch 9", "there is no turn 9; /branch lists those that can be gone to"),
    ("/branch 1", "turn 1 is the last one; /branch lists those that can be gone to"),
    ("/branch one", "expected /branch, or /branch TURN"),
    ("/branch -1", "expected /branch, or /branch TURN"),
    ("/keep 9", "there is no turn 9; /branch lists them"),
    ("/keep on", "expected /keep, /keep TURN, or /keep TURN off"),
    ("/keep 1 2", "expected /keep, /keep TURN, or /keep TURN off"),
    ("/trim 1.1", "there is no result 1.1; /trim lists them"),
    ("/trim 1.1 0", "expected /trim, /trim RESULT, or /trim RESULT TOKENS"),
    ("/trim 1.1 many", "expected /trim, /trim RESULT, or /trim RESULT TOKENS"),
    ("/summary Short.", "there is no summary; /compact makes one"),
]


def test_what_is_wrong_is_one_line_and_the_line_comes_back(tmp_path: Path) -> None:
    async def scene(typed: Typed) -> None:
        await typed.ask("a")
        for line, problem in WRONG:
            outcome = await typed(line)
            assert [row.plain for row in outcome.lines] == [f"toolchat: {problem}"]
            assert outcome.put == line

    play(tmp_path, scene)


def test_a_turn_is_kept_and_named(tmp_path: Path) -> None:
    async def scene(typed: Typed) -> None:
        assert await typed.says("/keep") == ["toolchat: there is no turn yet"]
        await typed.ask("a", "b", "c")
        assert await typed.says("/keep 1") == ["Turn 1 is kept: it is set aside and summed up last."]
        await typed("/keep")
        assert "Kept: turns 1, 3." in await typed.says("/context")
        assert await typed.says("/keep 1 off") == ["Turn 1 is not kept any more."]
        await typed("/keep off")
        assert not any(row.startswith("Kept") for row in await typed.says("/context"))
        assert [one.text for one in typed.commands.complete("/keep ")] == ["3", "2", "1"]
        assert [one.text for one in typed.commands.complete("/keep 1 ")] == ["off"]
        await typed("/keep 1")
        # Which turns are kept is part of what is exported; a summary stands behind its turns.
        typed.engine.enqueue("In short.")
        await typed("/compact")
        written = export(typed.chat.transcript, ExportFormat.MARKDOWN)
        assert "Summary of the turns above" in written

    play(tmp_path, scene)


def test_results_are_listed_and_trimmed(tmp_path: Path) -> None:
    async def scene(typed: Typed) -> None:
        assert await typed.says("/trim") == ["There is no result of a tool in the context."]
        typed.engine.enqueue(Answer(calls=[call("nothing_like_it_" + "x" * 40), call("n" * 60)]), "Done.")
        await typed.chat.ask("call")
        rows = await typed.says("/trim")
        assert [row.split()[0] for row in rows[:-1]] == ["1.2", "1.1"]
        assert [one.text for one in typed.commands.complete("/trim 1.")] == ["1.1", "1.2"]
        rows = await typed.says("/trim 1.1")
        assert len(rows) == 2
        assert rows[0].startswith("1.1 nothing_like_it_")
        assert "is dropped: " in rows[0]
        assert await typed.says("/trim 1.1") == [
            "Nothing is trimmed: it is no longer than what would stand in its place."
        ]
        assert await typed.says("/trim 1.2 5000") == ["Nothing is trimmed: it is as short already."]
        assert await typed.says("/undo") == ["The result is as it was before."]
        await typed("/trim 1.2")
        written = export(typed.chat.transcript, ExportFormat.MARKDOWN)
        assert "Trimmed: since then the model is sent" in written
        assert "Trimmed: since then the model is sent" in export(typed.chat.transcript, ExportFormat.HTML)

    play(tmp_path, scene)


VIEW = ContextView(
    window=8192,
    total=6012,
    estimated=False,
    system=120,
    tools=tuple((f"tool_{number}", 100 * number) for number in range(1, 9)),
    questions=300,
    answers=900,
    summaries=240,
    results=(
        ResultView(3, "a" * 9, "3.1", "search\x1b[2J", 800, 3000, 0),
        ResultView(3, "b" * 9, "3.2", "fetch", 30, 9, 0),
    ),
    format=22,
    turns=(TurnView(3, 2000, True, False, "?"),),
    aside=(1, 2, 5),
    cached=5000,
    seconds=1.25,
)


class Viewed:
    def __init__(self, view: ContextView) -> None:
        self.room = self
        self.turn_settings = {"max_tokens": 512}
        self._view = view

    async def view(self) -> ContextView:
        return self._view


def shown(view: ContextView, width: int) -> list[str]:
    context: Any = Context(Viewed(view), width=lambda: width)  # type: ignore[arg-type]
    return [row.plain for row in asyncio.run(room.context(context, "")).lines]


def test_the_window_is_drawn_as_a_bar_and_told_part_by_part() -> None:
    rows = shown(VIEW, 80)
    assert rows[0] == "6,012 of 8,192 tokens (73 %)"
    bar = rows[1]
    assert len(bar) == 79
    assert sorted(set(bar), key=bar.index) == list("stqamrf·")
    assert bar.count("t") == pytest.approx(79 * 3600 / 8192, abs=2)
    assert rows[2:-3] == [  # none of them is wider than the window
        "s system prompt    120",
        "t tools          3,600",
        "  tool_8 800, tool_7 700, tool_6 600, tool_5 500, tool_4 400, tool_3 300, 2",
        "  more 300",
        "q questions        300",
        "a answers          900",
        "m summaries        240",
        "r results          830  search␛[2J 800, fetch 30",
        "f format            22",
        "· free           2,180",
        "Kept: turn 3.",
    ]
    assert rows[-3:] == [
        "Set aside, and not sent: turns 1 to 2, 5.",
        "The next turn reads 6,012 tokens and your question, and may answer with 512.",
        "About 5,000 of them are in the engine's cache; 1,012 are read anew, in about 1.2 s.",
    ]


@pytest.mark.parametrize("width", [10, 20, 40, 200])
def test_the_bar_fits_the_window_and_no_part_of_it_is_lost(width: int) -> None:
    bar = shown(VIEW, width)[1]
    assert cell_len(bar) == min(width - 1, 100)
    assert set(bar) == set("stqamrf·")


def test_estimates_are_marked_and_an_unknown_cache_is_not_spoken_of() -> None:
    from dataclasses import replace

    rows = shown(replace(VIEW, estimated=True, cached=None, seconds=None, total=9000), 80)
    assert rows[0].startswith("~9,000 of 8,192")
    assert "q questions        ~300" in rows
    assert "· free               ~0" in rows
    assert rows[-1].startswith("The next turn reads ~9,000 tokens")


def test_the_parts_of_a_bar_take_all_of_it() -> None:
    for sizes in ([0, 0], [5, 0, 1], [1] * 8, [10**6, 1, 1], [0, 3]):
        cells = room._cells(sizes, 20)
        assert sum(cells) == (20 if sum(sizes) else 0)
        assert all((cell > 0) is (size > 0) for cell, size in zip(cells, sizes, strict=True))
