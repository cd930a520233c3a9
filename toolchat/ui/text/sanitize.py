"""Makes untrusted text fit for a terminal: what could move the cursor, hide or reorder text is made visible.

Model text, arguments, results, paths: everything that toolchat did not write itself passes here before it is shown.
rich's own `strip_control_codes` drops five control characters and lets ESC, C1 and the bidirectional ones through.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# Extended_Pictographic of Unicode 15: what emoji are joined of. Ranges, so that no table is built at the start.
_PICTURE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9-\u21aa\u231a-\u231b\u2328\u2388\u23cf\u23e9-\u23f3"
    "\u23f8-\u23fa\u24c2\u25aa-\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    "\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733-\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2934-\u2935\u2b05-\u2b07\u2b1b-\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e-\U0001f17f\U0001f18e"
    "\U0001f191-\U0001f19a\U0001f1ad-\U0001f1e5\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a"
    "\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff"
    "\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f\U0001f848-\U0001f84f\U0001f85a-\U0001f85f"
    "\U0001f888-\U0001f88f\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001faff]"
)
_ONE = f"{_PICTURE}(?:[\ufe0e\ufe0f]|[\U0001f3fb-\U0001f3ff])?"
_EMOJI = f"{_ONE}(?:\u200d{_ONE}){{0,9}}|[0-9#*]\ufe0f\u20e3"
# The categories Cc, Cf, Cs, Zl, Zp and Co and the property Default_Ignorable_Code_Point of Unicode 16; a test holds
# them against `unicodedata`.
_SUSPECT = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and newline), DEL, C1
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160\u17b4-\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U000f0000-\U000ffffd\U00100000-\U0010fffd"
    "\ufdd0-\ufdef]"  # noncharacters, which markdown/inline.py uses for itself
)
_SEQUENCES = re.compile(f"(?:{_EMOJI})|({_SUSPECT})")
_HELD = re.compile(r"(?:\r|\u200d|(?<=[0-9#*])\ufe0f)\Z")
_CONTEXT = 3
"""Characters before a piece of text that decide whether what it begins with belongs to an emoji."""
_LETTERS = re.compile(r"[^\W_]+")
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH", "FULLWIDTH", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"}
_NO_SCRIPTS = {"MICRO", "FEMININE", "MASCULINE"}
_MOST_FOREIGN = 5
_LONGEST_WORD = 60
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}


def sanitize(text: str) -> str:
    """`text` with every control character as a visible stand-in; newlines and tabs stay.

    U+200D, U+FE0E and U+FE0F stay within a well-formed emoji, and nowhere else: they are not seen.
    """
    return _SEQUENCES.sub(_visible, text.replace("\r\n", "\n"))


class StreamSanitizer:
    """`sanitize` for a text that comes in pieces, which may part an emoji or a line's end."""

    def __init__(self) -> None:
        self._before = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What is certain by now of the text so far and was not given before."""
        text = self._held + text
        self._held = match[0] if (match := _HELD.search(self._before + text)) else ""
        return self._given(text[: len(text) - len(self._held)])

    def finish(self) -> str:
        """The rest: no more text comes."""
        text, self._held = self._held, ""
        return self._given(text)

    def _given(self, text: str) -> str:
        before, self._before = self._before, (self._before + text)[-_CONTEXT:]
        return sanitize(before + text).removeprefix(sanitize(before))


def stand_ins(text: str) -> str:
    """`text` with one replacement character for each character that `sanitize` would replace."""
    return _SEQUENCES.sub(lambda match: "\ufffd" if match[1] else match[0], text)


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


def mixed_scripts(text: str) -> list[str]:
    """For each word of `text` with letters of several scripts, such as `pаypal` with a Cyrillic а: what is in it.

    Chinese, Japanese and Korean are written with Latin letters in between.
    """
    marks = []
    for match in _LETTERS.finditer(text):
        word = match[0]
        if word.isascii() or not (foreign := _foreign(word)):
            continue
        scripts = dict.fromkeys(filter(None, map(_script, word)))
        odd = ", ".join(f"{sanitize(character)} is U+{ord(character):04X}" for character in foreign[:_MOST_FOREIGN])
        marks.append(f"{sanitize(word[:_LONGEST_WORD])} mixes {' and '.join(map(str.capitalize, scripts))}: {odd}")
    return list(dict.fromkeys(marks))


def _foreign(word: str) -> list[str]:
    """The characters of a word that are not of its most frequent script; none where its scripts go together."""
    of = {character: script for character in dict.fromkeys(word) if (script := _script(character))}
    scripts = set(of.values())
    if len(scripts) < 2 or (scripts <= _EAST_ASIAN | {"LATIN"} and not {"LATIN", "FULLWIDTH"} <= scripts):
        return []
    counts = Counter(of[character] for character in word if character in of)
    usual = max(counts, key=lambda script: (counts[script], script == "LATIN"))
    return [character for character, script in of.items() if script != usual]


@lru_cache(maxsize=1024)
def _script(character: str) -> str:
    """The script of a letter, by the first word of its name; "" for what belongs to none."""
    if not unicodedata.category(character).startswith(("Lu", "Ll", "Lt", "Lo", "Nl")):
        return ""
    script = unicodedata.name(character, "").partition(" ")[0]
    return "" if script in _NO_SCRIPTS else script


def _visible(match: re.Match[str]) -> str:
    character = match[1]
    if character is None:
        return match[0]
    if character in _PICTURES:
        return _PICTURES[character]
    if unicodedata.category(character) == "Cs":
        return "\ufffd"
    return f"<U+{ord(character):04X}>"
