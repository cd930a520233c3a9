"""What a call may take, alone or with all that it starts: see "Tools while they run" in docs/security.md."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attack_bench import CHAT, User, attack, environment, folder_of, unprivileged, write

pytestmark = pytest.mark.process

MIB = 1024**2
OVER = "Error: the tool went over its memory limit of 64 MiB (memory: in the tools file)"
USERS = ["unprivileged", *(["root"] if os.geteuid() == 0 else [])]
LIMITED = {"memory": "64MiB", "timeout": 30}


def test_memory_that_children_take_counts_for_the_call_that_started_them() -> None:
    answers = attack(
        {"take_by_children": LIMITED, "take": LIMITED},
        ("take_by_children", {"each": 24 * MIB, "processes": 5}),
        ("take", {"size": 10 * MIB}),
    )
    assert answers.unharmed, answers.stderr
    assert answers.results == [OVER, f"took {10 * MIB}"]


def test_memory_that_belongs_to_no_process_counts_for_the_call_that_holds_it() -> None:
    answers = attack({"take_by_memfd": LIMITED}, ("take_by_memfd", {"size": 200 * MIB}))
    assert answers.unharmed, answers.stderr
    assert answers.results == [OVER]


HIDES = "Error: the tool was ended: a process of its hides its open files, so that its memory limit cannot be kept"


def test_memory_cannot_be_hidden_by_making_a_process_undumpable() -> None:
    answers = attack({"undumpable": LIMITED}, ("undumpable", {"size": 200 * MIB}))
    assert answers.unharmed, answers.stderr
    assert answers.results == ["Error: PermissionError: [Errno 1] Operation not permitted"]


@pytest.mark.parametrize("user", USERS)
def test_a_call_whose_memory_a_program_hides_that_may_not_be_read_is_ended_with_clear_words(user: str) -> None:
    answers = attack(
        {"unreadable_program": LIMITED},
        ("unreadable_program", {"folder": "FOLDER", "size": 200 * MIB}),
        user=unprivileged() if user == "unprivileged" else User((), sys.executable, 0),
    )
    assert answers.unharmed, answers.stderr
    (answer,) = answers.results
    assert answer == OVER or answer.startswith(HIDES)
    # To who may read all files, as root may, it hides nothing.
    if user == "unprivileged" and os.geteuid() == 0 and unprivileged().uid != 0:
        assert answer.startswith(HIDES)


def test_memory_in_a_threads_own_table_of_open_files_counts() -> None:
    answers = attack({"take_in_a_thread": LIMITED}, ("take_in_a_thread", {"size": 200 * MIB}))
    assert answers.unharmed, answers.stderr
    assert answers.results == [OVER]


def test_memory_of_processes_whose_first_thread_has_ended_counts() -> None:
    answers = attack({"take_without_a_leader": LIMITED}, ("take_without_a_leader", {"each": 24 * MIB, "processes": 5}))
    assert answers.unharmed, answers.stderr
    assert answers.results == [OVER]


def test_memory_shared_with_children_counts_once() -> None:
    answers = attack({"share_with_children": LIMITED}, ("share_with_children", {"size": 40 * MIB, "processes": 6}))
    assert answers.unharmed, answers.stderr
    assert answers.results == ["shared it"]


def test_a_process_that_escapes_to_the_host_is_ended_while_the_call_goes_on() -> None:
    answers = attack({"leave_orphan": {"timeout": 30}}, ("leave_orphan", {}))
    assert answers.unharmed, answers.stderr
    assert answers.results == ["it has ended"]


def test_open_files_are_bounded_and_a_tool_cannot_raise_the_bound() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.geteuid() != 0 and hard < 8000:
        pytest.skip("this user may not open more in any case")
    answers = attack(
        {"open_files": {}, "raise_open_files": {}},
        ("open_files", {"number": 200}),
        ("raise_open_files", {"number": 7000}),
        before=("prlimit", "--nofile=1024:8000"),
    )
    assert answers.unharmed, answers.stderr
    assert answers.results[0] == "opened 200"
    assert answers.results[1].startswith("Error: ValueError: not allowed to raise maximum limit")


def test_a_hard_limit_of_the_users_own_is_used_and_is_no_obstacle() -> None:
    given = 1500 * MIB
    answers = attack(
        {"take": {"memory": "4GiB"}, "privileges": {}},
        ("take", {"size": 100 * MIB}),
        ("take", {"size": 3000 * MIB}),
        before=("prlimit", f"--as={given}:{given}"),
    )
    assert answers.unharmed, answers.stderr
    assert answers.results[0] == f"took {100 * MIB}"
    # Its own limit less what the process has: the number is not the file's.
    words = answers.results[1].split()
    assert " ".join(words[:8]) == "Error: the tool went over its memory limit"
    assert 0 < int(words[9]) < given // MIB


@pytest.fixture
def chat() -> Iterator[subprocess.Popen[str]]:
    """A chat in which a call has left a daemon without a trace of where it is from, and goes on."""
    user = unprivileged()
    with folder_of(user) as folder:
        path = write(folder, user, {"leave_daemon_and_hang": {}})
        call = json.dumps(["leave_daemon_and_hang", {"seconds": SECONDS}])
        with subprocess.Popen(
            user.command(str(CHAT), str(path), "own", call), env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert eventually((folder / "left").exists)
            assert eventually(lambda: bool(daemons()))
            yield process
            with suppress(ProcessLookupError):
                process.kill()
        assert eventually(lambda: not daemons())


SECONDS = f"299.{os.getpid()}"


def daemons() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == f"sleep\0{SECONDS}\0".encode():
                found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_survives_a_host_that_is_killed(chat: subprocess.Popen[str]) -> None:
    (guardian,) = children(chat.pid)
    (host,) = children(guardian)
    os.kill(host, signal.SIGKILL)
    assert eventually(lambda: not daemons())
    assert chat.stdout is not None
    chat.stdout.readline()  # the notices
    assert "its host process ended" in chat.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_survives_a_chat_that_is_killed(chat: subprocess.Popen[str], number: signal.Signals) -> None:
    chat.send_signal(number)
    assert eventually(lambda: not daemons())


def test_nothing_survives_a_guardian_that_is_killed(chat: subprocess.Popen[str]) -> None:
    (guardian,) = children(chat.pid)
    os.kill(guardian, signal.SIGKILL)
    assert eventually(lambda: not daemons())


def test_nothing_survives_a_host_that_is_stopped_when_the_chat_is_killed(chat: subprocess.Popen[str]) -> None:
    (guardian,) = children(chat.pid)
    (host,) = children(guardian)
    os.kill(host, signal.SIGSTOP)
    chat.kill()
    assert eventually(lambda: not daemons())


KEYS = '''
import os

KEY = os.environ["{key}"]

def {name}(other: str) -> dict[str, object]:
    """Show what this process and its memory hold."""
    import re
    from pathlib import Path
    found = []
    with open("/proc/self/mem", "rb") as memory:
        for row in Path("/proc/self/maps").read_text().splitlines():
            bounds, rights, *_ = row.split()
            if rights.startswith("rw"):
                first, last = (int(bound, 16) for bound in bounds.split("-"))
                try:
                    memory.seek(first)
                    data = memory.read(last - first)
                except (OSError, ValueError, OverflowError):
                    continue
                found += re.findall(other.encode(), data)
    return {{"own": KEY, "others": len(found), "environ": sorted(n for n in os.environ if n.endswith("_KEY"))}}
'''


def test_a_tool_finds_no_key_of_another_tool_in_its_environment_or_memory(tmp_path: Path) -> None:
    """Run here and not as another user: the modules are written to this folder."""
    rows = ["version: 1", "tools:"]
    for name in ("one", "two"):
        (tmp_path / f"has_{name}.py").write_text(KEYS.format(key=f"{name.upper()}_KEY", name=name))
        rows += [f"  - callable: has_{name}:{name}", f"    env: [{name.upper()}_KEY]"]
    (tmp_path / "tools.yaml").write_text("\n".join(rows) + "\n")
    values = {"ONE_KEY": "first-4711-secret", "TWO_KEY": "second-4712-secret"}
    # Patterns that do not match themselves: what asks must not be what is found.
    one_key, two_key = "first-4711-[s]ecret", "second-4712-[s]ecret"
    calls = [json.dumps([name, {"other": key}]) for name, key in (("one", two_key), ("two", one_key), ("one", one_key))]
    done = subprocess.run(
        [sys.executable, str(CHAT), str(tmp_path / "tools.yaml"), "own", *calls],
        env=environment(**values),
        capture_output=True,
        text=True,
        check=True,
    )
    notices, one, two, control, unharmed = (json.loads(row) for row in done.stdout.splitlines())
    assert (notices, unharmed) == ([], "unharmed")
    one, two, control = map(json.loads, (one, two, control))
    assert (one["own"], one["environ"]) == (values["ONE_KEY"], ["ONE_KEY"])
    assert (two["own"], two["environ"]) == (values["TWO_KEY"], ["TWO_KEY"])
    assert control["others"] > 0  # or the search would be broken
    assert (one["others"], two["others"]) == (0, 0)
