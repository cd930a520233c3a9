"""`toolchat tools serve`: the tools of a file as an MCP server for other programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchat.chat.calls import PendingCall
from toolchat.cli.approval import make_policy
from toolchat.cli.signals import run_async
from toolchat.settings import state_folder
from toolchat.store.state import appendable
from toolchat.tools.code import ToolsCode
from toolchat.tools.run import ToolRunner
from toolchat.tools.trust import note_refusal
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError


def serve_tools(
    source: Path | ToolsCode, *, yes: bool, allow: Sequence[str] | None, deny: Sequence[str] | None
) -> None:
    """Serve on standard input and output until the client goes. Raises UsageError."""
    if find_spec("mcp") is None:
        raise UsageError("the package mcp is not installed; run: pip install 'toolchat[mcp]'")
    if sys.stdin.isatty():
        print("toolchat: serves a program on standard input and output; Ctrl-C ends it", file=sys.stderr)
    from toolchat.tools.mcp.offer import Offer

    policy = make_policy(yes=yes, allow=allow, deny=deny)

    async def main(_: Any) -> None:
        log = appendable(state_folder() / "logs" / "tools.log")
        debug = bool(os.environ.get("TOOLCHAT_DEBUG"))
        runner = await ToolRunner.start(source, log, debug=debug, on_refusal=partial(note_refusal, source))
        try:
            await runner.settled()
            for line in (*runner.toolbox.broken, *runner.toolbox.notices):
                print(f"toolchat: {sanitize_line(line)}", file=sys.stderr)
            policy.check(runner.toolbox)
            await Offer(runner, lambda tool, call: policy.judge(PendingCall(call, tool))).serve()
        finally:
            await runner.close()

    run_async(main)
