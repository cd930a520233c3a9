"""Makes a cassette of a stored session: its events, and its engine's answers as they can be told from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from toolchat.engine.record_replay import End, Generation
from toolchat.store.cassette_writer import CassetteWriter
from toolchat.wire import deltas, events
from toolchat.wire.deltas import Delta, Finished
from toolchat.wire.events import Event
from toolchat.wire.messages import ToolSpec


def write_session(tape: CassetteWriter, history: Iterable[Event]) -> None:
    """Add a session to a cassette."""
    shown = list(history)
    for generation in generations(shown):
        tape.generation(generation)
    for event in shown:
        tape.take(event)


def generations(history: Iterable[Event]) -> Iterator[Generation]:
    """What the engine answered, a generation a round. What it was asked is not known: nothing is compared with it.

    A round that was asked for again after the engine's failure comes twice, as it did.
    """
    stream: list[Delta] = []
    tools: tuple[ToolSpec, ...] = ()
    calls = 0
    under_way = False

    def made(end: End, why: str = "") -> Generation:
        generation = Generation(None, tools, None, tuple(stream), (), end, why)
        stream.clear()
        return generation

    for event in history:
        match event.body:
            case events.HistoryEdited(events.ToolsChanged(changed)) | events.SessionStarted(tools=changed):
                tools = changed
            case events.QuestionAsked() | events.HistoryEdited(events.RoundRetried()):
                under_way, calls = True, 0
            case events.TextDelta(text):
                stream.append(deltas.Text(text))
            case events.ThinkingDelta(text):
                stream.append(deltas.Thinking(text))
            case events.CallProposed(call):
                stream += [deltas.CallBegun(calls, call.name), deltas.CallEnded(calls, call)]
                calls += 1
            case events.RoundFinished(reason, usage):
                stream.append(Finished(reason, usage))
                yield made(End.FINISHED)
                calls = 0
            case events.EngineState("crashed", detail) if under_way and event.turn:
                yield made(End.CRASHED, detail)
            case events.Interrupted() if stream:
                yield made(End.LEFT)
            case events.TurnFinished() | events.HistoryEdited(events.TurnWithdrawn()):
                if stream:
                    yield made(End.LEFT)
                under_way = False
