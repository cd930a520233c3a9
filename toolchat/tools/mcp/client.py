"""The chat's view of MCP servers: starts their bridge, hears what becomes of each, and has their tools by legal names.

The chat's process imports nothing of the SDK, and starts no server itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchat.environment import refused, working_folder
from toolchat.tools.code import ToolsCode, asking
from toolchat.tools.commands import CommandFailed, file_digest
from toolchat.tools.host.channel import Message
from toolchat.tools.mcp.bridge_process import Bridge
from toolchat.tools.mcp.elicitation import Elicit, Elicitation
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.naming import signature, unique_name
from toolchat.tools.mcp.protocol import Served
from toolchat.tools.mcp.wording import changes, remarks, typed_prompts
from toolchat.tools.problems import Problems
from toolchat.tools.rules import Rules
from toolchat.tools.toolbox import Tool, ToolOptions
from toolchat.tools.variables import MissingVariable, basic_environment, expanded, named_environment, working_folder_of
from toolchat.wire.errors import ToolchatError, UsageError

SETTLE_SPARE = 5.0
"""Seconds that a bridge has beyond the start_timeout of its servers, for its own imports."""
_MOST_QUESTIONS = 8


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
    tools: tuple[Tool, ...] = ()
    own_names: dict[str, str] = field(default_factory=dict)
    """By a tool's name in the chat, the server's for it."""
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Those whose names can stand in a command, by name."""
    listed: tuple[Any, ...] = ()
    """What its bridge last told of its tools."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """By a tool's name in the chat."""
    notes: tuple[str, ...] = ()
    number: int = 0
    bridge: Bridge | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def line(self) -> str:
        return f"the server {self.server.name} is not there: {self.why}"


class McpTools:
    """The servers of a tools file; see `start`."""

    def __init__(self, code: ToolsCode, servers: Sequence[McpServer], log: Path | None) -> None:
        self.states = tuple(ServerState(server) for server in servers)
        self.elicit: Elicit | None = None
        """Asks the user what a server wants to know; None where nobody can be asked."""
        self.on_notice: Callable[[str], None] | None = None
        """Told, in one line, what becomes of a server after the start."""
        self._code = code
        self._log = log
        self._names: dict[tuple[str, str], str] = {}
        """A tool keeps its name as long as the chat, by server and the server's name for it."""
        self._taken: set[str] = set()
        self._waiting: dict[int, tuple[Callable[[Message], None], Bridge]] = {}
        self._ids = 0
        self._bridges: list[Bridge] = []
        self._asking: dict[tuple[Bridge, int], tuple[asyncio.Task[None], str]] = {}
        self._open_questions: dict[str, int] = {}
        self._closed = False
        self._used = False
        """Whether anybody has been told of the tools, so that a change of theirs is news."""

    @classmethod
    def start(cls, code: ToolsCode, log: Path | None, taken: Sequence[str] = ()) -> McpTools:
        """Start the servers of the tools file, and go on; see `settled`. `taken` are names of other tools.

        Call in the main thread. Whatever is wrong with a server is its own `ServerState.why`.
        """
        tools = cls(code, code.servers(), log)
        tools._taken |= set(taken)
        tools._begin()
        return tools

    def reserve(self, names: Sequence[str]) -> None:
        """Names of other tools, which no server's tool may have; one that has it by now gets another."""
        self._taken |= set(names)
        for key in [key for key, name in self._names.items() if name in names]:
            del self._names[key]
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
        for task, _ in self._asking.values():
            task.cancel()
        await asyncio.gather(*(bridge.close() for bridge in self._bridges))

    def state_of(self, tool: Tool) -> ServerState | None:
        return next((state for state in self.states if state.server.name == tool.server), None)

    def current(self, tool: Tool) -> Tool | None:
        """The tool of that name as it is now."""
        state = self.state_of(tool)
        return next((one for one in state.tools if one.name == tool.name), None) if state is not None else None

    def is_asking(self, server: str) -> bool:
        """Whether a question of that server is before the user."""
        return self._open_questions.get(server, 0) > 0

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
                    one = self._served(state.server)
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

    def _check_files(self, server: McpServer) -> None:
        """Raise UsageError where a file beside the tools file, which it runs, is not as it was accepted."""
        for file in self._code.reach.get(server.reach, ()):
            # What was shown, and accepted, is what runs.
            try:
                same = file_digest(file) == self._code.files.get(file)
            except CommandFailed as error:
                raise UsageError(str(error)) from None
            if not same:
                raise UsageError(f"{self._code.shown(file)} has changed since the tools were read; say /reload")

    def _served(self, server: McpServer) -> Served:
        """The server with the values of its variables. Raises UsageError where one is missing, or its code is other."""
        secrets_ = named_environment(server.given, os.environ)
        known = basic_environment(os.environ) | secrets_
        self._check_files(server)
        missing = [name for name in server.env if name not in os.environ]
        if missing:
            raise UsageError(f"it needs the variable {missing[0]}, which is not set; set it before toolchat starts")
        try:
            words = [str(expanded(word, known)) for word in server.command]
            url = str(expanded(server.url, known))
            headers = {name: str(expanded(text, known)) for name, text in server.headers}
            sets = {name: str(expanded(text, known)) for name, text in server.sets}
        except MissingVariable as missing_one:
            what = f"it needs the variable {missing_one.name}, which is not set"
            raise UsageError(f"{what}; set it before toolchat starts") from None
        folder = working_folder()
        cwd = str(folder) if folder is not None else "/"
        if server.cwd is not None:
            path, wrong = working_folder_of(server.cwd, self._code.folder, os.environ)
            if wrong:
                raise UsageError(wrong)
            cwd = str(path)
        local = set(server.local_files(self._code.folder))
        # A file beside the tools file is meant wherever the user is.
        words = [
            str(self._code.folder / word) if str(self._code.folder / plain) in local else word
            for word, plain in zip(words, server.command, strict=True)
        ]
        own = named_environment(server.env, os.environ)
        environment = basic_environment(os.environ) | own | sets
        if words and shutil.which(words[0], path=environment.get("PATH")) is None and "/" not in words[0]:
            raise UsageError(f'there is no program "{words[0]}"; install it, or correct command:')
        values = secrets_ | {name: text for name, text in own.items() if name not in basic_environment(os.environ)}
        return Served(
            server.name,
            tuple(words),
            url,
            server.transport,
            headers,
            environment,
            cwd,
            server.start_timeout,
            server.roots,
            values,
        )

    # What a bridge says

    def _heard(self, bridge: Bridge, message: Message) -> None:
        match message:
            case {"op": "state" | "tools", "server": int(number)}:
                state = next((one for one in self.states if one.bridge is bridge and one.number == number), None)
                if state is not None:
                    self._became(state, message)
            case {"op": "elicit", "id": int(number), "server": int(at)}:
                self._elicited(bridge, number, at, message)
            case {"op": "unask", "id": int(number)}:
                if (asked := self._asking.get((bridge, number))) is not None:
                    asked[0].cancel()
            case {"op": _, "id": int(number)} if number in self._waiting:
                self._waiting[number][0](message)

    def _became(self, state: ServerState, message: Message) -> None:
        match message:
            case {"op": "state", "state": "ready", "tools": [*tools], "notes": [*notes], "about": dict(about)}:
                again = state.state == "restarting"
                state.state, state.about, state.why = "ready", about, ""
                state.pid = message.get("pid", 0)
                state.prompts = typed_prompts(message.get("prompts"))
                self._take(state, tools, notes)
                if again:
                    self._notify(f"the server {state.server.name} was started again")
                state.settled.set()
            case {"op": "tools", "tools": [*tools], "notes": [*notes]}:
                before = {tool.name: tool for tool in state.tools}
                self._take(state, tools, notes)
                if self._used and (told := changes(before, {tool.name: tool for tool in state.tools})):
                    self._notify(f"the server {state.server.name} has other tools from the next turn on: {told}")
            case {"op": "state", "state": "died", "why": str(why)}:
                try:
                    self._check_files(state.server)
                except UsageError as error:
                    self._fail(state, f"it ended ({why}), and is not started again: {error}")
                    return
                state.state, state.why = "restarting", why
                self._notify(f"the server {state.server.name} ended ({why}); it is started again")
                if state.bridge is not None:
                    state.bridge.send({"op": "again", "server": state.number})
            case {"op": "state", "state": "failed", "why": str(why)}:
                self._fail(state, why)

    def _fail(self, state: ServerState, why: str, *, tell: bool = True) -> None:
        state.state, state.why, state.tools = "failed", why, ()
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
        server = state.server
        found: list[Tool] = []
        names: dict[str, str] = {}
        prints: dict[str, str] = {}
        others = [other.server.prefix for other in self.states if other is not state]
        files = {file: self._code.files[file] for file in self._code.reach.get(server.reach, ())}
        for item in tools:
            match item:
                case {
                    "name": str(own),
                    "description": str(description),
                    "parameters": dict(parameters),
                    "hints": [*hints],
                    "fingerprint": str(mark),
                } if server.takes(own):
                    key = (server.name, own)
                    if key not in self._names:
                        self._names[key] = unique_name(server.prefix, own, self._taken, others)
                        self._taken.add(self._names[key])
                    name = self._names[key]
                    names[name], prints[name] = own, mark
                    found.append(
                        Tool(
                            name=name,
                            description=description,
                            parameters=parameters,
                            callable_ref=f"mcp:{server.name}:{own}",
                            signature=signature(name, parameters),
                            place=self._where(state),
                            options=self._options(server, own),
                            source_digest=server.digest({"fingerprint": mark}, files),
                            folder=str(self._code.folder),
                            server=server.name,
                            remarks=remarks(server, hints),
                        )
                    )
        found, slips = with_right_rules(found)
        state.tools, state.own_names, state.fingerprints = tuple(found), names, prints
        state.listed = tuple(tools)
        state.notes = (*(str(note) for note in notes), *slips)
        if tools and not found:
            state.notes += ("none of its tools fits include: and exclude:",)

    def _options(self, server: McpServer, own: str) -> ToolOptions:
        said = {"untrusted": True, **server.options_of(own)}
        options = replace(ToolOptions(), memory=None, env=server.env, given=server.given, cwd=server.cwd, **said)
        return options if self._code.allows else asking(options)

    # Questions of servers

    def _elicited(self, bridge: Bridge, number: int, at: int, message: Message) -> None:
        state = next((one for one in self.states if one.bridge is bridge and one.number == at), None)
        if state is None:
            return
        server = state.server.name
        schema = message.get("schema")
        asked = Elicitation(
            server,
            str(message.get("message", "")),
            schema if isinstance(schema, dict) else {},
            str(message.get("url") or ""),
        )

        action = "cancel"
        content: Mapping[str, Any] = {}

        async def ask() -> None:
            nonlocal action, content
            self._open_questions[server] = self._open_questions.get(server, 0) + 1
            try:
                if self.elicit is None or len(self._asking) > _MOST_QUESTIONS:
                    action = "decline"
                    self._notify(f"the server {server} asked something and was declined: nobody can be asked")
                else:
                    answer = await self.elicit(asked)
                    action, content = ("accept" if answer.accepted else "decline"), answer.content
            except Exception:
                action = "decline"
                raise
            finally:
                self._open_questions[server] -= 1

        def asked_it(_: object) -> None:
            # Also where the task was cancelled before it began.
            self._asking.pop((bridge, number), None)
            bridge.send({"op": "elicited", "id": number, "action": action, "content": dict(content)})

        task = asyncio.get_running_loop().create_task(ask(), name="mcp-elicit")
        self._asking[bridge, number] = (task, server)
        task.add_done_callback(asked_it)

    def stop_asking(self, server: str) -> None:
        """Withdraw the questions of a server, whose call is interrupted."""
        for task, name in list(self._asking.values()):
            if name == server:
                task.cancel()


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
