"""A `Chat` of the chat profile in this process, and what it tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from scripted_server import ScriptedServer

from toolchat.engine.base import GenerateOptions
from toolchat.engine.remote.chat import Chat, ChatModel
from toolchat.engine.remote.config import Address
from toolchat.engine.remote.connection import Connection
from toolchat.wire.codec import decode_count, decode_delta, encode_message, encode_tool
from toolchat.wire.deltas import CallEnded, Delta, Finished, Note, Text, Thinking, TokenCount
from toolchat.wire.messages import FailedCall, Message, ToolCall, ToolSpec, UserMessage

PATIENCE = 20
WEATHER = ToolSpec("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}})
ENDS = ("error", "broken", "overflow", "count")


class AskedChat:
    """Sends requests, and keeps what comes of each."""

    def __init__(self, connection: Connection, model: ChatModel) -> None:
        self._told: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.chat = Chat(connection, self._hear, model)
        self._number = 0

    def _hear(self, message: dict[str, Any]) -> None:
        with self._news:
            self._told.append(message)
            self._news.notify_all()

    def begin(
        self,
        messages: Sequence[Message] | str = "hello",
        tools: Sequence[ToolSpec] = (),
        options: GenerateOptions | None = None,
    ) -> str:
        if isinstance(messages, str):
            messages = [UserMessage(messages)]
        self._number += 1
        request_id = f"r{self._number}"
        self.chat.generate(
            {
                "id": request_id,
                "messages": [encode_message(one) for one in messages],
                "tools": [encode_tool(one) for one in tools],
                "options": asdict(options or GenerateOptions(100)),
            }
        )
        return request_id

    def ask(self, *arguments: Any, **named: Any) -> Outcome:
        return self.outcome(self.begin(*arguments, **named))

    def outcome(self, request_id: str) -> Outcome:
        """Wait for the end of a request."""
        with self._news:
            assert self._news.wait_for(lambda: self._of(request_id).is_over, PATIENCE), self._told
            return self._of(request_id)

    def wait_for_text(self, request_id: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._of(request_id).text or self._of(request_id).notes, PATIENCE)

    def count(self, messages: Sequence[Message]) -> TokenCount:
        self.chat.count({"id": "c", "messages": [encode_message(one) for one in messages], "tools": []})
        return decode_count(self._told[-1]["count"])

    def _of(self, request_id: str) -> Outcome:
        return Outcome([one for one in self._told if one["id"] == request_id])


class Outcome:
    def __init__(self, told: Sequence[dict[str, Any]]) -> None:
        self.deltas: list[Delta] = [
            decode_delta(one) for message in told if message["op"] == "deltas" for one in message["deltas"]
        ]
        self.end = next((one for one in told if one["op"] in ENDS), None)

    @property
    def is_over(self) -> bool:
        return self.end is not None or any(isinstance(one, Finished) for one in self.deltas)

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.deltas if isinstance(one, Text))

    @property
    def thinking(self) -> str:
        return "".join(one.text for one in self.deltas if isinstance(one, Thinking))

    @property
    def notes(self) -> list[str]:
        return [one.text for one in self.deltas if isinstance(one, Note)]

    @property
    def calls(self) -> list[ToolCall | FailedCall]:
        return [one.call for one in self.deltas if isinstance(one, CallEnded)]

    @property
    def finished(self) -> Finished:
        (last,) = [one for one in self.deltas if isinstance(one, Finished)]
        assert self.deltas[-1] is last
        assert self.end is None, self.end
        return last

    @property
    def failure(self) -> tuple[str, str]:
        """How it ended, and the line."""
        assert self.end is not None, self.deltas
        line = self.end["message"]
        assert "\n" not in line
        assert "Traceback" not in line
        return self.end["op"], line


@contextmanager
def asked(
    server: ScriptedServer, *, context: int = 8192, known: bool = True, key: str = "", models: Sequence[str] = ()
) -> Iterator[AskedChat]:
    connection = Connection(Address.read(server.url), key)
    connection.models = tuple(models)
    try:
        yield AskedChat(connection, ChatModel("m", context, known))
    finally:
        connection.close()
