"""`toolchat repl`: the chat in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import options

if TYPE_CHECKING:  # the prompt is not to wait for any of these
    from toolchat.chat.approval import Ask
    from toolchat.session.session import Session
    from toolchat.session.startup import Plan
    from toolchat.session.stream import Show
    from toolchat.tools.code import ToolsCode

Plain = Annotated[bool, typer.Option("--plain", help="Line by line, without live rows, colours or escape sequences.")]
NoHistory = Annotated[bool, typer.Option("--no-history", help="Neither read nor keep what is typed.")]


def repl(
    model: options.Model = None,
    tools: options.Tools = None,
    no_tools: options.NoTools = False,
    yes: options.Yes = False,
    allow: options.Allow = None,
    deny: options.Deny = None,
    system: options.System = None,
    no_system: options.NoSystem = False,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    context: options.Context = None,
    kv_cache: options.KvCache = None,
    gpu_memory: options.GpuMemory = None,
    dtype: options.Dtype = None,
    fast_start: options.FastStart = None,
    text_only: options.TextOnly = None,
    keep_alive: options.KeepAlive = None,
    quantization: options.Quantization = None,
    revision: options.Revision = None,
    lora: options.Lora = None,
    enforce_eager: options.EnforceEager = None,
    seed: options.Seed = None,
    engine_arg: options.EngineArg = None,
    reasoning_effort: options.ReasoningEffort = None,
    tool_choice: options.ToolChoice = None,
    parallel_calls: options.ParallelCalls = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    tokenizer: options.Tokenizer = None,
    offline: options.Offline = False,
    plain: Plain = False,
    no_history: NoHistory = False,
) -> int:
    """Chat with the model. Ctrl-C stops an answer, Ctrl-D leaves."""
    given = locals()
    from toolchat.cli.signals import Interrupts, run_async
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import HISTORY, open_state

    flags = options.settings_flags(given)
    open_state(state_folder())
    settings = resolve(flags)
    opening = _Opening(
        flags,
        None if no_tools else choose_tools_file(settings),
        {"yes": yes, "allow": allow, "deny": deny},
        debug=bool(os.environ.get("TOOLCHAT_DEBUG")),
    )
    if plain or is_plain(os.environ):
        from toolchat.ui.plain_repl import PlainRepl

        lines = PlainRepl(sys.stdout, to_person=sys.stdin.isatty() and sys.stdout.isatty())
        return run_async(lambda interrupts: lines.run(opening.open, interrupts.to))

    from prompt_toolkit.history import InMemoryHistory

    from toolchat.ui.history import PrivateHistory
    from toolchat.ui.repl import Repl

    async def main(interrupts: Interrupts) -> int:
        history = InMemoryHistory() if no_history else PrivateHistory(state_folder() / HISTORY)
        ui = Repl(settings.model or "toolchat", history, color=not os.environ.get("NO_COLOR"))
        return await ui.run(opening.open, interrupts.to, "/help lists commands and keys.")

    return run_async(main)


def is_plain(environment: Mapping[str, str]) -> bool:
    """True where the prompt cannot stay in place: no terminal, or one that obeys no control sequences."""
    return environment.get("TERM", "dumb") in ("", "dumb") or not (sys.stdin.isatty() and sys.stdout.isatty())


class _Opening:
    """Opens the session, once the prompt is there: only now are the modules imported that make one."""

    def __init__(
        self, flags: Mapping[str, Any], tools: Path | ToolsCode | None, approval: Mapping[str, Any], *, debug: bool
    ):
        self._flags = flags
        self._tools = tools
        self._approval = approval
        self._debug = debug

    @contextlib.asynccontextmanager
    async def open(self, show: Show, ask: Ask | None, plain: Show | None) -> AsyncIterator[Session]:
        from toolchat.session.background import in_background

        await in_background(lambda _: _import())
        from toolchat.cli.approval import make_policy
        from toolchat.cli.tools_file import choose_tools_file
        from toolchat.session.session import open_session
        from toolchat.session.startup import sketch

        def begin() -> Plan:
            again = partial(choose_tools_file, ask=False)
            return sketch(self._flags, self._tools, debug=self._debug, choose_tools=again)

        plan = await in_background(lambda _: begin())
        async with open_session(plan, show, make_policy(**self._approval), ask, plain) as session:
            yield session


def _import() -> None:
    import toolchat.cli.approval
    import toolchat.session.session
    import toolchat.ui.approval
    import toolchat.ui.commands
    import toolchat.ui.keys
    import toolchat.ui.markdown  # noqa: F401
