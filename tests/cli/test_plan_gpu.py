from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.cli import plan as plan_module
from toolchat.cli.plan import Plan
from toolchat.engine.gpu_memory import GIB
from toolchat.models.hub import RemoteSize
from toolchat.models.resolve import ModelChoice
from toolchat.settings import Settings
from toolchat.wire.errors import EngineError

SEVEN = RemoteSize("mistralai/Mistral-7B-Instruct-v0.3", int(13.5 * GIB), 1000, 0, Path("/cache"), None)


@pytest.fixture
def planned() -> Plan:
    return Plan(Settings(), ModelChoice(SEVEN.name, "hub", None), None, "cuda", None, False)


def test_a_model_that_the_card_cannot_hold_is_refused_before_it_is_fetched(
    planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "gpu_memory", lambda device: 8 * GIB if device == "cuda" else None)
    with pytest.raises(EngineError, match=r"Mistral-7B-Instruct-v0\.3 does not fit this GPU: .* 13\.5 GiB"):
        planned.fits(SEVEN)
    assert replace(planned, device="cpu").fits(SEVEN) == ""
    monkeypatch.setattr(plan_module, "gpu_memory", lambda device: 16 * GIB)
    assert "will hardly fit" in planned.fits(SEVEN)
    monkeypatch.setattr(plan_module, "gpu_memory", lambda device: 24 * GIB)
    assert planned.fits(SEVEN) == ""
    monkeypatch.setattr(plan_module, "gpu_memory", lambda device: None)
    assert planned.fits(SEVEN) == ""
