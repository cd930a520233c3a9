"""A chat whose answers come from a cassette: what it starts from and, where nothing is to run, its recorded results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.chat.approval import DENIED, NOBODY, Decision, PendingCall
from toolchat.chat.calls import ShownResult
from toolchat.engine.base import Engine
from toolchat.engine.record_replay import ReplayEngine
from toolchat.images.attached import read_images
from toolchat.models.choice import ModelChoice
from toolchat.session.startup import CASSETTE, ChooseTools, Plan
from toolchat.settings import SETTINGS, Settings, resolve
from toolchat.store.cassettes import Cassette
from toolchat.store.redaction import Redaction
from toolchat.tools.code import ToolsCode
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire import events
from toolchat.wire.messages import ResultStatus, SystemMessage, ToolCall, ToolResult, ToolSpec

if TYPE_CHECKING:
    from toolchat.models.hub import RemoteSize


@dataclass(frozen=True, slots=True)
class ReplayEngines:
    """Makes engines that give the answers of a cassette. Nothing is installed for it, fetched or loaded."""

    cassette: Cassette

    def make(self, settings: Settings, choice: ModelChoice, folder: Path | None, flags: Mapping[str, Any]) -> Engine:
        return ReplayEngine(self.cassette.recorded, Redaction.here().data)

    def fits(self, size: RemoteSize, settings: Settings) -> str:
        return ""

    def leaves_out_vision(self, folder: Path) -> bool:
        return False


def replay_plan(
    cassette: Cassette,
    flags: Mapping[str, Any],
    tools: Path | ToolsCode | None,
    *,
    images: Sequence[str] = (),
    choose_tools: ChooseTools | None = None,
    debug: bool = False,
) -> Plan:
    """What a chat starts from that is answered by a cassette: the settings of then, where no flag or file says others.

    Raises UsageError.
    """
    first = next((one for one in cassette.recorded.generations if one.options is not None), None)
    then: dict[str, Any] = {}
    if first is not None and first.options is not None:
        asked = {name: value for name, value in asdict(first.options).items() if value is not None}
        then = {name: asked[name] for name, setting in SETTINGS.items() if setting.per_turn and name in asked}
        then["parallel_calls"] = asked["parallel_tool_calls"]
    settings = resolve(flags, model_defaults=then)
    if settings.system is None:
        system = next((one.content for one in (first.messages if first else None) or () if _is_system(one)), "")
        settings = replace(settings, system=system)
    choice = ModelChoice(cassette.model or "recorded", CASSETTE, None)
    engines = ReplayEngines(cassette)
    return Plan(settings, choice, None, engines, tools, debug, choose_tools, flags, read_images(images))


def _is_system(message: Any) -> bool:
    return isinstance(message, SystemMessage)


class RecordedRunner:
    """Gives the recorded results of calls; nothing runs. See `CallRunner`."""

    def __init__(self, cassette: Cassette) -> None:
        self._decided: dict[str, events.CallDecided] = {}
        self._results: dict[str, ToolResult] = {}
        self._outputs: dict[str, list[str]] = {}
        self._ended: set[tuple[int, int]] = set()
        """Rounds in which the turn was ended."""
        self._rounds: dict[str, tuple[int, int]] = {}
        self._proposed: dict[str, ToolCall] = {}
        """The calls that were not given yet."""
        specs: dict[str, ToolSpec] = {}
        for generation in cassette.recorded.generations:
            specs |= {tool.name: tool for tool in generation.tools}
        for event in cassette.events:
            place = (event.turn, event.round)
            match event.body:
                case events.CallProposed(ToolCall() as call):
                    self._proposed[call.id] = call
                case events.CallDecided(call=call) as decided:
                    self._decided[call.id], self._rounds[call.id] = decided, place
                case events.ToolOutput(call_id, text):
                    self._outputs.setdefault(call_id, []).append(text)
                case events.CallFinished(result):
                    self._results[result.call_id] = result
                case events.Interrupted():
                    self._ended.add(place)
                case events.HistoryEdited(events.ToolsChanged(changed)):
                    specs = {**{tool.name: tool for tool in changed}, **specs}
        tools = tuple(
            Tool(spec.name, spec.description, spec.parameters, "", f"{spec.name}(…)", str(cassette.path))
            for spec in specs.values()
        )
        self.toolbox = Toolbox(cassette.path, tools)

    async def prepare(
        self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None
    ) -> _RecordedCall | ToolResult:
        then = self._then(call)
        result = self._results.get(then)
        if result is None:
            why = f"Error: the recording has no result of this call of {call.name}"
            return ToolResult(call.id, call.name, why, ResultStatus.ERROR)
        # Where it says that its images are kept is another chat's folder.
        images = tuple(replace(image, file="") for image in result.images)
        known = {one.name: getattr(result, one.name) for one in fields(ToolResult)}
        shown = ShownResult(**known | {"call_id": call.id, "images": images})
        if (decided := self._decided.get(then)) is None:
            return shown
        self._decided[call.id], self._rounds[call.id] = decided, self._rounds[then]
        return _RecordedCall(replace(decided.call, id=call.id), tool, shown, self._outputs.get(then, []))

    def _then(self, call: ToolCall) -> str:
        """The id that the call had: another one is drawn, as it was then, where the model wrote one that was taken."""
        alike = (id_ for id_, one in self._proposed.items() if (one.name, one.arguments) == (call.name, call.arguments))
        found = call.id if call.id in self._proposed else next(alike, call.id)
        self._proposed.pop(found, None)
        return found

    async def decide(self, pending: PendingCall) -> Decision:
        """As it was decided then."""
        decided = self._decided[pending.call.id]
        ended = not decided.allowed and self._rounds[pending.call.id] in self._ended
        return Decision(decided.allowed, decided.reason, asked=decided.reason not in (DENIED, NOBODY), end_turn=ended)

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class _RecordedCall:
    """See `PreparedCall`."""

    call: ToolCall
    tool: Tool
    _result: ToolResult
    _outputs: Sequence[str]

    async def run(
        self, cancel: asyncio.Event, on_output: Callable[[str], None], on_part: Callable[[str], None]
    ) -> ToolResult:
        for text in self._outputs:
            on_output(text)
        return self._result

    async def discard(self) -> None:
        pass
