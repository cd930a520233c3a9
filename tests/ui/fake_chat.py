"""A chat that only keeps what is done to it, for tests of what stands on `toolchat.session.session.Session`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolchat.engine.base import EngineInfo
from toolchat.settings import SETTINGS, Settings
from toolchat.tools.toolbox import Approval, Tool, Toolbox, ToolOptions
from toolchat.wire.deltas import Usage
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.events import TurnFinished, TurnStatus
from toolchat.wire.messages import Image, ToolResult, ToolSpec, UserMessage


def tool(name: str, description: str = "", approval: Approval = Approval.ASK, stateful: bool = False) -> Tool:
    options = ToolOptions(approval=approval, stateful=stateful)
    return Tool(name, description, {"type": "object"}, f"mine:{name}", f"{name}()", "tools.yaml:1:1", options)


WEATHER = tool("get_current_weather", "Get the weather.\nMore on that.", Approval.ALLOW)
DELETE = tool("delete_file", "Delete a file.", Approval.DENY)
ADD = tool("add", "Add two numbers.")


class FakeRoom:
    """Nothing was edited."""

    is_making = False
    used_tokens = 0
    used_is_estimate = False
    counts = True
    """Whether a model is there to count."""

    async def tool_tokens(self, tool: ToolSpec) -> int | None:
        return 42 if self.counts else None

    def asks(self, ask: object) -> None:
        pass

    def undo_edit(self) -> str:
        return ""


@dataclass
class FakeChat:
    questions: list[UserMessage] = field(default_factory=list)
    room: FakeRoom = field(default_factory=FakeRoom)
    model: str = "demo"
    info: EngineInfo | None = field(default_factory=lambda: EngineInfo("demo", 2048, 13, constrains_calls=True))
    toolbox: Toolbox = field(default_factory=lambda: Toolbox(Path("tools.yaml"), (WEATHER, DELETE, ADD)))
    switched_off: frozenset[str] = frozenset()
    system: str | None = None
    loading: bool = False
    last_answer: str = ""
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of MCP servers."""
    last_thinking: str = ""
    last_results: Sequence[ToolResult] = ()
    can_retry_round: bool = False
    retried_round: asyncio.Event = field(default_factory=asyncio.Event)
    changed: dict[str, Any] = field(default_factory=dict)
    """What /set has changed."""
    approvals: dict[str, Approval] = field(default_factory=dict)
    """Where it is otherwise than the tools file says."""
    reloaded: Toolbox | None = None
    """What the next reload finds."""
    refuses: ToolchatError | None = None
    """What a turn, a reload and a change of the model raise."""

    async def settled(self) -> None:
        pass

    @property
    def conversation(self) -> FakeChat:
        """Itself: of a conversation the commands read `system`, `turns` and `numbers`."""
        return self

    @property
    def tools(self) -> FakeChat:
        """Itself, too."""
        return self

    @property
    def turns(self) -> int:
        return len(self.questions)

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(range(1, self.turns + 1))

    def approval(self, tool: Tool) -> Approval:
        return self.approvals.get(tool.name, tool.options.approval)

    async def launch(self) -> None:
        pass

    async def ready(self) -> None:
        pass

    async def ask(self, text: str, images: Sequence[Image] = (), *, typed: str = "") -> TurnFinished:
        if self.refuses is not None:
            raise self.refuses
        self.questions.append(UserMessage(text, tuple(images)))
        return TurnFinished(TurnStatus.ANSWERED, 1, Usage())

    async def retry_round(self) -> TurnFinished:
        self.retried_round.set()
        return TurnFinished(TurnStatus.ANSWERED, 1, Usage())

    def interrupt(self) -> None:
        pass

    def kill(self) -> None:
        self.info = None

    def undo(self) -> UserMessage | None:
        return self.questions.pop() if self.questions else None

    def clear(self) -> None:
        self.questions.clear()

    @property
    def system_prompt(self) -> FakeChat:
        return self

    def set(self, text: str | None) -> None:
        self.system = text

    @property
    def turn_settings(self) -> dict[str, Any]:
        begun = {name: getattr(Settings(), name) for name, setting in SETTINGS.items() if setting.per_turn}
        return begun | self.changed

    def set_for_turns(self, name: str, value: Any) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.changed.pop(name, None)
        if value is not None:
            self.changed[name] = value

    def switch(self, name: str, on: bool) -> None:
        if self.toolbox.get(name) is None:
            raise UsageError(f"there is no tool {name}")
        self.switched_off = self.switched_off - {name} if on else self.switched_off | {name}

    async def reload(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.toolbox = self.reloaded or self.toolbox

    async def change_model(self, name: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.model = name


def with_tools(toolbox: Toolbox, *tools: Tool) -> Toolbox:
    return replace(toolbox, tools=tools)
