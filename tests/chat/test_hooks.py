from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchat.chat.approval import ApprovalPolicy, Decision, PendingCall, Reply, decider
from toolchat.chat.hooks import Hooks
from toolchat.engine.scripted import Answer, call
from toolchat.wire import events
from toolchat.wire.messages import CallOrigin, ResultStatus, ToolMessage

pytestmark = pytest.mark.process
Make = Callable[..., Any]


def says(answer: Any, then: str = "") -> tuple[str, ...]:
    """A command that reads what it is told and answers with this."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return ("sh", "-c", f'cat > /dev/null; printf %s "$1"; {then}', "hook", text)


def played(make_harness: Make, hooks: Hooks, decide: Any = None, **arguments: Any) -> Any:
    harness = make_harness(hooks=hooks, **({"decide": decide} if decide else {}))
    harness.engine.enqueue(Answer(calls=[call("add", **(arguments or {"a": 2, "b": 3}))]), "done")
    asyncio.run(harness.ask("go"))
    return harness


def result(harness: Any) -> str:
    (content,) = [one.content for one in harness.conversation.messages if isinstance(one, ToolMessage)]
    assert isinstance(content, str)
    return content


def finished(harness: Any) -> Any:
    return harness.bodies(events.CallFinished)[0].result


def notices(harness: Any) -> str:
    return "\n".join(body.text for body in harness.bodies(events.Notice))


def test_a_hook_is_told_the_call_and_its_result(make_harness: Make, tmp_path: Path) -> None:
    keep = ("sh", "-c", 'cat > "$1"; echo "{}"', "hook")
    hooks = Hooks((*keep, str(tmp_path / "before")), (*keep, str(tmp_path / "after")), folder=tmp_path)
    assert result(played(make_harness, hooks, a="2", b=3)) == "5"
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("before", "after"))
    about = {"version": 1, "tool": "add", "arguments": {"a": 2, "b": 3}, "folder": str(Path.cwd())}
    assert about.items() <= before.items()
    assert before["event"] == "before_tool"
    assert (about | {"event": "after_tool", "result": "5", "status": "ok", "images": 0}).items() <= after.items()


def test_what_a_hook_denies_is_neither_asked_about_nor_run(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        raise AssertionError("asked")

    harness = played(make_harness, Hooks(says({"decision": "deny", "reason": "not today"})), decide)
    assert result(harness) == "Error: this call was not run: not today"
    assert not harness.bodies(events.CallStarted)
    assert finished(harness).status is ResultStatus.DENIED
    assert len(harness.runner.discarded) == 1


def test_the_user_is_asked_about_what_a_hook_made_of_the_arguments_and_that_runs(make_harness: Make) -> None:
    seen: list[Any] = []

    async def decide(pending: PendingCall) -> Decision:
        seen.append(pending.call.arguments)
        return Decision(True)

    harness = played(make_harness, Hooks(says({"arguments": {"a": "10", "b": 1}})), decide)
    assert seen == [{"a": 10, "b": 1}]
    assert result(harness) == "11"
    (started,) = harness.bodies(events.CallStarted)
    assert (started.call.arguments, started.call.origin) == ({"a": 10, "b": 1}, CallOrigin.EDITED)
    assert finished(harness).hooks == "arguments by before_tool"


def test_arguments_of_a_hook_that_do_not_fit_run_nothing(make_harness: Make) -> None:
    harness = played(make_harness, Hooks(says({"arguments": {"a": "many"}})))
    assert "the before_tool hook gave add arguments that do not fit" in result(harness)
    assert not harness.bodies(events.CallStarted)
    assert harness.conversation.messages[1].calls[0].arguments == {"a": 2, "b": 3}


def test_a_rule_refuses_what_a_hook_made_of_the_arguments(make_harness: Make) -> None:
    # A policy sees the call as it would run: so it is with every rule and grant.
    async def never(_: PendingCall) -> Reply:
        raise AssertionError

    class Nothing:
        def granted(self) -> tuple[()]:
            return ()

        def add(self, _: Any) -> None: ...

    policy = ApprovalPolicy(Nothing(), deny=["add"])
    harness = played(make_harness, Hooks(says({"arguments": {"a": 1, "b": 1}})), decider(policy, never))
    assert not harness.bodies(events.CallStarted)


@pytest.mark.parametrize(
    ("answer", "then", "problem"),
    [
        ("", "", "answered nothing"),
        ("yes", "", "no JSON object"),
        ("[]", "", "no JSON object"),
        ("[" * 5000, "", "no JSON object"),
        ({"decision": "allow"}, "", 'neither "pass" nor "deny"'),
        ({"decision": "deny", "reason": 3}, "", "reason no text"),
        ({"verdict": "pass"}, "", "unknown key 'verdict'"),
        ({"arguments": [1]}, "", "its arguments are no object"),
        ({}, "echo because >&2; exit 3", "exit code 3: because"),
        ({}, "kill -9 $$", "signal 9"),
    ],
)
def test_a_hook_that_fails_lets_nothing_run(make_harness: Make, answer: Any, then: str, problem: str) -> None:
    harness = played(make_harness, Hooks(says(answer, then)))
    assert result(harness) == "Error: this call was not run: the user's before_tool hook failed"
    assert not harness.bodies(events.CallStarted)
    assert problem in notices(harness)


def test_a_hook_that_is_not_there_lets_nothing_run(make_harness: Make) -> None:
    harness = played(make_harness, Hooks(("/nowhere/hook",), timeout=5))
    assert not harness.bodies(events.CallStarted)
    assert "/nowhere/hook cannot be started" in notices(harness)


def test_a_hook_that_takes_too_long_is_ended_with_what_it_started_and_lets_nothing_run(
    make_harness: Make, tmp_path: Path
) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    harness = played(make_harness, Hooks(("sh", "-c", script), timeout=0.3))
    assert "did not answer within 0.3 s" in notices(harness)
    assert not harness.bodies(events.CallStarted)
    pid = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline


def test_a_process_of_a_hooks_that_has_left_its_group_holds_nothing_up(make_harness: Make, tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & wait"
    started = time.monotonic()
    harness = played(make_harness, Hooks(("sh", "-c", script), timeout=0.5))
    assert time.monotonic() - started < 20
    assert "did not answer within 0.5 s" in notices(harness)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_an_interrupt_ends_a_hook_and_the_call(make_harness: Make) -> None:
    harness = make_harness(hooks=Hooks(("sleep", "60"), timeout=60))
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "done")

    async def play() -> None:
        turn = asyncio.create_task(harness.ask("go", lambda event: stop(event)))

        def stop(event: Any) -> None:
            if isinstance(event.body, events.CallProposed):
                asyncio.get_running_loop().call_later(0.05, harness.loop.interrupt)

        await turn

    started = time.monotonic()
    asyncio.run(play())
    assert time.monotonic() - started < 10
    assert not harness.bodies(events.CallStarted)


def test_a_hook_needs_not_read_what_it_is_told(make_harness: Make) -> None:
    assert result(played(make_harness, Hooks(("echo", "{}")))) == "5"


def test_what_the_user_writes_in_the_dialog_passes_the_hook_too(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        return Decision(True, arguments={"a": 66, "b": 1})

    script = 'if grep -q 66; then echo \'{"decision": "deny", "reason": "no 66"}\'; else echo "{}"; fi'
    harness = played(make_harness, Hooks(("sh", "-c", script)), decide)
    assert result(harness) == "Error: this call was not run: no 66"
    assert not harness.bodies(events.CallStarted)


def test_a_hook_changes_nothing_that_the_user_wrote(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        return Decision(True, arguments={"a": 7, "b": 1})

    harness = played(make_harness, Hooks(says({"arguments": {"a": 1, "b": 1}})), decide)
    assert "would change the arguments that the user wrote" in result(harness)
    assert not harness.bodies(events.CallStarted)


def test_a_result_is_what_the_hook_makes_of_it(make_harness: Make) -> None:
    harness = played(make_harness, Hooks(after=says({"result": "five"})))
    assert result(harness) == "five"
    assert finished(harness).hooks == "result by after_tool"


def test_a_denied_result_is_withheld_from_the_model_and_the_record(make_harness: Make) -> None:
    harness = played(make_harness, Hooks(after=says({"decision": "deny", "reason": "a secret"})), a=40000, b=2555)
    assert result(harness) == "Error: the tool ran, and its result is withheld: a secret"
    assert "42555" not in repr(harness.events)
    assert finished(harness).status is ResultStatus.ERROR


@pytest.mark.parametrize("answer", ["", {"result": 3}, {"arguments": {}}])
def test_a_failing_hook_withholds_the_result(make_harness: Make, answer: Any) -> None:
    harness = played(make_harness, Hooks(after=says(answer)), a=40000, b=2555)
    assert result(harness) == "Error: the tool ran, and its result is withheld: the user's after_tool hook failed"
    assert "the result of add was withheld: the after_tool hook failed" in notices(harness)
    assert "42555" not in repr(harness.events)


def test_a_hook_has_the_users_environment_without_toolchats_own_and_runs_in_its_folder(
    make_harness: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLCHAT_API_KEY", "sesame")
    monkeypatch.setenv("MINE", "here")
    script = "import json,os; print(json.dumps({'result': f'{os.getcwd()} {os.environ}'}))"
    harness = played(make_harness, Hooks(after=(sys.executable, "-I", "-S", "-c", script), folder=tmp_path))
    assert result(harness).startswith(f"{tmp_path} ")
    assert "'MINE': 'here'" in result(harness)
    assert "sesame" not in result(harness)
