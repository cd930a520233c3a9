"""A process that runs calls: one call, or the calls of one stateful group, one after the other.

It is forked from the host, or, where forking is unsafe, started by it as an interpreter of its own
(`python -m toolchat.tools.host.child`). It sets the kernel's limits for itself, checks arguments, calls the function
and turns whatever that does into text and images. The tool's code shares the process, so nothing here may be needed
after that code has gone wrong: the chat judges by what comes out of the channel and by how the process ends.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import gc
import inspect
import io
import os
import re
import resource
import signal
import sys
import traceback
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Never

from toolchat.environment import NO_FOLDER, wanting
from toolchat.images.returned import without_pictures
from toolchat.process import adopt_orphans, die_with_parent
from toolchat.tools import bound, import_guard
from toolchat.tools.callable_reference import SAMPLES
from toolchat.tools.check import Rejected, check_arguments
from toolchat.tools.code import ToolsCode
from toolchat.tools.commands import CommandFailed
from toolchat.tools.host.channel import LOST_CHANNEL, BlockingChannel, ChannelClosed, out_of_the_way
from toolchat.tools.host.confine import call_ruleset, enter_call
from toolchat.tools.host.process_tree import uses_gpu
from toolchat.tools.host.protocol import PROGRAM, ChildRequest, ProcessSetup, Share, from_descriptor
from toolchat.tools.load import load_tools
from toolchat.tools.problems import missing_variable
from toolchat.tools.result import MAX_KEPT, MAX_RESULT, clean, error_text, result_text
from toolchat.tools.toolbox import MIB, LoadedTool, LoadedToolbox
from toolchat.tools.values import Yielded
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import ToolchatError
from toolchat.wire.excerpt import Excerpt, cut_to_bytes, shortened

MAX_OPEN_FILES = 4096
"""Of one process. Systems allow up to a million, and a kernel has a table for all users."""
_PART = 256 * 1024
"""Characters of a long result in one message."""

_SPARE_MEMORY = 64 * MIB
"""Beyond the limit, for telling the chat that it was reached."""

_MAX_TRACEBACK = 32 * 1024
_OWN_FILES = (__file__, bound.__file__)
"""Whose frames come before those of the tool."""

Say = Callable[[str], None]
"""Shows the user a line of progress."""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    content: str | Excerpt
    """For the model; of at most MAX_RESULT bytes, and fit for UTF-8."""
    ok: bool
    traceback: str = ""
    """For the log."""
    out_of_memory: bool = False
    images: tuple[str, ...] = ()
    """Files in base64."""
    whole: str = ""
    """All of the result, where `content` is an excerpt."""


class Executor:
    """Runs functions one after the other, the asynchronous ones on one event loop that is never closed.

    Closing it would wait for tasks that a tool left behind and that may swallow their cancellation; and a client
    that a stateful tool keeps belongs to the loop that it was made on.
    """

    def __init__(
        self, say: Say, redactor: Redactor | None = None, limits: Limits | None = None, *, has_file: bool = True
    ) -> None:
        """`has_file`: whether a tools file says how the functions are run, so that what it lacks may be the remedy."""
        self._say = say
        self.redactor = redactor or Redactor({})
        self._limits = limits or Limits()
        self._has_file = has_file
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, function: Callable[..., Any], values: dict[str, Any]) -> Outcome:
        """Call `function` with `values`. Never raises."""
        try:
            try:
                value, pictures = without_pictures(self._value(function(**values)))
                images = tuple(b64encode(one).decode() for one in pictures)
                text = self.redactor.text(result_text(value))
                excerpt = cut_to_bytes(text, MAX_RESULT)
                if excerpt is None:
                    return Outcome(text, ok=True, images=images)
                return Outcome(excerpt, ok=True, images=images, whole=text)
            finally:
                _flush()
        # SystemExit and KeyboardInterrupt too: raised by a tool they are its error, not the program's end.
        except BaseException as error:
            out_of_memory = isinstance(error, MemoryError)
            if out_of_memory:
                # Frees what the frames hold, for there may be no memory left to say anything in.
                error.with_traceback(None)
            text = self.redactor.text(_error_text(error, self._limits) if self._has_file else error_text(error))
            return Outcome(text, False, self.redactor.text(_traceback(error)), out_of_memory)

    def close(self) -> None:
        """Close the event loop, and wait for nothing that was left on it: for a process that goes on."""
        if self._loop is not None:
            self._loop.close()

    def end(self, used: Sequence[LoadedTool]) -> Never:
        """End this process in peace: close what the tools keep, run what `atexit` knows, and write what is buffered.

        The chat waits for a second. What goes wrong here can be told to nobody.
        """
        owners = {id(tool.owner): tool.owner for tool in used if tool.owner is not None}
        for owner in owners.values():
            with suppress(BaseException):
                self._close(owner)
        with suppress(BaseException):
            atexit._run_exitfuncs()
        with suppress(BaseException):
            flush_files()
        os._exit(0)

    def _close(self, owner: Any) -> None:
        kind = type(owner)
        for name, arguments in (
            ("close", ()),
            ("aclose", ()),
            ("__exit__", (None, None, None)),
            ("__aexit__", (None, None, None)),
        ):
            if callable(getattr(kind, name, None)):
                closing = getattr(owner, name)(*arguments)
                if inspect.isawaitable(closing):
                    self._wait(_awaited(closing))
                return

    def _value(self, returned: Any) -> Any:
        if inspect.isgenerator(returned):
            return self._drained(returned)
        if inspect.isasyncgen(returned):
            return self._wait(self._drained_async(returned))
        if inspect.isawaitable(returned):
            return self._wait(_awaited(returned))
        return returned

    def _drained(self, generator: Generator[Any, Any, Any]) -> Any:
        """What it returns in the end, and what it yields is progress; where it returns nothing, all that it yields."""
        yielded = Yielded()
        while True:
            try:
                value = next(generator)
            except StopIteration as end:
                return yielded.whole() if end.value is None else end.value
            yielded.add(value)
            self._progress(value)

    async def _drained_async(self, generator: AsyncGenerator[Any, Any]) -> Any:
        """An asynchronous generator cannot return a value: what it yields is its result."""
        yielded = Yielded()
        async for value in generator:
            yielded.add(value)
            self._progress(value)
        return yielded.whole()

    def _progress(self, value: Any) -> None:
        if value is not None:
            text = self.redactor.text(result_text(without_pictures(value)[0]))
            self._say(shortened(text, MAX_RESULT))

    def _wait(self, awaitable: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)


async def _awaited(value: Any) -> Any:
    return await value


def flush_files() -> None:
    """Write what files hold that a tool has left open."""
    gc.unfreeze()  # the host's own, which its modules have opened
    for item in gc.get_objects():
        if isinstance(item, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with suppress(BaseException):
                item.flush()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a call, as an error names them."""

    memory: int | None = None
    """Bytes that it may really take."""
    asked: int | None = None
    """Bytes that the tools file gives it."""


_NO_ROOM = re.compile(
    r"can't start new thread|[Cc]annot allocate memory|std::bad_alloc|memory exhausted"
    r"|pthread_create failed|insufficient memory for the Java Runtime|Could not reserve enough space|OutOfMemoryError"
    r"|failed to map segment|unable to create (?:new )?native thread"
)
"""What programs and libraries say where the memory limit of a call is what has stopped them."""


def _is_here(folder: str) -> bool:
    try:
        return Path(folder).samefile(".")
    except OSError:
        return False


def _error_text(error: BaseException, limits: Limits) -> str:
    """As `error_text`, with the limit or the key of the tools file that is the reason, where that is known."""
    text = f"Error: {error}" if isinstance(error, CommandFailed) else error_text(error)
    if limits.memory is not None and not isinstance(error, MemoryError) and _NO_ROOM.search(text):
        mib = limits.memory // MIB
        return f"{text}; the tool may take {mib} MiB of memory: raise memory: in the tools file, or have it take less"
    if (isinstance(error, OSError) and error.errno == errno.EMFILE) or "Too many open files" in text:
        return f"{text}; a process of a tool may have {MAX_OPEN_FILES} files open: close those that are done with"
    if (name := missing_variable(error)) is not None:
        return f"{text}; tools see few variables: if {name} is set, add env: [{name}] to the tool in the tools file"
    if wanting(error) == NO_FOLDER:
        return f"{text}; {NO_FOLDER}, or set cwd: in the tools file"
    termios = sys.modules.get("termios")
    if termios is not None and isinstance(error, termios.error) and errno.EPERM in error.args:
        return f"{text}; a tool that sets a terminal needs privileges: keep in the tools file"
    return text


def _flush() -> None:
    # A tool may have replaced or closed them.
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()


def _traceback(error: BaseException) -> str:
    with suppress(BaseException):
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename in _OWN_FILES:
            frames = frames.tb_next
        return shortened(clean("".join(traceback.format_exception(type(error), error, frames))), _MAX_TRACEBACK)
    return ""


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
