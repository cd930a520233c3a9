"""Lists the models on this machine, of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchat.models import demo, hub
from toolchat.models.resolve import DEMO


@dataclass(frozen=True, slots=True)
class LocalModel:
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
    built = demo.demo_folder(cache) if demo.is_built(cache) else None
    size = sum(file.stat().st_size for file in built.iterdir()) if built is not None else 0
    return [
        LocalModel(DEMO, built, "built in", size),
        *(
            LocalModel(model.name, model.folder, "Hugging Face", model.bytes, model.lacks)
            for model in hub.cached_models()
        ),
    ]
