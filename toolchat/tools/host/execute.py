"""Runs one function and turns whatever it does into text and images for the model. For a tool's own process only."""

from __future__ import annotations

import asyncio
import errno
import inspect
import sys
import traceback
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from toolchat.images.returned import without_pictures
from toolchat.tools.result import bounded, error_text, result_text
from toolchat.tools.values import Yielded

_MAX_TRACEBACK = 32 * 1024

Say = Callable[[str], None]
"""Shows the user a line of progress."""


@dataclass(frozen=True, slots=True)
class Outcome:
    content: str
    """For the model; bounded, and fit for UTF-8."""
    ok: bool
    traceback: str = ""
    """For the log."""
    out_of_memory: bool = False
    images: tuple[str, ...] = ()
    """Files in base64."""


class Executor:
    """Runs functions one after the other, the asynchronous ones on one event loop that is never closed.

    Closing it would wait for tasks that a tool left behind and that may swallow their cancellation; and a client
    that a stateful tool keeps belongs to the loop that it was made on.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, function: Callable[..., Any], values: dict[str, Any]) -> Outcome:
        """Call `function` with `values`. Never raises."""
        try:
            try:
                value, pictures = without_pictures(self._value(function(**values)))
                return Outcome(result_text(value), ok=True, images=tuple(b64encode(one).decode() for one in pictures))
            finally:
                _flush()
        # SystemExit and KeyboardInterrupt too: raised by a tool they are its error, not the program's end.
        except BaseException as error:
            out_of_memory = isinstance(error, MemoryError)
            if out_of_memory:
                # Frees what the frames hold, for there may be no memory left to say anything in.
                error.with_traceback(None)
            return Outcome(_error_text(error), False, _traceback(error), out_of_memory)

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
            self._say(result_text(without_pictures(value)[0]))

    def _wait(self, awaitable: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)


async def _awaited(value: Any) -> Any:
    return await value


def _error_text(error: BaseException) -> str:
    """As `error_text`; where a terminal could not be set, the reason is that no tool may, see `confine`."""
    text = error_text(error)
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
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        return bounded("".join(traceback.format_exception(type(error), error, frames)), _MAX_TRACEBACK)
    return ""
