"""Going on with stored sessions: what one brings along (conversation, tools, model, grants, last turns), and changing
over to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from toolchat.chat.conversation import Conversation
from toolchat.chat.fold import Folded, fold_to_go_on
from toolchat.models.choice import choose_model
from toolchat.session.stream import KeptAnswers
from toolchat.settings import cache_folder, resolve
from toolchat.store.grants import read_grant
from toolchat.store.record import SessionRecord
from toolchat.store.sessions import Opened, SessionStore, StoredSession, open_session_of, stored_sessions
from toolchat.tools.rules import Grant
from toolchat.wire import events
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.events import Event
from toolchat.wire.messages import ToolSpec

SHOWN_TURNS = 3
"""How many turns of a session are shown again when a chat goes on with it."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What belongs to a session and not to its conversation."""

    switched_off: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] = ()
    """What was granted for the session only."""
    system_chosen: bool = False
    """Whether the user has said which system prompt there is to be."""

    def data(self) -> dict[str, Any]:
        return {
            "switched_off": sorted(self.switched_off),
            "grants": [asdict(grant) for grant in self.grants],
            "system_chosen": self.system_chosen,
        }


@dataclass(frozen=True, slots=True)
class Past:
    """A session as it was left. The conversation is closed; `folded.closing` says so to its record."""

    folded: Folded
    kept: KeptAnswers
    model: str
    settings: Mapping[str, Any]
    """As those of `SessionStarted`."""
    tools: tuple[ToolSpec, ...]
    """What the model was offered last."""
    state: SessionState

    @property
    def conversation(self) -> Conversation:
        return self.folded.conversation


def past_of(opened: Opened) -> Past:
    """Raises FoldError, a ToolchatError, for events that no session can have had."""
    history = opened.history
    kept = KeptAnswers()
    model, settings = "", dict[str, Any]()
    tools: tuple[ToolSpec, ...] = ()
    for event in history:
        kept.see(event.body, event.turn)
        match event.body:
            case events.SessionStarted(model=name, settings=options, tools=specs):
                model, settings, tools = name, options, specs
            case events.HistoryEdited(events.ModelChanged(name, options)):
                model, settings = name, options
            case events.HistoryEdited(events.ToolsChanged(specs)):
                tools = specs
            case events.HistoryEdited(events.Cleared()):
                kept.forget()
    folded = fold_to_go_on(history)
    for body in folded.closing:
        kept.see(body, folded.turn)
    kept.go_to(folded.conversation.numbers)
    return Past(folded, kept, model, settings, tools, _state(opened.record.state()))


def shown_again(history: Iterable[Event], conversation: Conversation) -> list[Event]:
    """The events of the last turns, as they were shown; of a summary its words. What was taken back is not among them.

    The events of a turn stand together, and the turns in their order, whatever was gone back to in between. How fast
    they were is left out: what a toolbar shows is of this engine.
    """
    last = conversation.numbers[-SHOWN_TURNS:]
    kinds = (events.EngineState, events.CallWriting, events.RoundFinished)
    found: dict[int, list[Event]] = {number: [] for number in last}
    for event in history:
        match event.body:
            case events.HistoryEdited(events.TurnsSummarised(turn=turn) | events.SummaryChanged(turn=turn)):
                if turn in found:
                    found[turn] = [event]
            case body if event.turn in found and not isinstance(body, kinds):
                found[event.turn].append(event)
    return [event for number in last for event in found[number]]


def changes(before: Sequence[ToolSpec], now: Sequence[ToolSpec]) -> str:
    """How the tools differ from those that the session had, in one line; empty where they do not."""
    old, new = ({spec.name: spec for spec in specs} for specs in (before, now))
    parts = [
        ("new", [name for name in new if name not in old]),
        ("gone", [name for name in old if name not in new]),
        ("changed", [name for name in new if name in old and new[name] != old[name]]),
    ]
    told = "; ".join(f"{how}: {', '.join(names)}" for how, names in parts if names)
    return f"the tools are not those that this session had: {told}" if told else ""


def with_model(flags: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The flags of a command that goes on with a session of that model: it is loaded where no flag names another, nor a
    server.

    Not where it is not on this machine: nobody who goes on with a chat has asked for a download.
    """
    flags = dict(flags)
    if flags.get("model") is None and not resolve(flags).server:
        try:
            choice = choose_model(model, cache_folder())
        except ToolchatError:
            return flags
        if choice.folder is not None or choice.kind == "demo":
            flags["model"] = model
    return flags


def _state(data: Mapping[str, Any]) -> SessionState:
    """What cannot be read of it grants nothing and switches nothing off."""
    match data:
        case {"switched_off": list(names), "grants": list(rows), "system_chosen": bool(chosen)}:
            grants = tuple(grant for row in rows if (grant := read_grant(row)) is not None)
            return SessionState(frozenset(name for name in names if isinstance(name, str)), grants, chosen)
    return SessionState(system_chosen=True)


class Chat(Protocol):
    """What is stored: the session that is open."""

    @property
    def record(self) -> SessionRecord: ...
    def expect_no_turn(self) -> None:
        """Raises UsageError where a turn is under way."""

    def go_over(self, opened: Opened, past: Past, *, show: bool) -> None:
        """Be another session from now on."""


class Storage:
    """The stored sessions, of which the open one is one, and going over from it to another."""

    def __init__(self, chat: Chat, folder: Path | None) -> None:
        """`folder` is where they are; None where nothing is stored."""
        self._chat = chat
        self._folder = folder

    def sessions(self) -> AbstractContextManager[SessionStore]:
        """All of them, this one among them. Raises UsageError where this chat stores nothing."""
        return stored_sessions(self._place())

    def save(self, name: str) -> None:
        """Give this session a name. Raises ToolchatError."""
        with self.sessions() as store:
            store.rename(self._itself(store), name)

    def resume(self, key: str) -> str:
        """Go on with a stored session in place of this one; what was opened, or of what it is a copy.

        Raises ToolchatError; this session then goes on.
        """
        self._chat.expect_no_turn()
        with self.sessions() as store:
            session = store.find(key)
        if session.id == self._chat.record.session:
            raise UsageError(f"{session.handle} is this session")
        self._go_over(session.id, show=True)
        return session.handle

    def fork(self, name: str | None = None) -> str:
        """Go on in a copy of this session, which stays as it is; its handle. Raises ToolchatError."""
        self._chat.expect_no_turn()
        with self.sessions() as store:
            copied = store.copy(self._itself(store), name)
        self._go_over(copied.id, show=False)
        return copied.handle

    def _place(self) -> Path:
        if self._folder is None:
            raise UsageError("this chat is not stored (--no-store); leave that out to have sessions")
        return self._folder

    def _itself(self, store: SessionStore) -> StoredSession:
        if not self._chat.record.stored:
            raise UsageError("this session is not stored")
        return store.find(self._chat.record.session)

    def _go_over(self, session: str, *, show: bool) -> None:
        opened = open_session_of(self._place(), session)
        try:
            past = past_of(opened)
        except BaseException:
            opened.record.close()
            raise
        self._chat.go_over(opened, past, show=show)
