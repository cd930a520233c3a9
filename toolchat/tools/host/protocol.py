"""What the chat, the hosts of its tools and the processes of calls tell each other, and its form in JSON.

How a host is started, how a process for calls is set up, which tools share a host, and the toolbox that a host has
loaded. The other messages are small: `server`, `child`, `client` and `call` match them by their "op".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from toolchat.tools.rules import Rules
from toolchat.tools.toolbox import Approval, Privileges, Tool, Toolbox, ToolOptions, Untyped
from toolchat.tools.variables import MissingVariable, basic_environment, expanded, named_environment

PROGRAM = "tool"
"""`sys.argv[0]` of the processes that tools run in; argparse, for one, calls the program so."""
PYTHON_FLAGS = ("-P", "-X", "pycache_prefix=")
"""Flags of the interpreters that tools run in: the folder the user is in shadows no module, and bytecode of installed
modules lies beside them, whatever PYTHONPYCACHEPREFIX says, which is for the programs that tools start."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which tools share a host: those that may see the same variables and have the same rights.

    What one of them finds in its memory or environment, each of the others may know.
    """

    env: tuple[str, ...] = ()
    """The variables beyond the basic ones, sorted."""
    keeps_privileges: bool = False
    sets: tuple[tuple[str, str], ...] = ()
    """Variables that the tools file sets, as it writes their values; sorted."""
    given: tuple[str, ...] = ()
    """The variables whose values are in arguments or `sets`, sorted."""

    @classmethod
    def of(cls, options: ToolOptions) -> Self:
        keeps = options.privileges is Privileges.KEEP
        return cls(tuple(sorted(options.env)), keeps, tuple(sorted(options.sets)), options.given)

    @classmethod
    def decode(cls, data: object) -> Self:
        """From what JSON makes of `dataclasses.asdict`."""
        match data:
            case {"env": [*env], "keeps_privileges": bool(keeps), "sets": [*sets], "given": [*given]}:
                pairs = tuple((str(name), str(value)) for name, value in sets)
                return cls(tuple(map(str, env)), keeps, pairs, tuple(map(str, given)))
        raise ValueError("not a share")

    def given_values(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The values of the variables in arguments, where they are set: no part of the host's environment."""
        return named_environment(self.given, environment)

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What the host's environment has beyond the basic variables."""
        named = named_environment(self.env, environment)
        known = {**basic_environment(environment), **self.given_values(environment)}
        for name, value in self.sets:
            # What is missing the host says, with its place in the file.
            with suppress(MissingVariable):
                named[name] = expanded(value, known)
        return named


def shares(every: Iterable[ToolOptions]) -> list[Share]:
    """Those of all these tools, each once, in their order; at least one."""
    return list(dict.fromkeys(map(Share.of, every))) or [Share()]


@dataclass(frozen=True, slots=True)
class HostRequest:
    """What `python -m toolchat.tools.host.server` is to be. Its one argument is the descriptor of a file in memory that
    holds this, see `to_descriptor`: anybody may read the arguments of a process. Descriptors are inherited."""

    channel: int
    """The descriptor of the channel to the chat."""
    token: str
    """That channel's."""
    parent: int
    """The chat's pid."""
    code: int
    """A descriptor, see `ToolsCode.from_descriptor`."""
    share: Share | None
    """None where the host is to find out which shares the file has, and to take the first."""
    forks: bool
    """Whether the host imports the modules and forks; if not, each call gets an interpreter of its own."""
    size: int
    """Bytes of memory that an interpreter takes after the imports, where that is known already."""
    abi: int
    """Landlock's version, see `confine`."""
    terminals: tuple[str, ...]
    """The devices of the chat's own terminals."""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values of the share's variables in arguments."""

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        data = json.loads(text)
        share = Share.decode(data["share"]) if data["share"] is not None else None
        return cls(**data | {"share": share, "terminals": tuple(data["terminals"])})


@dataclass(frozen=True, slots=True)
class ProcessSetup:
    """What the chat wants a process for calls to be."""

    token: str
    """Of its channel to the chat."""
    cwd: str | None
    """None where the chat's own folder is gone."""
    memory: int | None
    """Bytes beyond the process's size at its beginning; None for no limit."""
    once: bool
    """Whether it ends after one call."""
    orders: tuple[int, ...] = ()
    """Which entries of the file its calls are of: nothing else is imported where it imports anew."""
    folder: str | None = None
    """The tool's own, which it has to run in; None for `cwd`."""

    @classmethod
    def decode(cls, data: dict[str, Any]) -> Self:
        """From what JSON makes of `dataclasses.asdict`."""
        return cls(**data | {"orders": tuple(data["orders"])})


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """What `python -m toolchat.tools.host.child` is to be, handed over as a `HostRequest` is."""

    setup: ProcessSetup
    parent: int
    """The host's pid."""
    channel: int
    """The descriptor of the channel to the chat."""
    code: int
    """A descriptor, see `ToolsCode.from_descriptor`."""
    share: Share
    abi: int
    """Landlock's version; 0 where the call keeps its privileges."""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    """As the host's."""

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        data = json.loads(text)
        return cls(**data | {"setup": ProcessSetup.decode(data["setup"]), "share": Share.decode(data["share"])})


class _Request(Protocol):
    """What a process is to be; see `HostRequest`."""

    def encode(self) -> str: ...


def to_descriptor(request: _Request) -> int:
    """An open file in memory that holds the request, for a process that inherits it."""
    descriptor = os.memfd_create("toolchat-request", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(request.encode().encode())
    return descriptor


def from_descriptor(descriptor: int) -> str:
    """What `to_descriptor` has written there, for `decode`; the descriptor is closed."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode()


def encode_toolbox(toolbox: Toolbox) -> dict[str, Any]:
    return {"tools": [asdict(tool) for tool in toolbox.tools], "notices": list(toolbox.notices)}


def decode_toolbox(path: Path, data: dict[str, Any]) -> Toolbox:
    """The toolbox that `encode_toolbox` was given, whose file lies at `path`."""
    return Toolbox(path, tuple(_tool(**tool) for tool in data["tools"]), tuple(data["notices"]))


def _tool(*, options: dict[str, Any], from_file: dict[str, list[str]], **rest: Any) -> Tool:
    options = options | {
        "approval": Approval(options["approval"]),
        "env": tuple(options["env"]),
        "sets": tuple((name, value) for name, value in options["sets"]),
        "given": tuple(options["given"]),
        "privileges": Privileges(options["privileges"]),
        "untyped": Untyped(options["untyped"]),
        "rules": Rules.decode(options["rules"]),
    }
    rest |= {name: tuple(rest[name]) for name in ("notes", "untyped", "remarks")}
    rest["from_file"] = {name: tuple(keywords) for name, keywords in from_file.items()}
    return Tool(**rest, options=ToolOptions(**options))
