from __future__ import annotations

import io
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from toolchat.session import engines
from toolchat.session.engines import KEEP_SECONDS, names, seconds_to_keep
from toolchat.settings import PER_CHAT, Settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_model_stays_loaded_without_being_asked_only_where_a_person_sits() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    assert seconds_to_keep(Settings(), {}, terminal) == KEEP_SECONDS
    assert seconds_to_keep(Settings(), {}, pipe) is None
    assert seconds_to_keep(Settings(), {}, None) is None
    for name in ("CI", "SLURM_JOB_ID", "INVOCATION_ID"):
        assert seconds_to_keep(Settings(), {name: "1"}, terminal) is None
        assert seconds_to_keep(Settings(), {name: ""}, terminal) == KEEP_SECONDS


@pytest.mark.parametrize("asked", [0.0, 90.0, -1.0])
def test_what_is_asked_for_holds_wherever(asked: float) -> None:
    for stderr in (Terminal(), io.StringIO()):
        assert seconds_to_keep(Settings(keep_alive=asked), {"CI": "1"}, stderr) == asked


OTHER: dict[str, Any] = {"system": "s", "max_tokens": 1, "temperature": 1.0, "top_p": 0.5, "context": 10}
OTHER |= {"compact": "on", "before_tool": ["x"], "after_tool": ["x"], "hook_timeout": 1.0}
OTHER |= {"reasoning_effort": "high", "tool_choice": "none", "parallel_calls": False, "keep_alive": 1.0}
OTHER |= {"model": "m", "tools": "t", "tools_named": False, "seed": 1, "revision": "v1"}
OTHER |= {"server": "http://localhost:8000", "api_key": "k", "tokenizer": "t"}
OTHER |= {"store": False, "profile": "p", "project": False, "tools_place": "TOOLCHAT_TOOLS"}
OTHER |= {"before_tool": ("check",), "after_tool": ("log",), "hook_timeout": 5.0}


def test_settings_of_a_chat_share_an_engine_and_all_others_do_not(model_folder: Path) -> None:
    plain = names(Settings(), model_folder, "cpu")
    assert set(OTHER) == PER_CHAT
    for name, value in OTHER.items():
        assert names(replace(Settings(), **{name: value}), model_folder, "cpu") == plain
    for field in fields(Settings):
        if field.name not in PER_CHAT | {"text_only"}:
            value = ("block_size=16",) if field.name == "engine_arg" else "other"
            assert names(replace(Settings(), **{field.name: value}), model_folder, "cpu") != plain, field.name


def test_the_same_relative_path_in_two_folders_is_two_engines(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, found = Settings(engine_arg=('speculative_config={"model": "./draft"}',)), set()
    for name in ("a", "b"):
        (tmp_path / name / "draft").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        found.update(names(settings, model_folder, "cpu"))
        (tmp_path / name / "draft" / "model.safetensors").write_text("changed")
        found.update(names(settings, model_folder, "cpu"))
    assert len(found) == 4


def test_a_chat_without_images_is_served_by_an_engine_that_could_see(model_folder: Path) -> None:
    text_only = Settings(text_only=True)
    # Of a model that does not see it is the same.
    assert names(text_only, model_folder, "cpu") == names(Settings(), model_folder, "cpu")
    params = model_folder / "params.json"
    params.write_text(params.read_text().replace("{", '{"vision_encoder": {"image_size": 64}, ', 1))
    (seeing,) = names(Settings(), model_folder, "cpu")
    own, other = names(text_only, model_folder, "cpu")
    assert other == seeing != own


def test_that_a_model_stays_loaded_is_said_once(home: Path) -> None:
    (home / ".local" / "state" / "toolchat").mkdir(parents=True)
    assert engines._first_time()
    assert not engines._first_time()
