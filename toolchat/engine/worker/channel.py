"""The worker's side of the socket, and its life: it ends when its parent does, however that ends."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import socket
import threading
from typing import Any

from toolchat.wire.codec import line

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""
PR_SET_DUMPABLE = 4
"""prctl(2): whether other processes of this user may trace this one."""


class Channel:
    """The worker's end of the socket: commands in, by a thread of its own; messages out, whole lines at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

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
            while True:
                self.commands.put(self.receive())

        threading.Thread(target=read, name="commands", daemon=True).start()

    def send(self, *messages: dict[str, Any]) -> None:
        try:
            self._socket.sendall(b"".join(map(line, messages)))
        except OSError:
            end_with_parent()


def end_with_parent() -> None:
    """End at once, with every process this one started: whoever asked for the answer is gone."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent` ends, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the fork and the line above
        os._exit(1)


def hide_memory() -> None:
    """Let no tool read this process's environment, tokens among it, nor its memory with the conversation in it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
