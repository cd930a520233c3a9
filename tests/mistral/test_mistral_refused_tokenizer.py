from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mistral_common
import pytest
from mistral_tokenizers import settings_builder, tekken_file

from toolchat.mistral.vocabulary import refusal

NEWER = tuple(int(part) for part in mistral_common.__version__.split(".")[:2]) >= (1, 13)


def folder_with(folder: Path, builder: Any) -> Path:
    tekken_file(folder, "v15").rename(folder / "tekken.json")
    written = json.loads((folder / "tekken.json").read_text())
    (folder / "tekken.json").write_text(json.dumps(written | {"model_settings_builder": builder}))
    return folder


def test_what_every_version_takes_is_not_refused(tmp_path: Path) -> None:
    assert refusal(folder_with(tmp_path, settings_builder(("none", "high")))) is None


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "[" * 100_000, '{"config": {"version": "v13"}}'])
def test_a_file_without_model_settings_is_none_of_its_business(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "tekken.json").write_text(text)
    assert refusal(tmp_path) is None


@pytest.mark.parametrize(
    ("builder", "place", "refused"),
    [
        (settings_builder(("none", "low", "xhigh")), "reasoning_effort.values.1", not NEWER),
        (settings_builder(("none", "high"), has_schema=True), "json_schema", not NEWER),
        (settings_builder(("none", "high"), default=None), "reasoning_effort", NEWER),
    ],
)
def test_what_the_installed_version_refuses_is_told_with_the_version_that_takes_it(
    tmp_path: Path, builder: Any, place: str, refused: bool
) -> None:
    line = refusal(folder_with(tmp_path, builder))
    assert (line is not None) == refused
    if line is not None:
        assert "\n" not in line
        assert f"tekken.json: mistral_common {mistral_common.__version__} refuses" in line
        assert f"model_settings_builder.{place}" in line
        assert f"pip install 'mistral_common{'<1.13' if NEWER else '>=1.13'}'" in line
