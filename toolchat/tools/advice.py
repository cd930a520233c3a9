"""What `tools check` tells of tools that work: notes of how they are offered, and what would help a model call them."""

from __future__ import annotations

from collections.abc import Iterable

from toolchat.tools.toolbox import Tool

_SHOWN = 6


def advice(tool: Tool) -> list[str]:
    """Notes of one tool, each "FILE:LINE:COL: what; what to do"."""
    notes = []
    if tool.untyped:
        what = f'"{tool.callable_ref}" has no type for {listed(tool.untyped)}'
        notes.append(f"{tool.place}: {what}; the model is offered what could be told of it; add a type hint, or type:")
    bare = [name for name, part in tool.parameters.get("properties", {}).items() if not _is_described(part)]
    if bare:
        what = f'"{tool.callable_ref}" says nothing of {listed(bare)} but the name'
        notes.append(f"{tool.place}: {what}; describe it in the docstring, or under parameters:")
    return notes


def _is_described(part: object) -> bool:
    match part:
        case {"description": str(text)} if text.strip():
            return True
        case {"enum": _} | {"const": _}:
            return True  # the values say what they are
    return False


def listed(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
