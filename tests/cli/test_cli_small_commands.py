from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Program

from toolchat.cli import main

pytestmark = pytest.mark.process

HEAVY = {"torch", "vllm", "mistral_common", "numpy", "openai", "mcp"}

MODULES_AT_EXIT = """
import sys
from pathlib import Path
from toolchat.cli.main import run
try:
    run(sys.argv[2:])
finally:
    Path(sys.argv[1]).write_text("\\n".join(sys.modules))
"""


def modules_of(toolchat: Program, *arguments: str) -> set[str]:
    """The names of all modules that a command has imported by its end."""
    report = toolchat.folder / "modules.txt"
    done = subprocess.run(
        [sys.executable, "-c", MODULES_AT_EXIT, str(report), *arguments],
        cwd=toolchat.folder,
        env=toolchat.environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout
    return set(report.read_text().splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("tools", "list"),
        ("tools", "check"),
        ("tools", "show", "calculate"),
        ("tools", "call", "calculate", "--expression", "1"),
        ("tools", "new", "greet"),
        ("config", "show"),
        ("ask", "--help"),
    ],
)
def test_a_small_command_imports_nothing_heavy(toolchat: Program, arguments: tuple[str, ...]) -> None:
    modules = modules_of(toolchat, *arguments)
    assert {"typer", "toolchat.cli.ask"} <= modules
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()


def test_help_does_not_even_load_the_tools(toolchat: Program) -> None:
    modules = modules_of(toolchat, "--help")
    assert not any(name.startswith(("toolchat.tools", "toolchat.chat", "pydantic", "rich")) for name in modules)


def test_help_shows_the_commands_and_examples_that_can_be_copied(toolchat: Program) -> None:
    ran = toolchat("--help")
    assert (ran.code, ran.err) == (0, "")
    for command in ("ask", "repl", "tools", "models"):
        assert f"\n  {command} " in ran.out
    assert '\n    toolchat ask "What is 17 * 24?"\n' in ran.out


@pytest.mark.parametrize(
    "arguments", [("ask",), ("repl",), ("tools",), ("tools", "list"), ("tools", "trust"), ("models", "pull")]
)
def test_every_command_explains_itself(toolchat: Program, arguments: tuple[str, ...]) -> None:
    ran = toolchat(*arguments, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: toolchat {' '.join(arguments)} ")


def test_the_version_is_the_packages(toolchat: Program) -> None:
    import toolchat as package

    ran = toolchat("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"toolchat {package.__version__}\n", "")


def test_tools_list_shows_name_signature_description_and_origin(toolchat: Program) -> None:
    ran = toolchat("tools", "list")
    assert (ran.code, ran.err) == (0, "")
    assert "get_current_weather" in ran.out
    assert '(city: str, state: str, unit: "celsius" | "fahrenheit")' in ran.out
    assert "toolchat.samples.weather:get_current_weather" in ran.out
    for name in ("calculate", "current_time", "convert_units", "list_files", "read_file"):
        assert name in ran.out


def test_tools_list_shows_the_file_that_is_named(toolchat: Program) -> None:
    (toolchat.folder / "mine.py").write_text(
        'def greet(name: str) -> str:\n    """Greet a person."""\n    return name\n'
    )
    (toolchat.folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: mine:greet\n")
    ran = toolchat("tools", "list", "--tools", "mine.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "greet" in ran.out
    assert "Greet a person." in ran.out
    assert "get_current_weather" not in ran.out


def test_models_list_names_the_demo_model_and_that_it_is_not_here_yet(toolchat: Program) -> None:
    ran = toolchat("models", "list")
    assert (ran.code, ran.err) == (0, "")
    (row,) = [row for row in ran.out.splitlines() if row.startswith("demo ")]
    assert "not here yet" in row


def test_models_path_of_what_is_not_here_says_how_to_get_it(toolchat: Program) -> None:
    assert "toolchat models pull demo" in toolchat("models", "path", "demo").refused(3)


def test_models_path_prints_a_folder_that_is_a_model(toolchat: Program, model_folder: Path) -> None:
    ran = toolchat("models", "path", str(model_folder))
    assert (ran.code, ran.out, ran.err) == (0, f"{model_folder}\n", "")


def test_removing_a_model_that_is_not_here_is_refused(toolchat: Program) -> None:
    assert "nothing of it" in toolchat("models", "remove", "demo").refused(2)


@pytest.mark.parametrize("arguments", [(), ("tools",), ("models",)])
def test_a_group_without_a_command_shows_its_help(toolchat: Program, arguments: tuple[str, ...]) -> None:
    ran = toolchat(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"Usage: {' '.join(('toolchat', *arguments))} ")
    assert "Commands:\n" in ran.err


BEFORE_THE_PROMPT = """
import sys
from toolchat.cli import repl, running, start
def prompt(*_):
    print(" ".join(sys.modules))
    return 0
running.run_async = prompt
repl.is_plain = lambda _: False
start.run(["repl", "--model", "demo"])
"""


def test_the_prompt_waits_for_no_typer_and_nothing_that_reads_tools_files_or_stored_sessions(toolchat: Program) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_PROMPT],
        cwd=toolchat.folder,
        env=toolchat.environment,
        capture_output=True,
        timeout=60,
        check=True,
        text=True,
        encoding="utf-8",
    )
    modules = set(done.stdout.split())
    assert "toolchat.cli.repl" in modules
    heavy = {
        "yaml",
        "toolchat.tools.tools_file",
        "toolchat.tools.toolbox",
        "toolchat.store.sessions",
        "sqlite3",
        "typer",
        "pydantic",
        "rich",
    }
    assert modules & heavy == set()


BEFORE_THE_QUESTION = """
import sys
from toolchat.cli import running, start
def chat(*_):
    import toolchat.session.session, toolchat.session.tools  # as opening the session does
    print(" ".join(sys.modules))
    return 0
running.run_async = chat
start.run()
"""


def test_a_question_waits_for_nothing_that_reads_command_lines_or_tools_files_or_draws(
    toolchat: Program, model_folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_QUESTION, "ask", "--model", str(model_folder), "Hello"],
        cwd=toolchat.folder,
        env=toolchat.environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
        text=True,
        encoding="utf-8",
    )
    modules = set(done.stdout.split())
    assert {"toolchat.session.session", "toolchat.ui.plain"} <= modules
    slow = {
        "typer",
        "pydantic",
        "rich",
        "yaml",
        "importlib.metadata",
        "toolchat.tools.code",
        "toolchat.tools.tools_file",
    }
    assert modules & (slow | HEAVY) == set()


def test_a_command_is_built_alone_and_help_and_completion_know_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(*arguments: str) -> set[str | None]:
        made = main._app_for(arguments)
        return {command.name for command in (*made.registered_commands, *made.registered_groups)}

    every = names("--help")
    assert {"ask", "repl", "tools", "sessions", "ps"} <= every
    assert names("--debug", "ask", "tools") == {"ask"}
    assert names("--help", "ask") == names("-h", "tools") == every
    assert names("tools", "list") == {"tools"}
    assert names() == names("bogus") == every
    monkeypatch.setenv("_TOOLCHAT_COMPLETE", "complete_bash")
    assert names("ask") == every
