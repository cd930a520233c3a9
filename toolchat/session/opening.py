"""Opens the session of a plan: starts its engine and its tools, and closes all of it afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from toolchat.chat.approval import ApprovalPolicy, Ask
from toolchat.chat.calls import CallRunner, Decide, ServedRunner
from toolchat.session.session import Session, Sources
from toolchat.session.startup import Plan
from toolchat.session.stream import Show
from toolchat.session.tools import names_unknown_tools, settled_or_closed
from toolchat.settings import state_folder
from toolchat.store.sessions import Opened

if TYPE_CHECKING:  # few chats are recorded
    from toolchat.store.cassette_writer import CassetteWriter


@contextlib.asynccontextmanager
async def open_session(
    plan: Plan,
    show: Show,
    policy: ApprovalPolicy,
    ask: Ask | None = None,
    plain: Show | None = None,
    opened: Opened | None = None,
    *,
    show_past: bool = False,
    early_tools: bool = False,
    start_tools: Callable[[], Awaitable[CallRunner]] | None = None,
    decide: Decide | None = None,
    tape: CassetteWriter | None = None,
) -> AsyncIterator[Session]:
    """A session with its tools, whose engine is loading: await `ready` before the first turn. Closed in any case.

    `opened` is a stored session to go on with; with `show_past` its last turns are shown first. `start_tools` is for
    tools that are not those of the plan, and `decide` for calls that neither `policy` nor `ask` decide on. `tape` is a
    cassette to record the chat on, which is closed too. Call in a thread that lives as long as the session: its
    processes end with it.

    Raises UsageError, see `Session.equip`. With `early_tools`, see `Plan.start_tools`, it may be raised by a turn.

    The engine's process starts before the tools' process, so that it imports vLLM while they are loaded.
    """
    sources = Sources(plan.start_tools_again, plan.with_model)
    async with contextlib.AsyncExitStack() as ending:
        if tape is not None:
            ending.callback(tape.close)
        engine = plan.late_engine(lambda arrived: session.use_own_prompt(arrived.own_prompt()))
        records = state_folder() / "sessions" if plan.settings.store else None
        session = Session(plan.settings, plan.model, engine, records, show, sources, plain, opened, tape)
        ending.push_async_callback(session.close)
        if show_past:
            session.show_past()
        if opened is not None and plan.flags.get("system") is not None:
            session.set_system(plan.settings.system or None)
        if plan.folder is not None:
            session.use_own_prompt(plan.own_prompt())
        if plan.notice:
            session.notify(plan.notice)
        await session.launch()
        ready = session.engine_ready if early_tools else None
        runner: CallRunner = await (plan.start_tools(ready) if start_tools is None else start_tools())
        if isinstance(runner, ServedRunner) and (
            opened is not None or names_unknown_tools(session.options.tool_choice, runner.toolbox, policy, plan.only)
        ):
            # What the command line names, or the session had, may be a server's.
            await settled_or_closed(runner)
        session.equip(runner, policy, ask, plan.only, decide)
        yield session
