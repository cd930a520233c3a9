"""Draws docs/repl.svg and docs/mcp.svg (`record_repl.py SVG CASSETTE`): a real `toolchat repl` on 80 columns.

What is typed stands below in `SCENES`, by the picture's name; what is shown is what the program showed, all rows of it,
colours kept. The answers come from the cassette, a chat with the demo model, and the tools run again. With --record the
demo model is loaded, and the cassette recorded anew.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, ROWS = 80, 24
PATIENCE = 180.0
PROMPT = "›"
SCENES = {
    "repl": (
        "Can you tell me what the temperature will be in Dallas, in fahrenheit?",
        "What is 17 * 24?",
        "List the files in docs",
        "/tools",
        "/undo",
    ),
    "mcp": ("What is the price of a bicycle?", "/tools", "/context"),
}
"""Line by line; each is typed once the prompt is idle."""
SHOP = '''
from mcp.server.mcpserver import MCPServer

shop = MCPServer("shop", version="1.0")


@shop.tool()
def get_price(item: str) -> str:
    """Get the price of an item in the shop."""
    return f"A {item} costs 450 euros."


@shop.tool()
def set_price(item: str, euros: int) -> str:
    """Set the price of an item in the shop."""
    return "done"


shop.run("stdio")
'''
"""The MCP server of the scene of that name."""
DOCS = (
    "engines.md",
    "images.md",
    "install.md",
    "python.md",
    "repl.md",
    "scripts.md",
    "security.md",
    "tools.md",
)
"""What the folder docs of the scene has: always the same, so that a new page does not change the picture, and few.

The demo model tells eight names of files truly and eighteen not (training/README.md).
"""


class _Screen(pyte.HistoryScreen):
    """Answers when it is asked where its cursor is, as real terminals do."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        super().__init__(COLUMNS, ROWS, history=5000, ratio=0.5)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Player:
    """The program on a terminal whose rows are kept when they leave the screen at its top."""

    def __init__(self, home: Path, folder: Path, *flags: str) -> None:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("TOOLCHAT_", "NO_COLOR"))
        }
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "toolchat", "repl", "--tools", "tools.yaml", *flags],
            # What is shown begins with the loading, and leaves nothing behind.
            env={
                **variables,
                "TOOLCHAT_KEEP_ALIVE": "0",
                "TERM": "xterm-256color",
                "XDG_STATE_HOME": str(home),
                "XDG_CONFIG_HOME": str(home),
            },
            cwd=str(folder),
            dimensions=(ROWS, COLUMNS),
        )
        self.screen = _Screen(self.child.send)
        self._stream = pyte.ByteStream(self.screen)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"not seen: {what}; the screen:\n" + "\n".join(self.screen.display))
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                self.child.wait()

    def idle(self) -> bool:
        """True where nothing is going on: the toolbar is the last row and says that the model is ready."""
        rows = [row for row in self.screen.display if row.strip()]
        return len(rows) > 1 and " · ready" in rows[-1] and rows[-2].startswith(PROMPT)

    def type(self, line: str) -> None:
        self.until("an idle prompt", self.idle)
        before = len(self.screen.history.top), tuple(self.screen.display)
        self.child.send(line + "\r")
        self.until("an answer", lambda: (len(self.screen.history.top), tuple(self.screen.display)) != before)
        settle = time.monotonic() + 1.0
        self.until("the answer's beginning", lambda: time.monotonic() > settle)
        self.until("the answer's end", self.idle)

    def rows(self) -> list[Text]:
        above = list(self.screen.history.top)
        here = [self.screen.buffer[number] for number in range(ROWS)]
        rows = [row_text(row) for row in [*above, *here]]
        while rows and not rows[-1].plain.strip():
            rows.pop()
        return rows


def row_text(row: Mapping[int, pyte.screens.Char], columns: int = COLUMNS) -> Text:
    """A row of a screen with its colours."""
    text = Text()
    cells = (row[column] for column in range(columns))
    for style, group in groupby(cells, key=_style):
        text.append("".join(cell.data for cell in group), style)
    text.rstrip()
    return text


def _style(cell: pyte.screens.Char) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    name = {"brown": "yellow", "brightbrown": "brightyellow"}.get(name, name)
    return name.replace("bright", "bright_")


def prepare(name: str, folder: Path) -> None:
    """Fill the folder that a scene plays in."""
    if name == "mcp":
        (folder / "shop.py").write_text(SHOP, encoding="utf-8")
        shop = {"command": [sys.executable, "shop.py"], "tools": {"get_price": {"approval": "allow"}}}
        (folder / "tools.yaml").write_text(json.dumps({"version": 1, "mcp": {"shop": shop}}), encoding="utf-8")
        return
    (folder / "docs").mkdir()
    shutil.copy("tools.yaml", folder)
    for file in DOCS:
        (folder / "docs" / file).touch()


def played(name: str, *flags: str) -> list[Text]:
    """The rows of the scene of that name, played with these flags to its end."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "work"
        folder.mkdir()
        prepare(name, folder)
        player = Player(Path(home), folder, *flags)
        try:
            for line in SCENES[name]:
                player.type(line)
            rows = player.rows()
            if "/undo" in SCENES[name]:
                player.child.send("\x03")  # what it has put back into the input
            player.until("an empty input", lambda: PROMPT in {row.strip() for row in player.screen.display})
            player.child.sendeof()
            player.until("the end", lambda: not player.child.isalive())
        finally:
            player.child.close(force=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("svg", type=Path)
    parser.add_argument("cassette", type=Path)
    parser.add_argument("--record", action="store_true", help="load the demo model, and record the cassette anew")
    options = parser.parse_args()
    cassette, name = options.cassette.resolve(), options.svg.stem
    if options.record:
        cassette.unlink(missing_ok=True)
        played(name, "--model", "demo", "--record", str(cassette))
    rows = played(name, "--replay", str(cassette))
    if any("not what was asked when it was recorded" in row.plain for row in rows):
        shown = "\n".join(row.plain for row in rows)
        raise SystemExit(f"{shown}\n{cassette}: the tools are others by now; record it anew with --record")
    save(rows, options.svg, "toolchat repl --model demo", COLUMNS)


def save(rows: Sequence[Text], target: Path, title: str, columns: int) -> None:
    """Write rows of a terminal of so many columns as a picture."""
    console = Console(record=True, width=columns, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for row in rows:
        console.print(row, soft_wrap=True)
    # Without the web fonts that rich names: a picture in a document should fetch nothing.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(target), title=title, code_format=form)


if __name__ == "__main__":
    main()
