"""What `Chat` and `AsyncChat` have in common: opening the session, the state of one question, what ends it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from toolchat.api.answers import Answer, CallRequest, Schema, answer_of, worded_error
from toolchat.api.opening import Config, logger, open_chat, refuse_while_importing, tell_beside
from toolchat.wire import events
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import Event, TurnStatus
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from toolchat.session.threaded import Asked, Ended, Item, Question, SessionThread
    from toolchat.store.transcript import TurnStory


class BaseChat:
    """What both kinds of chats have in common."""

    _config: Config

    def __init__(self) -> None:
        self._thread: SessionThread | None = None
        self._closed = False
        self._held: weakref.ref[Any] | None = None
        """The last stream that the caller was given, which may not have been read to its end."""
        self._told_declined = False
        self.last: Answer | None = None
        """The answer to the last question, also where asking raised an error after the turn had begun."""

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._thread is not None else "not open yet"
        return f"<{type(self).__name__} {self._config.flags.get('model') or 'default model'} ({state})>"

    def _begin(self) -> SessionThread:
        """The thread of the session, which opens from the first call on."""
        if self._closed:
            raise UsageError("the chat is closed; make another one")
        if self._thread is None:
            refuse_while_importing()
            from toolchat.session.threaded import SessionThread

            config = self._config
            self._thread = SessionThread(lambda show, ask: open_chat(config, show, ask), tell_beside)
        return self._thread

    def interrupt(self) -> None:
        """Stop the answer under way, from any thread: `ask` then returns, with what there is."""
        if self._thread is not None:
            self._thread.interrupt()

    def _left_open(self, new: Any) -> Any:
        """The stream before `new` that was not read to its end, which has to be closed; None for none."""
        before = self._held() if self._held is not None else None
        self._held = weakref.ref(new) if new.held else None
        return before

    def _close(self) -> SessionThread | None:
        """Begin to close; the thread that is then to be waited for, if there is one."""
        self._closed = True
        if self._thread is not None:
            self._thread.close()
        return self._thread

    def _failed(self, thread: SessionThread) -> None:
        """It cannot be opened. That may be tried again: a server may be there by then."""
        if self._thread is thread:
            self._thread = None

    def __del__(self) -> None:
        with suppress(Exception):
            self._close()

    def _took(self, story: TurnStory) -> Answer:
        self.last = answer = answer_of(story)
        if answer.declined and self._config.approve is None and not self._told_declined:
            self._told_declined = True
            names = ", ".join(sorted({call.name for call in answer.calls if call.status == "denied"}))
            logger().warning(
                "%s did not run, since nobody agreed to that: give the chat approve=, a function that is asked, or "
                '"allow"',
                names,
            )
        return answer


class BaseStream:
    """What the streams of both kinds of chats have in common: the state of one question."""

    def __init__(self, chat: BaseChat, text: str, images: Sequence[Any], schema: Any, held: bool) -> None:
        if not isinstance(text, str):
            raise UsageError(f"expected the question as a text, not {type(text).__name__}")
        self.held = held
        """Whether the caller has the stream, and may leave it early."""
        self._chat = chat
        self._text = text
        self._given = images
        self._schema = Schema.of(schema) if schema is not None else None
        self._question: Question | None = None
        self._ended = False
        self._answer: Answer | None = None
        self._raised: BaseException | None = None
        """By `approve`."""
        self._crash = ""

    @property
    def answer(self) -> Answer:
        """The answer, once the stream is at its end."""
        if self._answer is None:
            raise UsageError("the answer is not there yet: read the stream to its end first")
        return self._answer

    @property
    def value(self) -> Any:
        """The answer as a value of the schema; the answer itself without one. Raises AnswerError."""
        return self._schema.value(self.answer) if self._schema is not None else self.answer

    def _new_question(self, images: tuple[Image, ...], deliver: Callable[[Item], None]) -> Question:
        from toolchat.session.threaded import Question

        schema = self._schema.json if self._schema is not None else None
        self._question = Question(self._text, images, schema, deliver)
        return self._question

    def _see(self, event: Event) -> Event:
        if isinstance(event.body, events.EngineState) and event.body.state == "crashed":
            self._crash = event.body.detail
        return event

    def _end(self, ended: Ended) -> None:
        """Raises why there is no answer."""
        self._ended = True
        if ended.story is not None:
            self._answer = self._chat._took(ended.story)
        if self._raised is not None:
            raise self._raised
        if ended.error is not None:
            raise worded_error(ended.error)
        if self._answer is not None and self._answer.status is TurnStatus.ENGINE_FAILED:
            why = self._crash or (self._answer.notices[-1] if self._answer.notices else "")
            raise EngineError(f"the engine failed while it answered{f': {why}' if why else ''}")

    def _interrupt(self) -> None:
        if self._question is not None and not self._ended and self._chat._thread is not None:
            self._chat._thread.interrupt(self._question)

    def _refuse(self, asked: Asked, error: BaseException | None = None) -> None:
        """Decline a call that was not decided on, and end the turn."""
        from toolchat.chat.approval import Reply

        self._raised = self._raised or error
        asked.reply(Reply(False, reason="the program did not decide on it", end_turn=True))

    def __del__(self) -> None:
        # Left in the midst: the turn ends, and nobody waits for that.
        with suppress(Exception):
            self._interrupt()


def request_of(asked: Asked) -> CallRequest:
    # A copy: what the program does to it must change neither what runs nor what the record says of it.
    call = asked.pending.call
    return CallRequest(call.name, deepcopy(call.arguments), asked.pending.tool.description)


def give_reply(asked: Asked, allowed: Any) -> None:
    """Raises UsageError for anything but True and False: a text such as "no" is no agreement."""
    from toolchat.chat.approval import Reply

    if not isinstance(allowed, bool):
        raise UsageError(f"approve returned {allowed!r}; expected True or False; return one of them")
    asked.reply(Reply(allowed))
