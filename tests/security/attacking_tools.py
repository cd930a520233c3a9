"""Tools that attack the chat, their host and the other calls. Never import this in a process that matters.

Each says what it got; an attack that fails raises.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
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


def _open_as(file: str | Path, flags: int, _: int) -> str:
    return f"opened {os.open(file, flags)}"


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


# Changes of a terminal: the request, and an argument (a number, or so many bytes of a structure).
_CHANGES: dict[str, tuple[int, int | bytes]] = {
    "TCXONC": (termios.TCXONC, termios.TCOON),
    "TCSETS": (termios.TCSETS, b"restore"),
    "TCSETSW": (termios.TCSETSW, b"restore"),
    "TCSETSF": (termios.TCSETSF, b"restore"),
    "TCSETA": (termios.TCSETA, b"restore"),
    "TCSETS2": (0x402C542B, b"restore"),
    "TCFLSH": (termios.TCFLSH, termios.TCIOFLUSH),
    "TCSBRK": (termios.TCSBRK, 1),
    "TCSBRKP": (termios.TCSBRKP, 0),
    "TIOCSWINSZ": (termios.TIOCSWINSZ, struct.pack("4H", 1, 1, 0, 0)),
    "TIOCSETD": (termios.TIOCSETD, struct.pack("i", 0)),
    "TIOCEXCL": (termios.TIOCEXCL, 0),
    "TIOCNXCL": (termios.TIOCNXCL, 0),
    "TIOCSTI": (termios.TIOCSTI, b"x"),
    "TIOCSCTTY": (termios.TIOCSCTTY, 0),
}
_READS = {"TCSETS": termios.TCGETS, "TCSETSW": termios.TCGETS, "TCSETSF": termios.TCGETS, "TCSETA": termios.TCGETA}
_IOCTL = {"x86_64": 16}.get(os.uname().machine, 29)
# mov eax, edi; mov r8, rbx; mov ebx, esi; mov ecx, edx; mov edx, 0; int 0x80; mov rbx, r8; ret
_INT_80 = bytes.fromhex("89f84989d889f389d1ba00000000cd804c89c3c3")


def _change(fd: int, name: str) -> str:
    request, argument = _CHANGES[name]
    if isinstance(argument, bytes) and argument == b"restore":
        buffer = array.array("B", bytes(64))
        fcntl.ioctl(fd, _READS.get(name, 0x802C542A), buffer)  # it is refused to no one to look at them
        argument = buffer.tobytes()
    fcntl.ioctl(fd, request, argument)
    return "changed it"


def _raw(*arguments: int) -> str:
    if _libc.syscall(*map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "changed it"


def _by_int_80(fd: int) -> str:
    """As a program of 32 bits does it: in a process of its own, because a kernel without these ends it."""
    child = os.fork()
    if child == 0:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(_INT_80)
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
        got = function(ctypes.addressof(ctypes.c_char.from_buffer(code)))(54, fd, termios.TCXONC)
        os._exit(-got if got < 0 else 0)
    code_ = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code_:
        raise OSError(code_, os.strerror(code_) if code_ > 0 else f"ended by signal {-code_}")
    return "stopped its output"


def change_terminal(path: str) -> dict[str, str]:
    """Change a terminal of somebody else's, opened in whatever way it can be."""
    got: dict[str, str] = {}
    # Access mode 3 is for neither reading nor writing: enough for ioctl.
    for mode in (3, os.O_RDWR, os.O_WRONLY, os.O_RDONLY):
        try:
            fd = os.open(path, mode | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            got[f"{mode} open"] = f"refused: {error.strerror}"
            continue
        tried: dict[str, Callable[[int], str]] = {name: partial(_change, name=name) for name in _CHANGES}
        tried["high half"] = lambda fd: _raw(_IOCTL, fd, 0x7FFF_0000_0000_0000 | termios.TCXONC, 0)
        if os.uname().machine == "x86_64":
            tried["x32"] = lambda fd: _raw(0x4000_0000 + 514, fd, termios.TCXONC, 0)
            tried["x32 without its bit"] = lambda fd: _raw(514, fd, termios.TCXONC, 0)
            tried["int 0x80"] = _by_int_80
        for name, one in tried.items():
            got[f"{mode} {name.replace(' ', '_')}"] = _tried(one, fd)
            with suppress(OSError):
                fcntl.ioctl(fd, termios.TCXONC, termios.TCOON)
        os.close(fd)
    return got


def reach_terminal(pid: int, path: str) -> dict[str, str]:
    """Write to the chat's terminal by other ways than its own path."""
    ways = [f"/proc/{pid}/fd/{stream}" for stream in range(3)] + [f"/proc/{pid}/root{path}", "/dev/tty", "/dev/console"]
    got = {}
    for way in ways:
        for mode in (os.O_WRONLY, 3):
            got[f"{way} {mode}"] = _tried(partial(_open_as, way, mode | os.O_NOCTTY), 0)
    return got


def open_knobs(chat: int) -> dict[str, str]:
    """Open for writing what the kernel takes orders by under /proc: of the chat, the guardian and the host."""
    host = os.getppid()
    above = int(Path(f"/proc/{host}/stat").read_text().rpartition(")")[2].split()[1])
    got = {}
    for who, pid in (("chat", chat), ("guardian", above), ("host", host)):
        for name in ("oom_score_adj", "oom_adj", "coredump_filter", "autogroup", "clear_refs", "sched", "comm"):
            if (file := Path(f"/proc/{pid}/{name}")).exists():
                got[f"{who} {name}"] = _tried(partial(_open_as, file, os.O_WRONLY), 0)
    return got


def use_io_uring() -> str:
    """Make a ring, which can hold files that no process has open."""
    if _libc.syscall(425, 4, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "made one"


_REACHES = {
    "x86_64": {"add_key": 248, "request_key": 249, "keyctl": 250, "memfd_secret": 447},
    "aarch64": {"add_key": 217, "request_key": 218, "keyctl": 219, "memfd_secret": 447},
}


def reach(call: str) -> str:
    """Use the kernel's keyrings, or make a file in memory that is counted as nobody's."""
    arguments = {
        "add_key": (b"user", b"toolchat-test", b"x", 1, -2),  # the process's own keyring
        "request_key": (b"user", b"toolchat-test", None, 0),
        "keyctl": (0, -3, 0),  # the number of the session's keyring
        "memfd_secret": (0,),
    }[call]
    if _libc.syscall(_REACHES[platform.machine()][call], *arguments) < 0:
        return os.strerror(ctypes.get_errno())
    return "reached"


def look_at_terminal() -> str:
    """Do with a terminal of one's own what does not change it, and with sockets what they have the same numbers for."""
    controller, terminal = os.openpty()
    size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    termios.tcgetattr(terminal)
    os.write(terminal, b"seen")
    assert os.read(controller, 4) == b"seen"
    os.set_blocking(terminal, False)
    fcntl.ioctl(terminal, termios.FIONREAD, bytes(4))
    fcntl.ioctl(terminal, termios.FIONBIO, struct.pack("i", 1))
    fcntl.ioctl(terminal, termios.FIOCLEX)
    return f"looked at {len(size)} bytes"


def set_own_terminal() -> str:
    """Change a terminal of one's own."""
    import tty

    _, terminal = os.openpty()
    tty.setraw(terminal)
    return "set it"


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


def _fill_memfd(size: int) -> int:
    fd = os.memfd_create("hidden")
    block = b"x" * 1_000_000
    for _ in range(size // len(block)):
        os.write(fd, block)
    return fd


def undumpable(size: int) -> str:
    """Have the kernel hide which files this process has open, then take memory that belongs to no process."""
    if _libc.prctl(4, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _fill_memfd(size)
    time.sleep(20)
    return "took it"


def unreadable_program(folder: str, size: int) -> str:
    """Have a program that may not be read, and whose open files are therefore hidden, hold the memory."""
    program = Path(folder) / "unreadable"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o111)
    with suppress(OSError):
        os.chown(program, os.getuid(), os.getgid())
    child = subprocess.Popen([program, "20"], pass_fds=(fd := _fill_memfd(size // 8),))
    time.sleep(0.2)
    block = b"x" * 1_000_000
    os.close(fd)
    with suppress(OSError):
        fd = os.open(f"/proc/{child.pid}/fd/{fd}", os.O_WRONLY)
        for _ in range(size // len(block)):
            os.write(fd, block)
        os.close(fd)
    child.wait()
    return "took it"


def take_in_a_thread(size: int) -> str:
    """Hold the memory in a thread's own table of open files."""
    import threading

    def hold() -> None:
        if _libc.unshare(0x400) != 0:  # CLONE_FILES
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _fill_memfd(size)
        time.sleep(20)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    return "took it"


def take_without_a_leader(each: int, processes: int) -> str:
    """Take memory in processes whose first thread has ended, which then have nothing under /proc/PID/status."""
    import threading

    for _ in range(processes):
        if os.fork() == 0:

            def hold() -> None:
                while ") Z " not in Path("/proc/self/stat").read_text():
                    time.sleep(0.001)
                kept = bytearray(os.urandom(4096) * (each // 4096))
                time.sleep(20)
                os._exit(len(kept) % 2)

            threading.Thread(target=hold).start()
            ctypes.CDLL(None).syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)  # exit, of this thread alone
    time.sleep(20)
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
