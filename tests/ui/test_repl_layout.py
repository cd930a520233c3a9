from __future__ import annotations

import re
from pathlib import Path

import pytest
from prompt_toolkit.utils import get_cwidth
from scripted_terminal import OpenRepl
from terminal_screen import ENTER, squeeze

pytestmark = pytest.mark.terminal

WORDS = " ".join(f"word{number}" for number in range(120))
MARKDOWN = (
    "# Title\\n\\n- one\\n- two\\n\\n| a | b |\\n|---|---|\\n| 1 | 日本 |\\n\\n"
    "```python\\nx = 1\\n```\\n\\nThe end. 🚀\\n"
)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_everything_fits(repl: OpenRepl, columns: int) -> None:
    weather = 'call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")'
    chat = repl(
        f'engine = answering(Answer(calls=[{weather}]), "{MARKDOWN}", "{WORDS}")',
        columns=columns,
    )
    chat.type("weather?")
    chat.wait_for_row("The end. 🚀")
    chat.wait_for_prompt()
    assert all(get_cwidth(row) <= columns for row in chat.rows)
    assert chat.toolbar.startswith("scripted · ready · ")
    assert "/8,192" in chat.toolbar
    chat.type("words?")
    chat.wait_for_text("word119")
    chat.wait_for_prompt()
    # Each word once, and none of them broken at the edge.
    words = " ".join(chat.rows[chat.index("› words?") + 1 : -2]).split()
    assert words == WORDS.split()


def test_a_resize_in_the_middle_leaves_what_was_printed(repl: OpenRepl, folder: Path) -> None:
    first = "First paragraph, printed before.\\n\\nSecond paragraph, "
    chat = repl(
        f'engine = GatedEngine()\nengine.enqueue(Answer(text=["{first}", "@go", "finished after it.\\n"]), "More.")'
    )
    chat.type("go")
    chat.wait_for_text("Second paragraph,")
    for columns in (60, 100, 40):
        chat.resize(columns, 24)
        chat.wait_for("the prompt again", lambda: chat.display[chat.cursor[1]].startswith("›"))
    (folder / "go").touch()
    chat.wait_for_text("finished after it.")
    chat.wait_for_prompt()
    text = squeeze("".join(chat.rows))
    for once in ("Firstparagraph,printedbefore.", "Secondparagraph,finishedafterit.", "›go"):
        assert text.count(once) == 1, chat.rows
    chat.type("and?")
    chat.wait_for_row("More.")


def test_at_most_a_third_of_the_screen_is_live(repl: OpenRepl, folder: Path) -> None:
    lines = "".join(f"| {number} | x |\\n" for number in range(12))
    chat = repl(
        f'engine = GatedEngine()\nengine.enqueue(Answer(text=["| a | b |\\n|---|---|\\n{lines}", "@go", "end"]))'
    )
    chat.type("a table")
    chat.wait_for_text("11│x")
    live = len([row for row in chat.display if row.strip()]) - chat.display.index("› a table") - 1
    assert live <= 24 // 3 + 2, chat.display
    (folder / "go").touch()
    chat.wait_for_prompt()
    assert sum(row.strip().startswith("7 ") for row in chat.rows) == 1


def test_a_long_input_does_not_push_the_toolbar_out(repl: OpenRepl) -> None:
    chat = repl('engine = answering("Ok.")', columns=40, rows=15)
    chat.wait_for_prompt()
    for begin in range(0, 50, 5):  # a longer paste would be folded
        chat.paste("\n".join(f"line {number}" for number in range(begin, begin + 5)) + "\n" * (begin < 45))
    chat.wait_for("its end", lambda: "  line 49" in chat.display)
    assert "scripted · ready" in chat.toolbar
    chat.press(ENTER)
    chat.wait_for_row("Ok.")
    assert "› line 0" in chat.rows
    assert "  [… 35 more lines]" in chat.rows


def test_what_the_model_writes_cannot_move_the_cursor(repl: OpenRepl) -> None:
    chat = repl('engine = answering(Answer(text="\\x1b[2J\\x1b]0;owned\\x07[bold]x[/bold]", thinking="\\x1b[5A"))')
    chat.type("hello")
    chat.wait_for_text("[bold]x[/bold]")
    assert b"\x1b[2J" not in chat.raw
    assert b"owned\x07" not in chat.raw
    assert b"\x1b[5A" not in chat.raw
    assert chat.shows("␛[2J␛]0;owned␇")


def test_thinking_stands_apart_from_the_answer(repl: OpenRepl) -> None:
    chat = repl('engine = answering(Answer(thinking="I wonder.", text="I know."))', "--thinking", "show")
    chat.type("well?")
    chat.wait_for_row("I know.")
    assert chat.display.index("I know.") == chat.display.index("I wonder.") + 2
    assert b"\x1b[2;3mI wonder." in chat.raw
    assert b"\x1b[2;3mI know." not in chat.raw


def test_thinking_is_folded_to_a_row_and_shown_when_it_is_asked_for(repl: OpenRepl) -> None:
    chat = repl('engine = answering(Answer(thinking="I wonder\\nwhy.", text="I know."))')
    chat.type("well?")
    # Until the answer has ended, its rows are drawn anew with each frame.
    chat.wait_for_row("… thought, 3 words (/think)")
    chat.wait_for_row("I know.")
    assert chat.display.index("I know.") == chat.display.index("… thought, 3 words (/think)") + 2
    assert not chat.shows("I wonder")
    chat.type("/think")
    chat.wait_for_row("why.")
    assert chat.rows[chat.index("why.") - 1] == "I wonder"


def test_no_color_means_no_colour(repl: OpenRepl) -> None:
    chat = repl(f'engine = answering(Answer(calls=[call("nothing")]), "{MARKDOWN}")', NO_COLOR="1")
    chat.type("hello")
    chat.wait_for_row("The end. 🚀")
    chat.wait_for_prompt()
    codes = {code for group in re.findall(rb"\x1b\[([0-9;]*)m", chat.raw) for code in group.split(b";")}
    assert not {code for code in codes if code.isdigit() and 30 <= int(code) < 108}, codes


def test_the_toolbar_tells_context_and_speed(repl: OpenRepl) -> None:
    chat = repl(
        "class Fast(ScriptedEngine):\n"
        "    async def generate(self, *_):\n"
        "        yield Text('Hi.')\n"
        "        yield Finished(FinishReason.STOP, Usage(100, 64, 41, ttft=0.5, seconds=2.5))\n"
        "from toolchat.wire.deltas import Finished\n"
        "engine = Fast()",
        columns=120,
    )
    chat.type("hello")
    chat.wait_for("speed", lambda: "20 tok/s · first 0.5 s · prompt 64 cached + 36 new" in chat.toolbar)
    assert "/8,192 · 6 tools · " in chat.toolbar


def test_the_toolbar_is_drawn_again_when_the_engine_has_counted(repl: OpenRepl, folder: Path) -> None:
    chat = repl(
        """
from scripted_engines import gate

class Late(ScriptedEngine):
    async def count(self, messages, tools, reasoning_effort=None):
        await gate("count")
        return await super().count(messages, tools, reasoning_effort)

engine = Late([Answer("Hello, and more than one word of it.")])
""",
        "--no-tools",
    )
    chat.type("hi")
    chat.wait_for_row("Hello, and more than one word of it.")
    chat.wait_for_prompt()
    before = chat.toolbar
    (folder / "count").touch()
    chat.wait_for("another number of tokens", lambda: chat.toolbar != before)
    assert "ready" in chat.toolbar
