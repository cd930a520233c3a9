from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).parents[3]
TRAINING = REPOSITORY / "training"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_all_training_data_keeps_its_own_rules() -> None:
    files = [str(path) for path in sorted((TRAINING / "data").glob("*.jsonl"))]
    assert len(files) == 8
    done = run("training/expand.py", "-n", "1", *files)
    assert (done.returncode, done.stdout) == (0, "8 files, 0 problems\n")


BROKEN = {
    "id": "x",
    "tools": [{"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}],
    "slots": {"n": [1]},
    "turns": [
        {"user": "add {n} to {unknown}"},
        {"call": [{"name": "add", "arguments": {"a": 1}}, {"name": "sub", "arguments": {}}]},
        {"result": ["1"]},
    ],
}


def test_each_kind_of_bad_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(BROKEN)}\n{{\n")
    done = run("training/expand.py", "-n", "1", str(path))
    assert done.returncode == 1
    for problem in (
        ":1: x: turn 0: brace left in text",
        ":1: x: turn 1: Additional properties",
        ":1: x: turn 1: unknown tool sub",
        ":1: x: turn 2: 1 results for 2 calls",
        ":1: x: ends with result",
        ":2: JSONDecodeError",
    ):
        assert problem in done.stdout


# A query projection adapted in transformers' layout, exported, merged into Mistral's, and brought back.
ROUND_TRIP = """
import sys
sys.path[:0] = ["training", "."]
import numpy as np, torch
from export import export
from lora import halves_from_pairs
from toolchat.models.demo import bf16
from toolchat.models.demo.merge import merge

torch.manual_seed(0)
part = "self_attn.q_proj"
lora = {
    f"model.layers.0.{part}.A": torch.randn(16, 576).bfloat16(),
    f"model.layers.0.{part}.B": torch.randn(576, 16).bfloat16() / 8,
    "model.embed_tokens.d": torch.randn(48, 576).bfloat16(),
}
bits = lambda tensor: tensor.view(torch.int16).numpy().view(np.uint16)
weight = torch.randn(576, 576).bfloat16()
tensors = {"layers.0.attention.wq.weight": bits(weight)}
tensors |= {"tok_embeddings.weight": bits(torch.zeros(50, 576).bfloat16())}
merge(tensors, {name: bits(tensor) for name, tensor in export(lora).items()})
merged = torch.from_numpy(bf16.to_float32(tensors["layers.0.attention.wq.weight"]))
delta = lora[f"model.layers.0.{part}.B"].float() @ lora[f"model.layers.0.{part}.A"].float()
wanted = halves_from_pairs(weight.float(), 9) + 2 * delta
print((halves_from_pairs(merged, 9) - wanted).abs().max().item() < 0.05, wanted.abs().max().item() > 3)
"""


def test_an_exported_adapter_does_in_mistrals_layout_what_it_did_in_training() -> None:
    pytest.importorskip("torch")
    done = run("-c", ROUND_TRIP)
    assert done.stdout == "True True\n", done.stderr


def test_the_trainer_says_how_it_is_used() -> None:
    pytest.importorskip("torch")
    done = run("training/train.py", "--help")
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout
