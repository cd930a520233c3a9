from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.settings import cache_folder
from toolchat.tools.code import read_code
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.tools.toolbox_cache import KEPT, EarlyRunner, forget, known_at, known_toolbox, remember
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

CALL = ToolCall("abcdefghi", "add", {"a": 1})


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text('import helper\n\ndef add(a: int) -> int:\n    """Add."""\n    return a\n')
    (tmp_path / "helper.py").write_text("")
    file = tmp_path / "tools.yaml"
    file.write_text("tools:\n  - callable: ./mine.py:add\n")
    return file


def box(file: Path, reference: str = "./mine.py:add", **more: tuple[str, ...]) -> Toolbox:
    tool = Tool("add", "Add.", {"type": "object"}, reference, "add(a: int)", f"{file}:2:5", source_digest="1")
    return Toolbox(file, (tool,), **more)


def test_what_was_loaded_is_known_the_next_time(tools: Path) -> None:
    code = read_code(tools)
    assert known_toolbox(code) is None
    remember(code, box(tools))
    assert known_toolbox(read_code(tools)) == box(tools)
    (file,) = (path for path in (cache_folder() / "tools").iterdir() if not path.name.startswith("at-"))
    assert file.stat().st_mode & 0o077 == 0
    forget(code)
    assert known_toolbox(code) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, _: (folder / "mine.py").write_text("def add(a: str): ..."),
        lambda folder, _: (folder / "helper.py").write_text("X = 1"),
        lambda folder, _: (folder / "tools.yaml").write_text("tools:\n  - callable: ./mine.py:add\n    timeout: 5\n"),
        lambda folder, patch: patch.syspath_prepend(str(folder)),
        lambda folder, patch: patch.setattr("toolchat.__version__", "99"),
    ],
)
def test_another_file_path_or_version_is_not_known(
    change: Callable[[Path, pytest.MonkeyPatch], object], tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(read_code(tools), box(tools))
    change(tools.parent, monkeypatch)
    assert known_toolbox(read_code(tools)) is None


def test_a_file_that_is_as_it_was_is_known_without_being_read(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(read_code(tools), box(tools))
    monkeypatch.setattr("toolchat.tools.yaml_file.read_bytes", lambda _: pytest.fail("it is read"))
    assert known_at(tools) == box(tools)
    monkeypatch.chdir(tools.parent)
    assert known_at(Path("tools.yaml")) is None  # its tools say where they stand, by the path as it was written
    forget(read_code(tools, text=tools.read_bytes()))
    assert known_at(tools) is None


def test_a_file_more_in_the_folder_the_user_is_in_changes_nothing(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.path", [str(here), *sys.path])  # as with python -m
    remember(read_code(tools), box(tools))
    (here / "notes.txt").write_text("")
    os.utime(here, (0, 0))
    assert known_at(tools) == box(tools) == known_toolbox(read_code(tools))


@pytest.mark.parametrize("file", ["tools.yaml", "mine.py", "helper.py"])
@pytest.mark.parametrize("how", ["other", "touched", "gone", "replaced"])
def test_a_file_that_may_be_another_is_read_again(file: str, how: str, tools: Path) -> None:
    remember(read_code(tools), box(tools))
    changed = tools.parent / file
    match how:
        case "other":
            changed.write_text("# longer by this")
        case "touched":
            os.utime(changed, (0, 0))
        case "gone":
            changed.unlink()
        case "replaced":
            facts, text = changed.stat(), changed.read_text()
            (tools.parent / "new").write_text(text)
            os.utime(tools.parent / "new", ns=(facts.st_atime_ns, facts.st_mtime_ns))
            (tools.parent / "new").replace(changed)
    assert known_at(tools) is None


@pytest.mark.parametrize("file", ["tools.yaml", "mine.py", "helper.py"])
def test_a_file_that_changes_while_it_is_imported_is_read_again(file: str, tools: Path) -> None:
    code = read_code(tools)
    (tools.parent / file).write_text("# changed before what was loaded is written down")
    remember(code, box(tools))
    assert known_at(tools) is None


def test_what_a_person_accepted_is_compared_by_its_content(tools: Path) -> None:
    remember(replace(read_code(tools), closed=True), box(tools))
    assert known_at(tools) is None


def test_what_others_may_have_written_or_is_broken_is_not_believed(tools: Path) -> None:
    code = read_code(tools)
    remember(code, box(tools))
    (file,) = (path for path in (cache_folder() / "tools").iterdir() if not path.name.startswith("at-"))
    file.chmod(0o666)
    assert known_toolbox(code) is None
    file.chmod(0o600)
    assert known_toolbox(code) is not None
    for content in ("", "[]", "{}", '{"tools": [{}], "notices": []}', "[" * 100_000):
        file.write_text(content)
        assert known_toolbox(code) is None


def test_tools_of_installed_modules_and_notices_are_loaded_each_time(tools: Path) -> None:
    code = read_code(tools)
    remember(code, box(tools, "json:loads"))
    remember(code, box(tools, notices=("a variable is not set",)))
    assert known_toolbox(code) is None
    remember(code, box(tools, "toolchat.samples.clock:current_time"))
    assert known_toolbox(code) is not None


def test_the_oldest_are_deleted(tools: Path) -> None:
    code = read_code(tools)
    for number in range(KEPT + 3):
        remember(replace(code, text=str(number).encode()), box(tools))
    assert len(list((cache_folder() / "tools").iterdir())) == KEPT


def test_a_cache_that_cannot_be_written_costs_nothing_else(tools: Path) -> None:
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    cache_folder().write_text("")
    remember(read_code(tools), box(tools))
    assert known_toolbox(read_code(tools)) is None


class Loaded(ToolRunner):
    """Tools without processes."""

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__(None)
        self._own = toolbox
        self.closed = False

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> ToolResult:
        return ToolResult(call.id, call.name, tool.source_digest)

    async def close(self) -> None:
        self.closed = True


def run(test: Callable[[asyncio.Future[ToolRunner]], object], tools: Path) -> None:
    async def within() -> None:
        future: asyncio.Future[ToolRunner] = asyncio.get_running_loop().create_future()

        async def start() -> ToolRunner:
            return await future

        async with asyncio.timeout(30):
            await test(future, EarlyRunner(box(tools), asyncio.create_task(start())))  # type: ignore[call-arg, misc]

    asyncio.run(within())


def test_a_call_waits_for_its_process_and_is_the_loaded_tools(tools: Path) -> None:
    async def test(future: asyncio.Future[ToolRunner], runner: EarlyRunner) -> None:
        (known,) = runner.toolbox.tools
        preparing = asyncio.create_task(runner.prepare(known, CALL, asyncio.Event()))
        await asyncio.sleep(0)
        assert not preparing.done()
        loaded = Loaded(Toolbox(tools, (replace(known, source_digest="as it is now"),)))
        future.set_result(loaded)
        result = await preparing
        assert isinstance(result, ToolResult)
        assert result.content == "as it is now"
        await runner.close()
        assert loaded.closed

    run(test, tools)


def test_a_tool_that_is_gone_by_now_is_no_tool(tools: Path) -> None:
    async def test(future: asyncio.Future[ToolRunner], runner: EarlyRunner) -> None:
        future.set_result(Loaded(Toolbox(tools, ())))
        result = await runner.prepare(runner.toolbox.tools[0], CALL)
        assert isinstance(result, ToolResult)
        assert (result.status, result.content) == (
            ResultStatus.ERROR,
            'Error: there is no tool "add"; there are no tools',
        )

    run(test, tools)


def test_an_interrupt_does_not_wait_for_the_start_and_closing_ends_it(tools: Path) -> None:
    async def test(future: asyncio.Future[ToolRunner], runner: EarlyRunner) -> None:
        cancel = asyncio.Event()
        cancel.set()
        result = await runner.prepare(runner.toolbox.tools[0], CALL, cancel)
        assert isinstance(result, ToolResult)
        assert result.status is ResultStatus.INTERRUPTED
        await runner.close()
        assert future.cancelled()

    run(test, tools)


def test_what_is_wrong_with_the_file_is_raised_by_the_call(tools: Path) -> None:
    async def test(future: asyncio.Future[ToolRunner], runner: EarlyRunner) -> None:
        future.set_exception(UsageError("tools.yaml:1:1: wrong"))
        with pytest.raises(UsageError, match="wrong"):
            await runner.prepare(runner.toolbox.tools[0], CALL, asyncio.Event())
        await runner.close()

    run(test, tools)
