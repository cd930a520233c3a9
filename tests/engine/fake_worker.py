"""Takes the place of `python -m toolchat.engine.worker`: speaks its protocol, without vLLM, and misbehaves as told.

Run as `fake_worker.py STEPS --fd N --parent PID`. STEPS are what it does when it has read its configuration; each
question is steps too, for the answer to it. Steps are separated by "; ", and a step is a word and its argument.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchat.engine.config import EngineConfig
from toolchat.engine.worker.channel import Channel
from toolchat.process import die_with_parent
from toolchat.wire.codec import decode_prompt, encode_count, encode_delta
from toolchat.wire.deltas import Delta, Finished, FinishReason, Text, TokenCount, Usage

COMMAND = (sys.executable, "-P", __file__)
LOADS = "state importing; state loading weights; ready"
COUNT = TokenCount(7, (2,), (4,), 1)


class FakeWorker:
    """What it was told and what it does; a step that is not a method here is an error of the test's."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._channel = Channel(sock)
        self._heard: list[str] = []
        self._request = ""
        """The one whose answer is being given."""
        self._under_way: set[str] = set()
        self._listens = False
        self._context: int | None = None
        self._temperature: float | None = None

    def serve(self, loading: str) -> None:
        self._config = EngineConfig.read(self._channel.receive())
        self._run(loading)
        while True:
            if self._listens:
                self._handle(self._channel.commands.get())
            else:
                command = self._channel.receive()
                self._handle(command | {"id": f"0-{command['id']}"})

    def _handle(self, command: dict[str, Any]) -> None:
        match command["op"]:
            case "keep":
                self._channel.keep(command)
                return
            case "gone":
                self._heard.append("gone")
                for request in [request for request in self._under_way if request.startswith(f"{command['client']}-")]:
                    self._heard.append(f"ended {request.partition('-')[2]}")
                    self._under_way.discard(request)
                return
        self._heard.append(f"{command['op']} {command['id'].partition('-')[2]}")
        self._request = command["id"]
        self._context = command.get("context")
        self._temperature = command.get("options", {}).get("temperature")
        match command["op"]:
            case "generate" | "count" as op:
                messages, _ = decode_prompt(command)
                self._under_way.add(self._request)
                if op == "count" and messages[-1].content == "count":
                    self._channel.send({"op": "count", "id": self._request, "count": encode_count(COUNT)})
                else:
                    self._run(messages[-1].content)
            case "abort" if self._request in self._under_way:
                self._finish(FinishReason.ABORT)

    def _run(self, steps: str) -> None:
        for step in steps.split("; "):
            word, _, argument = step.partition(" ")
            act: Callable[[str], None] = getattr(self, f"do_{word}")
            act(argument)

    def _deltas(self, *deltas: Delta) -> None:
        self._channel.send({"op": "deltas", "id": self._request, "deltas": [encode_delta(delta) for delta in deltas]})

    def _finish(self, reason: FinishReason) -> None:
        self._under_way.discard(self._request)
        self._deltas(Finished(reason, Usage(prompt_tokens=3, completion_tokens=1)))

    def do_state(self, name: str) -> None:
        self._channel.send({"op": "state", "state": name})

    def do_ready(self, _: str) -> None:
        known = {
            "context_window": 512,
            "tokenizer_version": 13,
            "constrains_calls": True,
            "supports_reasoning": False,
            "supports_images": False,
        }
        details = {"device": "none", "pid": str(os.getpid()), "temporary folder": os.environ.get("TMPDIR", "")}
        self._channel.send({"op": "ready", **known, "reasoning_efforts": ["none", "high"], "details": details})

    def do_listen(self, _: str) -> None:
        """As the real worker does: from then on several clients are served, and a starter that goes is noticed."""
        self._channel.listen(self._config.context)
        self._listens = True

    def do_me(self, _: str) -> None:
        """Say which process this is, of which model, and the context that the client keeps to."""
        self.do_say_and_finish(f"{os.getpid()} {self._config.model} {self._context}")

    def do_temperature(self, _: str) -> None:
        self.do_say_and_finish(str(self._temperature))

    def do_look(self, _: str) -> None:
        """Say what this process has: its environment, folder, terminal, parent's death signal, open files."""
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
            terminal = True
        except OSError:
            terminal = False
        files = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # that of this very look
                files.append(str(link.readlink()))
        facts = {"environment": dict(os.environ), "folder": str(Path.cwd()), "terminal": terminal, "files": files}
        self.do_say_and_finish(json.dumps(facts))

    def do_failed(self, message: str) -> None:
        self._channel.send({"op": "failed", "message": message})

    def do_say(self, text: str) -> None:
        self._deltas(Text(text))

    def do_finish(self, _: str) -> None:
        self._finish(FinishReason.STOP)

    def do_say_and_finish(self, text: str) -> None:
        """In one message, as the real worker sends the last of them."""
        self._under_way.discard(self._request)
        self._deltas(Text(text), Finished(FinishReason.STOP, Usage()))

    def do_wait(self, _: str) -> None:
        """Leave this request open, and serve others: only an abort ends it."""

    def do_error(self, message: str) -> None:
        self._under_way.discard(self._request)
        self._channel.send({"op": "error", "id": self._request, "message": message})

    def do_overflow(self, message: str) -> None:
        row = {"op": "overflow", "id": self._request, "message": message, "count": encode_count(COUNT), "context": 512}
        self._channel.send(row)

    def do_heard(self, _: str) -> None:
        """Say which commands came."""
        self.do_say_and_finish(json.dumps(self._heard))

    def do_raw(self, text: str) -> None:
        """A line as it stands here, with bytes above 127 as they are numbered in Latin-1."""
        self._socket.sendall(text.encode("latin-1") + b"\n")

    def do_half(self, text: str) -> None:
        """The beginning of a line."""
        self._socket.sendall(text.encode())

    def do_endless(self, size: str) -> None:
        """A line of so many bytes."""
        self._socket.sendall(b" " * int(size) + b"\n")

    def do_leave(self, file: str) -> None:
        """Start a process in this one's group and write its id into `file`."""
        process = subprocess.Popen(["sleep", "600"])
        Path(file).write_text(str(process.pid), encoding="utf-8")

    def do_exit(self, code: str) -> None:
        os._exit(int(code))

    def do_signal(self, number: str) -> None:
        os.kill(os.getpid(), int(number))

    def do_hang(self, _: str) -> None:
        while True:
            signal.pause()

    def do_close(self, _: str) -> None:
        """Close the socket and go on living."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.do_hang("")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(arguments.parent)
    FakeWorker(socket.socket(fileno=arguments.fd)).serve(arguments.steps)


if __name__ == "__main__":
    main()
