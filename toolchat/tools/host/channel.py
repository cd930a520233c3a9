"""Messages between the chat and the processes of its tools: framing, and both ends of a channel.

A message is JSON, over a socket that keeps packets apart. A tool's code shares its process with one end of the socket.
What it writes there by accident is a packet without the channel's token, which the other end drops; nothing else that
is read here is trusted. `BlockingChannel` is the end in a tool's process, `AsyncChannel` the chat's.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]

MAX_MESSAGE = 24 * 1024**2
"""Bytes; a bounded result grows up to sixfold as JSON, and its images by a third."""
PACKET = 64 * 1024
LOST_CHANNEL = 111
"""The exit code of a process that can no longer reach the other end."""

_CHUNK = 32 * 1024
_MAX_FDS = 2
_PACKETS_AT_ONCE = 64
_PUMPS = 64
_MORE, _LAST = b"+", b"."


class ChannelClosed(Exception):  # noqa: N818
    """The other end is gone, or this end's descriptor was closed or replaced."""


def new_token() -> str:
    """What marks the packets of one channel as its own."""
    return secrets.token_hex(8)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packets(token: str, message: Message) -> list[bytes]:
    """`message` in as many packets as it needs."""
    # surrogatepass: arguments that a model wrote may hold half of a surrogate pair.
    data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    head = token.encode()
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    return [head + (_LAST if chunk is chunks[-1] else _MORE) + chunk for chunk in chunks]


class Assembler:
    """Puts packets together again, dropping those that are not the channel's own."""

    def __init__(self, token: str) -> None:
        self._head = token.encode()
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, packet: bytes) -> Message | None:
        """The message that `packet` completes, if it does."""
        kind = len(self._head)
        if not packet.startswith(self._head) or packet[kind : kind + 1] not in (_MORE, _LAST):
            return None
        if self._size <= MAX_MESSAGE:
            self._chunks.append(packet[kind + 1 :])
        self._size += len(packet)
        if packet[kind : kind + 1] == _MORE:
            return None
        data, too_long = b"".join(self._chunks), self._size > MAX_MESSAGE
        self._chunks, self._size = [], 0
        if too_long:
            return None
        try:
            message = json.loads(data.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None


def out_of_the_way(fd: int) -> int:
    """A copy of `fd` with a high number, closed on exec; `fd` itself is closed.

    Code that closes "all" descriptors, or writes to a wrong one, means low numbers.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = min(soft if soft != resource.RLIM_INFINITY else 1024, 1024) - 64
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(lowest, 3))
    os.close(fd)
    return copy


class BlockingChannel:
    """The end of a channel in a process of the tools: it waits for messages, and until one is sent."""

    def __init__(self, fd: int, token: str) -> None:
        self._token = token
        self._socket = socket.socket(fileno=out_of_the_way(fd))
        self._inode = os.fstat(self._socket.fileno()).st_ino
        self._assembler = Assembler(token)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Raises ChannelClosed."""
        try:
            # A tool may have closed the descriptor and opened a file that got its number.
            if os.fstat(self._socket.fileno()).st_ino != self._inode:
                raise ChannelClosed
            for packet in packets(self._token, message):
                self._socket.send(packet)
        except OSError:
            raise ChannelClosed from None

    def receive(self) -> tuple[Message, Sequence[int]]:
        """The next message and the descriptors that came with it. Raises ChannelClosed."""
        while True:
            try:
                packet, fds, _, _ = socket.recv_fds(self._socket, PACKET, _MAX_FDS)
            except OSError:
                raise ChannelClosed from None
            if not packet:
                raise ChannelClosed
            for fd in fds:
                os.set_inheritable(fd, False)
            message = self._assembler.feed(packet)
            if message is not None:
                return message, fds

    def close(self) -> None:
        self._socket.close()


class AsyncChannel:
    """The chat's end of a channel: it never waits, and an end that is gone raises nothing.

    Calls `on_message` with each message, and `on_end` once, when the other end is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        token: str,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._token = token
        self._on_message = on_message
        self._on_end = on_end
        self._assembler = Assembler(token)
        self._outgoing: deque[tuple[bytes, Sequence[int]]] = deque()
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send `message`, now or as soon as the other end reads. `fds` go with it, and are closed here."""
        *first, last = packets(self._token, message)
        self._outgoing.extend((packet, ()) for packet in first)
        self._outgoing.append((last, fds))
        self._write()

    def pump(self) -> None:
        """Take in all that has been sent up to now: no more than the kernel keeps for a socket."""
        for _ in range(_PUMPS):
            if not self._read():
                return

    def close(self) -> None:
        """Stop without calling `on_end`."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._forget()
            self._socket.close()
        self._ended = True

    def _write(self) -> None:
        if self._ended:
            self._forget()
            return
        self._loop.remove_writer(self._socket.fileno())
        try:
            while self._outgoing:
                packet, fds = self._outgoing[0]
                if fds:
                    socket.send_fds(self._socket, [packet], fds)
                else:
                    self._socket.send(packet)
                self._outgoing.popleft()
                _close(fds)
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._write)
        except OSError:  # nobody reads any more: the reader notices
            self._forget()

    def _read(self) -> bool:
        """Whether there may be more to read."""
        for _ in range(_PACKETS_AT_ONCE):
            if self._ended:
                return False
            try:
                packet = self._socket.recv(PACKET)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                # It ended without reading all that it was sent. The kernel tells that once, and before handing over
                # what had been sent from there.
                continue
            except OSError:
                packet = b""
            if not packet:
                self._ended = True
                self._loop.remove_reader(self._socket.fileno())
                self._loop.remove_writer(self._socket.fileno())
                self._forget()
                self._on_end()
                return False
            if (message := self._assembler.feed(packet)) is not None:
                self._on_message(message)
        return True

    def _forget(self) -> None:
        for _, fds in self._outgoing:
            _close(fds)
        self._outgoing.clear()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
