"""Resources of MCP servers in a question: `@server:uri` has the resource's text sent along with it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection

_NAMED = re.compile(r"(?<!\S)@(?P<server>[a-zA-Z0-9_-]{1,40}):(?P<uri>\S+)")
MOST = 8
"""Resources that one question attaches."""

Read = Callable[[str, str], Awaitable[str]]
"""The text of a server's resource, given its name and the URI. Raises ToolchatError."""


def names_resource(mention: str) -> bool:
    """Whether the words behind an "@" may be a server's name and a URI."""
    return _NAMED.match(f"@{mention}") is not None


async def with_resources(text: str, typed: str, servers: Collection[str], read: Read) -> str:
    """The question `text` with the resources behind it that `typed`, the user's own words in it, names.

    Files and programs that are quoted ask for nothing. What names no server is only text.
    """
    found = dict.fromkeys((match["server"], match["uri"].rstrip(".,;!?)")) for match in _NAMED.finditer(typed))
    named = [one for one in found if one[0] in servers][:MOST]
    parts = [text]
    for server, uri in named:
        parts.append(quoted(f"@{server}:{uri}", await read(server, uri)))
    return "\n\n".join(parts)


def quoted(name: str, text: str) -> str:
    """A text that goes along with a question, with its name, in a fence that nothing in it ends."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`{3,}", text))])
    return f"{' '.join(name.split())}:\n{fence}\n{text.rstrip()}\n{fence}"
