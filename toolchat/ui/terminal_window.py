"""The window around the terminal's rows: its title, its focus, its background; what else its variables say it can do.

Writes the sequences that ask it and give it back; reads what it reports.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolchat.ui.text.links import takes_links
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.ui.text.styles import set_background

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


class TerminalWindow:
    """Of one terminal that obeys control sequences. What it says by itself comes to `reported`, among the keys."""

    def __init__(
        self, write: Callable[[str], None], changed: Callable[[], None], environment: Mapping[str, str], theme: str
    ) -> None:
        """`write` takes sequences, `changed` is told when colours are others. `theme`: "light", "dark", or "auto"."""
        self.features = features_of(environment)
        self.is_focused = True
        """False once the terminal has said that it is not; one that says nothing counts as focused."""
        self._write = write
        self._changed = changed
        self._asks = theme == "auto" and self.features.reports
        self._title = ""
        self._saved = False
        self._taken = False
        self._answered = asyncio.Event()
        self._answered.set()
        set_background(light=theme == "light" or (theme == "auto" and self.features.light))

    def take(self) -> None:
        """Have the terminal tell of its focus, and show the title. The first time, ask for its background."""
        self._taken = True
        self.is_focused = True
        if not self.features.reports:
            return
        self._write(FOCUS_ON)
        self._show_title()
        if self._asks:
            self._asks = False
            self._answered.clear()
            loop = asyncio.get_running_loop()
            loop.call_later(ANSWER_SECONDS, self._answered.set)
            self._write(ASK_BACKGROUND)

    def give_back(self, *, for_good: bool = False) -> None:
        """Leave the terminal to others as it was; the title only at the end."""
        if not self._taken:
            return
        self._taken = False
        if self.features.reports:
            self._write(FOCUS_OFF)
            if for_good and self._saved:
                self._write(RESTORE_TITLE)

    def set_title(self, text: str) -> None:
        if text != self._title:
            self._title = text
            if self._taken and self.features.reports:
                self._show_title()

    def notify(self, text: str, *, bell: bool) -> None:
        """Call the user back, by a notification where the terminal has them and `bell` does not ask for its bell."""
        by_text = self.features.notifications and not bell
        self._write(notification(text) if by_text else BELL)

    @property
    def owes_answer(self) -> bool:
        """Whether the terminal may still answer what it was asked. To others that would be typed."""
        return not self._answered.is_set()

    async def answered(self) -> None:
        """Wait for that, a second at most."""
        await self._answered.wait()

    def reported(self, report: str) -> None:
        """The terminal says something that is no key."""
        if report in (FOCUS_IN, FOCUS_OUT):
            self.is_focused = report == FOCUS_IN
        elif self._answered.is_set():
            return
        elif is_attributes(report):
            self._answered.set()
        elif (light := light_background(report)) is not None:
            set_background(light=light)
            self._changed()

    def _show_title(self) -> None:
        if self._title:
            if not self._saved:
                self._saved = True
                self._write(SAVE_TITLE)
            self._write(title(self._title))
