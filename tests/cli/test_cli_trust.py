from __future__ import annotations

from pathlib import Path

import pexpect
import pytest
from at_the_terminal import reply
from cli_program import PROGRAM, Program

pytestmark = pytest.mark.process

MODULE = '''from pathlib import Path
Path(__file__).with_name("imported").touch()

def greet(name: str) -> str:
    """Greet a person."""
    return name
'''
ACCEPTED = 0
REFUSED = 2


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


@pytest.fixture
def found(toolchat: Program) -> Program:
    """The program in a folder with a tools.yaml that runs the folder's own code."""
    (toolchat.folder / "mine.py").write_text(MODULE)
    (toolchat.folder / "tools.yaml").write_text("version: 1\ntools:\n  - callable: mine:greet\n")
    return toolchat


def has_run(program: Program) -> bool:
    return (program.folder / "imported").exists()


@pytest.mark.parametrize("command", [("tools", "list"), ("ask", "hi")])
def test_code_of_the_folder_is_not_run_unasked_and_the_line_says_how_to_accept(
    found: Program, command: tuple[str, ...]
) -> None:
    line = found(*command).refused(REFUSED)
    assert line.startswith(f"{found.folder / 'tools.yaml'}: ")
    assert "--tools tools.yaml" in line
    assert "toolchat tools trust" in line
    assert not has_run(found)


def test_naming_the_file_is_consent(found: Program) -> None:
    ran = found("tools", "list", "--tools", "tools.yaml")
    assert ran.code == ACCEPTED
    assert "greet" in ran.out
    assert has_run(found)


def test_what_was_trusted_is_used_from_then_on(found: Program) -> None:
    trusting = found("tools", "trust")
    assert (trusting.code, trusting.err) == (ACCEPTED, "")
    assert "mine:greet" in trusting.out
    assert not has_run(found)
    ran = found("tools", "list")
    assert ran.code == ACCEPTED
    assert "greet" in ran.out


@pytest.mark.parametrize("name", ["mine.py", "tools.yaml"])
def test_a_change_of_the_file_or_its_module_asks_again(found: Program, name: str) -> None:
    assert found("tools", "trust").code == ACCEPTED
    file = found.folder / name
    file.write_text(file.read_text() + "# changed\n")
    assert "toolchat tools trust" in found("tools", "list").refused(REFUSED)
    assert found("tools", "trust").code == ACCEPTED
    assert found("tools", "list").code == ACCEPTED


def test_trust_of_one_folder_is_not_trust_of_another(found: Program) -> None:
    assert found("tools", "trust").code == ACCEPTED
    other = found.folder.with_name("other")
    other.mkdir()
    for file in ("mine.py", "tools.yaml"):
        (other / file).write_bytes((found.folder / file).read_bytes())
    Program(other)("tools", "list").refused(REFUSED)


def test_what_was_trusted_is_noted_for_this_user_alone(found: Program, home: Path) -> None:
    found("tools", "trust")
    written = [path for path in (home / ".local" / "state" / "toolchat").rglob("*") if path.is_file()]
    assert written
    assert all(path.stat().st_mode & 0o077 == 0 for path in written)


def test_samples_alone_are_used_at_once(toolchat: Program) -> None:
    (toolchat.folder / "tools.yaml").write_text(
        "version: 1\ntools:\n  - callable: toolchat.samples.weather:get_current_weather\n    name: the_weather\n"
    )
    ran = toolchat("tools", "list")
    assert (ran.code, ran.err) == (ACCEPTED, "")
    assert "the_weather" in ran.out
    assert "calculate" not in ran.out


def test_one_callable_that_is_no_sample_is_enough_to_ask(found: Program) -> None:
    file = found.folder / "tools.yaml"
    file.write_text(file.read_text() + "  - callable: toolchat.samples.weather:get_current_weather\n")
    found("tools", "list").refused(REFUSED)
    assert not has_run(found)


@pytest.mark.parametrize(("answer", "code"), [("y", ACCEPTED), ("n", REFUSED), ("", REFUSED)])
def test_on_a_terminal_a_person_is_shown_the_callables_and_asked(found: Program, answer: str, code: int) -> None:
    command, *arguments = PROGRAM
    child = pexpect.spawn(
        command,
        [*arguments, "tools", "list"],
        cwd=str(found.folder),
        env=found.environment,
        dimensions=(24, 200),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("mine:greet")
    child.expect(r"Accept it.*\[y/N\] ")
    assert not has_run(found)
    reply(child, answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert has_run(found) == (code == ACCEPTED)
    assert (found("tools", "list").code == ACCEPTED) == (code == ACCEPTED)
