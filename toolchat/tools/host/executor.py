"""Runs a function with checked arguments, whatever kind it is, and turns what comes of it into text and images.

Called in the process of a call, see `child`, or in a thread for a function that a program gives. Knows no channel.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import gc
import inspect
import io
import os
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Never

from toolchat.environment import NO_FOLDER, wanting
from toolchat.images.returned import without_pictures
from toolchat.tools import bound
from toolchat.tools.commands import CommandFailed
from toolchat.tools.problems import missing_variable
from toolchat.tools.result import MAX_RESULT, clean
from toolchat.tools.toolbox import MIB, LoadedTool
from toolchat.tools.values import Yielded, error_text, result_text
from toolchat.tools.variables import Redactor
from toolchat.wire.excerpt import Excerpt, cut_to_bytes, shortened

MAX_OPEN_FILES = 4096
"""Of one process. Systems allow up to a million, and a kernel has a table for all users."""
_MAX_TRACEBACK = 32 * 1024
_OWN_FILES = (__file__, bound.__file__)
"""Whose frames come before those of the tool."""

Say = Callable[[str], None]
"""Shows the user a line of progress."""


@dataclass(frozen=True, slots=True)
class Outcome:
    content: str | Excerpt
    """For the model; of at most MAX_RESULT bytes, and fit for UTF-8."""
    ok: bool
    traceback: str = ""
    """For the log."""
    out_of_memory: bool = False
    images: tuple[str, ...] = ()
    """Files in base64."""
    whole: str = ""
    """All of the result, where `content` is an excerpt."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a call, as an error names them."""

    memory: int | None = None
    """Bytes that it may really take."""
    asked: int | None = None
    """Bytes that the tools file gives it."""


_NO_ROOM = re.compile(
    r"can't start new thread|[Cc]annot allocate memory|std::bad_alloc|memory exhausted"
    r"|pthread_create failed|insufficient memory for the Java Runtime|Could not reserve enough space|OutOfMemoryError"
    r"|failed to map segment|unable to create (?:new )?native thread"
)
"""What programs and libraries say where the memory limit of a call is what has stopped them."""


class Executor:
    """Runs functions one after the other, the asynchronous ones on one event loop that is never closed.

    Closing it would wait for tasks that a tool left behind and that may swallow their cancellation; and a client
    that a stateful tool keeps belongs to the loop that it was made on.
    """

    def __init__(
        self, say: Say, redactor: Redactor | None = None, limits: Limits | None = None, *, has_file: bool = True
    ) -> None:
        """`has_file`: whether a tools file says how the functions are run, so that what it lacks may be the remedy."""
        self._say = say
        self.redactor = redactor or Redactor({})
        self._limits = limits or Limits()
        self._has_file = has_file
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, function: Callable[..., Any], values: dict[str, Any]) -> Outcome:
        """Call `function` with `values`. Never raises."""
        try:
            try:
                value, pictures = without_pictures(self._value(function(**values)))
                images = tuple(b64encode(one).decode() for one in pictures)
                text = self.redactor.text(result_text(value))
                excerpt = cut_to_bytes(text, MAX_RESULT)
                if excerpt is None:
                    return Outcome(text, ok=True, images=images)
                return Outcome(excerpt, ok=True, images=images, whole=text)
            finally:
                _flush()
        # SystemExit and KeyboardInterrupt too: raised by a tool they are its error, not the program's end.
        except BaseException as error:
            out_of_memory = isinstance(error, MemoryError)
            if out_of_memory:
                # Frees what the frames hold, for there may be no memory left to say anything in.
                error.with_traceback(None)
            text = self.redactor.text(_error_text(error, self._limits) if self._has_file else error_text(error))
            return Outcome(text, False, self.redactor.text(_traceback(error)), out_of_memory)

    def close(self) -> None:
        """Close the event loop, and wait for nothing that was left on it: for a process that goes on."""
        if self._loop is not None:
            self._loop.close()

    def end(self, used: Sequence[LoadedTool]) -> Never:
        """End this process in peace: close what the tools keep, run what `atexit` knows, and write what is buffered.

        The chat waits for a second. What goes wrong here can be told to nobody.
        """
        owners = {id(tool.owner): tool.owner for tool in used if tool.owner is not None}
        for owner in owners.values():
            with suppress(BaseException):
                self._close(owner)
        with suppress(BaseException):
            atexit._run_exitfuncs()
        with suppress(BaseException):
            flush_files()
        os._exit(0)

    def _close(self, owner: Any) -> None:
        kind = type(owner)
        for name, arguments in (
            ("close", ()),
            ("aclose", ()),
            ("__exit__", (None, None, None)),
            ("__aexit__", (None, None, None)),
        ):
            if callable(getattr(kind, name, None)):
                closing = getattr(owner, name)(*arguments)
                if inspect.isawaitable(closing):
                    self._wait(_awaited(closing))
                return

    def _value(self, returned: Any) -> Any:
        if inspect.isgenerator(returned):
            return self._drained(returned)
        if inspect.isasyncgen(returned):
            return self._wait(self._drained_async(returned))
        if inspect.isawaitable(returned):
            return self._wait(_awaited(returned))
        return returned

    def _drained(self, generator: Generator[Any, Any, Any]) -> Any:
        """What it returns in the end, and what it yields is progress; where it returns nothing, all that it yields."""
        yielded = Yielded()
        while True:
            try:
                value = next(generator)
            except StopIteration as end:
                return yielded.whole() if end.value is None else end.value
            yielded.add(value)
            self._progress(value)

    async def _drained_async(self, generator: AsyncGenerator[Any, Any]) -> Any:
        """An asynchronous generator cannot return a value: what it yields is its result."""
        yielded = Yielded()
        async for value in generator:
            yielded.add(value)
            self._progress(value)
        return yielded.whole()

    def _progress(self, value: Any) -> None:
        if value is not None:
            text = self.redactor.text(result_text(without_pictures(value)[0]))
            self._say(shortened(text, MAX_RESULT))

    def _wait(self, awaitable: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)


async def _awaited(value: Any) -> Any:
    return await value


def flush_files() -> None:
    """Write what files hold that a tool has left open."""
    gc.unfreeze()  # the host's own, which its modules have opened
    for item in gc.get_objects():
        if isinstance(item, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with suppress(BaseException):
                item.flush()


def _error_text(error: BaseException, limits: Limits) -> str:
    """As `error_text`, with the limit or the key of the tools file that is the reason, where that is known."""
    text = f"Error: {error}" if isinstance(error, CommandFailed) else error_text(error)
    if limits.memory is not None and not isinstance(error, MemoryError) and _NO_ROOM.search(text):
        mib = limits.memory // MIB
        return f"{text}; the tool may take {mib} MiB of memory: raise memory: in the tools file, or have it take less"
    if (isinstance(error, OSError) and error.errno == errno.EMFILE) or "Too many open files" in text:
        return f"{text}; a process of a tool may have {MAX_OPEN_FILES} files open: close those that are done with"
    if (name := missing_variable(error)) is not None:
        return f"{text}; tools see few variables: if {name} is set, add env: [{name}] to the tool in the tools file"
    if wanting(error) == NO_FOLDER:
        return f"{text}; {NO_FOLDER}, or set cwd: in the tools file"
    termios = sys.modules.get("termios")
    if termios is not None and isinstance(error, termios.error) and errno.EPERM in error.args:
        return f"{text}; a tool that sets a terminal needs privileges: keep in the tools file"
    return text


def _flush() -> None:
    # A tool may have replaced or closed them.
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()


def _traceback(error: BaseException) -> str:
    with suppress(BaseException):
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename in _OWN_FILES:
            frames = frames.tb_next
        return shortened(clean("".join(traceback.format_exception(type(error), error, frames))), _MAX_TRACEBACK)
    return ""
