"""Where the program starts. A plain `ask` goes on without typer, see `quick`; everything else by `main`."""

from __future__ import annotations

import gc
import os
import sys
from typing import Never


def run(arguments: list[str] | None = None) -> Never:
    """Run the command line, that of this process unless told otherwise, and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Modules are no garbage, and the collector's rounds over them take time; `ask` has it look again later.
    gc.disable()
    from toolchat.cli import quick

    given = quick.read(arguments) if "_TOOLCHAT_COMPLETE" not in os.environ else None
    if given is None:
        gc.enable()
        from toolchat.cli import main

        main.run(arguments)
    from toolchat.cli import ask, ending

    ending.run(lambda: ask.answer(given))
