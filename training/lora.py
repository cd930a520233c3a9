"""The demo model with a trainable adapter, in Mistral's own layout, so that what is trained is what is shipped.

Sequences are packed: all of a batch lie behind one another in one matrix, without padding, and only attention looks at each
by itself: one after the other on a CPU, all at once and padded on a GPU. A step multiplies with `W + B·A`, rounded as
toolchat.models.demo.merge rounds it, so the model is trained as it will run. Owns the adapter's shape (rank, which
projections). Never reads data, never optimises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

RANK = 32
N_SPECIAL = 48
"""Control tokens, the first rows of the embedding; each has a trainable part."""

QUERIES = 256
"""A block of attention."""

SPECIAL_ROWS = "tok_embeddings.special_rows"
EMBEDDING = "tok_embeddings.weight"

GROUPS = (
    ("attention.wq", "attention.wk", "attention.wv"),
    ("attention.wo",),
    ("feed_forward.w1", "feed_forward.w3"),
    ("feed_forward.w2",),
)
"""The adapted projections; those of a group have the same input, and are one multiplication."""


class Projection(torch.autograd.Function):
    """`x · (W + B·A)ᵀ` for a group of projections: gradients reach `x` and each A and B, but no W.

    `weight` already holds W + B·A. `pairs` is A, B, A, B …, in the order of the weight's rows.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, *pairs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight, *pairs)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        x, weight, *pairs = ctx.saved_tensors
        down = torch.cat(pairs[::2]).to(x.dtype)
        rank = len(pairs[0])
        narrow = (x @ down.T).split(rank, 1)
        rows = gradient.split([b.shape[0] for b in pairs[1::2]], 1)
        pulled = [part @ b.to(x.dtype) for part, b in zip(rows, pairs[1::2], strict=True)]
        down_gradient = torch.cat(pulled, 1).T @ x
        gradients: list[torch.Tensor | None] = [gradient @ weight, None]
        for part, a_gradient, seen in zip(rows, down_gradient.split(rank), narrow, strict=True):
            gradients += [a_gradient.float(), (part.T @ seen).float()]
        return tuple(gradients)


class Rotation(torch.autograd.Function):
    """Rotary position embedding of Mistral's layout: neighbours rotate together. Its inverse is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        cosine, sine = ctx.saved_tensors
        return _rotated(gradient, cosine, -sine), None, None


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    rotated = torch.empty_like(x)
    rotated[..., ::2] = even * cosine - odd * sine
    rotated[..., 1::2] = odd * cosine + even * sine
    return rotated


@dataclass(frozen=True)
class Packed:
    """Where the tokens of packed sequences lie, and how each is rotated; made once for all layers."""

    lengths: list[int]
    cosine: torch.Tensor
    sine: torch.Tensor
    rows: torch.Tensor | None
    """Of each token, its row among the sequences padded at their ends; None where each is attended to by itself."""


class DemoModel:
    """A Mistral-format checkpoint, frozen, in the number format `dtype`, and the adapter that is trained.

    `padded` says how sequences are attended to: all at once, padded to one length, which is few steps for a GPU, or each by
    itself, which is less work for a CPU.
    """

    def __init__(
        self, folder: Path, dtype: torch.dtype, device: str = "cpu", *, padded: bool | None = None, rank: int = RANK
    ) -> None:
        params = json.loads((folder / "params.json").read_text(encoding="utf-8"))
        self.layers: int = params["n_layers"]
        self.heads: int = params["n_heads"]
        self.kv_heads: int = params["n_kv_heads"]
        self.head_dim: int = params["head_dim"]
        self.eps: float = params["norm_eps"]
        self.theta: float = params["rope_theta"]
        self.dtype, self.device, self.rank = dtype, torch.device(device), rank
        self.padded = self.device.type != "cpu" if padded is None else padded
        special = json.loads((folder / "tekken.json").read_text(encoding="utf-8"))["special_tokens"]
        self.call_token: int = next(token["rank"] for token in special if token["token_str"] == "[TOOL_CALLS]")
        """What an answer that is a call begins with."""
        self._frozen = {
            name: weight.to(self.device, dtype)
            for name, weight in load_file(folder / "consolidated.safetensors").items()
        }
        self.adapter: dict[str, torch.nn.Parameter] = {}
        """By the names of adapter.safetensors, in float32."""
        for layer in range(self.layers):
            for part in (part for group in GROUPS for part in group):
                name = f"layers.{layer}.{part}"
                rows, columns = self._frozen[f"{name}.weight"].shape
                down = torch.randn(rank, columns) / math.sqrt(columns)
                self.adapter[f"{name}.A"] = torch.nn.Parameter(down.to(self.device))
                self.adapter[f"{name}.B"] = torch.nn.Parameter(torch.zeros(rows, rank, device=self.device))
        width = self._frozen[EMBEDDING].shape[1]
        self.adapter[SPECIAL_ROWS] = torch.nn.Parameter(torch.zeros(N_SPECIAL, width, device=self.device))
        self._unmerged = {part: self._stacked(f"{part}.weight") for group in GROUPS for part in group}
        self._merged: list[torch.Tensor] = []
        """Of each group, the weights of all layers."""
        self.merge()

    def load_adapter(self, path: Path) -> None:
        """Go on from an adapter.safetensors; one of a lower rank is widened. Exits where it has another shape."""
        tensors = {name: self._widened(name, tensor) for name, tensor in load_file(path).items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {name: tuple(parameter.shape) for name, parameter in self.adapter.items()}:
            raise SystemExit(f"{path}: expected the tensors of an adapter of rank {self.rank} or less for this base")
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.adapter[name].copy_(tensor)
        self.merge()

    def _widened(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` of A or B with as many more rows or columns as `rank` asks: random in A, zero in B, so it says the same."""
        missing = self.rank - (tensor.shape[name.endswith(".B")] if name[-2:] in (".A", ".B") else self.rank)
        if missing <= 0:
            return tensor
        if name.endswith(".B"):
            return F.pad(tensor, (0, missing))
        more = torch.randn(missing, tensor.shape[1]) / math.sqrt(tensor.shape[1])
        return torch.cat([tensor, more.to(tensor.dtype)])

    def save_adapter(self, path: Path) -> None:
        """Write adapter.safetensors in bfloat16, complete or not at all."""
        beside = path.with_suffix(".part")
        save_file({name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in self.adapter.items()}, beside)
        beside.replace(path)

    @torch.no_grad()
    def merge(self) -> None:
        """Take the adapter into the weights that are multiplied with. After each change of it."""
        self._merged.clear()  # before the new ones take memory
        for group in GROUPS:
            parts = []
            for part in group:
                up, down = (
                    torch.stack([self.adapter[f"layers.{layer}.{part}.{side}"] for layer in range(self.layers)])
                    for side in "BA"
                )
                parts.append(torch.bmm(up, down).add_(self._unmerged[part]).to(self.dtype))
            self._merged.append(torch.cat(parts, 1) if len(parts) > 1 else parts[0])

    def _stacked(self, name: str) -> torch.Tensor:
        """A weight of all layers, taken out of the frozen ones."""
        return torch.stack([self._frozen.pop(f"layers.{layer}.{name}") for layer in range(self.layers)])

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The last layer's output for each token of `sequences`, packed."""
        written = torch.tensor([token for tokens in sequences for token in tokens])
        special = (written < N_SPECIAL).nonzero()[:, 0]
        ids, special, special_ids = (self.moved(part) for part in (written, special, written[special]))
        packed = self._packed([len(tokens) for tokens in sequences])
        x = F.embedding(ids, self._frozen[EMBEDDING])
        x = x.index_add(0, special, self.adapter[SPECIAL_ROWS][special_ids].to(self.dtype))
        for layer in range(self.layers):
            attended = self._attention(layer, self._norm(x, f"layers.{layer}.attention_norm"), packed)
            x = x + self._project(layer, 1, attended)
            gate, up = self._project(layer, 2, self._norm(x, f"layers.{layer}.ffn_norm")).chunk(2, 1)
            x = x + self._project(layer, 3, F.silu(gate) * up)
        return x

    def moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` on the model's device; the program does not wait until it is there."""
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _packed(self, lengths: list[int]) -> Packed:
        positions = torch.cat([torch.arange(length) for length in lengths])
        frequencies = self.theta ** (-torch.arange(0, self.head_dim, 2).float() / self.head_dim)
        angles = positions[:, None] * frequencies
        cosine, sine = (self.moved(part.to(self.dtype)[:, None]) for part in (angles.cos(), angles.sin()))
        rows = None
        if self.padded:
            starts = torch.arange(len(lengths)) * max(lengths)
            rows = self.moved(positions + starts.repeat_interleave(torch.tensor(lengths)))
        return Packed(lengths, cosine, sine, rows)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of the next token; the embedding is tied, so the special rows' trainable part counts here too."""
        normed = self._norm(hidden, "norm")
        scores = F.linear(normed, self._frozen[EMBEDDING])
        special = scores[:, :N_SPECIAL] + F.linear(normed, self.adapter[SPECIAL_ROWS].to(self.dtype))
        return torch.cat([special, scores[:, N_SPECIAL:]], 1)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[1],), self._frozen[f"{name}.weight"], self.eps)

    def _project(self, layer: int, group: int, x: torch.Tensor) -> torch.Tensor:
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        pairs = [self.adapter[f"{name}.{side}"] for name in names for side in "AB"]
        return Projection.apply(x, self._merged[group][layer], *pairs)  # type: ignore[no-untyped-call,no-any-return]

    def _attention(self, layer: int, x: torch.Tensor, packed: Packed) -> torch.Tensor:
        projected = self._project(layer, 0, x).view(len(x), self.heads + 2 * self.kv_heads, self.head_dim)
        turned, values = projected.split([self.heads + self.kv_heads, self.kv_heads], 1)
        queries, keys = Rotation.apply(turned, packed.cosine, packed.sine).split(  # type: ignore[no-untyped-call]
            [self.heads, self.kv_heads], 1
        )
        times = self.heads // self.kv_heads
        keys, values = (part.repeat_interleave(times, 1) for part in (keys, values))
        if packed.rows is not None:
            return padded_attention(queries, keys, values, len(packed.lengths), max(packed.lengths), packed.rows)
        answers = []
        for rows in zip(*(part.split(packed.lengths) for part in (queries, keys, values)), strict=True):
            query, key, value = (row.transpose(0, 1) for row in rows)
            answers.append(attention(query, key, value).transpose(0, 1).reshape(len(rows[0]), -1))
        return torch.cat(answers)


def padded_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, count: int, longest: int, rows: torch.Tensor
) -> torch.Tensor:
    """Causal attention of `count` packed sequences at once; (tokens, heads, width) each.

    What is attended to is causal, so the padding behind a sequence is seen by itself alone.
    """
    heads, width = query.shape[1:]

    def apart(packed: torch.Tensor) -> torch.Tensor:
        padded = packed.new_zeros(count * longest, heads, width).index_copy(0, rows, packed)
        return padded.view(count, longest, heads, width).transpose(1, 2)

    answers = F.scaled_dot_product_attention(apart(query), apart(key), apart(value), is_causal=True)
    return answers.transpose(1, 2).reshape(count * longest, heads * width).index_select(0, rows)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention of one sequence; (heads, tokens, width) each.

    In bfloat16 torch's own takes twice as long forward and backward (600 tokens, one core: 37 ms against 21), so it is
    written out there, in blocks of queries that leave out the keys behind them. In float32 it is the other way round.
    """
    if query.dtype is not torch.bfloat16:
        return F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)[0]
    scale = 1 / math.sqrt(query.shape[2])
    blocks = []
    for start in range(0, query.shape[1], QUERIES):
        rows = query[:, start : start + QUERIES]
        end = start + rows.shape[1]
        hidden = torch.full((rows.shape[1], end), -math.inf, dtype=query.dtype).triu(start + 1)
        scores = torch.baddbmm(hidden.expand(len(query), -1, -1), rows, key[:, :end].transpose(1, 2), alpha=scale)
        blocks.append(scores.softmax(-1) @ value[:, :end])
    return torch.cat(blocks, 1)
