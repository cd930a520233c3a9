from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bench import Bench, eventually, runs, write_tools

from toolchat.tools.run import ToolRunner
from toolchat.tools.variables import basic_environment, named_environment
from toolchat.wire.errors import UsageError

pytestmark = pytest.mark.process

SHOW = '''
import os
import sys

AT_IMPORT = os.environ.get("WEATHER_KEY")
ARGUMENTS = " ".join(sys.argv)

def first() -> dict[str, str]:
    """Show."""
    return {"at import": str(AT_IMPORT), "arguments": f"{ARGUMENTS}; {' '.join(sys.argv)}", **os.environ}

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
    # A module that parses its arguments finds none of toolchat's own.
    assert first["arguments"] == "tool; tool"
    assert second["OTHER_KEY"] == "value of OTHER_KEY"
    assert first["LC_TIME"] == "C"
    assert {"PATH", "HOME"} <= first.keys()
    assert not {"WEATHER_KEY", *secrets} & second.keys()
    assert not {"OTHER_KEY", "NOT_SET", *secrets} & first.keys()


def test_what_is_neither_basic_nor_named_does_not_pass() -> None:
    environment = {"PATH": "/bin", "PYTHONPATH": "x", "XDG_DATA_HOME": "y", "HF_TOKEN": "s", "TOOLCHAT_X": "s"}
    assert basic_environment(environment) == {"PATH": "/bin", "PYTHONPATH": "x", "XDG_DATA_HOME": "y"}
    assert named_environment(("HF_TOKEN", "TOOLCHAT_X", "NONE"), environment) == {"HF_TOKEN": "s"}


def test_a_variable_that_is_named_and_not_set_is_a_notice(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start(write_tools(tmp_path, {"shows_env:first": {"env": "[NOT_SET_ANYWHERE]"}}, shows_env=SHOW))
    assert len(bench.runner.toolbox.notices) == 1
    assert "NOT_SET_ANYWHERE, which is not set" in bench.runner.toolbox.notices[0]


KEYED = '''
import os

AT_IMPORT = os.environ.get("WEATHER_KEY"), os.environ.get("OTHER_KEY")
count = 0

def weather() -> dict[str, object]:
    """Weather."""
    return {"keys": AT_IMPORT, "parent": os.getppid(), "count": _counted()}

def other() -> dict[str, object]:
    """Other."""
    return {"keys": AT_IMPORT, "parent": os.getppid(), "count": _counted()}

def plain() -> dict[str, object]:
    """Plain."""
    return {"keys": AT_IMPORT, "parent": os.getppid(), "count": _counted()}

def _counted() -> int:
    global count
    count += 1
    return count
'''
WEATHER, OTHER = {"env": "[WEATHER_KEY]"}, {"env": "[OTHER_KEY]"}


def test_tools_of_one_module_with_different_variables_are_imported_apart(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WEATHER_KEY", "OTHER_KEY"):
        monkeypatch.setenv(name, f"value of {name}")
    rows = {"keyed:other": OTHER, "keyed:plain": {}, "keyed:weather": WEATHER}
    bench = start(write_tools(tmp_path, rows, keyed=KEYED))
    # In the file's order, whichever host loads first.
    assert bench.runner.toolbox.names == ("other", "plain", "weather")
    found = {name: json.loads(bench.call(name).result.content) for name in bench.runner.toolbox.names}
    assert found["weather"]["keys"] == ["value of WEATHER_KEY", None]
    assert found["other"]["keys"] == [None, "value of OTHER_KEY"]
    assert found["plain"]["keys"] == [None, None]
    assert len({one["parent"] for one in found.values()}) == 3


def test_stateful_tools_share_a_process_only_where_they_see_the_same(
    start: Callable[..., Bench], tmp_path: Path
) -> None:
    stateful = {"stateful": "true"}
    rows = {"keyed:other": stateful, "keyed:plain": stateful, "keyed:weather": WEATHER | stateful}
    bench = start(write_tools(tmp_path, rows, keyed=KEYED))
    counts = [json.loads(bench.call(name).result.content)["count"] for name in ("other", "plain", "weather", "plain")]
    assert counts == [1, 2, 1, 3]


def test_what_is_wrong_in_several_hosts_is_told_at_once_and_once(tmp_path: Path) -> None:
    rows = {"nowhere:f": WEATHER, "keyed:weather": {"timeout": "never"}, "keyed:nothing": OTHER}
    path = write_tools(tmp_path, rows, keyed=KEYED)
    with pytest.raises(UsageError) as caught:
        asyncio.run(ToolRunner.start(path))
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in lines] == ["3", "6", "7"]


def test_a_name_that_tools_of_two_hosts_have_is_a_mistake(tmp_path: Path) -> None:
    path = write_tools(tmp_path, {"keyed:weather": WEATHER, "keyed:plain": {"name": "weather"}}, keyed=KEYED)
    with pytest.raises(UsageError, match=r':5:15: a second tool is named "weather"; the first stands at .*:3:15;'):
        asyncio.run(ToolRunner.start(path))
    assert eventually(lambda: not runs(str(path)))
