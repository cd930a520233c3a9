from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from image_files import image
from markdown_it import MarkdownIt

from toolchat.store.transcript import Transcript
from toolchat.ui.export import ExportFormat, export
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.events import EventBody, Stamper, TurnStatus
from toolchat.wire.messages import CallOrigin, FailedCall, ResultStatus, ToolCall, ToolResult

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "</pre></code></details></section><iframe src=https://evil.example></iframe>",
    '"><img src=x onerror=alert(1)>',
    "[a](javascript:alert(1)) [b](  JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x) [e](file:///etc/passwd)",
    "<javascript:alert(1)> ![p](https://evil.example/x.png) ![q](javascript:1) [r](&#106;avascript:alert(1))",
    "[s][t]\n\n[t]: javascript:alert(1)",
    '```"onload=alert(1)\n</code><script>alert(2)</script>\n```',
    "```python\n'''</code></pre><script>alert(3)</script>'''\n```",
    "<!-- --><base href=https://evil.example><meta http-equiv=refresh content=0>",
    "\u202eevil\u2066 \x1b[2J \x00 \ud800",
    "| a | <b onclick=x> |\n|---|---|\n| `</td>` | <svg/onload=alert(1)> |",
)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "div", "section", "details", "summary", "p"),
    *("pre", "code", "span", "a", "img", "em", "strong", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"),
    *("blockquote", "hr", "br", "s"),
}
ATTRIBUTES = {
    "class",
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "href",
    "src",
    "alt",
    "title",
    "start",
    "style",
}


class Page(HTMLParser):
    """What a browser would make of a page: its tags, links, sources, text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "href":
                self.links.append(value or "")
            if name == "src":
                self.sources.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def told(*bodies: EventBody, system: str | None = None) -> Transcript:
    stamp = Stamper("20261126-101010-abcdef", iter(range(1_790_000_000, 1_790_001_000)).__next__)
    history = [stamp(events.SessionStarted("demo", "toolchat 1", system))]
    return Transcript([*history, *(stamp(body, 1, 1) for body in bodies)])


def turn(text: str, *, question: str = "How warm is it?", result: str = "85") -> tuple[EventBody, ...]:
    call = ToolCall("a" * 9, "get_weather", {"city": text}, CallOrigin.CONSTRAINED)
    return (
        events.TurnStarted(),
        events.QuestionAsked(question, (image("red"),)),
        events.ThinkingDelta(text),
        events.CallProposed(call),
        events.RoundFinished(FinishReason.STOP, Usage()),
        events.CallDecided(call, True),
        events.ToolOutput("a" * 9, text),
        events.CallFinished(ToolResult("a" * 9, "get_weather", result, seconds=0.2, images=(image("blue"),))),
        events.TextDelta(text),
        events.Notice(text),
        events.TurnFinished(TurnStatus.ANSWERED, 2, Usage(10, 2, 3)),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_text_in_the_page(text: str) -> None:
    written = export(told(*turn(text, question=text, result=text), system=text), ExportFormat.HTML)
    page = Page(written)
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert all(re.match(r"https?:|mailto:", link) for link in page.links)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search("[\u202e\u2066\x1b\x00\ud800]", written)


def test_the_page_allows_its_own_style_and_nothing_from_elsewhere() -> None:
    written = export(told(*turn("Hi")), ExportFormat.HTML)
    (style,) = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', written)
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_has_calls_folded_with_mark_duration_arguments_and_result() -> None:
    page = export(told(*turn("Lyon")), ExportFormat.HTML)
    assert "<summary>Call <code>get_weather</code> · constrained · ok · 0.2 s</summary>" in page
    assert page.count("<details") == 2
    assert re.search(r'<span class="s2">(&quot;|")Lyon(&quot;|")</span>', page)
    assert '<pre class="plain">85</pre>' in page
    assert page.count("<img") == 2


def test_code_is_coloured_and_plain_where_its_language_is_unknown() -> None:
    page = export(told(*turn("```python\ndef f(): pass\n```\n\n```klingon\nQapla'\n```")), ExportFormat.HTML)
    assert '<span class="k">def</span>' in page
    assert "<pre><code>Qapla&#x27;</code></pre>" in page


def test_markdown_holds_what_was_said_and_closes_every_fence() -> None:
    written = export(told(*turn("````\nx", result="a\n```\nb")), ExportFormat.MARKDOWN)
    assert written.startswith("# How warm is it?\n")
    assert "**Call** get\\_weather · constrained · ok · 0.2 s" in written
    fences = [token for token in MarkdownIt().parse(written) if token.type == "fence"]

    assert [token.content for token in fences] == [
        "x\n",  # what was thought, in a quote
        *('{\n  "city": "````\\nx"\n}\n', "````\nx\n", "a\n```\nb\n", "x\n"),
    ]


@pytest.mark.parametrize(
    "text", ["```python\nx = 1", "~~~~\n```\nx", "<!-- so", "<script>\n\nx", "- a\n  ```\n  b", "<?x"]
)
def test_an_answer_that_was_cut_off_takes_nothing_in_that_follows(text: str) -> None:
    written = export(told(*turn("Hi")[:8], events.TextDelta(text), events.Notice("Well.")), ExportFormat.MARKDOWN)
    kinds = {token.type: token.content for token in MarkdownIt().parse(written)}
    assert "*Well.*" in kinds["inline"] or "The program" in kinds["inline"]
    assert "Well" not in kinds.get("fence", "") + kinds.get("html_block", "")


def test_columns_are_aligned_without_styles_of_their_own() -> None:
    page = export(told(*turn("|a|b|\n|-:|:-:|\n|1|2|")), ExportFormat.HTML)
    assert '<td class="right">1</td>' in page
    assert '<td class="center">2</td>' in page


def test_json_holds_the_session_and_reads_back() -> None:
    data = json.loads(export(told(*turn("Lyon \ud800")), ExportFormat.JSON))
    assert (data["format"], data["version"], data["model"], data["title"]) == (
        *("toolchat-session", 1, "demo", "How warm is it?"),
    )
    (only,) = data["turns"]
    assert only["answer"] == "Lyon \ud800"
    assert only["usage"] == {"prompt_tokens": 10, "cached_tokens": 2, "completion_tokens": 3}
    assert only["images"][0]["data"] == image("red").data
    call = next(step for step in only["steps"] if step["type"] == "call")
    assert (call["arguments"], call["mark"], call["status"], call["result"], call["seconds"]) == (
        *({"city": "Lyon \ud800"}, "constrained", "ok", "85", 0.2),
    )


def test_a_malformed_call_and_a_turn_that_was_cut_off_are_said() -> None:
    bodies = (
        *turn("x")[:2],
        events.CallProposed(FailedCall("b" * 9, "add", "[TOOL_CALLS]add{", "it ends too soon")),
        events.CallFinished(ToolResult("b" * 9, "add", "Error: cut", ResultStatus.ERROR)),
        events.TextDelta("So"),
    )
    for form in (ExportFormat.MARKDOWN, ExportFormat.HTML):
        written = export(told(*bodies), form)
        assert "it ends too soon" in written
        assert "The program ended here." in written
    (only,) = json.loads(export(told(*bodies), ExportFormat.JSON))["turns"]
    assert (only["status"], only["exit_code"]) == ("cut off", 130)


def test_what_was_summed_up_stands_before_its_summary() -> None:
    summed = events.HistoryEdited(events.TurnsSummarised((1,), "They spoke of Lyon.", 2))
    written = export(told(*turn("Lyon"), summed), ExportFormat.MARKDOWN)
    assert written.index("How warm") < written.index("Summary of the turns above") < written.index("They spoke of")


def test_a_result_of_megabytes_is_written_whole_and_soon() -> None:
    written = export(told(*turn("Hi", result="<&" * 1_000_000)), ExportFormat.HTML)
    assert "&lt;&amp;" * 1_000_000 in written
