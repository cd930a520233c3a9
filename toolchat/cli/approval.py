"""Makes the approval policy of a command from its flags, and asks the user where there is a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from toolchat.chat.approval import ApprovalPolicy, Ask, PendingCall, Reply
from toolchat.settings import state_folder
from toolchat.store.grants import GrantStore

_LONGEST = 65536
"""Bytes of a typed line; a terminal in line mode gives at most 4096 at once."""


def make_policy(
    *, yes: bool = False, allow: Sequence[str] | None = None, deny: Sequence[str] | None = None
) -> ApprovalPolicy:
    """The policy of a command's flags, with the user's own grants."""
    return ApprovalPolicy(GrantStore(state_folder()), yes=yes, allow=allow or (), deny=deny or ())


def ask_on_terminal(pause: Callable[[], None]) -> Ask | None:
    """Asks on stderr and reads lines of standard input; None where not both are terminals.

    `pause` is called before a question, to leave the terminal with its cursor at the beginning of a line.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    async def ask(pending: PendingCall) -> Reply:
        from toolchat.ui.approval_lines import TOO_SOON, Stops, ask_by_lines, read_awake, screen_size

        pause()
        shown = ""
        stops = Stops(lambda: _say(shown))

        async def read(text: str) -> str | None:
            nonlocal shown
            shown = text.rpartition("\n")[2]
            return await _prompt(text)

        prompt = partial(read_awake, read, stops, TOO_SOON)
        with stops.watched():
            return await ask_by_lines(pending, prompt, lambda: screen_size(sys.stderr))

    return ask


async def confirm(text: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether a person at the terminal answers yes to `text`, one row.

    What was typed before the question could be read is no answer: neither a line that is waiting, which is thrown away,
    nor one that comes at once.
    """
    from toolchat.ui.approval_lines import Stops
    from toolchat.ui.dialogs import ARMING_SECONDS

    stops, question = Stops(lambda: _say(text)), text
    with stops.watched():
        while True:
            shown = clock()
            line = await _prompt(question)
            if line is None:
                return False
            if clock() - shown >= ARMING_SECONDS and not await stops.typed_blindly():
                return line.strip().lower() in ("y", "yes")
            question = f"That came too soon to be an answer. {text}"


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


async def _prompt(text: str) -> str | None:
    """The line that is typed after `text` is written. Cancelled at once, which a thread that reads could not be.

    What is typed at once is neither shown nor a part of the line: it was on its way before the text could be read.
    """
    from toolchat.ui.dialogs import ARMING_SECONDS

    terminal = sys.stdin.fileno()
    typing = _Typing(terminal)
    typing.hide()
    _say(text)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()

    def ready() -> None:
        if not typed.done():
            try:
                typed.set_result(os.read(terminal, _LONGEST))
            except OSError:
                typed.set_result(b"")

    loop.add_reader(terminal, ready)
    arming = loop.call_later(ARMING_SECONDS, typing.show)
    try:
        line = await typed
    except asyncio.CancelledError:
        _say("\n")
        raise
    finally:
        loop.remove_reader(terminal)
        arming.cancel()
        unseen = typing.show()
    if unseen or not line.endswith(b"\n"):
        _say("\n")
    if not line:
        return None
    from toolchat.ui.keys import typed as without_reports  # prompt-toolkit takes a while to import

    return without_reports(line.decode("utf-8", "replace").rstrip("\n"))


class _Typing:
    """Whether a terminal shows what is typed. What was typed before is thrown away when that changes."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._before: list[Any] | None = None

    def hide(self) -> None:
        with suppress(termios.error):
            before = termios.tcgetattr(self._terminal)
            self._set([*before[:3], before[3] & ~termios.ECHO, *before[4:]])
            self._before = before

    def show(self) -> bool:
        """Whether it was hidden."""
        before, self._before = self._before, None
        with suppress(termios.error):
            if before is not None:
                self._set(before)
        return before is not None

    def _set(self, attributes: list[Any]) -> None:
        # Not TCSAFLUSH, which waits until what was written is shown: for ever after Ctrl-S.
        termios.tcsetattr(self._terminal, termios.TCSANOW, attributes)
        termios.tcflush(self._terminal, termios.TCIFLUSH)


def terminal_width() -> int:
    """Columns of the terminal that questions are asked on."""
    from toolchat.ui.approval_lines import screen_size

    return screen_size(sys.stderr)[0]
