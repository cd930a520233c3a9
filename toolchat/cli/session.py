"""Puts a session together: settings, model, engine, tools, record. `ask` and `repl` differ in what they do with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toolchat
from toolchat.chat.approval import ApprovalPolicy, Ask, decider
from toolchat.chat.calls import Decide, allow_all
from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.cli.tools_file import choose_tools_file
from toolchat.engine.base import Engine, GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.models.abilities import reasoning_efforts
from toolchat.models.hardware import engine_device
from toolchat.models.resolve import ModelChoice, choose_model, obtain
from toolchat.settings import Settings, cache_folder, resolve, state_folder
from toolchat.store.logs import appendable
from toolchat.store.record import SessionRecord, new_session_id
from toolchat.store.results import keep_result
from toolchat.tools.run import ToolRunner
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import EngineState, Event, Notice, SessionStarted, Stamper, TurnFinished


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before anything heavy starts."""

    settings: Settings
    choice: ModelChoice
    folder: Path
    device: str
    tools: Path | None
    """The tools file; None for no tools."""
    debug: bool

    def engine(self) -> LocalEngine:
        """A new engine of this plan. Raises EngineError or UsageError where it cannot work."""
        config = plan(
            self.choice.name,
            self.folder,
            self.device,
            context=self.settings.context,
            kv_cache_gib=self.settings.kv_cache_gib,
            debug=self.debug,
        )
        return LocalEngine(config, state_folder() / "logs")


def prepare(flags: Mapping[str, Any], *, no_tools: bool = False, debug: bool = False) -> Plan:
    """Resolve the settings, choose the tools file (which may ask the user) and have the model's files here.

    Builds the demo model, or fetches the model, where need be. What is cheap to find wrong is found first.
    """
    settings = resolve(flags)
    tools = None if no_tools else choose_tools_file(settings.tools)
    device = engine_device()
    choice = choose_model(settings.model, cache_folder())
    settings = resolve(flags, model_defaults=choice.defaults)
    folder = obtain_with_progress(choice)
    check_reasoning_effort(settings.reasoning_effort, choice.name, folder)
    return Plan(settings, choice, folder, device, tools, debug)


def check_reasoning_effort(effort: str | None, model: str, folder: Path) -> None:
    """Raise UsageError where the model does not know this effort."""
    if effort is None or effort in (known := reasoning_efforts(folder)):
        return
    knows = f"knows {', '.join(known)}" if known else "has no such setting (tokenizers have it from v15 on)"
    raise UsageError(f"--reasoning-effort {effort}: the model {model} {knows}")


def obtain_with_progress(choice: ModelChoice) -> Path:
    """The model's folder; what has to be built first is shown as a bar on stderr."""
    cache = cache_folder()
    if choice.folder is not None:
        return choice.folder
    from toolchat.ui.progress import progress

    with progress(f"building the {choice.name} model" if choice.kind == "demo" else None) as report:
        return obtain(choice, cache, report)


class Session:
    """One chat: engine, conversation, record, and the one stream of events that all of them make.

    Every event is on disk before `show` is called with it.
    """

    def __init__(
        self, settings: Settings, model: str, engine: Engine, records: Path, show: Callable[[Event], None]
    ) -> None:
        name = new_session_id()
        self.engine = engine
        self.conversation = Conversation(settings.system)
        self.record = SessionRecord(records, name)
        self._options = GenerateOptions(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            reasoning_effort=settings.reasoning_effort,
        )
        self._show = show
        self._stamp = Stamper(name, time.time)
        self._loop: ChatLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._runner: ToolRunner | None = None
        self._results = records / name
        self._told_unrecorded = False
        self._emit(self._stamp(SessionStarted(model, f"toolchat {toolchat.__version__}")))

    def equip(self, runner: ToolRunner, decide: Decide = allow_all) -> None:
        """Say which tools there are, and who decides on calls; before the first turn. They end with the session."""
        self._runner = runner
        for text in runner.toolbox.notices:
            self._emit(self._stamp(Notice(text)))
        self._loop = ChatLoop(
            engine=self.engine,
            conversation=self.conversation,
            runner=runner,
            options=self._options,
            stamp=self._stamp,
            decide=decide,
            keep=lambda result: keep_result(self._results, result),
        )

    @property
    def alive(self) -> bool:
        """True while the engine is loaded and running."""
        return self.engine.info is not None

    async def launch(self) -> None:
        """Start the engine, or start it again, and go on while it loads."""
        self._starting = asyncio.create_task(self._start(), name="engine-start")
        # One turn of the event loop is enough for the engine's process to be under way.
        await asyncio.sleep(0)

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""
        assert self._starting is not None
        await self._starting

    async def ask(self, text: str) -> TurnFinished:
        """One turn. Raises EngineError where the engine refuses it; the conversation is then as it was."""
        assert self._loop is not None
        finished = None
        # aclosing: where `show` raises (a closed pipe), the turn ends here and now and not at some later collection.
        async with contextlib.aclosing(self._loop.turn(text)) as turn:
            async for event in turn:
                self._emit(event)
                if isinstance(event.body, TurnFinished):
                    finished = event.body
        assert finished is not None
        return finished

    def interrupt(self) -> None:
        """Stop the turn under way; `ask` then returns soon."""
        if self._loop is not None:
            self._loop.interrupt()

    async def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._runner is not None:
            await self._runner.close()
        await self.engine.close()
        self.record.close()

    async def _start(self) -> None:
        try:
            async for state in self.engine.start():
                self._emit(self._stamp(state))
        except EngineError as error:
            self._emit(self._stamp(EngineState("failed", str(error))))
            raise

    def _emit(self, event: Event) -> None:
        self.record.append(event)
        self._show(event)
        if self.record.failure is not None and not self._told_unrecorded:
            self._told_unrecorded = True
            self._show(self._stamp(Notice(f"this session is not recorded: {self.record.failure}")))


@contextlib.asynccontextmanager
async def open_session(
    plan: Plan, show: Callable[[Event], None], policy: ApprovalPolicy, ask: Ask | None = None
) -> AsyncIterator[Session]:
    """A session with its tools, whose engine is loading: await `ready` before the first turn. Closed in any case.

    Calls run as `policy` says; where it says to ask, `ask` does, and None declines. Raises UsageError for a name in
    the policy that no tool has.

    The engine's process starts before the tools' process, so that it imports vLLM while they are loaded.
    """
    session = Session(plan.settings, plan.choice.name, plan.engine(), state_folder() / "sessions", show)
    try:
        await session.launch()
        if plan.tools is None:
            runner = ToolRunner.none()
        else:
            log = appendable(state_folder() / "logs" / "tools.log")
            runner = await ToolRunner.start(plan.tools, log, debug=plan.debug)
        session.equip(runner, decider(policy, ask))
        policy.check(runner.toolbox)
        yield session
    finally:
        await session.close()
