from __future__ import annotations

import asyncio
import base64
import os
import re
from pathlib import Path

import pytest
from fake_chat import ADD, WEATHER, FakeChat, tool, with_tools
from image_files import image_file
from rich.cells import cell_len

from toolchat.engine.base import EngineInfo
from toolchat.models.choice import LocalModel
from toolchat.settings import SETTINGS
from toolchat.tools.toolbox import Approval
from toolchat.ui.commands.base import Outcome
from toolchat.ui.commands.registry import COMMANDS, KEYS, Commands
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.messages import Image, ResultStatus, ToolResult, UserMessage

MODELS = [
    LocalModel("demo", None, "built in"),
    LocalModel("mistralai/Ministral-3", Path("/models/m"), "Hugging Face"),
]
EVIL = "\x1b]52;c;b3duZWQ=\x07\u202e"


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat()


class Typed:
    """What the commands come to when they are typed."""

    def __init__(self, chat: FakeChat) -> None:
        self.width = 80
        self.commands = Commands(chat, width=lambda: self.width, models=lambda: MODELS)

    def __call__(self, line: str) -> Outcome:
        return asyncio.run(self.commands.run(line))

    def says(self, line: str) -> list[str]:
        return rows(self(line))


def rows(outcome: Outcome) -> list[str]:
    return [line.plain for line in outcome.lines]


@pytest.fixture
def typed(chat: FakeChat) -> Typed:
    return Typed(chat)


def test_help_has_a_row_for_each_command_and_key(typed: Typed) -> None:
    said = typed.says("/help")
    assert len(said) == len(COMMANDS) + len(KEYS)
    assert said[0].split(maxsplit=1) == ["/help", "list commands and keys"]
    assert any(row.startswith("/tool NAME [on|off]  ") for row in said)


def test_help_is_compact_in_forty_columns(typed: Typed) -> None:
    typed.width = 40
    said = typed.says("/help")
    assert len(said) == len(COMMANDS) + len(KEYS)
    assert max(map(cell_len, said)) < 40


@pytest.mark.parametrize(
    ("line", "meant"),
    [("/hlep", "/help"), ("/tols", "/tools"), ("/toosl", "/tools"), ("/models", "/model"), ("/unod", "/undo")],
)
def test_an_unknown_command_suggests_the_nearest_and_gives_the_line_back(typed: Typed, line: str, meant: str) -> None:
    outcome = typed(f"{line} it")
    assert f"did you mean {meant}?" in rows(outcome)[0]
    assert (outcome.put, outcome.ask, outcome.quit) == (f"{line} it", None, False)


@pytest.mark.parametrize("line", ["/foo", "/unod"])
def test_a_bare_unknown_command_does_not_stand_before_what_is_typed_next(typed: Typed, line: str) -> None:
    outcome = typed(line)
    assert f"There is no command {line};" in rows(outcome)[0]
    assert outcome.put is None


def test_a_pasted_path_comes_back_ready_to_be_asked(typed: Typed) -> None:
    outcome = typed("/etc/hosts is what?\nTell me.")
    assert "There is no command /etc/hosts;" in rows(outcome)[0]
    assert outcome.put == " /etc/hosts is what?\nTell me."


def test_an_unknown_name_is_shown_short_and_safe(typed: Typed) -> None:
    (row,) = typed.says(f"/x{EVIL}{'y' * 500}")
    assert len(row) < 200
    assert "\x1b" not in row
    assert "\u202e" not in row


@pytest.mark.parametrize("line", ["/HELP", "/Help"])
def test_the_case_of_a_command_does_not_matter(typed: Typed, line: str) -> None:
    assert typed.says(line) == typed.says("/help")


@pytest.mark.parametrize("line", ["/quit", "/exit", "/bye", "/q"])
def test_quit_leaves_by_the_names_it_has_elsewhere_too(typed: Typed, line: str) -> None:
    assert typed(line) == Outcome(quit=True)


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.takes], ids=lambda item: item.name)
def test_what_takes_nothing_does_nothing_with_an_argument_and_gives_the_line_back(
    typed: Typed, chat: FakeChat, command: object
) -> None:
    chat.questions = [UserMessage("first")]
    line = f"/{command.name} me with this"  # type: ignore[attr-defined]  # a Command
    outcome = typed(line)
    assert "and nothing after it" in rows(outcome)[0]
    assert (outcome.put, outcome.ask, outcome.quit) == (line, None, False)
    assert chat.turns == 1


WAITING = ["/reload", "/undo", "/retry", "/clear", "/model demo", "/system Be brief.", "/set seed 3"]
WAITING += ["/save", "/resume", "/fork", "/export", "/branch", "/compact", "/summary", "/keep", "/trim", "/image"]


@pytest.mark.parametrize("line", WAITING)
def test_what_a_turn_stands_on_changes_between_turns_only(typed: Typed, line: str) -> None:
    assert not typed.commands.at_once(line)


def test_everything_else_may_be_said_during_a_turn(typed: Typed) -> None:
    others = [f"/{command.name}" for command in COMMANDS if f"/{command.name}" not in WAITING]
    assert {"/help", "/model", "/system", "/tool", "/quit"} < set(others)
    assert all(map(typed.commands.at_once, [*others, "/tool add off", "/nonsense"]))


def test_tools_are_listed_with_state_approval_and_description(typed: Typed, chat: FakeChat) -> None:
    chat.switch("delete_file", False)
    assert typed.says("/tools") == [
        "on  allow get_current_weather  Get the weather.",
        "off deny  delete_file          Delete a file.",
        "on  ask   add                  Add two numbers.",
        "3 tools in tools.yaml",
    ]


def test_tools_are_listed_with_what_becomes_of_their_calls_and_not_only_what_the_file_says(
    typed: Typed, chat: FakeChat
) -> None:
    chat.approvals = {"add": Approval.ALLOW, "get_current_weather": Approval.DENY}
    assert [row.split()[1:3] for row in typed.says("/tools")[:3]] == [
        ["deny", "get_current_weather"],
        ["deny", "delete_file"],
        ["allow", "add"],
    ]


def test_tools_fit_a_row_each_at_any_width(typed: Typed, chat: FakeChat) -> None:
    chat.toolbox = with_tools(chat.toolbox, WEATHER, tool("wide", "界" * 200))
    for typed.width in (40, 60, 80, 200):
        said = typed.says("/tools")
        assert len(said) == 3
        assert max(map(cell_len, said)) < typed.width


def test_no_tools_is_said(typed: Typed, chat: FakeChat) -> None:
    chat.toolbox = with_tools(chat.toolbox)
    assert typed.says("/tools") == ["There are no tools; --tools FILE brings some."]


def test_a_tool_is_switched_off_and_on(typed: Typed, chat: FakeChat) -> None:
    assert typed.says("/tool add off") == ["add is not offered to the model, from the next turn on."]
    assert chat.switched_off == {"add"}
    assert typed.says("/tool add")[-1] == "add is off; /tool add on switches it on."
    typed("/tool add on")
    assert chat.switched_off == set()
    assert typed.says("/tool add")[-1] == "add is on; /tool add off switches it off."


def test_a_tool_is_shown_as_the_model_is_told_of_it(typed: Typed, chat: FakeChat) -> None:
    chat.approvals["add"] = Approval.ALLOW
    assert typed.says("/tool add") == [
        "add()",
        "  Add two numbers.",
        "  from      mine:add, tools.yaml:1:1",
        "  calls     allow, at most 60 s, at most 2 GiB",
        "  tokens    42 of every prompt, by demo (tokenizer v13)",
        "  grammar   holds every call to all of this (llguidance)",
        "Parameters, as the model is given them:",
        '  {"type": "object"}',
        "add is on; /tool add off switches it off.",
    ]


def test_without_a_model_a_tools_tokens_are_said_to_be_estimated(typed: Typed, chat: FakeChat) -> None:
    chat.info = None
    chat.room.counts = False
    (row,) = (row for row in typed.says("/tool add") if row.startswith("  tokens "))
    assert re.fullmatch(r"  tokens    about \d+ of every prompt, estimated: no model is loaded that could count", row)


def test_a_model_without_grammars_is_not_said_to_have_one(typed: Typed, chat: FakeChat) -> None:
    chat.info = EngineInfo("demo", 2048, 13, constrains_calls=False)
    assert "  grammar   none here: calls are checked when they are made" in typed.says("/tool add")


@pytest.mark.parametrize("line", ["/tool", "/tool add maybe", "/tool add off now"])
def test_how_a_tool_is_switched_is_said_where_it_is_said_wrong(typed: Typed, chat: FakeChat, line: str) -> None:
    outcome = typed(line)
    assert rows(outcome) == ["toolchat: expected /tool NAME, /tool NAME on, or /tool NAME off"]
    assert outcome.put == line
    assert chat.switched_off == set()


@pytest.mark.parametrize("line", ["/tool nothing off", "/tool nothing"])
def test_a_tool_that_there_is_not_is_the_chats_own_error(typed: Typed, line: str) -> None:
    outcome = typed(line)
    assert rows(outcome) == ["toolchat: there is no tool nothing"]
    assert outcome.put == line


def test_reload_says_what_is_new_gone_and_begun_anew(typed: Typed, chat: FakeChat) -> None:
    chat.reloaded = with_tools(chat.toolbox, ADD, tool("remember", stateful=True))
    assert typed.says("/reload") == [
        "2 tools read again from tools.yaml.",
        "New: remember.",
        "Gone: delete_file, get_current_weather.",
        "Begun anew, without what was kept: remember.",
    ]


def test_reload_says_every_problem_of_the_file_in_a_row_of_its_own(typed: Typed, chat: FakeChat) -> None:
    chat.refuses = UsageError(f"tools.yaml:1:1: first\ntools.yaml:2:1: second{EVIL}")
    outcome = typed("/reload")
    assert [row.split(":")[-1] for row in rows(outcome)] == [" first", " second␛]52;c;b3duZWQ=␇<U+202E>"]
    assert outcome.put is None


def test_models_are_listed_and_the_current_one_marked(typed: Typed) -> None:
    *listed, hint = typed.says("/model")
    assert listed == ["● demo  built in, not made yet", "  mistralai/Ministral-3  Hugging Face"]
    assert hint.startswith("/model NAME loads another")


def test_a_current_model_that_is_a_folder_is_listed_too(typed: Typed, chat: FakeChat, tmp_path: Path) -> None:
    chat.model = str(tmp_path)
    assert f"● {tmp_path}  a folder" in typed.says("/model")


def test_a_model_is_changed_and_its_name_may_hold_spaces(typed: Typed, chat: FakeChat) -> None:
    assert typed.says("/model ./my model") == ["./my model is loading; the conversation is kept."]
    assert chat.model == "./my model"


def test_the_model_in_use_is_not_loaded_again_unless_it_is_down(typed: Typed, chat: FakeChat) -> None:
    assert typed.says("/model demo") == ["demo is loaded already."]
    chat.kill()
    assert typed.says("/model demo") == ["demo is loading; the conversation is kept."]


def test_a_wrong_model_is_told_in_the_words_of_the_chat(typed: Typed, chat: FakeChat) -> None:
    chat.refuses = UsageError("--model nothing: expected demo")
    outcome = typed("/model nothing")
    assert rows(outcome) == ["toolchat: /model nothing: expected demo"]
    assert outcome.put == "/model nothing"
    chat.refuses = EngineError("owner/name: there is no such model")
    assert typed.says("/model owner/name") == ["toolchat: owner/name: there is no such model"]


def test_the_system_prompt_is_shown_set_and_removed(typed: Typed, chat: FakeChat) -> None:
    assert typed.says("/system") == ["There is no system prompt; /system TEXT sets one."]
    typed("/system Be brief.\n  Be kind.")
    assert chat.system == "Be brief.\n  Be kind."
    assert typed.says("/system") == ["Be brief.\n  Be kind.", "/system none removes it."]
    typed("/system None")
    assert chat.system is None
    assert typed.says("/system none") == ["There is no system prompt."]


def test_a_long_system_prompt_that_begins_like_a_path_is_a_text(typed: Typed, chat: FakeChat) -> None:
    text = f"/no_think You are {'very ' * 100}brief."
    typed(f"/system {text}")
    assert chat.system == text


def test_a_system_prompt_is_shown_safely(typed: Typed, chat: FakeChat) -> None:
    chat.system = f"Be {EVIL}."
    assert typed.says("/system")[0] == "Be ␛]52;c;b3duZWQ=␇<U+202E>."


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a prompt in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pirate.txt").write_bytes("\ufeffBe a pirate.\r\nArr.\n".encode())
    (tmp_path / "a b").write_text("Be two.")
    return tmp_path


@pytest.mark.parametrize("path", ["pirate.txt", "./pirate.txt", "{here}/pirate.txt"])
def test_a_system_prompt_is_read_from_a_file(typed: Typed, chat: FakeChat, prompts: Path, path: str) -> None:
    path = path.format(here=prompts)
    said = typed.says(f"/system {path}")
    assert said == [f"The system prompt is that of {path} (17 characters), from the next turn on."]
    assert chat.system == "Be a pirate.\nArr."


def test_a_file_whose_path_holds_spaces_is_one_too(typed: Typed, chat: FakeChat, prompts: Path) -> None:
    typed("/system ./a b")
    assert chat.system == "Be two."


@pytest.mark.parametrize("text", ["Be brief.", "/etc is a folder of settings", "a\npirate.txt", "pirate", "Read a.md"])
def test_a_text_is_no_file(typed: Typed, chat: FakeChat, prompts: Path, text: str) -> None:
    (prompts / "pirate").write_text("x")
    typed(f"/system {text}")
    assert chat.system == text


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.txt", None, "none.txt: cannot be read (No such file or directory); a text that looks like a path goes"),
        ("bad.txt", b"a\xff", "bad.txt: expected text in UTF-8 (byte 1 is none)"),
        ("empty.txt", b" \n", "empty.txt: is empty; `none` removes the system prompt"),
        ("big.txt", b"x" * 65537, "big.txt: is larger than 64 KiB"),
    ],
)
def test_a_file_that_is_no_system_prompt_is_one_line(
    typed: Typed, chat: FakeChat, prompts: Path, name: str, content: bytes | None, line: str
) -> None:
    if content is not None:
        (prompts / name).write_bytes(content)
    outcome = typed(f"/system {name}")
    assert rows(outcome)[0].startswith(f"toolchat: {line}")
    assert (len(outcome.lines), outcome.put, chat.system) == (1, f"/system {name}", None)


def test_a_pipe_is_not_waited_for_as_a_system_prompt(typed: Typed, prompts: Path) -> None:
    os.mkfifo(prompts / "pipe.txt")
    assert typed.says("/system pipe.txt") == [
        "toolchat: pipe.txt: is a pipe; expected a file; remove it, or move it away"
    ]


def test_what_a_turn_can_change_is_shown_with_its_values(typed: Typed, chat: FakeChat) -> None:
    chat.changed = {"temperature": 0.3, "parallel_calls": False}
    said = [row.split(maxsplit=1) for row in typed.says("/set")[:-1]]
    assert said == [
        ["max_tokens", "8192"],
        ["temperature", "0.3"],
        ["top_p", "the model's own"],
        ["seed", "none"],
        ["reasoning_effort", "the model's own"],
        ["tool_choice", "auto"],
        ["parallel_calls", "false"],
        ["compact", "ask"],
    ]
    assert typed.says("/set temperature") == ["temperature       0.3"]


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("/set temperature 0.3", {"temperature": 0.3}),
        ("/set top-p 0.9", {"top_p": 0.9}),
        ("/set MAX_TOKENS 100", {"max_tokens": 100}),
        ("/set tool_choice add", {"tool_choice": "add"}),
        ("/set parallel_calls off", {"parallel_calls": False}),
        ("/set seed  7", {"seed": 7}),
        ("/set reasoning_effort high", {"reasoning_effort": "high"}),
    ],
)
def test_a_setting_is_changed_and_taken_back(
    typed: Typed, chat: FakeChat, line: str, changed: dict[str, object]
) -> None:
    assert typed.says(line)[0].endswith(", from the next turn on.")
    assert chat.changed == changed
    typed(f"/set {next(iter(changed))} default")
    assert chat.changed == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/set temperature hot", "/set temperature: expected a number from 0 to 5, not 'hot'"),
        ("/set max_tokens 0", "/set max_tokens: expected a whole number, at least 1, not '0'"),
        ("/set model demo", "/set model: expected one of max_tokens, temperature, top_p,"),
        ("/set parallel_calls maybe", "/set parallel_calls: expected true or false, not 'maybe'"),
    ],
)
def test_a_wrong_value_is_one_line_and_comes_back(typed: Typed, chat: FakeChat, line: str, message: str) -> None:
    outcome = typed(line)
    assert rows(outcome)[0].startswith(f"toolchat: {message}")
    assert (len(outcome.lines), outcome.put, chat.changed) == (1, line, {})


def test_what_the_chat_refuses_to_set_is_told_in_the_words_of_the_chat(typed: Typed, chat: FakeChat) -> None:
    chat.refuses = UsageError("--tool-choice nope: there is no such tool")
    assert typed.says("/set tool_choice nope") == ["toolchat: /set tool_choice nope: there is no such tool"]


IMAGE = Image("image/png", "", 640, 480)


def test_undo_gives_the_question_back_to_be_edited(typed: Typed, chat: FakeChat) -> None:
    chat.questions = [UserMessage("first"), UserMessage("second\nline", (IMAGE,))]
    outcome = typed("/undo")
    assert (outcome.put, outcome.images, outcome.ask) == ("second\nline", (IMAGE,), None)
    assert chat.turns == 1


def test_a_question_that_looks_like_a_command_comes_back_as_a_question(typed: Typed, chat: FakeChat) -> None:
    chat.questions = [UserMessage("/help me")]
    assert typed("/undo").put == " /help me"


def test_retry_asks_the_last_question_again_with_its_images(typed: Typed, chat: FakeChat) -> None:
    chat.questions = [UserMessage("/first", (IMAGE,))]
    outcome = typed("/retry")
    assert (outcome.ask, outcome.images) == ("/first", (IMAGE,))
    assert rows(outcome) == ["/branch 1 goes back to the answer before."]
    assert chat.turns == 0


def test_retry_goes_on_behind_the_results_that_are_there(typed: Typed, chat: FakeChat) -> None:
    chat.questions = [UserMessage("Write to Ada.")]
    chat.can_retry_round = True
    outcome = typed("/retry")
    assert (outcome.retry_round, outcome.ask, chat.turns) == (True, None, 1)
    assert rows(outcome) == ["The calls of this turn are not made again."]


@pytest.mark.parametrize("line", ["/undo", "/retry"])
def test_nothing_to_take_back_is_said(typed: Typed, line: str) -> None:
    outcome = typed(line)
    assert rows(outcome) == ["There is no turn to take back."]
    assert (outcome.put, outcome.ask) == (None, None)


def test_clear_says_how_many_turns_are_forgotten(typed: Typed, chat: FakeChat) -> None:
    chat.questions = [UserMessage("first"), UserMessage("second")]
    assert typed.says("/clear") == ["2 turns are forgotten; the record keeps all."]
    assert chat.turns == 0
    assert typed.says("/clear") == ["There is nothing to forget."]


def test_last_shows_every_result_in_full_and_safe(typed: Typed, chat: FakeChat) -> None:
    many = "\n".join(f"line {number}" for number in range(100))
    chat.last_results = [
        ToolResult("abcdefghi", "add", many, seconds=0.25),
        ToolResult("bcdefghij", "plot", f"no {EVIL}", ResultStatus.TIMEOUT, 60.0, (IMAGE,)),
    ]
    said = typed.says("/last")
    assert said[0] == "✓ add (0.2 s)"
    assert said[1:101] == [f"  line {number}" for number in range(100)]
    assert said[101:] == [
        "✗ plot (timeout, 60.0 s)",
        "  no ␛]52;c;b3duZWQ=␇<U+202E>",
        "  [image: PNG 640×480, 0 bytes; not kept]",
    ]


def test_last_without_calls_says_so(typed: Typed) -> None:
    assert typed.says("/last") == ["No tool has been called yet."]


def sent_to_clipboard(outcome: Outcome) -> str:
    match = re.fullmatch(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", outcome.write)
    assert match is not None
    return base64.b64decode(match[1]).decode()


@pytest.fixture
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)


def test_copy_sends_the_answer_to_the_clipboard_and_says_how_much(
    typed: Typed, chat: FakeChat, plain_terminal: None
) -> None:
    chat.last_answer = "Grüße\n\tund mehr 👋"
    outcome = typed("/copy")
    assert sent_to_clipboard(outcome) == chat.last_answer
    assert rows(outcome) == ["Sent 17 characters to the terminal's clipboard (OSC 52)."]


def test_what_is_copied_holds_no_control_characters(typed: Typed, chat: FakeChat) -> None:
    chat.last_answer = "safe\x1b[201~\r\nrm -rf\x07\x9b"
    assert sent_to_clipboard(typed("/copy")) == "safe[201~\nrm -rf"


@pytest.mark.parametrize(
    ("variable", "said"),
    [("TMUX", "tmux passes it on with: set -g set-clipboard on"), ("STY", "GNU screen does not pass it on.")],
)
def test_copy_says_what_a_multiplexer_needs(
    typed: Typed, chat: FakeChat, plain_terminal: None, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "x")
    chat.last_answer = "answer"
    assert typed.says("/copy")[1:] == [said]


def test_copy_warns_of_what_many_terminals_drop(typed: Typed, chat: FakeChat, plain_terminal: None) -> None:
    chat.last_answer = "x" * 74_995
    outcome = typed("/copy")
    assert "no more than 74,994 bytes" in rows(outcome)[1]
    assert sent_to_clipboard(outcome) == chat.last_answer


def test_copy_without_an_answer_writes_nothing(typed: Typed) -> None:
    outcome = typed("/copy")
    assert (outcome.write, rows(outcome)) == ("", ["There is no answer to copy yet."])


BLOCKS = """Do:

```python
print(1)
```

| a | b |
|---|---|
| 1 | 2 |

- in a list
  ~~~
  two
    three
  ~~~
"""


@pytest.mark.parametrize(
    ("number", "copied", "kind"),
    [(1, "print(1)", "python"), (2, "| a | b |\n|---|---|\n| 1 | 2 |", "table"), (3, "two\n  three", "code")],
)
def test_copy_with_a_number_copies_that_block(
    typed: Typed, chat: FakeChat, plain_terminal: None, number: int, copied: str, kind: str
) -> None:
    chat.last_answer = BLOCKS
    outcome = typed(f"/copy {number}")
    assert sent_to_clipboard(outcome) == copied
    assert rows(outcome) == [f"Sent {len(copied)} characters of {kind} to the terminal's clipboard (OSC 52)."]


@pytest.mark.parametrize("number", ["0", "4", "x", "-1", "1" * 5000])
def test_a_block_that_is_not_there_is_told_with_those_that_are(typed: Typed, chat: FakeChat, number: str) -> None:
    chat.last_answer = BLOCKS
    outcome = typed(f"/copy {number}")
    assert rows(outcome)[0].endswith("expected a number from 1 to 3 of code or table in the last answer")
    chat.last_answer = "no block"
    assert "the last answer has neither code nor tables" in rows(typed(f"/copy {number}"))[0]


def test_blocks_are_completed_with_their_beginnings(typed: Typed, chat: FakeChat) -> None:
    chat.last_answer = BLOCKS.replace("print", EVIL)
    offered = [(one.text, one.help) for one in typed.commands.complete("/copy ")]
    assert [text for text, _ in offered] == ["1", "2", "3"]
    assert offered[1][1] == "table: | a | b |"
    assert not any(character in help_ for _, help_ in offered for character in "\x1b\x07\u202e")


def test_thinking_is_shown_safe_and_whether_it_is_folded_is_said(typed: Typed, chat: FakeChat) -> None:
    assert typed.says("/think") == ["There was no thinking in the last answer."]
    chat.last_thinking = f"\nI wonder.\n{EVIL}\n"
    assert typed.says("/think")[0] == "I wonder."
    assert "\x1b" not in "".join(typed.says("/think"))
    assert typed("/think on").folds_thinking is False
    assert typed("/think off").folds_thinking is True
    assert typed.says("/think twice") == ["toolchat: expected /think, /think on or /think off"]


def test_an_image_goes_along_with_the_next_question(typed: Typed, chat: FakeChat, tmp_path: Path) -> None:
    assert typed.says("/image x.png")[0].startswith("toolchat: /image: the model demo cannot see images")
    chat.info = EngineInfo("sees", 2048, 13, constrains_calls=True, supports_images=True)
    assert typed.says("/image") == ["toolchat: expected /image FILE or /image URL"]
    assert "no such file" in typed.says(f"/image {tmp_path}/none.png")[0]
    (tmp_path / "a cat.png").write_bytes(image_file())
    outcome = typed(f"/image '{tmp_path}/a cat.png'")
    assert [image.source for image in outcome.attach] == [f"{tmp_path}/a cat.png"]
    assert rows(outcome)[0].endswith("a cat.png (PNG 12×7, 76 bytes) goes along.")


def test_edit_opens_an_editor_with_what_follows(typed: Typed) -> None:
    assert (typed("/edit").edit, typed("/edit Dear model,").edit) == ("", "Dear model,")


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "toolchat" / "prompts"
    folder.mkdir(parents=True)
    (folder / "pirate.md").write_text("Be a pirate.\n")
    (folder / "brief.txt").write_text("Be brief.")
    (folder / "not a name.txt").write_text("x")
    return folder


def test_a_system_prompt_has_the_name_of_its_file(typed: Typed, chat: FakeChat, named: Path) -> None:
    assert typed.says("/system")[1:] == ["/system NAME takes one of: brief, pirate."]
    assert typed.says("/system pirate") == [
        "The system prompt is that of pirate (12 characters), from the next turn on."
    ]
    assert chat.system == "Be a pirate."
    typed("/system pirates")
    assert chat.system == "pirates"
    assert [one.text for one in typed.commands.complete("/system b")] == ["brief"]


def test_a_named_system_prompt_is_a_settings_value_too(named: Path) -> None:
    parse = SETTINGS["system"].parse
    assert (parse("pirate"), parse("Be a pirate"), parse("none")) == ("Be a pirate.", "Be a pirate", "")
    (named / "broken.md").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"the system prompt in .*broken.md, but broken: expected text in UTF-8"):
        parse("broken")
