"""A terminal's reports and newer keys, in a real terminal: at the prompt, in the dialog, and in the small questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import Terminal
from test_keys import KEYS as NEWER
from test_keys import REPORTS
from test_repl_calls import KEYS, MINE, TOOLS, answer, armed

pytestmark = pytest.mark.terminal

ADD = 'engine = answering(Answer(calls=[call("add", a=1, b=2)]), "It is done.", "Next.")'
PAGED = "Space: more"
ALL = "".join(REPORTS.values())


@pytest.fixture
def asked(repl: OpenRepl, folder: Path) -> Terminal:
    """In the dialog, and armed."""
    (folder / "mine.yaml").write_text(TOOLS)
    (folder / "mine.py").write_text(MINE)
    chat = repl(ADD, "--tools", "mine.yaml")
    chat.type("add them")
    chat.wait_for_text("Run add?")
    armed(chat)
    return chat


def test_at_the_prompt_reports_are_not_typed(repl: OpenRepl) -> None:
    chat = repl('engine = answering("Hello.")')
    chat.wait_for_prompt()
    for number, report in enumerate(REPORTS.values()):
        chat.press(f"{number % 10}", report)
    digits = "".join(str(number % 10) for number in range(len(REPORTS)))
    chat.wait_for_typed(digits)
    chat.press("!")
    chat.wait_for_typed(f"{digits}!")


def test_at_the_prompt_newer_keys_are_the_keys(repl: OpenRepl) -> None:
    chat = repl('engine = answering("Hello.")')
    chat.wait_for_prompt()
    chat.press("\x1b[104u", "\x1b[105u", "\x1b[13;2u", "\x1b[27;2;89~")  # h i, Shift-Enter, Y
    chat.wait_for("a second row", lambda: "› hi" in chat.display and "  Y" in chat.display)
    chat.press("\x1b[13u")
    chat.wait_for_row("Hello.")


def test_at_the_prompt_every_newer_key_with_a_character_types_it(repl: OpenRepl) -> None:
    chat = repl('engine = answering("Hello.")')
    chat.wait_for_prompt()
    expected = ""
    for sent, key in NEWER.values():
        if len(key) == 1 and key.isprintable():
            chat.press(sent)
            expected += key
    chat.wait_for_typed(expected)
    assert len(expected) >= 8


def test_a_late_report_declines_no_call(asked: Terminal) -> None:
    for report in REPORTS.values():
        asked.press(report)
    asked.press(ALL, "\x1b[I")
    # Nor does Alt with an arrow, in which prompt-toolkit sees an Escape.
    asked.press("\x1b[1;3D", "\x1b[1;9C")
    # A key that means nothing begins the time anew in which none counts: it has come through, and nothing before it.
    asked.press("x")
    armed(asked)
    assert asked.shows("Run add?")
    answer(asked, "\x1b[121u")  # y
    asked.wait_for_row("It is done.")
    assert any(row.startswith("✓ add(") for row in asked.rows)


def test_ctrl_c_in_a_newer_encoding_ends_the_turn(asked: Terminal) -> None:
    # As with a Cyrillic keyboard.
    asked.press("\x1b[1089::99;5u")
    asked.wait_for("the prompt", lambda: asked.toolbar != "" and not asked.colour(KEYS))
    assert not asked.shows("It is done.")


def test_a_broken_off_report_does_not_keep_ctrl_c(asked: Terminal) -> None:
    asked.press("\x1b]11;rgb:", "\x03")
    asked.wait_for("the end of the question", lambda: not asked.colour(KEYS))
    assert not asked.shows("It is done.")


def test_a_call_higher_than_the_screen_is_paged_and_then_allowed(repl: OpenRepl, folder: Path) -> None:
    (folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: ./mine.py:write\n")
    (folder / "mine.py").write_text('def write(text: str) -> str:\n    """Write."""\n    return "written"\n')
    text = "\\n".join(f"row {number}" for number in range(40))
    chat = repl(
        f'engine = answering(Answer(calls=[call("write", text="{text}")]), "It is done.")', "--tools", "mine.yaml"
    )
    chat.type("go")
    pages = 0
    chat.wait_for("a page", lambda: chat.colour(PAGED) == "cyan")
    chat.press("y")
    while not chat.colour(KEYS):
        chat.wait_for("that keys count", lambda: "cyan" in (chat.colour(PAGED), chat.colour(KEYS)))
        seen = len(chat.rows)
        while len(chat.rows) == seen and not chat.colour(KEYS):
            # A key that came too soon is swallowed.
            chat.wait_for("that keys count", lambda: "cyan" in (chat.colour(PAGED), chat.colour(KEYS)))
            chat.press(" ")
            beat = len(chat.raw)
            chat.wait_for("what becomes of the key", lambda beat=beat: len(chat.raw) > beat)
        pages += 1
    assert pages >= 2
    assert [row.removeprefix("    │ ") for row in chat.rows if "│ row" in row] == [f"row {n}" for n in range(40)]
    answer(chat, "y")
    chat.wait_for_row("It is done.")


def test_a_very_long_pasted_line_stops_neither_the_answer_nor_ctrl_c(repl: OpenRepl, folder: Path) -> None:
    chat = repl(
        'engine = GatedEngine()\nengine.enqueue(Answer(text=["Once upon a time.\\n\\n", "@more", "It went on.\\n\\n", '
        '"@forever"]), "The end.")'
    )
    chat.type("tell")
    chat.wait_for_row("Once upon a time.")
    for _ in range(25):
        chat.paste("word " * 800)
    chat.press("ZZZ")
    chat.wait_for("the paste", lambda: any("ZZZ" in row for row in chat.display))
    (folder / "more").touch()
    chat.wait_for_row("It went on.")
    chat.ctrl_c()
    chat.wait_for("the end of the turn", lambda: chat.shows("■ interrupted"))
