"""Runs blocking work in a thread that does not keep the program from exiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class GivenUp(BaseException):
    """Nobody waits for this work any more."""


async def in_background(work: Callable[[Callable[[str], None]], T], report: Callable[[str], None] | None = None) -> T:
    """What `work` returns, or raises. It is given a function that tells `report`, here, a text that is a new one.

    Once this is cancelled, that function raises GivenUp, which stops the work. At the end of the program it is left to
    itself: asyncio's own threads would be waited for, and a model may take an hour to fetch.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    told = ""

    def here(call: Callable[[], None]) -> None:
        def unless_given_up() -> None:
            if not done.done():
                call()

        # The loop may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(unless_given_up)

    def tell(text: str) -> None:
        nonlocal told
        if done.cancelled():
            raise GivenUp
        if report is not None and text != told:
            told = text
            here(lambda: report(text))

    def run() -> None:
        try:
            result = work(tell)
        except BaseException as error:
            failure = error
            here(lambda: done.set_exception(failure))
        else:
            here(lambda: done.set_result(result))

    threading.Thread(target=run, name="background", daemon=True).start()
    return await done
