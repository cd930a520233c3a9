"""How a command ends: its exit code, failures in one line, closed pipes, signals. Imports nothing heavy."""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Never

from toolchat.cli import signals
from toolchat.environment import refused
from toolchat.standard_streams import lead_nowhere, open_standard_streams
from toolchat.wire.errors import ExitCode, ToolchatError


def run(work: Callable[[], Any]) -> Never:
    """Do `work`, and exit with the code that it returns, or that its failure has; a failure is one line on stderr."""
    open_standard_streams()
    signals.install()
    code: int
    try:
        result = work()
        sys.stdout.flush()
        code = result if isinstance(result, int) else ExitCode.OK
    except ToolchatError as error:
        code = _say(error, error.exit_code)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except signals.Terminated as error:
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
