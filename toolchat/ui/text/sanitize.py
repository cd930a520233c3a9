"""Makes untrusted text fit for a terminal: what could move the cursor, hide or reorder text is made visible.

Model text, arguments, results, paths: everything that toolchat did not write itself passes here before it is shown.
rich's own `strip_control_codes` drops five control characters and lets ESC, C1 and the bidirectional ones through.
"""

from __future__ import annotations

import re
import unicodedata

# The categories Cc, Cf, Cs, Zl, Zp and Co and the property Default_Ignorable_Code_Point of Unicode 16, as ranges so
# that no table is built at the start; a test holds them against `unicodedata`. Emoji need U+200D, U+FE0E and U+FE0F.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and newline), DEL, C1
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160\u17b4-\u17b5\u180b-\u180f"
    "\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\uf8ff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U000f0000-\U000ffffd\U00100000-\U0010fffd"
    "\ufdd0-\ufdef]"  # noncharacters, which markdown/marks.py uses for itself
)
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}


def sanitize(text: str) -> str:
    """`text` with every control character as a visible stand-in; newlines and tabs stay.

    U+200D, U+FE0E and U+FE0F, which emoji and several scripts are made with, stay too.
    """
    return _SUSPECT.sub(_visible, text.replace("\r\n", "\n"))


def sanitize_line(text: str) -> str:
    """`sanitize` for what must stay on one line: newlines and tabs become visible as well."""
    return sanitize(text).replace("\n", "⏎").replace("\t", " ")


def look_alikes(name: str) -> list[str]:
    """What a person should know of the characters of a name that is taken for what it looks like: those beyond ASCII.

    A Cyrillic letter looks like a Latin one in most fonts.
    """
    foreign = dict.fromkeys(character for character in name if not character.isascii())
    return [
        f"{sanitize(character)} is U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"
        for character in foreign
    ]


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
