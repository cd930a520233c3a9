from __future__ import annotations

from dataclasses import replace

import pytest

from toolchat.engine.base import EngineInfo
from toolchat.ui.toolbar import Speed, Status, model_text, toolbar

FULL = Status(
    model="demo",
    state="ready",
    queued=2,
    used_tokens=1234,
    context=8192,
    tools_on=5,
    tools=6,
    speed=Speed(31.7, 0.42, 512, 84),
)


def test_with_room_everything_is_told() -> None:
    assert toolbar(FULL, 200) == (
        "demo · ready · 2 queued · 1,234/8,192 · 5/6 tools · 32 tok/s · first 0.4 s · prompt 512 cached + 84 new"
    )


def test_a_server_and_how_it_is_used_stand_beside_the_model() -> None:
    served = EngineInfo("small", 9, 13, constrains_calls=True, server="localhost:8000", profile="token profile")
    assert model_text("small", served) == "small @ localhost:8000 (token profile)"
    assert model_text("demo", EngineInfo("demo", 9, 13, constrains_calls=True)) == model_text("demo", None) == "demo"


def test_an_estimate_is_marked() -> None:
    assert "~1,234/8,192" in toolbar(replace(FULL, used_is_estimate=True), 200)


@pytest.mark.parametrize("width", range(1, 100))
def test_it_never_is_wider_than_it_may_be(width: int) -> None:
    assert len(toolbar(FULL, width)) <= width


def test_at_40_columns_the_context_stays_and_the_speed_goes() -> None:
    assert toolbar(replace(FULL, queued=0), 40) == "demo · ready · 1,234/8,192 · 5/6 tools"


def test_a_hint_goes_before_figures() -> None:
    row = toolbar(replace(FULL, queued=0, hint="Ctrl-C again or Ctrl-D leaves"), 40)
    assert row == "ready · Ctrl-C again or Ctrl-D leaves"


def test_a_model_s_long_name_leaves_room_and_cannot_harm() -> None:
    row = toolbar(replace(FULL, model="/home/someone/models/\x1b[2Jvery-long-name"), 80)
    assert row.startswith("/home/someone/models/␛[2J")
    assert "…" in row
    assert "ready" in row


def test_one_tool_is_a_tool() -> None:
    assert "1 tool ·" in toolbar(replace(FULL, tools=1, tools_on=1), 200)
    assert "0/1 tool ·" in toolbar(replace(FULL, tools=1, tools_on=0), 200)
    assert "tool" not in toolbar(replace(FULL, tools=0, tools_on=0), 200)
