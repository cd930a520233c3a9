"""Opens the session of a chat: checks what a program gives, and makes settings, tools, policy and engine of it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from toolchat.api.answers import worded
from toolchat.wire import events
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Event
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from logging import Logger

    from toolchat.chat.approval import ApprovalPolicy, Ask
    from toolchat.engine.base import Engine
    from toolchat.session.given import GivenTool
    from toolchat.session.session import Session
    from toolchat.session.startup import Plan
    from toolchat.session.stream import Show


def logger() -> Logger:
    """Of what happens beside turns."""
    import logging

    return logging.getLogger("toolchat")


class Options(TypedDict, total=False):
    """The settings of docs/settings.md, by their names in config.toml."""

    system: str
    """Empty for none, not even the model's own."""
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    context: int
    kv_cache_gib: float
    gpu_memory: float | str
    dtype: str
    fast_start: bool
    text_only: bool
    quantization: str
    revision: str
    lora: str
    enforce_eager: bool
    engine_arg: Sequence[str]
    reasoning_effort: str
    tool_choice: str
    parallel_calls: bool
    compact: str
    store: bool
    keep_alive: float | str
    server: str
    api_key: str
    tokenizer: str | Path
    before_tool: str | Sequence[str]
    after_tool: str | Sequence[str]
    hook_timeout: float
    profile: str
    project: bool


@dataclass(frozen=True, slots=True)
class Config:
    """What a chat is opened with."""

    flags: Mapping[str, Any] = field(repr=False)
    """An API key may be among them."""
    tools: tuple[GivenTool, ...]
    approve: Any
    engine: Engine | None
    session: str | None
    """A stored session to go on with."""


def read_config(
    model: str | Path | None,
    tools: Sequence[GivenTool],
    approve: Any,
    engine: Engine | None,
    session: str | None,
    options: Mapping[str, Any],
) -> Config:
    """Raises TypeError for an option that there is not, as Python does, and UsageError for an `approve` of no sense."""
    for name in options:
        if name not in Options.__annotations__:
            from difflib import get_close_matches

            near = get_close_matches(name, Options.__annotations__, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/python.md lists them"
            raise TypeError(f"a chat has no option {name!r}; {hint}")
    if isinstance(tools, str | Path) or callable(tools):
        raise UsageError("tools: expected a list of functions and paths of tools files; write tools=[…]")
    if approve not in (None, "allow", "deny") and not callable(approve):
        raise UsageError(f'approve: expected a function, "allow" or "deny", not {approve!r}')
    # A path is one, also where its text could be a model's id.
    paths = {name: os.path.abspath(value) for name, value in options.items() if isinstance(value, Path)}  # noqa: PTH100
    named = os.path.abspath(model) if isinstance(model, Path) else model  # noqa: PTH100
    flags = {**options, **paths, "model": named}
    if flags.get("system") == "":
        flags["system"] = "none"
    return Config(flags, tuple(tools), approve, engine, session)


@asynccontextmanager
async def open_chat(config: Config, show: Show, ask: Ask) -> AsyncIterator[Session]:
    """The session of a chat, in the thread that it lives in."""
    import tempfile

    from toolchat.chat.approval import ApprovalPolicy
    from toolchat.session.given import JoinedRunner, sort_tools
    from toolchat.session.past import with_model
    from toolchat.session.startup import open_session, start_runner
    from toolchat.settings import resolve, state_folder
    from toolchat.store.grants import GrantStore
    from toolchat.store.sessions import open_session_of
    from toolchat.store.state import open_state

    open_state(state_folder())
    flags, opened = config.flags, None
    if config.session is not None:
        if not resolve(flags).store:
            raise UsageError("there are no stored sessions to go on with: store is false")
        opened = open_session_of(state_folder() / "sessions", config.session)
    with tempfile.TemporaryDirectory(prefix="toolchat-") as empty:
        try:
            if opened is not None and config.engine is None:
                flags = with_model(flags, opened.record.transcript.model)
            parts = sort_tools(config.tools, Path(empty))
            plan = _plan(flags, config.engine)
        except BaseException:
            if opened is not None:
                opened.record.close()
            raise
        if plan.folder is None and not plan.is_served:
            logger().warning("%s is not on this machine yet: it is fetched or built first", plan.model)

        grants = GrantStore(state_folder())
        policy: ApprovalPolicy = ApprovalPolicy(grants, yes=config.approve == "allow")
        if config.approve == "deny":
            policy = _deny_all(grants)

        async def start() -> Any:
            return await JoinedRunner.start(parts, lambda tools: start_runner(tools, debug=plan.debug))

        asking = ask if callable(config.approve) else None
        async with open_session(plan, show, policy, asking, opened=opened, start_tools=start) as session:
            yield session


def _deny_all(grants: Any) -> ApprovalPolicy:
    from toolchat.chat.approval import ApprovalPolicy, PendingCall
    from toolchat.tools.toolbox import Approval, Tool

    class DenyAll(ApprovalPolicy):
        def standing(self, tool: Tool) -> Approval:
            return Approval.DENY

        def judge(self, pending: PendingCall) -> Approval:
            return Approval.DENY

    return DenyAll(grants)


def _plan(flags: Mapping[str, Any], engine: Engine | None) -> Plan:
    from toolchat.models.choice import ModelChoice
    from toolchat.session.engines import LocalEngines
    from toolchat.session.startup import SERVER, Plan, sketch
    from toolchat.settings import resolve

    debug = bool(os.environ.get("TOOLCHAT_DEBUG"))
    if engine is not None:
        settings = resolve(flags)
        name = settings.model or (engine.info.model if engine.info is not None else "an engine")
        return Plan(settings, ModelChoice(name, SERVER, None), None, GivenEngine(engine), None, debug, flags=flags)
    plan = sketch(flags, None, debug=debug)
    if isinstance(plan.engines, LocalEngines):
        # What a program has opened it closes. An engine that is kept by a command is used.
        return replace(plan, engines=replace(plan.engines, attended=False))
    return plan


@dataclass(frozen=True, slots=True)
class GivenEngine:
    """An `EngineFactory` with one engine, which the program has made."""

    engine: Engine

    def make(self, *_: Any) -> Engine:
        return self.engine

    def fits(self, *_: Any) -> str:
        return ""

    def leaves_out_vision(self, _: Path) -> bool:
        return False


def tell_beside(event: Event) -> None:
    """Tell what happens beside turns to whoever listens to the logger "toolchat"; Python shows warnings by itself."""
    from toolchat.ui.text.sanitize import sanitize_line

    match event.body:
        case events.EngineState(state, detail):
            logger().info("%s", sanitize_line(f"{state}: {detail}" if detail else state))
        case events.Notice(text):
            logger().warning("%s", sanitize_line(worded(text)))


def read_given_images(given: Sequence[Any]) -> tuple[Image, ...]:
    """The images of a question: paths, addresses, bytes of a file, Pillow images, matplotlib figures."""
    from toolchat.images.attached import read_images
    from toolchat.images.image import ImageError, image_from_bytes
    from toolchat.images.returned import without_pictures

    if isinstance(given, str | bytes | Path):
        raise UsageError("images: expected a list; write images=[…]")
    read: list[Image] = []
    for index, item in enumerate(given):
        if isinstance(item, str | Path):
            read += read_images([str(item)])
            continue
        try:
            _, pictures = without_pictures(item)
            made = [image_from_bytes(one, f"images[{index}]") for one in pictures]
        except ImageError as error:
            raise UsageError(f"images[{index}]: {error}") from None
        if len(made) != 1 or isinstance(item, list | tuple | dict):
            kind = type(item).__name__
            raise UsageError(
                f"images[{index}]: expected a path, an address, an image's bytes or a Pillow image, not {kind}"
            )
        read += made
    return tuple(read)


def refuse_while_importing() -> None:
    """A module that opens a chat while it is imported would be imported by the tools of that chat, and so on."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "toolchat.tools.importing":
            raise UsageError(
                "a chat is opened while the module of a tool is imported; expected imports to open none; put it below "
                'if __name__ == "__main__":'
            )
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
