from __future__ import annotations

import json
from pathlib import Path

import pytest
from mistral_tokenizers import settings_builder

from toolchat.models.card import reasoning_efforts
from toolchat.wire.errors import EngineError


def test_efforts_are_those_of_the_tokenizers_file(tmp_path: Path) -> None:
    # Newer files name efforts that mistral_common 1.12 has not heard of.
    for efforts in (("none", "high"), ("none", "minimal", "low", "medium", "high", "xhigh", "max")):
        builder = settings_builder(efforts, has_schema=True)
        (tmp_path / "tekken.json").write_text(json.dumps({"model_settings_builder": builder}))
        assert reasoning_efforts(tmp_path) == efforts


def test_older_tokenizers_know_none(tmp_path: Path) -> None:
    assert reasoning_efforts(tmp_path) == ()
    (tmp_path / "tekken.json").write_text('{"config": {"version": "v13"}}')
    assert reasoning_efforts(tmp_path) == ()


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "tekken.json").write_text(text)
    with pytest.raises(EngineError, match=r"tekken\.json: cannot be read"):
        reasoning_efforts(tmp_path)
