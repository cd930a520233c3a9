"""`python -m toolchat`: the same as the `toolchat` command."""

from toolchat.cli.main import run

run()
