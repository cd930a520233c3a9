"""What a server asks the user: in the dialog that decides on calls, checked, and declined where nobody is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from toolchat.chat.approval import PendingCall, Reply
from toolchat.session.tools import eliciting
from toolchat.tools.mcp.elicitation import Elicitation, Elicited, asked_for, first_answer, problem_of
from toolchat.ui.approval_lines import ask_by_lines
from toolchat.ui.approval_text import pending_rows
from toolchat.ui.dialogs import ApprovalDialog

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "description": "Yours"},
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "kind": {"enum": ["big", "small"]},
        "sure": {"type": "boolean"},
    },
    "required": ["name"],
}
ASKED = Elicitation("shop", "Which one?\n\x1b[31mred", SCHEMA)


def test_an_answer_begins_with_defaults_and_choices() -> None:
    assert first_answer(SCHEMA) == {"name": "", "size": 3}
    assert first_answer({"properties": 5}) == {}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"name": "A"}, None),
        ({"name": "A", "size": 9, "kind": "small", "sure": True}, None),
        ({}, "name is missing"),
        ({"name": ""}, "name must be at least 1 long"),
        ({"name": 5}, "name must be of the type string"),
        ({"name": "A", "size": 10}, "size must be at most 9"),
        ({"name": "A", "size": True}, "size must be of the type integer"),
        ({"name": "A", "kind": "odd"}, "kind must be one of big, small"),
        ({"name": "A", "more": 1}, "unknown more; it asks for name, size, kind, sure"),
    ],
)
def test_an_answer_is_checked(answer: dict[str, Any], problem: str | None) -> None:
    assert problem_of(SCHEMA, answer) == problem


def test_each_field_is_described() -> None:
    assert asked_for(SCHEMA)[0] == "name: string; Yours"
    assert asked_for(SCHEMA)[2] == "kind: one of big, small; may be left out"


def asked(*replies: Reply) -> tuple[Elicited, list[PendingCall]]:
    seen: list[PendingCall] = []
    queue = [*replies]

    async def ask(pending: PendingCall) -> Reply:
        seen.append(pending)
        return queue.pop(0)

    return asyncio.run(eliciting(ask)(ASKED)), seen


def test_the_users_answer_is_sent() -> None:
    answer, seen = asked(Reply(True, arguments={"name": "A", "size": 2}))
    assert answer == Elicited(True, {"name": "A", "size": 2})
    assert seen[0].elicitation == ASKED


def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    answer, seen = asked(Reply(True), Reply(True, arguments={"name": "B"}))
    assert answer == Elicited(True, {"name": "B"})
    assert len(seen) == 2


def test_a_no_declines() -> None:
    assert asked(Reply(False))[0] == Elicited(False)
    assert asked(*[Reply(True)] * 5)[0] == Elicited(False)


def pending(elicitation: Elicitation = ASKED) -> PendingCall:
    async def take(given: PendingCall) -> Reply:
        kept.append(given)
        return Reply(False)

    kept: list[PendingCall] = []
    asyncio.run(eliciting(take)(elicitation))
    return kept[0]


def test_the_dialog_says_whose_question_it_is() -> None:
    rows = [row for _, row in pending_rows(pending(), {"name": "A"}, 60)]
    assert rows[0] == "The MCP server shop, whose call is running, asks you:"
    assert "  │ ␛[31mred" in rows
    assert '  name: "A"' in rows
    assert rows[-1] == "shop is a stranger's program: give it no password."
    dialog = ApprovalDialog(pending())
    dialog.take_above(60)
    dialog.opened(0.0)
    assert [row for _, row in dialog.rows(60, 1.0)][:2] == [
        "Send this answer to the server shop?",
        "y send · e edit · n decline",
    ]
    for key in "sSaAr":
        dialog.key(key, 1.0)
        assert dialog.result is None
        dialog.opened(0.0)
    dialog.key("y", 1.0)
    assert dialog.result is not None
    assert dialog.result.allowed


def test_an_address_is_shown_and_not_opened() -> None:
    text = "\n".join(
        row for _, row in pending_rows(pending(Elicitation("s", "Log in", {}, "https://exаmple.org")), {}, 99)
    )
    assert "open this address yourself" in text
    assert "https://exаmple.org" in text
    assert "Mind the address" in text


def test_lines_ask_it_too() -> None:
    written: list[str] = []
    lines = iter(['e {"name": "Z"}', "y"])
    now = iter(range(0, 1000, 5))

    async def prompt(text: str) -> str | None:
        written.append(text)
        return next(lines)

    reply = asyncio.run(ask_by_lines(pending(), prompt, clock=lambda: float(next(now))))
    assert reply.arguments == {"name": "Z"}
    assert written[0].endswith("Send this answer to the server shop? [y sends it, e JSON another, n declines] ")
