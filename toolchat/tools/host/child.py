"""A process that runs calls: one call, or the calls of one stateful group, one after the other.

It is forked from the host, or, where forking is unsafe, started by it as an interpreter of its own
(`python -m toolchat.tools.host.child`). It sets the kernel's limits for itself, checks arguments, calls the function
and turns whatever that does into text and images. The tool's code shares the process, so nothing here may be needed
after that code has gone wrong: the chat judges by what comes out of the channel and by how the process ends.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Never

from toolchat.process import adopt_orphans, die_with_parent
from toolchat.tools import import_guard
from toolchat.tools.argument_check import Rejected, check_arguments
from toolchat.tools.code import ToolsCode
from toolchat.tools.entry import SAMPLES
from toolchat.tools.host.channel import LOST_CHANNEL, BlockingChannel, ChannelClosed, out_of_the_way
from toolchat.tools.host.confine import call_ruleset, enter_call
from toolchat.tools.host.executor import MAX_OPEN_FILES, Executor, Limits, Outcome
from toolchat.tools.host.process_tree import uses_gpu
from toolchat.tools.host.protocol import PROGRAM, ChildRequest, ProcessSetup, Share, from_descriptor
from toolchat.tools.load import load_tools
from toolchat.tools.result import MAX_KEPT
from toolchat.tools.toolbox import MIB, LoadedTool, LoadedToolbox
from toolchat.tools.values import error_text
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import ToolchatError

_PART = 256 * 1024
"""Characters of a long result in one message."""

_SPARE_MEMORY = 64 * MIB
"""Beyond the limit, for telling the chat that it was reached."""


def enter(
    setup: ProcessSetup, parent: int, ruleset: int | None, channel: int, output: int
) -> tuple[BlockingChannel, int]:
    """Make this process what `setup` says; its channel, and the descriptor of its captured output."""
    die_with_parent(parent)
    # Orphans of the tool stay below this process, and so belong to this call, for as long as it lives.
    adopt_orphans()
    with suppress(PermissionError):  # started as a session's leader
        os.setsid()
    _restore_signals()
    _change_folder(setup)
    said = out_of_the_way(output)
    entered = BlockingChannel(channel, setup.token)
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
    for standard in (1, 2):
        os.dup2(said, standard)
    # One by one: where Python has taken the stream for one with a position, the second fails after it is done.
    for change in ({"line_buffering": True}, {"errors": "backslashreplace"}):
        with suppress(Exception):
            sys.stdout.reconfigure(**change)  # type: ignore[union-attr]
    with suppress(OSError):
        # Where memory runs out, the kernel is to end the tool rather than the model.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="utf-8")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_open_files()
    enter_call(ruleset)
    return entered, said


def _change_folder(setup: ProcessSetup) -> None:
    for folder in (setup.cwd, setup.folder):
        if folder is not None:
            with suppress(OSError):
                os.chdir(folder)


def serve(
    channel: BlockingChannel, output: int, loaded: LoadedToolbox, setup: ProcessSetup, given: Mapping[str, str]
) -> Never:
    """Answer the chat's requests, then end the process. The values of `given` are in no answer."""
    me = os.getpid()
    redactor = Redactor(given)
    if setup.folder is not None and not _is_here(setup.folder):
        what = f"its folder {setup.folder} is not there any more; expected it; make it again, or correct cwd:"
        channel.receive()
        channel.send({"op": "failed", "message": what})
        os._exit(1)
    limit = limit_memory(setup.memory) if setup.memory is not None and not uses_gpu() else None

    def say(text: str) -> None:
        rest = f"{text}\n".encode("utf-8", "replace")
        with suppress(OSError):
            while rest:
                rest = rest[os.write(output, rest) :]

    executor = Executor(say, redactor, Limits(limit, setup.memory))
    used: list[LoadedTool] = []
    try:
        while True:
            message, _ = channel.receive()
            if message["op"] == "end":
                executor.end(used)
            answer = _answer(message, loaded, executor, limit, used)
            if os.getpid() != me:  # the tool forked, and this is the copy
                os._exit(0)
            _send_parts(channel, answer.pop("whole", ""))
            channel.send(answer)
            if setup.once and answer["op"] in ("result", "refused"):
                os._exit(0)
    except ChannelClosed:
        os._exit(LOST_CHANNEL)


def _send_parts(channel: BlockingChannel, text: str) -> None:
    """The beginning of a result that is longer than one message may be, for its file."""
    room = MAX_KEPT
    for start in range(0, len(text), _PART):
        part = text[start : start + _PART]
        if (room := room - len(part.encode())) < 0:
            return
        channel.send({"op": "part", "text": part})


def _answer(
    message: dict[str, Any], loaded: LoadedToolbox, executor: Executor, limit: int | None, used: list[LoadedTool]
) -> dict[str, Any]:
    tool = loaded.get(message["tool"])
    if tool is None:
        return {"op": "rejected", "message": f'Error: there is no tool "{message["tool"]}" any more'}
    if message["digest"] not in (None, tool.tool.source_digest):
        return {"op": "rejected", "message": f"Error: not run: {tool.tool.name} has changed since it was shown"}
    if tool.tool.callable_ref in SAMPLES and (guard := import_guard.current()) is not None:
        guard.hide()
    try:
        checked = check_arguments(tool, message["arguments"])
    except BaseException as error:  # from a validator of the user's
        return {"op": "rejected", "message": executor.redactor.text(error_text(error))}
    if isinstance(checked, Rejected):
        return {"op": "rejected", "message": executor.redactor.text(checked.message)}
    if message["op"] == "check":
        digest = tool.tool.source_digest
        return {"op": "checked", "arguments": checked.arguments, "repaired": checked.repaired, "digest": digest}
    used.append(tool)
    try:
        outcome = executor.run(tool.function, checked.values)
    except MemoryError:  # also while it dealt with the first one
        outcome = Outcome("Error: MemoryError", ok=False, out_of_memory=True)
    if outcome.out_of_memory:
        use_spare_memory()
    if (refused := _refused()) is not None:
        return refused
    return {"op": "result", **asdict(outcome), "memory": limit}


def _refused() -> dict[str, Any] | None:
    """What to answer where code was imported that may not run, whether or not the tool minded."""
    guard = import_guard.current()
    if guard is None or (refusal := guard.refusal()) is None:
        return None
    return {"op": "refused", "message": str(refusal), "files": refusal.files}


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reseed() -> None:
    """Make numpy's random numbers this process's own. Python's own generator sees to itself after a fork."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with suppress(Exception):
            numpy_random.seed()


def run_forked(
    setup: ProcessSetup,
    parent: int,
    loaded: LoadedToolbox,
    ruleset: int | None,
    channel: int,
    output: int,
    given: Mapping[str, str],
) -> Never:
    """What a child forked from the host does. Never returns into the host's code."""
    try:
        entered, said = enter(setup, parent, ruleset, channel, output)
        reseed()
        serve(entered, said, loaded, setup, given)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _is_here(folder: str) -> bool:
    try:
        return Path(folder).samefile(".")
    except OSError:
        return False


def limit_memory(memory: int) -> int:
    """Bound this process's address space to its size and `memory` bytes, or to a hard limit that is lower.

    Returns how many bytes it may really take.
    """
    size = _address_space()
    soft, hard = size + memory, size + memory + _SPARE_MEMORY
    _, given = resource.getrlimit(resource.RLIMIT_AS)
    if given != resource.RLIM_INFINITY and given < hard:
        # `ulimit -v` of the user's: it holds, and nobody but root could raise it.
        hard = given
        soft = min(soft, max(given - _SPARE_MEMORY, size))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return soft - size


def use_spare_memory() -> None:
    """Let the process say that it has reached its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def limit_open_files() -> None:
    """Bound how many files this process, and each that it starts, may hold open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most if soft == resource.RLIM_INFINITY else min(soft, most), most))


def _address_space() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def main() -> Never:
    """What an interpreter of its own does: `-m toolchat.tools.host.child REQUEST`."""
    request = ChildRequest.decode(from_descriptor(int(sys.argv[1])))
    # What a module of the user's, or a tool, finds there: a program without arguments.
    sys.argv[:] = [PROGRAM]
    setup = request.setup
    channel, said = enter(setup, request.parent, call_ruleset(request.abi), request.channel, os.dup(1))
    try:
        try:
            code = ToolsCode.from_descriptor(request.code)
            os.close(request.code)
            import_guard.install(code)
            # Its own module, and not all those of the file: each call pays for the imports here.
            loaded = load_tools(
                code,
                only=lambda entry: Share.of(entry.options) == request.share and entry.order in setup.orders,
                given=request.given,
            )
        except ToolchatError as error:
            channel.send(_refused() or {"op": "failed", "message": Redactor(request.given).text(str(error))})
            os._exit(1)
        if (refused := _refused()) is not None:
            channel.send(refused)
            os._exit(1)
        _change_folder(setup)
        serve(channel, said, loaded, setup, request.given)
    except ChannelClosed:
        os._exit(LOST_CHANNEL)


if __name__ == "__main__":
    main()
