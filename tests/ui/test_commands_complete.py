from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fake_chat import FakeChat, tool, with_tools

from toolchat.engine.base import EngineInfo
from toolchat.models.choice import LocalModel
from toolchat.ui.commands.registry import COMMANDS, Commands

MODELS = [
    LocalModel("demo", Path("/models/demo"), "built in"),
    LocalModel("mistralai/Ministral-3", Path("/models/m"), "Hugging Face"),
]


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat()


@pytest.fixture
def commands(chat: FakeChat) -> Commands:
    return Commands(chat, models=lambda: MODELS)


def completed(commands: Commands, text: str) -> list[str]:
    """The lines that the completions of `text` lead to."""
    return [text[: len(text) - item.replaces] + item.text for item in commands.complete(text)]


def test_a_slash_offers_every_command_with_its_help(commands: Commands) -> None:
    offered = commands.complete("/")
    assert [item.text.strip() for item in offered] == [f"/{command.name}" for command in COMMANDS]
    assert all(item.help for item in offered)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("/un", ["/undo"]),
        ("/UN", ["/undo"]),
        ("/t", ["/tools", "/tool ", "/trim", "/think"]),
        ("/re", ["/reload", "/retry", "/resume "]),
        ("/nothing", []),
        ("", []),
        ("hello", []),
        ("what is /t", []),
        (" /t", []),
        ("//t", []),
        ("/help ", []),
        ("/nothing ", []),
    ],
)
def test_commands_complete_by_their_beginning(commands: Commands, text: str, lines: list[str]) -> None:
    assert completed(commands, text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("/tool ", ["/tool get_current_weather ", "/tool delete_file ", "/tool add "]),
        ("/tool a", ["/tool add ", "/tool get_current_weather "]),
        ("/tool weather", ["/tool get_current_weather "]),
        ("/tool d", ["/tool delete_file ", "/tool add "]),
        ("/tool add ", ["/tool add off", "/tool add on"]),
        ("/tool add o", ["/tool add off", "/tool add on"]),
        ("/tool add of", ["/tool add off"]),
        ("/tool add  of", ["/tool add  off"]),
        ("/tool nothing ", []),
    ],
)
def test_a_tool_and_its_new_state_complete(commands: Commands, text: str, lines: list[str]) -> None:
    assert completed(commands, text) == lines


def test_a_tool_that_is_off_is_offered_on_first(commands: Commands, chat: FakeChat) -> None:
    chat.switch("add", False)
    assert completed(commands, "/tool add ") == ["/tool add on", "/tool add off"]


def test_a_tool_is_explained_by_the_first_line_of_its_description_made_safe(chat: FakeChat) -> None:
    chat.toolbox = with_tools(chat.toolbox, tool("evil", "Harm\x1b[2J.\nMore."))
    (item,) = Commands(chat).complete("/tool e")
    assert item.help == "Harm␛[2J."


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("/model ", ["/model demo", "/model mistralai/Ministral-3"]),
        ("/model d", ["/model demo"]),
        ("/model ministral", ["/model mistralai/Ministral-3"]),
        ("/model nothing", []),
    ],
)
def test_the_models_of_this_machine_complete(commands: Commands, text: str, lines: list[str]) -> None:
    assert completed(commands, text) == lines


def test_the_model_in_use_is_marked(commands: Commands) -> None:
    assert [item.help for item in commands.complete("/model ")] == ["now in use", "Hugging Face"]


def test_with_a_server_its_models_complete_and_those_here_do_not(commands: Commands, chat: FakeChat) -> None:
    chat.info = EngineInfo("small", 9, 0, constrains_calls=False, server="h:80", models=("small", "large"))
    assert [(item.text, item.help) for item in commands.complete("/model ")] == [
        ("small", "now in use"),
        ("large", "h:80"),
    ]
    rows = [row.plain for row in asyncio.run(commands.run("/model")).lines]
    assert rows[-1] == "/model NAME has h:80 use another of its models."


def test_the_hubs_cache_is_not_scanned_at_every_key(chat: FakeChat) -> None:
    scans: list[None] = []
    commands = Commands(chat, models=lambda: scans.append(None) or MODELS)
    for text in ("/model ", "/model d", "/model de"):
        commands.complete(text)
    assert len(scans) == 1


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("my model", "mine/inner", ".hidden", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "my model" / "params.json").write_text("{}")
    (tmp_path / "my-file").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (".", ["./"]),
        ("./m", ["./mine/", "./my model"]),
        ("./my m", ["./my model"]),
        ("./mine/", ["./mine/inner/"]),
        ("./", ["./mine/", "./my model", "./other/"]),
        ("./.h", ["./.hidden/"]),
        ("./nothing/x", []),
    ],
)
def test_folders_complete_and_a_models_folder_is_an_end(
    commands: Commands, folders: Path, text: str, lines: list[str]
) -> None:
    assert completed(commands, f"/model {text}") == [f"/model {line}" for line in lines]


def test_the_home_folder_completes_without_being_written_out(commands: Commands, home: Path) -> None:
    (home / "models").mkdir()
    assert completed(commands, "/model ~") == ["/model ~/"]
    assert completed(commands, "/model ~/mod") == ["/model ~/models/"]
    assert completed(commands, "/model ~nobody-of-this-name/x") == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("/set te", ["/set temperature "]),
        ("/set TOP-", ["/set top_p "]),
        ("/set tool_choice r", ["/set tool_choice required"]),
        ("/set tool_choice a", ["/set tool_choice auto", "/set tool_choice add"]),
        ("/set parallel_calls ", [f"/set parallel_calls {value}" for value in ("true", "false", "default")]),
        ("/set nothing ", []),
    ],
)
def test_what_can_be_set_completes_with_its_values(commands: Commands, text: str, lines: list[str]) -> None:
    assert completed(commands, text) == lines


def test_the_efforts_of_the_model_complete(commands: Commands, chat: FakeChat) -> None:
    chat.info = EngineInfo("demo", 2048, 15, constrains_calls=True, reasoning_efforts=("none", "high"))
    assert completed(commands, "/set reasoning_effort h") == ["/set reasoning_effort high"]


def test_the_file_of_a_system_prompt_completes(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "pirate.txt").touch()
    assert completed(commands, "/system ./pr") == ["/system ./prompts/"]
    assert completed(commands, "/system ./prompts/") == ["/system ./prompts/pirate.txt"]


def test_a_system_prompt_can_be_taken_away_where_there_is_one(commands: Commands, chat: FakeChat) -> None:
    assert completed(commands, "/system ") == []
    chat.system = "Be brief."
    assert completed(commands, "/system n") == ["/system none"]
    assert completed(commands, "/system be") == []
