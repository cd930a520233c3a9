from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.engine.gpu import GIB, Gpu
from toolchat.engine.memory import VISION_ENCODER
from toolchat.models import hardware
from toolchat.models.choice import ModelChoice
from toolchat.models.hub import RemoteSize
from toolchat.session import engines, startup
from toolchat.session.engines import LocalEngines
from toolchat.session.startup import Plan, prepare
from toolchat.settings import Settings
from toolchat.wire.errors import EngineError, UsageError

SEVEN = RemoteSize("mistralai/Mistral-7B-Instruct-v0.3", int(13.5 * GIB), 1000, 0, Path("/cache"), None)


def hold(monkeypatch: pytest.MonkeyPatch, total: int | None, free: int | None = None) -> None:
    """Have a GPU of `total` bytes be the engine's."""
    card = Gpu(0, "GPU-1", "RTX", total, total if free is None else free, (8, 9), 580)
    monkeypatch.setattr(hardware.gpu, "gpus", lambda: (card,))


@pytest.fixture
def planned() -> Plan:
    return Plan(Settings(), ModelChoice(SEVEN.name, "hub", None), None, LocalEngines("cuda"), None, False)


def test_a_model_that_the_card_cannot_hold_is_refused_before_it_is_fetched(
    planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(monkeypatch, 8 * GIB)
    with pytest.raises(EngineError, match=r"Mistral-7B-Instruct-v0\.3 does not fit this GPU: .* 13\.5 GiB"):
        planned.fits(SEVEN)
    assert replace(planned, engines=LocalEngines("cpu")).fits(SEVEN) == ""
    hold(monkeypatch, 16 * GIB)
    assert "will hardly fit" in planned.fits(SEVEN)
    assert "will hardly fit" in replace(planned, settings=Settings(text_only=True)).fits(SEVEN)
    hold(monkeypatch, 24 * GIB)
    assert planned.fits(SEVEN) == ""
    hold(monkeypatch, None)
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


@pytest.mark.parametrize(
    ("asked", "free", "text_only"),
    [(None, 11, True), (None, 22, False), (True, 22, True), (False, 11, False)],
)
def test_a_chat_that_no_image_can_reach_is_text_only_where_memory_is_short_unless_told_otherwise(
    choose: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool | None,
    free: int,
    text_only: bool,
) -> None:
    choose()
    with (tmp_path / "consolidated.safetensors").open("wb") as weights:
        weights.truncate(9 * GIB + VISION_ENCODER)
    hold(monkeypatch, 24 * GIB, free * GIB)
    assert prepare({"text_only": asked}, None, lambda *_: tmp_path).settings.text_only is text_only


def test_another_model_is_measured_by_its_own_settings_before_it_is_fetched(
    planned: Plan, choose: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight = RemoteSize("owner/sees", 10_400_000_000, 0, 0, Path("/cache"), None)
    hold(monkeypatch, int(11.9 * GIB))
    assert "will hardly fit" in planned.fits(eight)
    choose(text_only=True)

    def obtain(choice: ModelChoice, cache: Path, progress: object, before: Callable[[RemoteSize], None]) -> Path:
        before(eight)
        return tmp_path

    monkeypatch.setattr(startup, "obtain", obtain)
    stages: list[str] = []
    asyncio.run(planned.with_model("owner/sees", stages.append))
    assert stages == ["asking the hub", str(eight)]
