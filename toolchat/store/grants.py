"""Stores permanent grants: which tools a user allowed for good, in a private file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchat.private_file import PrivateFile
from toolchat.store.state import GRANTS
from toolchat.tools.rules import Grant

_VERSION = 1


class GrantStore:
    """Grants in `state_dir`. The file is read at every question, so that what is revoked elsewhere ends at once."""

    def __init__(self, state_dir: Path) -> None:
        self._file = PrivateFile(state_dir / GRANTS)

    def granted(self) -> tuple[Grant, ...]:
        """All grants, oldest first. A file that is broken, as a whole or in part, grants nothing by that."""
        return _grants(self._file.read())

    def add(self, grant: Grant) -> None:
        """Keep a grant.

        Raises:
            ToolchatError: the file cannot be written.
        """
        self._file.change(lambda data: _data([*(old for old in _grants(data) if old != grant), grant]))

    def revoke(self, tool: str | None = None, callables: Collection[str] = ()) -> tuple[Grant, ...]:
        """Forget the grants of tools of that name, or all; those that there were.

        `callables` are what has that name now: a grant holds for code, under whatever name it was given.

        Raises:
            ToolchatError: the file cannot be written.
        """
        revoked: list[Grant] = []

        def meant(grant: Grant) -> bool:
            return tool is None or grant.tool == tool or grant.callable_ref in callables

        def change(data: Any) -> Any:
            grants = _grants(data)
            revoked[:] = [grant for grant in grants if meant(grant)]
            return _data(grant for grant in grants if not meant(grant))

        if self.granted():
            self._file.change(change)
        return tuple(revoked)


def _data(grants: Iterable[Grant]) -> Any:
    return {"version": _VERSION, "grants": [asdict(grant) for grant in grants]}


def _grants(data: Any) -> tuple[Grant, ...]:
    match data:
        case {"version": 1, "grants": list(rows)}:
            return tuple(grant for row in rows if (grant := read_grant(row)) is not None)
    return ()


def read_grant(row: Any) -> Grant | None:
    """The grant of such a row; None for what is none."""
    match row:
        case {
            "digest": str(digest),
            "arguments": str() | None as arguments,
            "tool": str(tool),
            "callable_ref": str(reference),
        } if digest:
            return Grant(digest, arguments, tool, reference)
    return None
