"""From how a turn ended to the code the process answers with (DESIGN.md, "What bad input gets")."""

from __future__ import annotations

from toolchat.wire.errors import ExitCode
from toolchat.wire.events import TurnFinished, TurnStatus

_CODES = {
    TurnStatus.INTERRUPTED: ExitCode.INTERRUPTED,
    TurnStatus.ENGINE_FAILED: ExitCode.ENGINE,
    TurnStatus.LIMIT: ExitCode.LIMIT,
    TurnStatus.TRUNCATED: ExitCode.TRUNCATED,
}


def exit_code(finished: TurnFinished) -> ExitCode:
    """The first that applies."""
    if finished.status in _CODES:
        return _CODES[finished.status]
    return ExitCode.DECLINED if finished.declined else ExitCode.OK
