"""The tools of one session: which there are, which of them the model is offered, and who decides on their calls.

The answer to a server's question is asked for here, too. What is changed of the tools counts from the next turn on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from toolchat.chat.approval import ApprovalPolicy, Ask, decider
from toolchat.chat.calls import CallRunner, Decide, PendingCall, ServedRunner, allow_all
from toolchat.session.past import changes
from toolchat.session.resources import with_resources
from toolchat.tools.mcp.elicitation import Elicit, Elicitation, Elicited, first_answer, problem_of
from toolchat.tools.problems import did_you_mean
from toolchat.tools.rules import Grant
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Approval, Tool, Toolbox
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Edit, ToolsChanged
from toolchat.wire.messages import ToolCall, ToolSpec

PATIENCE_SECONDS = 1.5
"""So long a turn waits for servers without a word."""
NEEDS_NO_TOOL = ("auto", "none")
_MOST_ANSWERS = 5
"""Answers to a server that do not fit, after which its question is declined."""


class Chat(Protocol):
    """Whose tools they are: the session."""

    def notify(self, text: str) -> None: ...
    def edited(self, edit: Edit) -> None: ...
    def renew_loop(self) -> None:
        """Other tools are called from now on, or decided on by others."""

    async def read_tools(self) -> CallRunner:
        """Read the tools file again. Raises UsageError, also where a turn is under way."""


class SessionTools:
    """Begins without tools, see `equip`."""

    def __init__(self, chat: Chat, know_secrets: Callable[[Mapping[str, str]], None] | None = None) -> None:
        """`know_secrets` is given the variables that the tools file gives tools: they may be said in the chat."""
        self._chat = chat
        self._know_secrets = know_secrets
        self.runner: CallRunner = ToolRunner.none()
        self.decide: Decide = allow_all
        self.switched_off: frozenset[str] = frozenset()
        """Names of tools, also of some that are not there now: such a tool is off when it comes back."""
        self._policy: ApprovalPolicy | None = None
        self._elicit: Elicit | None = None
        self._only: frozenset[str] = frozenset()
        """The tools that --tool names; empty for all."""
        self._never_offered: frozenset[str] = frozenset()
        """What --tool leaves out, whatever session is gone on with."""
        self._had_off: frozenset[str] = frozenset()
        """What the session that goes on had switched off."""
        self._recorded: tuple[ToolSpec, ...] = ()
        """What the record says that the model is offered."""
        self._told: set[str] = set()
        self._settling: asyncio.Task[None] | None = None
        """Waits for servers, before a turn."""

    def equip(
        self,
        runner: CallRunner,
        policy: ApprovalPolicy | None,
        ask: Ask | None,
        only: Collection[str],
        decide: Decide | None,
    ) -> None:
        """See `Session.equip`. The model is not told yet."""
        self._policy = policy
        self.decide = decide or (decider(policy, ask) if policy is not None else allow_all)
        self._elicit = eliciting(ask) if ask is not None else None
        self._use(runner)
        if policy is not None:
            policy.check(runner.toolbox)
        self._only = frozenset(only)
        self.switched_off = self._never_offered = left_out(runner.toolbox, only)

    @property
    def toolbox(self) -> Toolbox:
        return self.runner.toolbox

    def offered(self) -> list[ToolSpec]:
        """The tools that the model may call."""
        return [spec for spec in self.toolbox.specs if spec.name not in self.switched_off]

    @property
    def kept_off(self) -> frozenset[str]:
        """What the session keeps as switched off: not what only --tool leaves out, which is for this start alone."""
        return self.switched_off - (self._never_offered - self._had_off)

    def approval(self, tool: Tool) -> Approval:
        return self._policy.standing(tool) if self._policy is not None else Approval.ALLOW

    @property
    def session_grants(self) -> tuple[Grant, ...]:
        """What was granted for this session only."""
        return self._policy.session_grants if self._policy is not None else ()

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Any]]:
        """Prompts of MCP servers by "server:prompt"."""
        return self.runner.prompts if isinstance(self.runner, ServedRunner) else {}

    @property
    def resources(self) -> Mapping[str, Mapping[str, str]]:
        """Resources of MCP servers: by server, their addresses, and what they are."""
        return self.runner.resources if isinstance(self.runner, ServedRunner) else {}

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        """The text of one of `prompts`, and its images' files in base64. Raises ToolchatError."""
        assert isinstance(self.runner, ServedRunner)
        return await self.runner.prompt(name, arguments)

    async def with_resources(self, text: str, typed: str) -> str:
        """The question `text` with the servers' resources that `typed`, the user's own words in it, names."""
        if not isinstance(self.runner, ServedRunner):
            return text
        return await with_resources(text, typed, self.runner.serves_resources, self.runner.resource)

    def switch(self, name: str, on: bool) -> None:
        """Offer a tool to the model, or not. Raises UsageError for a name that there is not."""
        if self.toolbox.get(name) is None:
            names = self.toolbox.names
            hint = did_you_mean(name, names, f"the tools are {', '.join(names)}") if names else "there are no tools"
            raise UsageError(f"there is no tool {name}; {hint}")
        if on is (name in self.switched_off):
            self.switched_off ^= {name}
            self.record_offered()

    async def reload(self) -> None:
        """Read the tools file and the functions' code again. Raises UsageError; the tools are then as they were."""
        old, new = self.runner, await self._chat.read_tools()
        await settled_or_closed(new)
        self._use(new)
        try:
            self.record_offered()
        finally:
            await old.close()

    def have(self, switched_off: Collection[str], grants: Sequence[Grant]) -> None:
        """Be as a session had them that goes on."""
        self._had_off = frozenset(switched_off)
        self.switched_off = self._never_offered | self._had_off
        if self._policy is not None:
            self._policy.have_session_grants(grants)

    def compare(self, before: tuple[ToolSpec, ...]) -> None:
        """Tell how the tools differ from those that the model was offered before, and record it."""
        offered = tuple(self.offered())
        if told := changes(before, offered):
            self._chat.notify(told)
        self._recorded = offered
        if offered != before:
            self.record_offered()

    async def settle(self) -> None:
        """Wait for servers that are starting, and note what they offer by now: from this turn on the model is told."""
        if not isinstance(self.runner, ServedRunner):
            return
        await self._servers(self.runner)
        for line in (*self.toolbox.broken, *self.toolbox.notices):
            if line not in self._told:
                self._tell(line)
        if self._only:
            # Those that came since; what the user has switched on stays on.
            left = frozenset(self.toolbox.names).difference(self._only)
            self.switched_off |= left - self._never_offered
            self._never_offered |= left
        self._tell_secrets()
        if tuple(self.offered()) != self._recorded:
            self.record_offered()

    def stop_settling(self) -> bool:
        """Go on without the servers that are waited for; whether any were."""
        if self._settling is None:
            return False
        self._settling.cancel()
        return True

    def record_offered(self) -> None:
        """Tell, and so record, what the model is offered."""
        self._recorded = tuple(self.offered())
        self._chat.edited(ToolsChanged(self._recorded))

    async def _servers(self, runner: ServedRunner) -> None:
        """Wait for its servers, unless the user interrupts that: those that are late join in at a later turn."""
        if not runner.pending:
            return
        self._settling = settling = asyncio.create_task(runner.settled(), name="servers-settle")
        try:
            await asyncio.wait({settling}, timeout=PATIENCE_SECONDS)
            if not settling.done():
                self._chat.notify(f"waiting for MCP servers: {', '.join(runner.pending)}; Ctrl-C goes on without them")
            await asyncio.wait({settling})
        finally:
            settling.cancel()
            self._settling = None

    def _use(self, runner: CallRunner) -> None:
        self.runner = runner
        if isinstance(runner, ServedRunner):
            # What is wrong with a server stands among what is wrong with the tools, too.
            runner.attach(self._tell, self._elicit)
        self._tell_secrets()
        self._chat.renew_loop()
        for text in (*runner.toolbox.broken, *runner.toolbox.notices):
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._told.add(text)
        self._chat.notify(text)

    def _tell_secrets(self) -> None:
        if self._know_secrets is not None:
            # What the tools file gives tools is hidden in all that they say, and may be known to the user as well.
            names = {name for tool in self.toolbox.tools for name in tool.options.given}
            self._know_secrets({name: os.environ[name] for name in sorted(names) if name in os.environ})


def names_unknown_tools(choice: str, toolbox: Toolbox, policy: ApprovalPolicy, only: Collection[str]) -> bool:
    """Whether the command line names a tool that is not in `toolbox`; `choice` is its --tool-choice."""
    named = {*policy.named, *only, *([choice] if choice not in (*NEEDS_NO_TOOL, "required") else [])}
    return bool(named.difference(toolbox.names)) or choice == "required"


def left_out(toolbox: Toolbox, only: Collection[str]) -> frozenset[str]:
    """The tools that are switched off where `only` names those to be offered; none where it names none.

    Raises UsageError for a name that no tool has.
    """
    for name in only:
        if name not in toolbox.names:
            known = f"the tools are {', '.join(toolbox.names)}" if toolbox.tools else "there are no tools"
            raise UsageError(f"--tool {name}: there is no such tool; {did_you_mean(name, toolbox.names, known)}")
    return frozenset(toolbox.names).difference(only) if only else frozenset()


def check_tool_choice(choice: str, toolbox: Toolbox, switched_off: Collection[str] = ()) -> None:
    """Raise UsageError where `choice` has no meaning and names no tool, or there are no tools to call."""
    if choice in NEEDS_NO_TOOL:
        return
    if not toolbox.tools:
        raise UsageError(f"--tool-choice {choice}: there are no tools to call; see --tools and --no-tools")
    if choice in switched_off and choice in toolbox.names:
        raise UsageError(f"--tool-choice {choice}: that tool is not offered; name it with --tool, or leave --tool out")
    if choice == "required" or choice in toolbox.names:
        return
    known = [*toolbox.names, *NEEDS_NO_TOOL, "required"]
    hint = did_you_mean(choice, known, f"the tools are {', '.join(toolbox.names)}")
    raise UsageError(f"--tool-choice {choice}: there is no such tool; {hint}")


async def settled_or_closed(runner: CallRunner) -> None:
    """Wait for servers that are starting; a runner that nobody has yet ends where that is stopped."""
    if isinstance(runner, ServedRunner):
        try:
            await runner.settled()
        except BaseException:
            await runner.close()
            raise


def eliciting(ask: Ask) -> Elicit:
    """Puts a server's question to the user as a call to be decided on: its arguments are the answer, to be edited."""
    one_at_a_time = asyncio.Lock()

    async def elicit(asked: Elicitation) -> Elicited:
        content: dict[str, Any] = first_answer(asked.schema)
        tool = Tool("answer", asked.message, dict(asked.schema), f"mcp:{asked.server}", "answer()", "")

        async def validate(arguments: dict[str, Any]) -> str | None:
            return problem_of(asked.schema, arguments)

        async with one_at_a_time:
            for _ in range(_MOST_ANSWERS):
                reply = await ask(PendingCall(ToolCall("elicited0", "answer", content), tool, validate, asked))
                if not reply.allowed:
                    return Elicited(False)
                content = content if reply.arguments is None else reply.arguments
                if await validate(content) is None:
                    return Elicited(True, content)
        return Elicited(False)

    return elicit
