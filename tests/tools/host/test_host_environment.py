from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bench import Bench, write_tools

from toolchat.tools.host.environment import basic_environment, hidden_names, named_environment

SHOW = '''
import os

AT_IMPORT = os.environ.get("WEATHER_KEY")

def first() -> dict[str, str]:
    """Show."""
    return {"at import": str(AT_IMPORT), **os.environ}

def second() -> dict[str, str]:
    """Show."""
    return dict(os.environ)
'''


def test_a_tool_sees_the_basic_variables_and_those_that_it_names(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "TOOLCHAT_API_KEY", "AWS_SECRET_ACCESS_KEY")
    for name in (*secrets, "WEATHER_KEY", "OTHER_KEY"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("LC_TIME", "C")
    rows = {"shows_env:first": {"env": "[WEATHER_KEY, NOT_SET]"}, "shows_env:second": {"env": "[OTHER_KEY]"}}
    bench = start(write_tools(tmp_path, rows, shows_env=SHOW))
    first = json.loads(bench.call("first").result.content)
    second = json.loads(bench.call("second").result.content)
    assert first["at import"] == first["WEATHER_KEY"] == "value of WEATHER_KEY"
    assert second["OTHER_KEY"] == "value of OTHER_KEY"
    assert first["LC_TIME"] == "C"
    assert {"PATH", "HOME"} <= first.keys()
    assert not {"WEATHER_KEY", *secrets} & second.keys()
    assert not {"OTHER_KEY", "NOT_SET", *secrets} & first.keys()


def test_what_is_neither_basic_nor_named_does_not_pass() -> None:
    environment = {"PATH": "/bin", "PYTHONPATH": "x", "XDG_DATA_HOME": "y", "HF_TOKEN": "s", "TOOLCHAT_X": "s"}
    assert basic_environment(environment) == {"PATH": "/bin", "PYTHONPATH": "x", "XDG_DATA_HOME": "y"}
    assert named_environment(("HF_TOKEN", "TOOLCHAT_X", "NONE"), environment) == {"HF_TOKEN": "s"}


def test_a_basic_variable_that_another_tool_names_is_not_hidden() -> None:
    assert hidden_names(("PATH", "A", "B", "LC_ALL"), ("A",)) == ("B",)


def test_a_variable_that_is_named_and_not_set_is_a_notice(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start(write_tools(tmp_path, {"shows_env:first": {"env": "[NOT_SET_ANYWHERE]"}}, shows_env=SHOW))
    assert len(bench.runner.toolbox.notices) == 1
    assert "NOT_SET_ANYWHERE, which is not set" in bench.runner.toolbox.notices[0]
