"""The host: imports the modules that a tools file names, says what came of it, and forks a process for each call.

It never runs a tool itself, and after the imports it runs no code but its own: it forks, watches, kills and reaps
until the chat goes, and then ends whatever is left below it. Its parent, the guardian, does that where it cannot.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Never

from toolchat.environment import refused, working_folder
from toolchat.process import adopt_orphans, die_with_parent, reserve_standard_descriptors
from toolchat.tools import import_guard
from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.host import child
from toolchat.tools.host.channel import LOST_CHANNEL, BlockingChannel, ChannelClosed, out_of_the_way
from toolchat.tools.host.confine import Fence, call_ruleset
from toolchat.tools.host.guardian import split
from toolchat.tools.host.process_tree import children, kill_tree, own_size, tree_memory, unsafe_to_fork
from toolchat.tools.host.protocol import (
    PROGRAM,
    PYTHON_FLAGS,
    ChildRequest,
    HostRequest,
    ProcessSetup,
    Share,
    encode_toolbox,
    from_descriptor,
    shares,
    to_descriptor,
)
from toolchat.tools.load import load_tools
from toolchat.tools.problems import ToolsFileError
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.tools.tools_file import ToolsFile
from toolchat.tools.values import error_text
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import ToolchatError, UsageError

_END_SECONDS = 2.0
_LOOK_FIRST, _LOOK_LATER = 0.1, 0.5
"""Seconds between two looks at the memory of calls: the first while it changes, the second while nothing happens."""


@dataclass(slots=True)
class _Running:
    """A process that runs calls."""

    number: int
    """The chat's."""
    memory: int | None
    """Bytes that it and all that it started may take together; None for no limit."""
    hides: bool = False
    """Whether, at the last look, a process of its hid its open files, so that its memory could not be counted."""
    killed_for: Literal["", "memory", "hidden"] = ""
    """Why this process killed it, if it did: for taking more, or for hiding what it takes."""


@dataclass(slots=True)
class _Looks:
    """When to look at the memory of calls next."""

    every: float = _LOOK_FIRST
    at: float = 0.0
    seen: list[int] = field(default_factory=list)


class HostServer:
    """Forks, kills and reaps, until the chat's end of `control` is closed."""

    def __init__(
        self,
        control: BlockingChannel,
        parent: int,
        code: int,
        loaded: LoadedToolbox | None,
        *,
        share: Share,
        abi: int,
        size: int,
        given: Mapping[str, str],
    ) -> None:
        self._control = control
        self._given = given
        """The values of the share's variables in arguments."""
        self._parent = parent
        self._code = code
        """A descriptor, see `ToolsCode.from_descriptor`."""
        self._loaded = loaded
        """None where each call needs an interpreter of its own."""
        self._share = share
        self._abi = abi if not share.keeps_privileges else 0
        self._ruleset = call_ruleset(self._abi) if loaded is not None else None
        self._size = size
        """Bytes that a process has after the imports, before its call."""
        self._running: dict[int, _Running] = {}
        """The processes that run calls, by pid."""
        self._looks = _Looks()
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._own: list[int] = []
        """Descriptors that no call may have: who reads the host's signals keeps it from hearing of its calls."""
        self._older = children(os.getpid())
        """What the imported modules started: it belongs to no call."""

    def serve(self) -> Never:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        reserve_standard_descriptors()
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._own = [woken, wake, self._code]
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
                ready = {fd for fd, _ in poll.poll(self._until_look())}
                if woken in ready:
                    with suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._reap()
                if self._control.fileno() in ready:
                    self._obey(*self._control.receive())
                self._look()
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
                    self._open(number, ProcessSetup.decode(setup), *fds)
                except OSError as error:
                    self._control.send({"op": "failed", "number": number, "message": str(error)})
                finally:
                    for fd in fds:
                        os.close(fd)
            case {"op": "kill", "number": number}:
                for pid in [pid for pid, running in self._running.items() if running.number == number]:
                    kill_tree(pid)

    def _open(self, number: int, setup: ProcessSetup, channel: int, output: int) -> None:
        if self._loaded is None:
            pid = self._start(setup, channel, output)
        else:
            me = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._control.close()
                signal.set_wakeup_fd(-1)
                for fd in self._own:
                    os.close(fd)
                child.run_forked(setup, me, self._loaded, self._ruleset, channel, output, self._given)
        # Calls that come one upon the other must not put off the look at those before.
        soon = time.monotonic() + _LOOK_FIRST
        self._looks = _Looks(at=min(self._looks.at, soon) if self._running else soon)
        self._running[pid] = _Running(number, setup.memory + self._size if setup.memory is not None else None)

    def _until_look(self) -> int | None:
        """Milliseconds until memory is looked at next; None where no call has a limit."""
        if all(running.memory is None for running in self._running.values()):
            return None
        return max(int((self._looks.at - time.monotonic()) * 1000), 0) + 1

    def _look(self) -> None:
        """Kill the calls that take more than their memory with all that they started."""
        if time.monotonic() < self._looks.at:
            return
        seen: list[int] = []
        for pid, running in self._running.items():
            if running.memory is None or running.killed_for:
                continue
            taken = tree_memory(pid, running.memory)
            # What keeps its privileges may run setuid programs, which are hidden from their user.
            hides = taken.hidden and not self._share.keeps_privileges
            seen += [taken.size, int(hides and not running.hides)]
            if taken.size > running.memory:
                running.killed_for = "memory"
            elif hides and running.hides:  # not at once: `sudo`, which says at once that it cannot work, does no harm
                running.killed_for = "hidden"
            running.hides = hides
            if running.killed_for:
                kill_tree(pid)
        self._end_strays()
        looks = self._looks
        looks.every = min(looks.every * 2, _LOOK_LATER) if seen == looks.seen else _LOOK_FIRST
        looks.seen = seen
        looks.at = time.monotonic() + looks.every

    def _start(self, setup: ProcessSetup, channel: int, output: int) -> int:
        request = to_descriptor(
            ChildRequest(setup, os.getpid(), channel, self._code, self._share, self._abi, self._given)
        )
        try:
            process = subprocess.Popen(
                [sys.executable, *PYTHON_FLAGS, "-m", f"{__package__}.child", str(request)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(channel, self._code, request),
                start_new_session=True,
            )
        finally:
            os.close(request)
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
            self._older.discard(pid)  # the number may come again, as that of something a call leaves
            code = os.waitstatus_to_exitcode(status)
            if (process := self._started.pop(pid, None)) is not None:
                process.returncode = code
            if (running := self._running.pop(pid, None)) is not None:
                ended.append({"op": "exited", "number": running.number, "code": code, "killed_for": running.killed_for})
        self._end_strays()
        for message in ended:
            self._control.send(message)

    def _end_strays(self) -> None:
        """Kill what has lost its call, or was made this process's child to escape the limits of its call.

        An orphan of a call that goes on is that call's process's, unless the tool has seen to it that it is not.
        """
        for pid in children(os.getpid()) - self._running.keys() - self._older:
            kill_tree(pid)

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


def load(
    control: BlockingChannel, code: ToolsCode, share: Share | None, fence: Fence, given: Mapping[str, str]
) -> tuple[Share, LoadedToolbox, Mapping[str, str]]:
    """The loaded tools of `share`; of the file's first where that is None. Ends the process where it cannot.

    `given` are the values of the share's variables in arguments, which are returned with it.
    """
    cwd, path = working_folder(), code.path
    try:
        guard = import_guard.install(code)
        file, _ = code.scan()  # its problems are for load_tools to report, with its own
        if share is None:
            share, given = _first_share(control, file)
        confined = share.keeps_privileges or fence.enter()
        with _Watch(control, file):
            loaded = load_tools(code, only=lambda entry: Share.of(entry.options) == share, given=given)
    except ToolchatError as error:
        installed = import_guard.current()
        _refuse(control, path, (installed.refusal() if installed is not None else None) or error, given)
    except ChannelClosed:
        raise
    except BaseException as error:
        what = refused(error) or " ".join(error_text(error).removeprefix("Error: ").split())
        _refuse(control, path, UsageError(f"{path}: the tools cannot be loaded: {what}"), given)
    if (refusal := guard.refusal()) is not None:  # which the code that was refused its import may not have minded
        _refuse(control, path, refusal, given)
    if cwd is not None:
        with suppress(OSError):
            os.chdir(cwd)
    reason = unsafe_to_fork()
    toolbox = loaded.toolbox
    if reason is not None:
        what = f"{path}: {reason}; each call therefore starts Python anew and imports the tools again, which is slower"
        toolbox = replace(toolbox, notices=(*toolbox.notices, what))
    told = Redactor(given).data(encode_toolbox(toolbox))
    learned = {} if code.closed or code.loaded else guard.code.learned(loaded.imported)
    known = {"toolbox": told, "forks": reason is None, "size": own_size(), "confined": confined, "learned": learned}
    control.send({"op": "loaded", **known})
    return share, loaded, given


def _first_share(control: BlockingChannel, file: ToolsFile) -> tuple[Share, Mapping[str, str]]:
    """Tells the chat what hosts the file takes, and has its values for the variables of the first: this one."""
    found = shares(entry.options for entry in file.entries)
    control.send({"op": "shares", "shares": [asdict(share) for share in found]})
    answer, _ = control.receive()
    os.environ.update(answer["values"])
    return found[0], answer["given"]


def _refuse(control: BlockingChannel, path: Path, error: ToolchatError, given: Mapping[str, str]) -> Never:
    message, files = (f"{path}: {error}", error.files) if isinstance(error, NotAccepted) else (str(error), ())
    told = {"problems": error.problems, "notes": error.notes} if isinstance(error, ToolsFileError) else {}
    try:
        control.send(Redactor(given).data({"op": "refused", "message": message, "files": files, **told}))
    finally:
        os._exit(1)


class _Watch:
    """Tells the chat which module is being imported, so that it can name the one that ends or hangs this process."""

    def __init__(self, control: BlockingChannel, file: ToolsFile) -> None:
        self._control = control
        self._modules = {entry.target.where for entry in file.entries}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self._modules:
            self._control.send({"op": "importing", "module": name})
        return None

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):
            sys.meta_path.remove(self)


def main() -> Never:
    """Be the host that the first argument, a `HostRequest`, describes."""
    request = HostRequest.decode(from_descriptor(int(sys.argv[1])))
    # What a module of the user's, or a tool, finds there: a program without arguments.
    sys.argv[:] = [PROGRAM]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = split(request.parent, request.channel)
    adopt_orphans()
    control = BlockingChannel(request.channel, request.token)
    code, abi, share, size = out_of_the_way(request.code), request.abi, request.share, request.size
    fence = Fence(abi, request.terminals)
    loaded, given = None, request.given
    try:
        if request.forks:
            share, loaded, given = load(control, ToolsCode.from_descriptor(code), share, fence, given)
            size = own_size()
        elif share is not None and not share.keeps_privileges:
            fence.enter()
        host = HostServer(control, parent, code, loaded, share=share or Share(), abi=abi, size=size, given=given)
    except ChannelClosed:
        os._exit(LOST_CHANNEL)
    host.serve()


if __name__ == "__main__":
    main()
