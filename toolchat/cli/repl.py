"""`toolchat repl`: the chat in the terminal."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.cli.given import (
    cassette_to_replay,
    check_record,
    recorded_tools,
    session_to_open,
    settings_flags,
    tape_for,
)

if TYPE_CHECKING:  # the prompt is not to wait for any of these
    from toolchat.chat.approval import Ask
    from toolchat.session.session import Session
    from toolchat.session.startup import Plan
    from toolchat.session.stream import Show
    from toolchat.settings import Settings
    from toolchat.store.cassettes import Cassette
    from toolchat.store.sessions import Opened
    from toolchat.tools.code import ToolsCode


def chat(given: Mapping[str, Any]) -> int:
    """Chat as the flags say, by the names of `main.repl`'s parameters; the exit code. Raises ToolchatError."""
    # The collector's rounds over modules would come before the prompt; `_Opening` has it look again.
    gc.disable()
    if given["offline"]:
        from toolchat.offline import go_offline

        go_offline()
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import open_state

    flags = settings_flags(given)
    open_state(state_folder())
    settings = resolve(flags)
    check_record(given["record"])
    cassette = cassette_to_replay(given["replay"], given["recorded_results"], flags)
    opened = session_to_open(given["resume"], given["continue_"], settings.store, "--resume")
    if opened is not None and cassette is None:
        from toolchat.session.past import with_model

        flags = with_model(flags, opened.record.transcript.model)
        settings = resolve(flags)
    opening = _Opening(
        flags,
        None if given["no_tools"] or given["recorded_results"] else choose_tools_file(settings),
        {name: given[name] for name in ("yes", "allow", "deny")},
        opened,
        given["name"],
        record=given["record"],
        cassette=cassette,
        recorded_results=given["recorded_results"],
        debug=bool(os.environ.get("TOOLCHAT_DEBUG")),
    )
    try:
        plain = given["plain"] or is_plain(os.environ)
        return _chat(opening, settings, plain=plain, no_history=given["no_history"])
    finally:
        if opening.hint and sys.stderr is not None and sys.stderr.isatty():
            print(opening.hint, file=sys.stderr)


def _chat(opening: _Opening, settings: Settings, *, plain: bool, no_history: bool) -> int:
    """The chat, until it is left; its exit code."""
    from toolchat.cli.running import Interrupts, run_async
    from toolchat.settings import state_folder
    from toolchat.store.state import HISTORY

    if plain:
        from toolchat.ui.plain_repl import PlainRepl

        lines = PlainRepl(sys.stdout, to_person=sys.stdin.isatty() and sys.stdout.isatty())
        return run_async(lambda interrupts: lines.run(opening.open, interrupts.to))

    from prompt_toolkit.history import InMemoryHistory

    from toolchat.ui.input_history import PrivateHistory
    from toolchat.ui.repl import Repl

    async def main(interrupts: Interrupts) -> int:
        history = InMemoryHistory() if no_history else PrivateHistory(state_folder() / HISTORY)
        ui = Repl(
            opening.model or settings.model or "toolchat",
            history,
            color=not os.environ.get("NO_COLOR"),
            settings=settings,
        )
        return await ui.run(opening.open, interrupts.to, "/help lists commands and keys.")

    return run_async(main)


def is_plain(environment: Mapping[str, str]) -> bool:
    """True where the prompt cannot stay in place: no terminal, or one that obeys no control sequences."""
    return environment.get("TERM", "dumb") in ("", "dumb") or not (sys.stdin.isatty() and sys.stdout.isatty())


class _Opening:
    """Opens the session, once the prompt is there: only now are the modules imported that make one."""

    def __init__(
        self,
        flags: Mapping[str, Any],
        tools: Path | ToolsCode | None,
        approval: Mapping[str, Any],
        opened: Opened | None,
        name: str | None,
        *,
        record: str | None,
        cassette: Cassette | None,
        recorded_results: bool,
        debug: bool,
    ) -> None:
        self.hint = ""
        """How to go on with the chat that is over; empty where there is nothing to go on with."""
        self.model = cassette.model if cassette is not None else ""
        """Of a cassette, whose answers are given; else it is the settings' or the default."""
        self._opened = opened
        self._name = name
        self._record = record
        self._cassette = cassette
        self._recorded_results = recorded_results
        self._flags = flags
        self._tools = tools
        self._approval = approval
        self._debug = debug

    @contextlib.asynccontextmanager
    async def open(self, show: Show, ask: Ask | None, plain: Show | None) -> AsyncIterator[Session]:
        from toolchat.session.background import in_background

        await in_background(lambda _: _import())
        gc.freeze()
        gc.enable()
        from toolchat.cli.approval import make_policy
        from toolchat.cli.tools_file import choose_tools_file
        from toolchat.session.startup import open_session, sketch

        def begin() -> Plan:
            again = partial(choose_tools_file, ask=False)
            if self._cassette is not None:
                from toolchat.session.replaying import replay_plan

                return replay_plan(self._cassette, self._flags, self._tools, choose_tools=again, debug=self._debug)
            return sketch(self._flags, self._tools, debug=self._debug, choose_tools=again)

        plan = await in_background(lambda _: begin())
        policy = make_policy(**self._approval)
        recorded = recorded_tools(self._cassette if self._recorded_results else None)
        tape = tape_for(self._record, "repl", plan)
        async with open_session(
            plan, show, policy, ask, plain, self._opened, show_past=True, tape=tape, **recorded
        ) as session:
            try:
                if self._name is not None and session.record.stored:
                    session.storage.save(self._name)
                yield session
            finally:
                self.hint = _hint(session)


def _hint(session: Session) -> str:
    from toolchat.wire.errors import ToolchatError

    if not session.record.stored or not session.transcript.turn_count:
        return ""
    try:
        with session.storage.sessions() as store:
            handle = store.find(session.record.session).handle
    except ToolchatError:
        return ""
    return f"Go on with: toolchat repl --resume {shlex.quote(handle)}"


def _import() -> None:
    import toolchat.cli.approval
    import toolchat.session.session
    import toolchat.ui.commands.registry
    import toolchat.ui.dialogs
    import toolchat.ui.keys
    import toolchat.ui.markdown.stream  # noqa: F401
