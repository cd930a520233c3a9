"""The flags --record, --replay and --recorded-results: what they name, checked before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchat.session.startup import Plan
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Cassette


def cassette_to_replay(replay: str | None, recorded_results: bool, flags: Mapping[str, Any]) -> Cassette | None:
    """The cassette that --replay names. Raises UsageError where it cannot be read, or contradicts other flags."""
    from toolchat.wire.errors import UsageError

    if replay is None:
        if recorded_results:
            raise UsageError("--recorded-results: is for the cassette of --replay FILE; name one")
        return None
    for name in ("model", "server"):
        if flags[name] is not None:
            raise UsageError(f"--replay and --{name} do not go together: a cassette answers, and no model")
    from toolchat.settings import user_path
    from toolchat.store.cassettes import read_cassette

    return read_cassette(user_path(replay))


def check_record(record: str | None) -> None:
    """Raise UsageError where --record names what is there already: nothing is to be loaded for that."""
    if record is None:
        return
    from toolchat.settings import user_path
    from toolchat.wire.errors import UsageError

    if os.path.lexists(user_path(record)):
        raise UsageError(f"--record {record}: is there already; remove it, or name another file")


def tape_for(record: str | None, command: str, plan: Plan) -> CassetteWriter | None:
    """The cassette that --record names, a new file. Raises UsageError where it cannot be written."""
    if record is None:
        return None
    import time

    import toolchat
    from toolchat.settings import user_path
    from toolchat.settings.check import keys
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Header
    from toolchat.store.redaction import Redaction

    header = Header(f"toolchat {toolchat.__version__}", command, plan.model, round(time.time(), 3))
    known = dict.fromkeys((*([plan.settings.api_key] if plan.settings.api_key else []), *keys()))
    more = {f"API_KEY{number or ''}": key for number, key in enumerate(known)}
    return CassetteWriter(user_path(record), header, Redaction.here(more=more))


def replaying(cassette: Cassette | None) -> dict[str, Any]:
    """What `open_session` is given to have the recorded results of calls; nothing where tools run."""
    if cassette is None:
        return {}
    from toolchat.session.replaying import RecordedRunner

    runner = RecordedRunner(cassette)

    async def start() -> RecordedRunner:
        return runner

    return {"start_tools": start, "decide": runner.decide}
