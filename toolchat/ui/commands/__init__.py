"""Slash commands: one registry, with completion and one-line help. They act on a `Session`, never on the terminal."""
