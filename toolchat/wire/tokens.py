"""Token counts of a prompt, by part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt, by part; the parts add up to the total. Exact unless `estimated`."""

    total: int
    tools: tuple[int, ...] = ()
    """Of each tool's schema, in their order."""
    messages: tuple[int, ...] = ()
    """Of each message, in their order, the system prompt's among them."""
    format: int = 0
    """What belongs to no single one of them: the beginning of the sequence, the brackets around the tools."""
    estimated: bool = False
    """Whether these are estimates: a server renders the prompt, and has not counted it."""
