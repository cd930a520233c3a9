"""Makes untrusted text fit for a terminal: what could move the cursor, hide or reorder text is made visible.

Model text, arguments, results, paths: everything that toolchat did not write itself passes here before it is shown.
rich's own `strip_control_codes` drops five control characters and lets ESC, C1 and the bidirectional ones through.
"""

from __future__ import annotations

import re
import unicodedata

_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and newline), DEL, C1
    "\u00ad\u061c\u180e\u200b-\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # bidi, zero width, separators
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"  # interlinear marks, tags, lone surrogates
    "\ufdd0-\ufdef]"  # noncharacters, which markdown/marks.py uses for itself
)
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}


def sanitize(text: str) -> str:
    """`text` with every control character as a visible stand-in; newlines and tabs stay.

    U+200D, the joiner within emoji and several scripts, stays too: it can hide nothing by itself.
    """
    return _SUSPECT.sub(_visible, text.replace("\r\n", "\n"))


def sanitize_line(text: str) -> str:
    """`sanitize` for what must stay on one line: newlines and tabs become visible as well."""
    return sanitize(text).replace("\n", "⏎").replace("\t", " ")


def is_suspect(character: str) -> bool:
    """True for a character that `sanitize` would replace."""
    return _SUSPECT.match(character) is not None


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if character in _PICTURES:
        return _PICTURES[character]
    if unicodedata.category(character) == "Cs":
        return "\ufffd"
    return f"<U+{ord(character):04X}>"
