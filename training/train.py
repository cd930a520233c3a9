"""Teach the demo model Mistral's tool calling: an adapter and the special tokens' rows, on a CPU or on one GPU.

`python training/train.py BASE OUT --minutes 50` writes OUT/adapter.safetensors. Every few minutes it also writes
OUT/checkpoint.pt; the same command with `--resume` goes on from there. OUT/log.jsonl has the losses.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lora import RANK, DemoModel
from reading import Sample, batches, drawn, in_turn, micro_batches

from toolchat.engine.number_format import by_flags, cpu_flags, settled

HERE = Path(__file__).parent
MICRO_TOKENS = {"cpu": 1300, "cuda": 16_000}
"""As many tokens go through the model at once: more need more memory (1 GB a thousand), and on a CPU are hardly faster."""
BATCH_TOKENS = {"cpu": 2048, "cuda": 16_000}
"""As many tokens make a step."""
WARM_UP_STEPS = 20
B_RATE = 2
"""How much faster B is learned than A. B holds the usual scale alpha / rank = 2 already, and Adam moves each number alike."""
SAVE_SECONDS = 300
HELD_OUT_EACH = 5
"""Samples of each kind that are held out to measure with."""
MEASURE_SECONDS = 1500


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then a cosine over the run's time down to a twentieth of the peak."""
    warm = min(1, (step + 1) / WARM_UP_STEPS)
    return peak * warm * (0.5 * (1 + math.cos(math.pi * min(1, fraction))) * 0.95 + 0.05)


def training_batches(arguments: argparse.Namespace, step: int, stop: Callable[[], bool]) -> Iterator[list[Sample]]:
    """The batches to train on from `step` on: drawn before, or as they are needed."""
    if arguments.drawn:
        return in_turn([drawn(arguments.drawn, skip=step)], stop)
    seed = f"{arguments.seed}-{step}"
    tekken = arguments.base / "tekken.json"
    size = str(arguments.batch_tokens)
    seeds = [seed] if arguments.workers == 1 else [f"{seed}-{worker}" for worker in range(arguments.workers)]
    return in_turn([batches(tekken, arguments.files, "--seed", one, "--batch-tokens", size) for one in seeds], stop)


def learned_scores(model: DemoModel, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each token of `samples` that the model is to learn: its scores, and the token."""
    before, after, start = [], [], 0
    for sample in samples:
        positions = [i for i, learned in enumerate(sample.learned) if learned and i]
        before += [start + i - 1 for i in positions]
        after += [sample.tokens[i] for i in positions]
        start += len(sample.tokens)
    hidden = model.hidden([sample.tokens for sample in samples])
    return model.logits(hidden[model.moved(torch.tensor(before))]).float(), model.moved(torch.tensor(after))


def batch_loss(model: DemoModel, batch: list[Sample], micro_tokens: int) -> torch.Tensor:
    """The mean loss of the learned tokens of `batch`; their gradients are added to the adapter's.

    Still on the device: to read it is to wait for all that the device has to do.
    """
    total = sum(sum(sample.learned) for sample in batch)
    losses = []
    for micro in micro_batches(batch, micro_tokens):
        scores, tokens = learned_scores(model, micro)
        loss = F.cross_entropy(scores, tokens, reduction="sum") / total
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses).sum()


@torch.no_grad()
def held_out_measures(model: DemoModel, held_out: list[list[Sample]], micro_tokens: int) -> dict[str, dict[str, float]]:
    """For each kind: the loss; the share of calls of which every token is right; the share of texts begun as text."""
    measures = {}
    for samples in held_out:
        loss, tokens, calls, right_calls, texts, right_texts = 0.0, 0, 0, 0, 0, 0
        for micro in micro_batches(samples, micro_tokens):
            scores, wanted = learned_scores(model, micro)
            loss += F.cross_entropy(scores, wanted, reduction="sum").item()
            tokens += len(wanted)
            chosen, wanted = scores.argmax(1).cpu(), wanted.cpu()
            place = 0
            for sample in micro:
                for length in _answer_lengths(sample):
                    answer, given = wanted[place : place + length], chosen[place : place + length]
                    place += length
                    if answer[0] == model.call_token:
                        calls += 1
                        right_calls += bool((answer == given).all())
                    else:
                        texts += 1
                        right_texts += bool(given[0] != model.call_token)
        measures[samples[0].kind] = {
            "loss": round(loss / tokens, 4),
            "calls": round(right_calls / calls, 3) if calls else math.nan,
            "texts": round(right_texts / texts, 3) if texts else math.nan,
        }
    return measures


def _answer_lengths(sample: Sample) -> list[int]:
    """Tokens of each stretch that the model writes."""
    lengths: list[int] = []
    for before, now in zip([0, *sample.learned], sample.learned, strict=False):
        if now and not before:
            lengths.append(0)
        if now:
            lengths[-1] += 1
    return lengths


class Run:
    """A training run: what it has come to, and how it is kept and gone on with."""

    def __init__(self, model: DemoModel, out: Path, peak: float, micro_tokens: int) -> None:
        self.model, self.out, self.peak, self.micro_tokens = model, out, peak, micro_tokens
        sides = {
            side: [p for name, p in model.adapter.items() if name.endswith(".B") is (side == "B")] for side in "AB"
        }
        self._groups = [{"params": sides["A"], "factor": 1}, {"params": sides["B"], "factor": B_RATE}]
        self.optimizer = torch.optim.AdamW(
            self._groups, lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=model.device.type != "cpu"
        )
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.running: torch.Tensor | None = None

    def learn(self, batch: list[Sample], fraction: float) -> torch.Tensor:
        rate = learning_rate(self.peak, self.step, fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        loss = batch_loss(self.model, batch, self.micro_tokens)
        torch.nn.utils.clip_grad_norm_(list(self.model.adapter.values()), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.merge()
        self.step += 1
        self.tokens += sum(len(sample.tokens) for sample in batch)
        self.running = loss if self.running is None else 0.95 * self.running + 0.05 * loss
        return loss

    def log(self, **row: Any) -> None:
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2), "tokens": self.tokens, **row}
        print(json.dumps(row), flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            print(json.dumps(row), file=log)

    def save(self) -> None:
        state = {
            "adapter": {name: p.detach() for name, p in self.model.adapter.items()},
            "optimizer": self.optimizer.state_dict(),
            "state": (self.step, self.tokens, self.seconds, None if self.running is None else self.running.item()),
        }
        beside = self.out / "checkpoint.part"
        torch.save(state, beside)
        beside.replace(self.out / "checkpoint.pt")
        self.model.save_adapter(self.out / "adapter.safetensors")

    def resume(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", weights_only=True, map_location=self.model.device)
        with torch.no_grad():
            for name, tensor in state["adapter"].items():
                self.model.adapter[name].copy_(tensor)
        self.model.merge()
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds, running = state["state"]
        self.running = None if running is None else torch.tensor(running, device=self.model.device)

    def measure(self, held_out: list[list[Sample]]) -> None:
        self.log(held_out=held_out_measures(self.model, held_out, self.micro_tokens))


def train(run: Run, arguments: argparse.Namespace, held_out: list[list[Sample]]) -> None:
    """Train until `--steps` or `--minutes` are done, those before a resumption included, or until SIGTERM."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))

    def fraction() -> float:
        return run.step / arguments.steps if arguments.steps else run.seconds / 60 / arguments.minutes

    stream = training_batches(arguments, run.step, lambda: bool(stopped))
    if held_out and not run.step:
        run.measure(held_out)
    saved, measured, began = time.monotonic(), run.seconds, run.tokens
    often = 5 if arguments.device == "cpu" else 25
    spent = 0.0
    while fraction() < 1 and not stopped:
        start = time.monotonic()
        try:
            batch = next(stream, None)
            if batch is None and not stopped:
                raise SystemExit("batches.py ended; its message stands above")
        except SystemExit:
            if run.step:
                run.save()
            raise
        if batch is None:
            break
        loss = run.learn(batch, fraction())
        said = run.step % often == 0 or run.step < 6
        now = loss.item() if said else 0.0  # waits for the device, so the time below counts its work
        passed = time.monotonic() - start
        run.seconds += passed
        spent += passed
        if said:
            assert run.running is not None
            speed = (run.tokens - began) / spent
            run.log(loss=round(now, 4), running=round(run.running.item(), 4), speed=round(speed))
        if held_out and run.seconds - measured > MEASURE_SECONDS:
            run.measure(held_out)
            measured = run.seconds
        if time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            saved = time.monotonic()
    run.save()
    stream.close()  # type: ignore[attr-defined]
    if held_out and not stopped:
        run.measure(held_out)


def _arguments() -> argparse.Namespace:
    files = sorted(path.stem for path in (HERE / "data").glob("*.jsonl"))
    parser = argparse.ArgumentParser(
        prog="training/train.py",
        description="Train an adapter for the demo model; writes OUT/adapter.safetensors.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("base", type=Path, help="a folder written by python -m toolchat.models.demo.convert")
    add("out", type=Path, help="the folder for the adapter, checkpoints and log, made if absent")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where the model is trained")
    add("--minutes", type=float, default=50.0, help="how long to train")
    add("--steps", type=_positive, metavar="N", help="train for N steps instead")
    add("--from", dest="start", type=Path, metavar="ADAPTER", help="go on from this adapter.safetensors")
    add("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    add("--rank", type=_positive, default=RANK, help="of the adapter's matrices")
    add("--batch-tokens", type=_positive, metavar="N", help=f"tokens of a step; by the device {BATCH_TOKENS}")
    add("--micro-tokens", type=_positive, metavar="N", help=f"of them at once; by the device {MICRO_TOKENS}")
    add("--workers", type=_positive, default=1, metavar="N", help="processes that draw samples")
    add(
        "--drawn",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="train on what batches.py --count has written or is writing",
    )
    add("--rate", type=float, default=5e-4, help="peak learning rate")
    add("--files", nargs="+", choices=files, default=files, metavar="NAME", help="which files of data/ to use")
    add("--threads", type=int, default=2, help="of torch")
    add("--seed", type=int, default=4, help="of the samples drawn")
    add("--no-held-out", action="store_true", help="do not measure on scenarios that are kept out of training")
    arguments = parser.parse_args()
    arguments.batch_tokens = arguments.batch_tokens or BATCH_TOKENS[arguments.device]
    arguments.micro_tokens = arguments.micro_tokens or MICRO_TOKENS[arguments.device]
    return arguments


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def main() -> None:
    arguments = _arguments()
    if arguments.minutes <= 0:
        raise SystemExit("--minutes: expected a positive number")
    if set(arguments.files) <= {"plain_chat", "short_answers"}:
        raise SystemExit("--files: name at least one file besides plain_chat and short_answers")
    for path in arguments.drawn or ():
        if not path.is_file():
            raise SystemExit(f"--drawn: there is no file {path}; batches.py --count N > {path} writes one")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; leave --device out to train on the CPU")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.resume and not (arguments.out / "checkpoint.pt").exists():
        raise SystemExit(f"--resume: there is no {arguments.out / 'checkpoint.pt'}; leave --resume out to begin")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    # Where a CPU only imitates bfloat16, a step takes tens of times as long in it (one layer: 2,020 ms against 52).
    bfloat16 = arguments.device != "cpu" or settled(by_flags(cpu_flags())) == "auto"
    number = torch.bfloat16 if bfloat16 else torch.float32
    model = DemoModel(arguments.base, number, arguments.device, rank=arguments.rank)
    if arguments.start:
        model.load_adapter(arguments.start)
    run = Run(model, arguments.out, arguments.rate, arguments.micro_tokens)
    if arguments.resume:
        run.resume()
    held_out: list[list[Sample]] = []
    if not arguments.no_held_out:
        held_out = list(
            batches(
                arguments.base / "tekken.json",
                arguments.files,
                "--seed",
                "held-out",
                "--held-out",
                str(HELD_OUT_EACH),
            )
        )
    train(run, arguments, held_out)


if __name__ == "__main__":
    main()
