from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.cli import plan as plan_module
from toolchat.cli.plan import Plan, prepare
from toolchat.engine.gpu_memory import GIB
from toolchat.models.hub import RemoteSize
from toolchat.models.resolve import ModelChoice
from toolchat.settings import Settings
from toolchat.wire.errors import EngineError, UsageError

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


@pytest.fixture
def default_of_12_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model of a card that holds it only without its encoder; a folder stands for its files."""
    choice = ModelChoice("owner/sees", "hub", None, {"text_only": True})
    monkeypatch.setattr(plan_module, "engine_device", lambda: "cuda")
    monkeypatch.setattr(plan_module, "choose_model", lambda *_: choice)
    monkeypatch.setattr(plan_module, "obtain_with_progress", lambda *_: tmp_path)


@pytest.mark.usefixtures("default_of_12_gib")
def test_an_image_for_a_default_without_eyes_is_refused_with_flags_that_help() -> None:
    with pytest.raises(UsageError, match=r"owner/sees is loaded as --text-only, since this GPU .*--no-text-only"):
        prepare({}, no_tools=True, images=["red.png"])


@pytest.mark.usefixtures("default_of_12_gib")
@pytest.mark.parametrize(("asked", "text_only"), [(None, True), (True, True), (False, False)])
def test_a_chat_that_no_image_can_reach_is_text_only_unless_told_otherwise(asked: bool | None, text_only: bool) -> None:
    assert prepare({"text_only": asked}, no_tools=True).settings.text_only is text_only
