"""Assigns lines to blocks as CommonMark describes it, each line once.

Where models and CommonMark differ in what is meant, the models' way is taken: a `---` under a paragraph is a rule, list
items may be indented too little, and a fence in a list item goes on until it is closed.
"""

from __future__ import annotations

import re
from typing import Protocol, Self, TypeVar

from toolchat.ui.markdown.code import Code, Fence, Math
from toolchat.ui.markdown.page import Container, Item, Page, Quote
from toolchat.ui.markdown.paragraph import Paragraph
from toolchat.ui.markdown.table import Table, alignments, split_row
from toolchat.ui.text.styles import join_styles
from toolchat.ui.text.wrapping import fold

_DEEPEST = 10
"""Quotes and list items within each other; further markers are text."""
_RULE_CELLS = 40

_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*))?", re.DOTALL)
_CLOSING_HASHES = re.compile(r"(?:^|[ \t]+)#+[ \t]*$")
_FENCE = re.compile(r"(`{3,})([^`]*)|(~{3,})(.*)")
_RULE = re.compile(r"(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,}")
_UNDERLINE = re.compile(r"=+ *")
_QUOTE = re.compile(r">(?![=/:.;,<$\\)?]|_<)")  # no >=, no >_<, no file that a command writes to
_PROMPT = re.compile(r">>>(?: |$)")  # of Python
_ENVIRONMENT = re.compile(r"\\begin(\{[A-Za-z]+\*?\})")
_MATH = ("$$", "\\[", "\\begin{")
_FIGURE = re.compile(r"[\d.($€£¥]")
_MARKER = re.compile(r"([-+*]|(\d{1,9})[.)])( +|$)")
_TASK = re.compile(r"\[([ xX])\] (?=\S)")

_HEADINGS = (join_styles("bold", "underline"), "bold", join_styles("bold", "italic"))
_BULLETS = "•◦▪"


class Leaf(Protocol):
    """A block that holds text and no other blocks.

    A leaf gets the text of its lines in pieces. What it does must depend on the text alone, never on how it was cut
    into pieces, so each leaf looks only when a line ends or when it holds a certain number of characters.
    """

    def copy(self) -> Self:
        """Another one that goes on from here, and leaves this one as it is."""

    def add(self, text: str, page: Page) -> None:
        """More of the line."""

    def end_line(self, page: Page) -> None:
        """The line ends here."""

    def close(self, page: Page) -> None:
        """The block ends, after a line has."""


_L = TypeVar("_L", bound=Leaf)


class Blocks:
    """The blocks that are open, and the page that they print on."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._leaf: Leaf | None = None
        self._in_line: Leaf | None = None  # the leaf that the line under way is of

    def copy(self) -> Blocks:
        """Others that go on from here, for rows that are only drawn."""
        made = Blocks(self.page.copy())
        made._leaf = self._leaf.copy() if self._leaf else None
        made._in_line = made._leaf if self._in_line else None
        return made

    def start(self, line: str, *, whole: bool) -> None:
        """A line, or the beginning of one that is long; `more` of it follows then, and `end_line` in any case."""
        depth, rest = self._continued(line)
        containers = self.page.containers
        if isinstance(self._leaf, Fence) and not any(isinstance(one, Quote) for one in containers[depth:]):
            self._in_fence(self._leaf, rest, whole)
            return
        if whole and not rest.strip(" "):
            self._blank(depth)
            return
        if isinstance(self._leaf, Math) and not any(isinstance(one, Quote) for one in containers[depth:]):
            self._add(self._leaf, rest)
            return
        before: Container | None = None
        if depth < len(containers) and not self._continues_paragraph(rest, whole):
            before = containers[depth]
            self._close_leaf()
            self.page.close(depth)
        self._text(self._opened(rest, before, whole), whole)

    def more(self, text: str) -> None:
        """More of the line under way."""
        if self._in_line:
            self._in_line.add(text, self.page)

    def end_line(self) -> None:
        if self._in_line is None:
            return
        self._in_line.end_line(self.page)
        line = self._in_line
        if (isinstance(line, Paragraph) and line.heading) or (isinstance(line, Math) and line.ended):
            self._close_leaf()
        self._in_line = None

    def close(self) -> None:
        """Nothing follows."""
        self._close_leaf()
        self.page.close(0)

    def _close_leaf(self) -> None:
        if self._leaf is not None:
            self._leaf.close(self.page)
            self._leaf = None

    def _continued(self, line: str) -> tuple[int, str]:
        """How many of the open containers the line is in, and the line without what says so."""
        if not self.page.containers and isinstance(self._leaf, Fence):
            return 0, line  # with its tabs
        rest = _untabbed(line)
        depth = 0
        for container in self.page.containers:
            indent = _indent(rest)
            match container:
                case Quote():
                    if indent > 3 or not _QUOTE.match(rest, indent):
                        break
                    rest = rest[indent + 1 :].removeprefix(" ")
                case Item() if indent == len(rest):
                    rest = ""
                case Item() if indent >= container.offset:
                    rest = rest[container.offset :]
                case Item():
                    marker = _MARKER.match(rest, indent)
                    if marker is None or indent < container.indent + 2 or marker[1][-1] == container.kind:
                        break
                    rest = rest[indent:]
            depth += 1
        return depth, rest

    def _in_fence(self, fence: Fence, rest: str, whole: bool) -> None:
        indent = _indent(rest)
        body = rest[indent:].rstrip(" ")
        # While it is only drawn, half a closing fence counts too: it would be seen for a moment as code.
        enough = 1 if self.page.live else len(fence.fence)
        closes = whole and indent < 4 and len(body) >= enough and not body.strip(fence.fence[0])
        if closes and not fence.nested:
            self._close_leaf()
        else:
            if closes:
                fence.nested -= 1
            elif fence.of_markdown and whole and (inner := _FENCE.fullmatch(body)) and (inner[2] or inner[4]):
                # Only where what closes it would also close this one: else nobody would count that.
                fence.nested += (inner[1] or inner[3]).startswith(fence.fence)
            self._add(fence, rest[min(indent, fence.indent) :])

    def _blank(self, depth: int) -> None:
        self._close_leaf()
        self.page.close(depth)
        if not self.page.fresh:
            self.page.gap(depth)

    def _continues_paragraph(self, rest: str, whole: bool) -> bool:
        """Whether a line that is in fewer containers than the open paragraph still goes on with it."""
        return isinstance(self._leaf, Paragraph) and not self._opens_block(rest, whole)

    def _opens_block(self, rest: str, whole: bool) -> bool:
        indent = _indent(rest)
        body = rest[indent:]
        if indent > 3:
            return False
        if _opens_quote(body) or body.startswith("|") or _MARKER.match(body) or _HEADING.fullmatch(body):
            return True
        return whole and bool(_FENCE.fullmatch(body) or _RULE.fullmatch(body))

    def _opened(self, rest: str, before: Container | None, whole: bool) -> str:
        """Open the quotes and list items that the line begins with; what follows their markers.

        `before` is what ended at this line, where the first of them would stand.
        """
        while len(self.page.containers) < _DEEPEST:
            indent = _indent(rest)
            body = rest[indent:]
            if indent > 3:
                break
            if _opens_quote(body):
                self._close_leaf()
                self.page.containers.append(Quote())
                rest = body[1:].removeprefix(" ")
            elif (
                not (marker := _MARKER.match(body))
                or (whole and _RULE.fullmatch(body))
                or (isinstance(self._leaf, Paragraph) and not _interrupts(marker, body, self._leaf.last_line))
            ):
                break
            else:
                self._close_leaf()
                rest = self._open_item(marker, indent, body, before)
            before = None
        return rest

    def _open_item(self, marker: re.Match[str], indent: int, body: str, before: Container | None) -> str:
        kind = marker[1][-1]
        spaces = len(marker[3])
        if not 1 <= spaces <= 4:
            spaces = 1
        rest = body[len(marker[1]) + spaces :]
        number = written = None
        if marker[2]:
            number = written = int(marker[2])
            if isinstance(before, Item) and before.kind == kind and before.number is not None:
                # Lists whose markers all are "1." exist; one that counts down is what it says.
                renumbered = before.number != before.written and number <= before.number
                number = before.number + 1 if renumbered or number == before.written else number
            shown = f"{marker[2] if number == written else number}{kind} "
        elif task := _TASK.match(rest):
            rest = rest[task.end() :]
            shown = f"{task[0].strip()} "
        elif self.page.drawn and kind != "+":
            level = sum(isinstance(one, Item) and one.number is None for one in self.page.containers)
            shown = f"{_BULLETS[level % len(_BULLETS)]} "
        else:
            shown = f"{kind} "
        self.page.containers.append(Item(indent, indent + len(marker[1]) + spaces, kind, number, written, shown))
        return rest

    def _text(self, rest: str, whole: bool) -> None:
        """What follows all markers of quotes and items: the beginning of a block, or a line of the open one."""
        indent = _indent(rest)
        body = rest[indent:]
        leaf = self._leaf
        if whole and not body:
            self._blank(len(self.page.containers))
        elif indent > 3 and not isinstance(leaf, Paragraph):
            self._add(leaf if isinstance(leaf, Code) else self._begin(Code()), rest)
        elif whole and _RULE.fullmatch(body):
            self._close_leaf()
            rule = "─" * min(self.page.room, _RULE_CELLS) if self.page.drawn else body.rstrip()
            self.page.put(fold([(rule, "dim")], self.page.room))
        elif (heading := _HEADING.fullmatch(body)) and (heading[2] or "").strip():
            self._heading(heading[1], heading[2], whole)
        elif whole and (fence := _FENCE.fullmatch(body)):
            self._close_leaf()
            info = (fence[2] or fence[4] or "").replace("\t", " ").strip()
            self._begin(Fence(info, fence[1] or fence[3], indent, self.page))
        elif whole and (ends := _math_ends(body)):
            if not body.startswith(_MATH):
                # What stands before it on its line.
                if isinstance(leaf, Paragraph):
                    leaf.next_line(self.page)
                self._add(leaf if isinstance(leaf, Paragraph) else self._begin(Paragraph()), body)
                self.end_line()
                self._begin(Math(ends, began=True))
            else:
                self._add(self._begin(Math(ends, began=False)), body)
        elif isinstance(leaf, Table) and "|" in body:
            self._add(leaf, body)
        elif isinstance(leaf, Paragraph):
            # Such a row is code that a model has not fenced: its indentation says as much as its words.
            self._in_paragraph(leaf, rest if indent > 3 else body, whole)
        else:
            self._add(self._begin(Paragraph()), body)

    def _heading(self, hashes: str, title: str, whole: bool) -> None:
        self._close_leaf()
        self.page.gap_before()
        closing = _CLOSING_HASHES.search(title) if whole and self.page.drawn else None
        if closing and closing.start() and closing[0].strip() == hashes:  # else it is a name, such as C #
            title = title[: closing.start()]
        if not self.page.drawn:
            title = f"{hashes} {title}"
        self._add(self._begin(Paragraph(_HEADINGS[min(len(hashes), len(_HEADINGS)) - 1], heading=True)), title)

    def _in_paragraph(self, leaf: Paragraph, body: str, whole: bool) -> None:
        line = leaf.line
        if whole and line is not None and "|" in line:
            header = split_row(line)
            if aligns := alignments(body, len(header)):
                self._leaf = Table(header, aligns, self.page)
                return
        if whole and line is not None and _UNDERLINE.fullmatch(body) and self.page.drawn:
            self.page.gap_before()
            leaf.make_heading(_HEADINGS[0])
            self._close_leaf()
        elif body.startswith("|") and not leaf.row_of_table:
            self._add(self._begin(Paragraph()), body)
        else:
            leaf.next_line(self.page)
            self._add(leaf, body)

    def _begin(self, leaf: _L) -> _L:
        self._close_leaf()
        self._leaf = leaf
        return leaf

    def _add(self, leaf: Leaf, text: str) -> None:
        self._in_line = leaf
        leaf.add(text, self.page)


def _math_ends(body: str) -> str:
    """What ends the display of mathematics that a line begins; "" where it begins none, or ends it too."""
    text = body.rstrip(" ")
    if "`" in text:
        return ""
    if text.count("$$") % 2 and (text.startswith("$$") or text.endswith("$$")):
        return "$$"
    if text.endswith("\\[") or (text.startswith("\\[") and "]" not in text):
        return "\\]"
    begins = _ENVIRONMENT.match(text)
    return f"\\end{begins[1]}" if begins and f"\\end{begins[1]}" not in text else ""


def _opens_quote(body: str) -> bool:
    return bool(_QUOTE.match(body)) and not _PROMPT.match(body)


def _interrupts(marker: re.Match[str], body: str, before: str) -> bool:
    """Whether a list item can begin right after a line of a paragraph, which is `before`.

    Else "1986. A good year" would be one, and the minus signs of a written reckoning would be bullets.
    """
    text = body[marker.end() :]
    if not text.strip(" ") or marker[2] not in (None, "1"):
        return False
    reckons = before.rstrip().endswith("=") or not any(map(str.isalpha, before))
    return marker[2] is not None or not (reckons and _FIGURE.match(text))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _untabbed(line: str) -> str:
    text = line.lstrip(" \t")
    space = line[: len(line) - len(text)]
    return space.expandtabs(4) + text if "\t" in space else line
