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
    assert len(files) == 10
    done = run("training/expand.py", "-n", "1", *files)
    assert (done.returncode, done.stdout) == (0, "10 files, 0 problems\n")


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


# A model of one small layer: trained as it is merged, packed as alone, and with the gradients that autograd finds.
SMALL_MODEL = """
import json, sys
from pathlib import Path
sys.path[:0] = ["training", "."]
import numpy as np, torch
from safetensors.torch import load_file, save_file
from lora import GROUPS, RANK, DemoModel, Projection
from toolchat.models.demo import bf16, checkpoint
from toolchat.models.demo.merge import merge

torch.manual_seed(0)
folder = Path(sys.argv[1])
shapes = {"attention.wq": (64, 32), "attention.wk": (32, 32), "attention.wv": (32, 32), "attention.wo": (32, 64)}
shapes |= {"feed_forward.w1": (48, 32), "feed_forward.w2": (32, 48), "feed_forward.w3": (48, 32)}
weights = {f"layers.0.{name}.weight": torch.randn(shape).bfloat16() / 6 for name, shape in shapes.items()}
weights |= {f"layers.0.{name}.weight": torch.rand(32).bfloat16() for name in ("attention_norm", "ffn_norm")}
weights |= {"norm.weight": torch.ones(32).bfloat16(), "tok_embeddings.weight": torch.randn(90, 32).bfloat16()}
params = {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 32, "norm_eps": 1e-5, "rope_theta": 1e4}
(folder / "params.json").write_text(json.dumps(params))
(folder / "tekken.json").write_text(json.dumps({"special_tokens": [{"rank": 9, "token_str": "[TOOL_CALLS]"}]}))
save_file(weights, folder / "consolidated.safetensors")

def adapt(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.adapter.values():
            parameter.copy_((torch.randn_like(parameter) / 4).bfloat16())
    model.merge()
    return model

model = adapt(DemoModel(folder, torch.bfloat16))
model.save_adapter(folder / "adapter.safetensors")
long = [list(range(1, 80)) * 5, [3, 60, 61, 7]]
adapted = model.logits(model.hidden(long))
alone = torch.cat([model.logits(model.hidden([tokens])) for tokens in long])
print("packed", torch.equal(adapted, alone))

from train import Run, Sample, batch_loss
batch = [Sample("x", tokens, [i % 3 > 0 for i in range(len(tokens))]) for tokens in (*long, [5] * 17)]
both = [adapt(DemoModel(folder, torch.float32, padded=padded)) for padded in (False, True)]
losses = [batch_loss(one, batch, size).item() for one, size in zip(both, (300, 5000))]
slopes = [torch.cat([parameter.grad.flatten() for parameter in one.adapter.values()]) for one in both]
print("padded", abs(losses[0] - losses[1]) < 1e-5 and torch.allclose(*slopes, rtol=1e-3, atol=1e-5))

run = Run(DemoModel(folder, torch.float32), folder, 0.02, 200)
first, *_, last = [run.learn(batch, 0.0).item() for _ in range(25)]
print("learned", last < first / 2)

wide = DemoModel(folder, torch.bfloat16, rank=RANK + 4)
wide.load_adapter(folder / "adapter.safetensors")
widened = wide.logits(wide.hidden(long))
print("widened", (widened - adapted).abs().max().item() < 0.02 * adapted.abs().max().item())

tensors = checkpoint.read_tensors(folder / "consolidated.safetensors")
merge(tensors, checkpoint.read_tensors(folder / "adapter.safetensors"))
merged = {name: torch.from_numpy(bf16.to_float32(tensor)).bfloat16() for name, tensor in tensors.items()}
save_file(merged, folder / "consolidated.safetensors")
whole = DemoModel(folder, torch.bfloat16)
shipped = whole.logits(whole.hidden(long))
print("merged", (adapted - shipped).abs().max().item() < 0.02 * shipped.abs().max().item())

model.load_adapter(folder / "adapter.safetensors")
print("loaded", torch.equal(model.logits(model.hidden(long)), adapted))

import os, signal, threading
from types import SimpleNamespace
import train
# A file of two batches and part of a third, whose writer has ended. The signal comes while the third is waited for.
rows = [json.dumps([["x", [5] * n, [0] + [1] * (n - 1)]]) for n in (7, 8, 9)]
(folder / "drawn").write_text("\\n".join(rows)[:-4])
seen = []
class Watched(Run):
    def learn(self, batch, fraction):
        seen.append(len(batch[0].tokens))
        if len(batch[0].tokens) == 8:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return super().learn(batch, fraction)
arguments = SimpleNamespace(drawn=[folder / "drawn"], steps=99, device="cpu", seed=4)
for step in (0, 1):
    run = Watched(DemoModel(folder, torch.float32), folder, 0.02, 200)
    if step:
        run.resume()
        run.step = step
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    train.train(run, arguments, [])
    print("stopped", seen, run.step, (folder / "checkpoint.pt").exists())
    seen.clear()

x, base = torch.randn(5, 32, requires_grad=True), torch.randn(96, 32)
pairs = [torch.randn(shape, requires_grad=True) for shape in ((16, 32), (64, 16), (16, 32), (32, 16))]
product = lambda: base + torch.cat([pairs[1] @ pairs[0], pairs[3] @ pairs[2]])
ours = torch.autograd.grad(Projection.apply(x, product().detach(), *pairs).sin().sum(), [x, *pairs])
wanted = torch.autograd.grad((x @ product().T).sin().sum(), [x, *pairs])
print("gradients", all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(ours, wanted)))
"""


def test_what_is_trained_is_what_is_shipped(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run("-c", SMALL_MODEL, str(tmp_path))
    assert [line for line in done.stdout.splitlines() if not line.startswith("{")] == [
        *("packed True", "padded True", "learned True", "widened True", "merged True", "loaded True"),
        *("stopped [7, 8] 2 True", "stopped [8] 2 True", "gradients True"),
    ], done.stderr


def test_the_trainer_says_how_it_is_used() -> None:
    pytest.importorskip("torch")
    done = run("training/train.py", "--help")
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout
