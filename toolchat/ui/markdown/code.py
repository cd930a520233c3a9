"""Renders blocks that are shown as they are written: code, which is highlighted between fences, and mathematics.

Each line is highlighted once; open strings and comments are carried to the next.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from toolchat.ui.markdown.page import Page
from toolchat.ui.text.styles import Look
from toolchat.ui.text.wrapping import Row, fold

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

_LONGEST = 1000
"""Characters of a line that is coloured; a longer one was made by a machine, and some lexers are slow on such."""
_DEEPEST = 50
"""States that a lexer may be within; a lexer that goes deeper has lost its way."""

_CODE_PIECE = 4096
"""Characters of a line of code after which it is printed as a line of its own, since it must not be held for ever."""

_STYLES = {
    "Comment": "dim",
    "Comment.Preproc": "magenta",
    "Keyword": "magenta",
    "Keyword.Constant": "cyan",
    "Keyword.Type": "cyan",
    "Operator.Word": "magenta",
    "Name.Builtin": "cyan",
    "Name.Class": "bold",
    "Name.Decorator": "magenta",
    "Name.Exception": "cyan",
    "Name.Function": "bold",
    "Name.Tag": "magenta",
    "Name.Attribute": "cyan",
    "Literal.String": "green",
    "Literal.String.Doc": "green",
    "Literal.Number": "cyan",
    "Generic.Deleted": "red",
    "Generic.Inserted": "green",
    "Generic.Heading": "bold",
    "Generic.Subheading": "bold",
    "Generic.Prompt": "dim",
    "Generic.Output": "",
}


class Code:
    """Lines that are shown as they are. Nothing is added to them, so that they can be copied."""

    def __init__(self, highlighter: Highlighter | None = None) -> None:
        self._highlighter = highlighter
        self._line = ""
        self._in_pieces = False

    def copy(self) -> Self:
        made = copy.copy(self)
        made._highlighter = self._highlighter.copy() if self._highlighter else None
        return made

    def add(self, text: str, page: Page) -> None:
        while text:
            room = _CODE_PIECE - len(self._line)
            self._line += text[:room]
            text = text[room:]
            if len(self._line) == _CODE_PIECE:
                self.end_line(page)
                self._in_pieces = True

    def end_line(self, page: Page) -> None:
        if self._line or not self._in_pieces:
            page.put_code(self._highlighter.line(self._line) if self._highlighter else [(self._line, "")])
        self._line = ""
        self._in_pieces = False

    def close(self, page: Page) -> None:
        """Nothing is held when a line has ended."""


class Math(Code):
    """Mathematics on lines of its own, as TeX: no minus sign in it is a bullet, and no star or underscore a mark."""

    def __init__(self, end: str, *, began: bool) -> None:
        super().__init__()
        self.ended = False
        self._end = end
        self._began = began
        """Whether what begins it, which may be the same as what ends it, is on a line before."""

    def end_line(self, page: Page) -> None:
        self.ended = self.ended or self._end in self._line[0 if self._began else 2 :]
        self._began = True
        super().end_line(page)


class Fence(Code):
    """Code between fences, which are shown as short rules around it."""

    def __init__(self, info: str, fence: str, indent: int, page: Page) -> None:
        self.fence = fence
        self.indent = indent
        self.of_markdown = info.lower().split()[:1] in (["markdown"], ["md"], ["mdx"])
        self.nested = 0  # fences that are open in a block of Markdown, which models fence with as many marks
        super().__init__(Highlighter((info.split() or [""])[0]) if page.look is Look.COLOUR else None)
        rule = f"─── {info}" if page.drawn else f"{fence}{info}"
        page.put(fold([(rule.rstrip(), "dim")], page.room))

    def close(self, page: Page) -> None:
        if not page.live:
            page.put(fold([("───" if page.drawn else self.fence, "dim")], page.room))


class Highlighter:
    """Colours the lines of one block. A language that is not known is left as it is."""

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language)
        self._stack = ["root"]
        self._comment = False

    def copy(self) -> Highlighter:
        """Another one that goes on from here, and leaves this one as it is."""
        made = Highlighter.__new__(Highlighter)
        made._lexer, made._stack, made._comment = self._lexer, list(self._stack), self._comment
        return made

    def line(self, text: str) -> Row:
        """The next line, without its newline, in spans."""
        if self._lexer is None or len(text) > _LONGEST:
            return [(text, "")]
        begin = 0
        spans: Row = []
        if self._comment:
            end = text.find("*/")
            self._comment = end < 0
            begin = len(text) if end < 0 else end + 2
            spans.append((text[:begin], "dim"))
        if begin < len(text) or not text:
            spans += self._lexed(text[begin:])
        return [span for span in spans if span[0]]

    def _lexed(self, text: str) -> Row:
        if self._lexer is None:
            return [(text, "")]
        before = self._stack
        try:
            tokens, self._stack = _run(self._lexer, text + "\n", before)
        except Exception:  # some lexers fail on half of something; that must not take the answer along
            tokens = []
        if "".join(part for _, part in tokens) != text + "\n" or len(self._stack) > _DEEPEST:
            self._lexer = None
            return [(text, "")]
        spans: Row = []
        at = 0
        for kind, part in tokens:
            if self._opens_comment(kind, text, at):
                # What the lexer made of the rest of the line is no state to go on from.
                self._stack = before
                head = self._lexed(text[:at]) if at else []
                self._comment = True
                return [*head, (text[at:], "dim")]
            spans.append((part.rstrip("\n"), _style(kind)))
            at += len(part)
        return spans

    def _opens_comment(self, kind: _TokenType, text: str, at: int) -> bool:
        """True for a `/*` that is open at the line's end, where the lexer has one pattern for all of a comment."""
        from pygments.token import String

        if not text.startswith("/*", at) or kind in String or "*/" in text[at + 2 :]:
            return False
        return self._lexer is not None and _whole_comments(self._lexer)


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_all_lexers, get_lexer_by_name

    # Asked for a name that it does not know, pygments would import the plug-ins that are installed.
    language = language.lower()
    known = any(language in aliases for _, aliases, _, _ in get_all_lexers(plugins=False))
    return get_lexer_by_name(language) if known else None


def _run(lexer: Lexer, text: str, stack: list[str]) -> tuple[list[tuple[_TokenType, str]], list[str]]:
    """The tokens of `text`, lexed from the states in `stack` on, and the states at its end."""
    from pygments.lexer import DelegatingLexer, ExtendedRegexLexer, LexerContext, RegexLexer

    regular = isinstance(lexer, RegexLexer) and not isinstance(lexer, DelegatingLexer)
    own = type(lexer).get_tokens_unprocessed is not ExtendedRegexLexer.get_tokens_unprocessed
    if not regular or (isinstance(lexer, ExtendedRegexLexer) and own):
        return [(kind, part) for _, kind, part in lexer.get_tokens_unprocessed(text)], stack
    # This class's loop takes the states to begin with and tells those at the end; it runs the rules of any lexer
    # that is made of regular expressions.
    context = LexerContext(text, 0, stack=list(stack))
    tokens = [(kind, part) for _, kind, part in ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context)]
    return tokens, context.stack


@lru_cache(maxsize=64)
def _whole_comments(lexer: Lexer) -> bool:
    """True where a `/*` comment over several lines is one to the lexer, but not when it gets line after line."""
    from pygments.token import Comment

    whole, _ = _run(lexer, "/* a\nb */\n", ["root"])
    _, stack = _run(lexer, "/* a\n", ["root"])
    second, _ = _run(lexer, "b */\n", stack)
    return any(kind in Comment and "b" in part for kind, part in whole) and second[0][0] not in Comment


@lru_cache(maxsize=512)
def _style(kind: _TokenType) -> str:
    for length in range(len(kind), 0, -1):
        if (style := _STYLES.get(".".join(kind[:length]))) is not None:
            return style
    return ""
