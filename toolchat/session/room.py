"""The room in the context of a chat: what fills it, and the ways to make some, each of which can be undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from toolchat.chat.compaction import FULL, older_turns, summarise, summary_limit
from toolchat.chat.context_view import ContextView, LastPrompt, ResultView, context_view
from toolchat.chat.context_window import cut_to_budget, result_tokens, turn_tokens
from toolchat.chat.conversation import Conversation, Turn
from toolchat.engine.base import Engine, EngineInfo, GenerateOptions
from toolchat.wire.deltas import TokenCount
from toolchat.wire.errors import EngineError, ExitCode, ToolchatError, UsageError
from toolchat.wire.events import (
    Branched,
    Edit,
    EditUndone,
    ResultTrimmed,
    RoundFinished,
    SummaryChanged,
    TurnKept,
    TurnsSummarised,
)
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import ToolMessage, ToolResult, ToolSpec, UserMessage

AGAIN = 0.05
"""What was refused, or failed, is tried again when so much more of the context is full."""


_CHARACTERS = 4
"""Of a token, roughly, in English text."""

_DROPPED = "[the user has dropped this result"


class Stopped(ToolchatError):  # noqa: N818
    """The user stopped what was to come before the question: that has not been asked."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True, slots=True)
class Fullness:
    """The context is nearly full, and these turns could be summed up."""

    used: int
    window: int
    turns: int


AskRoom = Callable[[Fullness], Awaitable[bool]]
"""Asks the user whether the older turns are to be summed up now."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What came of summing up."""

    number: int
    """The summary's."""
    turns: tuple[int, ...]
    text: str
    before: int
    """Tokens of the prompt."""
    after: int
    estimated: bool
    cut_off: bool


class Tools(Protocol):
    """What the model is told of."""

    def offered(self) -> list[ToolSpec]: ...


class Chat(Protocol):
    """What room is made in: the session."""

    @property
    def conversation(self) -> Conversation: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def info(self) -> EngineInfo | None: ...
    @property
    def options(self) -> GenerateOptions: ...
    @property
    def tools(self) -> Tools: ...
    def edited(self, edit: Edit) -> None: ...
    def notify(self, text: str) -> None: ...
    def keep_result(self, result: ToolResult) -> Kept | None: ...


class Room:
    """Edits of the history, for between turns. They are told as events, and so stored."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.used_tokens = 0
        self.used_is_estimate = False
        """Whether `used_tokens` is one: a server has not counted what was changed since."""
        self._counting: asyncio.Task[None] | None = None
        self._ask: AskRoom | None = None
        self._refused = 0.0
        """The part of the context that was full when the user did not want room to be made, or none could be."""
        self._last: LastPrompt | None = None
        self._prompts = 0
        self._has_cache = False
        """Whether the engine has said that it found something in its cache."""
        self._making: asyncio.Task[None] | None = None
        self._requests = 0

    def asks(self, ask: AskRoom) -> None:
        """Have `ask` ask the user, where the setting says so."""
        self._ask = ask

    def see(self, finished: RoundFinished) -> None:
        """Note what the engine has just answered, before the conversation goes on."""
        self._last = LastPrompt(self._chat.conversation.messages, tuple(self._chat.tools.offered()), finished.usage)
        self._prompts += 1
        usage = finished.usage
        self._has_cache = self._has_cache or usage.cached_tokens > 0
        self.used_tokens = usage.prompt_tokens + usage.completion_tokens
        self.used_is_estimate = usage.estimated

    def forget_engine(self) -> None:
        """Another one answers from now on."""
        self._last, self._prompts, self._has_cache = None, 0, False

    def count_again(self) -> None:
        """Have the engine count what the conversation takes now; what it said before that stands until then."""
        if self._counting is not None:
            self._counting.cancel()
        # Within a turn the rounds say it.
        if self._chat.info is not None and not self._chat.conversation.open:
            self._counting = asyncio.create_task(self._counted(), name="count")

    async def stop_counting(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _counted(self) -> None:
        with contextlib.suppress(EngineError):
            count = await self._count()
            self.used_tokens, self.used_is_estimate = count.total, count.estimated

    async def tool_tokens(self, tool: ToolSpec) -> int | None:
        """What a tool takes of every prompt, by the model's own tokenizer; None while no model is there to count."""
        if self._chat.info is None:
            return None
        with contextlib.suppress(EngineError):
            return (await self._chat.engine.count([UserMessage("x")], [tool])).tools[0]
        return None

    async def view(self) -> ContextView:
        """What fills the context now. Raises EngineError, and UsageError while no model is there to count."""
        info, conversation = self._info(), self._chat.conversation
        count = await self._count()
        last = self._last
        if not self._has_cache and (info.server or self._prompts > 1):
            last = None  # it has no cache, or does not tell
        return context_view(
            info.context_window,
            count,
            conversation.system,
            self._chat.tools.offered(),
            conversation.history,
            last=last,
            version=info.tokenizer_version,
        )

    async def compact(self, words: str = "") -> Compacted:
        """Have the model sum the older turns up, `words` above all; the last ones stay as they are.

        May be cancelled; the history is then as it was. Raises EngineError, and UsageError where there is nothing to be
        summed up, or nothing gained by it.
        """
        chat, info = self._chat, self._info()
        conversation, history = chat.conversation, chat.conversation.history
        count = await self._count()
        turns = older_turns(history, count)
        if not turns:
            raise UsageError("there is nothing to sum up before the last turn")
        tokens = turn_tokens(count, conversation.sent)
        sizes = [tokens[turn.number] if turn.number in tokens else _estimated(turn) for turn in turns]
        limit = summary_limit(sum(sizes), info.context_window, chat.options)
        self._requests += 1
        summary = await summarise(
            chat.engine,
            f"summary-{id(self)}-{self._requests}",
            turns,
            system=conversation.system,
            tools=chat.tools.offered(),
            options=chat.options,
            limit=limit,
            words=words,
        )
        if chat.conversation is not conversation or conversation.history != history:
            raise UsageError("the conversation has changed meanwhile: nothing is summed up")
        numbers = tuple(turn.number for turn in turns)
        mark = conversation.mark()
        number = conversation.summarise(numbers, summary.text)
        try:
            after = await self._count()
        except BaseException:
            conversation.rewind(mark)
            raise
        if after.total >= count.total and not any(turn.aside for turn in turns):
            conversation.rewind(mark)
            made = after.total - count.total + sum(sizes)
            raise UsageError(
                f"the summary would take more than what it stands for ({made:,} tokens for {sum(sizes):,}): "
                "the turns stay as they are"
            )
        chat.edited(TurnsSummarised(numbers, summary.text, number, summary.usage))
        return Compacted(number, numbers, summary.text, count.total, after.total, after.estimated, summary.cut_off)

    async def make_room(self, mode: str) -> None:
        """Before a question: sum the older turns up where the context is nearly full and `mode` says so, or the user.

        A failure is told, and no more: turns are set aside where need be. Raises Stopped where the user interrupts it.
        """
        chat = self._chat
        if mode == "off" or chat.info is None or not chat.conversation.turns:
            return
        full = self.used_tokens / chat.info.context_window
        if full < FULL:
            self._refused = 0.0
            return
        if full < self._refused + AGAIN or (mode == "ask" and self._ask is None):
            return
        self._making = asyncio.create_task(self._make_room(mode, full), name="compact")
        try:
            await asyncio.wait({self._making})
            if self._making.cancelled():
                raise Stopped("stopped before the question was asked")
            self._making.result()
        finally:
            self._making.cancel()
            self._making = None

    @property
    def is_making(self) -> bool:
        """Whether it is under way, see `make_room`."""
        return self._making is not None

    def stop(self) -> None:
        """Stop what comes before the question."""
        if self._making is not None:
            self._making.cancel()

    async def _make_room(self, mode: str, full: float) -> None:
        chat, info = self._chat, self._info()
        try:
            count = await self._count()
        except EngineError:
            return  # the turn itself says what is wrong with the engine
        turns = older_turns(chat.conversation.history, count)
        if not turns:
            return
        if mode == "ask":
            assert self._ask is not None
            if not await self._ask(Fullness(count.total, info.context_window, len(turns))):
                self._refused = full
                return
        share = f"{100 * count.total / info.context_window:.0f} %"
        chat.notify(f"the context is {share} full: summing up {turns_text(len(turns))}")
        try:
            made = await self.compact()
        except ToolchatError as error:
            self._refused = full
            chat.notify(f"not summed up: {error}")
        else:
            chat.notify(compacted_text(made))

    def change_summary(self, text: str) -> None:
        """Give the last summary of the history other words. Raises UsageError where there is none."""
        number = self.summary().number
        self._chat.conversation.change_summary(number, text)
        self._chat.edited(SummaryChanged(number, text))

    def summary(self) -> Turn:
        """The last summary of the history. Raises UsageError where there is none."""
        found = next((turn for turn in reversed(self._chat.conversation.history) if turn.replaced), None)
        if found is None:
            raise UsageError("there is no summary; /compact makes one")
        return found

    def keep(self, number: int | None, kept: bool = True) -> int:
        """Have a turn, None for the last one, go last where turns have to go; its number. Raises UsageError."""
        turn = self._turn(number)
        if turn.kept is not kept:
            self._chat.conversation.keep(turn.number, kept)
            self._chat.edited(TurnKept(turn.number, kept))
        return turn.number

    async def results(self) -> Sequence[ResultView]:
        """The results that the model is sent."""
        return (await self.view()).results

    async def trim(self, place: str, most_tokens: int | None = None) -> list[tuple[ResultView, int]]:
        """Drop a result, or cut it to so many tokens: "3.1", the first of turn 3, or "3", all of them.

        Each that is changed, as it was, and the tokens that it takes now. Raises UsageError and EngineError.
        """
        view = await self.view()
        found = [one for one in view.results if place in (one.place, str(one.turn))]
        if not found:
            raise UsageError(f"there is no result {place}; /trim lists them")
        changed: list[tuple[ResultView, int]] = []
        total = view.total
        for one in found:
            message = self._result(one)
            content = await self._trimmed(message, most_tokens)
            if content is None:
                continue
            images = bool(message.images) and most_tokens is not None
            self._chat.conversation.trim(one.turn, one.call_id, content, images)
            self._chat.edited(ResultTrimmed(one.turn, one.call_id, content, images))
            before, total = total, (await self._count()).total
            changed.append((one, one.tokens - (before - total)))
        return changed

    async def _trimmed(self, message: ToolMessage, most_tokens: int | None) -> str | None:
        """Other words for a result; None where they would be no fewer."""
        if most_tokens is None:
            left = f"{_DROPPED}: {len(message.content):,} characters]"
            is_dropped = message.content.startswith(_DROPPED) or len(left) >= len(message.content)
            return left if message.images or not is_dropped else None
        count = partial(result_tokens, self._chat.engine, message.call_id, message.name)

        def keep() -> Kept | None:
            return self._chat.keep_result(ToolResult(message.call_id, message.name, message.content))

        content, left_out = await cut_to_budget(message.content, most_tokens, count, keep)
        return content if left_out and len(content) < len(message.content) else None

    def branch(self, number: int) -> None:
        """Go to another turn, see `Conversation.branch`. Raises UsageError."""
        try:
            self._chat.conversation.branch(number)
        except ValueError as error:
            raise UsageError(f"{error}; /branch lists those that can be gone to") from None
        self._chat.edited(Branched(number))

    def undo_edit(self) -> str:
        """Undo the edit that came last; which it was, empty where a turn came last."""
        edit = self._chat.conversation.last_edit
        if edit:
            self._chat.conversation.undo_edit()
            self._chat.edited(EditUndone())
        return edit

    def _turn(self, number: int | None) -> Turn:
        history = self._chat.conversation.history
        if not history:
            raise UsageError("there is no turn yet")
        if number is None:
            return history[-1]
        found = next((turn for turn in history if turn.number == number), None)
        if found is None:
            raise UsageError(f"there is no turn {number}; /branch lists them")
        return found

    def _result(self, view: ResultView) -> ToolMessage:
        return next(one for one in self._turn(view.turn).results if one.call_id == view.call_id)

    def _info(self) -> EngineInfo:
        if self._chat.info is None:
            raise UsageError("the model is not loaded yet, which counts the tokens")
        return self._chat.info

    async def _count(self) -> TokenCount:
        chat = self._chat
        return await chat.engine.count(chat.conversation.messages, chat.tools.offered(), chat.options.reasoning_effort)


def _estimated(turn: Turn) -> int:
    """About how many tokens a turn takes that is not sent, and so not counted."""
    return sum(len(message.content) for message in turn.messages) // _CHARACTERS


def turns_text(number: int) -> str:
    return "the older turn" if number == 1 else f"the {number} older turns"


def compacted_text(made: Compacted) -> str:
    """What summing up has changed, in one line."""
    about = "~" if made.estimated else ""
    cut = "; the summary was cut off" if made.cut_off else ""
    turns = "1 turn is" if len(made.turns) == 1 else f"{len(made.turns)} turns are"
    return f"{turns} summed up: the prompt takes {about}{made.after:,} tokens, before {about}{made.before:,}{cut}"
