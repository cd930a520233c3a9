"""After an untrusted tool has spoken in a turn, calls with effects ask, whatever file and grants allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from chat_harness import Harness
from inprocess_tools import InProcessRunner

from toolchat.chat.approval import ApprovalPolicy, Reply, decider
from toolchat.chat.calls import PendingCall
from toolchat.engine.scripted import Answer, call
from toolchat.tools.rules import Grant
from toolchat.tools.toolbox import Approval
from toolchat.ui.approval_text import pending_rows
from toolchat.wire.events import CallFinished
from toolchat.wire.messages import ResultStatus


class Grants:
    def __init__(self, *grants: Grant) -> None:
        self.grants = list(grants)

    def granted(self) -> Iterable[Grant]:
        return self.grants

    def add(self, grant: Grant) -> None:
        self.grants.append(grant)


READ = Answer(calls=[call("say", text="from the web")])
WRITE = Answer(calls=[call("add", a=1, b=2)])


@pytest.fixture
def chat(runner: InProcessRunner) -> Callable[..., tuple[Harness, list[PendingCall]]]:
    """A chat in which `say` is untrusted and allowed, and `add` has effects."""

    def make(own: Approval = Approval.ALLOW, grant: bool = False, **flags: Any) -> tuple[Harness, list[PendingCall]]:
        def changed(tool: Any) -> Any:
            if tool.name == "say":
                return replace(tool, options=replace(tool.options, untrusted=True, approval=Approval.ALLOW))
            if tool.name == "add":
                return replace(tool, options=replace(tool.options, effects=True, approval=own))
            return tool

        runner.loaded = replace(
            runner.loaded, tools=tuple(replace(one, tool=changed(one.tool)) for one in runner.loaded.tools)
        )
        runner.toolbox = runner.loaded.toolbox
        add = runner.toolbox.get("add")
        assert add is not None
        asked: list[PendingCall] = []

        async def ask(pending: PendingCall) -> Reply:
            asked.append(pending)
            return Reply(False)

        policy = ApprovalPolicy(Grants(*([Grant.of(add)] if grant else [])), **flags)
        return Harness(runner, decide=decider(policy, ask)), asked

    return make


def statuses(harness: Harness) -> list[ResultStatus]:
    return [body.result.status for body in harness.bodies(CallFinished)]


@pytest.mark.parametrize("allowed", [{"own": Approval.ALLOW}, {"own": Approval.ASK, "grant": True}])
def test_what_is_allowed_asks_after_strangers_words(chat: Callable[..., Any], allowed: dict[str, Any]) -> None:
    harness, asked = chat(**allowed)
    harness.engine.enqueue(WRITE, READ, WRITE, "Done.")
    harness.chat("go")
    assert [pending.heard for pending in asked] == ["say"]
    assert statuses(harness) == [ResultStatus.OK, ResultStatus.OK, ResultStatus.DENIED]
    text = " ".join(row for _, row in pending_rows(asked[0], {"a": 1}, 200))
    assert "say has given the model strangers' words in this turn" in text


def test_the_next_turn_begins_anew(chat: Callable[..., Any]) -> None:
    harness, asked = chat()
    harness.engine.enqueue(READ, "Read.", WRITE, "Done.")
    harness.chat("read", "write")
    assert (asked, statuses(harness)) == ([], [ResultStatus.OK, ResultStatus.OK])


def test_calls_of_the_same_round_were_not_led_by_it(chat: Callable[..., Any]) -> None:
    harness, asked = chat()
    harness.engine.enqueue(Answer(calls=[*READ.calls, *WRITE.calls]), "Done.")
    harness.chat("both")
    assert asked == []


@pytest.mark.parametrize("flags", [{"yes": True}, {"allow": ["add"]}])
def test_the_command_lines_word_counts(chat: Callable[..., Any], flags: dict[str, Any]) -> None:
    harness, asked = chat(Approval.ASK, **flags)
    harness.engine.enqueue(READ, WRITE, "Done.")
    harness.chat("go")
    assert (asked, statuses(harness)) == ([], [ResultStatus.OK, ResultStatus.OK])


def test_a_refusal_stays_one(chat: Callable[..., Any]) -> None:
    harness, asked = chat(Approval.DENY, yes=True)
    harness.engine.enqueue(READ, WRITE, "Done.")
    harness.chat("go")
    assert (asked, statuses(harness)) == ([], [ResultStatus.OK, ResultStatus.DENIED])


def test_tools_without_effects_do_not_ask(chat: Callable[..., Any]) -> None:
    harness, asked = chat()
    harness.engine.enqueue(READ, READ, "Done.")
    harness.chat("go")
    assert asked == []
