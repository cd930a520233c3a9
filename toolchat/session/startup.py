"""Resolves what a chat starts with: settings, model, tools file, engine factory. Never asks the user, never prints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from toolchat.engine.base import Engine
from toolchat.engine.remote.config import Address
from toolchat.images.attached import read_images, refuse_unseen
from toolchat.models.card import OwnPrompt, own_prompt, reasoning_efforts, supports_images
from toolchat.models.choice import ModelChoice, choose_model, default_model, obtain
from toolchat.session.background import in_background
from toolchat.session.engines import EngineFactory, LateEngine, LocalEngines, ServerEngines
from toolchat.settings import Settings, cache_folder, resolve, state_folder
from toolchat.store.state import appendable
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Toolbox
from toolchat.tools.toolbox_cache import EarlyRunner, forget, known_at, known_toolbox, remember
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.messages import Image

if TYPE_CHECKING:  # what reads YAML is imported where a tools file has to be read
    from toolchat.models.hub import RemoteSize
    from toolchat.tools.code import ToolsCode

LOADED_SECONDS = 0.3
"""An engine that is not ready by then is being loaded, which takes longer than the start of the tools."""
QUESTION_SECONDS = 0.03
"""From when the engine is ready to the first request."""
SERVER = "server"
"""The kind of a model that a server has."""
CASSETTE = "cassette"
"""The kind of a model of which there are recorded answers."""
ChooseTools: TypeAlias = "Callable[[Settings], Path | ToolsCode]"
"""The tools file that applies now. Raises UsageError where it is missing or not to be trusted."""
Obtain: TypeAlias = "Callable[[ModelChoice, Callable[[RemoteSize], str]], Path]"
"""The folder of a model, built or fetched where need be; the function is asked before a download, see `Plan.fits`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before anything heavy starts."""

    settings: Settings
    choice: ModelChoice
    folder: Path | None
    """The model's; None where it has yet to be built or fetched."""
    engines: EngineFactory
    tools: Path | ToolsCode | None
    """The tools file: its path where the user named it, else what was accepted of it; None for no tools."""
    debug: bool
    choose_tools: ChooseTools | None = None
    """Chooses the tools file anew, without asking; None where the tools are not to change."""
    flags: Mapping[str, Any] = field(default_factory=dict)
    """What the settings were resolved from, to do so again for another model."""
    images: tuple[Image, ...] = ()
    """For the first question."""
    only: tuple[str, ...] = ()
    """The tools that are offered; empty for all of the file."""

    @property
    def model(self) -> str:
        return self.choice.name

    @property
    def is_served(self) -> bool:
        """Whether the model has no files here: a server has it, or a cassette its answers."""
        return self.choice.kind in (SERVER, CASSETTE)

    @property
    def notice(self) -> str:
        """What a person should know of how the model's name was taken; "" for nothing."""
        return self.choice.notice

    def engine(self) -> Engine:
        """A new engine of this plan, whose files are here. Raises EngineError or UsageError where it cannot work."""
        return self.engines.make(self.settings, self.choice, self.folder, self.flags)

    def own_prompt(self, today: date | None = None) -> OwnPrompt:
        """The system prompt that comes with the model, whose files are here; `today` is by the clock unless given.

        None is known of a server's model.
        """
        if self.is_served:
            return OwnPrompt()
        assert self.folder is not None
        return own_prompt(self.folder, self.model, today or date.today())

    def late_engine(self, arrived: Callable[[Plan], None] = lambda _: None) -> Engine:
        """A new engine that, when it is started, has the model's files built or fetched first where need be.

        `arrived` is called with the plan that has them, once they are here, before the engine starts. Raises UsageError
        as `engine` does; why else it cannot work is told when it is started.
        """
        if self.is_served:
            return self.engine()
        if self.folder is not None:
            with suppress(EngineError):
                return self.engine()

        async def make(report: Callable[[str], None]) -> Engine:
            folder = await self._obtained(report)
            check_reasoning_effort(self.settings.reasoning_effort, self.model, folder)
            plan = replace(self, folder=folder)
            engine = plan.engine()
            arrived(plan)
            return engine

        return LateEngine(self.model, make)

    async def _obtained(self, report: Callable[[str], None]) -> Path:
        return self.folder if self.folder is not None else await _obtained(self.choice, self.fits, report)

    def fits(self, size: RemoteSize) -> str:
        """What is to be said of a model of that size and this machine's GPU; "" for nothing.

        Raises EngineError where the GPU cannot hold it: it is not fetched then.
        """
        return self.engines.fits(size, self.settings)

    async def with_model(self, name: str, report: Callable[[str], None]) -> Plan:
        """This plan for another model, whose files are here by then. A reasoning effort that it has not is dropped.

        `report` is called with each stage of building or fetching it, where need be. Raises UsageError or EngineError
        where there is no such model to be had.
        """
        if self.choice.kind == CASSETTE:
            raise UsageError("this chat is replayed from a cassette; leave --replay out to have a model")
        if self.is_served:
            settings = resolve({**self.flags, "model": name})
            return replace(self, settings=settings, choice=ModelChoice(name, SERVER, None))
        at_start = resolve(self.flags)
        # Of the model that the chat began with: another has other branches, adapters and quantisations.
        own = name == (at_start.model or default_model())
        revision = at_start.revision if own else None
        choice = await in_background(lambda _: choose_model(name, cache_folder(), revision))
        settings = resolve({**self.flags, "model": name}, model_defaults=choice.defaults)
        if not own:
            settings = replace(settings, revision=None, lora=None, quantization=None)
        folder = await _obtained(choice, replace(self, settings=settings).fits, report)
        if (effort := settings.reasoning_effort) is not None and effort not in reasoning_efforts(folder):
            settings = replace(settings, reasoning_effort=None)
        return replace(self, settings=settings, choice=choice, folder=folder)

    async def start_tools(self, ready: Callable[[], Awaitable[None]] | None = None) -> ToolRunner | EarlyRunner:
        """Import the tools. Call in a thread that lives as long as they are used.

        Raises UsageError, a line for each problem.

        With `ready`, which returns when the engine is, tools that are known from the last time are imported while the
        model answers, and what is wrong with them is told by the first call.
        """
        if ready is None or self.tools is None:
            return await start_runner(self.tools, debug=self.debug)
        known = known_at(self.tools) if isinstance(self.tools, Path) else None
        code = None if known is not None else _code_of(self.tools)
        if code is not None:
            known = known_toolbox(code)
        starting = _remembered(self.tools, code, known, ready, debug=self.debug)
        task = asyncio.create_task(starting, name="tools-start")
        return EarlyRunner(known, task) if known is not None else await task

    async def start_tools_again(self) -> ToolRunner:
        """The same, of the file that applies now. Raises UsageError too where that is not to be trusted."""
        if self.tools is None:
            raise UsageError("this chat was started with --no-tools; leave that out to have tools")
        if self.choose_tools is None:
            raise UsageError("this chat keeps the tools that it began with")
        return await start_runner(self.choose_tools(self.settings), debug=self.debug)


def prepare(
    flags: Mapping[str, Any],
    tools: Path | ToolsCode | None,
    obtain: Obtain,
    *,
    images: Sequence[str] = (),
    see: bool = False,
    debug: bool = False,
) -> Plan:
    """What `sketch` finds, with the model's files here: see `Obtain`.

    Reads `images`, files or addresses, where the model sees; `see` is whether it will be sent others. What is cheap to
    find wrong is found first.
    """
    found = sketch(flags, tools, debug=debug)
    if found.is_served:
        return replace(found, images=read_images(images))
    if images:
        check_sight(found.choice)
    if images and found.settings.text_only:
        raise UsageError(_without_eyes(found))
    pictures = read_images(images)
    folder = obtain(found.choice, found.fits)
    if not images and not see and tools is None and found.engines.leaves_out_vision(folder):
        # This chat cannot get any image. --no-text-only overrides.
        found = replace(found, settings=resolve(flags, model_defaults={**found.choice.defaults, "text_only": True}))
    if images:
        check_sight(replace(found.choice, folder=folder))
    check_reasoning_effort(found.settings.reasoning_effort, found.model, folder)
    return replace(found, folder=folder, images=pictures)


def sketch(
    flags: Mapping[str, Any],
    tools: Path | ToolsCode | None,
    *,
    debug: bool = False,
    choose_tools: ChooseTools | None = None,
) -> Plan:
    """What a chat with these flags starts from, the model's files only where they are here already.

    Asks, builds and fetches nothing. Raises EngineError where the engine that is wanted is not installed.
    """
    settings = resolve(flags)
    if settings.server:
        choice = ModelChoice(settings.model or Address.read(settings.server).short, SERVER, None)
        return Plan(settings, choice, None, ServerEngines(debug), tools, debug, choose_tools, flags)
    engines = LocalEngines.installed(debug=debug)
    engines.check(settings)
    choice = choose_model(settings.model, cache_folder(), settings.revision)
    settings = resolve(flags, model_defaults=choice.defaults)
    if choice.folder is not None:
        check_reasoning_effort(settings.reasoning_effort, choice.name, choice.folder)
    return Plan(settings, choice, choice.folder, engines, tools, debug, choose_tools, flags)


def _without_eyes(plan: Plan) -> str:
    """Why a model of which the settings say `text_only` takes no --image, and what to do."""
    if plan.choice.defaults.get("text_only"):
        return (
            f"{plan.model} is loaded as --text-only, since this GPU hardly holds it otherwise, and --image needs a "
            "model that sees; name a smaller one (docs/engines.md), or give --no-text-only"
        )
    return "--text-only loads the model without its vision encoder, and --image needs it; leave one of them out"


def check_sight(choice: ModelChoice) -> None:
    """Raise UsageError where it is known that the model sees no images."""
    if supports_images(choice) is False:
        raise refuse_unseen(choice.name)


def check_reasoning_effort(effort: str | None, model: str, folder: Path) -> None:
    """Raise UsageError where the model does not know this effort."""
    if effort is None or effort in (known := reasoning_efforts(folder)):
        return
    knows = f"knows {', '.join(known)}" if known else "has no such setting (tokenizers have it from v15 on)"
    raise UsageError(f"--reasoning-effort {effort}: the model {model} {knows}")


async def _obtained(choice: ModelChoice, fits: Callable[[RemoteSize], str], report: Callable[[str], None]) -> Path:
    """The model's folder, built or fetched in the background where need be; `report` is called with each stage."""
    if choice.folder is not None:
        return choice.folder
    building = choice.kind == "demo"
    report("building" if building else "asking the hub")

    def work(tell: Callable[[str], None]) -> Path:
        def progress(stage: str, fraction: float) -> None:
            words = "building" if building else stage
            tell(f"{words} ({fraction * 100:.0f} %)" if fraction else words)

        def announce(size: RemoteSize) -> None:
            tell(fits(size) or str(size))

        return obtain(choice, cache_folder(), progress, announce)

    return await in_background(work, report)


async def start_runner(tools: Path | ToolsCode | None, *, debug: bool, code: ToolsCode | None = None) -> ToolRunner:
    """The tools of a file; `code` is what was read of `tools` by now, if anything."""
    if tools is None:
        return ToolRunner.none()
    from toolchat.tools.trust import note_refusal, refusals_noted

    log = appendable(state_folder() / "logs" / "tools.log")
    with refusals_noted(tools):
        return await ToolRunner.start(code or tools, log, debug=debug, on_refusal=partial(note_refusal, tools))


def _code_of(tools: Path | ToolsCode) -> ToolsCode:
    from toolchat.tools.code import read_code

    return read_code(tools) if isinstance(tools, Path) else tools


async def _remembered(
    tools: Path | ToolsCode,
    code: ToolsCode | None,
    known: Toolbox | None,
    ready: Callable[[], Awaitable[None]],
    *,
    debug: bool,
) -> ToolRunner:
    if known is not None:
        # The question goes first: importing what starts processes, and starting them, takes as long as it does.
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(LOADED_SECONDS):
                await ready()
                await asyncio.sleep(QUESTION_SECONDS)
    at_once, code = code is None, code or _code_of(tools)
    try:
        runner = await start_runner(tools, debug=debug, code=code)
    except UsageError:
        forget(code)
        raise
    # A file that was only touched, or written as it was, is to be known at once again.
    if runner.toolbox != known or (isinstance(tools, Path) and not at_once):
        remember(code, runner.toolbox)
    return runner
