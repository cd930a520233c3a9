"""What the chat and the bridge to MCP servers tell each other.

The chat starts the bridge with a `BridgeRequest` in a file in memory; after that both send messages, which their
readers match by "op". A server is named by its number in the request.

To the bridge: `check` and `call` (with `id`, `server`, `tool`, `arguments`, `fingerprint`), `cancel` (`id`), `elicited`
(`id`, `action`, `content`), `ask` (for prompts and resources), `again` (a server that ended may be started again).
From it: `state` (of a server), `tools` (of a server, anew), `offers` (its prompts and resources, anew), `checked`,
`rejected`, `said` (a line under a call), `part`, `result`, `failed`, `elicit`, `unask`, `unasked` (a server asked the
user out of turn), `answer`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Served:
    """A server as the bridge starts or reaches it: every variable has its value."""

    name: str
    command: tuple[str, ...] = ()
    url: str = field(default="", repr=False)
    transport: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    start_timeout: float = 30.0
    roots: bool = False
    """Whether it is told that it may ask for `BridgeRequest.root`."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values of variables that the file gives it, by name: they are replaced in all that it says."""


@dataclass(frozen=True, slots=True)
class BridgeRequest:
    """What `python -m toolchat.tools.mcp.bridge` is to be. Its one argument is the descriptor of a file in memory,
    see `toolchat.tools.host.protocol.to_descriptor`."""

    channel: int
    token: str
    parent: int
    """The chat's pid."""
    confined: bool
    """Whether it enters a Landlock domain, with all its servers."""
    abi: int
    terminals: tuple[str, ...]
    root: str
    """The folder that servers are told of as their root."""
    files: str
    """The folder of the files that servers send."""
    logins: str
    """The folder with the user's logins at servers."""
    servers: tuple[Served, ...]

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        data: dict[str, Any] = json.loads(text)
        servers = tuple(Served(**server | {"command": tuple(server["command"])}) for server in data.pop("servers"))
        return cls(**data | {"terminals": tuple(data["terminals"]), "servers": servers})
