"""What is stored of sessions, read by a connection of its own, as another program would."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

DATABASE = Path("sessions.db")


def stored_rows(folder: Path, session: str | None = None) -> list[dict[str, Any]]:
    """The events of one session as JSON; of the last one made, unless it is named. None is there without a database."""
    if not (folder / DATABASE).exists():
        return []
    connection = sqlite3.connect(folder / DATABASE, timeout=10)
    try:
        found = connection.execute(
            "SELECT line FROM events WHERE session = (SELECT max(number) FROM sessions WHERE ? IN (id, '')) "
            "ORDER BY seq",
            (session or "",),
        )
        return [json.loads(line) for (line,) in found]
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        connection.close()


def integrity(folder: Path) -> str:
    """ "ok", or what SQLite finds wrong."""
    connection = sqlite3.connect(folder / DATABASE)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
