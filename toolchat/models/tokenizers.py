"""Tokenizers on this machine, to look at a prompt without loading a model: those of models, and mistral_common's own.

Importing this costs nothing; writing a prompt out imports mistral_common, for half a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.models.card import MAX_TOKENIZER
from toolchat.models.files import TOKENIZERS
from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.messages import ToolSpec, UserMessage

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

QUESTION = "What can you do?"
"""What stands as the user's question in a prompt that is written out."""
SHIPPED = "mistral_common"

_VERSION = re.compile(r"v?(\d{1,3})")
_SENTENCEPIECE = re.compile(r"\.model\.v(\d+)")
_FIRST_WITH_TOOLS = 2
_BYTES_PER_TOKEN = 3.5
"""Of a tool's JSON in English. Mistral's tokenizers have 3.4 to 3.75 for the sample tools."""


@dataclass(frozen=True, slots=True)
class ToolPrompt:
    """One tool in a prompt, as one tokenizer has it."""

    version: int
    source: str
    """Whose tokenizer it is: a model's name, or SHIPPED."""
    tekken: bool
    """Whether it is tekken; else SentencePiece."""
    tokens: int
    """What the tool takes of every prompt."""
    text: str
    """The prompt that offers the tool and asks QUESTION, with its control tokens written out."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a tool's JSON or a result takes; exact counts need a tokenizer."""
    return max(1, round(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN))


def estimated_tool_tokens(spec: ToolSpec) -> int:
    """About how many tokens a tool takes of every prompt."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return estimated_tokens(json.dumps({"type": "function", "function": function}, ensure_ascii=False))


def tool_prompt(wanted: str, spec: ToolSpec, cache: Path) -> ToolPrompt:
    """The prompt that offers `spec`, by the tokenizer `wanted`: a version such as "v3", or a model that is here.

    Raises:
        UsageError: no such tokenizer is on this machine.
        EngineError: its file cannot be read.
    """
    source, path = _chosen(wanted, cache)

    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.mistral.vocabulary import MistralVocabulary, refusal

    try:
        tokenizer = MistralTokenizer.from_file(str(path))
    except Exception as error:  # whatever mistral_common makes of a file that is not as it expects
        why = refusal(path.parent) or f"{path}: no tokenizer that mistral_common reads: {' '.join(str(error).split())}"
        raise EngineError(why) from None
    return _written_out(tokenizer, MistralVocabulary(tokenizer).version, source, spec)


def _written_out(tokenizer: MistralTokenizer, version: int, source: str, spec: ToolSpec) -> ToolPrompt:
    from toolchat.mistral.render import encode
    from toolchat.mistral.token_count import count_conversation
    from toolchat.mistral.vocabulary import MistralVocabulary

    vocabulary, asked = MistralVocabulary(tokenizer), [UserMessage(QUESTION)]
    count = count_conversation(
        vocabulary, lambda messages, tools: encode(tokenizer, version, messages, tools).tokens, asked, [spec]
    )
    pieces = map(vocabulary.piece, encode(tokenizer, version, asked, [spec]).tokens)
    text = b"".join(pieces).decode("utf-8", "replace")
    return ToolPrompt(version, source, not vocabulary.adds_space, count.tools[0], text)


def _chosen(wanted: str, cache: Path) -> tuple[str, Path]:
    """Whose tokenizer is meant, and its file."""
    if match := _VERSION.fullmatch(wanted):
        version = int(match[1])
        for found, source, path in _at_hand(cache):
            if found == version:
                return source, path
        here = dict.fromkeys(f"v{found} ({source})" for found, source, _ in _at_hand(cache))
        what = f"--tokenizer {wanted}: no tokenizer of that version is on this machine"
        raise UsageError(f"{what}; expected one of {', '.join(here)}; or pull a model that has it")
    from toolchat.models.choice import choose_model

    try:
        choice = choose_model(wanted, cache)
    except UsageError as error:
        what = str(error).removeprefix(f"--model {wanted}: ")
        raise UsageError(f"--tokenizer {wanted}: expected a version such as v3, or a model: {what}") from None
    own = _file(choice.folder) if choice.folder is not None else None
    if own is None:
        what = f"--tokenizer {wanted}: its tokenizer is not here yet"
        raise UsageError(f"{what}; fetch it with: toolchat models pull {wanted}")
    return wanted, own


def _at_hand(cache: Path) -> Iterator[tuple[int, str, Path]]:
    """Version, owner and file of each; those of models first."""
    from toolchat.models.choice import local_models

    for model in local_models(cache):
        path = _file(model.folder) if model.folder is not None else None
        if path is not None and (version := _version(path)) is not None:
            yield version, model.name, path
    for path in sorted(_shipped().glob("*.model.v*")):
        version = _version(path)
        if version is not None and version >= _FIRST_WITH_TOOLS:
            yield version, SHIPPED, path


def _shipped() -> Path:
    from importlib.util import find_spec

    found = find_spec("mistral_common")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data"


def _file(folder: Path) -> Path | None:
    """The tokenizer's file in a model's folder; tekken's before SentencePiece's, as the engine takes them."""
    return next((path for pattern in TOKENIZERS for path in sorted(folder.glob(pattern)) if path.is_file()), None)


def _version(path: Path) -> int | None:
    """By the file's name or its own word, without loading it; None where neither says it."""
    if path.name != "tekken.json":
        match = _SENTENCEPIECE.search(path.name)
        return int(match[1]) if match is not None else None
    try:
        return int(json.loads(read_file(path, MAX_TOKENIZER))["config"]["version"].removeprefix("v"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
