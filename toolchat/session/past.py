"""What a stored session brings along when a chat goes on with it: conversation, tools, model, grants, last turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolchat.chat.conversation import Conversation
from toolchat.chat.fold import Folded, fold_to_go_on
from toolchat.models.choice import choose_model
from toolchat.session.stream import KeptAnswers
from toolchat.settings import cache_folder, resolve
from toolchat.store.grants import read_grant
from toolchat.store.sessions import Opened
from toolchat.tools.rules import Grant
from toolchat.wire import events
from toolchat.wire.errors import ToolchatError
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
