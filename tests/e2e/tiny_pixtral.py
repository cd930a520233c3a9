"""A model that sees, made here of random numbers: two layers of language, two of vision, in Mistral's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mistral_common
import numpy as np
from safetensors.numpy import save_file

PATCH = 16
"""Pixels of a side of what becomes one token."""
LARGEST_SIDE = 64
"""Pixels: larger images are scaled down, so that none takes more than 20 tokens."""
CONTEXT = 1024

_ENTRIES = 2_000
_SPECIALS = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
    *("[ARGS]", "[CALL_ID]"),
]
_VISION: dict[str, Any] = {
    "hidden_size": 64,
    "num_channels": 3,
    "image_size": LARGEST_SIDE,
    "max_image_size": LARGEST_SIDE,
    "patch_size": PATCH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "rope_theta": 10000.0,
    "image_token_id": _SPECIALS.index("[IMG]"),
}
_PARAMS: dict[str, Any] = {
    "dim": 64,
    "n_layers": 2,
    "head_dim": 32,
    "hidden_dim": 128,
    "n_heads": 2,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "vocab_size": _ENTRIES + len(_SPECIALS),
    "rope_theta": 100000.0,
    "max_position_embeddings": CONTEXT,
    "max_seq_len": CONTEXT,
    "vision_encoder": _VISION,
}


def write(folder: Path, version: str = "v13") -> None:
    """Make `folder` with the model's files, its tokenizer of `version`. The same numbers each time."""
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(_PARAMS))
    (folder / "tekken.json").write_text(json.dumps(_tekken(version)))
    random = np.random.default_rng(7)
    # Large enough for every image to have an answer of its own.
    tensors = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else random.normal(0, 4 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in _shapes().items()
    }
    save_file(tensors, folder / "consolidated.safetensors")


def _tekken(version: str) -> dict[str, Any]:
    shipped = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240911.json").read_text())
    return {
        "config": {
            **shipped["config"],
            "version": version,
            "num_vocab_tokens": _ENTRIES,
            "default_vocab_size": _ENTRIES + len(_SPECIALS),
            "default_num_special_tokens": len(_SPECIALS),
        },
        "vocab": shipped["vocab"][:_ENTRIES],
        "special_tokens": [
            {"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(_SPECIALS)
        ],
        "image": {"image_patch_size": PATCH, "max_image_size": LARGEST_SIDE, "spatial_merge_size": 1},
        "type": "Tekken",
        "version": 1,
    }


def _shapes() -> dict[str, tuple[int, ...]]:
    dim, hidden, seen = _PARAMS["dim"], _PARAMS["hidden_dim"], _VISION["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (_PARAMS["vocab_size"], dim),
        "norm.weight": (dim,),
        "output.weight": (_PARAMS["vocab_size"], dim),
        "vision_encoder.patch_conv.weight": (seen, 3, PATCH, PATCH),
        "vision_encoder.ln_pre.weight": (seen,),
        "vision_language_adapter.w_in.weight": (dim, seen),
        "vision_language_adapter.w_in.bias": (dim,),
        "vision_language_adapter.w_out.weight": (dim, dim),
        "vision_language_adapter.w_out.bias": (dim,),
    }
    for layer in range(_PARAMS["n_layers"]):
        shapes |= _layer(f"layers.{layer}", dim, hidden)
    for layer in range(_VISION["num_hidden_layers"]):
        shapes |= _layer(f"vision_encoder.transformer.layers.{layer}", seen, _VISION["intermediate_size"])
    return shapes


def _layer(prefix: str, dim: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}.attention_norm.weight": (dim,),
        f"{prefix}.ffn_norm.weight": (dim,),
        **{f"{prefix}.attention.{name}.weight": (dim, dim) for name in ("wq", "wk", "wv", "wo")},
        f"{prefix}.feed_forward.w1.weight": (hidden, dim),
        f"{prefix}.feed_forward.w2.weight": (dim, hidden),
        f"{prefix}.feed_forward.w3.weight": (hidden, dim),
    }
