"""Describes a tool call and its result in one line or a few."""

from __future__ import annotations

import json

from toolchat.images.image import description, size_text
from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.wire.messages import CallOrigin, FailedCall, Image, ResultStatus, ToolCall, ToolResult

RESULT_LINES = 6
"""Lines of a result that are shown of what the model is."""

MARKS = {
    ResultStatus.OK: "✓",
    ResultStatus.ERROR: "✗",
    ResultStatus.TIMEOUT: "✗",
    ResultStatus.INTERRUPTED: "■",
    ResultStatus.DENIED: "✗",
}


def output_rows(text: str) -> tuple[list[str], str | None]:
    """What a running tool says to the user, made safe; in full, since the host bounds it.

    The rows that stay, and one that what the tool says next takes the place of, such as a progress bar; None without.
    """
    *rows, last = text.replace("\r\n", "\n").split("\n")
    live = last.removesuffix("\r") if last.endswith("\r") else None
    if last and live is None:
        rows.append(last)
    return [sanitize(row) for row in rows], live if live is None else sanitize(live)


def call_text(call: ToolCall | FailedCall) -> str:
    """`name(argument="value", …)`, as it would be written in Python, with JSON's values."""
    if isinstance(call, FailedCall):
        return sanitize_line(f"{call.name}(…) could not be read: {call.reason}")
    # A name that the model has made up could pass for other arguments.
    written = {
        name if name.isidentifier() else json.dumps(name, ensure_ascii=False): json.dumps(value, ensure_ascii=False)
        for name, value in call.arguments.items()
    }
    arguments = ", ".join(f"{name}={value}" for name, value in written.items())
    return sanitize_line(f"{call.name}({arguments})")


def writing_text(name: str, size: int) -> str:
    """A call that the model is writing, of which so many bytes of arguments have come."""
    return sanitize_line(f"{name}(… {size_text(size)} so far)" if size else f"{name}(…")


def call_line(call: ToolCall | FailedCall) -> str:
    """`call_text`, and whether its arguments are not those that the model wrote."""
    if isinstance(call, ToolCall) and call.origin in (CallOrigin.REPAIRED, CallOrigin.EDITED):
        return f"{call_text(call)} ({call.origin})"
    return call_text(call)


def content_lines(content: str) -> list[str]:
    """The lines of a result. Only newlines part them: whatever else `str.splitlines` takes for one is to be seen."""
    return content.removesuffix("\n").replace("\r\n", "\n").split("\n") if content else []


def result_lines(result: ToolResult) -> list[str]:
    """The mark and the first lines of a result; then how much is left out, and a line for each image."""
    rows = [sanitize(row) for row in content_lines(result.content)] or [""]
    shown = rows if len(rows) <= RESULT_LINES else rows[: RESULT_LINES - 1]
    lines = [f"{MARKS[result.status]} {shown[0]}", *(f"  {row}" for row in shown[1:])]
    if len(shown) < len(rows):
        lines.append(f"  … {more_lines(len(rows) - len(shown), result)}")
    hooks = [f"  ({sanitize_line(result.hooks)})"] if result.hooks else []
    return [*lines, *(f"  {row}" for row in image_lines(result)), *hooks]


def image_lines(result: ToolResult) -> list[str]:
    """The images of a result, each with the file that keeps it."""
    return [image_line(image, image.file or "not kept") for image in result.images]


def more_lines(number: int, result: ToolResult) -> str:
    """How much of a result is not on the screen: "12 more lines"."""
    lines = "1 more line" if number == 1 else f"{number:,} more lines"
    return f"{lines} of what the model is shown of it" if result.left_out else lines


def image_line(image: Image, where: str) -> str:
    """An image as a terminal shows it: "[image: PNG 640×480, 12 kB; cat.png]"."""
    return sanitize_line(f"[image: {description(image)}; {where}]")
