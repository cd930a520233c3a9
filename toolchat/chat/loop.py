"""One turn: generate, decide, run the calls, generate again, until the model answers in text or a limit is met.

The loop yields typed events and owns the order of things; it never prints, and it leaves the history legal however
a turn ends. What needs an answer from outside is a function it is given: `decide` for a call, `continue_` at a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from toolchat.chat.approval import Decide, allow_all
from toolchat.chat.calls import CallRunner, Outcome, TurnCalls, possible_choice
from toolchat.chat.context_window import left_for_results, reserve, too_long, turns_to_set_aside
from toolchat.chat.conversation import INTERRUPTED, Conversation, Spoken
from toolchat.chat.frames import InterruptedGeneration, frames
from toolchat.chat.guards import Limits
from toolchat.chat.hooks import NO_HOOKS, Hooks
from toolchat.engine.base import AnswerBrokenError, ContextOverflowError, Engine, EngineCrashedError, GenerateOptions
from toolchat.mistral.ids import new_call_id
from toolchat.tools.toolbox import Toolbox
from toolchat.wire import deltas, events
from toolchat.wire.errors import EngineError
from toolchat.wire.events import Event, EventBody, Stamper, TurnFinished, TurnStatus
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import FailedCall, Image, ToolCall, ToolMessage, ToolResult, ToolSpec, UserMessage


@dataclass(frozen=True, slots=True)
class LimitMet:
    rounds: int


class LimitChoice(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"
    """As many rounds again."""


async def stop_at_limit(_: LimitMet) -> LimitChoice:
    return LimitChoice.STOP


@dataclass(slots=True)
class _Round:
    """What one generation came to."""

    spoken: Spoken = field(default_factory=Spoken)
    calls: list[ToolCall | FailedCall] = field(default_factory=list)
    writing: events.CallWriting | None = None
    """The call that is being written."""
    finished: deltas.Finished | None = None


@dataclass(frozen=True, slots=True)
class _Ending:
    """A turn that ends without an answer of the model."""

    status: TurnStatus
    why: str
    """What closes it in the history, for the model to read."""
    event: EventBody


class ChatLoop:
    """Runs the turns of one conversation, one at a time."""

    def __init__(
        self,
        *,
        engine: Engine,
        conversation: Conversation,
        runner: CallRunner,
        options: GenerateOptions,
        stamp: Stamper,
        decide: Decide = allow_all,
        continue_: Callable[[LimitMet], Awaitable[LimitChoice]] = stop_at_limit,
        limits: Limits | None = None,
        keep: Callable[[ToolResult], Kept | None] = lambda _: None,
        keep_part: Callable[[str, str], None] = lambda *_: None,
        keep_image: Callable[[Image], Image] = lambda image: image,
        offered: Callable[[], Sequence[ToolSpec]] | None = None,
        new_id: Callable[[], str] = new_call_id,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        """`keep` is given a result that the model will see a part of. Of one that is too long to be given whole, the
        parts were given to `keep_part` before, with the call's id.

        `offered` says which of the runner's tools the model may call in this turn; None for all of them.

        `new_id` makes an id for a call whose own has been taken.
        """
        self._engine = engine
        self._conversation = conversation
        self._runner = runner
        self._options = options
        self._stamp = stamp
        self._decide = decide
        self._continue = continue_
        self._limits = limits or Limits()
        self._keep = keep
        self._keep_part = keep_part
        self._keep_image = keep_image
        self._offered = offered
        self._new_id = new_id
        self._hooks = hooks
        self._response_schema: dict[str, Any] | None = None
        """Of the turn under way, and of the last one, which `retry` goes on with."""
        self._noted: set[str] = set()
        self._interrupt = asyncio.Event()

    def interrupt(self) -> None:
        """Stop the turn under way: the answer, or the tools that are running. The turn ends by itself, soon."""
        self._interrupt.set()

    def turn(
        self, text: str, images: Sequence[Image] = (), response_schema: dict[str, Any] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Answer `text`, held to `response_schema` where there is one.

        The last event is `TurnFinished`, whatever happens; the conversation is closed by then.

        Where the context is full, the oldest turns are set aside, whole, and the events say so. Raises EngineError
        where the engine refuses the request, and ContextOverflowError where the question alone is too long for the
        context; it is then forgotten again, and the conversation is as it was. So it is where the consumer breaks off
        before the last event; whoever records the events then adds `TurnWithdrawn`.
        """

        def begin() -> tuple[int, EventBody]:
            self._response_schema = response_schema
            kept = tuple(map(self._keep_image, images))
            return self._conversation.add_user(text, kept), events.QuestionAsked(text, kept)

        return self._play(begin)

    def retry(self) -> AsyncGenerator[Event, None]:
        """Go on with a turn that the engine's failure ended behind the results of calls: they are not made again.

        The events are those of `turn`, with `RoundRetried` in place of the question. Raises ValueError where
        `Conversation.can_retry_round` is false.
        """

        def begin() -> tuple[int, EventBody]:
            number = self._conversation.reopen()
            return number, events.HistoryEdited(events.RoundRetried(number))

        return self._play(begin)

    async def _play(self, begin: Callable[[], tuple[int, EventBody]]) -> AsyncGenerator[Event, None]:
        """A turn that `begin` opens in the conversation, to its end."""
        self._interrupt.clear()
        before = self._conversation.mark()
        number, opening = begin()
        ended = False
        place = self._conversation.rounds
        try:
            yield self._stamp(events.TurnStarted(), number, place)
            yield self._stamp(opening, number, place)
            # Closed here and now where the consumer breaks off, and not at some later collection.
            async with aclosing(self._rounds(number)) as rounds:
                async for place, body in rounds:
                    ended = isinstance(body, TurnFinished)
                    yield self._stamp(body, number, place)
        except EngineError:
            yield self._stamp(events.HistoryEdited(events.TurnWithdrawn()), number, place)
            raise
        finally:
            # A consumer that stops listening (a closed pipe, say) must not leave half a turn.
            if not ended:
                self._conversation.rewind(before)

    async def _rounds(self, number: int) -> AsyncGenerator[tuple[int, EventBody], None]:
        """The events of a turn up to `TurnFinished`, each with the round that it belongs to."""
        total = deltas.Usage()
        declined = False
        rounds = self._conversation.rounds
        allowed = rounds + self._limits.rounds
        toolbox = self._toolbox()
        asked = self._options
        if self._response_schema is not None:
            asked = replace(asked, response_schema=self._response_schema)
        options, notice = possible_choice(_after_calls(asked) if rounds else asked, toolbox)
        if notice and notice not in self._noted:
            self._noted.add(notice)
            yield rounds, events.Notice(notice)
        calls = TurnCalls(
            engine=self._engine,
            runner=self._runner,
            toolbox=toolbox,
            decide=self._decide,
            limits=self._limits,
            keep=self._keep,
            keep_part=self._keep_part,
            keep_image=self._keep_image,
            interrupt=self._interrupt,
            heard=self._heard(toolbox) if rounds else "",
            hooks=self._hooks,
        )
        status, closing = TurnStatus.ANSWERED, ""
        while True:
            rounds += 1
            this = _Round()
            request_id = f"{self._stamp.session}-{number}-{rounds}"
            try:
                async with aclosing(self._frames(request_id, toolbox.specs, options)) as batches:
                    async for batch in batches:
                        for body in self._take(this, batch):
                            yield rounds, body
            except InterruptedGeneration:
                self._engine.abort(request_id)
                self._conversation.close(this.spoken.message().content)
                yield rounds, events.Interrupted()
                status, closing = TurnStatus.INTERRUPTED, INTERRUPTED
                break
            except ContextOverflowError as error:
                if turns := self._to_set_aside(error, options):
                    rounds -= 1
                    turns = self._conversation.set_aside(turns)
                    what = "the oldest turn is" if len(turns) == 1 else f"the {len(turns)} oldest turns are"
                    yield rounds, events.HistoryEdited(events.TurnsSetAside(turns))
                    yield rounds, events.Notice(f"the context is full: {what} not sent to the model any more")
                    continue
                why = too_long(
                    error,
                    self._conversation.messages,
                    toolbox.specs,
                    len(self._conversation.last_turn),
                    self._needed(error.context_window, options),
                )
                if rounds == 1:
                    raise ContextOverflowError(why, error.count, error.context_window) from None
                status, closing = TurnStatus.LIMIT, "[stopped: the context is full]"
                self._conversation.close("", closing)
                yield rounds, events.Notice(f"the turn ends here: {why}")
                break
            except EngineCrashedError as error:
                status, closing = TurnStatus.ENGINE_FAILED, INTERRUPTED
                self._conversation.close(this.spoken.message().content, failed=True)
                yield rounds, events.EngineState("crashed", str(error))
                break
            except AnswerBrokenError as error:
                status, closing = TurnStatus.ENGINE_FAILED, INTERRUPTED
                self._conversation.close(this.spoken.message().content, failed=True)
                yield rounds, events.Notice(f"the answer broke off, and what came of it is kept: {error}")
                break
            except EngineError as error:
                if rounds == 1:
                    raise
                # Taken back, what the tools have done would be forgotten, and done again.
                status, closing = TurnStatus.ENGINE_FAILED, INTERRUPTED
                self._conversation.close(this.spoken.message().content, failed=True)
                yield rounds, events.Notice(f"the turn ends here: the engine refused to go on: {error}")
                break
            assert this.finished is not None
            total += this.finished.usage
            truncated = this.finished.reason is deltas.FinishReason.LENGTH
            yield rounds, events.RoundFinished(this.finished.reason, this.finished.usage)
            said = this.spoken.message()
            if not this.calls:
                if truncated:
                    status = TurnStatus.TRUNCATED
                    yield (
                        rounds,
                        events.Notice(
                            f"the answer was cut off after {this.finished.usage.completion_tokens} tokens; "
                            "--max-tokens allows more, up to what the context leaves"
                        ),
                    )
                if said.content.strip():
                    self._conversation.add_answer(said.content, said.thinking, said.parts)
                else:
                    closing = "[no answer]"
                    self._conversation.close("", closing)
                    yield rounds, events.Notice("the model gave an empty answer")
                break
            outcome = Outcome()
            left = await self._left(this.finished.usage, len(this.calls), toolbox.specs, options)
            async with aclosing(calls.run(this.calls, outcome, left)) as running:
                async for body in running:
                    declined = declined or (isinstance(body, events.CallDecided) and not body.allowed)
                    yield rounds, body
            self._conversation.add_calls(said.content, outcome.calls, said.thinking, said.parts)
            self._conversation.add_results(outcome.results)
            # A call that was whole when the limit came has been run: the model is to see its result.
            ending = self._ending(calls, cut_off=truncated and isinstance(this.calls[-1], FailedCall))
            if ending is None and rounds >= allowed:
                if await self._continue(LimitMet(rounds)) is LimitChoice.CONTINUE:
                    allowed += self._limits.rounds
                else:
                    ending = _Ending(
                        TurnStatus.LIMIT,
                        f"[stopped after {rounds} rounds of tool calls]",
                        events.Notice(f"the turn ends here: the limit of {rounds} rounds of tool calls is reached"),
                    )
            if ending is not None:
                self._conversation.close("", ending.why)
                yield rounds, ending.event
                status, closing = ending.status, ending.why
                break
            options = _after_calls(options)
        yield rounds, events.TurnFinished(status, rounds, total, declined, closing)

    def _heard(self, toolbox: Toolbox) -> str:
        """The untrusted tool that has spoken in the turn that goes on; "" for none."""
        for message in reversed(self._conversation.last_turn):
            match message:
                case UserMessage():
                    break
                case ToolMessage(_, name) if (tool := toolbox.get(name)) is not None and tool.options.untrusted:
                    return name
        return ""

    def _ending(self, calls: TurnCalls, *, cut_off: bool) -> _Ending | None:
        """Why the turn is not to go on after a round of calls, if so."""
        if self._interrupt.is_set():
            return _Ending(TurnStatus.INTERRUPTED, INTERRUPTED, events.Interrupted())
        if cut_off:
            what = "the answer was cut off inside a tool call"
            notice = events.Notice(f"{what}, which was not run; --max-tokens allows more")
            return _Ending(TurnStatus.TRUNCATED, f"[{what}]", notice)
        if calls.repeated is not None:
            often = f"{self._limits.stop_at} times"
            notice = events.Notice(
                f"the turn ends here: the model asked {often} for {calls.repeated.name} with the same arguments"
            )
            return _Ending(TurnStatus.LIMIT, f"[stopped: the same call {often}]", notice)
        return None

    def _toolbox(self) -> Toolbox:
        toolbox = self._runner.toolbox
        if self._offered is None:
            return toolbox
        names = {spec.name for spec in self._offered()}
        return replace(toolbox, tools=tuple(tool for tool in toolbox.tools if tool.name in names))

    def _needed(self, context: int, options: GenerateOptions) -> int:
        return max(options.reserve, reserve(context, options.max_tokens))

    def _to_set_aside(self, error: ContextOverflowError, options: GenerateOptions) -> tuple[int, ...]:
        needed = self._needed(error.context_window, options)
        return turns_to_set_aside(error.count, self._conversation.sent, error.context_window, needed)

    async def _left(
        self, usage: deltas.Usage, calls: int, tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> int | None:
        info = self._engine.info
        return await left_for_results(
            self._engine,
            self._conversation,
            usage,
            tools,
            calls=calls,
            reserve=self._needed(info.context_window, options) if info is not None else 0,
            reasoning_effort=options.reasoning_effort,
        )

    def _frames(
        self, request_id: str, tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncGenerator[list[deltas.Delta], None]:
        """The deltas of one generation, a list for each display frame."""
        if (info := self._engine.info) is not None:
            options = replace(options, reserve=self._needed(info.context_window, options))
        stream = self._engine.generate(request_id, self._conversation.messages, tools, options)
        return frames(stream, self._interrupt)

    def _take(self, this: _Round, frame: Sequence[deltas.Delta]) -> Iterator[EventBody]:
        """Add a frame to `this`, which so holds what had come when an exception ends the round; what is to be told."""
        before = this.writing
        for delta in frame:
            yield from self._take_one(this, delta)
        if this.writing is not None and this.writing != before:
            yield this.writing

    def _take_one(self, this: _Round, delta: deltas.Delta) -> Iterator[EventBody]:
        match delta:
            case deltas.Text(text):
                this.spoken.add(text)
                yield events.TextDelta(text)
            case deltas.Thinking(text):
                this.spoken.add(text, thinking=True)
                yield events.ThinkingDelta(text)
            case deltas.CallBegun(_, name):
                this.writing = events.CallWriting(name, 0)
            case deltas.CallArguments(_, text) if this.writing is not None:
                size = this.writing.size + len(text.encode(errors="surrogatepass"))
                this.writing = replace(this.writing, size=size)
            case deltas.CallEnded(_, call):
                this.writing = None
                # Up to v11 models write ids, also ones that they read before: results are kept by them.
                while self._conversation.has_call(call.id) or any(one.id == call.id for one in this.calls):
                    call = replace(call, id=self._new_id())
                this.calls.append(call)
                this.spoken.call()
                yield events.CallProposed(call)
            case deltas.Note(text) if text not in self._noted:
                self._noted.add(text)
                yield events.Notice(text)
            case deltas.Finished():
                this.finished = delta


def _after_calls(options: GenerateOptions) -> GenerateOptions:
    """The options of the rounds after one with calls: required again, calls would never end."""
    return options if options.tool_choice == "none" else replace(options, tool_choice="auto")
