"""What a person's shell does around a program: `python terminal_shell.py NOTES COMMAND…`.

Notes how the terminal was set before, while it was stopped, and after, and the exit code, as files in the folder
NOTES. A program that is stopped goes on when a line is typed.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path

TERMINAL = 0


def settings() -> str:
    return repr(termios.tcgetattr(TERMINAL))


def execute(command: list[str]) -> None:
    os.execvp(command[0], command)


def run(notes: Path, command: list[str], execute: Callable[[list[str]], None] = execute) -> None:
    """Run `command`; `execute` never returns."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a shell may take the terminal back
    before = termios.tcgetattr(TERMINAL)
    (notes / "before").write_text(settings())
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(TERMINAL, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        execute(command)
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        os.tcsetpgrp(TERMINAL, os.getpgrp())
        if not os.WIFSTOPPED(status):
            break
        (notes / "stopped").write_text(settings())
        its = termios.tcgetattr(TERMINAL)
        termios.tcsetattr(TERMINAL, termios.TCSADRAIN, before)
        print("\nthe shell meanwhile", flush=True)
        sys.stdin.readline()
        termios.tcsetattr(TERMINAL, termios.TCSADRAIN, its)
        os.tcsetpgrp(TERMINAL, child)
        os.killpg(child, signal.SIGCONT)
    (notes / "after").write_text(settings())
    (notes / "code").write_text(str(os.waitstatus_to_exitcode(status)))
    print("\r\nthe shell again\r", flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
