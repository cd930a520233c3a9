"""Puts a chat together: engine, conversation, tools, record; and what may be done to them while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import toolchat
from toolchat.chat.approval import ApprovalPolicy, Ask, decider
from toolchat.chat.calls import CallRunner, Decide, allow_all
from toolchat.chat.conversation import Conversation
from toolchat.chat.images import refuse_unseen
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import Engine, EngineInfo, GenerateOptions
from toolchat.session.keeper import EngineKeeper
from toolchat.session.startup import Plan
from toolchat.session.stream import KeptAnswers, Show, Stream
from toolchat.settings import Settings, state_folder
from toolchat.store.record import SessionRecord
from toolchat.store.results import keep_image, keep_result
from toolchat.tools.problems import did_you_mean
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Approval, Tool, Toolbox
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import (
    EngineState,
    HistoryEdited,
    Notice,
    RoundFinished,
    SessionStarted,
    TurnFinished,
)
from toolchat.wire.messages import Image, ToolResult, ToolSpec, UserMessage


class NewModel(Protocol):
    """Another model, whose files are here."""

    @property
    def model(self) -> str: ...
    @property
    def settings(self) -> Settings: ...
    def engine(self) -> Engine: ...


@dataclass(frozen=True, slots=True)
class Sources:
    tools: Callable[[], Awaitable[CallRunner]]
    """Raises UsageError."""
    model: Callable[[str, Callable[[str], None]], Awaitable[NewModel]]
    """Given a name, and what to tell the stages of fetching it. Raises UsageError or EngineError."""


class Session:
    """One chat. Every event is on disk before `show` is called with it; edits of the history are for between turns."""

    def __init__(
        self,
        settings: Settings,
        model: str,
        engine: Engine,
        records: Path,
        show: Show,
        sources: Sources | None = None,
        plain: Show | None = None,
    ) -> None:
        """`sources` may be left out where neither tools nor model will be changed.

        `plain` is called in place of `show` once that has failed, see `Stream`.
        """
        self.model = model
        self.conversation = Conversation(settings.system)
        self.switched_off: frozenset[str] = frozenset()
        self.used_tokens = 0
        self._stream = Stream(records, show, plain)
        self._keeper = EngineKeeper(engine, self._stream.emit, self._engine_died)
        self._options = _options(settings)
        self._sources = sources
        self._kept = KeptAnswers()
        self._crash_told = False
        self._loop: ChatLoop | None = None
        self._runner: CallRunner = ToolRunner.none()
        self._policy: ApprovalPolicy | None = None
        self._decide: Decide = allow_all
        self._counting: asyncio.Task[None] | None = None
        self._results = records / self._stream.session
        self._stream.emit(SessionStarted(model, f"toolchat {toolchat.__version__}"))

    def equip(self, runner: CallRunner, policy: ApprovalPolicy | None = None, ask: Ask | None = None) -> None:
        """Say which tools there are, and who decides on calls; before the first turn. They end with the session.

        Calls run as `policy` says (None: all); where it says to ask, `ask` does, and None declines. Raises UsageError
        where the tool that the model is to call, or one that the policy names, is not among them.
        """
        self._policy = policy
        self._decide = decider(policy, ask) if policy is not None else allow_all
        self._use(runner)
        if policy is not None:
            policy.check(runner.toolbox)
        check_tool_choice(self._options.tool_choice, runner.toolbox)

    def notify(self, text: str) -> None:
        """Tell the user something that is no part of the conversation."""
        self._stream.emit(Notice(text))

    @property
    def record(self) -> SessionRecord:
        return self._stream.record

    @property
    def loading(self) -> bool:
        return self._keeper.loading

    @property
    def info(self) -> EngineInfo | None:
        return self._keeper.engine.info

    @property
    def toolbox(self) -> Toolbox:
        return self._runner.toolbox

    def approval(self, tool: Tool) -> Approval:
        return self._policy.standing(tool) if self._policy is not None else Approval.ALLOW

    @property
    def last_answer(self) -> str:
        return self._kept.answer

    @property
    def last_results(self) -> Sequence[ToolResult]:
        return self._kept.results

    async def launch(self) -> None:
        """Start the engine, or start it again, and go on while it loads."""
        self._crash_told = False
        await self._keeper.launch()

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""
        await self._keeper.ready()
        if self.conversation.turns:
            # Another model counts otherwise.
            self._count()

    async def ask(self, text: str, images: Sequence[Image] = ()) -> TurnFinished:
        """One turn. Raises EngineError where the engine refuses it; the conversation is then as it was.

        Raises UsageError where there are images and the model does not see.
        """
        assert self._loop is not None
        if images and self.info is not None and not self.info.sees:
            raise refuse_unseen(self.model)
        finished: TurnFinished | None = None
        # aclosing: where `show` raises (a closed pipe), the turn ends here and now and not at some later collection.
        async with contextlib.aclosing(self._loop.turn(text, images)) as turn:
            async for event in turn:
                self._kept.see(event.body)
                match event.body:
                    case EngineState("crashed"):
                        self._crash_told = True
                    case RoundFinished(_, usage):
                        self.used_tokens = usage.prompt_tokens + usage.completion_tokens
                    case TurnFinished() as ended:
                        finished = ended
                self._stream.pass_on(event)
        assert finished is not None
        self._count()
        return finished

    def interrupt(self) -> None:
        """Stop the turn under way; `ask` then returns soon."""
        if self._loop is not None:
            self._loop.interrupt()

    async def settled(self) -> None:
        """Wait until the engine answers again after an interrupt, or is gone: see `kill` for one that does not."""
        # Any request does: the worker takes them in order. Whether this one makes sense to it is all the same.
        with contextlib.suppress(EngineError):
            await self._keeper.engine.count((), ())

    def kill(self) -> None:
        """End an engine that does not answer, at once; the turn ends as after a crash, and `launch` starts anew."""
        self._keeper.kill()

    def undo(self) -> UserMessage | None:
        """Take the last turn back; its question, or None where there is no turn."""
        question = self.conversation.undo()
        if question is not None:
            self._kept.forget_turn()
            self._edited("the last turn is taken back")
        return question

    def clear(self) -> None:
        """Forget every turn; the system prompt stays."""
        turns = self.conversation.turns
        self.conversation.clear()
        self._kept.forget()
        if turns:
            self._edited("every turn is forgotten")

    def set_system(self, text: str | None) -> None:
        """From the next turn on."""
        self.conversation.set_system(text)
        self._edited(f"the system prompt is now: {text}" if text else "the system prompt is removed")

    def switch_tool(self, name: str, on: bool) -> None:
        """Offer a tool to the model from the next turn on, or not. Raises UsageError for a name that there is not."""
        if self.toolbox.get(name) is None:
            names = self.toolbox.names
            hint = did_you_mean(name, names, f"the tools are {', '.join(names)}") if names else "there are no tools"
            raise UsageError(f"there is no tool {name}; {hint}")
        if on is (name in self.switched_off):
            self.switched_off ^= {name}
            self._edited(f"the tool {name} is switched {'on' if on else 'off'}")

    async def reload_tools(self) -> None:
        """Read the tools file and the functions' code again. Raises UsageError; the tools are then as they were."""
        old, new = self._runner, await self._changeable().tools()
        self.switched_off &= set(new.toolbox.names)
        self._use(new)
        try:
            self._edited(f"the tools are read again: {', '.join(new.toolbox.names)}")
        finally:
            await old.close()

    async def change_model(self, name: str) -> None:
        """Load another model and keep the conversation; returns when its loading is under way, see `ready`.

        Raises UsageError or EngineError where it cannot be had, or not be loaded here; the old model then stays.
        """
        told: list[str] = []

        def tell(stage: str) -> None:
            told.append(stage)
            self._stream.emit(EngineState(stage, name))

        try:
            found = await self._changeable().model(name, tell)
            await self._keeper.replace(found.engine)
        except BaseException:
            # The stages of fetching say nothing about the engine that is still there, if it is.
            if not self.loading and (told or not (self.info is not None)):
                self._stream.emit(EngineState("ready" if (self.info is not None) else "not loaded", self.model))
            raise
        self.model, self._options = found.model, _options(found.settings)
        self._renew_loop()
        self._edited(f"the model is now {self.model}")
        await self.launch()

    async def close(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        await self._keeper.stop()
        await self._runner.close()
        await self._keeper.close()
        self.record.close()

    def _engine_died(self, how: str) -> None:
        # Within a turn the loop says so, before this or after it.
        if not self.conversation.open and not self._crash_told:
            self._stream.emit(EngineState("crashed", f"{how}; a message starts it again"))

    def _changeable(self) -> Sources:
        if self.conversation.open:
            raise UsageError("a turn is under way; stop it first")
        if self._sources is None:
            raise UsageError("this chat keeps the tools and the model that it began with")
        return self._sources

    def _use(self, runner: CallRunner) -> None:
        self._runner = runner
        self._renew_loop()
        for text in runner.toolbox.notices:
            self._stream.emit(Notice(text))

    def _renew_loop(self) -> None:
        self._loop = ChatLoop(
            engine=self._keeper.engine,
            conversation=self.conversation,
            runner=self._runner,
            options=self._options,
            stamp=self._stream.stamp,
            decide=self._decide,
            keep=self._keep,
            keep_image=lambda image: keep_image(self._results, image),
            offered=self._offered,
        )

    def _offered(self) -> list[ToolSpec]:
        return [spec for spec in self.toolbox.specs if spec.name not in self.switched_off]

    def _keep(self, result: ToolResult) -> str | None:
        """A result of which the model is shown a part."""
        self._kept.whole(result)
        return keep_result(self._results, result)

    def _edited(self, what: str) -> None:
        self._stream.emit(HistoryEdited(what))
        self._count()

    def _count(self) -> None:
        """Have the engine count what the conversation takes now; what it said before that stands until then."""
        if self._counting is not None:
            self._counting.cancel()
        # Within a turn the rounds say it.
        if self.info is not None and not self.conversation.open:
            self._counting = asyncio.create_task(self._counted(), name="count")

    async def _counted(self) -> None:
        with contextlib.suppress(EngineError):
            effort = self._options.reasoning_effort
            count = await self._keeper.engine.count(self.conversation.messages, self._offered(), effort)
            self.used_tokens = count.total


def _options(settings: Settings) -> GenerateOptions:
    return GenerateOptions(
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        reasoning_effort=settings.reasoning_effort,
        tool_choice=settings.tool_choice,
        parallel_tool_calls=settings.parallel_calls,
    )


NEEDS_NO_TOOL = ("auto", "none")


def check_tool_choice(choice: str, toolbox: Toolbox) -> None:
    """Raise UsageError where `choice` has no meaning and names no tool, or there are no tools to call."""
    if choice in NEEDS_NO_TOOL:
        return
    if not toolbox.tools:
        raise UsageError(f"--tool-choice {choice}: there are no tools to call; see --tools and --no-tools")
    if choice == "required" or choice in toolbox.names:
        return
    known = [*toolbox.names, *NEEDS_NO_TOOL, "required"]
    hint = did_you_mean(choice, known, f"the tools are {', '.join(toolbox.names)}")
    raise UsageError(f"--tool-choice {choice}: there is no such tool; {hint}")


@contextlib.asynccontextmanager
async def open_session(
    plan: Plan, show: Show, policy: ApprovalPolicy, ask: Ask | None = None, plain: Show | None = None
) -> AsyncIterator[Session]:
    """A session with its tools, whose engine is loading: await `ready` before the first turn. Closed in any case.

    Raises UsageError, see `Session.equip`.

    The engine's process starts before the tools' process, so that it imports vLLM while they are loaded.
    """
    sources = Sources(plan.start_tools_again, plan.with_model)
    session = Session(plan.settings, plan.model, plan.late_engine(), state_folder() / "sessions", show, sources, plain)
    try:
        if plan.choice.notice:
            session.notify(plan.choice.notice)
        await session.launch()
        runner = await plan.start_tools()
        session.equip(runner, policy, ask)
        yield session
    finally:
        await session.close()
