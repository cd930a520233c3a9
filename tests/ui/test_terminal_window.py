from __future__ import annotations

import asyncio

import pytest

from toolchat.ui.keys import KeyDecoder
from toolchat.ui.terminal_window import (
    ASK_BACKGROUND,
    BELL,
    FOCUS_IN,
    FOCUS_OFF,
    FOCUS_ON,
    FOCUS_OUT,
    RESTORE_TITLE,
    SAVE_TITLE,
    TerminalWindow,
    features_of,
    light_background,
    notification,
    title,
)
from toolchat.ui.text.styles import Look, prompt_style, set_background, sgr

XTERM = {"TERM": "xterm-256color"}
WHITE, BLACK = "\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "\x1b]11;rgb:1e1e/1e1e/1e1e\x07"
ATTRIBUTES = "\x1b[?62;22c"


@pytest.fixture(autouse=True)
def dark_again() -> object:
    yield
    set_background(light=False)


class Written(list[str]):
    """What a window has written, and how often colours changed."""

    changes = 0

    def window(self, environment: dict[str, str] = XTERM, theme: str = "auto") -> TerminalWindow:
        return TerminalWindow(self.append, self.changed, environment, theme)

    def changed(self) -> None:
        self.changes += 1


@pytest.mark.parametrize("report", [WHITE, "\x1b]11;rgba:fdfd/f6f6/e3e3/ffff\x07", "\x9d11;rgb:f/f/e\x9c"])
def test_a_light_background_is_told_from_its_colour(report: str) -> None:
    assert light_background(report) is True


def test_a_dark_background_is_too_and_other_reports_say_nothing() -> None:
    assert light_background(BLACK) is False
    assert light_background("\x1b]10;rgb:ffff/ffff/ffff\x07") is None
    assert light_background(ATTRIBUTES) is None
    assert light_background("\x1b]11;rgb:zz/ffff/ffff\x07") is None


def test_a_terminals_answer_changes_the_colours_once_and_only_while_it_is_awaited() -> None:
    async def play() -> None:
        written = Written()
        window = written.window()
        window.reported(WHITE)  # nobody has asked
        assert sgr("yellow", Look.COLOUR) == "33"
        window.take()
        assert written == [FOCUS_ON, ASK_BACKGROUND]
        assert window.owes_answer
        window.reported(WHITE)
        assert sgr("bold yellow", Look.COLOUR) == "1;38;5;130"
        assert prompt_style("cyan") == "#008787"
        window.reported(ATTRIBUTES)
        assert not window.owes_answer
        window.reported(BLACK)
        assert sgr("yellow", Look.COLOUR) == "38;5;130"
        assert written.changes == 1
        window.give_back()
        window.take()
        assert written.count(ASK_BACKGROUND) == 1

    asyncio.run(play())


def test_a_theme_that_is_set_is_not_asked_for() -> None:
    written = Written()
    written.window(theme="light").take()
    assert written == [FOCUS_ON]
    assert sgr("red", Look.COLOUR) == "38;5;124"
    written.window(theme="dark").take()
    assert sgr("red", Look.COLOUR) == "31"
    written.window({**XTERM, "COLORFGBG": "0;15"}, theme="auto")
    assert sgr("red", Look.COLOUR) == "38;5;124"


def test_the_title_is_that_of_before_when_the_chat_is_over() -> None:
    written = Written()
    window = written.window(theme="dark")
    window.set_title("toolchat demo")
    window.take()
    window.set_title("toolchat demo")
    window.set_title("… toolchat demo")
    window.give_back()
    window.take()
    window.give_back(for_good=True)
    window.give_back(for_good=True)
    mine, busy = title("toolchat demo"), title("… toolchat demo")
    assert written == [FOCUS_ON, SAVE_TITLE, mine, busy, FOCUS_OFF, FOCUS_ON, busy, FOCUS_OFF, RESTORE_TITLE]


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "linux"}, {}, {"TERM": "screen", "STY": "1.x"}])
def test_a_terminal_that_knows_no_reports_is_written_none(environment: dict[str, str]) -> None:
    written = Written()
    window = written.window(environment)
    window.set_title("toolchat")
    window.take()
    window.give_back(for_good=True)
    assert written == []


def test_the_focus_is_known_where_the_terminal_tells_it() -> None:
    window = Written().window(theme="dark")
    assert window.is_focused
    window.reported(FOCUS_OUT)
    assert not window.is_focused
    window.reported(FOCUS_IN)
    assert window.is_focused


@pytest.mark.parametrize(
    ("environment", "bell", "what"),
    [
        (XTERM, False, BELL),
        ({"TERM": "xterm-kitty"}, False, notification("done")),
        ({"TERM": "xterm-kitty"}, True, BELL),
        ({"TERM": "tmux-256color", "TMUX": "x", "TERM_PROGRAM": "iTerm.app"}, False, BELL),
        ({**XTERM, "TERM_PROGRAM": "iTerm.app"}, False, notification("done")),
    ],
)
def test_a_user_is_called_by_a_notification_or_the_bell(environment: dict[str, str], bell: bool, what: str) -> None:
    written = Written()
    written.window(environment, "dark").notify("done", bell=bell)
    assert written == [what]


@pytest.mark.parametrize("evil", ["a\x07b\x1b]52;c;eA==\x07", "\x9c\x1b\\x", "4;1;100", "\u202ea"])
def test_no_name_ends_a_title_or_a_notification(evil: str) -> None:
    for made in (title(evil), notification(evil)):
        assert made.count("\x07") == made.count("\x1b") == 1
        assert made.endswith("\x07")
    assert not notification(evil).startswith("\x1b]9;4;")


def test_pictures_are_shown_where_the_terminal_is_known_to_and_nothing_stands_between() -> None:
    assert features_of({"TERM": "xterm-kitty"}).pictures == "kitty"
    assert features_of({**XTERM, "TERM_PROGRAM": "ghostty"}).pictures == "kitty"
    assert features_of({**XTERM, "TERM_PROGRAM": "WezTerm"}).pictures == "iterm"
    assert features_of({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1"}).pictures == ""
    assert features_of(XTERM).pictures == ""


def test_the_decoder_hands_reports_on_and_types_none_of_them() -> None:
    reports: list[str] = []
    decoder = KeyDecoder(report=reports.append)
    text = f"a{WHITE}b{FOCUS_OUT}c{ATTRIBUTES}d"
    assert "".join(decoder.feed(character) for character in text) == "abcd"
    assert reports == [WHITE, FOCUS_OUT, ATTRIBUTES]
