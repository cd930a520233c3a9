"""Chooses the model: by its name, or the default one for this machine. Lists those that are here, has them fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.engine import gpu
from toolchat.engine.gpu import GIB
from toolchat.engine.memory import USEFUL, left_for_context
from toolchat.models.demo import build as demo
from toolchat.models.files import check_folder
from toolchat.models.hardware import installed_vllm
from toolchat.settings import user_path
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:  # a model that is here needs nothing of the hub
    from toolchat.models.hub import RemoteSize

DEMO = "demo"
GPU_DEFAULT = "mistralai/Mistral-7B-Instruct-v0.3"
"""The model of vLLM's example of tool calling."""


@dataclass(frozen=True, slots=True)
class Default:
    """A model for GPUs of at least `least` bytes, used if none is named."""

    least: int
    name: str
    weights: int = 0
    """Bytes, by the hub's listing."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, free: int, total: int) -> bool:
        """Whether it leaves a useful context on a GPU of `total` bytes of which `free` are free."""
        text_only = bool(self.settings.get("text_only"))
        return total >= self.least and left_for_context(self.weights, free, total, text_only=text_only) >= USEFUL


_8B = "mistralai/Ministral-3-8B-Instruct-2512"
_8B_WEIGHTS = 10_400_000_000
BY_MEMORY = (
    Default(22 * GIB, GPU_DEFAULT, 14_500_000_000),
    Default(15 * GIB, _8B, _8B_WEIGHTS),
    # Without its image encoder, which would leave hardly any memory for a context. A card sold as 12 GB has 11.99 GiB.
    Default(int(11.9 * GIB), _8B, _8B_WEIGHTS, {"text_only": True}),
    Default(7 * GIB, "mistralai/Ministral-3-3B-Instruct-2512", 4_700_000_000),
)
"""The largest first. A card sold as 24 GB has 22.5 to 24 GiB. The smaller models have weights of 8 bits.
docs/engines.md estimates the context that each leaves."""

Progress = Callable[[str, float], None]
"""Called with a stage, such as "fetching 3.2 of 14.5 GB", and the fraction that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that was named, or chosen; its files may not be here yet."""

    name: str
    kind: str
    """One of "demo", "folder", "hub"; "server" where a server has it, whose files are no matter of ours."""
    folder: Path | None
    """Where its files are; None where they must be built or fetched first, and for a server's model."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The model's own defaults of settings."""
    notice: str = ""
    """What a person should know of how the name was taken, in one line."""
    revision: str | None = None
    """Of a repository on the hub; None for its main branch."""


def default_model() -> str:
    """The model used if none is named: with a GPU the largest of `BY_MEMORY` that it holds, else the demo model."""
    return _default()[0].name


def _default() -> tuple[Default, str]:
    """The default model, and a notice if free memory, rather than the size of the card, has decided it ("" if not)."""
    first = _engine_gpu()
    if first is None:
        return Default(0, DEMO), ""
    if first.total is None:  # a MIG slice, or a GPU whose driver does not report it
        return BY_MEMORY[-1], ""
    free = first.total if first.free is None else first.free
    usual = next((row for row in BY_MEMORY if row.fits(first.total, first.total)), Default(0, DEMO))
    # If none fits the free memory, the engine refuses the usual one and says what holds the memory. The demo model
    # does not take its place.
    chosen = next((row for row in BY_MEMORY if row.fits(free, first.total)), usual)
    if chosen == usual:
        return usual, ""
    difference = "without images" if chosen.name == usual.name else f"and not {usual.name}"
    return chosen, (
        f"{free / GIB:.1f} of the GPU's {first.total / GIB:.1f} GiB are free: {chosen.name} is used, {difference}; "
        "close what holds the memory, or name a model with --model"
    )


def _engine_gpu() -> gpu.Gpu | None:
    return next(iter(gpu.gpus()), None) if installed_vllm() == "cuda" else None


def _settings_of(name: str) -> Mapping[str, Any]:
    """The settings of `BY_MEMORY` for a model that is named: those of its first row that fits, else of its last."""
    first = _engine_gpu()
    if first is None or first.total is None:
        return {}
    free = first.total if first.free is None else first.free
    rows = [row for row in BY_MEMORY if row.name == name]
    row = next((row for row in rows if row.fits(free, first.total)), rows[-1] if rows else None)
    return row.settings if row is not None else {}


def _is_repository(name: str) -> bool:
    from toolchat.models import hub

    return hub.looks_like_repository(name)


def choose_model(name: str | None, cache: Path, revision: str | None = None) -> ModelChoice:
    """Resolve `name`; None is the default model. A folder begins with "./", "/" or "~"; "owner/name" is on the hub.

    Raises UsageError for any other name, and where a `revision` is asked for of what is not on the hub, EngineError for
    a folder without a whole model.
    """
    notice = ""
    if name is None:
        default, notice = _default()
        name = default.name
    on_hub = name != DEMO and not name.startswith((".", "/", "~")) and _is_repository(name)
    if revision is not None and not on_hub:
        raise UsageError(
            f"--revision {revision}: only models of the Hugging Face hub have revisions, and {name} is none"
        )
    if name == DEMO:
        # A greedy small model can repeat itself for ever; 512 tokens are a long answer of it.
        folder = demo.demo_folder(cache) if demo.is_built(cache) else None
        return ModelChoice(DEMO, "demo", folder, {"max_tokens": 512}, notice)
    path = user_path(name)
    if name.startswith((".", "/", "~")):
        check_folder(path)
        return ModelChoice(name, "folder", path.resolve())
    if on_hub:
        from toolchat.models import hub

        if path.is_dir():
            notice = f"{name} is the Hugging Face hub's; the folder of that name here is ./{name}"
        # The default model gets the same settings if it is named, as by `/model` on the way back to it.
        return ModelChoice(name, "hub", hub.cached(name, revision), _settings_of(name), notice, revision)
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
    from toolchat.models import hub

    return hub.pull(choice.name, progress, before, choice.revision)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One that is on this machine."""

    name: str
    folder: Path | None
    """None where its files are made when it is first used."""
    source: str
    """For people: "built in", "Hugging Face"."""
    bytes: int = 0
    """What it takes of the disk."""
    lacks: str = ""
    """What is missing of it or damaged, for people; empty where it is whole."""


def local_models(cache: Path) -> list[LocalModel]:
    """The demo model, which is always to be had, and those that the Hugging Face hub's cache holds."""
    from toolchat.models import hub

    built = demo.demo_folder(cache) if demo.is_built(cache) else None
    size = sum(file.stat().st_size for file in built.iterdir()) if built is not None else 0
    return [
        LocalModel(DEMO, built, "built in", size),
        *(
            LocalModel(model.name, model.folder, "Hugging Face", model.bytes, model.lacks)
            for model in hub.cached_models()
        ),
    ]
