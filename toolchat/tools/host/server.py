"""The host: imports the modules that a tools file names, and forks a process for each call.

It never runs a tool itself, and after the imports it runs no code but its own: it forks, kills and reaps until the
chat goes, and then ends whatever is left below it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Never

from toolchat.tools.code import ToolsCode
from toolchat.tools.host import child
from toolchat.tools.host.channel import LOST_CHANNEL, Channel, ChannelClosed, out_of_the_way
from toolchat.tools.host.environment import PYTHON, hidden_names
from toolchat.tools.host.loading import load
from toolchat.tools.host.processes import adopt_orphans, children, die_with_parent, kill_tree, open_standard_streams
from toolchat.tools.toolbox import LoadedToolbox

_END_SECONDS = 2.0


class Host:
    """Forks, kills and reaps, until the chat's end of `control` is closed."""

    def __init__(self, control: Channel, parent: int, code: int, loaded: LoadedToolbox | None, named: Sequence[str]):
        self._control = control
        self._parent = parent
        self._code = code
        """A descriptor, see `ToolsCode.from_descriptor`."""
        self._loaded = loaded
        """None where each call needs an interpreter of its own."""
        self._named = named
        self._numbers: dict[int, int] = {}
        """The chat's number of each process that runs calls, by its pid."""
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._older = children(os.getpid())
        """What the imported modules started: it belongs to no call."""

    def serve(self) -> Never:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        open_standard_streams()
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        die_with_parent(self._parent, signal.SIGTERM)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()  # each child would otherwise say it again
        gc.collect()
        gc.freeze()  # the collector of a child would otherwise touch, and so copy, every page
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        poll.register(self._control.fileno(), select.POLLIN)
        try:
            while os.getppid() == self._parent:
                ready = {fd for fd, _ in poll.poll()}
                if woken in ready:
                    with suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._reap()
                if self._control.fileno() in ready:
                    self._obey(*self._control.receive())
        except ChannelClosed:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            self._end()

    def _obey(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        match message:
            case {"op": "open", "number": number, "setup": setup} if len(fds) == 2:
                try:
                    self._open(number, child.Setup(**setup), *fds)
                except OSError as error:
                    self._control.send({"op": "failed", "number": number, "message": str(error)})
                finally:
                    for fd in fds:
                        os.close(fd)
            case {"op": "kill", "number": number}:
                for pid in [pid for pid, known in self._numbers.items() if known == number]:
                    kill_tree(pid)

    def _open(self, number: int, setup: child.Setup, channel: int, output: int) -> None:
        hidden = hidden_names(self._named, setup.env)
        if self._loaded is None:
            pid = self._start(setup, hidden, channel, output)
        else:
            me = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._control.close()
                os.close(self._code)
                child.run_forked(setup, me, self._loaded, hidden, channel, output)
        self._numbers[pid] = number

    def _start(self, setup: child.Setup, hidden: tuple[str, ...], channel: int, output: int) -> int:
        request = {
            "setup": asdict(setup),
            "parent": os.getpid(),
            "code": self._code,
            "hidden": hidden,
            "channel": channel,
        }
        process = subprocess.Popen(
            [sys.executable, *PYTHON, "-m", f"{__package__}.child", json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(channel, self._code),
            start_new_session=True,
        )
        self._started[process.pid] = process
        return process.pid

    def _reap(self) -> None:
        """Tell the chat which processes ended, once whatever they left behind is killed too."""
        ended: list[dict[str, Any]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            if (process := self._started.pop(pid, None)) is not None:
                process.returncode = code
            if (number := self._numbers.pop(pid, None)) is not None:
                ended.append({"op": "exited", "number": number, "code": code})
        # An orphan of a call that goes on is that call's process's; one that came to this process has lost its call.
        for pid in children(os.getpid()) - self._numbers.keys() - self._older:
            kill_tree(pid)
        for message in ended:
            self._control.send(message)

    def _end(self) -> Never:
        try:
            until = time.monotonic() + _END_SECONDS
            while time.monotonic() < until and (left := children(os.getpid())):
                for pid in left:
                    kill_tree(pid)
                with suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
                time.sleep(0.005)
        finally:
            os._exit(0)


def main() -> Never:
    """Be the host that the first argument, JSON, describes; see `toolchat.tools.host.client`."""
    request = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(request["parent"])
    adopt_orphans()
    control = Channel(request["fd"], request["token"])
    code = out_of_the_way(request["code"])
    try:
        if request["forks"]:
            loaded, named = load(control, ToolsCode.from_descriptor(code))
            host = Host(control, request["parent"], code, loaded, named)
        else:
            host = Host(control, request["parent"], code, None, request["named"])
    except ChannelClosed:
        os._exit(LOST_CHANNEL)
    host.serve()


if __name__ == "__main__":
    main()
