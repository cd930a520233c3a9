"""Names for the tools of servers: legal for Mistral's validators, unique, and never another server's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

LONGEST = 64
_MOST_TRIES = 1000
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")


def legal_name(prefix: str, name: str) -> str:
    """`prefix`, unless it is there already, and a server's own name, in at most 64 legal characters; a hash stands for
    what is cut off or lost."""
    plain = _ILLEGAL.sub("_", name).strip("_") if not re.fullmatch(r"[a-zA-Z0-9_-]+", name) else name
    # Some servers begin all names with their own.
    full = plain if plain.startswith(prefix) else f"{prefix}{plain}"
    if plain and len(full) <= LONGEST:
        return full
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{full[: LONGEST - 9].rstrip('_')}_{mark}"


def unique_name(prefix: str, name: str, taken: Collection[str], others: Collection[str]) -> str:
    """A legal name that is not in `taken`, and does not begin as those of another server, whose prefix is longer.

    So no server gets a name under which the user has allowed another one's tool, whichever of them is there first.
    """
    full = made = legal_name(prefix, name)

    def is_foreign(text: str) -> bool:
        return any(len(other) > len(prefix) and text.startswith(other) for other in others)

    number = 1
    # In the end it is unique at least, should the others' prefixes leave nothing.
    while made in taken or (is_foreign(made) and number < _MOST_TRIES):
        number += 1
        made = f"{full[: LONGEST - len(str(number)) - 1]}_{number}"
        # Still within the other's: its own mark in front cannot be.
        if is_foreign(made):
            mark = hashlib.sha256(f"{prefix}\0{name}\0{number}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
            made = f"{prefix.rstrip('_-') or 'mcp'}-{mark}"[:LONGEST]
            if is_foreign(made):
                made = f"mcp-{mark}"
    return made


def signature(name: str, schema: Mapping[str, Any]) -> str:
    """For people: `files_read(path: string, head?: integer)`."""
    properties, required = schema.get("properties"), schema.get("required")
    parts = []
    for parameter, part in properties.items() if isinstance(properties, Mapping) else ():
        mark = "" if isinstance(required, list) and parameter in required else "?"
        kind = _kind(part)
        parts.append(f"{parameter}{mark}: {kind}" if kind else f"{parameter}{mark}")
    return f"{name}({', '.join(parts)})"


def _kind(part: Any) -> str:
    if not isinstance(part, Mapping):
        return ""
    if isinstance(part.get("enum"), list) and len(part["enum"]) <= 6:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in part["enum"])
    kind = part.get("type")
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    if isinstance(part.get("anyOf"), list):
        return " | ".join(dict.fromkeys(filter(None, map(_kind, part["anyOf"]))))
    return str(kind) if isinstance(kind, str) else ""
