"""Decodes the input of a terminal: passes on what is typed, and drops what the terminal itself reports.

A terminal answers questions that other programs asked it (colours, attributes, the cursor's place) and reports its
focus in the same stream as keys. prompt-toolkit takes what it does not know for Escape and then text: an Escape that
nobody pressed, which declines a call, and text that nobody typed. Keys in the newer encodings, CSI u (kitty,
https://sw.kovidgoyal.net/kitty/keyboard-protocol/) and modifyOtherKeys (xterm), become the bytes that the same key has
always sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.input.vt100_parser import Vt100Parser

if TYPE_CHECKING:
    from prompt_toolkit.key_binding.key_processor import KeyPress

GAP_SECONDS = 1.0
"""A report that stops in its midst is given up after so long: what comes then is typed."""
LONGEST_REPORT = 1 << 20
"""Characters of one report, such as a clipboard's contents; what is longer is no report."""

_PASTE, _PASTE_END = "\x1b[200~", "\x1b[201~"
_SEQUENCE = re.compile(
    # A whole sequence, or the beginning of one that ends with the text.
    r"\x1b\[\[(?:[\x20-\x7e]|\Z)"  # function keys of the Linux console
    r"|(?:\x1b\[|\x9b)M(?:[^\x1b]{3}|[^\x1b]{0,2}\Z)"  # mouse, three characters
    r"|(?:\x1b\[|\x9b)[\x20-\x3f]*(?:[\x40-\x7e]|\Z)"  # CSI
    r"|\x1bO(?:[\x20-\x7e]|\Z)"  # SS3
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x03\x07\n\r\x1b\x9c]*(?:\x07|\x9c|\x1b\\|\x1b?\Z)"  # DCS, OSC, APC …
    r"|\x1b\Z"
)
_BEGINS = re.compile("[\x1b\x90\x98\x9b\x9d-\x9f]")
_BREAKS_OFF = re.compile(r"[\x03\n\r\x1b]")
_BEGUN_CSI = re.compile(r"(?:\x1b\[|\x9b)[\x20-\x3f]*")
_STRING = re.compile(r"\x1b[PX\]^_]|[\x90\x98\x9d-\x9f]")
_WHOLE_CSI = re.compile(r"(?:\x1b\[|\x9b)([\x20-\x3f]*)([\x40-\x7e])\Z")
_WHOLE_STRING_ENDS = ("\x07", "\x9c", "\x1b\\")
_INTRODUCERS = re.compile(r"\x1b[\[OPX\]^_]?\Z")

_SHIFT, _ALT, _CTRL = 1, 2, 4
_LOCKS = 64 | 128
_KEYPAD = {57399 + digit: str(digit) for digit in range(10)} | {
    57409: ".",
    57410: "/",
    57411: "*",
    57412: "-",
    57413: "+",
    57414: "\r",
    57415: "=",
    57416: ",",
}
_KEYPAD_NAMED = {
    57417: "D",
    57418: "C",
    57419: "A",
    57420: "B",
    57421: "5~",
    57422: "6~",
    57423: "H",
    57424: "F",
    57425: "2~",
    57426: "3~",
}
"""Keys of the keypad without Num Lock, as the ends of the sequences that the same keys beside it send."""
_KEYPAD_SS3 = {"M": "\r", "X": "="} | {
    chr(ord("j") + index): character for index, character in enumerate("*+,-./0123456789")
}


class KeyDecoder:
    """Decodes a stream of text from a terminal, in pieces of any size."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, report: Callable[[str], None] = lambda sequence: None
    ) -> None:
        """`report` is given each whole sequence that is dropped: a report, or a key that has no meaning here."""
        self._clock = clock
        self._report = report
        self._held = ""
        """The beginning of a sequence."""
        self._fed_at = 0.0
        self._pasting = False
        self._pasted = ""
        """The end of what was pasted so far, in which the mark of its end may have begun."""

    def feed(self, text: str) -> str:
        """What of the stream is typed or pasted, as prompt-toolkit knows it. The beginning of a sequence is held."""
        now = self._clock()
        if self._held and now - self._fed_at > GAP_SECONDS:
            self._held = ""
        self._fed_at = now
        text, self._held = self._held + text, ""
        out: list[str] = []
        at = 0
        while at < len(text):
            if self._pasting:
                end = self._paste_ends(text, at)
                out.append(text[at:end])
                at = end
                continue
            escape = _next_escape(text, at)
            out.append(text[at:escape])
            if escape == len(text):
                break
            match = _SEQUENCE.match(text, escape)
            if match is None:
                # An Alt key, or a report that was broken off by a key that no report holds.
                at = self._no_sequence(text, escape, out)
                continue
            sequence, at = match[0], match.end()
            if at == len(text) and not _is_whole(sequence):
                if len(sequence) <= LONGEST_REPORT:
                    self._held = sequence
                break
            self._pasting = sequence == _PASTE
            keys = _decoded(sequence)
            if not keys:
                self._report(sequence)
            out.append(keys)
        return "".join(out)

    def _paste_ends(self, text: str, at: int) -> int:
        """Where in `text` the paste ends that goes on at `at`; its length where that is still to come."""
        pasted = self._pasted + text[at:]
        end = pasted.find(_PASTE_END)
        self._pasting = end < 0
        if self._pasting:
            self._pasted = pasted[1 - len(_PASTE_END) :]
            return len(text)
        end += len(_PASTE_END) - len(self._pasted)
        self._pasted = ""
        return at + end

    def flush(self) -> str:
        """What is held and was typed after all, as nothing has followed: Escape, or Alt with the next key.

        A report that has begun is held on: its rest is late.
        """
        if not _INTRODUCERS.match(self._held):
            return ""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _no_sequence(text: str, at: int, out: list[str]) -> int:
        """Deal with what begins like a sequence and is none; returns where to go on."""
        if string := _STRING.match(text, at):
            # Up to the key that broke it off.
            end = _BREAKS_OFF.search(text, string.end())
            return end.start() if end else len(text)
        if text.startswith("\x1b[", at) or text[at] == "\x9b":
            broken = _BEGUN_CSI.match(text, at)
            return broken.end() if broken else at + 1
        out.append(text[at])
        return at + 1


class KeyParser(Vt100Parser):
    """prompt-toolkit's parser behind a `KeyDecoder`."""

    def __init__(
        self, feed_key_callback: Callable[[KeyPress], None], report: Callable[[str], None] = lambda sequence: None
    ) -> None:
        super().__init__(feed_key_callback)
        self._decoder = KeyDecoder(report=report)
        self._feeding = False

    def feed(self, data: str) -> None:
        if self._feeding:  # prompt-toolkit's own call for what follows a paste
            super().feed(data)
        else:
            self._pass_on(self._decoder.feed(data))

    def flush(self) -> None:
        self._pass_on(self._decoder.flush())
        super().flush()

    def _pass_on(self, text: str) -> None:
        self._feeding = True
        try:
            super().feed(text)
        finally:
            self._feeding = False


def typed(line: str) -> str:
    """A line that was typed in the terminal's line mode, without what the terminal reported meanwhile."""
    decoder = KeyDecoder()
    text = decoder.feed(line)
    return re.sub(r"\x1b(?:\[20[01]~|\[\[[\x20-\x7e]|\[[\x20-\x3f]*[\x40-\x7e]|O[\x20-\x7e])", "", text)


def _next_escape(text: str, at: int) -> int:
    match = _BEGINS.search(text, at)
    return match.start() if match else len(text)


def _is_whole(sequence: str) -> bool:
    if _STRING.match(sequence):
        return sequence.endswith(_WHOLE_STRING_ENDS)
    if sequence.startswith(("\x1b[[", "\x1bO")):
        return len(sequence) == (4 if sequence.startswith("\x1b[[") else 3)
    if re.match(r"(?:\x1b\[|\x9b)M", sequence):
        return len(sequence.replace("\x1b[", "\x9b", 1)) == 5
    return _WHOLE_CSI.match(sequence) is not None


def _decoded(sequence: str) -> str:
    """The keys of a whole sequence; "" for a report, and for a key that has no meaning here."""
    if _STRING.match(sequence):
        return ""
    match = _WHOLE_CSI.match(sequence)
    if match is None or not re.fullmatch(r"[\d;:]*", match[1]):
        return sequence if _known(sequence) else _KEYPAD_SS3.get(sequence.removeprefix("\x1bO"), "")
    numbers = [[int(part) if part.isdigit() else 0 for part in field.split(":")] for field in match[1].split(";")]
    if match[2] == "u" and match[1]:
        return _key(numbers)
    if match[2] == "~" and len(numbers) == 3 and numbers[0] == [27]:
        return _key([numbers[2], numbers[1]])
    if match[2] == "R" and len(numbers) == 2:
        return ""  # the cursor's place; xterm's F3 with Shift looks alike and means nothing here
    if _known(sequence):
        return sequence
    if len(numbers) == 2:
        # A named key with modifiers as kitty reports them, with locks and the kind of event beside them.
        return _named_key(numbers, match[2])
    return ""


@cache
def _known(sequence: str) -> bool:
    return sequence in ANSI_SEQUENCES or sequence == _PASTE


def _key(fields: list[list[int]]) -> str:
    """A key of CSI u: code, modifiers and event, text; as the bytes that it has always sent."""
    code = fields[0][0]
    modifiers, released = _modifiers(fields)
    if released:
        return ""
    if len(fields) > 2 and any(fields[2]) and not modifiers & ~_SHIFT:
        # What is no text is a key's own business, and no Escape that answers a question.
        return "".join(character for character in map(_character, fields[2]) if character.isprintable())
    if code in _KEYPAD_NAMED:
        end = _KEYPAD_NAMED[code]
        return _named_key([[int(end[:-1] or 1)], *fields[1:2]], end[-1])
    if modifiers & (_CTRL | _ALT) and code > 127 and len(fields[0]) > 2 and 32 < fields[0][2] < 127:
        code = fields[0][2]  # Ctrl-C where the letter on the key is another one: by its place on the keyboard
    if code in _KEYPAD:
        character = _KEYPAD[code]
    elif code == 13 and modifiers:
        # A row more; Alt-Enter has always sent it with an Escape before.
        return "\x1b\r" if modifiers & _ALT else "\n"
    elif code == 9 and modifiers & _SHIFT:
        return "\x1b[Z"
    elif code == 127 and modifiers & (_CTRL | _ALT):
        return "\x1b\x7f"
    else:
        shifted = code
        if modifiers & _SHIFT and code == fields[0][0] and len(fields[0]) > 1 and fields[0][1]:
            shifted = fields[0][1]
        character = _character(shifted)
        if modifiers & _SHIFT and shifted == code:
            character = character.upper()
    if not character or modifiers & ~(_SHIFT | _ALT | _CTRL):
        return ""  # Super, Hyper and Meta have no meaning here
    if modifiers & _CTRL:
        character = _control(character)
    if not character:
        return ""  # and no Escape alone, which Alt with nothing would be
    return f"\x1b{character}" if modifiers & _ALT else character


def _named_key(fields: list[list[int]], final: str) -> str:
    modifiers, released = _modifiers(fields)
    if released:
        return ""
    number = fields[0][0]
    plain = [f"\x1b[{number}{final}"] if final == "~" else [f"\x1b[{final}", f"\x1bO{final}"]
    options = [f"\x1b[{number};{modifiers + 1}{final}"] if modifiers else plain
    return next((option for option in options if _known(option)), "")


def _modifiers(fields: list[list[int]]) -> tuple[int, bool]:
    """The modifiers, without locks, and whether the key was released."""
    held = fields[1] if len(fields) > 1 else [1]
    return max(held[0] - 1, 0) & ~_LOCKS, len(held) > 1 and held[1] == 3


def _control(character: str) -> str:
    """What Ctrl and a key send: the character's lower five bits, as on every terminal; "" where that is nothing."""
    if character in "@ `":
        return "\x00"
    if "a" <= character.lower() <= "z" or character in "[\\]^_":
        return chr(ord(character.upper()) & 0x1F)
    return {"/": "\x1f", "?": "\x7f", "\r": "\r", "\t": "\t", "\x1b": "\x1b", "\x7f": "\x7f"}.get(character, "")


def _character(code: int) -> str:
    """The character of a code point; "" for what is none, and for keys that kitty numbers in the private area."""
    if 0xE000 <= code <= 0xF8FF or 0xD800 <= code <= 0xDFFF or not 0 < code <= 0x10FFFF:
        return ""
    if (code < 32 and code not in (8, 9, 13, 27)) or 128 <= code < 160:
        return ""
    return chr(code)
