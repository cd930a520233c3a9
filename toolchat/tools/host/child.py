"""A process that runs calls: one call, or the calls of one stateful group, one after the other.

It is forked from the host, or, where forking is unsafe, started by it as an interpreter of its own
(`python -m toolchat.tools.host.child`). The tool's code shares it, so nothing here may be needed after that code has
gone wrong: the chat judges by what comes out of the channel and by how the process ends.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Never

from toolchat.tools import import_guard
from toolchat.tools.callable_text import SAMPLES
from toolchat.tools.check import Rejected, check_arguments
from toolchat.tools.code import ToolsCode
from toolchat.tools.host.channel import LOST_CHANNEL, Channel, ChannelClosed, out_of_the_way
from toolchat.tools.host.confine import call_ruleset, enter_call
from toolchat.tools.host.execute import Executor, Outcome
from toolchat.tools.host.limits import limit_memory, limit_open_files, use_spare_memory
from toolchat.tools.host.processes import adopt_orphans, die_with_parent, uses_gpu
from toolchat.tools.host.share import Share
from toolchat.tools.load import load_tools
from toolchat.tools.result import MAX_KEPT, error_text
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.wire.errors import ToolchatError

_PART = 256 * 1024
"""Characters of a long result in one message."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the chat wants a process to be."""

    token: str
    cwd: str | None
    """None where the chat's own folder is gone."""
    memory: int | None
    """Bytes beyond the process's size at its beginning; None for no limit."""
    once: bool
    """Whether it ends after one call."""


def enter(setup: Setup, parent: int, ruleset: int | None, channel: int, output: int) -> tuple[Channel, int]:
    """Make this process what `setup` says; its channel, and the descriptor of its captured output."""
    die_with_parent(parent)
    # Orphans of the tool stay below this process, and so belong to this call, for as long as it lives.
    adopt_orphans()
    with suppress(PermissionError):  # started as a session's leader
        os.setsid()
    _restore_signals()
    if setup.cwd is not None:
        with suppress(OSError):
            os.chdir(setup.cwd)
    said = out_of_the_way(output)
    link = Channel(channel, setup.token)
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
    for standard in (1, 2):
        os.dup2(said, standard)
    with suppress(Exception):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    with suppress(OSError):
        # Where memory runs out, the kernel is to end the tool rather than the model.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="utf-8")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_open_files()
    enter_call(ruleset)
    return link, said


def serve(channel: Channel, output: int, loaded: LoadedToolbox, setup: Setup) -> Never:
    """Answer the chat's requests, then end the process."""
    me = os.getpid()
    limit = limit_memory(setup.memory) if setup.memory is not None and not uses_gpu() else None

    def say(text: str) -> None:
        rest = f"{text}\n".encode("utf-8", "replace")
        with suppress(OSError):
            while rest:
                rest = rest[os.write(output, rest) :]

    executor = Executor(say)
    try:
        while True:
            message, _ = channel.receive()
            answer = _answer(message, loaded, executor, limit)
            if os.getpid() != me:  # the tool forked, and this is the copy
                os._exit(0)
            _send_parts(channel, answer.pop("whole", ""))
            channel.send(answer)
            if setup.once and answer["op"] in ("result", "refused"):
                os._exit(0)
    except ChannelClosed:
        os._exit(LOST_CHANNEL)


def _send_parts(channel: Channel, text: str) -> None:
    """The beginning of a result that is longer than one message may be, for its file."""
    room = MAX_KEPT
    for start in range(0, len(text), _PART):
        part = text[start : start + _PART]
        if (room := room - len(part.encode())) < 0:
            return
        channel.send({"op": "part", "text": part})


def _answer(message: dict[str, Any], loaded: LoadedToolbox, executor: Executor, limit: int | None) -> dict[str, Any]:
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
        return {"op": "rejected", "message": error_text(error)}
    if isinstance(checked, Rejected):
        return {"op": "rejected", "message": checked.message}
    if message["op"] == "check":
        digest = tool.tool.source_digest
        return {"op": "checked", "arguments": checked.arguments, "repaired": checked.repaired, "digest": digest}
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
    setup: Setup, parent: int, loaded: LoadedToolbox, ruleset: int | None, channel: int, output: int
) -> Never:
    """What a child forked from the host does. Never returns into the host's code."""
    try:
        entered, said = enter(setup, parent, ruleset, channel, output)
        reseed()
        serve(entered, said, loaded, setup)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def main() -> Never:
    """What an interpreter of its own does: `-m toolchat.tools.host.child REQUEST`."""
    request = json.loads(sys.argv[1])
    setup = Setup(**request["setup"])
    share = Share.decode(request["share"])
    channel, said = enter(setup, request["parent"], call_ruleset(request["abi"]), request["channel"], os.dup(1))
    try:
        try:
            code = ToolsCode.from_descriptor(request["code"])
            os.close(request["code"])
            import_guard.install(code)
            loaded = load_tools(code, only=lambda entry: Share.of(entry.options) == share)
        except ToolchatError as error:
            channel.send(_refused() or {"op": "failed", "message": str(error)})
            os._exit(1)
        if (refused := _refused()) is not None:
            channel.send(refused)
            os._exit(1)
        if setup.cwd is not None:
            with suppress(OSError):
                os.chdir(setup.cwd)
        serve(channel, said, loaded, setup)
    except ChannelClosed:
        os._exit(LOST_CHANNEL)


if __name__ == "__main__":
    main()
