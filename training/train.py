"""Teach the demo model's base Mistral's tool calling: LoRA and the special tokens' rows, on a CPU.

`python training/train.py BASE OUT --minutes 50` writes OUT/lora.safetensors, every ten minutes and at the end.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from lora import Embed, add_lora, load_base, trained
from safetensors.torch import load_file, save_file
from samples import DATA, Sample, Samples

from toolchat.engine.number_format import by_flags, cpu_flags, settled

BATCH_TOKENS = 2048
MAX_TOKENS = 900
"""Longer samples are left out."""
MICRO_BATCH = 4
WARM_UP_STEPS = 20
SAVE_SECONDS = 600


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then a cosine over the run's time down to a twentieth of the peak."""
    warm = min(1, (step + 1) / WARM_UP_STEPS)
    return peak * warm * (0.5 * (1 + math.cos(math.pi * fraction)) * 0.95 + 0.05)


class Batches:
    """Batches of about BATCH_TOKENS tokens from a shuffled buffer of four times as many."""

    def __init__(self, samples: Samples, rng: random.Random) -> None:
        self._samples, self._rng = samples, rng
        self._buffer: list[Sample] = []

    def next(self) -> list[Sample]:
        """A batch, shortest sample first, so that neighbours pad little."""
        while _tokens(self._buffer) < BATCH_TOKENS * 4:
            try:
                sample = self._samples.draw()
            except Exception as error:  # a scenario that Mistral's validators refuse is skipped, and said
                print("skip", type(error).__name__, str(error)[:200], flush=True)
                continue
            if len(sample[0]) <= MAX_TOKENS:
                self._buffer.append(sample)
        self._rng.shuffle(self._buffer)
        batch: list[Sample] = []
        while _tokens(batch) < BATCH_TOKENS:
            batch.append(self._buffer.pop())
        return sorted(batch, key=lambda sample: len(sample[0]))


def batch_loss(model: torch.nn.Module, embedding: Embed, batch: list[Sample]) -> float:
    """The mean loss of the learned tokens of `batch`; their gradients are added to the parameters."""
    total = sum(sum(mask) for _, mask in batch)
    summed = 0.0
    for start in range(0, len(batch), MICRO_BATCH):
        micro = batch[start : start + MICRO_BATCH]
        length = max(len(tokens) for tokens, _ in micro)
        ids = torch.tensor([tokens + [0] * (length - len(tokens)) for tokens, _ in micro])
        mask = torch.tensor([mask + [0] * (length - len(mask)) for _, mask in micro])
        attention = torch.tensor([[1] * len(tokens) + [0] * (length - len(tokens)) for tokens, _ in micro])
        hidden = model.model(input_ids=ids, attention_mask=attention).last_hidden_state
        learned = mask[:, 1:].bool()
        logits = embedding.logits(hidden[:, :-1][learned])
        loss = F.cross_entropy(logits.float(), ids[:, 1:][learned], reduction="sum") / total
        loss.backward()
        summed += loss.item()
    return summed


def train(model: torch.nn.Module, embedding: Embed, batches: Batches, out: Path, minutes: float, peak: float) -> None:
    """Train for `minutes` of wall time."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    print("trainable", sum(parameter.numel() for parameter in parameters), flush=True)
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
    start = saved = time.time()
    step = seen = 0
    running: float | None = None
    while (elapsed := (time.time() - start) / 60) <= minutes:
        rate = learning_rate(peak, step, elapsed / minutes)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = batches.next()
        loss = batch_loss(model, embedding, batch)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        seen += _tokens(batch)
        running = loss if running is None else 0.95 * running + 0.05 * loss
        if step % 5 == 0 or step < 6:
            speed = seen / (time.time() - start)
            print(
                f"{elapsed:.1f} min step {step} loss {loss:.3f} run {running:.3f} tok/s {speed:.0f} lr {rate:.1e}",
                flush=True,
            )
        if time.time() - saved > SAVE_SECONDS:
            save_file(trained(model), out / "lora.safetensors")
            saved = time.time()
    save_file(trained(model), out / "lora.safetensors")
    print("done", step, seen, running)


def _tokens(samples: list[Sample]) -> int:
    return sum(len(tokens) for tokens, _ in samples)


def _arguments() -> argparse.Namespace:
    files = sorted(path.stem for path in DATA.glob("*.jsonl"))
    parser = argparse.ArgumentParser(
        prog="training/train.py",
        description="Train a LoRA adapter for the demo model on a CPU; writes OUT/lora.safetensors.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("base", type=Path, help="a folder written by python -m toolchat.models.demo.convert")
    add("out", type=Path, help="the folder for lora.safetensors, made if absent")
    add("--minutes", type=float, default=50.0, help="how long to train")
    add("--from", dest="start", type=Path, metavar="LORA", help="go on from this lora.safetensors")
    add("--rate", type=float, default=5e-4, help="peak learning rate")
    add("--files", nargs="+", choices=files, default=files, metavar="NAME", help="which files of data/ to use")
    add("--threads", type=int, default=int(os.environ.get("NT", "2")), help="of torch")
    add("--seed", type=int, help="of the samples drawn; another one where --from is given, unless set")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if arguments.minutes <= 0:
        raise SystemExit("--minutes: expected a positive number")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    seed = arguments.seed if arguments.seed is not None else 5 if arguments.start else 4
    rng = random.Random(seed)
    # The shipped adapter was trained in bfloat16. Where a CPU only imitates that, a step takes tens of times as long
    # (one layer: 2,020 ms against 52 in float32).
    bfloat16 = settled(by_flags(cpu_flags())) == "auto"
    model = load_base(arguments.base).to(torch.bfloat16 if bfloat16 else torch.float32)
    embedding = add_lora(model)
    if arguments.start:
        parameters = dict(model.named_parameters())
        for name, weight in load_file(arguments.start).items():
            parameters[name].data.copy_(weight.float())
        print("from", arguments.start, flush=True)
    samples = Samples(arguments.base / "tekken.json", arguments.files, rng)
    if not samples.main:
        raise SystemExit("--files: name at least one file besides plain_chat")
    print(f"{len(samples.main)} scenarios {len(samples.chats)} chats {len(samples.tools)} tools", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(model, embedding, Batches(samples, rng), arguments.out, arguments.minutes, arguments.rate)


if __name__ == "__main__":
    main()
