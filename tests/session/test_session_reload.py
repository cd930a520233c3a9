from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from session_bench import Bench

from toolchat.cli.tools_file import choose_tools_file
from toolchat.engine.scripted import Answer, call
from toolchat.models.choice import ModelChoice
from toolchat.session.engines import LocalEngines
from toolchat.session.session import Session
from toolchat.session.startup import Plan
from toolchat.settings import Settings, state_folder
from toolchat.tools.trust import TrustStore
from toolchat.wire.errors import UsageError
from toolchat.wire.events import ToolsChanged

pytestmark = pytest.mark.process

FIRST = '''def greet(person: str) -> str:
    """Greet a person."""
    return f"Hello, {person}."
'''
# Longer than the first: Python tells stale bytecode by size and by the second.
SECOND = '''def greet(person: str) -> str:
    """Greet a person, politely."""
    return f"Good morning, {person}."

def part(person: str) -> str:
    """Take leave of a person."""
    return f"Goodbye, {person}."
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the chat is in, with a tools file and its code."""
    folder = tmp_path / "work"
    folder.mkdir()
    write(folder, FIRST, "greet")
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, source: str, *names: str) -> None:
    (folder / "reloaded.py").write_text(source)
    rows = "".join(f"  - callable: reloaded:{name}\n" for name in names)
    (folder / "tools.yaml").write_text(f"version: 1\ntools:\n{rows}")


def plan(tools: Path | None = Path("tools.yaml"), named: str | None = "tools.yaml") -> Plan:
    again = partial(choose_tools_file, ask=False)
    engines = LocalEngines("cpu")
    choice = ModelChoice("demo", "demo", None)
    return Plan(Settings(tools=named), choice, Path(), engines, tools, debug=False, choose_tools=again)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def accept(folder: Path) -> None:
    store = TrustStore(state_folder())
    store.trust(store.read(folder / "tools.yaml"), allows=False)


async def equip(bench: Bench, plan: Plan) -> None:
    bench.new_tools = plan.start_tools_again
    bench.session.equip(await plan.start_tools())


def replies(bench: Bench, *names: str) -> None:
    """The model calls these tools, and then says something."""
    bench.engine.enqueue(Answer(calls=[call(name, person="Ada") for name in names]), "Done.")


def results(session: Session) -> list[str]:
    return [result.content for result in session.last_results]


def offered(bench: Bench) -> list[list[str]]:
    """The names of the tools that the model was offered, one list after the other."""
    return [[tool.name for tool in edit.tools] for edit in bench.edits() if isinstance(edit, ToolsChanged)]


def test_a_reload_takes_changed_code_and_new_tools_without_loading_the_model(bench: Bench, folder: Path) -> None:
    async def scene(session: Session) -> None:
        await equip(bench, plan())
        replies(bench, "greet")
        await session.ask("greet")
        assert results(session) == ["Hello, Ada."]
        write(folder, SECOND, "greet", "part")
        await session.tools.reload()
        replies(bench, "greet", "part")
        await session.ask("greet and part")
        assert results(session) == ["Good morning, Ada.", "Goodbye, Ada."]
        assert [tool.description for tool in bench.engine.requests[-1].tools] == [
            "Greet a person, politely.",
            "Take leave of a person.",
        ]
        assert session.conversation.turns == 2

    bench.play(scene)
    assert bench.engine.starts == 1
    assert offered(bench) == [["greet"], ["greet", "part"]]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("reloaded.py", "def greet(:\n", "SyntaxError"),
        ("reloaded.py", "import os; os._exit(3)\n", "exit code 3"),
        ("tools.yaml", "version: 1\ntools:\n  - callable: reloaded:gret\n", "tools.yaml:3:15: "),
        ("tools.yaml", "{", "not valid YAML"),
    ],
)
def test_what_is_broken_is_said_and_the_tools_stay(bench: Bench, folder: Path, file: str, text: str, said: str) -> None:
    async def scene(session: Session) -> None:
        await equip(bench, plan())
        (folder / file).write_text(text)
        with pytest.raises(UsageError) as caught:
            await session.tools.reload()
        assert said in str(caught.value)
        replies(bench, "greet")
        await session.ask("greet")
        assert results(session) == ["Hello, Ada."]

    bench.play(scene)
    assert offered(bench) == [["greet"]]


def test_a_file_that_is_gone_is_said_and_the_tools_stay(bench: Bench, folder: Path) -> None:
    async def scene(session: Session) -> None:
        await equip(bench, plan())
        (folder / "tools.yaml").unlink()
        with pytest.raises(UsageError, match=r"--tools tools\.yaml: no such file"):
            await session.tools.reload()
        assert session.tools.toolbox.names == ("greet",)

    bench.play(scene)


def test_what_was_off_stays_off_also_where_it_was_gone_for_a_while(bench: Bench, folder: Path) -> None:
    async def scene(session: Session) -> None:
        write(folder, SECOND, "greet", "part")
        await equip(bench, plan())
        session.tools.switch("greet", False)
        session.tools.switch("part", False)
        for names in (("greet",), ("greet", "part")):
            write(folder, SECOND, *names)
            await session.tools.reload()
            assert session.tools.toolbox.names == names
            assert session.tools.offered() == []
        session.tools.switch("part", True)
        assert [tool.name for tool in session.tools.offered()] == ["part"]

    bench.play(scene)


def test_the_old_tools_processes_end(bench: Bench, folder: Path) -> None:
    async def scene(session: Session) -> None:
        await equip(bench, plan())
        old = hosts(folder)
        await session.tools.reload()
        new = hosts(folder)
        assert len(old) == len(new) == 2  # a host and its guardian
        assert not old & new

    bench.play(scene)
    assert hosts(folder) == set()


def hosts(folder: Path) -> set[str]:
    """The processes whose working folder is `folder`, other than this one: those of the tools."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"toolchat.tools.host" in command and (process / "cwd").samefile(folder):
                found.add(process.name)
        except OSError:
            continue
    return found


def changed_code(folder: Path) -> None:
    write(folder, SECOND, "greet")


def changed_file(folder: Path) -> None:
    (folder / "tools.yaml").write_text((folder / "tools.yaml").read_text() + "# changed\n")


@pytest.mark.parametrize("change", [changed_code, changed_file])
def test_a_found_file_that_changed_is_not_run_until_it_is_accepted_as_it_is(
    bench: Bench, folder: Path, change: Callable[[Path], None]
) -> None:
    accept(folder)

    async def scene(session: Session) -> None:
        await equip(bench, plan(named=None))
        change(folder)
        (folder / "reloaded.py").write_text(
            f"from pathlib import Path\nPath('ran').touch()\n{(folder / 'reloaded.py').read_text()}"
        )
        with pytest.raises(UsageError) as caught:
            await session.tools.reload()
        assert str(caught.value) == (
            f"{folder / 'tools.yaml'}: this folder's tools file runs code, and you have not accepted it as it is now; "
            "accept it in another terminal with: toolchat tools trust; then say /reload"
        )
        assert not (folder / "ran").exists()
        assert session.tools.toolbox.names == ("greet",)
        accept(folder)
        await session.tools.reload()
        assert (folder / "ran").exists()

    bench.play(scene)


def test_a_found_file_that_is_as_it_was_accepted_is_read_again(bench: Bench, folder: Path) -> None:
    accept(folder)

    async def scene(session: Session) -> None:
        await equip(bench, plan(named=None))
        await session.tools.reload()

    bench.play(scene)
    assert offered(bench) == [["greet"], ["greet"]]


def test_a_chat_without_tools_says_why_it_has_none(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await equip(bench, plan(tools=None))
        with pytest.raises(UsageError, match="started with --no-tools"):
            await session.tools.reload()

    bench.play(scene)


def test_tools_cannot_be_read_again_while_a_turn_is_under_way(bench: Bench, folder: Path) -> None:
    bench.engine.enqueue(Answer(text=["Once ", *["and "] * 500], delay=0.01))

    async def scene(session: Session) -> None:
        await equip(bench, plan())
        asking = asyncio.create_task(session.ask("a story"))
        await bench.begun.wait()
        with pytest.raises(UsageError, match="a turn is under way"):
            await session.tools.reload()
        session.interrupt()
        await asking
        await session.tools.reload()

    bench.play(scene)
