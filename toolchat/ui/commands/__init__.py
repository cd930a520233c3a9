"""Slash commands: one registry, with completion and one-line help. They act on a `Session`, never on the terminal."""

from toolchat.ui.commands.base import Command, Completion, Outcome
from toolchat.ui.commands.dispatch import Commands
from toolchat.ui.commands.line import as_line, is_command, is_shell, question
from toolchat.ui.commands.registry import COMMANDS, KEYS

__all__ = [
    "COMMANDS",
    "KEYS",
    "Command",
    "Commands",
    "Completion",
    "Outcome",
    "as_line",
    "is_command",
    "is_shell",
    "question",
]
