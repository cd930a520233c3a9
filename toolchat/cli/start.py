"""Where the program starts. A plain `ask` or `repl` goes on without typer, see `quick`; everything else by `main`."""

from __future__ import annotations

import gc
import os
import sys
from typing import Never


def run(arguments: list[str] | None = None) -> Never:
    """Run the command line, that of this process unless told otherwise, and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Modules are no garbage, and the collector's rounds over them take time; `ask` and `repl` have it look again later.
    gc.disable()
    from toolchat.cli import quick

    called = quick.read(arguments) if "_TOOLCHAT_COMPLETE" not in os.environ else None
    if called is None:
        gc.enable()
        from toolchat.cli import main

        main.run(arguments)
    from toolchat.cli import ending

    command, given = called
    if command == "ask":
        from toolchat.cli.ask import answer as work
    else:
        from toolchat.cli.repl import chat as work
    ending.run(lambda: work(given))
