from __future__ import annotations

from pathlib import Path

import pytest
from cli_program import Program, Ran

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).with_name("scripted_program.py")


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


def ask(program: Program, model: Path, *flags: str) -> Ran:
    given = ['["Hi."]', "ask", "Hello", "--no-tools", "--model", str(model), *flags]
    return program.fork(str(SCRIPT), *given)


def test_ask_says_that_the_models_own_system_prompt_is_used(toolchat: Program, model_folder: Path) -> None:
    (model_folder / "SYSTEM_PROMPT.txt").write_text("Be brief.")
    ran = ask(toolchat, model_folder)
    assert (ran.code, ran.out) == (0, "Hi.\n")
    assert ran.err.count("comes with a system prompt (9 characters)") == 1


def test_no_system_leaves_the_models_own_out(toolchat: Program, model_folder: Path) -> None:
    (model_folder / "SYSTEM_PROMPT.txt").write_text("Be brief.")
    assert ask(toolchat, model_folder, "--no-system") == Ran(0, "Hi.\n", "")


@pytest.mark.parametrize("command", [["ask", "Hi"], ["repl"]])
def test_a_system_prompt_and_none_at_once_are_a_contradiction(toolchat: Program, command: list[str]) -> None:
    said = toolchat(*command, "--no-system", "--system", "Be brief.").refused(2)
    assert said == "--system and --no-system contradict each other; leave one of them out"
