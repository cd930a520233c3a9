"""`toolchat repl`: the chat in the terminal."""

from __future__ import annotations

import os
import sys

from toolchat.cli import options


def repl(
    model: options.Model = None,
    tools: options.Tools = None,
    no_tools: options.NoTools = False,
    yes: options.Yes = False,
    allow: options.Allow = None,
    deny: options.Deny = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    context: options.Context = None,
    kv_cache: options.KvCache = None,
    reasoning_effort: options.ReasoningEffort = None,
    tool_choice: options.ToolChoice = None,
    parallel_calls: options.ParallelCalls = None,
) -> int:
    """Chat with the model. Ctrl-C stops an answer, Ctrl-D leaves."""
    from toolchat.wire.errors import UsageError

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("repl needs a terminal; for pipes and scripts there is: toolchat ask")

    from toolchat.cli.approval import ask_on_terminal, make_policy
    from toolchat.cli.plan import prepare
    from toolchat.cli.session import open_session
    from toolchat.cli.signals import Interrupts, run_async
    from toolchat.ui.repl import Repl

    plan = prepare(
        {
            "model": model,
            "tools": tools,
            "system": system,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "context": context,
            "kv_cache_gib": kv_cache,
            "reasoning_effort": reasoning_effort,
            "tool_choice": tool_choice,
            "parallel_calls": parallel_calls,
        },
        no_tools=no_tools,
        debug=bool(os.environ.get("TOOLCHAT_DEBUG")),
    )

    policy = make_policy(yes=yes, allow=allow, deny=deny)

    async def main(interrupts: Interrupts) -> int:
        ui = Repl()
        async with open_session(plan, ui.show, policy, ask_on_terminal(ui.pause)) as session:
            return await ui.run(session, interrupts.to)

    return run_async(main)
