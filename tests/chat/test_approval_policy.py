from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.chat.approval import NOBODY, ApprovalPolicy, Ask, Reply, Scope, decider
from toolchat.chat.calls import Decision, PendingCall
from toolchat.engine.scripted import call
from toolchat.tools.rules import Grant, Rule, Rules, call_of, likeness
from toolchat.tools.toolbox import Approval, Tool, Toolbox, ToolOptions
from toolchat.wire.errors import ToolchatError, UsageError

DELETE = Tool("delete", "Delete a file.", {}, "mine:delete", "delete(path: str)", "t:1:1", source_digest="d1")


class Memory:
    """Grants in a list; `full` stands for a disk that takes no more."""

    def __init__(self, *grants: Grant, full: bool = False) -> None:
        self.grants = list(grants)
        self.full = full

    def granted(self) -> Iterable[Grant]:
        return self.grants

    def add(self, grant: Grant) -> None:
        if self.full:
            raise ToolchatError("grants.json: cannot be written (no space)")
        self.grants.append(grant)


def tool(approval: Approval = Approval.ASK, name: str = "delete", digest: str = "d1") -> Tool:
    return replace(DELETE, name=name, options=ToolOptions(approval=approval), source_digest=digest)


def pending(of: Tool | None = None, **arguments: Any) -> PendingCall:
    of = of or tool()
    return PendingCall(call(of.name, **arguments), of)


@pytest.mark.parametrize(
    ("own", "flags", "judged"),
    [
        ("ask", {}, "ask"),
        ("allow", {}, "allow"),
        ("deny", {}, "deny"),
        ("ask", {"yes": True}, "allow"),
        ("deny", {"yes": True}, "deny"),
        ("ask", {"allow": ["delete"]}, "allow"),
        ("deny", {"allow": ["delete"]}, "allow"),
        ("allow", {"deny": ["delete"]}, "deny"),
        ("ask", {"deny": ["delete"], "allow": ["delete"], "yes": True}, "deny"),
        ("ask", {"allow": ["other"], "deny": ["another"]}, "ask"),
    ],
)
def test_flags_override_the_file_and_deny_overrides_all(own: str, flags: dict[str, Any], judged: str) -> None:
    assert ApprovalPolicy(Memory(), **flags).judge(pending(tool(Approval(own)))) is Approval(judged)


@given(
    own=st.sampled_from(Approval),
    yes=st.booleans(),
    allowed=st.booleans(),
    denied=st.booleans(),
    granted=st.booleans(),
)
def test_no_combination_runs_what_was_denied_or_asks_where_it_was_answered(
    own: Approval, yes: bool, allowed: bool, denied: bool, granted: bool
) -> None:
    of = tool(own)
    policy = ApprovalPolicy(
        Memory(*[Grant.of(of)] * granted),
        yes=yes,
        allow=["delete"] if allowed else [],
        deny=["delete"] if denied else [],
    )
    judged = policy.judge(pending(of))
    if denied or (own is Approval.DENY and not allowed):
        assert judged is Approval.DENY
    elif allowed or yes or granted or own is Approval.ALLOW:
        assert judged is Approval.ALLOW
    else:
        assert judged is Approval.ASK


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"allow": ["delte"]}, '--allow delte: there is no such tool; did you mean "delete"?'),
        ({"deny": ["zzz"]}, "--deny zzz: there is no such tool; the tools are delete, move"),
    ],
)
def test_a_name_that_no_tool_has_is_refused_with_the_nearest(flags: dict[str, Any], message: str) -> None:
    toolbox = Toolbox(Path(), (tool(), tool(name="move")))
    ApprovalPolicy(Memory(), allow=["delete"], deny=["move"]).check(toolbox)
    with pytest.raises(UsageError) as raised:
        ApprovalPolicy(Memory(), **flags).check(toolbox)
    assert str(raised.value) == message


def test_a_name_is_refused_where_there_are_no_tools() -> None:
    with pytest.raises(UsageError, match="there are no tools"):
        ApprovalPolicy(Memory(), allow=["delete"]).check(Toolbox(Path(), ()))


@pytest.mark.parametrize("scope", [Scope.SESSION, Scope.ALWAYS])
def test_a_grant_covers_the_tool_until_its_code_changes(scope: Scope) -> None:
    policy = ApprovalPolicy(Memory())
    assert policy.learn(pending(path="a"), Reply(True, scope)) == ""
    assert policy.judge(pending(path="b")) is Approval.ALLOW
    assert policy.judge(pending(tool(name="renamed"), path="b")) is Approval.ALLOW
    assert policy.judge(pending(tool(digest="d2"), path="a")) is Approval.ASK


@pytest.mark.parametrize("scope", [Scope.SESSION, Scope.ALWAYS])
def test_an_exact_grant_covers_equal_arguments_only(scope: Scope) -> None:
    policy = ApprovalPolicy(Memory())
    policy.learn(pending(path="a", force=1), Reply(True, scope, exact=True))
    assert policy.judge(pending(force=1, path="a")) is Approval.ALLOW
    for arguments in ({"path": "b", "force": 1}, {"path": "a"}, {"path": "a", "force": True}, {}):
        assert policy.judge(pending(**arguments)) is Approval.ASK


def test_what_holds_of_a_tool_is_what_holds_of_all_its_calls() -> None:
    policy = ApprovalPolicy(Memory())
    assert policy.standing(tool()) is Approval.ASK
    policy.learn(pending(path="a"), Reply(True, Scope.SESSION, exact=True))
    assert policy.standing(tool()) is Approval.ASK
    policy.learn(pending(path="a"), Reply(True, Scope.SESSION))
    assert policy.standing(tool()) is Approval.ALLOW
    assert policy.standing(tool(digest="d2")) is Approval.ASK


def test_only_a_grant_for_good_outlives_the_session() -> None:
    memory = Memory()
    first = ApprovalPolicy(memory)
    first.learn(pending(tool(digest="s")), Reply(True, Scope.SESSION))
    first.learn(pending(tool(digest="g")), Reply(True, Scope.ALWAYS))
    assert memory.grants == [Grant("g", None)]
    second = ApprovalPolicy(memory)
    assert second.judge(pending(tool(digest="s"))) is Approval.ASK
    assert second.judge(pending(tool(digest="g"))) is Approval.ALLOW
    memory.grants.clear()
    assert second.judge(pending(tool(digest="g"))) is Approval.ASK


@pytest.mark.parametrize("reply", [Reply(True), Reply(False), Reply(False, Scope.ALWAYS), Reply(False, Scope.SESSION)])
def test_what_is_allowed_once_or_declined_grants_nothing(reply: Reply) -> None:
    memory = Memory()
    policy = ApprovalPolicy(memory)
    policy.learn(pending(), reply)
    assert policy.judge(pending()) is Approval.ASK
    assert memory.grants == []


def test_a_grant_does_not_lift_a_denial() -> None:
    of = tool(Approval.DENY)
    assert ApprovalPolicy(Memory(Grant.of(of))).judge(pending(of)) is Approval.DENY


def test_a_grant_that_cannot_be_kept_holds_for_the_session_and_says_so() -> None:
    policy = ApprovalPolicy(Memory(full=True))
    assert "this session only: grants.json: cannot be written" in policy.learn(pending(), Reply(True, Scope.ALWAYS))
    assert policy.judge(pending()) is Approval.ALLOW


def test_a_tool_whose_code_is_unknown_is_granted_nothing() -> None:
    unknown = tool(digest="")
    policy = ApprovalPolicy(Memory(Grant("", None)))
    assert "once" in policy.learn(pending(unknown), Reply(True, Scope.SESSION))
    assert policy.judge(pending(unknown)) is Approval.ASK


def test_an_exact_grant_is_for_the_arguments_as_edited() -> None:
    policy = ApprovalPolicy(Memory())
    policy.learn(pending(path="/"), Reply(True, Scope.SESSION, exact=True, arguments={"path": "tmp"}))
    assert policy.judge(pending(path="tmp")) is Approval.ALLOW
    assert policy.judge(pending(path="/")) is Approval.ASK


def answering(*replies: Reply) -> tuple[Ask, list[PendingCall]]:
    asked: list[PendingCall] = []

    async def ask(call: PendingCall) -> Reply:
        asked.append(call)
        await asyncio.sleep(0)
        return replies[len(asked) - 1]

    return ask, asked


def decide(policy: ApprovalPolicy, ask: Ask | None, *calls: PendingCall) -> list[Decision]:
    async def play() -> list[Decision]:
        decide = decider(policy, ask)
        return list(await asyncio.gather(*(decide(item) for item in calls)))

    return asyncio.run(play())


def test_nobody_is_asked_about_what_is_already_said() -> None:
    ask, asked = answering()
    decisions = decide(ApprovalPolicy(Memory()), ask, pending(tool(Approval.ALLOW)), pending(tool(Approval.DENY)))
    assert [decision.allowed for decision in decisions] == [True, False]
    assert not decisions[1].asked
    assert asked == []


def test_without_anybody_to_ask_a_call_is_declined_and_the_model_told_why() -> None:
    (decision,) = decide(ApprovalPolicy(Memory()), None, pending())
    assert (decision.allowed, decision.asked, decision.reason) == (False, False, NOBODY)


def test_a_grant_for_one_call_covers_the_later_equal_ones_that_wait() -> None:
    ask, asked = answering(Reply(True, Scope.SESSION, exact=True), Reply(False, reason="not b"))
    calls = [pending(path="a"), pending(path="b"), pending(path="a")]
    decisions = decide(ApprovalPolicy(Memory()), ask, *calls)
    assert [decision.allowed for decision in decisions] == [True, False, True]
    assert [item.call.arguments["path"] for item in asked] == ["a", "b"]
    assert decisions[1].reason == "not b"


def test_one_question_is_asked_at_a_time() -> None:
    open_questions = 0

    async def ask(_: PendingCall) -> Reply:
        nonlocal open_questions
        open_questions += 1
        assert open_questions == 1
        await asyncio.sleep(0)  # the others have their turn
        open_questions -= 1
        return Reply(True)

    assert all(decision.allowed for decision in decide(ApprovalPolicy(Memory()), ask, *[pending()] * 3))


def test_the_arguments_of_a_declined_call_are_nobodys() -> None:
    ask, _ = answering(Reply(False, arguments={"path": "x"}), Reply(True, arguments={"path": "x"}))
    declined, allowed = decide(ApprovalPolicy(Memory()), ask, pending(), pending())
    assert declined.arguments is None
    assert allowed.arguments == {"path": "x"}


# Rules by pattern, and grants of calls that are alike.

SCHEMA = {"properties": {"path": {"type": "string"}, "note": {"type": "string"}}, "additionalProperties": False}


def ruled(approval: Approval = Approval.ASK, **patterns: str) -> Tool:
    rules = Rules(**{word: (Rule((("path", (pattern,)),)),) for word, pattern in patterns.items()})
    return replace(tool(approval), parameters=SCHEMA, options=ToolOptions(approval=approval, rules=rules))


@pytest.mark.parametrize(
    ("own", "flags", "path", "judged"),
    [
        ("ask", {}, "docs/a", "allow"),
        ("ask", {}, "else", "ask"),
        ("ask", {}, "docs/asked", "ask"),
        ("ask", {}, "docs/never", "deny"),
        ("allow", {}, "else", "allow"),
        ("allow", {}, "docs/asked", "ask"),
        ("deny", {}, "else", "deny"),
        ("deny", {}, "docs/a", "allow"),
        ("ask", {"yes": True}, "docs/asked", "allow"),
        ("ask", {"yes": True}, "docs/never", "deny"),
        ("ask", {"allow": ["delete"]}, "docs/asked", "allow"),
        ("ask", {"allow": ["delete"]}, "docs/never", "deny"),
        ("ask", {"deny": ["delete"]}, "docs/a", "deny"),
    ],
)
def test_rules_stand_between_the_flags_and_the_tools_own_word(
    own: str, flags: dict[str, Any], path: str, judged: str
) -> None:
    of = ruled(Approval(own), allow="docs/**", ask="docs/asked", deny="docs/never")
    assert ApprovalPolicy(Memory(), **flags).judge(pending(of, path=path)) is Approval(judged)


def test_what_a_rule_has_asked_about_is_granted_by_exact_arguments_only() -> None:
    of = ruled(ask="docs/**", deny="docs/never")
    policy = ApprovalPolicy(Memory(Grant.of(of)))
    assert policy.judge(pending(of, path="else")) is Approval.ALLOW
    assert policy.judge(pending(of, path="docs/a")) is Approval.ASK
    policy.learn(pending(of, path="docs/a"), Reply(True, Scope.SESSION, exact=True))
    assert policy.judge(pending(of, path="docs/a")) is Approval.ALLOW
    policy.learn(pending(of, path="docs/never"), Reply(True, Scope.SESSION, exact=True))
    assert policy.judge(pending(of, path="docs/never")) is Approval.DENY


@pytest.mark.parametrize("scope", [Scope.SESSION, Scope.ALWAYS])
def test_a_grant_of_calls_that_are_alike_holds_for_those_with_the_same_code(scope: Scope) -> None:
    of = ruled()
    memory = Memory()
    policy = ApprovalPolicy(memory)
    shown = likeness(call_of(of, {"path": "docs/a"}))
    assert shown is not None
    policy.learn(pending(of, path="docs/a"), Reply(True, scope, like=shown))
    assert bool(memory.grants) is (scope is Scope.ALWAYS)
    for path, judged in (("docs/b", "allow"), ("docs/../b", "ask"), ("docs/b/c", "ask"), ("docs/b\n", "ask")):
        assert policy.judge(pending(of, path=path)) is Approval(judged)
    assert policy.judge(pending(of, path="docs/b", note="x")) is Approval.ASK
    assert policy.judge(pending(replace(of, source_digest="changed"), path="docs/b")) is Approval.ASK
    assert policy.standing(of) is Approval.ASK
