"""How a command runs and ends: signals, its event loop, its exit code, failures in one line. Imports nothing heavy.

SIGINT, SIGTERM and SIGHUP unwind the program, so that every `finally` runs and no process is left. Where SIGINT or
SIGHUP are ignored when it starts, they stay so.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Never, TypeVar

from toolchat.environment import refused
from toolchat.standard_streams import lead_nowhere, open_standard_streams
from toolchat.wire.errors import ExitCode, ToolchatError

T = TypeVar("T")


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; unwinds as KeyboardInterrupt does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _heed_signals() -> None:
    """Have SIGTERM and SIGHUP raise `Terminated` in the main thread, while no event loop runs."""
    for number in _ending():
        signal.signal(number, _raise)


def _ending(*more: signal.Signals) -> list[signal.Signals]:
    # nohup(1) has SIGHUP ignored, and a script SIGINT for what it starts with "&": both mean it.
    heeded = [number for number in (*more, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGTERM, *heeded]


def _raise(number: int, _: FrameType | None) -> Never:
    # Once is enough: a second one would cut the cleaning up short.
    for other in _ending():
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)


def run_async(main: Callable[[Interrupts], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in a new event loop. A signal cancels it, and is raised once it has cleaned up.

    `main` is given an `Interrupts`, with which it can take Ctrl-C for itself for a while.
    """
    import asyncio

    async def supervised() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        interrupts = Interrupts()
        came: list[int] = []

        def stop(number: int) -> None:
            if number == signal.SIGINT and interrupts.taken_by is not None:
                interrupts.taken_by()
                return
            # A second one, while the first is being cleaned up, changes nothing.
            if not came:
                task.cancel()
            came.append(number)

        for number in _ending(signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        try:
            return await main(interrupts)
        except asyncio.CancelledError:
            if not came:
                raise
            if came[0] == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise Terminated(came[0]) from None

    with asyncio.Runner() as runner:
        return runner.run(supervised())


class Interrupts:
    """Who is told of Ctrl-C; nobody means that it ends the program."""

    def __init__(self) -> None:
        self.taken_by: Callable[[], None] | None = None

    @contextlib.contextmanager
    def to(self, handler: Callable[[], None]) -> Iterator[None]:
        """Within the block, Ctrl-C calls `handler` and nothing else."""
        self.taken_by = handler
        try:
            yield
        finally:
            self.taken_by = None


def run(work: Callable[[], Any]) -> Never:
    """Do `work`, and exit with the code that it returns, or that its failure has; a failure is one line on stderr."""
    open_standard_streams()
    _heed_signals()
    code: int
    try:
        result = work()
        sys.stdout.flush()
        code = result if isinstance(result, int) else ExitCode.OK
    except ToolchatError as error:
        code = _say(error, error.exit_code)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Terminated as error:
        code = 128 + error.number
    except SystemExit as error:
        # click answers a closed pipe with sys.exit(1) before anyone else can.
        code = ExitCode.BROKEN_PIPE if _reader_has_gone() else int(error.code or 0)
    except BrokenPipeError as error:
        code = ExitCode.BROKEN_PIPE if _reader_has_gone() else _say(error, ExitCode.FAILURE)
    except Exception as error:
        code = _say(error, ExitCode.FAILURE)
    _end(code)


def _say(error: Exception, code: int) -> int:
    if os.environ.get("TOOLCHAT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    from toolchat.ui.text.sanitize import sanitize

    # File names, and what servers answer, are others' text.
    told = str(error) if isinstance(error, ToolchatError) else refused(error)
    if told is not None:
        print(f"toolchat: {sanitize(told)}", file=sys.stderr)
    else:
        reason = sanitize(" ".join(str(error).split()))
        print(
            f"toolchat: unexpected {type(error).__name__}: {reason} (please report it; --debug shows more)",
            file=sys.stderr,
        )
    return code


def _reader_has_gone() -> bool:
    """True where standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(what & select.POLLERR for _, what in poll.poll(0))


def _end(code: int) -> Never:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    except OSError as error:
        code = code or _say(error, ExitCode.FAILURE)
        lead_nowhere(1)
    if code == ExitCode.BROKEN_PIPE:
        # The interpreter would flush once more at exit, and complain.
        lead_nowhere(1)
        lead_nowhere(2)
    # What is left lives until the process ends: the interpreter would look once more whether it is garbage.
    gc.freeze()
    sys.exit(code)
