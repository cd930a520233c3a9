"""From what the user calls a model to a folder with its files, and the defaults that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.engine import gpu
from toolchat.engine.gpu_memory import GIB
from toolchat.models import demo, hub
from toolchat.models.files import check_folder
from toolchat.models.hardware import installed_vllm
from toolchat.models.hub import RemoteSize
from toolchat.settings import user_path
from toolchat.wire.errors import UsageError

DEMO = "demo"
GPU_DEFAULT = "mistralai/Mistral-7B-Instruct-v0.3"
"""Of vLLM's own example of tool calling; its weights take 14.5 GB."""


@dataclass(frozen=True, slots=True)
class Default:
    """The model where none is named, from so many bytes of GPU memory on."""

    least: int
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


_8B = "mistralai/Ministral-3-8B-Instruct-2512"
BY_MEMORY = (
    Default(22 * GIB, GPU_DEFAULT),
    Default(15 * GIB, _8B),
    # Beside its encoder for images, 0.8 GB, hardly any context would be left.
    Default(11 * GIB, _8B, {"text_only": True}),
    Default(7 * GIB, "mistralai/Ministral-3-3B-Instruct-2512"),
)
"""The largest first. A card sold as 24 GB has 22.5 to 24 GiB. The smaller models have weights of 8 bits, "capable of
fitting in 12GB" and "in 8GB of VRAM" by their model cards; docs/engines.md has the reckoning."""

Progress = Callable[[str, float], None]
"""Called with a stage, such as "fetching 3.2 of 14.5 GB", and the fraction of the whole that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that was named, or chosen; its files may not be here yet."""

    name: str
    kind: str
    """One of "demo", "folder", "hub"."""
    folder: Path | None
    """Where its files are; None where they must be built or fetched first."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The model's own defaults of settings."""
    notice: str = ""
    """What a person should know of how the name was taken, in one line."""


def default_model() -> str:
    """The model where none is named: with a GPU the largest of `BY_MEMORY` that it holds, else the demo model."""
    return _default().name


def _default() -> Default:
    visible = gpu.gpus() if installed_vllm() == "cuda" else ()
    if not visible:
        return Default(0, DEMO)
    total = visible[0].total
    if total is None:  # a slice of a GPU, of which the driver does not tell
        return BY_MEMORY[-1]
    return next((default for default in BY_MEMORY if total >= default.least), Default(0, DEMO))


def choose_model(name: str | None, cache: Path) -> ModelChoice:
    """Find out what `name` means. A folder is written as a path, with "./", "/" or "~"; "owner/name" is the hub's.

    Raises UsageError for what is neither, EngineError for a folder without a whole model in it.
    """
    # Named, as `/model` does on the way back to it, the default model needs the same settings.
    default = _default()
    if name is not None and name != default.name:
        default = Default(0, name)
    name = default.name
    if name == DEMO:
        # A greedy small model can repeat itself for ever; 512 tokens are a long answer of it.
        folder = demo.demo_folder(cache) if demo.is_built(cache) else None
        return ModelChoice(DEMO, "demo", folder, {"max_tokens": 512})
    path = user_path(name)
    if name.startswith((".", "/", "~")):
        check_folder(path)
        return ModelChoice(name, "folder", path.resolve())
    if hub.looks_like_repository(name):
        # Whatever folder has this name where the user happens to be, it is not what the hub has under it.
        here = f"{name} is the Hugging Face hub's; the folder of that name here is ./{name}" if path.is_dir() else ""
        return ModelChoice(name, "hub", hub.cached(name), default.settings, notice=here)
    fix = f"; for the folder write ./{name}" if path.is_dir() else ""
    what = f"expected demo, a Hugging Face id such as {GPU_DEFAULT}, or a model's folder"
    raise UsageError(f"--model {name}: {what}{fix}")


def obtain(
    choice: ModelChoice,
    cache: Path,
    progress: Progress | None = None,
    before: Callable[[RemoteSize], None] | None = None,
) -> Path:
    """The folder with the model's files, built or fetched first where need be. Raises EngineError where that fails.

    `before` is called once before the first byte is fetched, where the hub says how large the model is. What it or
    `progress` raises stops the work; a download goes on from there the next time.
    """
    if choice.folder is not None:
        return choice.folder
    if choice.kind == "demo":
        return demo.build(cache, progress)
    return hub.pull(choice.name, progress, before)
