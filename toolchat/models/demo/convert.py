"""SmolLM2's GGUF file to a Mistral-format checkpoint: base weights, and its vocabulary as tekken.json. Needs no torch.

`python -m toolchat.models.demo.convert GGUF OUT` writes one, to train on.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchat.models.demo import bf16, checkpoint
from toolchat.models.demo.checkpoint import Checkpoint, Tensors
from toolchat.wire.errors import EngineError

_PARAMS: dict[str, Any] = {
    "dim": 576,
    "n_layers": 30,
    "head_dim": 64,
    "hidden_dim": 1536,
    "n_heads": 9,
    "n_kv_heads": 3,
    "norm_eps": 1e-5,
    "vocab_size": 0,
    "rope_theta": 100000.0,
    "tied_embeddings": True,
    "max_position_embeddings": 8192,
    "max_seq_len": 8192,
}

# The rows of attn_q and attn_k need no reordering: a GGUF has Mistral's interleaved rotary layout.
_LAYER_NAMES = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}

# SmolLM2's ids of the tokens around a message, whose embeddings are the best start for Mistral's.
_IM_START, _IM_END = 1, 2
_OPENING = {"<s>", "[INST]", "[SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]"}
_CLOSING = {"</s>", "[/INST]", "[/SYSTEM_PROMPT]", "[/AVAILABLE_TOOLS]", "[/TOOL_RESULTS]"}

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


def convert(gguf_path: Path, progress: Callable[[float], None] | None = None) -> Checkpoint:
    """The base model in `gguf_path`, rounded to bfloat16; `progress` gets the fraction done.

    Raises OSError, ImportError without `gguf`, and EngineError where the file is not SmolLM2's.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    try:
        reader = GGUFReader(gguf_path)
        entries = token_bytes(reader.fields["tokenizer.ggml.tokens"].contents())
        ordered = tekken_order(entries)
        tensors: Tensors = {}
        for done, tensor in enumerate(reader.tensors, 1):
            name = tensor_name(tensor.name)
            weights = dequantize(tensor.data, tensor.tensor_type)
            if name == "tok_embeddings.weight":
                tensors[name] = embedding_rows(weights, entries, ordered)
            else:
                tensors[name] = bf16.from_float32(weights)
            if progress:
                progress(done / len(reader.tensors))
    except (KeyError, ValueError, IndexError) as error:
        raise EngineError(f"{gguf_path} is not SmolLM2-135M-Instruct's GGUF file ({error!r})") from error
    params = _PARAMS | {"vocab_size": len(ordered) + N_SPECIAL}
    return Checkpoint(tekken_json(ordered), json.dumps(params, indent=1).encode(), tensors)


def tensor_name(gguf_name: str) -> str:
    """Mistral's name of a GGUF tensor. Raises KeyError or ValueError for one that SmolLM2 has not."""
    match gguf_name.split("."):
        case ["token_embd", "weight"]:
            return "tok_embeddings.weight"
        case ["output_norm", "weight"]:
            return "norm.weight"
        case ["blk", layer, part, "weight"]:
            return f"layers.{layer}.{_LAYER_NAMES[part]}.weight"
    raise ValueError(f"unknown tensor {gguf_name}")


def embedding_rows(old: NDArray[np.float32], entries: Sequence[bytes], ordered: Sequence[bytes]) -> NDArray[np.uint16]:
    """The embedding for the new vocabulary: 48 special rows, then one row for each of `ordered`.

    `old` has the 17 old special rows, then one for each of `entries`. Special tokens start from the row
    of the old token that opens or closes a message, others from the mean of the old special rows. A
    single byte that the old vocabulary lacks gets a copy of row 0.
    """
    rows = bf16.from_float32(old)
    row_of = {entry: OLD_SPECIALS + i for i, entry in enumerate(entries)}
    # In float64 the sum of 17 float32 rows is the same in every order, hence on every machine.
    mean = bf16.from_float64(old[:OLD_SPECIALS].astype(np.float64).mean(axis=0))
    specials = [
        rows[_IM_START] if name in _OPENING else rows[_IM_END] if name in _CLOSING else mean for name in special_names()
    ]
    return np.concatenate([np.stack(specials), rows[[row_of.get(entry, 0) for entry in ordered]]])


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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m toolchat.models.demo.convert",
        description="Convert SmolLM2-135M-Instruct from GGUF to a Mistral-format checkpoint.",
    )
    parser.add_argument("gguf", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("out", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    checkpoint.write(convert(arguments.gguf), arguments.out)


if __name__ == "__main__":
    main()
