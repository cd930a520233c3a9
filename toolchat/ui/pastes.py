"""Folds long pastes in the input: one character stands for each, shown as `[pasted 214 lines]`, and sent as the whole.

So the cursor passes a paste in one step, Backspace deletes it whole, and undo, history and search go on working on a
text that is short. The characters are from a private area of Unicode; one that comes from outside is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

FOLD_LINES = 10
"""A paste of fewer lines stands in the input as it is."""
FOLD_CHARACTERS = 8192
"""Or of fewer characters."""

_BEGIN, _END = "\U0010eff0", "\U0010eff1"
"""Around what was pasted, in the entries that a history keeps."""
_FIRST, _LAST = 0x10F000, 0x10FFFD
_TOKEN = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_MARK = re.compile(f"[{_BEGIN}{_END}]")
_MARKED = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_SHOWN = 40
"""Characters of a paste that is shown itself."""


class Pastes:
    """The folded pastes of one chat."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        """What each character stands for."""
        self._tokens: dict[str, str] = {}
        self._short: set[str] = set()
        """Pastes that stand in the input as they are, and hold an "@": elsewhere it may begin the name of a file.

        As `marked` looks for them: without characters that mark a paste.
        """

    def fold(self, text: str, *, short_too: bool = False) -> str:
        """`text` as it goes into the input: a character where it is long, else itself."""
        if not short_too and text.count("\n") + 1 < FOLD_LINES and len(text) < FOLD_CHARACTERS:
            text = _TOKEN.sub("\ufffd", text)
            if "@" in text:
                self._short.add(_MARK.sub("\ufffd", text))
            return text
        if (token := self._tokens.get(text)) is None:
            if _FIRST + len(self._texts) > _LAST:
                return _TOKEN.sub("\ufffd", text)
            token = chr(_FIRST + len(self._texts))
            self._texts[token], self._tokens[text] = text, token
        return token

    def fold_known(self, text: str) -> str:
        """`text` with each paste that it holds unchanged folded, for a text that comes back from an editor."""
        text = _TOKEN.sub("\ufffd", text)
        for whole in sorted(self._tokens, key=len, reverse=True):
            text = text.replace(whole, self._tokens[whole])
        return text

    def fold_again(self, text: str) -> str:
        """`text`, which was sent once, as it goes into the input again; of what is long the first line stays."""
        text = self.fold_known(text)
        first, newline, rest = text.partition("\n")
        if len(first) < FOLD_CHARACTERS and rest.count("\n") + 1 < FOLD_LINES and len(text) < FOLD_CHARACTERS:
            return text
        if not newline or len(first) >= FOLD_CHARACTERS:
            return self.fold(self.unfold(text))
        return f"{first}\n{self.fold(self.unfold(rest))}"

    def unfold(self, text: str) -> str:
        """The whole of what stands in the input."""
        return _TOKEN.sub(lambda match: self._texts.get(match[0], "\ufffd"), text)

    def typed_parts(self, text: str) -> list[tuple[str, bool]]:
        """The pieces of the input, each whole, and whether it was typed and not folded."""
        return [
            (self._texts.get(piece, "\ufffd") if _TOKEN.fullmatch(piece) else piece, not _TOKEN.fullmatch(piece))
            for piece in re.split(f"({_TOKEN.pattern})", text)
            if piece
        ]

    def fold_words(self, text: str, words: Collection[str]) -> str:
        """`text` with each of `words` that stands in it folded, wherever nothing else is a part of that word."""
        if not words:
            return text
        any_word = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
        found = re.compile(rf"(?<!\S)(?:{any_word})(?:(?<=\")|(?![^\s\"]))")
        return found.sub(lambda match: self.fold(match[0], short_too=True), text)

    def marked(self, text: str) -> str:
        """The whole of what stands in the input, as `restored` reads it: what was pasted is marked."""
        parts = []
        for part, is_typed in self.typed_parts(text):
            plain = _MARK.sub("\ufffd", part)
            parts.append(self._mark_short(plain) if is_typed else f"{_BEGIN}{plain}{_END}")
        return "".join(parts)

    def _mark_short(self, text: str) -> str:
        known = [re.escape(short) for short in sorted(self._short, key=len, reverse=True) if short in text]
        return re.sub("|".join(known), lambda match: f"{_BEGIN}{match[0]}{_END}", text) if known else text

    def restored(self, marked: str, is_folded: Callable[[str], bool]) -> str:
        """A `marked` text as it goes into the input again: its pastes as if they were pasted once more.

        Those that are short stand folded where `is_folded` says so.
        """
        out, at = [], 0
        for match in _MARKED.finditer(marked):
            out.append(_MARK.sub("\ufffd", marked[at : match.start()]))
            out.append(self.fold(match[1], short_too=is_folded(match[1])))
            at = match.end()
        rest = _MARK.sub("\ufffd", marked[at:])
        return "".join([*out, rest]) if out else self.fold_again(rest)

    def label(self, token: str) -> str | None:
        """What is shown for a character; None for one that stands for nothing."""
        text = self._texts.get(token)
        if text is None:
            return None
        if len(text) <= _SHOWN and text.isprintable():
            return f"[pasted {text}]"
        lines = text.count("\n") + (not text.endswith("\n"))
        return f"[pasted {lines:,} lines]" if lines > 1 else f"[pasted {len(text):,} characters]"


class PasteLabels(Processor):
    """Shows the labels of folded pastes."""

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        fragments = transformation_input.fragments
        if not any(_TOKEN.search(fragment[1]) for fragment in fragments):
            return Transformation(fragments)
        out: StyleAndTextTuples = []
        starts: list[int] = []
        """Where each character of the source begins in what is shown."""
        at = 0
        for fragment in fragments:
            for piece in re.split(f"({_TOKEN.pattern})", fragment[1]):
                label = self._pastes.label(piece) if len(piece) == 1 else None
                if label is not None:
                    out.append((f"{fragment[0]} class:paste", label))
                    starts.append(at)
                    at += len(label)
                elif piece:
                    out.append((fragment[0], piece))
                    starts += range(at, at + len(piece))
                    at += len(piece)
        starts.append(at)

        def to_display(index: int) -> int:
            return starts[index] if index < len(starts) else at + index - len(starts) + 1

        def to_source(index: int) -> int:
            found = [source for source, display in enumerate(starts) if display <= index]
            return found[-1] if found else 0

        return Transformation(out, source_to_display=to_display, display_to_source=to_source)
