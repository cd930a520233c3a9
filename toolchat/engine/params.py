"""Reads a model's parameters from its files: params.json of Mistral's format, or config.json of Hugging Face's.

Whichever it is, they have the names of params.json here. Only headers and small files are read.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError

PARAMS = "params.json"
CONFIG = "config.json"
MAX_PARAMS = 16 * 1024**2
"""Bytes of params.json, which has a few hundred."""
VLLM_CONTEXT = 128_000
"""What vLLM assumes where neither params.json nor config.json has `max_position_embeddings`: `MistralConfigParser`."""

_FROM_HF = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "kv_lora_rank": "kv_lora_rank",
    "qk_rope_head_dim": "qk_rope_head_dim",
    "sliding_window": "sliding_window",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "quantization": "quantization_config",
}
"""Names in params.json, and those of the same in config.json."""


class Format(StrEnum):
    """How a model's files are laid out; the values are vLLM's names of it."""

    MISTRAL = "mistral"
    HF = "hf"

    @property
    def label(self) -> str:
        return "Mistral's format" if self is Format.MISTRAL else "Hugging Face's format"

    @property
    def weights(self) -> str:
        """The pattern of the weights' names, for people."""
        return "consolidated*.safetensors" if self is Format.MISTRAL else "model*.safetensors"

    @property
    def shard_index(self) -> str:
        """The file that lists the shards of the weights."""
        return f"{'consolidated' if self is Format.MISTRAL else 'model'}.safetensors.index.json"

    def is_weights(self, name: str) -> bool:
        """Whether a file of that name holds weights of a model in this format.

        Older quantisations name theirs freely (`gptq_model-4bit-128g.safetensors`); an adapter's are no model's.
        """
        mistral = fnmatchcase(name, "consolidated*.safetensors")
        if self is Format.MISTRAL:
            return mistral
        return fnmatchcase(name, "*.safetensors") and not mistral and not name.startswith("adapter")


def format_by(names: Collection[str]) -> Format:
    """The format of a model with files of these names: Mistral's wherever its weights are there.

    Where both are in a folder, Hugging Face's loader of vLLM would read the weights of both.
    """
    if any(map(Format.MISTRAL.is_weights, names)):
        return Format.MISTRAL
    has_weights = any(map(Format.HF.is_weights, names))
    return Format.HF if CONFIG in names and (has_weights or PARAMS not in names) else Format.MISTRAL


def format_of(folder: Path) -> Format:
    """The format of the model in `folder`. Raises EngineError where that cannot be read."""
    try:
        return format_by({path.name for path in folder.iterdir()})
    except OSError as error:
        raise EngineError(f"{folder}: cannot be read: {error.strerror or error}") from None


def read_params(folder: Path) -> dict[str, Any]:
    """The model's parameters, by the names of params.json. Raises EngineError, one line, where they cannot be read."""
    if format_of(folder) is Format.HF:
        return _by_mistrals_names(_needed(folder / CONFIG, "a model in Hugging Face's format has one"))
    return _needed(folder / PARAMS, "a model in Mistral's format has one")


def architectures(folder: Path) -> list[str]:
    """The names of the model's classes that config.json of Hugging Face's format gives; empty for Mistral's format."""
    if format_of(folder) is Format.MISTRAL:
        return []
    named = _needed(folder / CONFIG, "a model in Hugging Face's format has one").get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def context_window(folder: Path) -> int | None:
    """The longest context, in tokens, that a model's files allow; None where they do not say.

    This is vLLM's own reckoning (0.33: `MistralConfigParser.parse`, `derive_max_model_len_and_key`), so that what is
    asked for is not refused there: params.json's `max_position_embeddings`, else config.json's, else 128,000; and at
    most params.json's `max_seq_len`. Raises EngineError where params.json cannot be read.
    """
    params = read_params(folder)
    positions = _count(params.get("max_position_embeddings"))
    if positions is None and format_of(folder) is Format.MISTRAL:
        try:
            written = read_object(folder / CONFIG) or {}
        except EngineError:
            written = {}  # vLLM goes on without it, too
        positions = _count(_text(written).get("max_position_embeddings")) or _count(
            written.get("max_position_embeddings")
        )
    sequence = _count(params.get("max_seq_len"))
    if sequence is None:
        return positions
    return min(sequence, positions or VLLM_CONTEXT)


def has_vision(params: dict[str, Any]) -> bool:
    """Whether a model with these parameters has an encoder for images; Pixtral's first release names it otherwise."""
    older = params.get("multimodal")
    return bool(params.get("vision_encoder") or (isinstance(older, dict) and older.get("vision_encoder_args")))


def quantized_by(params: dict[str, Any]) -> str:
    """How a model's weights are quantised: vLLM's name of the method, where the files give one; "" if they are not."""
    written = params.get("quantization")
    if not written:
        return ""
    method = written.get("quant_method") if isinstance(written, dict) else None
    return str(method) if method else "its own format"


def weight_bytes(folder: Path) -> int:
    """Bytes of the model's weights on disk; on a GPU they take as much of its memory."""
    kind = format_of(folder)
    return sum(file.stat().st_size for file in folder.iterdir() if kind.is_weights(file.name))


def kv_bytes_per_token(params: dict[str, Any], width: int = 2) -> int:
    """Bytes of keys and values for one token, in numbers of `width` bytes.

    Raises KeyError, TypeError, ValueError or ZeroDivisionError where the parameters do not say.
    """
    layers = int(params["n_layers"])
    if latent := int(params.get("kv_lora_rank") or 0):
        # Multi-head latent attention: one vector that all heads share.
        return width * layers * (latent + int(params.get("qk_rope_head_dim") or 0))
    heads = int(params.get("n_kv_heads") or params["n_heads"])
    head_dim = int(params.get("head_dim") or params["dim"] // params["n_heads"])
    return 2 * width * layers * heads * head_dim


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file. Raises EngineError where it holds no object."""
    try:
        # Mistral's files are UTF-8, whatever the locale; some editors put a byte order mark before it.
        written = json.loads(read_file(path, MAX_PARAMS).decode("utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    if not isinstance(written, dict):
        raise EngineError(f"{path}: expected a JSON object")
    return written


def _needed(path: Path, why: str) -> dict[str, Any]:
    found = read_object(path)
    if found is None:
        raise EngineError(f"{path}: no such file; {why}")
    return found


def _by_mistrals_names(config: dict[str, Any]) -> dict[str, Any]:
    # A model that sees has its language model's parameters one level down, and some of its own above.
    both = config | {name: value for name, value in _text(config).items() if value is not None}
    params = {ours: both[theirs] for ours, theirs in _FROM_HF.items() if both.get(theirs) is not None}
    return params | {"vision_encoder": config["vision_config"]} if config.get("vision_config") else params


def _text(config: dict[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
