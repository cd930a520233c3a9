"""`Chat`, and the stream of an answer."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    from concurrent.futures import Future

    from toolchat.engine.base import Engine
    from toolchat.session.given import GivenTool
    from toolchat.session.session import Session
    from toolchat.session.threaded import Asked, Item, SessionThread

T = TypeVar("T")
Approve = Callable[[CallRequest], bool]


class Stream(BaseStream, Iterator[Event]):
    """The events of one answer, as they come; `answer` at the end. Leaving it early (`close`) stops the answer."""

    def __init__(self, chat: Chat, text: str, images: Sequence[Any], schema: Any, *, held: bool = True) -> None:
        super().__init__(chat, text, images, schema, held)
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._chat: Chat

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        from toolchat.session.threaded import Asked, Ended

        if self._ended:
            raise StopIteration
        try:
            if self._question is None:
                self._begin()
            while True:
                match self._items.get():
                    case Event() as event:
                        return self._see(event)
                    case Asked() as asked:
                        self._decide(asked)
                    case Ended() as ended:
                        self._end(ended)
                        raise StopIteration
        except KeyboardInterrupt:
            self.close()
            raise

    def _begin(self) -> None:
        images = read_given_images(self._given)
        thread = self._chat._opened()
        if (before := self._chat._left_open(self)) is not None:
            before.close()
        thread.ask(self._new_question(images, self._items.put))

    def _decide(self, asked: Asked) -> None:
        try:
            give_reply(asked, self._chat._config.approve(request_of(asked)))
        except BaseException as error:
            self._refuse(asked, error)

    def close(self) -> None:
        """Stop the answer, and wait until it has; what was said of it stays in the conversation. Ctrl-C waits less."""
        from toolchat.session.threaded import Asked, Ended

        if self._question is None or self._ended:
            self._ended = True
            return
        self._interrupt()
        try:
            while not isinstance(item := self._items.get(), Ended):
                if isinstance(item, Asked):
                    self._refuse(item)
        except KeyboardInterrupt:
            if self._chat._thread is not None:
                self._chat._thread.kill_engine()
            raise
        self._ended = True
        if item.story is not None:
            self._answer = self._chat._took(item.story)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Chat(BaseChat):
    """A chat with a model that may call `tools`. It opens with `with`, or with the first question.

    Args:
        model: `demo`, a Hugging Face id, or a folder; None for that of the settings, else this machine's default.
        tools: functions, and paths of tools files. Nothing else is offered to the model.
        approve: who decides on calls that a tools file does not allow: a function that is given a `CallRequest` and
            returns True or False, "allow" for all of them, "deny" for no call at all. None lets none of them run.
        engine: one that the program has made, in place of one for `model`.
        options: settings, see `Options`; where one is not given, variables and config.toml count, as for commands.

    Every error is a ToolchatError, of one line; a wrong name or type of an argument is a TypeError.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        tools: Sequence[GivenTool] = (),
        approve: Approve | Literal["allow", "deny"] | None = None,
        engine: Engine | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        self._config = read_config(model, tools, approve, engine, None, options)

    @classmethod
    def resume(
        cls,
        session: str = "last",
        model: str | Path | None = None,
        *,
        tools: Sequence[GivenTool] = (),
        approve: Approve | Literal["allow", "deny"] | None = None,
        engine: Engine | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Go on with a stored session: its name, its id, or "last". Without `model`, with its own if that is here.

        Its tools are not stored: give them again. Where another program has it open, the chat goes on in a copy.
        """
        chat = cls(model, tools=tools, approve=approve, engine=engine, **options)
        chat._config = replace(chat._config, session=session)
        return chat

    @overload
    def ask(self, question: str, *, images: Sequence[Any] = (), schema: None = None) -> Answer: ...
    @overload
    def ask(self, question: str, *, images: Sequence[Any] = (), schema: type[T]) -> T: ...
    @overload
    def ask(self, question: str, *, images: Sequence[Any] = (), schema: Mapping[str, Any]) -> Any: ...
    def ask(self, question: str, *, images: Sequence[Any] = (), schema: Any = None) -> Any:
        """The answer to a question; with `schema`, an instance of it.

        Args:
            question: it goes behind those before it.
            images: paths, addresses, files' bytes, Pillow images or matplotlib figures.
            schema: a pydantic model, a dataclass or another type, or a JSON Schema, which gives plain values. The
                answer is generated under a grammar of it; `last` has what else there is to it.

        Raises:
            EngineError: the model cannot be loaded, or the engine failed; ContextOverflowError where it is too long.
            AnswerError: the answer was cut off before it was of the schema.
            UsageError: what was given makes no sense.
            KeyboardInterrupt: Ctrl-C; the answer is stopped, and the chat can go on.
        """
        stream = Stream(self, question, images, schema, held=False)
        try:
            for _ in stream:
                pass
        except KeyboardInterrupt:
            stream.close()  # where it came between two events
            raise
        return stream.value

    def stream(self, question: str, *, images: Sequence[Any] = (), schema: Any = None) -> Stream:
        """The events of an answer as they come, see `toolchat.events`. It is asked with the first of them.

        A stream that is left early is stopped: by `close`, or by the next question.
        """
        return Stream(self, question, images, schema)

    def save(self, name: str) -> None:
        """Give the session a name, for `resume` and `toolchat repl --resume`. Raises ToolchatError."""
        self._do(lambda session: session.storage.save(name))

    @property
    def session(self) -> str:
        """The id of the session, for `resume`."""
        found: str = self._do(lambda session: session.record.session)
        return found

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools."""
        names: tuple[str, ...] = self._do(lambda session: session.tools.toolbox.names)
        return names

    def close(self) -> None:
        """Stop what is under way, and end every process of the chat. It cannot be used any more."""
        if (thread := self._close()) is not None:
            _outcome(thread.closed)

    def __enter__(self) -> Self:
        try:
            self._opened()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _do(self, work: Callable[[Session], Any]) -> Any:
        return _outcome(self._opened().do(work))

    def _opened(self) -> SessionThread:
        thread = self._begin()
        try:
            _outcome(thread.opened)
        except Exception:
            self._failed(thread)
            raise
        return thread


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except ToolchatError as error:
        raise worded_error(error) from None
