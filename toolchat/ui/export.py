"""Exports a session: as Markdown, as JSON, or as one HTML page. Pure text in, text out.

The HTML page needs no network and runs no script. All in it that toolchat did not write is escaped. The page's own
policy (Content-Security-Policy `default-src 'none'`) allows its style sheet, by its digest, and images within the page,
and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from toolchat.images.image import description
from toolchat.store.transcript import CallStory, Transcript, TurnStory, turn_json
from toolchat.ui.cards import seconds
from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.wire.codec import encode_tool
from toolchat.wire.messages import Image, Part, ToolCall

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

FORMAT = "toolchat-session"
TRIMMED = "Trimmed: since then the model is sent this in its place."
_BEHIND = "Behind."
_OPENERS = re.compile(r"^ {0,3}<(?=!|\?|script|pre|style|textarea)", re.IGNORECASE | re.MULTILINE)
"""Of HTML blocks that a blank line does not end."""

VERSION = 1
"""Of the JSON form (docs/sessions.md)."""

_SAFE_LINKS = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_INLINE_IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_HIGHLIGHTED = 200_000
"""Characters of a block of code beyond which it is not coloured: that takes seconds a megabyte."""

_PAGE_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --box: #f6f8fa;
  --mine: #ddf4ff; --link: #0969da; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --text: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --box: #151b23; --mine: #121d2f; --link: #4493f8; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 52rem; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
.about, .note { color: var(--soft); font-size: .875rem; }
.turn { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: 1.25rem; }
.question { background: var(--mine); border-radius: .5rem; padding: .6rem .9rem; white-space: pre-wrap; }
.answer > :first-child { margin-top: .75rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0; background: var(--box); }
summary { cursor: pointer; padding: .4rem .75rem; font-size: .9rem; }
summary code { background: none; padding: 0; }
details > :not(summary) { margin: .5rem .75rem; }
.failed summary, .bad { color: var(--bad); }
.label { color: var(--soft); font-size: .8rem; }
pre, code { font: .875rem/1.45 ui-monospace, monospace; }
code { background: var(--box); border-radius: .25rem; padding: .1em .3em; }
pre { background: var(--box); border-radius: .5rem; padding: .75rem; overflow-x: auto; max-height: 40rem; }
details pre { border: 1px solid var(--line); background: var(--back); }
pre code { background: none; padding: 0; }
.plain { white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; border-radius: .5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; }
.right { text-align: right; } .center { text-align: center; }
blockquote { margin: .75rem 0; padding-left: .9rem; border-left: .25rem solid var(--line); color: var(--soft); }
a { color: var(--link); }
@media print { body { max-width: none; font-size: 11pt; } pre { max-height: none; white-space: pre-wrap; }
  .turn { break-inside: auto; } summary { list-style: none; } }
"""


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


def to_html(transcript: Transcript) -> str:
    """The session as one page: light and dark by the reader's system, calls folded, images inside, fit for print."""
    style = _PAGE_STYLE + _code_style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    title = _html_line(transcript.title) or "A chat"
    body = "\n".join(_html_turn(turn) for turn in flattened(transcript.turns))
    system = _html_folded("System prompt", transcript.system) if transcript.system else ""
    page = f"""<!DOCTYPE html>
<html lang="und">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="about">{_html_line(" · ".join(about(transcript)))}</div>
{system}
{body}
</body>
</html>
"""
    # UTF-8 cannot hold a lone surrogate; `sanitize` shows those of strangers, and there are no others.
    return page.encode("utf-8", "replace").decode()


def _html_turn(turn: TurnStory) -> str:
    parts = ['<section class="turn">']
    if turn.replaced:
        parts.append('<div class="note">Summary of the turns above</div>')
    else:
        parts.append(f'<div class="question">{_html_text(turn.question)}</div>')
        parts += [_html_image(image) for image in turn.images]
    for step in turn.steps:
        match step:
            case CallStory():
                parts.append(_html_call(step))
            case Part(text, thinking=True):
                parts.append(_html_folded("Thinking", text))
            case Part(text):
                parts.append(f'<div class="answer">{markdown_html(text)}</div>')
    parts += [f'<div class="note">{_html_line(notice)}</div>' for notice in turn.notices]
    if ending(turn):
        parts.append(f'<div class="note bad">{_html_line(ending(turn))}</div>')
    return "\n".join([*parts, "</section>"])


def _html_call(story: CallStory) -> str:
    name, _, rest = call_line(story).partition(" · ")
    failed = "" if story.status == "ok" else ' class="failed"'
    written = call_text(story)
    shown = (
        _html_code(written, "json")
        if isinstance(story.call, ToolCall)
        else f"<pre><code>{_html_text(written)}</code></pre>"
    )
    parts = [f"<details{failed}><summary>Call <code>{_html_line(name)}</code> · {_html_line(rest)}</summary>"]
    parts += ['<div class="label">Arguments</div>', shown]
    if story.output:
        parts += ['<div class="label">Output</div>', f'<pre class="plain">{_html_text(story.output)}</pre>']
    if story.result is not None:
        parts += ['<div class="label">Result</div>', f'<pre class="plain">{_html_text(story.result.content)}</pre>']
        parts += [_html_image(image) for image in story.result.images]
    if story.trimmed is not None:
        parts += [f'<div class="label">{TRIMMED}</div>', f'<pre class="plain">{_html_text(story.trimmed)}</pre>']
    return "\n".join([*parts, "</details>"])


def _html_image(image: Image) -> str:
    words = _html_line(description(image))
    if image.media_type not in _INLINE_IMAGES or not _BASE64.fullmatch(image.data):
        return f'<div class="note">{words}</div>'
    return f'<p><img alt="{words}" src="data:{image.media_type};base64,{image.data}"></p>'


def _html_folded(title: str, text: str) -> str:
    return f'<details><summary>{title}</summary><div class="plain">{_html_text(text)}</div></details>'


def _html_line(text: str) -> str:
    return html.escape(sanitize_line(text))


def _html_text(text: str) -> str:
    return html.escape(sanitize(text))


def markdown_html(text: str) -> str:
    """Markdown as HTML that fetches nothing and runs nothing: its own HTML is shown as text, images are links."""
    rendered: str = _html_parser().render(sanitize(text))
    return rendered


@cache
def _html_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.rules_core import StateCore

    made = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    # Nothing is fetched: an image stands as the link that it is.
    made.disable("image")

    def is_safe(url: str) -> bool:
        return _SAFE_LINKS.match(url.strip()) is not None

    def fence(_: RendererHTML, tokens: Any, at: int, *_rest: Any) -> str:
        words = tokens[at].info.split()
        return _html_code(tokens[at].content, words[0] if words else "")

    def align(state: StateCore) -> None:
        """The page's policy forbids the styles of single elements."""
        for token in state.tokens:
            if style := token.attrs.pop("style", None):
                token.attrs["class"] = str(style).removeprefix("text-align:")

    setattr(made, "validateLink", is_safe)  # noqa: B010  a method, to mypy
    made.core.ruler.push("align", align)
    made.add_render_rule("fence", fence)
    return made


def _html_code(text: str, language: str) -> str:
    """A block of code, coloured where its language is known. The text has been sanitised, or is JSON of a call."""
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    shown = sanitize(text).rstrip("\n")
    if language and len(shown) <= _HIGHLIGHTED:
        try:
            lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        except ClassNotFound:
            pass
        else:
            return f"<pre><code>{highlight(shown, lexer, HtmlFormatter(nowrap=True))}</code></pre>\n"
    return f"<pre><code>{html.escape(shown)}</code></pre>\n"


@cache
def _code_style() -> str:
    from pygments.formatters.html import HtmlFormatter

    light = _style_rules(HtmlFormatter(style="default").get_style_defs("pre"))
    dark = _style_rules(HtmlFormatter(style="github-dark").get_style_defs("pre"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _style_rules(style: str) -> str:
    """Those for kinds of tokens: the page has colours of its own for the rest."""
    return "\n".join(row for row in style.splitlines() if row.startswith("pre ."))
