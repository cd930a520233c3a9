"""Reads a tokenizer for parser and grammars: its version, its control tokens, the bytes of each token.

Never decodes a whole text. Only `specials` takes time in proportion to the vocabulary: a token is read when it is first
asked for, and kept. Also says why the installed mistral_common refuses a tokenizer's file.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from toolchat.private_file import read_file

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

FIRST_NAMED = 11
"""From this version on a call is a name and arguments between control tokens; before it, a JSON list."""

FIRST_SYSTEM_AHEAD = 7
"""From this version on the system prompt stands by itself, at the beginning; before it, within the last question."""

FIRST_TOOLS_AHEAD = 13
"""From this version on the tools stand before the first question, and not before the last one."""
_SPACE = "▁"
"""How SentencePiece writes a space within a piece (U+2581)."""
_MOST = 256 * 1024**2
"""Bytes of a tokenizer's file."""


@runtime_checkable
class Vocabulary(Protocol):
    """A tokenizer, as far as toolchat reads one."""

    def __hash__(self) -> int:
        """By identity: plans are cached for it."""

    @property
    def version(self) -> int:
        """The tokenizer's version: 2, 3, 7, 11, 13 or 15 (1 knows no tools)."""

    @property
    def adds_space(self) -> bool:
        """True of SentencePiece, whose encoder puts a space before every text: decoding drops it again."""

    def special(self, name: str) -> int | None:
        """The id of a control token such as "[TOOL_CALLS]"; None where the tokenizer lacks it."""

    @property
    def specials(self) -> tuple[int, ...]:
        """The ids of all control tokens but the end of sequence; takes time in proportion to the vocabulary."""

    def is_special(self, token_id: int) -> bool:
        """Whether the token is a control token, which is never text."""

    def piece(self, token_id: int) -> bytes:
        """The raw bytes of a token, not always whole characters; of a control token its written-out name.

        An id beyond the vocabulary (a model's embedding may be padded) has no bytes.
        """


class MistralVocabulary:
    """The vocabulary of a mistral_common tokenizer, tekken or SentencePiece."""

    def __init__(self, tokenizer: MistralTokenizer) -> None:
        from mistral_common.tokens.tokenizers.tekken import is_tekkenizer

        # Any: the two kinds share a base class that has neither id_to_byte_piece nor the SentencePiece model.
        self._inner: Any = tokenizer.instruct_tokenizer.tokenizer
        self._seen: dict[int, tuple[bool, bytes]] = {}
        self.version = int(self._inner.version.value.removeprefix("v"))
        self.adds_space = not is_tekkenizer(self._inner)

    def special(self, name: str) -> int | None:
        if not self._inner.is_special(name):
            return None
        # SentencePiece answers an unknown name with the id of <unk>, tekken raises.
        return int(self._inner.get_special_token(name))

    @cached_property
    def specials(self) -> tuple[int, ...]:
        eos = self.special("</s>")
        return tuple(found for found in range(self._inner.n_words) if self._read(found)[0] and found != eos)

    def is_special(self, token_id: int) -> bool:
        return self._look(token_id)[0]

    def piece(self, token_id: int) -> bytes:
        return self._look(token_id)[1]

    def _look(self, token_id: int) -> tuple[bool, bytes]:
        found = self._seen.get(token_id)
        if found is None:
            found = self._seen[token_id] = self._read(token_id)
        return found

    def _read(self, token_id: int) -> tuple[bool, bytes]:
        if not 0 <= token_id < self._inner.n_words:
            return False, b""
        special = self._inner.is_special(token_id)
        if not self.adds_space:
            if special:
                return True, self._inner.id_to_piece(token_id).encode()
            return False, self._inner.id_to_byte_piece(token_id)
        piece: str = self._inner.id_to_piece(token_id)
        # To SentencePiece <unk> is not a control token, yet it is no text either.
        if special or token_id == self._inner.unk_id:
            return True, piece.encode()
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return False, bytes([int(piece[3:5], 16)])
        return False, piece.replace(_SPACE, " ").encode()


def refusal(folder: Path) -> str | None:
    """Why the installed mistral_common refuses the model settings in tekken.json of `folder`; None if it accepts them.

    mistral_common 1.12 knows only the reasoning efforts none and high, and no schema; 1.13 refuses an effort without a
    default. Call it only after a model failed to load: it reads the whole file, some 15 MB.
    """
    path = folder / "tekken.json"
    try:
        written = json.loads(read_file(path, _MOST))
        builder = written.get("model_settings_builder")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None  # no file of tekken's, or one that is broken in another way
    if builder is None:
        return None

    import mistral_common
    from mistral_common.tokens.tokenizers.model_settings_builder import ModelSettingsBuilder
    from pydantic import ValidationError

    try:
        ModelSettingsBuilder.model_validate(builder)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in ("model_settings_builder", *problem["loc"]))
        version = mistral_common.__version__
        other = ">=1.13" if tuple(int(part) for part in version.split(".")[:2]) < (1, 13) else "<1.13"
        return (
            f"{path}: mistral_common {version} refuses its {place}: {problem['msg']}; "
            f"take another version: pip install 'mistral_common{other}'"
        )
    return None
