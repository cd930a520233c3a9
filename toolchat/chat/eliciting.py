"""Has the user answer what an MCP server asks during a call, in the dialog that decides on calls."""

from __future__ import annotations

import asyncio
from typing import Any

from toolchat.chat.approval import Ask
from toolchat.chat.calls import PendingCall
from toolchat.tools.mcp.elicitation import Elicit, Elicitation, Elicited, first_answer, problem_of
from toolchat.tools.toolbox import Tool
from toolchat.wire.messages import ToolCall

_MOST = 5
"""Answers that do not fit, after which the question is declined."""


def eliciting(ask: Ask) -> Elicit:
    """Puts a server's question to the user as a call to be decided on: its arguments are the answer, to be edited."""
    one_at_a_time = asyncio.Lock()

    async def elicit(asked: Elicitation) -> Elicited:
        content: dict[str, Any] = first_answer(asked.schema)
        tool = Tool("answer", asked.message, dict(asked.schema), f"mcp:{asked.server}", "answer()", "")

        async def validate(arguments: dict[str, Any]) -> str | None:
            return problem_of(asked.schema, arguments)

        async with one_at_a_time:
            for _ in range(_MOST):
                reply = await ask(PendingCall(ToolCall("elicited0", "answer", content), tool, validate, asked))
                if not reply.allowed:
                    return Elicited(False)
                content = content if reply.arguments is None else reply.arguments
                if await validate(content) is None:
                    return Elicited(True, content)
        return Elicited(False)

    return elicit
