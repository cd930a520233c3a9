from __future__ import annotations

import asyncio
import functools
import importlib
import math
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from image_files import image_file
from pydantic import BaseModel, field_validator

from toolchat import Call, Chat, UsageError
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.samples.calculator import calculate
from toolchat.session.given import Isolated, NotImportableError, import_name, sort_tools, thread_tool
from toolchat.tools.toolbox import ToolOptions
from toolchat.wire.messages import ToolCall

MODULE = '''
import os
from functools import wraps

count = 0


def pid() -> str:
    """Tell the process."""
    global count
    count += 1
    return f"{os.getpid()} {count}"


def loud(function):
    @wraps(function)
    def louder(*args, **kwargs):
        return function(*args, **kwargs).upper()
    return louder


@loud
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


class Greeter:
    """Greets."""

    def __init__(self) -> None:
        self.greeted = 0

    def hello(self, name: str) -> str:
        """Greet somebody and count."""
        self.greeted += 1
        return f"{name} {self.greeted}"

    @staticmethod
    def still(name: str) -> str:
        """Greet nobody."""
        return name


def opens(file: type) -> str:
    return str(file)


replaced = pid


def pid2() -> str:
    """Tell the process."""
    return ""


pid2.__qualname__ = "pid"
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module in a folder that is on the search path of this process alone."""
    package = tmp_path / "theirs" / "given_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(package.parent))
    yield importlib.import_module("given_package.inner")
    for name in ("given_package.inner", "given_package"):
        sys.modules.pop(name, None)


def run(tool: Any, *, approve: Any = "allow", **arguments: object) -> Call:
    """The call of a chat that has this tool only."""
    engine = ScriptedEngine()
    with Chat(tools=[tool], approve=approve, engine=engine) as chat:
        engine.enqueue(Answer("", [call(chat.tools[0], **arguments)]), "done")
        return chat.ask("x").calls[0]


def test_a_function_is_imported_by_name_where_that_leads_to_it(module: Any) -> None:
    root = Path(module.__file__).parents[1]
    assert import_name(module.pid) == ("given_package.inner:pid", root)
    assert import_name(module.greet) == ("given_package.inner:greet", root)
    assert import_name(module.Greeter) == ("given_package.inner:Greeter", root)
    assert import_name(module.Greeter.still) == ("given_package.inner:Greeter.still", root)
    assert import_name(module.replaced) == ("given_package.inner:pid", root)
    assert import_name(math.factorial) == ("math:factorial", None)
    assert import_name(textwrap.dedent) == ("textwrap:dedent", None)
    assert import_name(calculate) == ("toolchat.samples.calculator:calculate", None)


def test_why_a_function_cannot_be_imported_is_said(module: Any) -> None:
    def inner() -> None: ...

    def main() -> None: ...

    main.__module__ = "__main__"
    made = types.ModuleType("made_here")
    exec("def f(): ...", vars(made))
    sys.modules["made_here"] = made
    try:
        for function, why in (
            (inner, "within another function"),
            (lambda: 1, "within another function"),
            (main, "in the program itself or in a notebook"),
            (module.Greeter().hello, "bound to an object"),
            (functools.partial(module.greet, name="x"), "an object of the type partial"),
            (module.pid2, "another object of its name"),
            (vars(made)["f"], "not imported from a file"),
        ):
            with pytest.raises(NotImportableError, match=why):
                import_name(function)
    finally:
        del sys.modules["made_here"]


def test_functions_of_one_folder_share_a_process_and_installed_ones_another(module: Any, tmp_path: Path) -> None:
    parts = sort_tools([module.pid, math.factorial, module.greet, act_tool(), textwrap.dedent], tmp_path)
    isolated = [part for part in parts if isinstance(part, Isolated)]
    assert [part.places for part in isolated] == [("tools[0]", "tools[2]"), ("tools[1]", "tools[4]")]
    assert isolated[1].code.folder == tmp_path.resolve()
    assert len(parts) == 3


def act_tool() -> Callable[..., Any]:
    def act() -> str:
        """Do something."""
        return "done"

    return act


@pytest.mark.process
def test_a_function_that_can_be_imported_runs_in_a_process_of_its_own_each_time(module: Any) -> None:
    engine = ScriptedEngine()
    engine.enqueue(Answer("", [call("pid"), call("pid"), ToolCall("aaaaaaaa1", "greet", {"name": "you"})]), "done")
    engine.enqueue(
        Answer("", [ToolCall("aaaaaaaa2", "hello", {"name": "a"}), ToolCall("aaaaaaaa3", "hello", {"name": "b"})]),
        "done",
    )
    with Chat(tools=[module.pid, module.greet, module.Greeter], approve="allow", engine=engine) as chat:
        assert chat.tools == ("pid", "greet", "hello", "still")
        first, second, third = chat.ask("x").calls
        counted = [made.result for made in chat.ask("y").calls]
    assert first.result.split()[0] != second.result.split()[0]
    assert {first.result.split()[1], second.result.split()[1]} == {"1"}
    assert module.count == 0, "nothing of it ran here"
    assert third.result == "HELLO YOU"
    assert counted == ["a 1", "b 2"], "an object of a class keeps what it counts"


@pytest.mark.process
def test_what_is_wrong_with_a_function_names_it_by_its_place(module: Any) -> None:
    with pytest.raises(UsageError) as caught, Chat(tools=[module.pid, module.opens], engine=ScriptedEngine()):
        pass
    assert str(caught.value).startswith('tools[1]: "given_package.inner:opens" cannot be a tool: its parameter file is')


def test_two_tools_of_one_name_are_refused() -> None:
    with (
        pytest.raises(UsageError, match='two of the tools are named "act"'),
        Chat(tools=[act_tool(), act_tool()], engine=ScriptedEngine()),
    ):
        pass


@pytest.mark.process
def test_a_module_that_opens_a_chat_when_it_is_imported_is_refused_by_its_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opens_chat.py").write_text(
        "from toolchat import Chat\nfrom toolchat.engine.scripted import ScriptedEngine\n\n"
        'def act() -> None:\n    """Do something."""\n\n'
        "with Chat(tools=[act], engine=ScriptedEngine()):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="opened while the module of a tool is imported"):
        importlib.import_module("opens_chat")


def test_what_a_function_in_a_thread_does_comes_back() -> None:
    def lines() -> Iterator[str]:
        """Count."""
        yield "one"
        yield "one"

    async def later(x: int) -> int:
        """Double a number."""
        await asyncio.sleep(0)
        return 2 * x

    def fails() -> None:
        """Fail."""
        raise ValueError("no such thing")

    def leaves() -> None:
        """Leave."""
        sys.exit(3)

    def draws() -> bytes:
        """Draw."""
        return image_file(size=(4, 3))

    def missing() -> str:
        """Look."""
        import os

        return os.environ["NO_SUCH_VARIABLE"]

    assert run(lines).result == '["one", "one"]'
    assert run(lines).output == "oneone"
    assert run(later, x="4") == Call("later", {"x": 4}, "8", "ok", pytest.approx(0, abs=30), "repaired")
    assert (run(fails).result, run(fails).status) == ("Error: ValueError: no such thing", "error")
    assert run(leaves).result == "Error: SystemExit: 3"
    assert (run(draws).images[0].width, run(draws).result) == (4, "[image 1]")
    assert "tools file" not in run(missing).result
    assert run(later, x="many").status == "error"


def test_a_bound_method_works_on_its_object_and_threads_run_at_once() -> None:
    class Counter:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(2, timeout=30)
            self.count = 0

        def hit(self) -> int:
            """Count."""
            self.barrier.wait()
            self.count += 1
            return self.count

    counter = Counter()
    engine = ScriptedEngine()
    engine.enqueue(Answer("", [call("hit"), call("hit")]), "done")
    with Chat(tools=[counter.hit], approve="allow", engine=engine) as chat:
        assert [made.status for made in chat.ask("x").calls] == ["ok", "ok"]
    assert counter.count == 2


def test_a_long_result_of_a_thread_is_cut_and_kept() -> None:
    def long() -> str:
        """Be long."""
        return "x" * 3_000_000

    made = run(long)
    assert len(made.result) < 100_000
    assert "of 3,000,000 characters are left out" in made.result


def test_an_interrupt_does_not_wait_for_a_thread() -> None:
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        """Wait."""
        begun.set()
        end.wait(60)

    engine = ScriptedEngine()
    engine.enqueue(Answer("", [call("wait")]), "done")
    with Chat(tools=[wait], approve="allow", engine=engine) as chat:
        threading.Thread(target=lambda: begun.wait(30) and chat.interrupt()).start()
        answer = chat.ask("x")
    assert not end.is_set()
    end.set()
    assert answer.calls[0].status == "interrupted"
    assert "runs on in its thread" in answer.calls[0].result


class Odd(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise RuntimeError("not odd")
        return value


def test_a_validator_that_fails_is_the_models_error() -> None:
    def take(value: Odd) -> int:
        """Take an odd number."""
        return value.number

    assert run(take, value={"number": 3}).result == "3"
    assert run(take, value={"number": 4}).result == "Error: RuntimeError: not odd"


def test_a_function_in_a_thread_is_not_waited_for_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def wait() -> None:
        """Wait."""
        end.wait(60)

    loaded = thread_tool(wait, "tools[0]")
    hurried = replace(loaded, tool=replace(loaded.tool, options=ToolOptions(timeout=0.05)))
    monkeypatch.setattr("toolchat.session.given.thread_tool", lambda *_: hurried)
    made = run(wait)
    end.set()
    assert (made.status, made.result) == (
        "timeout",
        "Error: wait did not answer within 0.05 s; the function runs on in its thread",
    )


class Adder:
    """Not a function."""

    def __call__(self, x: int) -> int:
        """Add one."""
        return x + 1


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        (lambda x: x, "cannot be a tool's name"),
        (type("Local", (), {"__module__": "__main__"}), "it is a class"),
        ([1], "expected a function or the path of a tools file, not list"),
    ],
)
def test_what_cannot_be_a_tool_is_one_line(tool: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught, Chat(tools=[tool], engine=ScriptedEngine()):
        pass
    assert str(caught.value).startswith("tools[0]: ")
    assert "\n" not in str(caught.value)


def test_an_object_that_can_be_called_is_named_by_its_type() -> None:
    assert run(Adder(), x=1).result == "2"
