"""The tools of servers as the chat offers them: names, signatures, options and remarks, and what has changed.

A name is legal for Mistral's validators, unique, and never another server's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolchat.tools.code import ToolsCode, asking
from toolchat.tools.mcp.entry import McpServer, unpinned
from toolchat.tools.rules import Rules
from toolchat.tools.toolbox import Tool, ToolOptions

LONGEST = 64
_MOST_TRIES = 1000
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")
_PROMPT = re.compile(r"[A-Za-z0-9_./-]{1,80}")
"""The names of prompts that can be typed as a command."""
_LONGEST_URI = 500
_LONGEST_ABOUT = 100


class ToolNames:
    """A tool keeps its name as long as the chat."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        """By server and the server's name for the tool."""
        self._taken: set[str] = set()

    def reserve(self, names: Collection[str]) -> None:
        """Names of other tools, which no server's tool may have; one that has it by now gets another when asked for."""
        self._taken |= set(names)
        for key in [key for key, name in self._names.items() if name in names]:
            del self._names[key]

    def of(self, server: McpServer, own: str, others: Collection[str]) -> str:
        """The name of what the server calls `own`; `others` are the prefixes of the other servers."""
        key = (server.name, own)
        if key not in self._names:
            self._names[key] = unique_name(server.prefix, own, self._taken, others)
            self._taken.add(self._names[key])
        return self._names[key]


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of one server."""

    tools: tuple[Tool, ...] = ()
    own_names: Mapping[str, str] = field(default_factory=dict)
    """By a tool's name in the chat, the server's for it."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """By a tool's name in the chat."""
    slips: tuple[str, ...] = ()
    """What is wrong with what the tools file says of them."""


def offered(
    server: McpServer,
    listed: Sequence[Any],
    names: ToolNames,
    code: ToolsCode,
    *,
    others: Collection[str],
    place: str,
) -> Offered:
    """The tools of `server`, as its bridge has `listed` them.

    Args:
        others: the prefixes of the other servers.
        place: of the server in the tools file, for people.
    """
    found: list[Tool] = []
    own_names: dict[str, str] = {}
    prints: dict[str, str] = {}
    files = {file: code.files[file] for file in code.reach.get(server.reach, ())}
    for item in listed:
        match item:
            case {
                "name": str(own),
                "description": str(description),
                "parameters": dict(parameters),
                "hints": [*hints],
                "fingerprint": str(mark),
            } if server.takes(own):
                name = names.of(server, own, others)
                own_names[name], prints[name] = own, mark
                found.append(
                    Tool(
                        name=name,
                        description=description,
                        parameters=parameters,
                        callable_ref=f"mcp:{server.name}:{own}",
                        signature=signature(name, parameters),
                        place=place,
                        options=_options(server, own, code),
                        source_digest=server.digest({"fingerprint": mark}, files),
                        folder=str(code.folder),
                        server=server.name,
                        remarks=remarks(server, hints),
                    )
                )
    right, slips = with_right_rules(found)
    if listed and not found:
        slips.append("none of its tools fits include: and exclude:")
    return Offered(tuple(right), own_names, prints, tuple(slips))


def _options(server: McpServer, own: str, code: ToolsCode) -> ToolOptions:
    said = {"untrusted": True, **server.options_of(own)}
    options = replace(ToolOptions(), memory=None, env=server.env, given=server.given, cwd=server.cwd, **said)
    return options if code.allows else asking(options)


def with_right_rules(tools: Sequence[Tool]) -> tuple[list[Tool], list[str]]:
    """The tools of a server, and what is wrong with the file's rules for them.

    A rule may mean those of them that have such an argument. Where none has, it is a slip: calls under it ask.
    """
    slips: dict[str, None] = {}
    known: dict[Rules, set[str]] = {}
    for tool in tools:
        rules = tool.options.rules
        known.setdefault(rules, set()).update(tool.parameters.get("properties", {}))
        slips |= dict.fromkeys(rules.problems(tool.parameters, all_known=False))
    wrong = {rules: sorted(rules.names() - names) for rules, names in known.items()}
    for name in sorted({name for names in wrong.values() for name in names}):
        slips[
            f'approval names the argument "{name}", which none of its tools has; correct it: until then calls ask'
        ] = None
    found = [replace(one, options=asking(one.options)) if wrong[one.options.rules] else one for one in tools]
    return found, list(slips)


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
