"""The process that speaks to a server: finds out what it is, then serves the chat as an engine's worker does.

Run as `python -m toolchat.engine.remote --fd N --parent PID`; the first line on the socket is the `ServerConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchat.engine.config import Sampling, sampling_file
from toolchat.engine.remote.chat import Chat, ChatModel
from toolchat.engine.remote.completions import Completions
from toolchat.engine.remote.config import Address, ServerConfig
from toolchat.engine.remote.connection import Connection
from toolchat.engine.remote.examine import CHAT, Served, examine
from toolchat.engine.worker.channel import Channel
from toolchat.engine.worker.failures import one_line
from toolchat.engine.worker.server import Worker, fail_to_load, open_channel, serve
from toolchat.wire.deltas import Note
from toolchat.wire.errors import EngineError

_IMAGES = "a conversation with images goes to this server by chat completions: its calls are checked, not constrained"


class ChatWorker:
    """The chat profile, behind the channel."""

    def __init__(self, channel: Channel, chat: Chat, served: Served) -> None:
        self._channel = channel
        self._chat = chat
        self._served = served

    def info(self) -> dict[str, Any]:
        return {
            "context_window": self._served.context,
            "tokenizer_version": 0,
            "constrains_calls": False,
            "supports_reasoning": True,
            "supports_images": self._served.sees is not False,
            "reasoning_efforts": [],
            "exact_counts": False,
        }

    def serve(self) -> None:
        while True:
            self.handle(self._channel.commands.get())

    def handle(self, command: dict[str, Any]) -> None:
        try:
            match command["op"]:
                case "generate":
                    self._chat.generate(command)
                case "count":
                    self._chat.count(command)
                case "abort":
                    self._chat.abort(command["id"])
        except Exception as error:
            self._channel.send({"op": "error", "id": command["id"], "message": one_line(error)})


class TokenWorker(Worker):
    """The token profile; where the server takes no images beside tokens, requests with images go by `chat`."""

    def __init__(self, channel: Channel, source: Completions, chat: Chat, *, images_by_chat: bool) -> None:
        super().__init__(channel, source)
        self._chat = chat
        self._images_by_chat = images_by_chat and self._supports_images

    def _handle(self, command: dict[str, Any]) -> None:
        match command["op"]:
            case "generate" if self._images_by_chat and any(one.get("images") for one in command["messages"]):
                self._send_deltas(command["id"], [Note(_IMAGES)])
                self._chat.generate(command)
            case "abort":
                self._chat.abort(command["id"])
                super()._handle(command)
            case _:
                super()._handle(command)


def worker_for(channel: Channel, connection: Connection, served: Served, config: ServerConfig) -> Worker | ChatWorker:
    # A server may give its model any name; what it has loaded tells more.
    recommended = config.recommended(served.root) or config.recommended(served.model)
    chat = Chat(
        connection,
        channel.send,
        ChatModel(served.model, served.context, served.context_known, recommended),
    )
    if served.profile == CHAT:
        return ChatWorker(channel, chat, served)
    assert served.tokenizer is not None
    source = Completions(
        connection,
        served.model,
        served.tokenizer,
        context=served.context,
        # As for a local model: its file, if it lies beside the tokenizer's, then its card.
        sampling=sampling_file(Path(served.tokenizer_place).parent) or recommended or Sampling(),
        sees=served.sees is not False,
        wake=lambda: channel.commands.put({"op": "wake"}),
    )
    worker = TokenWorker(channel, source, chat, images_by_chat=not served.generates_with_images)
    effort, known = config.reasoning_effort, worker.info()["reasoning_efforts"]
    if effort is not None and effort not in known:
        knows = f"knows {', '.join(known)}" if known else "has no such setting (tokenizers have it from v15 on)"
        raise EngineError(f"--reasoning-effort {effort}: the model {served.model} {knows}")
    return worker


def described(served: Served, models: Sequence[str] = ()) -> dict[str, Any]:
    """What the chat is told of the server beside what the worker knows."""
    notes = []
    if served.profile == CHAT:
        notes.append(
            f"{served.address.text} is used by chat completions (calls are checked, not constrained): {served.why}"
        )
    if not served.context_known:
        notes.append(
            f"{served.address.text} does not say how long a context {served.model} has: {served.context} tokens are "
            "assumed, and --context sets another"
        )
    details = {
        "server": served.address.text,
        "profile": served.profile,
        "vLLM": served.version or "no",
        "context": f"{served.context} tokens",
        "tokenizer": served.tokenizer_place or "the server's",
    }
    return {
        "model": served.model,
        "server": served.address.short,
        "profile": served.profile,
        "models": list(models),
        "notes": notes,
        "details": details,
    }


def main() -> None:
    """Be the process that the command line describes, until the parent ends."""
    channel = open_channel()
    config = ServerConfig.read(channel.receive())
    channel.listen()
    try:
        address = Address.read(config.server)
        channel.send({"op": "state", "state": f"asking {address.short}"})
        connection = Connection(address, config.api_key)
        served = connection.call(examine(connection, config, lambda why: channel.send({"op": "state", "state": why})))
        worker = worker_for(channel, connection, served, config)
    except Exception as error:
        fail_to_load(channel, one_line(error))
    channel.send({"op": "ready"} | worker.info() | described(served, connection.models))
    serve(worker, channel)
