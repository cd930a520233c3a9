"""Messages between the chat and the processes of its tools: JSON, over sockets that keep packets apart.

A tool's code shares its process with one end of such a socket. What it writes there by accident is a packet of its
own without the channel's token, which the other end drops; nothing here trusts what it reads further than that.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import secrets
import socket
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

MAX_MESSAGE = 24 * 1024**2
"""Bytes; a bounded result grows up to sixfold as JSON, and its images by a third."""
PACKET = 64 * 1024
LOST_CHANNEL = 111
"""The exit code of a process that can no longer reach the other end."""

_CHUNK = 32 * 1024
_MAX_FDS = 2
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


class Channel:
    """The end of a channel in a process of the tools: it waits where it must."""

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
