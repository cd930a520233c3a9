"""The tools of a chat once they are loaded: plain values that the other rooms read and never change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from toolchat.wire.messages import ToolSpec


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    """A JSON Schema (draft 7) of type "object"."""
    function: Callable[..., Any]
    """Synchronous or asynchronous."""
    callable_ref: str
    """ "module:function", as the tools file names it."""
    signature: str
    """For people: `get_current_weather(city: str, state: str, unit: "celsius" | "fahrenheit")`."""
    model: type[BaseModel]
    """Checks and converts arguments, see `toolchat.tools.check`."""
    place: str
    """ "FILE:LINE:COL" of the entry in the tools file."""

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
