"""What a person is told of servers' tools: remarks for whoever decides on a call, and what has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolchat.tools.mcp.entry import McpServer, unpinned
from toolchat.tools.toolbox import Tool

_PROMPT = re.compile(r"[A-Za-z0-9_./-]{1,80}")
"""The names of prompts that can be typed as a command."""
_LONGEST_URI = 500
_LONGEST_ABOUT = 100


def typed_prompts(told: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for prompt in told if isinstance(told, list) else []:
        match prompt:
            case {"name": str(name)} if _PROMPT.fullmatch(name):
                found[name] = prompt
    return found


def typed_resources(told: Any, templates: Any) -> dict[str, str]:
    """What resources are, by their addresses; of a template by the part of its address that comes first.

    Those are left out whose address would be read as another where it is typed.
    """
    found: dict[str, str] = {}
    for resource in (*(told if isinstance(told, list) else []), *(templates if isinstance(templates, list) else [])):
        match resource:
            case {"uri": str(uri)}:
                begin = uri
            case {"uriTemplate": str(uri)}:
                begin = uri.partition("{")[0]
            case _:
                continue
        if begin and len(begin) <= _LONGEST_URI and begin.isprintable() and not re.search(r"\s|[.,;!?)]\Z", begin):
            about = next((resource[key] for key in ("title", "name", "description") if resource.get(key)), "")
            found.setdefault(begin, str(about)[:_LONGEST_ABOUT])
    return found


def remarks(server: McpServer, hints: Sequence[Any]) -> tuple[str, ...]:
    remarks = [f"It is a tool of the MCP server {server.name}: {server.shown}"]
    if hints:
        remarks.append(f"Its server says, and nobody has checked, that it {', '.join(map(str, hints))}.")
    if (package := unpinned(server.command)) is not None:
        what = f"Its server is whatever version of {package} is the newest when it starts"
        remarks.append(f"{what}: allowing its calls for good cannot cover that code.")
    return tuple(remarks)


def changes(before: Mapping[str, Tool], after: Mapping[str, Tool]) -> str:
    parts = []
    if new := [name for name in after if name not in before]:
        parts.append(f"new {_some(new)}")
    if gone := [name for name in before if name not in after]:
        parts.append(f"gone {_some(gone)}")
    if other := [name for name in after if name in before and after[name].source_digest != before[name].source_digest]:
        parts.append(f"changed {_some(other)}")
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"
