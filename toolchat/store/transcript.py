"""Collects the events of a session into the turns that a person reads: question, answer, calls with their results.

It is what exports, `sessions show`, JSON output and the Python API have in common. `toolchat.chat.fold` makes what the
model is sent of the same events; this keeps what was shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Edit, Event, TurnStatus
from toolchat.wire.messages import FailedCall, Image, Part, ResultStatus, ToolCall, ToolResult, ToolSpec, joined
from toolchat.wire.timeline import Mark, Timeline


@dataclass(slots=True)
class CallStory:
    """One call of a turn, from its proposal to its result."""

    call: ToolCall | FailedCall
    """As it was run; as the model wrote it where it was not."""
    allowed: bool | None = None
    """None where nobody had to decide, or has yet."""
    reason: str = ""
    """Of the decision."""
    output: str = ""
    """What the tool said to the user while it ran."""
    result: ToolResult | None = None
    """None where the session ended before there was one."""
    trimmed: str | None = None
    """What the model is sent in place of the result since the user trimmed it; None where nobody did."""

    @property
    def mark(self) -> str:
        """How the call came to be well-formed ("constrained", "parsed", "repaired", "edited"), or "malformed"."""
        return self.call.origin.value if isinstance(self.call, ToolCall) else "malformed"

    @property
    def status(self) -> str:
        """How it ended: a `ResultStatus`, or "interrupted" without a result."""
        return (self.result.status if self.result is not None else ResultStatus.INTERRUPTED).value


@dataclass(slots=True)
class TurnStory:
    """A turn as it was shown. Mutable only while its events come in."""

    number: int
    question: str = ""
    images: tuple[Image, ...] = ()
    steps: list[Part | CallStory] = field(default_factory=list)
    """Text, thinking and calls, in the order in which they came."""
    notices: list[str] = field(default_factory=list)
    status: TurnStatus = TurnStatus.INTERRUPTED
    finished: bool = False
    """False for a turn that is under way, or that was cut off by the end of its program."""
    model: str = ""
    rounds: int = 0
    usage: Usage = field(default_factory=Usage)
    declined: bool = False
    closing: str = ""
    replaced: list[TurnStory] = field(default_factory=list)
    """The turns that this one, a summary, stands for; empty for a turn of the user's."""
    kept: bool = False
    """Whether it goes last where turns have to be set aside or summed up."""
    began: float = 0.0
    """Seconds since the epoch."""
    ended: float = 0.0

    @property
    def calls(self) -> list[CallStory]:
        return [step for step in self.steps if isinstance(step, CallStory)]

    @property
    def answer(self) -> str:
        """The text behind the last call; where there is none, the last text that there is."""
        texts, answer = "", ""
        for step in self.steps:
            if isinstance(step, CallStory):
                answer, texts = texts or answer, ""
            elif not step.thinking:
                texts = joined(texts, step.text)
        return texts or answer

    @property
    def thinking(self) -> str:
        thinking = ""
        for step in self.steps:
            if isinstance(step, Part) and step.thinking:
                thinking = joined(thinking, step.text)
        return thinking

    @property
    def exit_code(self) -> int:
        """As `TurnFinished.exit_code`."""
        return events.TurnFinished(self.status, self.rounds, self.usage, self.declined).exit_code


_LINE = re.compile(r"\S[^\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]*")
"""The first line of a text that has words, without what stands before them: a long text is not split for it."""


class Transcript:
    """The turns of a session so far. Give it every event with `take`."""

    def __init__(self, history: Iterable[Event] = ()) -> None:
        self.session = ""
        self.program = ""
        self.model = ""
        self.system: str | None = None
        self.tools: tuple[ToolSpec, ...] = ()
        self.began = 0.0
        self.ended = 0.0
        self._line: Timeline[TurnStory] = Timeline()
        self._calls: dict[str, CallStory] = {}
        self._before: Mark[TurnStory] | None = None
        """Where the turn under way began; None between turns."""
        for event in history:
            self.take(event)

    @property
    def turns(self) -> list[TurnStory]:
        """Those that were not taken back or left, oldest first."""
        return list(self._line.turns)

    @property
    def last(self) -> TurnStory | None:
        """The last of them; None where there is none."""
        return self._line.last

    @property
    def turn_count(self) -> int:
        """How many there are."""
        return len(self._line)

    @property
    def title(self) -> str:
        """The first question's first line; empty where nothing was asked."""
        lines = (_LINE.search(turn.question) for turn in self._line)
        return next((line.group().rstrip() for line in lines if line is not None), "")

    def take(self, event: Event) -> None:
        """Add what the next event of the session tells."""
        self.session = event.session
        self.began = self.began or event.time
        self.ended = event.time
        turn = self._line.last or TurnStory(0)
        match event.body:
            case events.SessionStarted(model=model, program=program, system=system, tools=tools):
                self.model, self.program, self.system, self.tools = model, program, system, tools
            case events.TurnStarted() if event.turn != turn.number:  # else the last turn goes on, see RoundRetried
                self._before = self._line.mark()
                self._line.begin(TurnStory(event.turn, model=self.model, began=event.time))
                self._calls = {}
            case events.QuestionAsked(text, images):
                turn.question, turn.images = text, images
            case events.TextDelta(text):
                self._add(turn, text, thinking=False)
            case events.ThinkingDelta(text):
                self._add(turn, text, thinking=True)
            case events.CallProposed(call):
                self._calls[call.id] = story = CallStory(call)
                turn.steps.append(story)
            case events.CallDecided(call, allowed, reason) if (told := self._calls.get(call.id)) is not None:
                told.call, told.allowed, told.reason = call, allowed, reason
            case events.ToolOutput(call_id, text) if (told := self._calls.get(call_id)) is not None:
                told.output += text
            case events.CallFinished(result) if (told := self._calls.get(result.call_id)) is not None:
                told.result = result
            case events.Notice(text) if event.turn and self._line.last is not None:
                turn.notices.append(text)
            case events.TurnFinished(status, rounds, usage, declined, closing):
                turn.status, turn.rounds, turn.usage, turn.declined, turn.closing = (
                    status,
                    rounds,
                    usage,
                    declined,
                    closing,
                )
                turn.finished, turn.ended = True, event.time
                self._before = None
            case events.HistoryEdited(edit):
                self._edit(edit, event)

    @staticmethod
    def _add(turn: TurnStory, text: str, *, thinking: bool) -> None:
        """Text that follows text of its kind is one part with it."""
        last = turn.steps[-1] if turn.steps else None
        if isinstance(last, Part) and last.thinking is thinking:
            turn.steps[-1] = Part(last.text + text, thinking)
        else:
            turn.steps.append(Part(text, thinking))

    def _edit(self, edit: Edit, event: Event) -> None:
        line = self._line
        match edit:
            case events.TurnWithdrawn():
                if self._before is not None:
                    line.rewind(self._before)
                    self._before = None
            case events.TurnUndone() if line.turns:
                line.take_back()
            case events.EditUndone():
                line.undo()
            case events.Branched(number):
                with suppress(ValueError):  # the conversation refuses that; this only shows
                    line.branch(number)
            case events.RoundRetried(number) if line.turns and line.turns[-1].number == number:
                self._before = line.mark()
                turn = replace(line.turns[-1], steps=list(line.turns[-1].steps), notices=[*line.turns[-1].notices])
                turn.finished, turn.closing, turn.status = False, "", TurnStatus.INTERRUPTED
                # It goes on behind the results of its last calls.
                while turn.steps and isinstance(turn.steps[-1], Part):
                    turn.steps.pop()
                line.go_on(turn)
            case events.TurnsSummarised(numbers, text, number, usage) if numbers:
                replaced = [turn for turn in line.turns if turn.number in numbers]
                summary = TurnStory(number, steps=[Part(text)], model=self.model, began=event.time, ended=event.time)
                summary.finished, summary.status, summary.usage = True, TurnStatus.ANSWERED, usage
                summary.replaced = replaced
                turns = [summary if turn.number == numbers[0] else turn for turn in line.turns]
                line.edited("summary", [turn for turn in turns if turn.number not in numbers])
            case events.SummaryChanged(number, text):
                self._change("summary", number, lambda turn: replace(turn, steps=[Part(text)]))
            case events.TurnKept(number, kept):
                self._change("keep", number, lambda turn: replace(turn, kept=kept))
            case events.ResultTrimmed(number, call_id, content):
                self._change("trim", number, lambda turn: _trimmed(turn, call_id, content))
            case events.Cleared():
                line.clear()
                self._before = None
            case events.SystemChanged(system):
                self.system = system
            case events.ModelChanged(model=model):
                self.model = model
            case events.ToolsChanged(tools):
                self.tools = tools

    def _change(self, edit: str, number: int, change: Callable[[TurnStory], TurnStory]) -> None:
        self._line.edited(edit, [change(turn) if turn.number == number else turn for turn in self._line.turns])


def _trimmed(turn: TurnStory, call_id: str, content: str) -> TurnStory:
    steps = [
        replace(step, trimmed=content) if isinstance(step, CallStory) and step.call.id == call_id else step
        for step in turn.steps
    ]
    return replace(turn, steps=steps)


def turn_json(turn: TurnStory, *, images: bool = False) -> dict[str, Any]:
    """A turn as plain JSON values: the documented form of exports (docs/sessions.md); `ask --json` is made of it.

    With `images`, the bytes of images are there too, in base64.
    """
    usage = turn.usage
    data = {
        "number": turn.number,
        "question": turn.question,
        "images": [_image_json(image, images) for image in turn.images],
        "answer": turn.answer,
        "thinking": turn.thinking,
        "steps": [
            call_json(step, images=images)
            if isinstance(step, CallStory)
            else {"type": "thinking" if step.thinking else "text", "text": step.text}
            for step in turn.steps
        ],
        "status": turn.status.value if turn.finished else "cut off",
        "exit_code": int(turn.exit_code),
        "model": turn.model,
        "rounds": turn.rounds,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "timings": {"first_token": usage.ttft, "generation": usage.seconds, "total": _seconds(turn.began, turn.ended)},
        "notices": turn.notices,
        "began": turn.began,
    }
    if turn.kept:
        data["kept"] = True
    if turn.replaced:
        data["replaced"] = [turn_json(one, images=images) for one in turn.replaced]
    return data


def call_json(story: CallStory, *, images: bool = False) -> dict[str, Any]:
    """A call with its result as plain JSON values, as `turn_json` has them."""
    call, result = story.call, story.result
    made: dict[str, Any] = {"type": "call", "id": call.id, "name": call.name}
    if isinstance(call, ToolCall):
        made["arguments"] = call.arguments
    else:
        made |= {"raw": call.raw, "error": call.reason}
    made |= {"mark": story.mark, "allowed": story.allowed, "reason": story.reason, "output": story.output}
    made["status"] = story.status
    made["result"] = None if result is None else result.content
    made["seconds"] = None if result is None else result.seconds
    if result is not None and result.images:
        made["images"] = [_image_json(image, images) for image in result.images]
    if result is not None and result.left_out:
        made["left_out"] = result.left_out
    if story.trimmed is not None:
        made["trimmed"] = story.trimmed
    return made


def _image_json(image: Image, whole: bool) -> dict[str, Any]:
    about = {"media_type": image.media_type, "width": image.width, "height": image.height, "source": image.source}
    return about | {"data": image.data} if whole else about


def _seconds(began: float, ended: float) -> float:
    return round(max(0.0, ended - began), 3)
