"""Where the program starts. A plain `ask` goes on without typer, see `quick`; everything else by `main`."""

from __future__ import annotations

import gc
import os
import sys
from typing import Never


def run() -> Never:
    """Run the command line and exit with its code."""
    # Modules are no garbage, and the collector's rounds over them take time; `ask` has it look again later.
    gc.disable()
    from toolchat.cli import quick

    given = quick.read(sys.argv[1:]) if "_TOOLCHAT_COMPLETE" not in os.environ else None
    if given is None:
        gc.enable()
        from toolchat.cli import main

        main.run()
    from toolchat.cli import ask, ending

    ending.run(lambda: ask.answer(given))
