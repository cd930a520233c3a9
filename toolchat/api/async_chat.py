"""`AsyncChat`, and the stream of an answer: for programs with an event loop, which is never held up."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from toolchat.api.answers import Answer, CallRequest, worded_error
from toolchat.api.base import BaseChat, BaseStream, give_reply, request_of
from toolchat.api.opening import Options, read_config, read_given_images
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Event

if TYPE_CHECKING:
    from toolchat.engine.base import Engine
    from toolchat.session.given import GivenTool
    from toolchat.session.session import Session
    from toolchat.session.threaded import Asked, Item, SessionThread

T = TypeVar("T")
AsyncApprove = Callable[[CallRequest], bool | Awaitable[bool]]


class AsyncStream(BaseStream, AsyncIterator[Event]):
    """As `Stream`, for `async for`."""

    def __init__(self, chat: AsyncChat, text: str, images: Sequence[Any], schema: Any, *, held: bool = True) -> None:
        super().__init__(chat, text, images, schema, held)
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self._chat: AsyncChat

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        from toolchat.session.threaded import Asked, Ended

        if self._ended:
            raise StopAsyncIteration
        try:
            if self._question is None:
                await self._begin()
            while True:
                match await self._items.get():
                    case Event() as event:
                        return self._see(event)
                    case Asked() as asked:
                        await self._decide(asked)
                    case Ended() as ended:
                        self._end(ended)
                        raise StopAsyncIteration
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def _begin(self) -> None:
        # Reading them may take a while: an address is fetched.
        images = await asyncio.to_thread(read_given_images, self._given) if self._given else ()
        thread = await self._chat._opened()
        if (before := self._chat._left_open(self)) is not None:
            await before.aclose()
        loop, put = asyncio.get_running_loop(), self._items.put_nowait

        def deliver(item: Item) -> None:
            with suppress(RuntimeError):  # the caller's loop is closed
                loop.call_soon_threadsafe(put, item)

        thread.ask(self._new_question(images, deliver))

    async def _decide(self, asked: Asked) -> None:
        try:
            allowed = self._chat._config.approve(request_of(asked))
            give_reply(asked, await allowed if inspect.isawaitable(allowed) else allowed)
        except asyncio.CancelledError:
            self._refuse(asked)
            raise
        except BaseException as error:
            self._refuse(asked, error)

    async def aclose(self) -> None:
        """As `Stream.close`."""
        from toolchat.session.threaded import Asked, Ended

        if self._question is None or self._ended:
            self._ended = True
            return
        self._interrupt()
        while not isinstance(item := await self._items.get(), Ended):
            if isinstance(item, Asked):
                self._refuse(item)
        self._ended = True
        if item.story is not None:
            self._answer = self._chat._took(item.story)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncChat(BaseChat):
    """As `Chat`, for `async with` and `await`. The caller's event loop is never held up."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        tools: Sequence[GivenTool] = (),
        approve: AsyncApprove | Literal["allow", "deny"] | None = None,
        engine: Engine | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`approve` may be a coroutine function; it is called on the caller's event loop."""
        super().__init__()
        self._config = read_config(model, tools, approve, engine, None, options)

    @classmethod
    def resume(
        cls,
        session: str = "last",
        model: str | Path | None = None,
        *,
        tools: Sequence[GivenTool] = (),
        approve: AsyncApprove | Literal["allow", "deny"] | None = None,
        engine: Engine | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """As `Chat.resume`."""
        chat = cls(model, tools=tools, approve=approve, engine=engine, **options)
        chat._config = replace(chat._config, session=session)
        return chat

    @overload
    async def ask(self, question: str, *, images: Sequence[Any] = (), schema: None = None) -> Answer: ...
    @overload
    async def ask(self, question: str, *, images: Sequence[Any] = (), schema: type[T]) -> T: ...
    @overload
    async def ask(self, question: str, *, images: Sequence[Any] = (), schema: Mapping[str, Any]) -> Any: ...
    async def ask(self, question: str, *, images: Sequence[Any] = (), schema: Any = None) -> Any:
        """As `Chat.ask`. Cancelling it stops the answer, and the chat can go on."""
        stream = AsyncStream(self, question, images, schema, held=False)
        async for _ in stream:
            pass
        return stream.value

    def stream(self, question: str, *, images: Sequence[Any] = (), schema: Any = None) -> AsyncStream:
        """As `Chat.stream`, for `async for`."""
        return AsyncStream(self, question, images, schema)

    async def save(self, name: str) -> None:
        """As `Chat.save`."""
        await self._do(lambda session: session.storage.save(name))

    async def session(self) -> str:
        """The id of the session, for `resume`."""
        found: str = await self._do(lambda session: session.record.session)
        return found

    async def close(self) -> None:
        """As `Chat.close`."""
        if (thread := self._close()) is not None:
            await _awaited(thread.closed)

    async def __aenter__(self) -> Self:
        try:
            await self._opened()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _do(self, work: Callable[[Session], Any]) -> Any:
        return await _awaited((await self._opened()).do(work))

    async def _opened(self) -> SessionThread:
        thread = self._begin()
        try:
            await _awaited(thread.opened)
        except Exception:
            self._failed(thread)
            raise
        return thread


async def _awaited(future: Future[Any]) -> Any:
    try:
        # Shielded: whoever stops waiting must not cancel what others wait for.
        return await asyncio.shield(asyncio.wrap_future(future))
    except ToolchatError as error:
        raise worded_error(error) from None
