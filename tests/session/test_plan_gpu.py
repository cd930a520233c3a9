from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.engine.gpu_memory import GIB
from toolchat.models.hub import RemoteSize
from toolchat.models.resolve import ModelChoice
from toolchat.session import engines, startup
from toolchat.session.engines import LocalEngines
from toolchat.session.startup import Plan, prepare
from toolchat.settings import Settings
from toolchat.wire.errors import EngineError, UsageError

SEVEN = RemoteSize("mistralai/Mistral-7B-Instruct-v0.3", int(13.5 * GIB), 1000, 0, Path("/cache"), None)


@pytest.fixture
def planned() -> Plan:
    return Plan(Settings(), ModelChoice(SEVEN.name, "hub", None), None, LocalEngines("cuda"), None, False)


def test_a_model_that_the_card_cannot_hold_is_refused_before_it_is_fetched(
    planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "gpu_memory", lambda device: 8 * GIB if device == "cuda" else None)
    with pytest.raises(EngineError, match=r"Mistral-7B-Instruct-v0\.3 does not fit this GPU: .* 13\.5 GiB"):
        planned.fits(SEVEN)
    assert replace(planned, engines=LocalEngines("cpu")).fits(SEVEN) == ""
    monkeypatch.setattr(engines, "gpu_memory", lambda device: 16 * GIB)
    assert "will hardly fit" in planned.fits(SEVEN)
    assert "will hardly fit" in replace(planned, settings=Settings(text_only=True)).fits(SEVEN)
    monkeypatch.setattr(engines, "gpu_memory", lambda device: 24 * GIB)
    assert planned.fits(SEVEN) == ""
    monkeypatch.setattr(engines, "gpu_memory", lambda device: None)
    assert planned.fits(SEVEN) == ""


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has a model with these defaults be the one that is chosen; a folder stands for its files."""
    monkeypatch.setattr(engines, "engine_device", lambda: "cuda")

    def choose(**defaults: bool) -> None:
        monkeypatch.setattr(startup, "choose_model", lambda *_: ModelChoice("owner/sees", "hub", None, defaults))

    return choose


def test_an_image_for_a_default_without_eyes_is_refused_with_flags_that_help(
    choose: Callable[..., None], tmp_path: Path
) -> None:
    choose(text_only=True)
    with pytest.raises(UsageError, match=r"owner/sees is loaded as --text-only, since this GPU .*--no-text-only"):
        prepare({}, None, lambda *_: tmp_path, images=["red.png"])


@pytest.mark.parametrize(("asked", "text_only"), [(None, True), (True, True), (False, False)])
def test_a_chat_that_no_image_can_reach_is_text_only_unless_told_otherwise(
    choose: Callable[..., None], tmp_path: Path, asked: bool | None, text_only: bool
) -> None:
    choose()
    assert prepare({"text_only": asked}, None, lambda *_: tmp_path).settings.text_only is text_only
