"""Puts a chat together (engine, conversation, tools, record) and offers the operations on it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import toolchat
from toolchat.chat.approval import ApprovalPolicy, Ask, Decide
from toolchat.chat.calls import CallRunner
from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import Engine, EngineInfo, GenerateOptions
from toolchat.images.attached import refuse_unseen
from toolchat.models.card import OwnPrompt
from toolchat.session.keeper import EngineKeeper
from toolchat.session.past import Past, SessionState, Storage, past_of, shown_again
from toolchat.session.room import Room
from toolchat.session.stream import KeptAnswers, Show, Stream
from toolchat.session.tools import SessionTools, check_tool_choice
from toolchat.session.turn_settings import SystemPrompt, TurnSettings, check_effort
from toolchat.settings import Settings
from toolchat.store.record import SessionRecord
from toolchat.store.results import KeptResults, keep_image
from toolchat.store.sessions import Opened
from toolchat.store.transcript import Transcript
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import (
    CallDecided,
    Cleared,
    Edit,
    EngineState,
    Event,
    EventBody,
    HistoryEdited,
    ModelChanged,
    Notice,
    RoundFinished,
    SessionStarted,
    ToolsChanged,
    TurnFinished,
    TurnStarted,
    TurnUndone,
    TurnWithdrawn,
)
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import Image, ToolResult, UserMessage

if TYPE_CHECKING:  # few chats are recorded
    from toolchat.store.cassette_writer import CassetteWriter


class NewModel(Protocol):
    """Another model, whose files are here."""

    @property
    def model(self) -> str: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def notice(self) -> str:
        """What a person should know of how its name was taken; "" for nothing."""

    def engine(self) -> Engine: ...
    def own_prompt(self) -> OwnPrompt: ...


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
        records: Path | None,
        show: Show,
        sources: Sources | None = None,
        plain: Show | None = None,
        opened: Opened | None = None,
        tape: CassetteWriter | None = None,
    ) -> None:
        """`records` is the folder of the stored sessions; None stores nothing. `opened` is one to go on with. `tape`
        is a cassette that the chat is recorded on; the caller closes it afterwards.

        `sources` may be left out where neither tools nor model will be changed.
        `plain` is called in place of `show` once that has failed, see `Stream`.

        Raises ToolchatError where `opened` cannot be gone on with.
        """
        past = past_of(opened) if opened is not None else None
        self.model = model
        self.conversation = Conversation(settings.system or None)
        self.system_prompt = SystemPrompt(self, chosen=settings.system is not None)
        self.storage = Storage(self, records)
        """The stored sessions, of which this is one."""
        self._stream = Stream(records, show, plain, opened.record if opened is not None else None, tape)
        self._tape = tape
        self._keeper = EngineKeeper(self._taped(engine), self._engine_told, self._engine_died)
        self._settings = TurnSettings(settings)
        self._options = self._settings.options
        self._sources = sources
        self._kept = KeptAnswers()
        self.room = Room(self)
        """What fills the context, and the ways to make room in it."""
        self._crash_told = False
        self._loop: ChatLoop | None = None
        self.tools = SessionTools(self, tape.know_tools if tape is not None else None)
        self._result_files = self._new_result_files()
        self._shown_again: list[Event] = []
        self._past: Past | None = None
        """What this session was when it was opened, where that is to be compared with the tools yet."""
        self._saved_state = SessionState()
        if opened is not None and past is not None:
            self._go_on(opened, past)
        else:
            program = f"toolchat {toolchat.__version__}"
            self._stream.emit(SessionStarted(model, program, settings.system, asdict(self._options)))

    def equip(
        self,
        runner: CallRunner,
        policy: ApprovalPolicy | None = None,
        ask: Ask | None = None,
        only: Collection[str] = (),
        decide: Decide | None = None,
    ) -> None:
        """Say which tools there are, and who decides on calls; before the first turn. They end with the session.

        Calls run as `policy` says (None: all); where it says to ask, `ask` does, and None declines. Where `only` names
        tools, the others are switched off. Raises UsageError where the tool that the model is to call, or one that the
        policy or `only` names, is not among them. Where `decide` says what was decided then, hooks do not run.
        """
        if decide is not None:
            self._settings.leave_out_hooks()
        self.tools.equip(runner, policy, ask, only, decide)
        check_tool_choice(self._options.tool_choice, runner.toolbox, self.tools.switched_off)
        if self._past is not None:
            self._have_past_tools()
            self.room.count_again()  # where the engine was ready before, it has counted without tools
        elif runner.toolbox.tools:
            self.tools.record_offered()

    def show_past(self) -> None:
        """Show the last turns of a session that goes on, as they were shown before."""
        for event in self._shown_again:
            self._stream.show_again(event)
        self._shown_again = []

    @property
    def transcript(self) -> Transcript:
        """The turns so far, for people."""
        return self.record.transcript

    def go_over(self, opened: Opened, past: Past, *, show: bool) -> None:
        """Be another stored session from now on, in place of this one; with `show`, show its last turns."""
        self.record.close()
        self._go_on(opened, past)
        if show:
            self.show_past()
        self._have_past_tools()
        self.renew_loop()
        self.room.count_again()

    def _go_on(self, opened: Opened, past: Past) -> None:
        """Be this session from now on; its tools are compared once there are any, see `_have_past_tools`."""
        self._past = past
        self.conversation, self._kept = past.conversation, past.kept
        self.room.forget_engine()
        self.system_prompt.go_on(chosen=past.state.system_chosen, stays=past.model == self.model)
        self._saved_state = past.state
        self._stream.take(opened.record, len(opened.history))
        self._result_files = self._new_result_files()
        folded = past.folded
        closing = [self._stream.only_record(body, folded.turn, folded.round) for body in folded.closing]
        self._shown_again = shown_again([*opened.history, *closing], self.conversation)
        if opened.copied_from:
            copy = f"this chat goes on in a copy of it, {opened.stored.id}"
            self.notify(f"{opened.copied_from} is open in another program: {copy}")

    def _have_past_tools(self) -> None:
        """Have the switched-off tools and the grants of the session that goes on, and tell what is different now."""
        assert self._past is not None
        past, self._past = self._past, None
        self.tools.have(past.state.switched_off, past.state.grants)
        if past.model != self.model:
            self.notify(f"{self.model} answers from here on; in this session it was {past.model}")
        if past.model != self.model or past.settings != asdict(self._options):
            self.edited(ModelChanged(self.model, asdict(self._options)))
        self.tools.compare(past.tools)

    def keep_state(self) -> None:
        """Have what belongs to the session and not to its conversation stored, where it has changed."""
        # Until `_have_past_tools` the tools know nothing of what this session had switched off and granted.
        tools = SessionState(self.tools.kept_off, self.tools.session_grants)
        state = replace(tools if self._past is None else self._past.state, system_chosen=self.system_prompt.chosen)
        if state != self._saved_state and self.record.stored:
            self._saved_state = state
            self.record.keep_state(state.data())

    def _new_result_files(self) -> KeptResults:
        return KeptResults(self.record.files, self.record.keeps_file)

    def _keep_image(self, image: Image) -> Image:
        return keep_image(self.record.files, image, self.record.keeps_file)

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
    def engine(self) -> Engine:
        return self._keeper.engine

    @property
    def options(self) -> GenerateOptions:
        """How the model is asked to generate."""
        return self._options

    @property
    def last_answer(self) -> str:
        return self._kept.answer

    @property
    def last_thinking(self) -> str:
        return self._kept.thinking

    @property
    def last_results(self) -> Sequence[ToolResult]:
        return self._kept.results

    async def launch(self) -> None:
        """Start the engine, or start it again, and go on while it loads."""
        self._crash_told = False
        await self._keeper.launch()

    async def engine_ready(self) -> None:
        """Wait until the engine is loaded, and do nothing then. Raises EngineError where it cannot be."""
        await self._keeper.ready()

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""
        await self._keeper.ready()
        if self.info is not None and self.info.server:
            # Only the server knows which model it has, where none was named.
            self.model = self.info.model
        if self.conversation.turns:
            # Another model counts otherwise.
            self.room.count_again()

    async def ask(
        self, text: str, images: Sequence[Image] = (), schema: dict[str, Any] | None = None, *, typed: str = ""
    ) -> TurnFinished:
        """One turn, its answer held to the JSON Schema `schema` where there is one.

        Resources of MCP servers that `typed` names, the user's own words in `text`, go along with it.
        Where the context is nearly full, the older turns are summed up before it, as the setting `compact` says.

        Raises EngineError where the engine refuses it; the conversation is then as it was. Raises UsageError where
        there are images and the model does not see.
        """
        assert self._loop is not None
        if images and self.info is not None and not self.info.supports_images:
            raise refuse_unseen(self.model)
        await self.tools.settle()
        text = await self.tools.with_resources(text, typed)
        await self.room.make_room(self.turn_settings["compact"])
        return await self._play(self._loop.turn(text, images, schema))

    @property
    def can_retry_round(self) -> bool:
        return self.conversation.can_retry_round

    async def retry_round(self) -> TurnFinished:
        """Go on with the last turn, which the engine's failure ended, behind the results that are there."""
        assert self._loop is not None
        return await self._play(self._loop.retry())

    async def _play(self, events: AsyncGenerator[Event, None]) -> TurnFinished:
        begun, finished = False, None
        try:
            # aclosing: where `show` raises (a closed pipe), the turn ends here and now and not at some later
            # collection.
            async with contextlib.aclosing(events) as turn:
                async for event in turn:
                    begun = True
                    self._kept.see(event.body, event.turn)
                    match event.body:
                        case EngineState("crashed"):
                            self._crash_told = True
                        case RoundFinished() as round_finished:
                            self.room.see(round_finished)
                        case TurnFinished() as ended:
                            finished = ended
                    self._stream.pass_on(event)
                    if isinstance(event.body, TurnStarted | CallDecided):
                        self.keep_state()
        except EngineError:
            raise
        except BaseException:
            if begun and finished is None:
                # The loop took the turn back, and cannot say so to whoever has stopped listening.
                self._stream.only_record(HistoryEdited(TurnWithdrawn()))
            raise
        assert finished is not None
        # A server has just counted this itself, and better than it can be estimated here.
        if self.info is not None and self.info.exact_counts:
            self.room.count_again()
        return finished

    def interrupt(self) -> None:
        """Stop the turn under way, and what comes before it; `ask` then returns soon. Where it still waits for servers,
        it goes on without."""
        if self.tools.stop_settling():
            return
        self.room.stop()
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
        """Take the last turn back; its question, or None where there is no turn. What was edited since stays.

        Raises UsageError where that is a summary, which has no question.
        """
        history = self.conversation.history
        if history and history[-1].replaced:
            raise UsageError("the last turn is a summary; /undo puts back what it stands for")
        question = self.conversation.undo()
        if question is not None:
            self.edited(TurnUndone(history[-1].number))
        return question

    def clear(self) -> None:
        """Forget every turn; the system prompt stays."""
        turns = self.conversation.turns
        self.conversation.clear()
        self._kept.forget()
        if turns:
            self.edited(Cleared())

    @property
    def turn_settings(self) -> dict[str, Any]:
        """What `set_for_turns` changes, by the settings' names, as it counts now; None for the model's own."""
        return self._settings.values

    def set_for_turns(self, name: str, value: Any) -> None:
        """Generate with this value of a setting from the next turn on, also with another model; None: as begun.

        Raises UsageError where there is no such tool, or the model knows no such reasoning effort.
        """
        self.expect_no_turn()
        if name == "tool_choice" and value is not None:
            check_tool_choice(value, self.tools.toolbox, self.tools.switched_off)
        if name == "reasoning_effort" and value is not None:
            check_effort(value, self.model, self.info)
        self._settings.change(name, value)
        options = self._settings.options
        if options != self._options:
            self._options = options
            self.renew_loop()
            self.edited(ModelChanged(self.model, asdict(options)))

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
            await self._keeper.replace(lambda: self._taped(found.engine()))
        except BaseException:
            # The stages of fetching say nothing about the engine that is still there, if it is.
            if not self.loading and (told or not (self.info is not None)):
                self._stream.emit(EngineState("ready" if (self.info is not None) else "not loaded", self.model))
            raise
        self.model = found.model
        dropped = self._settings.begin_with(found.settings)
        self._options = self._settings.options
        self.system_prompt.let_change()
        self.room.forget_engine()
        self.renew_loop()
        self.edited(ModelChanged(self.model, asdict(self._options)))
        if found.notice:
            self.notify(found.notice)
        if dropped:
            self.notify("the reasoning effort that was set is the model's own again: others have other efforts")
        self.system_prompt.use_own(found.own_prompt())
        await self.launch()

    async def close(self) -> None:
        await self.room.stop_counting()
        await self._keeper.stop()
        await self.tools.runner.close()
        await self._keeper.close()
        self.record.close()

    def _taped(self, engine: Engine) -> Engine:
        if self._tape is None:
            return engine
        from toolchat.engine.record_replay import RecordingEngine

        return RecordingEngine(engine, self._tape)

    def _engine_told(self, body: EventBody) -> None:
        self._stream.emit(body)
        # Of a session that goes on it is shown what it takes before anything is asked.
        if isinstance(body, EngineState) and body.state == "ready" and self.conversation.turns:
            self.room.count_again()

    def _engine_died(self, how: str) -> None:
        # Within a turn the loop says so, before this or after it.
        if not self.conversation.open and not self._crash_told:
            self._stream.emit(EngineState("crashed", f"{how}; a message starts it again"))

    def expect_no_turn(self) -> None:
        if self.conversation.open:
            raise UsageError("a turn is under way; stop it first")

    async def read_tools(self) -> CallRunner:
        """Read the tools file and the functions' code again. Raises UsageError."""
        return await self._changeable().tools()

    def _changeable(self) -> Sources:
        self.expect_no_turn()
        if self._sources is None:
            raise UsageError("this chat keeps the tools and the model that it began with")
        return self._sources

    def renew_loop(self) -> None:
        self._loop = ChatLoop(
            engine=self._keeper.engine,
            conversation=self.conversation,
            runner=self.tools.runner,
            options=self._options,
            stamp=self._stream.stamp,
            decide=self.tools.decide,
            keep=self._keep,
            keep_part=self._result_files.add,
            keep_image=self._keep_image,
            offered=self.tools.offered,
            hooks=self._settings.hooks,
        )

    def keep_result(self, result: ToolResult) -> Kept | None:
        """The file that holds all of a result of which the model is shown a part; None where nothing is stored."""
        return self._result_files.keep(result)

    def _keep(self, result: ToolResult) -> Kept | None:
        """A result of which the model is shown a part."""
        kept = self.keep_result(result)
        self._kept.whole(result, kept)
        return kept

    def edited(self, edit: Edit) -> None:
        """Tell, and so store, what was done to the history, the tools or the model."""
        self._kept.go_to(self.conversation.numbers)
        self._stream.emit(HistoryEdited(edit))
        if isinstance(edit, ToolsChanged):
            self.keep_state()
        self.room.count_again()
