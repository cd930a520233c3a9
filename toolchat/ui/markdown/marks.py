"""Decides which characters are Markdown marks and which only look like marks: rules for `inline` and `paragraph`.

CommonMark takes `2*3*4`, `__init__.py`, `\\d+` and `COUNT(*)` for markup. Models mean the characters. In doubt a
character is text: a mark that is shown is read over, a character that is dropped is missed.
"""

from __future__ import annotations

import re
import unicodedata

_MARKS = "\\*_~`[]!<>& \n"
_STAND_INS = "".join(chr(0xFDD0 + index) for index in range(len(_MARKS)))
"""Noncharacters, which `sanitize` lets no text contain."""
_HIDE = str.maketrans(_MARKS, _STAND_INS)
_SHOW = str.maketrans(_STAND_INS, _MARKS)

_CODE = r"(?<![`\\])(?P<code>(?P<ticks>`+)(?!`)(?s:.)*?(?<!`)(?P=ticks)(?!`))"
_LITERAL = re.compile(
    _CODE + r"|(?P<literal>"
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
