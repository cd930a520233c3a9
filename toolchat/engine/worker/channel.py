"""The worker's end of its connections: the socket to its starter and, once it is kept, those of other clients.

A private worker ends when its starter closes the other end. A kept one listens on a unix socket, serves several clients
at once, and ends by its own clock. A thread of its own reads and looks at the clock, so that `toolchat ps` and
`toolchat stop` are answered however long the engine takes for a step. Knows nothing of vLLM.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.engine.kept.place import CONTROL_VERSION, check_folder, note_of, peer_of
from toolchat.process import live_without_parent
from toolchat.wire.codec import LINE_LIMIT, line

MOST_UNREAD = 64 * 1024**2
"""Bytes that may wait for a client; one that reads none of them is dropped, so that the others need not wait for it."""
MOST_CLIENTS = 256
_LOOK_SECONDS = 0.5
"""How often a kept worker looks whether its socket can be found still."""
_PIECE = 256 * 1024
_REQUESTS = frozenset(("generate", "count", "abort"))
_STARTER = 0


@dataclass(slots=True, eq=False)
class _Client:
    """One connection."""

    number: int
    socket: socket.socket
    attached: bool = False
    """Whether it may ask for tokens; `ps` and `stop` connect too, and do not count as somebody who uses the model."""
    context: int | None = None
    """Tokens that it keeps to; None for all that there are."""
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)
    dropped: bool = False
    gone: bool = False


@dataclass(slots=True)
class _Kept:
    """What a kept worker knows of itself beyond its engine."""

    path: Path
    identity: tuple[int, int]
    """Device and inode of the socket: whether it is this worker's own that lies there."""
    keep: float
    """Seconds to live on after the last client; negative for ever."""
    scratch: str | None
    facts: dict[str, Any]
    """For `ps`: model, device, version, log."""
    began: float = field(default_factory=time.time)


class Channel:
    """Commands in, by a thread of its own; messages out, to the client that the request is of.

    A request's id is made the client's own here, `NUMBER-ID`, and back again on its way out.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._numbers = itertools.count(_STARTER + 1)
        self._starter = _Client(_STARTER, sock, attached=True)
        self._clients = {_STARTER: self._starter}
        self._kept: _Kept | None = None
        self._listener: socket.socket | None = None
        self._idle_since = time.monotonic()
        self._under_way: set[str] = set()
        self._info: dict[str, Any] = {}
        self._capacity: int | None = None
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)

    def receive(self) -> dict[str, Any]:
        """The starter's next message, read here and now, before `listen`. Ends the process where it has gone."""
        buffer = self._starter.incoming
        while b"\n" not in buffer:
            try:
                piece = self._starter.socket.recv(_PIECE)
            except OSError:
                piece = b""
            if not piece:
                end_group()
            buffer += piece
        row, _, rest = bytes(buffer).partition(b"\n")
        self._starter.incoming = bytearray(rest)
        message: dict[str, Any] = json.loads(row)
        return message

    def listen(self, context: int | None = None) -> None:
        """Read commands for ever, in a thread, so that a starter that goes is noticed also while a model loads.

        `context` is what the starter keeps to.
        """
        self._starter.context = context
        self._selector.register(self._starter.socket, selectors.EVENT_READ, self._starter)
        threading.Thread(target=self._run, name="clients", daemon=True).start()

    def keep(self, terms: dict[str, Any]) -> None:
        """Listen on `terms["path"]` and outlive the starter. Call in the thread that set the parent's death signal.

        The starter is told whether that was possible.
        """
        path = Path(terms["path"])
        try:
            check_folder(path.parent)
            note_of(path).write_text(json.dumps({"pid": os.getpid(), "scratch": terms["scratch"]}), encoding="utf-8")
            listener = _listening(path)
            facts = path.lstat()
            kept = _Kept(path, (facts.st_dev, facts.st_ino), terms["keep"], terms["scratch"], terms["facts"])
        except OSError as error:
            self.send({"op": "kept", "why": str(error)})
            return
        self._listener, self._kept = listener, kept
        live_without_parent()
        # What a system sends to all that is left when a user logs out, or when it goes down.
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        self._nudge()
        self.send({"op": "kept", "why": ""})

    def send(self, *messages: dict[str, Any]) -> None:
        """To the client whose request a message is of; what is no request's goes to the starter, a failure to all."""
        for message in messages:
            if message["op"] == "ready":
                self._info = message
                self._capacity = message.get("capacity") or message["context_window"]
            if "id" in message:
                number, _, request_id = message["id"].partition("-")
                if _concludes(message):
                    self._under_way.discard(message["id"])
                if (client := self._clients.get(int(number))) is not None:
                    self._write(client, message | {"id": request_id})
            elif message["op"] == "failed":
                for client in [client for client in self._clients.values() if client.attached]:
                    self._write(client, message)
            else:
                self._write(self._starter, message)

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until what was sent has left, before the process ends."""
        until = time.monotonic() + seconds
        while any(client.outgoing for client in list(self._clients.values())) and time.monotonic() < until:
            time.sleep(0.01)

    def leave(self) -> None:
        """End a kept worker, which has no starter any more that would. Returns in a private one."""
        if self._kept is not None:
            self.end()

    def end(self) -> None:
        """End the process, with all that it started; a kept one leaves nothing behind."""
        if self._kept is not None:
            if self._findable():
                self._kept.path.unlink(missing_ok=True)
                note_of(self._kept.path).unlink(missing_ok=True)
            if self._kept.scratch is not None:
                shutil.rmtree(self._kept.scratch, ignore_errors=True)
        end_group()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:
            traceback.print_exc()  # into the log
            self.leave()
            end_group()  # nobody could be answered any more

    def _serve(self) -> None:
        listening = False
        while True:
            if self._listener is not None and not listening:
                self._selector.register(self._listener, selectors.EVENT_READ)
                listening = True
            for key, events in self._selector.select(self._patience()):
                if key.fileobj is self._woken:
                    with suppress(BlockingIOError):
                        self._woken.recv(_PIECE, socket.MSG_DONTWAIT)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    client: _Client = key.data
                    if events & selectors.EVENT_WRITE:
                        self._flush(client)
                    if events & selectors.EVENT_READ:
                        self._read(client)
            self._look_after_clients()
            self._look_at_the_clock()

    def _patience(self) -> float | None:
        """Seconds to wait for something to read."""
        if self._kept is None:
            return None
        left = self._left()
        return _LOOK_SECONDS if left is None else max(0.0, min(_LOOK_SECONDS, left))

    def _left(self) -> float | None:
        """Seconds until the end, if nobody comes; None for no end."""
        assert self._kept is not None
        if self._kept.keep < 0 or self._attached():
            return None
        return self._idle_since + self._kept.keep - time.monotonic()

    def _look_at_the_clock(self) -> None:
        if self._kept is None or self._attached():
            return
        left = self._left()
        if (left is not None and left <= 0) or not self._findable():
            self.end()

    def _findable(self) -> bool:
        """Whether the socket lies where it was made. It goes with its folder when the user logs out."""
        assert self._kept is not None
        try:
            facts = self._kept.path.lstat()
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self._kept.identity

    def _attached(self) -> list[_Client]:
        return [client for client in list(self._clients.values()) if client.attached and not client.gone]

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(OSError):
            connection, _ = self._listener.accept()
            if peer_of(connection)[1] != os.geteuid() or len(self._clients) >= MOST_CLIENTS:
                connection.close()
                return
            client = _Client(next(self._numbers), connection)
            self._clients[client.number] = client
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        try:
            piece = client.socket.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._drop(client)
            return
        client.incoming += piece
        if b"\n" not in piece:
            if len(client.incoming) > LINE_LIMIT:
                self._drop(client)
            return
        *rows, rest = bytes(client.incoming).split(b"\n")
        client.incoming = bytearray(rest)
        for row in rows:
            try:
                self._hear(client, json.loads(row))
            except Exception as error:  # no memory for a line, say
                told = f"a client sent what cannot be understood: {type(error).__name__}: {error}"
                print(told[:1000], file=sys.stderr, flush=True)  # into the log
                self._drop(client)
                return

    def _hear(self, client: _Client, message: dict[str, Any]) -> None:
        match message:
            case {"op": str(op), "id": str(request_id)} if op in _REQUESTS and client.attached:
                key = f"{client.number}-{request_id}"
                if op != "abort":
                    if key in self._under_way:
                        raise ValueError(f"the request {request_id} is under way")
                    self._under_way.add(key)
                self.commands.put(message | {"id": key, "context": client.context})
            case {"op": "keep"} if client is self._starter:
                self.commands.put(message)
            case {"op": "hello", "version": version, "context": context, "keep": keep}:
                if version != CONTROL_VERSION:
                    raise ValueError(f"a client of version {version}")
                self._welcome(client, context, keep)
            case {"op": "status"}:
                self._write(client, self._status())
            case {"op": "stop", "if_idle": bool(if_idle)}:
                self._stop(client, if_idle=if_idle)
            case _:
                raise ValueError(f"no message of a client: {str(message)[:200]}")

    def _welcome(self, client: _Client, context: int | None, keep: float | None) -> None:
        assert self._kept is not None
        assert self._capacity is not None
        if context is not None and context > self._capacity:
            self._write(client, {"op": "too small", "context": self._capacity})
            return
        client.attached, client.context = True, context
        if keep is not None:
            self._kept.keep = keep
        own = {"context_window": context if context is not None else self._capacity}
        self._write(client, {**self._info, **own, "log": self._kept.facts.get("log")})

    def _status(self) -> dict[str, Any]:
        kept = self._kept
        assert kept is not None
        left = self._left()
        attached = len(self._attached())
        return {
            "op": "status",
            "version": CONTROL_VERSION,
            **kept.facts,
            "pid": os.getpid(),
            "context": self._capacity,
            "memory": _resident(),
            "clients": attached,
            "requests": len(self._under_way),
            "idle": None if attached else round(time.monotonic() - self._idle_since, 3),
            "keep": kept.keep,
            "ends_in": None if left is None else round(max(0.0, left), 3),
            "began": kept.began,
        }

    def _stop(self, client: _Client, *, if_idle: bool) -> None:
        attached = len(self._attached())
        if if_idle and attached:
            self._write(client, {"op": "busy", "clients": attached})
            return
        self.send({"op": "failed", "message": "it was ended by toolchat stop"})
        self._write(client, {"op": "stopping", "clients": attached})
        self.end()

    def _drop(self, client: _Client) -> None:
        if client.gone:
            return
        if client is self._starter and self._kept is None:
            end_group()  # whoever asked for the answer is gone
        self._selector.unregister(client.socket)
        self._clients.pop(client.number, None)
        with client.lock:
            client.gone = True
            client.socket.close()
        if client.attached:
            own = f"{client.number}-"
            self._under_way.difference_update(key for key in tuple(self._under_way) if key.startswith(own))
            self.commands.put({"op": "gone", "client": client.number})
            if not self._attached():
                self._idle_since = time.monotonic()

    def _write(self, client: _Client, message: dict[str, Any]) -> None:
        data = line(message)
        with client.lock:
            if client.gone:
                return
            sent = 0
            if not client.outgoing:
                try:
                    sent = client.socket.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass
                except OSError:
                    client.dropped = True  # by the thread that reads
            client.outgoing += data[sent:]
            waiting = bool(client.outgoing) or client.dropped
            client.dropped = client.dropped or len(client.outgoing) > MOST_UNREAD
        if waiting:
            self._nudge()

    def _flush(self, client: _Client) -> None:
        with client.lock:
            try:
                del client.outgoing[: client.socket.send(client.outgoing[:_PIECE], socket.MSG_DONTWAIT)]
            except BlockingIOError:
                pass
            except OSError:
                client.dropped = True

    def _look_after_clients(self) -> None:
        for client in list(self._clients.values()):
            if client.dropped:
                self._drop(client)
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outgoing else 0)
            if self._selector.get_key(client.socket).events != events:
                self._selector.modify(client.socket, events, client)

    def _nudge(self) -> None:
        with suppress(BlockingIOError):
            self._wake.send(b"!", socket.MSG_DONTWAIT)


def end_group() -> None:
    """End at once, with every process this one started: nothing here is worth a clean end."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _listening(path: Path) -> socket.socket:
    """A socket that listens at `path`, for this user alone; there whole or not at all."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = path.with_suffix(".new")
    try:
        made.unlink(missing_ok=True)
        listener.bind(str(made))
        made.chmod(0o600)
        listener.listen(128)
        listener.setblocking(False)
        made.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _concludes(message: dict[str, Any]) -> bool:
    """Whether nothing follows it for its request."""
    match message:
        case {"op": "deltas", "deltas": [*_, {"type": "finished"}]} | {"op": "count" | "error" | "broken" | "overflow"}:
            return True
    return False


def _resident() -> int:
    """Bytes of memory that this process takes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
