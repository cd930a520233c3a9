"""`toolchat replay`: shows a recorded chat again, without an engine and without tools."""

from __future__ import annotations

from typing import Annotated

import typer

from toolchat.cli.repl_command import Plain

Instant = Annotated[bool, typer.Option("--instant", help="All at once, and not at the speed of reading.")]


def replay(
    cassette: Annotated[
        str, typer.Argument(help="What --record or toolchat report wrote.", metavar="FILE", show_default=False)
    ],
    instant: Instant = False,
    plain: Plain = False,
) -> None:
    """Show a recorded chat again. No model is loaded, and no tool runs."""
    from toolchat.settings import user_path
    from toolchat.store.cassettes import read_cassette
    from toolchat.ui.replay import show_cassette

    show_cassette(read_cassette(user_path(cassette)), instant=instant, plain=plain)
