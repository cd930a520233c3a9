"""Lists the files of a model in Mistral's format, and checks that a folder holds all of them, complete."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from toolchat.engine.config import GENERATION_CONFIG
from toolchat.private_file import open_file, read_file
from toolchat.wire.errors import EngineError

PARAMS = "params.json"
CONFIG = "config.json"
SYSTEM_PROMPT = "SYSTEM_PROMPT.txt"
INDEX = "consolidated.safetensors.index.json"
WEIGHTS = "consolidated*.safetensors"
TOKENIZERS = ("tekken.json", "tokenizer.model*")
OPTIONAL = (CONFIG, GENERATION_CONFIG, SYSTEM_PROMPT)
"""Small, and not in every repository. vLLM takes the context from config.json where params.json does not say it, and
otherwise assumes 128,000 tokens."""
NEEDED = (PARAMS, WEIGHTS, INDEX, *TOKENIZERS, *OPTIONAL)
"""Patterns of what is fetched; a repository often holds the same weights once more for transformers."""

_SHARD = re.compile(r"(consolidated-)(\d+)(-of-)(\d+)(\.safetensors)")
_MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the library's own limit."""
_MAX_INDEX = 64 * 1024 * 1024
_SHOWN = 4
"""Missing files that are named in one line."""


def is_needed(name: str) -> bool:
    """True for a file, by its path in the repository, that is to be fetched."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in NEEDED)


def is_weights(name: str) -> bool:
    return fnmatchcase(name, WEIGHTS)


def check_folder(folder: Path) -> None:
    """Raise EngineError, one line, where `folder` does not hold a whole model in Mistral's format."""
    if not folder.is_dir():
        raise EngineError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; expected a model's folder"
        )
    try:
        lacks = lacking(folder)
    except OSError as error:
        raise EngineError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if lacks:
        raise EngineError(f"{folder}: not a whole model in Mistral's format: it lacks {lacks}")
    if damage := damaged(folder):
        raise EngineError(f"{folder}: not a whole model in Mistral's format: {damage}; fetch that file again")


def lacking(folder: Path) -> str:
    """What a folder lacks of a model in Mistral's format, for people; empty where it lacks nothing.

    A link to a file that is not there counts as missing. Raises EngineError where the index of the shards cannot be
    read, OSError where the folder cannot.
    """
    # A link of the hub's cache may lead nowhere: is_file() follows it.
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if groups := lacking_kinds(names):
        return ", ".join(groups)
    return _listed(sorted(_shards(folder, names) - names))


def lacking_kinds(names: Collection[str]) -> list[str]:
    """Which of params.json, weights and tokenizer a model with these files has not, for people."""
    missing = [] if PARAMS in names else [PARAMS]
    if not any(is_weights(name) for name in names):
        missing.append(f"weights ({WEIGHTS})")
    if not any(fnmatchcase(name, pattern) for pattern in TOKENIZERS for name in names):
        missing.append("a tokenizer (tekken.json or tokenizer.model.v3)")
    return missing


def damaged(folder: Path) -> str:
    """Which of a folder's weights are cut off or no safetensors file, for people; empty where none is.

    Reads headers only: what the tensors hold is not looked at.
    """
    return "; ".join(damaged_weights(folder).values())


def damaged_weights(folder: Path) -> dict[Path, str]:
    """Each of a folder's weights that is cut off or no safetensors file, and what is wrong with it."""
    found = {path: _damage(path) for path in sorted(folder.glob(WEIGHTS)) if path.is_file()}
    return {path: damage for path, damage in found.items() if damage}


def _shards(folder: Path, names: Collection[str]) -> set[str]:
    """The files that the weights consist of, by the index where there is one, else by the shards' own names."""
    if INDEX in names:
        return _indexed(folder / INDEX)
    expected: set[str] = set()
    for match in filter(None, map(_SHARD.fullmatch, names)):
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
