"""Models of random numbers, two layers deep, one for every tokenizer's version, in Mistral's own format.

They know nothing, so whatever well-formed thing they write, they were made to write; only `[TOOL_CALLS]` comes to them
easily, after a few words of anything. Needs no download; the tokenizers are those of mistral_tokenizers.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from mistral_tokenizers import DATA, load, sentencepiece_file, tekken_file
from numpy.typing import NDArray
from safetensors.numpy import save_file

CONTEXT = 2048
_DIM, _HIDDEN, _LAYERS, _HEADS, _HEAD_DIM = 128, 256, 2, 2, 64
_EAGER = 5.0
"""How many times as far from 0 the logit of `[TOOL_CALLS]` is as any other token's."""


def build(folder: Path, label: str) -> Path:
    """Make `folder` with a model that has the tokenizer `label`; returns it. The same numbers each time."""
    folder.mkdir(parents=True)
    tokenizer = load(folder, label).instruct_tokenizer.tokenizer
    words = tokenizer.n_words
    if (piece := sentencepiece_file(label)) is not None:
        shutil.copy(DATA / piece, folder / f"tokenizer.model.{label.partition('-')[0]}")
    else:
        tekken_file(folder, label).rename(folder / "tekken.json")
    params = {
        "dim": _DIM,
        "n_layers": _LAYERS,
        "head_dim": _HEAD_DIM,
        "hidden_dim": _HIDDEN,
        "n_heads": _HEADS,
        "n_kv_heads": _HEADS,
        "norm_eps": 1e-5,
        "vocab_size": words,
        "rope_theta": 100000.0,
        "max_position_embeddings": CONTEXT,
        "max_seq_len": CONTEXT,
    }
    (folder / "params.json").write_text(json.dumps(params))
    weights = _weights(words)
    weights["output.weight"][tokenizer.get_special_token("[TOOL_CALLS]")] *= _EAGER
    save_file(weights, folder / "consolidated.safetensors")
    return folder


def _weights(words: int) -> dict[str, NDArray[np.float32]]:
    attention = _HEADS * _HEAD_DIM
    shapes = {"tok_embeddings.weight": (words, _DIM), "output.weight": (words, _DIM), "norm.weight": (_DIM,)}
    for layer in range(_LAYERS):
        shapes |= {
            f"layers.{layer}.attention_norm.weight": (_DIM,),
            f"layers.{layer}.ffn_norm.weight": (_DIM,),
            f"layers.{layer}.attention.wq.weight": (attention, _DIM),
            f"layers.{layer}.attention.wk.weight": (attention, _DIM),
            f"layers.{layer}.attention.wv.weight": (attention, _DIM),
            f"layers.{layer}.attention.wo.weight": (_DIM, attention),
            f"layers.{layer}.feed_forward.w1.weight": (_HIDDEN, _DIM),
            f"layers.{layer}.feed_forward.w2.weight": (_DIM, _HIDDEN),
            f"layers.{layer}.feed_forward.w3.weight": (_HIDDEN, _DIM),
        }
    random = np.random.default_rng(7)
    # Divided so, what goes in as about one comes out as about one: all tokens are about equally likely.
    return {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else random.normal(0, 1 / np.sqrt(shape[-1]), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
