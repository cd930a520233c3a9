"""The one stream of a session's events: each is given its place, recorded, and then shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from toolchat.store.record import SessionRecord, new_session_id
from toolchat.wire.events import Event, EventBody, Notice, Stamper


class Stream:
    """Every event is on disk before `show` is called with it."""

    def __init__(self, records: Path, show: Callable[[Event], None]) -> None:
        self.session = new_session_id()
        self.record = SessionRecord(records, self.session)
        self.stamp = Stamper(self.session, time.time)
        self._show = show
        self._told_unrecorded = False

    def emit(self, body: EventBody) -> None:
        """Something happened, between turns or beside one."""
        self.pass_on(self.stamp(body))

    def only_record(self, body: EventBody) -> None:
        """Something happened that nobody is there to be shown."""
        self.record.append(self.stamp(body))

    def pass_on(self, event: Event) -> None:
        """The same, for an event that has its place."""
        self.record.append(event)
        self._show(event)
        if self.record.failure is not None and not self._told_unrecorded:
            self._told_unrecorded = True
            self._show(self.stamp(Notice(self.record.loss)))
