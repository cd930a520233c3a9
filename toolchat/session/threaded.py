"""Runs a session in a thread with an event loop of its own, for programs that call it from theirs.

Everything of a session happens in that thread. What a caller is to see or decide is handed over as items (`Event`,
`Asked`, `Ended`), through a function of the caller's that may be called from any thread.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from toolchat.chat.approval import Ask, PendingCall, Reply
from toolchat.session.session import Session
from toolchat.session.stream import Show
from toolchat.store.transcript import TurnStory
from toolchat.wire.errors import ExitCode, ToolchatError, UsageError
from toolchat.wire.events import Event, TurnStarted
from toolchat.wire.messages import Image

EXIT_SECONDS = 10.0
"""At the end of the program, for the processes of a session that nobody closed."""


class InterruptedQuestion(ToolchatError):  # noqa: N818
    """It was interrupted before the model had it: there is no turn."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that the caller is to decide on; the turn waits for it."""

    pending: PendingCall
    reply: Callable[[Reply], None]
    """May be called from any thread; after the turn was interrupted it changes nothing."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last item of a question."""

    story: TurnStory | None = None
    """None where there is no turn, since `error` was raised."""
    error: BaseException | None = None


Item: TypeAlias = Event | Asked | Ended
Open: TypeAlias = Callable[[Show, Ask], AbstractAsyncContextManager[Session]]


@dataclass(slots=True, eq=False)
class Question:
    """One question, from `SessionThread.ask` to its `Ended`."""

    text: str
    images: Sequence[Image]
    schema: dict[str, Any] | None
    deliver: Callable[[Item], None] = field(repr=False)
    task: asyncio.Task[None] | None = None
    begun: bool = False
    """Whether its turn has begun, so that it can be interrupted and not only be cancelled."""


class SessionThread:
    """A session that is opening or open; see `opened` and `closed`. The methods may be called from any thread."""

    def __init__(self, open_: Open, beside: Show) -> None:
        """`beside` is called, in the session's thread, with the events that are no part of a turn."""
        self.opened: Future[None] = Future()
        """Done once there is a session; its exception is why there is none."""
        self.closed: Future[None] = Future()
        """Done once every process of the session has ended."""
        self._open = open_
        self._beside = beside
        self._session: Session | None = None
        self._question: Question | None = None
        """The one whose turn it is."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions: set[Question] = set()
        """Those without an `Ended`; it comes also where the session's thread ends under them."""
        self._jobs: set[Future[Any]] = set()
        self._closing = False
        self._process = os.getpid()
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()
        _threads.add(self)
        # A daemon: Python waits for others before it calls what would close this one.
        threading.Thread(target=self._run, name="toolchat", daemon=True).start()

    def ask(self, question: Question) -> None:
        """Have it answered once those before it are; `question.deliver` is given its items."""
        self._check_process()
        self._questions.add(question)
        if not self._call(lambda: self._begin(question)):
            self._end(question, Ended(error=_closed()))

    def interrupt(self, question: Question | None = None) -> None:
        """Stop a question, or the one whose turn it is; its `Ended` comes soon."""
        self._call(lambda: self._interrupt(question or self._question))

    def kill_engine(self) -> None:
        """For one that does not answer: it is started again for the next question."""
        self._call(lambda: self._session.kill() if self._session is not None else None)

    def do(self, work: Callable[[Session], Any]) -> Future[Any]:
        """The outcome of `work`, done in the session's thread between turns."""
        self._check_process()
        job: Future[Any] = Future()

        def run() -> None:
            assert self._session is not None
            try:
                outcome = work(self._session)
            except BaseException as error:
                self._end_job(job, None, error)
            else:
                self._end_job(job, outcome)

        self._jobs.add(job)
        if not self._call(run):
            self._end_job(job, None, _closed())
        return job

    def close(self) -> None:
        """End the session and every process of it; `closed` is done after that."""
        if self.is_here and not self.closed.done():
            # Without this, one that is just beginning would not be told.
            self._running.add_done_callback(lambda _: self._call(self._close))

    @property
    def is_here(self) -> bool:
        """Whether this process is the one that it runs in, and not forked from that."""
        return self._process == os.getpid()

    def _check_process(self) -> None:
        if not self.is_here:
            raise UsageError("this chat belongs to the process that this one was forked from; make another one here")

    def _call(self, work: Callable[[], Any]) -> bool:
        """Have `work` called in the session's thread; False where that has ended."""
        with suppress(RuntimeError):  # the loop is closed
            loop, _ = self._running.result()
            if not self.closed.done():
                loop.call_soon_threadsafe(work)
                return True
        return False

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failure = error
        finally:
            if not self.opened.done():
                self.opened.set_exception(failure or UsageError("the chat was closed before it was open"))
                failure = None
            if failure is None:
                self.closed.set_result(None)
            else:
                self.closed.set_exception(failure)
            # What was handed over while the loop ended.
            for question in list(self._questions):
                self._end(question, Ended(error=_closed()))
            for job in list(self._jobs):
                self._end_job(job, None, _closed())

    def _end(self, question: Question, ended: Ended) -> None:
        """Deliver it, once."""
        if question in self._questions:
            self._questions.discard(question)
            question.deliver(ended)

    def _end_job(self, job: Future[Any], outcome: Any, error: BaseException | None = None) -> None:
        if job in self._jobs:
            self._jobs.discard(job)
            if error is None:
                job.set_result(outcome)
            else:
                job.set_exception(error)

    async def _main(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lock = asyncio.Lock()
        self._running.set_result((asyncio.get_running_loop(), task))
        async with self._open(self._show, self._ask) as self._session:
            self.opened.set_result(None)
            try:
                await asyncio.Event().wait()
            finally:
                for one in self._tasks:
                    one.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _close(self) -> None:
        # Once: another time would cut the cleaning up short.
        if not self._closing:
            self._closing = True
            self._running.result()[1].cancel()

    def _begin(self, question: Question) -> None:
        if self._closing:
            self._end(question, Ended(error=_closed()))
            return
        question.task = asyncio.create_task(self._answer(question), name="question")
        self._tasks.add(question.task)
        question.task.add_done_callback(self._tasks.discard)

    def _interrupt(self, question: Question | None) -> None:
        if question is None or question.task is None or question.task.done():
            return
        if question.begun and self._session is not None:
            self._session.interrupt()
        else:
            question.task.cancel()

    async def _answer(self, question: Question) -> None:
        try:
            async with self._lock:
                ended = await self._turn(question)
        except asyncio.CancelledError:
            interrupted = InterruptedQuestion("the question was interrupted before it was asked")
            ended = Ended(error=_closed() if self._closing else interrupted)
        self._end(question, ended)

    async def _turn(self, question: Question) -> Ended:
        session = self._session
        assert session is not None
        self._question = question
        try:
            if session.info is None and not session.loading:
                await session.launch()
            await session.ready()
            await session.ask(question.text, question.images, question.schema)
            return Ended(session.transcript.last)
        except Exception as error:
            return Ended(error=error)
        finally:
            self._question = None

    def _show(self, event: Event) -> None:
        question = self._question
        if isinstance(event.body, TurnStarted) and question is not None:
            question.begun = True
        if question is not None:
            question.deliver(event)
        if not event.turn:
            self._beside(event)

    async def _ask(self, pending: PendingCall) -> Reply:
        loop, question = asyncio.get_running_loop(), self._question
        assert question is not None
        replied: asyncio.Future[Reply] = loop.create_future()

        def reply(given: Reply) -> None:
            def give() -> None:
                if not replied.done():
                    replied.set_result(given)

            self._call(give)

        question.deliver(Asked(pending, reply))
        return await replied


def _closed() -> UsageError:
    return UsageError("the chat is closed; make another one")


_threads: weakref.WeakSet[SessionThread] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End what a program that ends has left open."""
    open_ = [thread for thread in list(_threads) if thread.is_here and not thread.closed.done()]
    for thread in open_:
        thread.close()
    for thread in open_:
        with suppress(Exception):
            thread.closed.result(EXIT_SECONDS)
