"""Models of random numbers, two layers deep, one for every tokenizer's version, in Mistral's format or Hugging Face's.

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
from safetensors.numpy import load_file, save_file

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


_HF_NAMES = {
    "tok_embeddings": "model.embed_tokens",
    "output": "lm_head",
    "norm": "model.norm",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}


def build_hf(folder: Path, label: str) -> Path:
    """The same model in Hugging Face's format, in two shards with an index, beside Mistral's tokenizer."""
    build(folder, label)
    params = json.loads((folder / "params.json").read_text())
    config = {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_act": "silu",
        "hidden_size": _DIM,
        "intermediate_size": _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "head_dim": _HEAD_DIM,
        "rms_norm_eps": params["norm_eps"],
        "rope_theta": params["rope_theta"],
        "vocab_size": params["vocab_size"],
        "max_position_embeddings": CONTEXT,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {
        _hf_name(name): _rotated(name, one) for name, one in load_file(folder / "consolidated.safetensors").items()
    }
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:6], "model-00002-of-00002.safetensors": names[6:]}
    for shard, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / shard)
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "params.json").unlink()
    (folder / "consolidated.safetensors").unlink()
    return folder


def build_lora(folder: Path, rank: int = 4) -> Path:
    """An adapter for either model, in PEFT's format, that changes what it writes."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    random = np.random.default_rng(8)
    weights = {}
    for layer in range(_LAYERS):
        for name in ("q_proj", "v_proj"):
            base = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{base}.lora_A.weight"] = random.normal(0, 1, (rank, _DIM)).astype(np.float32)
            weights[f"{base}.lora_B.weight"] = random.normal(0, 1, (_HEADS * _HEAD_DIM, rank)).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def _hf_name(name: str) -> str:
    place, _, rest = name.removesuffix(".weight").partition(".")
    if place != "layers":
        return f"{_HF_NAMES[place]}.weight"
    layer, _, part = rest.partition(".")
    return f"model.layers.{layer}.{_HF_NAMES[part]}.weight"


def _rotated(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """In that format the numbers that are rotated together are half a head apart; in Mistral's they are neighbours."""
    if not name.endswith((".wq.weight", ".wk.weight")):
        return tensor
    pairs = tensor.reshape(_HEADS, _HEAD_DIM // 2, 2, _DIM)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3).reshape(tensor.shape))


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
