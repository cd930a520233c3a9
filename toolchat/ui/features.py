"""What terminals can do beyond rows of text: title, focus, background, notifications. Sequences, and how they are read.

Nothing here waits for a terminal: what it answers is read as it comes, among the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from toolchat.ui.text.links import takes_links
from toolchat.ui.text.sanitize import sanitize_line

FOCUS_ON, FOCUS_OFF = "\x1b[?1004h", "\x1b[?1004l"
FOCUS_IN, FOCUS_OUT = "\x1b[I", "\x1b[O"
SAVE_TITLE, RESTORE_TITLE = "\x1b[22;2t", "\x1b[23;2t"
BELL = "\x07"
ASK_BACKGROUND = "\x1b]11;?\x1b\\\x1b[c"
"""The colour, and then what the terminal is: the latter every one answers, so that it is known when no more comes."""
ANSWER_SECONDS = 1.0
"""After so long no answer is expected any more."""

_NO_REPORTS = ("", "dumb", "linux", "vt100", "vt220", "cons25", "emacs", "eterm", "eterm-color", "unknown")
"""Values of TERM of which nothing but rows and colours is asked."""
_LONGEST_TITLE = 80
_BACKGROUND = re.compile(r"(?:\x1b\]|\x9d)11;rgba?:([0-9a-f]{1,4})/([0-9a-f]{1,4})/([0-9a-f]{1,4})", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"(?:\x1b\[|\x9b)\?[\d;]*c\Z")


@dataclass(frozen=True, slots=True)
class Features:
    """Of one terminal, as far as its variables tell."""

    reports: bool = False
    """Whether it can be asked, tells of its focus, and has a title."""
    links: bool = False
    notifications: bool = False
    """By OSC 9; others have a bell."""
    pictures: str = ""
    """The protocol for pictures: "kitty", "iterm", or "" for none."""
    light: bool = False
    """Whether its background is light, by COLORFGBG."""


def features_of(environment: Mapping[str, str]) -> Features:
    """What the terminal can do, by the variables that it sets."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term in _NO_REPORTS:
        return Features()
    # What stands between passes on neither notifications nor pictures.
    direct = not environment.get("TMUX") and not environment.get("STY") and not term.startswith(("tmux", "screen"))
    kitty = bool(environment.get("KITTY_WINDOW_ID")) or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty"
    iterm = program in ("iTerm.app", "WezTerm") or bool(environment.get("WEZTERM_PANE"))
    return Features(
        reports=not environment.get("STY"),
        links=takes_links(environment),
        notifications=direct and (kitty or iterm),
        pictures=("kitty" if kitty else "iterm" if iterm else "") if direct else "",
        light=environment.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15"),
    )


def title(text: str) -> str:
    """The sequence that gives the window its title."""
    return f"\x1b]2;{sanitize_line(text)[:_LONGEST_TITLE]}\x07"


def notification(text: str) -> str:
    """The sequence that has the terminal notify its user."""
    # A number and a semicolon at the beginning would be one of ConEmu's commands.
    return f"\x1b]9;{sanitize_line(text).lstrip('0123456789;')[:_LONGEST_TITLE]}\x07"


def light_background(report: str) -> bool | None:
    """What a terminal's report says of its background; None where it is about something else."""
    match = _BACKGROUND.match(report)
    if match is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in match.groups())
    return bool(0.299 * red + 0.587 * green + 0.114 * blue > 0.5)


def is_attributes(report: str) -> bool:
    """Whether a report says what the terminal is: with it, all that was asked has been answered."""
    return _ATTRIBUTES.match(report) is not None
