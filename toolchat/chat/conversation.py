"""The history of a chat, kept legal for every Mistral tokenizer by the only ways there are to change it.

The rules (mistral_common's protocol/instruct/validator.py, all versions): one result per call, in call order and
before anything else; no empty assistant message; call ids of nine letters or digits; a turn ends with an assistant
message. A caller that would break one gets a ValueError: that is a bug, not bad input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchat.mistral.ids import is_legal_call_id, is_legal_name
from toolchat.wire.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
)

INTERRUPTED = "[interrupted]"
"""What closes a turn that was stopped, after whatever text had come."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the history to go back to."""

    length: int


class Conversation:
    """Messages in order. Reading is free; changing goes through the methods."""

    def __init__(self, system: str | None = None) -> None:
        self._messages: list[Message] = [SystemMessage(system)] if system else []
        self._pending: list[ToolCall] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    @property
    def open(self) -> bool:
        """True within a turn: the last message is not the assistant's closing one."""
        match self._messages[-1:]:
            case [UserMessage() | ToolMessage()]:
                return True
            case [AssistantMessage(_, calls)]:
                return bool(calls)
        return False

    def add_user(self, text: str) -> None:
        """Begin a turn. Raises ValueError within one, and for an empty text."""
        if self.open:
            raise ValueError("the turn before this one is not closed")
        if not text.strip():
            raise ValueError("a user message needs text")
        self._messages.append(UserMessage(text))

    def add_answer(self, text: str) -> None:
        """Close the turn with the model's text."""
        self._expect_generation()
        if not text.strip():
            raise ValueError("an assistant message needs text or calls")
        self._messages.append(AssistantMessage(text))

    def add_calls(self, text: str, calls: Sequence[ToolCall]) -> None:
        """Add the model's calls, and the text before them (may be empty)."""
        self._expect_generation()
        if not calls:
            raise ValueError("no calls")
        ids = [call.id for call in calls]
        if len(set(ids)) != len(ids) or not all(map(is_legal_call_id, ids)):
            raise ValueError(f"call ids must be nine letters or digits, and each its own: {ids}")
        if not all(is_legal_name(call.name) for call in calls):
            raise ValueError(f"illegal tool name among {[call.name for call in calls]}")
        self._messages.append(AssistantMessage(text, tuple(calls)))
        self._pending = list(calls)

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Add the results of all pending calls, in call order."""
        if [result.call_id for result in results] != [call.id for call in self._pending]:
            raise ValueError("results must answer every pending call, in call order")
        self._messages += [ToolMessage(result.call_id, result.name, result.content) for result in results]
        self._pending = []

    def close(self, text: str, why: str = INTERRUPTED) -> None:
        """Close a turn that did not end by itself, keeping the text that had come; `why` is what the model reads.

        Raises ValueError while calls are pending: they need their results first.
        """
        self.add_answer(f"{text.rstrip()} {why}".strip())

    def mark(self) -> Mark:
        """A place between turns, for `rewind`."""
        if self.open:
            raise ValueError("a mark lies between turns")
        return Mark(len(self._messages))

    def rewind(self, mark: Mark) -> None:
        """Forget everything after `mark`."""
        del self._messages[mark.length :]
        self._pending = []

    def _expect_generation(self) -> None:
        if self._pending:
            raise ValueError("pending calls have no results yet")
        if not self._messages or not isinstance(self._messages[-1], UserMessage | ToolMessage):
            raise ValueError("an assistant message follows a user's or a tool's")
