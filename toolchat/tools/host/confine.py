"""What the kernel is told to keep tools from: signals to, and traces of, processes outside; terminals; new privileges.

Uses Landlock and seccomp by their system calls: no package, no root. What the kernel lacks is left out, never an error.
A process enters for good, and so does all that it starts. See docs/security.md for what this does not promise.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SIGNAL_SCOPE_ABI = 6
"""Landlock's version from which on signals and abstract sockets can be scoped: Linux 6.12."""
IOCTL_ABI = 5
"""The version from which on ioctl on a device can be forbidden, Linux 6.10: also where it was opened for neither
reading nor writing, which takes no right."""
FIRST_ABI = 2
"""The first version that is used, Linux 5.19. In a domain of version 1 no file can be moved to another folder."""

NOTICE = (
    "this kernel cannot keep tools from your other processes (it takes Landlock, best of Linux 6.12 or later): a tool "
    "that means harm can end them; docs/security.md says what else"
)
"""What a user is told where a host could not be confined."""

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38
# These system calls have the same numbers on every architecture (asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
# linux/landlock.h
_WRITE_FILE, _READ_FILE, _REFER, _IOCTL_DEV = 1 << 1, 1 << 2, 1 << 13, 1 << 15
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1


def landlock_abi() -> int:
    """The version of Landlock that this kernel has; 0 for none, be it missing or switched off."""
    return max(int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))), 0)


@dataclass(frozen=True, slots=True)
class Fence:
    """How a host confines itself before it imports a user's module."""

    abi: int
    """Landlock's version, 0 for none."""
    terminals: tuple[str, ...] = ()
    """The devices that are the chat's, which no tool may open."""

    def enter(self) -> bool:
        """Confine this process, and all that it will start. Whether there is a domain around it now."""
        _drop_privileges()
        if self.abi < FIRST_ABI:
            return False
        rights = _READ_FILE | _WRITE_FILE | (_IOCTL_DEV if self.abi >= IOCTL_ABI else 0)
        rules = _file_rules(self.terminals, rights)
        try:
            ruleset = _ruleset(self.abi, _REFER | (rights if rules else 0))
            try:
                _allow(ruleset, "/", _REFER)  # without this rule no file could be moved to another folder
                for path, allowed in rules.items():
                    with suppress(OSError):  # it has gone, or leads nowhere
                        _allow(ruleset, path, allowed)
                _restrict(ruleset)
            finally:
                os.close(ruleset)
        except OSError:  # by a filter of a container's, or because there are 16 domains around it
            return False
        return True


def call_ruleset(abi: int) -> int | None:
    """A ruleset for `enter_call`, made once for many calls; None where the kernel has none."""
    if abi < FIRST_ABI:
        return None
    try:
        ruleset = _ruleset(abi, _REFER)
        _allow(ruleset, "/", _REFER)
    except OSError:
        return None
    return ruleset


def enter_call(ruleset: int | None) -> None:
    """Put this process into a domain of its own below the host's: it can harm neither the host nor another call."""
    if ruleset is not None:
        with suppress(OSError):
            _restrict(ruleset)
        os.close(ruleset)


def _ruleset(abi: int, handled: int) -> int:
    # A right to files is named in any case, so that versions without scopes take it; all of it is allowed again.
    scoped = _SCOPE_SIGNALS | _SCOPE_ABSTRACT_SOCKETS if abi >= SIGNAL_SCOPE_ABI else 0
    attributes = struct.pack("QQQ", handled, 0, scoped)
    return _checked(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)))
    finally:
        os.close(fd)


def _restrict(ruleset: int) -> None:
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))


def _file_rules(terminals: Iterable[str], rights: int) -> dict[str, int]:
    """What stays open, with the rights to it: everything but the terminals, and of the cgroups what can be read.

    A user's session lies in cgroups of the user's own, and a word written there kills or freezes all in one. Empty
    where there can be no such list: Landlock only knows what is allowed, together with all below it. So three folders
    are given entry by entry, and what is made in / or /dev later stays closed: a user who may write in / (root, as a
    rule) would notice.
    """
    if os.access("/", os.W_OK):
        return {}
    terminals = {"/dev/pts", "/dev/console", *terminals}
    try:
        entries = [*_entries("/", {"/dev", "/sys"}), *_entries("/dev", terminals), *_entries("/sys", {"/sys/fs"})]
    except OSError:
        return {}
    return dict.fromkeys(entries, rights) | {"/sys/fs": _READ_FILE}


def _entries(folder: str, without: set[str]) -> Iterator[str]:
    return (str(path) for path in Path(folder).iterdir() if str(path) not in without)


def own_terminals() -> list[str]:
    """The devices that are this process's terminals."""
    found: list[str] = []
    for stream in range(3):
        with suppress(OSError):
            found.append(os.ttyname(stream))
    return found


def _drop_privileges() -> None:
    """No setuid program gives more rights from now on, and the filter holds."""
    _drop_capabilities()
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_calls()


# Root's rights to reach into other processes and into the kernel, by their numbers in linux/capability.h: SYS_MODULE,
# SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_RESOURCE, SYS_TTY_CONFIG (consoles), PERFMON, BPF, CHECKPOINT_RESTORE.
# With PERFMON newer kernels show the environment of any process, whatever Landlock says. What root may do to files and
# to the network stays.
_DROPPED = (16, 17, 19, 21, 22, 24, 26, 38, 39, 40)
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522


def _drop_capabilities() -> None:
    for number in _DROPPED:
        _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    data = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; the lower halves, then the upper
    if _libc.capget(header, data) != 0:
        return
    words = list(struct.unpack("6I", data.raw))
    for number in _DROPPED:
        upper, bit = divmod(number, 32)
        for kind in range(3):
            words[upper * 3 + kind] &= ~(1 << bit)
    _libc.capset(header, struct.pack("6I", *words))


# What neither Landlock nor PR_SET_DUMPABLE forbids, and a seccomp filter does:
# - prlimit(2) of another process of the same user, say of the chat with a second of CPU time;
# - what changes a terminal, by ioctl(2): a stop of its output (TCXONC) freezes the chat. A filter sees no more of a
#   descriptor than its number, so a terminal of the tool's own cannot be set either;
# - prctl(2) with PR_SET_DUMPABLE, io_uring and memfd_secret(2): by all three, memory is held where nobody can count it;
# - the kernel's keyrings, which belong to the user and hold Kerberos tickets and keys of encrypted folders.
@dataclass(frozen=True, slots=True)
class _Calls:
    """The numbers of system calls on one architecture."""

    arch: int
    """AUDIT_ARCH."""
    prlimit: int
    prctl: int
    ioctl: tuple[int, ...]
    keyrings: tuple[int, ...]
    """add_key, request_key, keyctl."""
    x32: bool = False
    """Whether there may be numbers of x32's: nothing uses them, and some mean what the filter is to refuse."""


_CALLS = {
    # Kernels before 5.4 take x32's number for ioctl, 514, without x32's bit.
    "x86_64": (
        _Calls(0xC000003E, 302, 157, (16, 514), (248, 249, 250), x32=True),
        _Calls(0x40000003, 340, 172, (54,), (286, 287, 288)),
    ),
    "aarch64": (
        _Calls(0xC00000B7, 261, 167, (29,), (217, 218, 219)),
        _Calls(0x40000028, 369, 172, (54,), (309, 310, 311)),
    ),
}
"""For 64-bit programs and for 32-bit ones."""
_IO_URING_SETUP = 425
_MEMFD_SECRET = 447
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER = 1
_SPEC_ALLOW = 1 << 2
"""Without it kernels before 5.16 also turn off speculative store bypass, which slows the tool and protects nothing of
others."""
_X32_BIT = 0x40000000
_PR_SET_DUMPABLE = 4
_TERMINAL_REQUESTS = 0x5400, 0xFFFFFF80
"""Terminals' requests of ioctl(2) and a mask: those without a size in their number (asm-generic/ioctls.h)."""
_SET_TERMIOS2 = (0x402C542B, 0x402C542C, 0x402C542D)
"""TCSETS2, TCSETSW2, TCSETSF2: the only ones with a size that change another's terminal."""
_HARMLESS_REQUESTS = (
    *(0x5401, 0x5405),  # TCGETS, TCGETA
    *(0x540F, 0x5411, 0x5413, 0x5415, 0x5419),  # TIOCGPGRP, TIOCOUTQ, TIOCGWINSZ, TIOCMGET, TIOCGSOFTCAR
    *(0x541B, 0x5421, 0x5450, 0x5451, 0x5452, 0x5460),  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC, FIOQSIZE
    *(0x541E, 0x5424, 0x5429, 0x542E),  # TIOCGSERIAL, TIOCGETD, TIOCGSID, TIOCGRS485
    *(0x5420, 0x5422, 0x5441),  # of the controller's end, or of one's own session: TIOCPKT, TIOCNOTTY, TIOCGPTPEER
    *(0x5456, 0x5459, 0x545C, 0x545D),  # TIOCGLCKTRMIOS, TIOCSERGETLSR, TIOCMIWAIT, TIOCGICOUNT
)
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ERRNO = 0x00050000
_RETURNS = {"allow": 0x7FFF0000, "refuse": _ERRNO | errno.EPERM, "unknown": _ERRNO | errno.ENOSYS}
_KILL_PROCESS = 0x80000000
# struct seccomp_data: nr, arch, instruction pointer, then six arguments of 8 bytes, the lower half first.
_NUMBER, _ARCH, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32

_Row = tuple[int, int, str, str]
"""An instruction, its constant, and the labels to go to where it holds and where not; "" for the next row."""


def _restrict_calls() -> None:
    machine = platform.machine()
    if machine not in _CALLS or struct.calcsize("P") != 8:
        return
    code = _filter(_CALLS[machine])
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    _libc.syscall(_SECCOMP[machine], _SET_FILTER, _SPEC_ALLOW, filter_)


def _filter(architectures: Iterable[_Calls]) -> bytes:
    code = [struct.pack("HBBI", _LOAD, 0, 0, _ARCH)]
    for calls in architectures:
        block = _assembled(_rules(calls))
        code += [struct.pack("HBBI", _EQUAL, 0, len(block), calls.arch), *block]
    return b"".join((*code, struct.pack("HBBI", _RETURN, 0, 0, _KILL_PROCESS)))


def _rules(calls: _Calls) -> dict[str, list[_Row]]:
    """The rows at each label. A last row that is no jump goes on to the next label."""
    requests, mask = _TERMINAL_REQUESTS
    return {
        "": [
            (_LOAD, _NUMBER, "", ""),
            *([(_AT_LEAST, _X32_BIT, "unknown", "")] if calls.x32 else []),
            *((_EQUAL, number, "ioctl", "") for number in calls.ioctl),
            (_EQUAL, calls.prlimit, "prlimit", ""),
            (_EQUAL, calls.prctl, "prctl", ""),
            *((_EQUAL, number, "refuse", "") for number in (*calls.keyrings, _MEMFD_SECRET)),
            (_EQUAL, _IO_URING_SETUP, "refuse", "allow"),
        ],
        # prlimit(pid, resource, new, old) where pid is not 0 (this process) and new is not NULL (a change).
        "prlimit": [
            (_LOAD, _FIRST, "", ""),
            (_EQUAL, 0, "allow", ""),
            (_LOAD, _THIRD, "", ""),
            (_EQUAL, 0, "", "refuse"),
            (_LOAD, _THIRD + 4, "", ""),
            (_EQUAL, 0, "allow", "refuse"),
        ],
        "prctl": [
            (_LOAD, _FIRST, "", ""),
            (_EQUAL, _PR_SET_DUMPABLE, "", "allow"),
            (_LOAD, _SECOND, "", ""),
            (_EQUAL, 1, "allow", "refuse"),
        ],
        # The kernel takes the lower half of a request; what is in the upper one must not matter here either.
        "ioctl": [
            (_LOAD, _SECOND, "", ""),
            *((_EQUAL, request, "refuse", "") for request in _SET_TERMIOS2),
            *((_EQUAL, request, "allow", "") for request in _HARMLESS_REQUESTS),
            (_AND, mask, "", ""),
            (_EQUAL, requests, "refuse", "allow"),
        ],
        **{label: [(_RETURN, value, "", "")] for label, value in _RETURNS.items()},
    }


def _assembled(rules: dict[str, list[_Row]]) -> list[bytes]:
    places: dict[str, int] = {}
    rows: list[_Row] = []
    for label, part in rules.items():
        places[label] = len(rows)
        rows += part

    def jump(here: int, label: str) -> int:
        return places[label] - here - 1 if label else 0

    return [
        struct.pack("HBBI", code, jump(here, yes), jump(here, no), value)
        for here, (code, value, yes, no) in enumerate(rows)
    ]


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)
