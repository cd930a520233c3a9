"""Collects the events of a session into the turns that a person reads: question, answer, calls with their results.

It is what exports, `sessions show`, JSON output and the Python API have in common. `toolchat.chat.fold` makes what the
model is sent of the same events; this keeps what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Edit, Event, TurnStatus
from toolchat.wire.messages import FailedCall, Image, Part, ResultStatus, ToolCall, ToolResult, ToolSpec, joined


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
        self.turns: list[TurnStory] = []
        self._calls: dict[str, CallStory] = {}
        self._retried: TurnStory | None = None
        """The last turn as it was before its last round was asked for again."""
        for event in history:
            self.take(event)

    @property
    def title(self) -> str:
        """The first question's first line; empty where nothing was asked."""
        return next((line for turn in self.turns for line in turn.question.splitlines() if line.strip()), "").strip()

    def take(self, event: Event) -> None:
        """Add what the next event of the session tells."""
        self.session = event.session
        self.began = self.began or event.time
        self.ended = event.time
        turn = self.turns[-1] if self.turns else TurnStory(0)
        match event.body:
            case events.SessionStarted(model=model, program=program, system=system, tools=tools):
                self.model, self.program, self.system, self.tools = model, program, system, tools
            case events.TurnStarted() if event.turn != turn.number:  # else the last turn goes on, see RoundRetried
                self._retried = None
                self.turns.append(TurnStory(event.turn, model=self.model, began=event.time))
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
            case events.Notice(text) if event.turn and self.turns:
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
                self._retried = None
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

    def _withdraw(self) -> None:
        """Forget the turn under way, or the round of it that was asked for again."""
        if not self.turns or self.turns[-1].finished:
            return
        if self._retried is None:
            self.turns.pop()
            return
        self.turns[-1], self._retried = self._retried, None

    def _edit(self, edit: Edit, event: Event) -> None:
        match edit:
            case events.TurnWithdrawn():
                self._withdraw()
            case events.TurnUndone() if self.turns:
                while replaced := self.turns[-1].replaced:
                    self.turns[-1:] = replaced
                self.turns.pop()
            case events.RoundRetried(number):
                for turn in self.turns:
                    if turn.number == number:
                        self._retried = replace(turn, steps=list(turn.steps))
                        turn.finished, turn.closing, turn.status = False, "", TurnStatus.INTERRUPTED
                        # It goes on behind the results of its last calls.
                        while turn.steps and isinstance(turn.steps[-1], Part):
                            turn.steps.pop()
            case events.TurnsSummarised(numbers, text, number):
                at = next((at for at, turn in enumerate(self.turns) if turn.number in numbers), len(self.turns))
                summary = TurnStory(number, steps=[Part(text)], model=self.model, began=event.time, ended=event.time)
                summary.finished, summary.status = True, TurnStatus.ANSWERED
                summary.replaced = [turn for turn in self.turns if turn.number in numbers]
                self.turns = [turn for turn in self.turns if turn.number not in numbers]
                self.turns.insert(at, summary)
            case events.Cleared():
                self.turns, self._retried = [], None
            case events.SystemChanged(system):
                self.system = system
            case events.ModelChanged(model=model):
                self.model = model
            case events.ToolsChanged(tools):
                self.tools = tools


def turn_json(turn: TurnStory, *, images: bool = False) -> dict[str, Any]:
    """A turn as plain JSON values: the documented form of `ask --json` and of exports (docs/sessions.md).

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
    return made


def _image_json(image: Image, whole: bool) -> dict[str, Any]:
    about = {"media_type": image.media_type, "width": image.width, "height": image.height, "source": image.source}
    return about | {"data": image.data} if whole else about


def _seconds(began: float, ended: float) -> float:
    return round(max(0.0, ended - began), 3)
