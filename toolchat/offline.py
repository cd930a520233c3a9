"""Tells whether the network may be used: `--offline`, TOOLCHAT_OFFLINE, and the hub's own HF_HUB_OFFLINE."""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLE = "TOOLCHAT_OFFLINE"
_OF_THE_HUB = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = {"1", "true", "yes", "on"}


def go_offline() -> None:
    """Have this process, and those that it starts, ask nothing of the network."""
    os.environ[VARIABLE] = "1"


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether nothing at all is to be fetched."""
    return _set(environment, VARIABLE)


def hub_offline(environment: Mapping[str, str] = os.environ) -> str:
    """Which variable says that the Hugging Face hub must not be asked; empty where none does."""
    return next((name for name in (VARIABLE, *_OF_THE_HUB) if _set(environment, name)), "")


def remedy(variable: str) -> str:
    """How to lift what `variable` forbids, as a part of a sentence."""
    if variable == VARIABLE:
        return f"toolchat is offline (--offline or {VARIABLE}); run it once without"
    return f"{variable} forbids asking the Hugging Face hub; unset it once"


def _set(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() in _TRUE
