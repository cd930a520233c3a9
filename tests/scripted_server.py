"""An HTTP server that answers as a test tells it to, byte by byte: also what no sane server would send."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """What is sent for one request."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    kind: str = STREAM
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """The Content-Length to claim; None for none, so that the end of the connection is the body's."""
    raw: bytes = b""
    """Sent instead of all this."""
    hold: threading.Event | None = None
    """Waited for before the connection is closed."""


def events(*data: Any, done: bool = True) -> bytes:
    """A stream of events, each the JSON of a value, or a text as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in data]
    return "".join(f"data: {text}\n\n" for text in [*texts, *(["[DONE]"] if done else [])]).encode()


def delta(text: str = "", *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat completion."""
    content = {"content": text} if text else {}
    return {"choices": [{"index": 0, "delta": content | more, "finish_reason": finish}]}


def usage(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details}}


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply([json.dumps(value).encode()], status, JSON, headers)


def stream(*data: Any, done: bool = True) -> Reply:
    return Reply([events(*data, done=done)])


def models(*names: str, **card: Any) -> Reply:
    return as_json({"data": [{"id": name, **card} for name in names]})


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


Answer = Reply | Callable[[Asked], Reply]


class ScriptedServer:
    """Answers each path with its replies, one after the other; the last of them again and again."""

    def __init__(self, listener: socket.socket, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer]] = {}
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)

    def bodies(self, path: str) -> list[Any]:
        return [one.body for one in self.asked if one.path == path]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            try:
                asked = _read(file)
                if asked is None:
                    return
                self.asked.append(asked)
                _send(connection, self._reply(asked))
            except OSError:
                return  # the client has gone

    def _reply(self, asked: Asked) -> Reply:
        answers = self._answers.get(asked.path)
        if not answers:
            return as_json({"detail": "Not Found"}, 404)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, Reply) else answer(asked)


def _read(file: Any) -> Asked | None:
    first = file.readline().decode("latin-1").split()
    if len(first) < 2:
        return None
    headers: dict[str, str] = {}
    while (row := file.readline().decode("latin-1").strip()) != "":
        name, _, value = row.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))
    return Asked(first[1], headers, json.loads(body) if body else None)


def _send(connection: socket.socket, reply: Reply) -> None:
    if reply.raw:
        connection.sendall(reply.raw)
    else:
        headers = {"Content-Type": reply.kind, "Connection": "close", **reply.headers}
        if reply.length is not None:
            headers["Content-Length"] = str(reply.length)
        rows = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items() if value)]
        connection.sendall("\r\n".join([*rows, "", ""]).encode())
        for piece in reply.pieces:
            connection.sendall(piece)
    if reply.hold is not None:
        reply.hold.wait(30)


@contextmanager
def scripted_server(*, unix: bool = False) -> Iterator[ScriptedServer]:
    """One on a free port of the loopback, or on a unix socket."""
    with tempfile.TemporaryDirectory(prefix="toolchat-test-") as folder:
        if unix:
            listener = socket.socket(socket.AF_UNIX)
            path = Path(folder, "s")
            listener.bind(str(path))
            url = f"unix:{path}"
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.listen()
        with listener:
            yield ScriptedServer(listener, url)
