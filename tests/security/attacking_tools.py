"""Tools that attack the chat, their host and the other calls. Never import this in a process that matters.

Each says what it got; an attack that fails raises.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_PIDFD_GETFD = 438


def _environ(pid: int) -> str:
    return "SECRET" if b"hunter2" in Path(f"/proc/{pid}/environ").read_bytes() else "read, no secret there"


def _memory(pid: int) -> str:
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
    return "opened its memory for writing"


def _trace(pid: int) -> str:
    if _libc.ptrace(_PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0x40000000)
    _libc.ptrace(_PTRACE_DETACH, pid, None, None)
    return "traced"


def _descriptors(pid: int) -> str:
    fd = os.pidfd_open(pid)
    taken = _libc.syscall(_PIDFD_GETFD, fd, 0, 0)
    os.close(fd)
    if taken < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return f"took descriptor {taken}"


def _signal(pid: int) -> str:
    os.kill(pid, signal.SIGCONT)
    return "signalled"


def _pidfd_signal(pid: int) -> str:
    fd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(fd, signal.SIGCONT)
    finally:
        os.close(fd)
    return "signalled by pidfd"


def _limit(pid: int) -> str:
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    return "changed its limits"


ATTACKS: dict[str, Callable[[int], str]] = {
    "environ": _environ,
    "memory": _memory,
    "trace": _trace,
    "descriptors": _descriptors,
    "signal": _signal,
    "pidfd_signal": _pidfd_signal,
    "limit": _limit,
}


def _tried(attack: Callable[[int], str], pid: int) -> str:
    try:
        return attack(pid)
    except OSError as error:
        return f"refused: {error.strerror}"


def attack(pid: int) -> dict[str, str]:
    """Do to a process whatever a tool should not be able to do."""
    return {name: _tried(one, pid) for name, one in ATTACKS.items()}


AT_IMPORT = attack(int(Path(__file__).with_name("chat.pid").read_text())) if "toolchat" in sys.modules else {}


def what_the_import_got() -> dict[str, str]:
    """Show what the module could do to the chat while it was imported."""
    return AT_IMPORT


def attack_host() -> dict[str, str]:
    """Attack the parent, which runs all calls, and its parent."""
    host = os.getppid()
    above = int(Path(f"/proc/{host}/stat").read_text().rpartition(")")[2].split()[1])
    return {f"{who} {key}": got for who, pid in (("host", host), ("above", above)) for key, got in attack(pid).items()}


def wait_for(file: str) -> str:
    """Say which process this is, and wait until it is told to end."""
    Path(file).write_text(str(os.getpid()))
    while Path(file).exists():
        time.sleep(0.01)
    return "not harmed"


def kill_everything() -> str:
    """Signal every process that there is, but not this one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(-1, signal.SIGTERM)
    return "signalled"


def connect(name: str) -> str:
    """Connect to an abstract socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{name}")
    return "connected"


def open_terminal(path: str) -> str:
    """Open a terminal of somebody else's."""
    with open(path, "wb", buffering=0) as terminal:  # noqa: PTH123
        terminal.write(b"\x1b]0;mine\x07")
    return "wrote to it"


def descriptors() -> list[str]:
    """Show which descriptors of others this process has."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    return sorted(found)


def end_group(folder: str) -> str:
    """Kill whatever runs in a control group."""
    Path(folder, "cgroup.kill").write_text("1")
    return "killed"


def privileges() -> str:
    """Show whether a setuid program could give this process more rights."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(row for row in rows if row.startswith("NoNewPrivs"))


def ordinary_work(folder: str) -> str:
    """Do what tools do."""
    one, two = Path(folder) / "one", Path(folder) / "two"
    for place in (one, two):
        place.mkdir(exist_ok=True)
    (one / "file").write_text("text")
    (one / "file").rename(two / "file")
    os.link(two / "file", one / "linked")
    (one / "linked").unlink()
    with socket.socketpair()[0], socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert subprocess.run(["sh", "-c", "sleep 60 & kill $!; echo done"], capture_output=True, check=True).stdout
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    child.wait()
    Path("/dev/null").write_text("x")
    with suppress(FileNotFoundError):
        (two / "file").unlink()
    return "worked"


def take_by_children(each: int, processes: int) -> str:
    """Take memory in processes of which none takes much."""
    for _ in range(processes):
        if os.fork() == 0:
            kept = bytearray(os.urandom(4096) * (each // 4096))
            time.sleep(60)
            os._exit(len(kept) % 2)
    time.sleep(60)
    return "took it"


def take_by_memfd(size: int) -> str:
    """Take memory that belongs to no process."""
    fd = os.memfd_create("hidden")
    block = b"x" * 1_000_000
    for _ in range(size // len(block)):
        os.write(fd, block)
    time.sleep(60)
    return "took it"


def take(size: int) -> str:
    """Take memory."""
    return f"took {len(bytearray(size))}"


def open_files(number: int) -> str:
    """Open files."""
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(number)]
    return f"opened {len(kept)}"


def raise_open_files(number: int) -> str:
    """Have more files allowed, then open them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    return open_files(number - 100)


def leave_daemon(seconds: str) -> str:
    """Leave a process with no parent, no session and no environment that would tell where it is from."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.execve("/bin/sleep", ["sleep", seconds], {})
        os._exit(0)
    os.wait()
    return "left"


def leave_daemon_and_hang(seconds: str) -> str:
    """Leave it, and go on."""
    leave_daemon(seconds)
    Path(__file__).with_name("left").touch()
    time.sleep(60)
    return "rested"


def leave_orphan() -> str:
    """Have an orphan go to the host, out of sight of what counts memory, and wait for its end."""
    _libc.prctl(36, 0, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    os.close(write)
    os.wait()
    return "it has ended" if os.read(read, 1) == b"" else ""


def share_with_children(size: int, processes: int) -> str:
    """Have children that only read what is there already."""
    kept = bytearray(size)
    kept[::4096] = b"x" * len(range(0, size, 4096))
    started = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            time.sleep(1)
            os._exit(sum(kept[::4096]) % 2)
        started.append(child)
    for child in started:
        os.waitpid(child, 0)
    return "shared it"
