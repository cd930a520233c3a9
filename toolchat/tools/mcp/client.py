"""The chat's view of MCP servers: starts their bridge, hears what becomes of each, and has their tools by legal names.

The chat's process imports nothing of the SDK, and starts no server itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchat.environment import refused
from toolchat.tools.code import ToolsCode
from toolchat.tools.host.channel import Message
from toolchat.tools.mcp.bridge_process import Bridge, check_files, served_by
from toolchat.tools.mcp.elicitation import Elicitation, Questions
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.protocol import Served
from toolchat.tools.mcp.server_tools import Offered, ToolNames, changes, offered, typed_prompts, typed_resources
from toolchat.tools.problems import Problems
from toolchat.tools.toolbox import Tool
from toolchat.wire.errors import ToolchatError, UsageError

SETTLE_SPARE = 5.0
"""Seconds that a bridge has beyond the start_timeout of its servers, for its own imports."""


@dataclass(slots=True)
class ServerState:
    """One server, as the chat knows it."""

    server: McpServer
    state: str = "starting"
    """ "starting", "ready", "failed", "restarting"."""
    why: str = ""
    """Why it is not ready, for people, one line."""
    about: Mapping[str, Any] = field(default_factory=dict)
    pid: int = 0
    offered: Offered = field(default_factory=Offered)
    """Its tools."""
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Those whose names can stand in a command, by name."""
    resources: dict[str, str] = field(default_factory=dict)
    """The addresses of those that can be typed, and what they are."""
    listed: tuple[Any, ...] = ()
    """What its bridge last told of its tools."""
    notes: tuple[str, ...] = ()
    number: int = 0
    bridge: Bridge | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tools(self) -> tuple[Tool, ...]:
        return self.offered.tools

    @property
    def line(self) -> str:
        return f"the server {self.server.name} is not there: {self.why}"


class McpTools:
    """The servers of a tools file; see `start`."""

    def __init__(self, code: ToolsCode, servers: Sequence[McpServer], log: Path | None) -> None:
        self.states = tuple(ServerState(server) for server in servers)
        self.questions = Questions(self._notify)
        self.on_notice: Callable[[str], None] | None = None
        """Told, in one line, what becomes of a server after the start."""
        self._code = code
        self._log = log
        self._names = ToolNames()
        self._waiting: dict[int, tuple[Callable[[Message], None], Bridge]] = {}
        self._ids = 0
        self._bridges: list[Bridge] = []
        self._closed = False
        self._used = False
        """Whether anybody has been told of the tools, so that a change of theirs is news."""

    @classmethod
    def start(cls, code: ToolsCode, log: Path | None, taken: Sequence[str] = ()) -> McpTools:
        """Start the servers of the tools file, and go on; see `settled`. `taken` are names of other tools.

        Call in the main thread. Whatever is wrong with a server is its own `ServerState.why`.
        """
        tools = cls(code, code.servers(), log)
        tools._names.reserve(taken)
        tools._begin()
        return tools

    def reserve(self, names: Sequence[str]) -> None:
        """Names of other tools, which no server's tool may have; one that has it by now gets another."""
        self._names.reserve(names)
        for state in self.states:
            if any(tool.name in names for tool in state.tools):
                self._take(state, state.listed, state.notes)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Those that there are now, in the order of the file's servers."""
        return tuple(tool for state in self.states for tool in state.tools)

    @property
    def pending(self) -> tuple[str, ...]:
        """The servers that are starting for the first time."""
        return tuple(state.server.name for state in self.states if not state.settled.is_set())

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Any]]:
        """By "server:prompt", as the servers describe them."""
        return {
            f"{state.server.name}:{name}": prompt
            for state in self.states
            if state.state == "ready"
            for name, prompt in state.prompts.items()
        }

    @property
    def serves_resources(self) -> tuple[str, ...]:
        """The servers that have resources."""
        ready = (state for state in self.states if state.state == "ready")
        return tuple(state.server.name for state in ready if "resources" in state.about.get("capabilities", ()))

    @property
    def resources(self) -> Mapping[str, Mapping[str, str]]:
        """By server, the addresses of its resources, and what they are; of a template the part before its first "{"."""
        ready = (state for state in self.states if state.state == "ready")
        return {state.server.name: state.resources for state in ready if state.server.name in self.serves_resources}

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        """The text of a prompt, and its images' files in base64. Raises ToolchatError."""
        server, _, own = name.partition(":")
        match await self.ask(server, "prompt", {"name": own, "arguments": dict(arguments)}):
            case {"text": str(text), "images": [*images]}:
                return text, [str(image) for image in images]
        raise ToolchatError(f"the server {server} gave no prompt")

    @property
    def broken(self) -> tuple[str, ...]:
        """Servers that are not there, one line each."""
        return tuple(f"{self._where(state)}: {state.line}" for state in self.states if state.state == "failed")

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be said of servers that are there."""
        return tuple(
            f"{self._where(state)}: {state.server.name}: {note}" for state in self.states for note in state.notes
        )

    async def settled(self) -> None:
        """Wait until each server is ready, or has failed."""

        async def settle(state: ServerState) -> None:
            try:
                await asyncio.wait_for(state.settled.wait(), state.server.start_timeout + SETTLE_SPARE)
            except TimeoutError:
                self._fail(state, f"it did not answer within {state.server.start_timeout:g} seconds (start_timeout:)")

        await asyncio.gather(*map(settle, self.states))
        self._used = True

    async def close(self) -> None:
        """End every server."""
        self._closed = True
        self.questions.withdraw_all()
        await asyncio.gather(*(bridge.close() for bridge in self._bridges))

    def state_of(self, tool: Tool) -> ServerState | None:
        return next((state for state in self.states if state.server.name == tool.server), None)

    def current(self, tool: Tool) -> Tool | None:
        """The tool of that name as it is now."""
        state = self.state_of(tool)
        return next((one for one in state.tools if one.name == tool.name), None) if state is not None else None

    def request(self, state: ServerState, message: Message, heard: Callable[[Message], None]) -> int:
        """Send a message to a server's bridge; `heard` is given all answers. The number to `forget`."""
        self._ids += 1
        if state.bridge is not None:
            self._waiting[self._ids] = (heard, state.bridge)
            state.bridge.send({**message, "id": self._ids, "server": state.number})
        else:
            heard({"op": "failed", "why": state.line, "status": "error"})
        return self._ids

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def cancel(self, state: ServerState, number: int) -> None:
        if state.bridge is not None:
            state.bridge.send({"op": "cancel", "id": number})

    async def ask(self, server: str, what: str, given: Any = None) -> Any:
        """What a server answers: "prompts", "prompt", "resources" or "read". Raises ToolchatError."""
        state = next((one for one in self.states if one.server.name == server), None)
        if state is None:
            raise UsageError(f"there is no server {server}")
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def heard(message: Message) -> None:
            if not answered.done():
                answered.set_result(message)

        number = self.request(state, {"op": "ask", "what": what, "with": given}, heard)
        try:
            message = await asyncio.wait_for(answered, state.server.start_timeout + SETTLE_SPARE)
        except TimeoutError:
            raise ToolchatError(f"the server {server} did not answer in time") from None
        finally:
            self.forget(number)
        if message.get("op") != "answer" or "error" in message:
            raise ToolchatError(f"the server {server}: {message.get('error') or message.get('why')}")
        return message.get("answer")

    def _where(self, state: ServerState) -> str:
        return Problems(self._code.path).where(state.server.place)

    # The start

    def _begin(self) -> None:
        if find_spec("mcp") is None:
            for state in self.states:
                self._fail(state, "the package mcp is not installed; run: pip install 'toolchat[mcp]'", tell=False)
            return
        for confined in (True, False):
            group = [state for state in self.states if state.server.keeps_privileges is not confined]
            served: list[Served] = []
            for state in group:
                try:
                    one = served_by(state.server, self._code)
                except ToolchatError as error:
                    self._fail(state, str(error), tell=False)
                    continue
                state.number = len(served)
                served.append(one)
            if not served:
                continue
            try:
                bridge = Bridge(served, self._log, confined=confined, heard=self._heard, ended=self._bridge_ended)
            except OSError as error:
                for state in group:
                    self._fail(state, f"no process can be started: {refused(error) or error.strerror}", tell=False)
                continue
            self._bridges.append(bridge)
            for state in group:
                if state.state == "starting":
                    state.bridge = bridge

    # What a bridge says

    def _heard(self, bridge: Bridge, message: Message) -> None:
        match message:
            case {"op": "state" | "tools" | "offers", "server": int(number)}:
                if (state := self._state(bridge, number)) is not None:
                    self._became(state, message)
            case {"op": "elicit", "id": int(number), "server": int(at)}:
                if (state := self._state(bridge, at)) is not None:
                    self._elicited(state, bridge, number, message)
            case {"op": "unask", "id": int(number)}:
                self.questions.withdraw((bridge, number))
            case {"op": "unasked", "server": int(at)}:
                if (state := self._state(bridge, at)) is not None:
                    self.questions.declined(state.server.name, "no call of it was under way")
            case {"op": _, "id": int(number)} if number in self._waiting:
                self._waiting[number][0](message)

    def _elicited(self, state: ServerState, bridge: Bridge, number: int, message: Message) -> None:
        schema = message.get("schema")
        asked = Elicitation(
            state.server.name,
            str(message.get("message", "")),
            schema if isinstance(schema, dict) else {},
            str(message.get("url") or ""),
        )

        def answer(action: str, content: Mapping[str, Any]) -> None:
            bridge.send({"op": "elicited", "id": number, "action": action, "content": dict(content)})

        self.questions.ask((bridge, number), asked, answer)

    def _state(self, bridge: Bridge, number: int) -> ServerState | None:
        return next((one for one in self.states if one.bridge is bridge and one.number == number), None)

    def _became(self, state: ServerState, message: Message) -> None:
        match message:
            case {"op": "state", "state": "ready", "tools": [*tools], "notes": [*notes], "about": dict(about)}:
                again = state.state == "restarting"
                state.state, state.about, state.why = "ready", about, ""
                state.pid = message.get("pid", 0)
                self._offer(state, message)
                self._take(state, tools, notes)
                if again:
                    self._notify(f"the server {state.server.name} was started again")
                state.settled.set()
            case {"op": "offers"}:
                self._offer(state, message)
            case {"op": "tools", "tools": [*tools], "notes": [*notes]}:
                before = {tool.name: tool for tool in state.tools}
                self._take(state, tools, notes)
                if self._used and (told := changes(before, {tool.name: tool for tool in state.tools})):
                    self._notify(f"the server {state.server.name} has other tools from the next turn on: {told}")
            case {"op": "state", "state": "died", "why": str(why)}:
                try:
                    check_files(state.server, self._code)
                except UsageError as error:
                    self._fail(state, f"it ended ({why}), and is not started again: {error}")
                    return
                state.state, state.why = "restarting", why
                self._notify(f"the server {state.server.name} ended ({why}); it is started again")
                if state.bridge is not None:
                    state.bridge.send({"op": "again", "server": state.number})
            case {"op": "state", "state": "failed", "why": str(why)}:
                self._fail(state, why)

    def _offer(self, state: ServerState, message: Message) -> None:
        state.prompts = typed_prompts(message.get("prompts"))
        state.resources = typed_resources(message.get("resources"), message.get("templates"))

    def _fail(self, state: ServerState, why: str, *, tell: bool = True) -> None:
        if state.state == "failed":
            return
        state.state, state.why, state.offered = "failed", why, replace(state.offered, tools=())
        state.settled.set()
        if tell:
            self._notify(f"{self._where(state)}: {state.line}")

    def _bridge_ended(self, bridge: Bridge, how: str) -> None:
        for state in self.states:
            if state.bridge is bridge:
                state.bridge = None
                self._fail(state, f"the process of the MCP servers ended ({how})")
        for heard, of in list(self._waiting.values()):
            if of is bridge:
                heard({"op": "failed", "why": f"the process of the MCP servers ended ({how})"})

    def _notify(self, text: str) -> None:
        if self.on_notice is not None and not self._closed:
            self.on_notice(text)

    def _take(self, state: ServerState, tools: Sequence[Any], notes: Sequence[Any]) -> None:
        """Have these as the tools of a server."""
        others = [other.server.prefix for other in self.states if other is not state]
        state.offered = offered(state.server, tools, self._names, self._code, others=others, place=self._where(state))
        state.listed = tuple(tools)
        state.notes = (*(str(note) for note in notes), *state.offered.slips)
