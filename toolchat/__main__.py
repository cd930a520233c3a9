"""`python -m toolchat`: the same as the `toolchat` command."""

from toolchat.cli.start import run

run()
