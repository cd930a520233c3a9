"""A grant: the user's permission for calls of a tool with its present code: all, those alike, or exact arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from toolchat.tools.rules import Likeness
from toolchat.tools.toolbox import Tool

LIKE = "like "
"""Begins the arguments of a grant by pattern. A toolchat that knows none takes them for exact arguments, which no call
has: to it the grant means nothing."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Two are equal where they allow the same calls, whatever the tool is called."""

    digest: str
    """The tool's `source_digest`: a change of its code or schema ends the grant."""
    arguments: str | None
    """Exactly these, as `canonical` writes them; behind `LIKE` those of a `Likeness`; None for any."""
    tool: str = field(compare=False, default="")
    """Its name when this was granted, for people."""
    callable_ref: str = field(compare=False, default="")

    @classmethod
    def of(cls, tool: Tool, arguments: Mapping[str, Any] | None = None) -> Self:
        """The grant for calls of `tool`: any, or those with `arguments`."""
        exactly = canonical(arguments) if arguments is not None else None
        return cls(tool.source_digest, exactly, tool.name, tool.callable_ref)

    @classmethod
    def like(cls, tool: Tool, likeness: Likeness) -> Self:
        """The grant for calls of `tool` that are meant by `likeness`."""
        return cls(tool.source_digest, f"{LIKE}{likeness.encode()}", tool.name, tool.callable_ref)

    @property
    def likeness(self) -> Likeness | None:
        """None for a grant of all calls or exact arguments."""
        if self.arguments is None or not self.arguments.startswith(LIKE):
            return None
        return Likeness.decode(self.arguments.removeprefix(LIKE))


def canonical(arguments: Mapping[str, Any]) -> str:
    """JSON that is the same for equal arguments, whatever the order of their keys; 1 and 1.0 and true differ."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))
