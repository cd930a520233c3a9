"""Errors that are reported in one line, each with the exit code that a script sees."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process answers to its caller; the first that applies (DESIGN.md, "What bad input gets")."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    ENGINE = 3
    DECLINED = 4
    LIMIT = 5
    TRUNCATED = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class ToolchatError(Exception):
    """A failure with a message fit to be shown as it is: what is wrong, where, and what to do.

    The message is one line, without "Error:" before it and without a traceback after it.
    """

    exit_code = ExitCode.FAILURE


class UsageError(ToolchatError):
    """A flag, a setting or a file that the user named is wrong."""

    exit_code = ExitCode.USAGE


class EngineError(ToolchatError):
    """The model could not be loaded, or the engine failed while it answered."""

    exit_code = ExitCode.ENGINE
