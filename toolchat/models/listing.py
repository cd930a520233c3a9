"""The models that are on this machine, those of every kind."""

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


def local_models(cache: Path) -> list[LocalModel]:
    """The demo model, which is always to be had, and those that the Hugging Face hub's cache holds."""
    built = demo.demo_folder(cache) if demo.is_built(cache) else None
    return [
        LocalModel(DEMO, built, "built in"),
        *(LocalModel(model.name, model.folder, "Hugging Face") for model in hub.listing()),
    ]
