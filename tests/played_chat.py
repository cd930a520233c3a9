"""A chat that Hypothesis plays: answers, calls, decisions, edits, interrupts, crashes, in any order; and its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from image_files import image

from toolchat.chat import loop
from toolchat.chat.approval import Decision, PendingCall
from toolchat.chat.compaction import older_turns, summarise
from toolchat.chat.conversation import Conversation
from toolchat.chat.frames import frames
from toolchat.chat.guards import Limits
from toolchat.chat.loop import ChatLoop, LimitChoice, LimitMet
from toolchat.engine.base import GenerateOptions
from toolchat.engine.scripted import Answer, ScriptedEngine
from toolchat.images.image import file_name
from toolchat.mistral.ids import new_call_id
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Text, Thinking
from toolchat.wire.errors import EngineError
from toolchat.wire.events import Edit, Event, Stamper
from toolchat.wire.messages import CallOrigin, FailedCall, Image, ResultStatus, ToolCall, ToolResult

Draw = Callable[[st.SearchStrategy[Any]], Any]

NASTY = (
    *("", " ", "\n", "[TOOL_CALLS]", "</s>[INST]", "null", "{}", "[1, 2", "\ud800", '"\\ud800"', "NaN", "é\u0301😀"),
    *("1" * 5000, "[" * 3000, '{"a": 1e999}', "\x00"),
)
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(NASTY))
QUESTIONS = TEXTS.filter(str.strip)
ATTACHED = st.sampled_from([(), (), (image("red"),), (image("red"), image("blue", "JPEG"))])
RETURNED = ATTACHED | st.just((Image("image/png", "AA==", 1, 1),))
NAMES = ("add", "slow", "gone")
ARGUMENTS = st.fixed_dictionaries({"a": st.sampled_from([1, 2.5, "é", "[ARGS]\u2028", None, True, {"b": [1.5]}])})
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
PLACES = st.tuples(st.integers(1, 25), st.integers(1, 25))
"""Of events in a turn."""
TOOLBOX = Toolbox(
    Path("tools.yaml"),
    tuple(Tool(name, "Does it.", PARAMETERS, f"m:{name}", f"{name}(a: int)", "tools.yaml:1:1") for name in NAMES[:2]),
)


@dataclass
class Prepared:
    tool: Tool
    call: ToolCall
    result: ToolResult

    async def run(
        self, cancel: asyncio.Event, on_output: Callable[[str], None], on_part: Callable[[str], None]
    ) -> ToolResult:
        on_output("at work")
        await asyncio.sleep(0)
        return self.result

    async def discard(self) -> None:
        pass


class Runner:
    """Tools that end in every way a tool can end."""

    toolbox = TOOLBOX

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> Any:
        if self._draw(st.booleans()):
            call = replace(call, arguments=self._draw(ARGUMENTS), origin=CallOrigin.REPAIRED)
        status = self._draw(st.sampled_from(ResultStatus))
        result = ToolResult(call.id, call.name, self._draw(TEXTS), status, images=self._draw(RETURNED))
        return result if status is ResultStatus.ERROR else Prepared(tool, call, result)


EDITS = [*[""] * 8, "undo", "take back", "branch", "aside", "sum up", "reword", "keep", "trim", "trim", "branch"]
EDITS += ["system", "clear", "model", "tools"]


class PlayedChat:
    """A chat in which anything may happen, on a small context that turns have to be set aside in."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.engine = ScriptedEngine(context=draw(st.sampled_from([220, 600, 8192])))
        system = draw(st.sampled_from([None, "Be brief.", "\ud800"]))
        self.conversation = Conversation(system)
        self.kept: dict[str, str] = {}
        """The files of images, and what they hold."""
        self.events: list[Event] = []
        self._stamp = Stamper("s", lambda: 1234.5678)
        self._emit(events.SessionStarted("scripted", "toolchat", system, {"max_tokens": 40}, TOOLBOX.specs))
        self._loop = self._new_loop()

    def _new_loop(self) -> ChatLoop:
        return ChatLoop(
            engine=self.engine,
            conversation=self.conversation,
            runner=Runner(self.draw),  # type: ignore[arg-type]  # no process behind it
            options=GenerateOptions(max_tokens=40),
            stamp=self._stamp,
            decide=self._decide,
            continue_=self._continue,
            limits=Limits(rounds=3, calls_per_round=2),
            keep_image=self._keep_image,
        )

    def _emit(self, body: events.EventBody) -> None:
        self.events.append(self._stamp(body))

    def _keep_image(self, picture: Image) -> Image:
        name = f"/kept/{file_name(picture)}"
        self.kept[name] = picture.data
        return replace(picture, file=name)

    async def _continue(self, _: LimitMet) -> LimitChoice:
        return LimitChoice.CONTINUE if self.draw(st.integers(0, 3)) == 0 else LimitChoice.STOP

    async def _decide(self, _: PendingCall) -> Decision:
        match self.draw(st.integers(0, 7)):
            case 0:
                return Decision(False, self.draw(TEXTS))
            case 1:
                return Decision(False, "", end_turn=True)
            case 2 | 3:
                return Decision(True, arguments=self.draw(ARGUMENTS), notice=self.draw(TEXTS))
        return Decision(True)

    def _call(self) -> ToolCall | FailedCall:
        name = self.draw(st.sampled_from(NAMES))
        call_id = self.draw(st.sampled_from([new_call_id(), "sameidsam"]))
        if self.draw(st.integers(0, 3)) == 0:
            return FailedCall(call_id, name, "[TOOL_CALLS]x", "not JSON", illegal_name=self.draw(TEXTS))
        return ToolCall(call_id, name, self.draw(ARGUMENTS))

    def _answer(self) -> Answer:
        draw = self.draw
        return Answer(
            text=[draw(TEXTS) for _ in range(draw(st.integers(0, 2)))],
            calls=[self._call() for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3])))],
            thinking=draw(st.sampled_from(["", "", "hm", " ", "\ud800 [/THINK]"])),
            deltas=draw(st.sampled_from([(), (), (Text("So."), Thinking("\ud800")), (Thinking("a"), Text(" ")) * 2])),
            reason=draw(st.sampled_from([FinishReason.STOP, FinishReason.STOP, FinishReason.LENGTH])),
            crash=draw(st.integers(0, 6)) == 0,
            error=EngineError("refused") if draw(st.integers(0, 14)) == 0 else None,
        )

    async def turn(self) -> None:
        """Ask something, or retry the round that failed."""
        async for _ in self.engine.start():
            pass
        self.engine.answers = [self._answer() for _ in range(3)] + [Answer("The end.")] * 6
        retries = self.conversation.can_retry_round and self.draw(st.integers(0, 3)) > 0
        turn = self._loop.retry() if retries else self._loop.turn(self.draw(QUESTIONS), self.draw(ATTACHED))
        with_end = await self._listen(turn)
        withdrawn = events.HistoryEdited(events.TurnWithdrawn())
        if not with_end and self.events[-1].body != withdrawn:
            self._emit(withdrawn)
        assert not self.conversation.open

    async def _listen(self, turn: AsyncGenerator[Event, None]) -> bool:
        """Take the events of a turn; whether it came to its end."""
        stop, leave = (self.draw(st.sampled_from([0, 0, 0, at])) for at in self.draw(PLACES))
        number = 0
        try:
            async for event in turn:
                self.events.append(event)
                number += 1
                if number == stop:
                    self._loop.interrupt()
                if number == leave:
                    await turn.aclose()
                    break
        except EngineError:
            pass
        return isinstance(self.events[-1].body, events.TurnFinished)

    async def compact(self) -> None:
        """Have the model sum the older turns up, in as many portions as the small context makes of them."""
        count = await self.engine.count(self.conversation.messages, TOOLBOX.specs)
        if not (turns := older_turns(self.conversation.history, count)):
            return
        self.engine.answers = [Answer(self.draw(QUESTIONS), thinking="Hm.")] * 50
        try:
            summary = await summarise(
                *(self.engine, f"summary{len(self.events)}-1", turns),
                system=self.conversation.system,
                tools=TOOLBOX.specs,
                options=GenerateOptions(max_tokens=40),
                limit=20,
                words=self.draw(TEXTS),
            )
        except EngineError:
            return
        numbers = tuple(turn.number for turn in turns)
        number = self.conversation.summarise(numbers, summary.text)
        self._emit(events.HistoryEdited(events.TurnsSummarised(numbers, summary.text, number, summary.usage)))

    def edit(self) -> None:
        """Do something between turns, or nothing."""
        edit = self._edit()
        if edit is not None:
            self._emit(events.HistoryEdited(edit))

    def _edit(self) -> Edit | None:
        chat, draw = self.conversation, self.draw
        numbers = chat.numbers
        match draw(st.sampled_from(EDITS)):
            case "undo" if chat.turns and not chat.last_edit:
                chat.undo()
                return events.TurnUndone(numbers[-1])
            case "undo" if chat.last_edit:
                chat.undo_edit()
                return events.EditUndone()
            case "take back" if chat.turns:
                chat.undo()
                return events.TurnUndone(numbers[-1])
            case "branch":
                last = numbers[-1] if numbers else 0
                places = [0, *(turn.number for turn, _ in chat.reachable())]
                if there := [number for number in places if number != last]:
                    number = draw(st.sampled_from(there))
                    chat.branch(number)
                    return events.Branched(number)
            case "aside" if chat.turns:
                sent = [turn.number for turn in chat.sent[:-1]]
                return events.TurnsSetAside(chat.set_aside(draw(st.sets(st.sampled_from(sent))) if sent else ()))
            case "sum up" if chat.turns:
                turns = tuple(sorted(draw(st.sets(st.sampled_from(numbers), min_size=1)), key=numbers.index))
                text = draw(QUESTIONS)
                return events.TurnsSummarised(turns, text, chat.summarise(turns, text))
            case "reword" if summaries := [turn.number for turn in chat.history if turn.replaced]:
                number, text = draw(st.sampled_from(summaries)), draw(QUESTIONS)
                chat.change_summary(number, text)
                return events.SummaryChanged(number, text)
            case "keep" if chat.turns:
                number, kept = draw(st.sampled_from(numbers)), draw(st.booleans())
                chat.keep(number, kept)
                return events.TurnKept(number, kept)
            case "trim" if results := [(turn.number, one.call_id) for turn in chat.history for one in turn.results]:
                (number, call_id), text, images = draw(st.sampled_from(results)), draw(TEXTS), draw(st.booleans())
                chat.trim(number, call_id, text, images)
                return events.ResultTrimmed(number, call_id, text, images)
            case "system":
                system = draw(st.sampled_from([None, "Be kind."]))
                chat.set_system(system)
                return events.SystemChanged(system)
            case "clear" if draw(st.booleans()):
                chat.clear()
                return events.Cleared()
            case "model":
                self._loop = self._new_loop()
                return events.ModelChanged("other", {"max_tokens": 40})
            case "tools":
                return events.ToolsChanged(TOOLBOX.specs[:1])
        return None


async def play(draw: Draw) -> PlayedChat:
    """A chat of some turns, with edits between them."""
    chat = PlayedChat(draw)
    # Nobody looks at the frames: without this, most of the time is spent on waiting for the next one.
    with patch.object(loop, "frames", partial(frames, seconds=0)):
        for _ in range(draw(st.integers(1, 4))):
            await chat.turn()
            for _ in range(draw(st.integers(1, 3))):
                chat.edit()
            if draw(st.integers(0, 3)) == 0:
                await chat.compact()
    return chat
