"""What stands within a line: emphasis, code, links. markdown-it parses it, and gives it here as spans.

References (`[text][name]`) are left as they are written: what they name may come later or never. HTML is text, but
for `<br>`, which models write for a new line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from toolchat.ui.markdown.rows import BOLD, CYAN, DIM, ITALIC, STRIKE, UNDERLINE, Row, join_styles
from toolchat.ui.sanitize import sanitize, sanitize_line

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_PLAIN = re.compile(r"[^\\`*_~\[\]!<>&]*")
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)
_RULES = ("backticks", "emphasis", "strikethrough", "link", "image", "autolink", "escape", "entity", "newline")


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("zero").enable(list(_RULES))


def inline(source: str, style: str, *, color: bool) -> Row:
    """The text of `source` in spans, `style` being that of all. Without `color`, code keeps its backticks.

    Newlines of the source stay newlines: a model that begins a new line means one.
    """
    if _PLAIN.fullmatch(source):
        return [(source.replace("\t", " "), style)] if source else []
    builder = _Builder(style, color)
    for token in _parser().parseInline(source)[0].children or []:
        builder.add(token)
    return builder.spans


class _Builder:
    def __init__(self, style: str, color: bool) -> None:
        self.spans: Row = []
        self._styles = [style]
        self._color = color
        self._links: list[tuple[str, int]] = []  # address, and the first span of what is linked

    def add(self, token: Token) -> None:
        match token.type:
            case "text":
                text = _BREAK.sub("\n", token.content) if "<" in token.content else token.content
                self._text(text)
            case "softbreak" | "hardbreak":
                self._text("\n")
            case "code_inline" if self._color:
                self.spans.append((sanitize_line(token.content), join_styles(self._styles[-1], CYAN)))
            case "code_inline":
                self._text(f"{token.markup}{token.content}{token.markup}")
            case "strong_open":
                self._push(BOLD)
            case "em_open":
                self._push(ITALIC)
            case "s_open":
                self._push(STRIKE)
            case "link_open":
                self._links.append((str(token.attrs["href"]), len(self.spans)))
                self._push(UNDERLINE)
            case "strong_close" | "em_close" | "s_close":
                self._styles.pop()
            case "link_close":
                self._styles.pop()
                address, begin = self._links.pop()
                self._address(address, "".join(text for text, _ in self.spans[begin:]))
            case "image":
                self._text(token.content)
                self._address(str(token.attrs["src"]), token.content)
            case _:
                self._text(token.content)

    def _push(self, style: str) -> None:
        self._styles.append(join_styles(self._styles[-1], style))

    def _text(self, text: str) -> None:
        # What an entity stands for has not been made safe yet.
        self.spans.append((sanitize(text).replace("\t", " "), self._styles[-1]))

    def _address(self, address: str, shown: str) -> None:
        """Add the address of a link, unless the link's text says it already."""
        address = sanitize_line(address)
        if address and shown.strip() not in (address, address.removeprefix("mailto:")):
            self.spans.append((f" ({address})" if shown.strip() else address, join_styles(self._styles[-1], DIM)))
