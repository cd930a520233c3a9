"""Mistral's tekken.json for a byte-level BPE vocabulary that was made by others. Touches no weights."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

OLD_SPECIALS = 17
"""SmolLM2's own special tokens; they come first in its vocabulary and are dropped."""

N_SPECIAL = 48

VERSION = "v13"

# The order is that of Mistral's tekken v13: the protocol's tokens have fixed ids there.
_NAMED = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
    "[AUDIO]",
    "[BEGIN_AUDIO]",
]
_ARGS, _CALL_ID = 32, 33

# SmolLM2 splits text as GPT-2 does, but every digit by itself.
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def special_names() -> list[str]:
    """The special tokens' names; a name's place is its id."""
    names = _NAMED + [f"<SPECIAL_{i}>" for i in range(len(_NAMED), N_SPECIAL)]
    names[_ARGS], names[_CALL_ID] = "[ARGS]", "[CALL_ID]"
    return names


def token_bytes(tokens: Sequence[str]) -> list[bytes]:
    """The bytes of each GGUF token, without the special ones. Raises KeyError for a foreign alphabet."""
    alphabet = _byte_of_character()
    return [bytes(alphabet[character] for character in token) for token in tokens[OLD_SPECIALS:]]


def tekken_order(entries: Sequence[bytes]) -> list[bytes]:
    """`entries` as Tekken demands them: the 256 single bytes first and in order, known to them or not."""
    return [bytes([i]) for i in range(256)] + [entry for entry in entries if len(entry) > 1]


def tekken_json(ordered: Sequence[bytes]) -> bytes:
    """The text of tekken.json for a vocabulary from `tekken_order`."""
    content = {
        "config": {
            "pattern": _PATTERN,
            "num_vocab_tokens": len(ordered),
            "default_vocab_size": len(ordered) + N_SPECIAL,
            "default_num_special_tokens": N_SPECIAL,
            "version": VERSION,
        },
        "vocab": [_entry(rank, entry) for rank, entry in enumerate(ordered)],
        "special_tokens": [
            {"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(special_names())
        ],
        "type": "Tekken",
        "version": 1,
    }
    return json.dumps(content).encode()


def _entry(rank: int, entry: bytes) -> dict[str, Any]:
    try:
        text = entry.decode()
    except UnicodeDecodeError:
        text = None
    return {"rank": rank, "token_bytes": base64.b64encode(entry).decode(), "token_str": text}


def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on.

    Source: `bytes_to_unicode` in https://github.com/openai/gpt-2/blob/master/src/encoder.py.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
