"""Whether a call may run: what the tools file says, what the command line says, and what the user has granted.

The policy decides and remembers; it never prints, and whoever can be asked is given to `decider`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from toolchat.chat.calls import Decide, Decision, PendingCall
from toolchat.tools.problems import did_you_mean
from toolchat.tools.rules import Call, Grant, Likeness, call_of
from toolchat.tools.toolbox import Approval, Tool, Toolbox
from toolchat.wire.errors import ToolchatError, UsageError

NOBODY = "it needs the user's approval, and nobody can be asked; answer without it"
"""What the model is told of a call that would be asked about where there is no terminal."""

DENIED = "the user does not allow this tool; answer without it"


class Scope(StrEnum):
    """For how long a call is allowed."""

    ONCE = "once"
    SESSION = "session"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a user answers who is asked about a call."""

    allowed: bool
    scope: Scope = Scope.ONCE
    exact: bool = False
    """Beyond this call, whether only calls with exactly these arguments are allowed."""
    like: Likeness | None = None
    """Beyond this call, what only calls that are like it are allowed by."""
    reason: str = ""
    """For the model, where the call is declined."""
    arguments: dict[str, Any] | None = None
    """The arguments as the user changed them; None where they stay."""
    end_turn: bool = False
    """Whether the turn is to end, with the calls that have not been asked about declined."""


Ask = Callable[[PendingCall], Awaitable[Reply]]
"""Asks the user; cancelled where the turn is interrupted meanwhile."""


class Grants(Protocol):
    """Where the grants are that outlive a session."""

    def granted(self) -> Iterable[Grant]:
        """All of them, as they are now."""

    def add(self, grant: Grant) -> None:
        """Keep one. Raises ToolchatError where that cannot be done."""


class ApprovalPolicy:
    """Of what is said of a tool, the first that applies:

    `deny` · a `deny` rule · `allow` · an `ask` rule · an `allow` rule · its own `approval: deny` · its own
    `approval: allow` · `yes` · a grant · else the user is asked.

    So `yes` answers questions and lifts no refusal of the tools file; only naming the tool in `allow` does, and nothing
    lifts a `deny` rule. What an `ask` rule means is not asked about where `yes` or a grant for exactly these arguments
    answers it: other grants were given with no such call in sight.

    Of a call with effects after an untrusted tool has spoken in its turn, neither rules and `approval: allow` of the
    tools file nor a grant allow it: `yes` and `allow` do.
    """

    def __init__(
        self, grants: Grants, *, yes: bool = False, allow: Collection[str] = (), deny: Collection[str] = ()
    ) -> None:
        self._grants = grants
        self._yes = yes
        self._allow = frozenset(allow)
        self._deny = frozenset(deny)
        self._session: set[Grant] = set()

    @property
    def named(self) -> frozenset[str]:
        """The tools that `allow` and `deny` name."""
        return self._allow | self._deny

    def check(self, toolbox: Toolbox) -> None:
        """Raise UsageError for a name in `allow` or `deny` that no tool has: a slip there must not go unnoticed.

        Grants of tools that have another name now are kept under that.
        """
        for flag, names in (("--deny", self._deny), ("--allow", self._allow)):
            for name in sorted(names.difference(toolbox.names)):
                known = f"the tools are {', '.join(toolbox.names)}" if toolbox.tools else "there are no tools"
                hint = did_you_mean(name, toolbox.names, known)
                raise UsageError(f"{flag} {name}: there is no such tool; {hint}")
        self._rename(toolbox)

    def _rename(self, toolbox: Toolbox) -> None:
        names = {tool.source_digest: tool.name for tool in toolbox.tools if tool.source_digest}
        for grant in self._grants.granted():
            name = names.get(grant.digest, grant.tool)
            if name != grant.tool:
                with suppress(ToolchatError):  # it can be revoked by its old name then
                    self._grants.add(replace(grant, tool=name))

    @property
    def session_grants(self) -> tuple[Grant, ...]:
        """What was granted for the session only."""
        return tuple(sorted(self._session, key=lambda grant: (grant.digest, grant.arguments or "")))

    def have_session_grants(self, grants: Iterable[Grant]) -> None:
        """Go on with a session in which these were granted, and with none of another."""
        self._session = set(grants)

    def standing(self, tool: Tool) -> Approval:
        """What holds of the tool's calls that no rule means; ASK too where some arguments are granted."""
        if tool.name in self._deny:
            return Approval.DENY
        if tool.name in self._allow:
            return Approval.ALLOW
        if tool.options.approval is not Approval.ASK:
            return tool.options.approval
        return Approval.ALLOW if self._yes or self._is_granted(tool) else Approval.ASK

    def judge(self, pending: PendingCall) -> Approval:
        """Whether the call runs, does not, or is asked about."""
        judged = self._judged(pending)
        told = self._yes or pending.tool.name in self._allow
        # Strangers' words may have led to it: what was said of the tool before they came does not count now.
        return Approval.ASK if pending.heard and judged is Approval.ALLOW and not told else judged

    def _judged(self, pending: PendingCall) -> Approval:
        tool, arguments = pending.tool, pending.call.arguments
        if tool.name in self._deny:
            return Approval.DENY
        call = call_of(tool, arguments)
        verdict = tool.options.rules.verdict(call)
        if verdict == "deny":
            return Approval.DENY
        if tool.name not in self._allow:
            match verdict:
                case "ask":
                    answered = self._yes or self._is_granted(tool, arguments)
                    return Approval.ALLOW if answered else Approval.ASK
                case "allow":
                    return Approval.ALLOW
        standing = self.standing(tool)
        if standing is Approval.ASK and (self._is_granted(tool, arguments) or self._is_like_granted(tool, call)):
            return Approval.ALLOW
        return standing

    def learn(self, pending: PendingCall, reply: Reply) -> str:
        """Remember what the reply grants beyond its call; what the user should be told of that, as a rule nothing.

        A grant for good that cannot be kept holds for the session.
        """
        if not reply.allowed or reply.scope is Scope.ONCE:
            return ""
        if not pending.tool.source_digest:
            return f"{pending.tool.name} is allowed this once: what code it is cannot be told"
        arguments = pending.call.arguments if reply.arguments is None else reply.arguments
        if reply.like is not None:
            grant = Grant.like(pending.tool, reply.like)
        else:
            grant = Grant.of(pending.tool, arguments if reply.exact else None)
        if reply.scope is Scope.ALWAYS:
            try:
                self._grants.add(grant)
            except ToolchatError as error:
                self._session.add(grant)
                return f"{pending.tool.name} is allowed for this session only: {error}"
            return ""
        self._session.add(grant)
        return ""

    def _is_granted(self, tool: Tool, arguments: dict[str, Any] | None = None) -> bool:
        """Whether there is a grant for these very arguments; None: for all."""
        if not tool.source_digest:
            return False
        wanted = Grant.of(tool, arguments)
        if wanted in self._session:
            return True
        # What can no longer be read grants nothing, and is no reason to end a chat.
        with suppress(ToolchatError):
            return wanted in self._grants.granted()
        return False

    def _is_like_granted(self, tool: Tool, call: Call) -> bool:
        if not tool.source_digest:
            return False
        grants = list(self._session)
        with suppress(ToolchatError):
            grants += self._grants.granted()
        patterns = (grant.likeness for grant in grants if grant.digest == tool.source_digest)
        return any(likeness is not None and likeness.means(call) for likeness in patterns)


def decider(policy: ApprovalPolicy, ask: Ask | None) -> Decide:
    """The loop's `decide`: the policy's word, and where that is to ask, the user's, one question at a time.

    `ask` is None where nobody can be asked; the call is then declined, and the model told so.
    """
    asking = asyncio.Lock()

    async def decide(pending: PendingCall) -> Decision:
        # Judged within the lock: the answer before may have granted this call too.
        async with asking:
            match policy.judge(pending):
                case Approval.ALLOW:
                    return Decision(True)
                case Approval.DENY:
                    return Decision(False, DENIED, asked=False)
            if ask is None:
                return Decision(False, NOBODY, asked=False)
            reply = await ask(pending)
            notice = policy.learn(pending, reply)
        arguments = reply.arguments if reply.allowed else None
        return Decision(reply.allowed, reply.reason, arguments, end_turn=reply.end_turn, notice=notice)

    return decide
