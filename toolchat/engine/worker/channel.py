"""The worker's end of the socket to its parent. The worker ends when the parent closes the other end."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
import traceback
from typing import Any

from toolchat.wire.codec import line


class Channel:
    """The worker's end of the socket: commands in, by a thread of its own; messages out, whole lines at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._sending = threading.Lock()

    def receive(self) -> dict[str, Any]:
        """The next command, read here and now. Ends the process where the parent has gone."""
        row = self._file.readline()
        if not row:
            end_with_parent()
        message: dict[str, Any] = json.loads(row)
        return message

    def listen(self) -> None:
        """Read commands for ever, in a thread, so that a parent that goes is noticed also while a model loads."""

        def read() -> None:
            try:
                while True:
                    self.commands.put(self.receive())
            except Exception:
                # No memory for a line, say. Unheard, the parent would wait for ever.
                traceback.print_exc()  # into the log
                end_with_parent()

        threading.Thread(target=read, name="commands", daemon=True).start()

    def send(self, *messages: dict[str, Any]) -> None:
        """Send messages, from any thread."""
        try:
            with self._sending:
                self._socket.sendall(b"".join(map(line, messages)))
        except OSError:
            end_with_parent()


def end_with_parent() -> None:
    """End at once, with every process this one started: whoever asked for the answer is gone."""
    os.killpg(os.getpgid(0), signal.SIGKILL)
