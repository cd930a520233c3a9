"""The trained adapter from transformers' layout to Mistral's, as toolchat.models.demo.merge wants it."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lora import ALPHA, PROJECTIONS, RANK, ROTARY_HEADS, pairs_from_halves
from safetensors.torch import load_file, save_file

MISTRAL_NAME = {theirs: ours for ours, theirs in PROJECTIONS.items()}


def export(trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`layers.N.PART.A` and `.B`, the scale folded into B, and `tok_embeddings.special_rows`, in bfloat16."""
    adapter = {}
    for name, weight in trained.items():
        if name.endswith("embed_tokens.d"):
            adapter["tok_embeddings.special_rows"] = weight
            continue
        _, _, layer, rest = name.split(".", 3)
        module, side = rest.rsplit(".", 1)
        exported = weight.float()
        if side == "B":
            exported = exported * (ALPHA / RANK)
            if module in ROTARY_HEADS:
                exported = pairs_from_halves(exported, ROTARY_HEADS[module])
        adapter[f"layers.{layer}.{MISTRAL_NAME[module]}.{side}"] = exported.to(torch.bfloat16).contiguous()
    return adapter


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="training/export.py", description="Turn lora.safetensors into adapter.safetensors."
    )
    parser.add_argument("lora", type=Path, help="lora.safetensors, from train.py")
    parser.add_argument("adapter", type=Path, help="the file to write")
    arguments = parser.parse_args()
    adapter = export(load_file(arguments.lora))
    save_file(adapter, arguments.adapter)
    print(f"{len(adapter)} tensors")


if __name__ == "__main__":
    main()
