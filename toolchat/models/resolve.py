"""From what the user calls a model to a folder with its files, and the defaults that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.models import demo, hub
from toolchat.models.files import check_folder
from toolchat.models.hardware import has_gpu, installed_vllm
from toolchat.wire.errors import UsageError

DEMO = "demo"
GPU_DEFAULT = "mistralai/Mistral-7B-Instruct-v0.3"

Progress = Callable[[str, float], None]
"""Called with a stage's name and the fraction of the whole that is done, 0 to 1."""


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
    """The model where none is named: Mistral 7B with a GPU, the built-in demo model without."""
    return GPU_DEFAULT if installed_vllm() == "cuda" and has_gpu() else DEMO


def choose_model(name: str | None, cache: Path) -> ModelChoice:
    """Find out what `name` means. A folder is written as a path, with "./", "/" or "~"; "owner/name" is the hub's.

    Raises UsageError for what is neither, EngineError for a folder without a whole model in it.
    """
    name = name or default_model()
    if name == DEMO:
        # A greedy small model can repeat itself for ever; 512 tokens are a long answer of it.
        folder = demo.demo_folder(cache) if demo.is_built(cache) else None
        return ModelChoice(DEMO, "demo", folder, {"max_tokens": 512})
    path = Path(name).expanduser()
    if name.startswith((".", "/", "~")):
        check_folder(path)
        return ModelChoice(name, "folder", path.resolve())
    if hub.looks_like_repository(name):
        # Whatever folder has this name where the user happens to be, it is not what the hub has under it.
        here = f"{name} is the Hugging Face hub's; the folder of that name here is ./{name}" if path.is_dir() else ""
        return ModelChoice(name, "hub", hub.cached(name), notice=here)
    fix = f"; for the folder write ./{name}" if path.is_dir() else ""
    what = f"expected demo, a Hugging Face id such as {GPU_DEFAULT}, or a model's folder"
    raise UsageError(f"--model {name}: {what}{fix}")


def obtain(choice: ModelChoice, cache: Path, progress: Progress | None = None) -> Path:
    """The folder with the model's files, built or fetched first where need be. Raises EngineError where that fails.

    Without `progress` the hub's own progress bars go to stderr.
    """
    if choice.folder is not None:
        return choice.folder
    if choice.kind == "demo":
        return demo.build(cache, progress)
    if progress is not None:
        progress("fetching", 0.0)
    return hub.pull(choice.name, bars=progress is None)
