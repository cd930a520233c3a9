"""Commands about tools: list them, show one, switch one on or off, reload the file and its code."""

from __future__ import annotations

from rich.text import Text

from toolchat.mistral.vocabulary import FIRST_NAMED
from toolchat.tools.toolbox import Approval, Tool, Toolbox
from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, matching, say, told
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

DESCRIBED_FROM = 60
"""Columns from which on a tool's description has room beside its name."""

_APPROVALS = {Approval.ALLOW: "green", Approval.ASK: "yellow", Approval.DENY: "red"}


async def tools(context: Context, _: str) -> Outcome:
    toolbox = context.chat.tools.toolbox
    broken = tuple(say(line, "red") for line in toolbox.broken)
    if not toolbox.tools and broken:
        return Outcome(broken)
    if not toolbox.tools:
        return told("There are no tools; --tools FILE brings some.", style=QUIET)
    longest = max(len(name) for name in toolbox.names)
    rows = [_row(context, tool, longest) for tool in toolbox.tools]
    return Outcome((*rows, *broken, say(f"{_tools(len(toolbox.tools))} in {toolbox.path}", QUIET)))


async def tool(context: Context, argument: str) -> Outcome:
    match argument.split():
        case [name]:
            if (found := context.chat.tools.toolbox.get(name)) is not None:
                return await _described(context, found)
            # The chat knows best what is wrong with a name; switching it to what it is changes nothing.
            context.chat.tools.switch(name, name not in context.chat.tools.switched_off)
        case [name, ("on" | "off") as state]:
            context.chat.tools.switch(name, state == "on")
            what = "is offered to the model" if state == "on" else "is not offered to the model"
            return told(f"{name} {what}, from the next turn on.", style=QUIET)
    raise UsageError("expected /tool NAME, /tool NAME on, or /tool NAME off")


async def reload(context: Context, _: str) -> Outcome:
    before = set(context.chat.tools.toolbox.names)
    await context.chat.tools.reload()
    toolbox = context.chat.tools.toolbox
    lines = [say(f"{_tools(len(toolbox.tools))} read again from {toolbox.path}.", QUIET)]
    if new := [name for name in toolbox.names if name not in before]:
        lines.append(say(f"New: {', '.join(new)}.", QUIET))
    if gone := sorted(before - set(toolbox.names)):
        lines.append(say(f"Gone: {', '.join(gone)}.", QUIET))
    if anew := _stateful(toolbox):
        lines.append(say(f"Begun anew, without what was kept: {', '.join(anew)}.", QUIET))
    return Outcome(tuple(lines))


def complete_tool(context: Context, text: str) -> list[Completion]:
    toolbox = context.chat.tools.toolbox
    name, space, state = text.partition(" ")
    if not space:
        return [
            Completion(f"{found} ", _summary(toolbox.get(found)), len(name)) for found in matching(name, toolbox.names)
        ]
    if toolbox.get(name) is None:
        return []
    states = [("off", "no longer offer it to the model"), ("on", "offer it to the model")]
    if name in context.chat.tools.switched_off:
        states.reverse()
    word = state.lstrip()
    return [Completion(state_, help_, len(word)) for state_, help_ in states if state_.startswith(word)]


async def _described(context: Context, tool: Tool) -> Outcome:
    """All that `toolchat tools show` says of it but the prompt, and whether it is on."""
    # Not needed for a prompt to appear, and slow to import.
    from toolchat.models.tokenizers import estimated_tool_tokens
    from toolchat.ui.tool_description import Cost, description, held

    chat, info = context.chat, context.chat.info
    exact = await chat.room.tool_tokens(tool.spec)
    if exact is not None and info is not None:
        cost = Cost(exact, True, f"by {chat.model} (tokenizer v{info.tokenizer_version})")
    else:
        cost = Cost(estimated_tool_tokens(tool.spec), False, "estimated: no model is loaded that could count")
    # Versions before 11 may be SentencePiece, whose grammars hold less.
    tekken = info is None or info.tokenizer_version >= FIRST_NAMED
    grammar = held(tool, tekken=tekken) if info is None or info.constrains_calls else None
    is_, other = ("off", "on") if tool.name in chat.tools.switched_off else ("on", "off")
    switch = say(f"{tool.name} is {is_}; /tool {tool.name} {other} switches it {other}.")
    return Outcome((*description(tool, cost, grammar, approval=chat.tools.approval(tool)), switch))


def _row(context: Context, tool: Tool, longest: int) -> Text:
    """`on  allow  calculate  Work out an expression.`; in narrow terminals without the description."""
    off = tool.name in context.chat.tools.switched_off
    approval = context.chat.tools.approval(tool)
    row = Text.assemble(
        ("off " if off else "on  ", QUIET if off else "bold"),
        (f"{approval:<6}", QUIET if off else _APPROVALS[approval]),
        (sanitize_line(tool.name), QUIET if off else ""),
    )
    width = context.width()
    if width >= DESCRIBED_FROM:
        row.append(" " * (longest - len(tool.name) + 2) + _summary(tool), style=QUIET)
        row.truncate(width - 1, overflow="ellipsis")
    return row


def _summary(tool: Tool | None) -> str:
    """The first line of a description."""
    return sanitize_line(next(iter(tool.description.strip().splitlines()), "")) if tool is not None else ""


def _stateful(toolbox: Toolbox) -> list[str]:
    return [tool.name for tool in toolbox.tools if tool.options.stateful]


def _tools(number: int) -> str:
    return "1 tool" if number == 1 else f"{number} tools"
