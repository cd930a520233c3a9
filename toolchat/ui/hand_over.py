"""What a user hands over at the prompt: files by `@`, dropped images, a command's output, a text from an editor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from toolchat.ui.attached import Text, dropped_images, lines_of, written
from toolchat.ui.editor import editor_of, ending, temporary_text, text_of
from toolchat.ui.input import InputLine
from toolchat.ui.terminal import Terminal
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.ui.turns import Turns
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from toolchat.ui.commands.registry import Commands


_MENU = 36
"""Characters of an address in the menu."""


class HandOver:
    """Puts what is handed over where the next question takes it from."""

    def __init__(
        self,
        turns: Turns,
        line: InputLine,
        terminal: Terminal,
        say: Callable[[str, str], None],
        show: Callable[[str], None],
    ) -> None:
        """`say` prints a line in a style, `show` a line that was sent."""
        self._turns = turns
        self._line = line
        self._terminal = terminal
        self._say = say
        self._show = show
        self._editing: asyncio.Task[None] | None = None

    async def run_shell(self, line: str) -> None:
        """Run a command of the user's in this terminal, and offer what it says with the next question."""
        from toolchat.ui.pty_program import Kept

        self._show(line)
        command, kept = line[1:].strip(), Kept()
        code = await self._terminal.lend([os.environ.get("SHELL") or "/bin/sh", "-c", command], kept)
        said = "" if kept.full_screen else kept.text
        ended = f"exit code {code}" if code > 0 else f"ended by signal {-code}" if code else ""
        if said:
            name = f"output of `{command}`" + (f" ({ended})" if ended else "")
            self._turns.attached += (Text(name, said),)
        elif ended:
            self._say(ended, "dim")
        self._terminal.redraw()

    def edit(self, text: str | None) -> None:
        """Have the question written in the user's editor: what stands in the input line, or `text`."""
        if self._editing is None or self._editing.done():
            self._editing = asyncio.create_task(self._edit(text), name="editor")

    async def _edit(self, text: str | None) -> None:
        before = self._line.text
        try:
            arguments = editor_of(os.environ)
            with temporary_text(before if text is None else text) as path:
                code = await self._terminal.lend([*arguments, str(path)])
                edited = text_of(path) if not code else ""
        except (UsageError, OSError) as error:
            self._say(str(error), "red")
            return
        if code:
            self._say(f"{arguments[0]} {ending(code)}; the input is as it was.", "red")
        elif text is None and self._line.text == before:
            self._line.replace(edited)
        else:
            self._line.put(edited)
        self._terminal.redraw()

    def pasted(self, text: str) -> str | None:
        """What stands in the input for a paste: images that were dropped on the terminal are to go along."""
        info = self._turns.chat.info if self._turns.chat is not None else None
        if info is not None and not info.supports_images:
            return None
        paths = dropped_images(text)
        return " ".join(map(written, paths)) + " " if paths is not None else None

    def drop(self) -> bool:
        """Take back what was attached last; False where there is nothing."""
        if not self._turns.attached:
            return False
        self._turns.attached = self._turns.attached[:-1]
        self._terminal.redraw()
        return True


def attached_row(attached: Image | Text) -> str:
    """What goes along with the next question, in a row."""
    if isinstance(attached, Image):
        from toolchat.ui.calls import image_line

        return image_line(attached, attached.source)
    return sanitize_line(f"[{lines_of(attached.text)}, {attached.name}]")


def _in_menu(mention: str) -> str:
    """A server's resource as the menu has it: without the server, and so short that its end is seen where there is
    little room, which is what tells it from others."""
    address = mention.partition(":")[2]
    if not address:
        return mention
    return address if len(address) <= _MENU else f"{address[: _MENU // 3]}…{address[-(_MENU - _MENU // 3 - 1) :]}"


class Completions(Completer):
    """Of commands and of what MCP servers have, once they are there, and of the names of files behind `@`."""

    def __init__(self, commands: Commands | None) -> None:
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        if "@" in before and not before.startswith("/"):
            from toolchat.ui.file_names import begun_mention, completions

            if (begun := begun_mention(before)) is not None:
                path, replaces = begun
                for found in self._commands.mentions(before[len(before) - replaces + 1 :]) if self._commands else ():
                    shown = _in_menu(found.text)
                    yield Completion(found.text, start_position=-found.replaces, display=shown, display_meta=found.help)
                for mention, goes_on in completions(path):
                    text = mention if goes_on else f"{mention} "
                    yield Completion(text, start_position=-replaces, display=mention)
                return
        if self._commands is None:
            return
        for found in self._commands.complete(before):
            yield Completion(
                found.text, start_position=-found.replaces, display=found.text.strip(), display_meta=found.help
            )
