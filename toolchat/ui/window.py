"""The window around the terminal's rows: its title, its focus, its background; what is asked of it and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from toolchat.ui import features
from toolchat.ui.text.styles import set_background


class TerminalWindow:
    """Of one terminal that obeys control sequences. What it says by itself comes to `reported`, among the keys."""

    def __init__(
        self, write: Callable[[str], None], changed: Callable[[], None], environment: Mapping[str, str], theme: str
    ) -> None:
        """`write` takes sequences, `changed` is told when colours are others. `theme`: "light", "dark", or "auto"."""
        self.features = features.features_of(environment)
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
        self._write(features.FOCUS_ON)
        self._show_title()
        if self._asks:
            self._asks = False
            self._answered.clear()
            loop = asyncio.get_running_loop()
            loop.call_later(features.ANSWER_SECONDS, self._answered.set)
            self._write(features.ASK_BACKGROUND)

    def give_back(self, *, for_good: bool = False) -> None:
        """Leave the terminal to others as it was; the title only at the end."""
        if not self._taken:
            return
        self._taken = False
        if self.features.reports:
            self._write(features.FOCUS_OFF)
            if for_good and self._saved:
                self._write(features.RESTORE_TITLE)

    def set_title(self, text: str) -> None:
        if text != self._title:
            self._title = text
            if self._taken and self.features.reports:
                self._show_title()

    def notify(self, text: str, *, bell: bool) -> None:
        """Call the user back, by a notification where the terminal has them and `bell` does not ask for its bell."""
        by_text = self.features.notifications and not bell
        self._write(features.notification(text) if by_text else features.BELL)

    @property
    def owes_answer(self) -> bool:
        """Whether the terminal may still answer what it was asked. To others that would be typed."""
        return not self._answered.is_set()

    async def answered(self) -> None:
        """Wait for that, a second at most."""
        await self._answered.wait()

    def reported(self, report: str) -> None:
        """The terminal says something that is no key."""
        if report in (features.FOCUS_IN, features.FOCUS_OUT):
            self.is_focused = report == features.FOCUS_IN
        elif self._answered.is_set():
            return
        elif features.is_attributes(report):
            self._answered.set()
        elif (light := features.light_background(report)) is not None:
            set_background(light=light)
            self._changed()

    def _show_title(self) -> None:
        if self._title:
            if not self._saved:
                self._saved = True
                self._write(features.SAVE_TITLE)
            self._write(features.title(self._title))
