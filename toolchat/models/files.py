"""Lists the files of a model in Mistral's or Hugging Face's format, and checks that a folder holds all, complete."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from toolchat.engine.config import GENERATION_CONFIG
from toolchat.engine.params import CONFIG, PARAMS, Format, format_by, format_of, read_object
from toolchat.models.origins import where_the_tokenizer_is
from toolchat.private_file import open_file, read_file
from toolchat.wire.errors import EngineError

SYSTEM_PROMPT = "SYSTEM_PROMPT.txt"
TOKENIZERS = ("tekken.json", "tokenizer.model*")
OPTIONAL = (CONFIG, GENERATION_CONFIG, SYSTEM_PROMPT)
"""Small, and not in every repository. vLLM takes the context from config.json where params.json does not say it, and
otherwise assumes 128,000 tokens."""
NEEDED = (PARAMS, Format.MISTRAL.weights, Format.MISTRAL.shard_index, *TOKENIZERS, *OPTIONAL)
"""Patterns of what is fetched in Mistral's format."""
BARE = "tokenizer.model"
"""A SentencePiece file that names no version: mistral_common takes it as v1, which knows no tools."""
FIRST_WORDS = 32_000
"""Entries of the vocabulary of v1, and of no later version."""

_SHARD = re.compile(r"(.+-)(\d+)(-of-)(\d+)(\.safetensors)")
_MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the library's own limit."""
_MAX_INDEX = 64 * 1024 * 1024
_SHOWN = 4
"""Missing files that are named in one line."""


def needed(names: Collection[str]) -> list[str]:
    """Of a repository's files, by their paths in it, those to be fetched.

    A repository often holds the same weights once in each format: those of Mistral's are taken.
    """
    top = [name for name in names if "/" not in name]
    kind = format_by(top)
    if kind is Format.MISTRAL:
        return [name for name in top if any(fnmatchcase(name, pattern) for pattern in NEEDED)]
    # Older quantisations have their numbers in a file of their own.
    small = (kind.shard_index, "quantize_config.json", "quant_config.json", *TOKENIZERS, *OPTIONAL)
    return [name for name in top if kind.is_weights(name) or any(fnmatchcase(name, pattern) for pattern in small)]


def is_weights(name: str) -> bool:
    return any(kind.is_weights(name) for kind in Format)


def check_folder(folder: Path) -> None:
    """Raise EngineError, one line, where `folder` does not hold a whole model in either format."""
    if not folder.is_dir():
        raise EngineError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; expected a model's folder"
        )
    try:
        lacks = lacking(folder)
    except OSError as error:
        raise EngineError(f"{folder}: cannot be read: {error.strerror or error}") from None
    whole = f"{folder}: not a whole model in {format_of(folder).label}"
    if lacks:
        raise EngineError(f"{whole}: it lacks {lacks}{_where_from(folder) if _A_TOKENIZER in lacks else ''}")
    if damage := damaged(folder):
        raise EngineError(f"{whole}: {damage}; fetch that file again")


def lacking(folder: Path) -> str:
    """What a folder lacks of a model, for people; empty where it lacks nothing.

    A link to a file that is not there counts as missing. Raises EngineError where the index of the shards cannot be
    read, OSError where the folder cannot.
    """
    # A link of the hub's cache may lead nowhere: is_file() follows it.
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if groups := lacking_kinds(names):
        return ", ".join(groups)
    kind = format_by(names)
    if shards := sorted(_shards(folder, names, kind) - names):
        return _listed(shards)
    if only_bare_tokenizer(names) and not is_first_vocabulary(folder / (CONFIG if kind is Format.HF else PARAMS)):
        return f"{_A_TOKENIZER}; {BARE} names no version, and mistral_common takes it as v1, without tools"
    return ""


def lacking_kinds(names: Collection[str]) -> list[str]:
    """Which of parameters, weights and tokenizer a model with these files has not, for people."""
    kind = format_by(names)
    parameters = CONFIG if kind is Format.HF else PARAMS
    missing = [] if parameters in names else [parameters]
    if not any(map(kind.is_weights, names)):
        missing.append(f"weights ({kind.weights})")
    if not any(fnmatchcase(name, pattern) for pattern in TOKENIZERS for name in names):
        missing.append(_A_TOKENIZER)
    return missing


_A_TOKENIZER = "a tokenizer (tekken.json or tokenizer.model.v3)"


def lacks_tokenizer(lacks: str) -> bool:
    """Whether what `lacking` or `lacking_kinds` say is, or holds, the tokenizer."""
    return _A_TOKENIZER in lacks


def only_bare_tokenizer(names: Collection[str]) -> bool:
    """Whether the only tokenizer among these files is one that names no version."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in TOKENIZERS)] == [BARE]


def is_first_vocabulary(parameters: Path) -> bool:
    """Whether a model with this params.json or config.json has v1's vocabulary, as far as the file says."""
    try:
        written = read_object(parameters) or {}
    except EngineError:
        return True  # told of in its own words when it is read
    nested = written.get("text_config")
    words = (nested.get("vocab_size") if isinstance(nested, dict) else None) or written.get("vocab_size")
    return not isinstance(words, int) or words <= FIRST_WORDS


def _where_from(folder: Path) -> str:
    """Which repository the tokenizer of the model in `folder` usually comes from, as the end of a line."""
    names = [folder.resolve().name]
    with suppress(EngineError):
        names.append(str((read_object(folder / CONFIG) or {}).get("_name_or_path") or ""))
    # In the hub's cache the folder is named by its commit.
    names += [part.name for part in folder.resolve().parents if part.name.startswith("models--")]
    return f"; {where_the_tokenizer_is(*filter(None, names))} --local-dir {shlex.quote(str(folder))}"


def damaged(folder: Path) -> str:
    """Which of a folder's weights are cut off or no safetensors file, for people; empty where none is.

    Reads headers only: what the tensors hold is not looked at.
    """
    return "; ".join(damaged_weights(folder).values())


def damaged_weights(folder: Path) -> dict[Path, str]:
    """Each of a folder's weights that is cut off or no safetensors file, and what is wrong with it."""
    kind = format_of(folder)
    found = {path: _damage(path) for path in sorted(folder.iterdir()) if kind.is_weights(path.name) and path.is_file()}
    return {path: damage for path, damage in found.items() if damage}


def _shards(folder: Path, names: Collection[str], kind: Format) -> set[str]:
    """The files that the weights consist of, by the index where there is one, else by the shards' own names."""
    if kind.shard_index in names:
        return _indexed(folder / kind.shard_index)
    expected: set[str] = set()
    for match in filter(None, map(_SHARD.fullmatch, filter(kind.is_weights, names))):
        first, number, of, total, suffix = match.groups()
        if int(total) <= 10_000:
            width = len(number)
            expected |= {f"{first}{shard:0{width}}{of}{total}{suffix}" for shard in range(1, int(total) + 1)}
    return expected


def _indexed(path: Path) -> set[str]:
    try:
        index = json.loads(read_file(path, _MAX_INDEX))
        return {str(name) for name in index["weight_map"].values()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EngineError(f"{path}: not an index of weights: {error}; fetch that file again") from None


def _damage(path: Path) -> str:
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or (length <= _MAX_HEADER and size < 8 + length):
                return f"{path.name} is cut off after {size} bytes"
            if length > _MAX_HEADER:
                return f"{path.name} is not a safetensors file"
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        whole = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
        return f"{path.name} is not a safetensors file"
    return f"{path.name} is cut off: it has {size} of {whole} bytes" if size < whole else ""


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    # What an index names may hold newlines.
    return ", ".join(names[:_SHOWN]).replace("\n", "⏎") + (f" and {more} more" if more > 0 else "")
