"""Parses the inline markup of a line (emphasis, code, links) with markdown-it, and returns it as spans.

CommonMark takes `2*3*4`, `__init__.py`, `\\d+` and `COUNT(*)` for markup. Models mean the characters. In doubt a
character is text: a mark that is shown is read over, a character that is dropped is missed. `hide` and `flanks` tell
marks from what only looks like them, and a mark is dropped only where a style takes its place.
References (`[text][name]`) are left as they are written: what they name may come later or never. HTML is text, but for
`<br>`, which models write for a new line.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.ui.text.styles import Look, join_styles
from toolchat.ui.text.wrapping import Row

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_PLAIN = re.compile(r"[^\\`*_~\[\]!<>&]*")
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)
_RULES = ("backticks", "emphasis", "strikethrough", "link", "image", "autolink", "newline")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SCHEME = re.compile(r"(?:https?|ftp|file|mailto|tel|ssh|git|data):", re.IGNORECASE)
_AUTOLINK = re.compile(
    r"<(?:(?:https?|ftp|file|mailto|tel|ssh|git):[^<>\s]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>", re.IGNORECASE
)

_MARKS = "\\*_~`[]!<>& \n"
_STAND_INS = "".join(chr(0xFDD0 + index) for index in range(len(_MARKS)))
"""Noncharacters, which `sanitize` lets no text contain."""
_HIDE = str.maketrans(_MARKS, _STAND_INS)
_SHOW = str.maketrans(_STAND_INS, _MARKS)

_CODE_SPAN = r"(?<![`\\])(?P<code>(?P<ticks>`+)(?!`)(?s:.)*?(?<!`)(?P=ticks)(?!`))"
_LITERAL = re.compile(
    _CODE_SPAN + r"|(?P<literal>"
    # Math, as TeX and as models write it. One dollar sign is mostly money: no space within, no digit behind.
    r"\$\$[^`]{1,1000}?\$\$"
    r"|\\\([^`]{1,500}?\\\)|\\\[[^`]{1,1000}?\\\]"
    r"|(?<![\w$\\])\$(?![\s\d$][^$\n`]*\s\$)(?=\S)[^$\n`]{1,300}?(?<=[^\s\\])\$(?![\w$])"
    # Addresses; what closes emphasis or a sentence behind one is none of it.
    r"|(?:https?|ftp|file)://[^\s<>\"`\[\]|]+?(?=[*_~.,;:!?)]*(?:[\s<>\"`\[\]|]|$))"
    # Names of Python and of the C preprocessor: __init__, __FILE__.
    r"|(?<![\w\\])__(?:[a-z0-9]|[a-z0-9][a-z0-9_]*[a-z0-9]|[A-Z0-9]|[A-Z0-9][A-Z0-9_]*[A-Z0-9])__(?!\w)"
    # Names and paths with underscores at both ends and within: _foo_bar_, _layouts/_default_.
    r"|(?<![\w\\])_[A-Za-z0-9][\w/.]{0,40}_[\w/.]{0,40}[A-Za-z0-9]_(?!\w)"
    r")|(?<![^\s`])(?P<word>[^\s`\\]*\\(?!`)[^\s`]*)"
)
_ESCAPE = re.compile(r"\\[*_~`#|]|^(?:\d{1,9}\\[.)]|\\[-+>])$")
# What an escape stands beside in paths and patterns: C:\*.txt, /\*, "\_", [\*], \*+.
_PATTERN = re.compile(r"""(?:(?<![A-Za-z])[A-Za-z]:|[/^\[|'"])\\[*_~#]|\\[*_~#](?:[/+\]|{$'"]|\?\S)""")
_AROUND = re.compile(r"([*_~]*)(.*?)((?:\*\*|~~)?[.,;:!?)]*)", re.DOTALL)
_OPENING, _CLOSING = "([{<", ")]}>,;:!?."
_WIDE_LETTERS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC", "YI ")


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    made = MarkdownIt("zero").enable(list(_RULES))
    rules = made.inline.ruler
    rules.at("emphasis", _emphasis)
    rules.at("strikethrough", _emphasis)
    rules.at("backticks", _code)
    rules.at("newline", _newline)
    rules.before("emphasis", "mark_escape", _escape)
    rules.before("emphasis", "visible_entity", _entity)
    rules.before("autolink", "no_address", _no_address)
    rules.before("link", "no_link", _no_link)
    rules.before("image", "no_image", _no_image)
    # An address is shown as it is written.
    setattr(made, "normalizeLink", str)  # noqa: B010  a method, to mypy
    setattr(made, "normalizeLinkText", str)  # noqa: B010
    return made


def _emphasis(state: StateInline, silent: bool) -> bool:
    """markdown-it's own rule for `*`, `_` and `~~`, but for what counts as a mark."""
    from markdown_it.rules_inline.state_inline import Delimiter

    begin = state.pos
    marker = state.src[begin]
    if silent or marker not in "*_~":
        return False
    end = begin
    while end < state.posMax and state.src[end] == marker:
        end += 1
    length = end - begin
    if marker == "~" and length != 2:
        return _literal(state, state.src[begin:end])
    opens, closes = flanks(state.src[begin - 1 : begin], marker, state.src[end : end + 1])
    if not opens and not closes:
        return _literal(state, state.src[begin:end])
    for one in ["~~"] if marker == "~" else [marker] * length:
        state.push("text", "", 0).content = one
        size = 0 if marker == "~" else length
        state.delimiters.append(Delimiter(ord(marker), size, len(state.tokens) - 1, -1, opens, closes))
    state.pos = end
    return True


def _code(state: StateInline, silent: bool) -> bool:
    """markdown-it's own rule, which notes what stood there, and whether it may be no code after all."""
    from markdown_it.rules_inline import backtick

    begin, tokens = state.pos, len(state.tokens)
    if not backtick(state, silent):
        return False
    if not silent and len(state.tokens) > tokens and (token := state.tokens[-1]).type == "code_inline":
        before, after = state.src[begin - 1 : begin], state.src[state.pos : state.pos + 1]
        source = state.src[begin : state.pos].replace("\n", " ")
        inner = source.strip("`")
        # html`<b>`, and `foo' and `bar', whose second mark begins something.
        doubtful = (before.isascii() and before.isalnum()) or (
            inner.endswith(" ") and not inner.startswith(" ") and after.isalnum()
        )
        token.meta = {"source": source, "doubtful": doubtful}
    return True


def _newline(state: StateInline, silent: bool) -> bool:
    """A new line, whose blanks stay: those that say nothing are gone already."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.pending = state.pending.rstrip(" ")
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


def _literal(state: StateInline, text: str) -> bool:
    state.pending += text
    state.pos += len(text)
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """A backslash is dropped only where it keeps what follows from being a mark."""
    if state.src[state.pos] != "\\":
        return False
    after = state.src[state.pos + 1 : state.pos + 2]
    before = state.src[: state.pos].rpartition("\n")[2]
    escapes = after and (
        after in "*_~`#" or (after in ".)" and before.strip().isdigit()) or (after in "-+>" and not before.strip())
    )
    if not silent:
        state.pending += after if escapes else "\\"
    state.pos += 2 if escapes else 1
    return True


def _entity(state: StateInline, silent: bool) -> bool:
    """Entities that stand for something one can see; others stay as they are written."""
    if state.src[state.pos] != "&" or not (match := _ENTITY.match(state.src, state.pos)):
        return False
    text = html.unescape(match[0])
    if "://" in state.src[: state.pos].rpartition(" ")[2]:
        text = match[0]  # a part of an address's query
    if (text.endswith(";") and len(text) > 1) or text == "\ufffd":
        text = match[0]
    if not text.strip() or not text.isprintable() or sanitize(text) != text:
        text = match[0]
    if not silent:
        state.pending += text
    state.pos = match.end()
    return True


def _no_address(state: StateInline, silent: bool) -> bool:
    """`<std::string>` and its like, which the rule for addresses in angle brackets would take."""
    if state.src[state.pos] != "<" or _AUTOLINK.match(show(state.src[state.pos :])):
        return False
    if not silent:
        state.pending += "<"
    state.pos += 1
    return True


def _no_link(state: StateInline, silent: bool) -> bool:
    """`callbacks[name](value)` and its like, which the rule for links would take."""
    if state.src[state.pos] != "[":
        return False
    end = state.md.helpers.parseLinkLabel(state, state.pos, True)
    if end < 0 or state.src[end + 1 : end + 2] != "(":
        return False
    target = show(state.src[end + 2 :]).lstrip(" <")
    if _SCHEME.match(target) or target.startswith(("/", "#", "./", "../")):
        return False
    begin = state.pos - (state.src[state.pos - 1 : state.pos] == "!")
    before = state.src[begin - 1 : begin] if begin else ""
    name = re.split(r"[\s)]", target, maxsplit=1)[0]
    if re.search(r"[./][A-Za-z]", name) and not before.isalnum() and before not in ("_", ")", "]"):
        return False
    if not silent:
        state.pending += "["
    state.pos += 1
    return True


def _no_image(state: StateInline, silent: bool) -> bool:
    """The same for `vec![0](n)`."""
    if not state.src.startswith("![", state.pos):
        return False
    state.pos += 1
    refused = _no_link(state, True)
    state.pos -= 2 if refused else 1
    if refused:
        if not silent:
            state.pending += "!"
        state.pos += 1
    return refused


def inline(source: str, style: str, *, look: Look) -> Row:
    """The text of `source` in spans, `style` being that of all. Without colours, code keeps its backticks.

    Without attributes, the text is shown as it is written. Newlines of the source stay newlines: a model that begins
    a new line means one.
    """
    if look is Look.PLAIN or _PLAIN.fullmatch(source):
        return [(source.replace("\t", " "), style)] if source else []
    builder = _Builder(style, look is Look.COLOUR)
    for token in _parser().parseInline(hide(source))[0].children or []:
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
            case "code_inline" if self._color and not token.meta["doubtful"]:
                self.spans.append((sanitize_line(show(token.content)), join_styles(self._styles[-1], "cyan")))
            case "code_inline":
                self._text(token.meta["source"])
            case "strong_open":
                self._push("bold")
            case "em_open":
                self._push("italic")
            case "s_open":
                self._push("strike")
            case "link_open":
                self._links.append((_target(token, "href"), len(self.spans)))
                self._push("underline")
            case "strong_close" | "em_close" | "s_close":
                self._styles.pop()
            case "link_close":
                self._styles.pop()
                address, begin = self._links.pop()
                self._address(address, "".join(text for text, _ in self.spans[begin:]))
            case "image":
                self._text(token.content)
                self._address(_target(token, "src"), show(token.content))
            case _:
                self._text(token.content)

    def _push(self, style: str) -> None:
        self._styles.append(join_styles(self._styles[-1], style))

    def _text(self, text: str) -> None:
        self.spans.append((sanitize(show(text)).replace("\t", " "), self._styles[-1]))

    def _address(self, address: str, shown: str) -> None:
        """Add the address of a link, unless the link's text says it already."""
        address = sanitize_line(address)
        if address and shown.strip() not in (address, address.removeprefix("mailto:")):
            self.spans.append((f" ({address})" if shown.strip() else address, join_styles(self._styles[-1], "dim")))


def _target(token: Token, name: str) -> str:
    """The address of a link or an image with its title, as it was written."""
    title = token.attrs.get("title")
    return show(f'{token.attrs[name]} "{title}"' if title else str(token.attrs[name]))


def hide(source: str) -> str:
    """`source` with a stand-in for each character of Markdown that is only text; of the same length."""
    if not ("\\" in source or "_" in source or "$" in source or "://" in source):
        return source
    return _LITERAL.sub(_hidden, source)


def _hidden(match: re.Match[str]) -> str:
    if match["literal"]:
        return match[0].translate(_HIDE)
    word = match["word"]
    if word is None or ("\\" not in _ESCAPE.sub("", word) and not _PATTERN.search(word)):
        return match[0]
    # A word with a backslash that escapes no mark, or that is in a pattern, is of a path, a pattern or TeX: so are
    # its other backslashes and stars.
    around = _AROUND.fullmatch(word)
    if around is None:
        return word.translate(_HIDE)
    head, body, tail = around.groups()
    if head and body.endswith(head):
        body, tail = body.removesuffix(head), head + tail
    return f"{head}{body.translate(_HIDE)}{tail}"


def show(text: str) -> str:
    """The characters that `hide` has put stand-ins for."""
    return text if text.isascii() else text.translate(_SHOW)


def flanks(before: str, mark: str, after: str) -> tuple[bool, bool]:
    """Whether a run of `*`, `_` or `~` can begin emphasis, and whether it can end it.

    `before` and `after` are the characters beside it, "" at the ends of the text.
    """
    before, after = show(before), show(after)
    opens = bool(after) and not after.isspace()
    closes = bool(before) and not before.isspace()
    wide = _is_wide(before) or _is_wide(after)
    if opens and closes and not wide:
        if before.isalnum() and after.isalnum():
            return False, False  # 2*3, snake_case
        if before in "/\\" and after in "/\\":
            return False, False
        if mark[0] == "_" and (before in "/\\" or after in "/\\"):
            return False, False
        if before in ")]}" and after in "([{":
            return False, False
        if before == after and not before.isalnum():
            return False, False  # "*", '*', |*|
    if wide:
        # As people write it: **「A」**なので**「B」**. Which of the two it is shows in what is open already.
        return opens and not _closes_bracket(after), closes and not _opens_bracket(before)
    left = opens and not (_is_punctuation(after) and before and not before.isspace() and not _is_punctuation(before))
    right = closes and not (_is_punctuation(before) and after and not after.isspace() and not _is_punctuation(after))
    if mark[0] == "_":
        left, right = left and not before.isalnum(), right and not after.isalnum()
    # **/*.py, (*), *.py: globs and wildcards.
    return left and after not in f"/\\{_CLOSING}", right and before not in f"/\\{_OPENING}"


def _is_wide(character: str) -> bool:
    return (character > "\u2e7f" and unicodedata.name(character, "").startswith(_WIDE_LETTERS)) or (
        character > "\u2e7f" and unicodedata.east_asian_width(character) in "WF" and _is_punctuation(character)
    )


def _is_punctuation(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "PS"


def _opens_bracket(character: str) -> bool:
    return bool(character) and unicodedata.category(character) in ("Ps", "Pi")


def _closes_bracket(character: str) -> bool:
    return bool(character) and (unicodedata.category(character) in ("Pe", "Pf") or character in "、。，．：；！？")
