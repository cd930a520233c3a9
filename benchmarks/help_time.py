"""How long the small commands take: `toolchat --help` and `toolchat tools list`, from start to end of the process.

They are held against a bare `python -c "import typer, rich.console"`, the least that a command line made with these two
libraries can take. The aim: --help takes at most twice that.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import _common as common

AIM = 2.0
HELP, LIST, BARE = "toolchat --help", "toolchat tools list", "import typer, rich.console"
COMMANDS = {
    HELP: (*common.TOOLCHAT, "--help"),
    LIST: (*common.TOOLCHAT, "tools", "list"),
    BARE: (sys.executable, "-c", "import typer, rich.console"),
}


def main() -> None:
    options = common.arguments(__doc__, runs=30).parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        environment = common.own_folders(scratch)

        def contender(command: tuple[str, ...]) -> Callable[[], float]:
            return lambda: common.run(command, environment=environment, folder=scratch).seconds

        _, seconds = common.alternate({name: contender(command) for name, command in COMMANDS.items()}, options.runs)
    print(f"\nSeconds from start to end of the process, {options.runs} alternating runs after a warm-up:\n")
    rows = [
        [name, *common.spread(values, 3), f"{common.ratio(values, seconds[BARE]):.2f}"]
        for name, values in seconds.items()
    ]
    print(common.table(["command", "median", "least", "most", "it / bare imports"], rows))
    against = common.ratio(seconds[HELP], seconds[BARE])
    print(
        f"\ntoolchat --help / bare imports: {against:.2f} ({common.paired(seconds[HELP], seconds[BARE])}); "
        f"the aim of {AIM:.0f} at most is {common.verdict(against <= AIM)}"
    )


if __name__ == "__main__":
    main()
