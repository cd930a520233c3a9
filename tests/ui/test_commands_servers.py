"""Prompts of MCP servers as commands: `/server:prompt`, with their arguments; and resources in a question."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_chat import FakeChat
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from toolchat.session.resources import with_resources
from toolchat.ui.attached import as_typed
from toolchat.ui.commands.base import Outcome
from toolchat.ui.commands.registry import Commands
from toolchat.ui.hand_over import Completions
from toolchat.wire.errors import ToolchatError

REVIEW = {
    "name": "review",
    "description": "Look at \x1b[31mcode\nand more",
    "arguments": [{"name": "what", "required": True, "description": "Which"}, {"name": "how"}],
}
PROMPTS = {
    "git:review": REVIEW,
    "git:plain": {"name": "plain"},
    "git:one": {"name": "one", "arguments": [{"name": "text", "required": True}]},
}
RESOURCES = {
    "git": {f"g://{number:03}": "" for number in range(100)},
    "long": {f"file:///somewhere/far/down/in/the/tree/{name}": "" for name in ("a.txt", "b.txt")},
    "docs": {"y://index": "All of x", "x://guide": "The \x1b[31mguide"},
}


class Prompted(FakeChat):
    def __init__(self) -> None:
        super().__init__()
        self.prompts = PROMPTS
        self.resources = RESOURCES
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def prompt(self, name: str, arguments: dict[str, str]) -> tuple[str, list[str]]:
        if arguments.get("what") == "fail":
            raise ToolchatError("the server git: no")
        self.asked.append((name, dict(arguments)))
        return f"prompt {name} {arguments}", []


@pytest.fixture
def chat() -> Prompted:
    return Prompted()


def run(chat: Any, line: str) -> Outcome:
    return asyncio.run(Commands(chat).run(line))


def completed(chat: Any, text: str) -> list[tuple[str, str]]:
    return [(found.text, found.help) for found in Commands(chat).complete(text)]


def test_a_prompt_is_asked_with_its_arguments(chat: Prompted) -> None:
    outcome = run(chat, '/git:review what="two words" how=x')
    assert chat.asked == [("git:review", {"what": "two words", "how": "x"})]
    assert outcome.ask == "prompt git:review {'what': 'two words', 'how': 'x'}"
    assert run(chat, "/git:plain").ask is not None
    assert run(chat, "/git:one all the words").ask == "prompt git:one {'text': 'all the words'}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/git:review", "what is missing; write what=value"),
        ("/git:review why=x", "why=x: expected name=value, of what, how"),
        ("/git:review 'x", "the arguments cannot be read"),
        ("/git:plain x=1", "expected name=value, of none"),
        ("/git:review what=fail", "the server git: no"),
        ("/git:nothing", "There is no command /git:nothing"),
    ],
)
def test_what_is_wrong_is_told_and_the_line_kept(chat: Prompted, line: str, told: str) -> None:
    outcome = run(chat, line)
    assert told in outcome.lines[0].plain
    assert outcome.ask is None


def test_prompts_and_their_arguments_are_completed(chat: Prompted) -> None:
    assert completed(chat, "/git:r") == [("/git:review ", "Look at ␛[31mcode")]
    assert ("/git:plain", "") in completed(chat, "/gi")
    assert completed(chat, "/git:review ") == [("what=", "Which"), ("how=", "")]
    assert completed(chat, "/git:review what=x h") == [("how=", "")]
    assert completed(chat, "/git:nothing x") == []


def test_a_prompt_waits_for_the_turn_under_way(chat: Prompted) -> None:
    assert not Commands(chat).at_once("/git:plain")
    assert Commands(chat).at_once("/git:nothing")


def test_resources_are_sent_behind_the_question() -> None:
    async def read(server: str, uri: str) -> str:
        return f"text of {server} {uri}"

    def sent(text: str, typed: str | None = None) -> str:
        return asyncio.run(with_resources(text, text if typed is None else typed, ("docs",), read))

    whole = sent("See @docs:x://1, please")
    assert whole == "See @docs:x://1, please\n\n@docs:x://1:\n```\ntext of docs x://1\n```"
    # Taken back it is the question alone: sent again it would have the resource twice.
    assert as_typed(whole) == "See @docs:x://1, please"
    assert sent("notes.txt:\n```\n@docs:x://secret\n```", "Look at this") == "notes.txt:\n```\n@docs:x://secret\n```"
    for plain in ("mail a@docs:x", "@other:x://1", "@docs", "nothing"):
        assert sent(plain) == plain


def mentioned(chat: Any, begun: str) -> list[tuple[str, str, int]]:
    return [(one.text, one.help, one.replaces) for one in Commands(chat).mentions(begun)]


def test_resources_are_completed_by_server_address_and_name(chat: Prompted) -> None:
    assert mentioned(chat, "") == [
        ("@docs:", "resources of the server", 1),
        ("@git:", "resources of the server", 1),
        ("@long:", "resources of the server", 1),
    ]
    assert mentioned(chat, "Do") == [("@docs:", "resources of the server", 3)]
    assert mentioned(chat, "docs:") == [
        ("@docs:x://guide", "The ␛[31mguide", 6),
        ("@docs:y://index", "All of x", 6),
    ]
    assert [text for text, _, _ in mentioned(chat, "docs:X")] == ["@docs:x://guide", "@docs:y://index"]
    assert [text for text, _, _ in mentioned(chat, "docs:guide")] == ["@docs:x://guide"]
    assert mentioned(chat, "nobody:") == []
    assert len(mentioned(chat, "git:")) == 50


def test_a_mention_offers_resources_first_and_replaces_what_was_typed(chat: Prompted) -> None:
    commands = Commands(chat)
    found = [*Completions(commands).get_completions(Document("see @docs:x://g"), CompleteEvent())]
    assert [(one.text, one.start_position) for one in found] == [("@docs:x://guide", -len("@docs:x://g"))]
    assert [one.display_text for one in found] == ["x://guide"]
    long = Completions(commands).get_completions(Document("@long:"), CompleteEvent())
    assert [one.display_text for one in long] == [
        "file:///some…/down/in/the/tree/a.txt",
        "file:///some…/down/in/the/tree/b.txt",
    ]
    assert [*Completions(None).get_completions(Document("see @docs:x://g"), CompleteEvent())] == []
    quoted = Completions(commands).get_completions(Document('see @"docs:x'), CompleteEvent())
    assert [one.text for one in quoted] == []
