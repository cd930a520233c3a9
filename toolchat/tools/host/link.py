"""The chat's end of a channel: it never waits, and it outlives whatever happens at the other end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from toolchat.tools.host.channel import PACKET, Assembler, Message, packets

_PACKETS_AT_ONCE = 64


class Link:
    """Calls `on_message` with each message, and `on_end` once, when the other end is closed."""

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
        """Take in all that has been sent up to now."""
        while self._read():
            pass

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
