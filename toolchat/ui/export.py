"""Exports a session: as Markdown, as JSON, or as one HTML page (`html_page`). Pure text in, text out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from toolchat.images.image import description
from toolchat.store.transcript import CallStory, Transcript, TurnStory, turn_json
from toolchat.ui.cards import seconds
from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.wire.codec import encode_tool
from toolchat.wire.messages import Part, ToolCall

FORMAT = "toolchat-session"
TRIMMED = "Trimmed: since then the model is sent this in its place."
_BEHIND = "Behind."
_OPENERS = re.compile(r"^ {0,3}<(?=!|\?|script|pre|style|textarea)", re.IGNORECASE | re.MULTILINE)
"""Of HTML blocks that a blank line does not end."""

VERSION = 1
"""Of the JSON form (docs/sessions.md)."""


class ExportFormat(StrEnum):
    MARKDOWN = "md"
    JSON = "json"
    HTML = "html"


def export(transcript: Transcript, form: ExportFormat) -> str:
    """The session as one text in that form, which ends with a newline."""
    match form:
        case ExportFormat.MARKDOWN:
            return to_markdown(transcript)
        case ExportFormat.JSON:
            return to_json(transcript)
        case ExportFormat.HTML:
            from toolchat.ui.html_page import to_html

            return to_html(transcript)


def to_json(transcript: Transcript) -> str:
    """All that the transcript has, images included. A lone surrogate is written as an escape."""
    return json.dumps(session_json(transcript), indent=1) + "\n"


def session_json(transcript: Transcript) -> dict[str, Any]:
    """The session as plain JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "session": transcript.session,
        "program": transcript.program,
        "model": transcript.model,
        "title": transcript.title,
        "began": transcript.began,
        "ended": transcript.ended,
        "system": transcript.system,
        "tools": [encode_tool(tool) for tool in transcript.tools],
        "turns": [turn_json(turn, images=True) for turn in transcript.turns],
    }


def to_markdown(transcript: Transcript) -> str:
    """Questions as quotes, answers as they were written, calls and results as fenced blocks."""
    parts = [f"# {_heading(transcript.title) or 'A chat'}", " · ".join(about(transcript))]
    if transcript.system:
        parts += ["System prompt:", _quoted(transcript.system)]
    for turn in flattened(transcript.turns):
        parts += _turn(turn)
    return "\n\n".join(part for part in parts if part) + "\n"


def about(transcript: Transcript) -> list[str]:
    """Of which session, model and time a transcript is, for people."""
    return [f"session {transcript.session}", f"model {sanitize_line(transcript.model)}", when(transcript.began)]


def when(time: float) -> str:
    """A time, in UTC: an export is read elsewhere."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def flattened(turns: list[TurnStory]) -> list[TurnStory]:
    """The turns as they were, each summary behind those that it stands for."""
    flat: list[TurnStory] = []
    for turn in turns:
        flat += [*flattened(turn.replaced), turn]
    return flat


def call_line(story: CallStory) -> str:
    """How a call came about and ended, in a few words: "get_weather · constrained · ok · 0.2 s"."""
    words = [story.call.name, story.mark]
    if story.allowed is False:
        words.append(f"declined: {story.reason}" if story.reason else "declined")
    else:
        words.append(story.status)
    if story.result is not None and story.result.seconds:
        words.append(seconds(story.result.seconds))
    return sanitize_line(" · ".join(words))


def call_text(story: CallStory) -> str:
    """The arguments as JSON; of a malformed call what the model wrote, and what is wrong with it."""
    call = story.call
    if isinstance(call, ToolCall):
        return json.dumps(call.arguments, indent=2, ensure_ascii=False)
    return f"{call.raw}\n{call.reason}"


def ending(turn: TurnStory) -> str:
    """What is to be said of a turn that has no answer of its own; empty for one that has."""
    if not turn.finished:
        return "The program ended here."
    return "" if turn.status == "answered" else f"Ended: {turn.status.value.replace('_', ' ')}."


def _turn(turn: TurnStory) -> list[str]:
    parts = ["---"]
    if turn.replaced:
        parts.append("*Summary of the turns above:*")
    else:
        parts += [_quoted(turn.question), *(f"*{_heading(description(image))}*" for image in turn.images)]
    for step in turn.steps:
        match step:
            case CallStory():
                parts += _call(step)
            case Part(text, thinking=True):
                parts += ["*Thinking:*", _quoted(text)]
            case Part(text):
                parts.append(_closed(sanitize(text).strip("\n")))
    parts += [f"*{_heading(notice)}*" for notice in turn.notices]
    return [*parts, f"*{ending(turn)}*" if ending(turn) else ""]


def _call(story: CallStory) -> list[str]:
    parts = [f"**Call** {_heading(call_line(story))}", _fenced(call_text(story), "json")]
    if story.output:
        parts += ["Output:", _fenced(story.output)]
    if story.result is not None:
        parts += ["Result:", _fenced(story.result.content)]
        parts += [f"*{_heading(description(image))}*" for image in story.result.images]
    if story.trimmed is not None:
        parts += [f"*{TRIMMED}*", _fenced(story.trimmed)]
    return parts


def _closed(text: str) -> str:
    """An answer's Markdown, every block of it closed: one that was cut off would take in what follows."""
    from markdown_it import MarkdownIt

    last = MarkdownIt().parse(f"{text}\n\n{_BEHIND}")[-1]
    if last.type == "fence":
        return f"{text}\n{last.markup}"
    return _OPENERS.sub("&lt;", text) if last.type == "html_block" else text


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in sanitize(text).strip("\n").split("\n"))


def _fenced(text: str, language: str = "") -> str:
    """In a fence that is longer than any within."""
    shown = sanitize(text).rstrip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"


def _heading(text: str) -> str:
    """One line in which Markdown finds nothing of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", sanitize_line(text))
