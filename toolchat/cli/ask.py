"""`toolchat ask`: one question, one answer on stdout; everything else on stderr."""

from __future__ import annotations

import gc
import os
import re
import sys
from typing import Annotated

import typer

from toolchat.cli import options
from toolchat.cli.piped import piped_text


def ask(
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; standard input is added to it, or is it.", show_default=False),
    ] = None,
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
    image: options.Images = None,
    tool_choice: options.ToolChoice = None,
    parallel_calls: options.ParallelCalls = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    tokenizer: options.Tokenizer = None,
    session: Annotated[
        str | None,
        typer.Option("--session", help="Go on with this session: its name, id, or: last.", metavar="SESSION"),
    ] = None,
    continue_: options.Continue = False,
    store: options.Store = None,
    offline: options.Offline = False,
) -> int:
    """Ask one question. The answer goes to stdout; tool calls and their results go to stderr."""
    given = locals()
    # Modules are no garbage: the collector's rounds over them are a twentieth of what a command takes of its own.
    gc.disable()
    from toolchat.cli.approval import ask_on_terminal, make_policy
    from toolchat.cli.models import obtain_with_progress
    from toolchat.cli.signals import Interrupts, run_async
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.session.session import open_session
    from toolchat.session.startup import prepare
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import open_state
    from toolchat.ui.plain import PlainRenderer

    open_state(state_folder())
    text = _question(question)
    flags = options.settings_flags(given)
    opened = options.session_to_open(session, continue_, resolve(flags).store, "--session")
    if opened is not None:
        from toolchat.session.past import with_model

        flags = with_model(flags, opened.record.transcript.model)
    plan = prepare(
        flags,
        None if no_tools else choose_tools_file(resolve(flags)),
        obtain_with_progress,
        images=image or (),
        debug=bool(os.environ.get("TOOLCHAT_DEBUG")),
    )

    policy = make_policy(yes=yes, allow=allow, deny=deny)
    gc.freeze()
    gc.enable()

    async def main(_: Interrupts) -> int:
        with PlainRenderer(sys.stdout) as renderer:
            async with open_session(
                plan,
                renderer.show,
                policy,
                ask_on_terminal(renderer.pause),
                renderer.show_plain,
                opened,
                early_tools=True,
            ) as chat:
                await chat.ready()
                return (await chat.ask(text, plan.images)).exit_code

    return run_async(main)


def _question(given: str | None) -> str:
    """The question and what stands on standard input, in this order. Raises UsageError where there is neither."""
    from toolchat.wire.errors import UsageError

    # Files that were joined, and one that a shell has read, have further marks of their beginning.
    parts = [re.sub("^\ufeff", "", part, flags=re.MULTILINE).strip() for part in (given or "", piped_text())]
    text = "\n\n".join(part for part in parts if part)
    if not text:
        hint = 'ask -- "-…" for one that begins with "-"'
        raise UsageError(f'there is no question; write toolchat ask "…" ({hint}), or pipe one in')
    return text
