"""A tool ends its call and nothing else: see "Tools while they run" in docs/security.md."""

from __future__ import annotations

import errno
import functools
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack_bench import NOBODY, Answers, User, attack, environment, unprivileged

from toolchat.tools.host.confine import FIRST_ABI, IOCTL_ABI, SIGNAL_SCOPE_ABI, landlock_abi

pytestmark = pytest.mark.process

SECRET = {"HF_TOKEN": "hunter2", "TOOLCHAT_API_KEY": "hunter2"}
HERE = landlock_abi()
SIGNALS = ("signal", "pidfd_signal")
TRACES = ("environ", "memory", "trace", "descriptors")
needs_landlock = pytest.mark.skipif(HERE < FIRST_ABI, reason="this kernel has no Landlock")
needs_scopes = pytest.mark.skipif(HERE < SIGNAL_SCOPE_ABI, reason="this kernel's Landlock cannot scope signals")
ROOT = User((), sys.executable, 0)
USERS = ["unprivileged", *(["root"] if os.geteuid() == 0 else [])]


@functools.cache
def attacked(user: str, abi: str = "own") -> tuple[Answers, dict[str, dict[str, str]]]:
    names = ("attack", "what_the_import_got", "attack_host", "wait_for", "privileges", "ordinary_work")
    answers = attack(
        {name: {} for name in names},
        ("attack", {"pid": "CHAT"}),
        ("what_the_import_got", {}),
        ("attack_host", {}),
        ("attack_other", {}),
        ("privileges", {}),
        ("ordinary_work", {"folder": "FOLDER"}),
        user=unprivileged() if user == "unprivileged" else ROOT,
        abi=abi,
        **SECRET,
    )
    assert answers.unharmed, answers.stderr
    chat, imported, host, other, *_ = answers.results
    found = {"chat": chat, "import": imported, "host": host, "other call": other}
    return answers, {target: json.loads(got) for target, got in found.items()}


def got_through(got: dict[str, str], names: tuple[str, ...] = ()) -> dict[str, str]:
    """The attacks of these kinds that were not refused."""
    return {
        name: answer
        for name, answer in got.items()
        if not answer.startswith("refused") and (not names or name.split()[-1] in names)
    }


@needs_scopes
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("target", ["chat", "import", "host", "other call"])
def test_a_tool_can_neither_read_nor_trace_nor_signal_nor_limit_what_is_not_its_own(user: str, target: str) -> None:
    _, got = attacked(user)
    assert got[target]
    assert got_through(got[target]) == {}


@needs_landlock
@pytest.mark.parametrize("target", ["chat", "import", "host", "other call"])
def test_where_landlock_cannot_scope_signals_nothing_can_be_read_or_traced(target: str) -> None:
    _, got = attacked("unprivileged", "5")
    assert got_through(got[target], TRACES) == {}
    # Or this pretence would show nothing.
    assert set(got_through(got["chat"])) == set(SIGNALS)


@pytest.mark.parametrize("target", ["chat", "import"])
def test_without_landlock_the_chats_environment_memory_and_descriptors_stay_its_own(target: str) -> None:
    answers, got = attacked("unprivileged", "0")
    assert got_through(got[target], TRACES) == {}
    assert len(answers.notices) == 1
    assert answers.notices[0].startswith("this kernel cannot keep tools from your other processes")


@pytest.mark.parametrize("abi", ["0", "2", "5"])
def test_tools_work_as_ever_whatever_landlock_there_is(abi: str) -> None:
    if int(abi) > HERE:
        pytest.skip("this kernel has less")
    answers, _ = attacked("unprivileged", abi)
    assert answers.results[-1] == "worked"


@pytest.mark.parametrize("user", USERS)
def test_no_setuid_program_gives_a_tool_more_rights(user: str) -> None:
    answers, _ = attacked(user)
    assert answers.results[-2].split() == ["NoNewPrivs:", "1"]
    assert answers.results[-1] == "worked"
    assert answers.notices == [] or HERE < FIRST_ABI


def test_the_samples_alone_are_no_reason_for_a_notice() -> None:
    answers = attack({}, abi="0", samples=("toolchat.samples.calculator:calculate",))
    assert (answers.notices, answers.unharmed) == ([], True), answers.stderr


def test_the_engines_worker_shows_its_environment_memory_and_descriptors_to_nobody() -> None:
    ours, theirs = socket.socketpair()
    user = unprivileged()
    command = user.command("-m", "toolchat.engine.worker", f"--fd={theirs.fileno()}", f"--parent={os.getpid()}")
    # Without a domain around the tools: the worker is to protect itself.
    with (
        ours,
        theirs,
        subprocess.Popen(command, env=environment(**SECRET), pass_fds=(theirs.fileno(),)) as worker,
    ):
        try:
            theirs.close()
            # It waits for its configuration; that it is read says that it has come so far.
            ours.sendall(b"{" * 400_000)
            answers = attack({"attack": {}}, ("attack", {"pid": worker.pid}), abi="0")
            assert worker.poll() is None
        finally:
            worker.kill()
    assert answers.unharmed, answers.stderr
    assert set(got_through(json.loads(answers.results[0]))) == set(SIGNALS)


@needs_scopes
@pytest.mark.skipif(unprivileged().uid != NOBODY, reason="would end this user's session if it failed")
def test_a_signal_to_everything_reaches_nothing() -> None:
    answers = attack({"kill_everything": {}, "privileges": {}}, ("kill_everything", {}), ("privileges", {}))
    assert answers.unharmed, answers.stderr
    assert answers.results[0] == "signalled" or "No such process" in answers.results[0]


@needs_scopes
def test_an_abstract_socket_of_another_process_cannot_be_reached() -> None:
    tools: dict[str, dict[str, Any]] = {"connect": {}}
    answers = attack(tools, ("connect", {"name": "SOCKET"}))
    assert answers.unharmed, answers.stderr
    assert answers.results == ["Error: PermissionError: [Errno 1] Operation not permitted"]
    # Or the name would be wrong.
    assert attack(tools, ("connect", {"name": "SOCKET"}), abi="0").results == ["connected"]


@needs_landlock
@pytest.mark.skipif(os.access("/", os.W_OK) and unprivileged().uid == 0, reason="root may write in /, see confine.py")
def test_the_terminal_of_the_user_cannot_be_opened() -> None:
    controller, terminal = pty.openpty()
    try:
        path = os.ttyname(terminal)
        if os.geteuid() == 0:
            os.chown(path, unprivileged().uid, -1)
        answers = attack({"open_terminal": {}}, ("open_terminal", {"path": path}))
        assert attack({"open_terminal": {}}, ("open_terminal", {"path": path}), abi="0").results == ["wrote to it"]
    finally:
        os.close(terminal)
        os.close(controller)
    assert answers.unharmed, answers.stderr
    assert answers.results[0].startswith("Error: PermissionError")


@functools.cache
def at_a_terminal(user: str, **options: str) -> dict[str, dict[str, str]]:
    """What two tools got of a terminal that belongs to the user, as the chat's does."""
    who = unprivileged() if user == "unprivileged" else ROOT
    controller, terminal = pty.openpty()
    try:
        path = os.ttyname(terminal)
        if os.geteuid() == 0:
            os.chown(path, who.uid, -1)
        answers = attack(
            {"change_terminal": options, "reach_terminal": options},
            ("change_terminal", {"path": path}),
            ("reach_terminal", {"pid": "CHAT", "path": path}),
            user=who,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert answers.unharmed, answers.stderr
    change, reach = map(json.loads, answers.results)
    return {"change": change, "reach": reach}


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the filter knows these two")
@pytest.mark.parametrize("user", USERS)
def test_a_terminal_can_be_changed_by_no_system_call_however_it_was_opened(user: str) -> None:
    got = at_a_terminal(user)["change"]
    opened = {name.split()[0] for name in got if not name.endswith(" open")}
    through = {name: answer for name, answer in got_through(got).items() if not name.endswith(" open")}
    assert through == {}
    # Or something else than what is tested may have refused it.
    if opened:
        assert {got["3 TCXONC"], got["3 high_half"]} == {"refused: Operation not permitted"}
        # Landlock's own: to such a terminal not even the requests that the filter lets pass.
        by_landlock = user == "unprivileged" and HERE >= IOCTL_ABI and unprivileged().uid != 0
        assert got["3 TCSETS"] == f"refused: {'Permission denied' if by_landlock else 'Operation not permitted'}"


@pytest.mark.parametrize("user", USERS)
def test_a_tool_that_keeps_its_privileges_can_change_a_terminal(user: str) -> None:
    got = got_through(at_a_terminal(user, privileges="keep")["change"])
    assert {"3 TCXONC", "3 TCSETS", "3 TIOCSWINSZ", "3 high_half"} <= set(got)


@needs_scopes
def test_no_other_path_leads_to_the_chats_terminal() -> None:
    assert got_through(at_a_terminal("unprivileged")["reach"]) == {}


@pytest.mark.parametrize("user", USERS)
def test_what_does_not_change_a_terminal_goes_on_working_on_ones_own(user: str) -> None:
    tools: dict[str, dict[str, Any]] = {"look_at_terminal": {}, "set_own_terminal": {}}
    calls = (("look_at_terminal", {}), ("set_own_terminal", {}))
    who = unprivileged() if user == "unprivileged" else ROOT
    # On these kernels terminals of one's own can be opened, and only the filter is there.
    answers = attack(tools, *calls, user=who, abi="0")
    assert answers.unharmed, answers.stderr
    assert answers.results[0] == "looked at 8 bytes"
    assert answers.results[1].startswith("Error: error: (1, 'Operation not permitted')")
    assert answers.results[1].endswith("a tool that sets a terminal needs privileges: keep in the tools file")
    kept = {name: {"privileges": "keep"} for name in tools}
    assert attack(kept, *calls, user=who).results == ["looked at 8 bytes", "set it"]


@pytest.mark.skipif(unprivileged().uid != NOBODY, reason="root may write any of them")
@pytest.mark.parametrize("abi", ["own", "0"])
def test_the_kernel_takes_no_orders_about_the_chat_or_the_guardian_by_files_under_proc(abi: str) -> None:
    answers = attack({"open_knobs": {}}, ("open_knobs", {"chat": "CHAT"}), abi=abi)
    assert answers.unharmed, answers.stderr
    through = got_through(json.loads(answers.results[0]))
    # What docs/security.md does not promise, and what shows that the files could be opened at all.
    assert "host oom_score_adj" in through
    assert {name.split()[0] for name in through} == {"host"}


def test_no_ring_can_be_made_that_holds_files_out_of_sight() -> None:
    answers = attack({"use_io_uring": {}}, ("use_io_uring", {}))
    assert answers.results == ["Error: PermissionError: [Errno 1] Operation not permitted"]


@pytest.mark.parametrize("call", ["add_key", "request_key", "keyctl"])
def test_no_keyring_of_the_kernels_can_be_used(call: str) -> None:
    # As a control, it is not permission that is missing outside.
    code = f"import attacking_tools; print(attacking_tools.reach({call!r}))"
    outside = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert outside.stdout.strip() != os.strerror(errno.EPERM)
    answers = attack({"reach": {}}, ("reach", {"call": call}))
    assert answers.results == [os.strerror(errno.EPERM)]


def test_no_secret_memory_can_be_made_that_nobody_counts() -> None:
    answers = attack({"reach": {}}, ("reach", {"call": "memfd_secret"}))
    assert answers.results == [os.strerror(errno.EPERM)]


def test_a_call_has_no_descriptor_of_the_hosts() -> None:
    answers = attack({"descriptors": {}}, ("descriptors", {}))
    assert answers.unharmed, answers.stderr
    found = json.loads(answers.results[0])
    # What it prints into, what its result goes through, and where it reads from.
    assert sorted(path.partition(":")[0] for path in found) == ["/dev/null", "pipe", "socket"]


@pytest.fixture
def control_group() -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A group that the user without rights may kill, with a process in it, as a login session has."""
    above = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").exists() else "/sys/fs/cgroup")
    folder = above / f"toolchat-test-{os.getpid()}"
    if os.geteuid() != 0 or not (above / "cgroup.procs").exists():
        pytest.skip("takes root and version 2 of control groups")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("control groups cannot be made here")
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            (folder / "cgroup.procs").write_text(str(process.pid))
            os.chown(folder / "cgroup.kill", unprivileged().uid, -1)
            yield folder, process
        finally:
            process.kill()
            process.wait()
            folder.rmdir()


@needs_landlock
@pytest.mark.skipif(unprivileged().uid != NOBODY, reason="root may write in /, see confine.py")
def test_the_control_group_of_the_users_session_cannot_be_killed(
    control_group: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    folder, process = control_group
    tools: dict[str, dict[str, Any]] = {"end_group": {}}
    answers = attack(tools, ("end_group", {"folder": str(folder)}))
    assert answers.unharmed, answers.stderr
    assert answers.results[0].startswith("Error: PermissionError")
    assert process.poll() is None
    assert attack(tools, ("end_group", {"folder": str(folder)}), abi="0").results == ["killed"]
    assert process.wait(10) < 0


def test_a_tool_that_keeps_its_privileges_does_not_share_them_with_others() -> None:
    tools: dict[str, dict[str, Any]] = {
        "attack": {"privileges": "keep"},
        "privileges": {"privileges": "keep", "name": "kept"},
        "what_the_import_got": {},
        "attack_host": {},
    }
    answers = attack(
        tools, ("attack", {"pid": "CHAT"}), ("kept", {}), ("what_the_import_got", {}), ("attack_host", {}), **SECRET
    )
    assert answers.unharmed, answers.stderr
    keeping, kept, imported, host = answers.results
    assert kept.split() == ["NoNewPrivs:", "0"]
    assert set(got_through(json.loads(keeping))) == {*SIGNALS, "limit"}
    if HERE >= SIGNAL_SCOPE_ABI:
        assert got_through(json.loads(imported)) == got_through(json.loads(host)) == {}
