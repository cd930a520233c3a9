"""Attacks between the look and the run: code that is changed after it was accepted, or shown, must not run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from at_the_terminal import reply
from attacked_folder import GREET, Attacked, chat, ended, toolchat

from toolchat.cli.tools_file import choose_tools_file
from toolchat.session.startup import Plan, prepare
from toolchat.settings import resolve
from toolchat.wire.messages import ToolResult

pytestmark = pytest.mark.process

SAMPLE = "toolchat.samples.weather:get_current_weather"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"


@pytest.fixture
def attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attacked:
    attacked = Attacked.below(tmp_path)
    monkeypatch.chdir(attacked.folder)
    return attacked


def swapped_while_the_model_is_fetched(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """What `ask` starts from, where the folder changes while the model's files come."""

    def obtain(*_: Any) -> Path:
        attacked.write(mine=attacked.evil + GREET)
        attacked.tools("./mine.py:greet", approval="allow")
        return model

    model = attacked.model()
    flags = {"model": str(model)}
    return prepare(flags, choose_tools_file(resolve(flags)), obtain)


def test_a_file_of_samples_alone_that_is_swapped_while_the_model_comes_runs_no_code(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked.tools(SAMPLE)
    plan = swapped_while_the_model_is_fetched(attacked, monkeypatch)
    assert plan.tools is not None
    with chat(plan.tools) as tools:
        assert "85" in tools.call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")
    assert not attacked.ran


def test_an_accepted_file_that_is_swapped_while_the_model_comes_runs_no_other_code(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked.write(mine=GREET)
    attacked.tools("./mine.py:greet")
    attacked.accept()
    plan = swapped_while_the_model_is_fetched(attacked, monkeypatch)
    assert plan.tools is not None
    with pytest.raises(Exception, match=r"mine\.py has changed"), chat(plan.tools):
        pass
    assert not attacked.ran


@pytest.mark.parametrize("swapped", ["helper"])
def test_a_file_that_is_swapped_while_the_question_stands_does_not_run(attacked: Attacked, swapped: str) -> None:
    attacked.write(mine=f"import helper\n{GREET}", helper="")
    attacked.tools("./mine.py:greet")
    with attacked.terminal(*toolchat("tools", "list")) as child:
        child.expect("Accept it")
        file = attacked.folder / f"{swapped}.py"
        file.write_text(attacked.evil + file.read_text())
        reply(child, "y")
        child.expect(rf"{swapped}\.py has changed")
        assert ended(child) == 2
    assert not attacked.ran
    assert attacked.refusal()


LAZY = '''
def greet(person: str) -> str:
    """Greet a person."""
    import helper
    return helper.greeting(person)
'''
HELPER = "def greeting(person):\n    return f'Hello {person}'\n"


@pytest.mark.parametrize("before", ["", THREAD], ids=["forks", "starts-anew"])
def test_in_a_chat_changed_code_does_not_run(attacked: Attacked, before: str) -> None:
    attacked.write(mine=before + LAZY, helper=HELPER)
    with chat(attacked.tools("./mine.py:greet", approval="allow")) as tools:
        for swapped in ("mine", "helper"):
            file = attacked.folder / f"{swapped}.py"
            file.write_text(attacked.evil + file.read_text())
            answer = tools.call("greet", person="A")
            # A host that forks has read it at the beginning, and runs that.
            assert answer == "Hello A" if (swapped, before) == ("mine", "") else f"{swapped}.py has changed" in answer
            assert not attacked.ran
            file.write_text(file.read_text().removeprefix(attacked.evil))
        assert tools.call("greet", person="A") == "Hello A"


def test_a_host_that_starts_again_runs_no_other_code(attacked: Attacked) -> None:
    attacked.write(mine=f"import helper\n{LAZY}", helper=HELPER)
    with chat(attacked.tools("./mine.py:greet", approval="allow")) as tools:
        tools.kill_host()
        # The tools file is not read again.
        attacked.write(evil=attacked.evil + LAZY)
        attacked.tools("./evil.py:greet", approval="allow")
        assert tools.call("greet", person="A") == "Hello A"
        tools.kill_host()
        attacked.write(mine=attacked.evil + LAZY)
        assert "mine.py has changed" in tools.call("greet", person="A")
        attacked.write(mine=f"import helper\n{LAZY}")
        (attacked.folder / "helper").mkdir()
        (attacked.folder / "helper" / "__init__.py").write_text(attacked.evil + HELPER)
        assert "helper/__init__.py was not read with the tools" in tools.call("greet", person="A")
    assert not attacked.ran


def test_a_call_that_is_asked_about_is_bound_to_the_code_that_was_shown(attacked: Attacked) -> None:
    attacked.write(mine=LAZY, helper=HELPER)
    with chat(attacked.tools("./mine.py:greet")) as tools:
        shown = tools.prepare("greet", person="A")
        assert not isinstance(shown, ToolResult)
        tools.kill_host()
        attacked.write(mine=attacked.evil + LAZY)
        assert "has changed" in tools.run(shown)
    assert not attacked.ran


def test_a_call_is_bound_to_installed_code_as_well(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    site = attacked.folder.parent / "site-packages"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{site}:{':'.join(filter(None, sys.path))}")
    (site / "installed_tool.py").write_text(GREET)
    with chat(attacked.tools("installed_tool:greet")) as tools:
        assert tools.call("greet", person="A") == "Hello A"
        shown = tools.prepare("greet", person="A")
        assert not isinstance(shown, ToolResult)
        tools.kill_host()
        (site / "installed_tool.py").write_text(attacked.evil + GREET.replace("Hello", "Bye, Hello"))
        assert "has changed" in tools.run(shown)


def test_a_file_that_no_import_statement_names_may_be_imported_but_not_a_new_one(attacked: Attacked) -> None:
    source = 'import importlib\n\ndef use(name: str) -> str:\n    """Use."""\n'
    attacked.write(mine=f"{source}    return importlib.import_module(name).X\n", old="X = 'old'\n")
    prepared = attacked.folder.parent / "prepared"
    prepared.mkdir()
    (prepared / "__init__.py").write_text(f"X = 'new'\n{attacked.evil}")
    with chat(attacked.tools("./mine.py:use")) as tools:
        assert tools.call("use", name="old") == "old"
        # A package with older files, moved here whole; and a link to one.
        prepared.rename(attacked.folder / "moved")
        (attacked.folder / "linked").symlink_to(attacked.folder / "moved")
        for name in ("moved", "linked"):
            assert "was not read with the tools" in tools.call("use", name=name)
        attacked.write(new=f"X = 'new'\n{attacked.evil}")
        assert "new.py was not read with the tools" in tools.call("use", name="new")
        attacked.write(old=f"X = 'new'\n{attacked.evil}")
        assert "old.py has changed" in tools.call("use", name="old")
    assert not attacked.ran


def test_an_import_that_is_refused_cannot_be_hidden_by_the_code_that_tried_it(attacked: Attacked) -> None:
    source = LAZY.replace(
        "import helper", "try:\n        import helper\n    except BaseException:\n        return 'no'"
    )
    attacked.write(mine=source, helper=HELPER)
    with chat(attacked.tools("./mine.py:greet", approval="allow")) as tools:
        attacked.write(helper=attacked.evil + HELPER)
        assert "helper.py has changed" in tools.call("greet", person="A")
    assert not attacked.ran
