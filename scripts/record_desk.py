"""Records docs/desk.svg: the commands of "Five minutes with the desk" in docs/tools.md, run on a pseudo-terminal.

The page holds the scene: its files are written and its commands are run in their order, in a folder of their own.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pyte
from record_repl import row_text, save

COLUMNS, ROWS = 110, 500
PATIENCE = 60.0
PAGE = Path(__file__).resolve().parent.parent / "docs" / "tools.md"
_BLOCK = re.compile(r"(?:^`([\w.-]+)`[^\n]*:\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def scene(page: str) -> list[tuple[str, str]]:
    """What happens, in order: ("$", a command) or (the name of a file, its text)."""
    section = re.split(r"^## ", page.partition("\n## Five minutes with the desk\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    steps = []
    for name, kind, text in _BLOCK.findall(section):
        steps.append(("$", text.splitlines()[0].removeprefix("$ ")) if kind == "console" else (name, text))
    return steps


def environment(home: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOOLCHAT_", "NO_COLOR"))}
    return {**kept, "TERM": "xterm-256color", "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        for what, text in scene(PAGE.read_text(encoding="utf-8")):
            if what != "$":
                (Path(folder) / what).write_text(text, encoding="utf-8")
                stream.feed(f"\x1b[2m# {what}, as the page has it\x1b[m\r\n".encode())
                continue
            stream.feed(f"\x1b[1m$ {text}\x1b[m\r\n".encode())
            words = [sys.executable, "-m", *shlex.split(text)]
            program = pexpect.spawn(
                words[0],
                words[1:],
                cwd=folder,
                env=environment(Path(home)),
                dimensions=(ROWS, COLUMNS),
                timeout=PATIENCE,
            )
            stream.feed(program.read())
            program.close()
    rows = [row_text(screen.buffer[number], COLUMNS) for number in range(screen.cursor.y)]
    save(rows, target, "toolchat tools", COLUMNS)


if __name__ == "__main__":
    main()
