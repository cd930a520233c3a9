"""The tools of a chat: what the chat's process knows of them, and what the process of the tools holds as well.

`Tool` and `Toolbox` are plain values that cross a pipe as JSON; `LoadedTool` and `LoadedToolbox` hold the functions
and never leave the process that imported them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.tools.rules import NO_RULES, Rules
from toolchat.wire.messages import ToolSpec

if TYPE_CHECKING:
    from pydantic import BaseModel

MIB = 1024**2


class Approval(StrEnum):
    """Whether a call may run without asking; what is made of it is the approval policy's, `toolchat.chat.approval`."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Privileges(StrEnum):
    """What a tool may do to the user's other processes, see `toolchat.tools.host.confine`."""

    DROP = "drop"
    KEEP = "keep"
    """It may run sudo, signal any process of the user's, and open terminals."""


class Untyped(StrEnum):
    """What becomes of a parameter without a type, see `toolchat.tools.untyped`."""

    TAKE = "take"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """How a tool may be run."""

    approval: Approval = Approval.ASK
    """Of calls that none of `rules` means."""
    timeout: float = 60.0
    """Seconds that one call may take."""
    memory: int | None = 2048 * MIB
    """Bytes that one call may take beyond the process's size after the imports; None for no limit, which tools that
    map GPU memory need."""
    max_result_tokens: int | None = None
    """Of one result; None for a quarter of the model's context."""
    stateful: bool = False
    """Whether calls share one process that lives as long as the chat."""
    env: tuple[str, ...] = ()
    """Names of environment variables it may see beyond the basic ones."""
    sets: tuple[tuple[str, str], ...] = ()
    """Variables that the tools file sets, with their values as it writes them: they may hold `${NAME}`."""
    given: tuple[str, ...] = ()
    """Names of the variables, basic ones left out, whose values are in its `arguments` or `sets`; sorted."""
    cwd: str | None = None
    """The folder that calls run in, as the file writes it; None for the chat's own."""
    privileges: Privileges = Privileges.DROP
    untyped: Untyped = Untyped.TAKE
    effects: bool = False
    """Whether its calls ask in a turn in which an untrusted tool has spoken."""
    untrusted: bool = False
    """Whether its results are strangers' words."""
    rules: Rules = NO_RULES


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call, as the chat knows it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """A JSON Schema (draft 7) of type "object"."""
    callable_ref: str
    """ "module:function" or "./file.py:function", as the tools file names it; ":Class.method" for a method."""
    signature: str
    """For people: `get_current_weather(city: str, state: str, unit: "celsius" | "fahrenheit")`."""
    place: str
    """ "FILE:LINE:COL" of the entry in the tools file."""
    options: ToolOptions = ToolOptions()
    group: str | None = None
    """Stateful tools of one group share one process: those of one class, or of one module."""
    source_digest: str = ""
    """Another one once the function's code, its place or its schema has changed, see `toolchat.tools.code`. Empty
    where that is not known: then no call can be allowed beforehand."""
    folder: str | None = None
    """Where its tools file lies, from which its `cwd` is told; None where its calls run in the chat's own folder."""
    order: int = 0
    """Of its entry among those of the file and the files that it includes."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it is offered: each goes on with a sentence that its name begins."""
    untyped: tuple[str, ...] = ()
    """Parameters that neither its signature nor the tools file gives a type."""
    from_file: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By parameter, the keywords that the tools file gives it."""
    server: str = ""
    """The MCP server that has it; empty for the tools of this machine's own."""
    remarks: tuple[str, ...] = ()
    """What whoever decides on a call should know of it, a sentence each."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told of this tool."""
        return ToolSpec(self.name, self.description, self.parameters)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of one file, in its order."""

    path: Path
    tools: tuple[Tool, ...]
    notices: tuple[str, ...] = ()
    """What a person should be told though the tools work, one line each."""
    broken: tuple[str, ...] = ()
    """Servers whose tools are missing, and why, one line each."""

    def get(self, name: str) -> Tool | None:
        """The tool of that name, if there is one."""
        return next((tool for tool in self.tools if tool.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tool.name for tool in self.tools)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of all of them."""
        return tuple(tool.spec for tool in self.tools)


def unknown_tool_message(name: str, toolbox: Toolbox) -> str:
    """What a model is told that called a tool which does not exist."""
    if not toolbox.tools:
        return f'Error: there is no tool "{name}"; there are no tools'
    return f'Error: there is no tool "{name}"; the tools are {", ".join(toolbox.names)}'


@dataclass(frozen=True, slots=True)
class LoadedTool:
    """A tool with its function, in the process that imported it."""

    tool: Tool
    function: Callable[..., Any]
    """Synchronous or asynchronous, or a generator function."""
    model: type[BaseModel]
    """Checks and converts arguments, see `toolchat.tools.argument_check`."""
    owner: Any = None
    """Of a method of a class that the tools file names, the object, which is closed in the end."""


@dataclass(frozen=True, slots=True)
class LoadedToolbox:
    """The loaded tools of one file."""

    path: Path
    tools: tuple[LoadedTool, ...]
    notices: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    """The local files that were imported for them."""

    def get(self, name: str) -> LoadedTool | None:
        """The tool of that name, if there is one."""
        return next((loaded for loaded in self.tools if loaded.tool.name == name), None)

    @property
    def toolbox(self) -> Toolbox:
        """What the chat is told of them."""
        return Toolbox(self.path, tuple(loaded.tool for loaded in self.tools), self.notices)
