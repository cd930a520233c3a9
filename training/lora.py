"""The demo model as a trainable transformers model with LoRA, and the names of its parts in both layouts.

Owns the adapter's shape (rank, scale, which projections). Never reads data, never optimises.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

# PyPI's torchvision and torchaudio do not load beside the CPU build of torch, and transformers then loads
# no model ("operator torchvision::nms does not exist"). Text needs neither.
for _name in ("torchvision", "torchaudio"):
    sys.modules[_name] = None

RANK = 16
ALPHA = 32
N_SPECIAL = 48
N_HEADS = 9
N_KV_HEADS = 3

PROJECTIONS = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
"""Mistral's name of each adapted projection, and transformers' name of it."""

NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}

ROTARY_HEADS = {"self_attn.q_proj": N_HEADS, "self_attn.k_proj": N_KV_HEADS}
"""The projections whose rows lie differently in the two layouts, and how many heads they have."""


def halves_from_pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows from Mistral's rotary layout (neighbours rotate together) to transformers' (halves do)."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def pairs_from_halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of `halves_from_pairs`."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


class LoRA(torch.nn.Module):
    """A frozen linear layer plus a trainable product of two thin matrices."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.lin = linear
        self.scale = ALPHA / RANK
        self.A = torch.nn.Parameter(
            torch.randn(RANK, linear.in_features, dtype=torch.float32) / math.sqrt(linear.in_features)
        )
        self.B = torch.nn.Parameter(torch.zeros(linear.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(x) + F.linear(F.linear(x, self.A.to(x.dtype)), (self.B * self.scale).to(x.dtype))


class Embed(torch.nn.Module):
    """A frozen embedding whose rows of special tokens have a trainable part."""

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        super().__init__()
        self.e = embedding
        self.d = torch.nn.Parameter(torch.zeros(N_SPECIAL, embedding.weight.shape[1]))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.e(ids)
        special = ids < N_SPECIAL
        return x + (F.embedding(ids.clamp(max=N_SPECIAL - 1), self.d) * special.unsqueeze(-1)).to(x.dtype)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of the tokens: the embedding is tied, so the trainable part counts here too."""
        scores = F.linear(hidden, self.e.weight)
        special = scores[:, :N_SPECIAL] + F.linear(hidden, self.d.to(hidden.dtype))
        return torch.cat([special, scores[:, N_SPECIAL:]], 1)


def load_base(folder: Path) -> LlamaForCausalLM:
    """The Mistral-format checkpoint in `folder` as a transformers model, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tensors = load_file(folder / "consolidated.safetensors")
    config = LlamaConfig(
        vocab_size=tensors["tok_embeddings.weight"].shape[0],
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV_HEADS,
        head_dim=64,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_theta=100000.0,
    )
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    state = {}
    for name, weight in tensors.items():
        ours, theirs = name.removesuffix(".weight"), weight.float()
        match ours.split(".", 2):
            case ["tok_embeddings"]:
                key = "model.embed_tokens"
            case ["norm"]:
                key = "model.norm"
            case [_, layer, part]:
                module = (PROJECTIONS | NORMS)[part]
                key = f"model.layers.{layer}.{module}"
                if module in ROTARY_HEADS:
                    theirs = halves_from_pairs(theirs, ROTARY_HEADS[module])
            case _:
                raise SystemExit(f"{folder}: unknown tensor {name}; was it made by toolchat.models.demo.convert?")
        state[f"{key}.weight"] = theirs
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if "rotary" not in name]:
        raise SystemExit(f"{folder}: tensors do not fit: missing {missing}, unexpected {unexpected}")
    return model


def add_lora(model: LlamaForCausalLM) -> Embed:
    """Freeze `model`, put LoRA on its projections and trainable special rows under its embedding."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(layer.self_attn, name, LoRA(getattr(layer.self_attn, name)))
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, LoRA(getattr(layer.mlp, name)))
    embedding = Embed(model.model.embed_tokens)
    model.model.embed_tokens = embedding
    return embedding


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The trainable tensors in bfloat16, by transformers' names: what lora.safetensors holds."""
    return {
        name: parameter.detach().to(torch.bfloat16).contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
