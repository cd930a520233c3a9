"""Writes a cassette while its chat goes on, or of a stored session: what was shown, asked and answered; no secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchat.engine.base import EngineInfo
from toolchat.engine.record_replay import CountKeys, End, RecordedGeneration
from toolchat.environment import refused
from toolchat.store.cassettes import FORMAT, VERSION, Counted, Header, Report, Written
from toolchat.store.redaction import Redaction
from toolchat.wire import codec, deltas, events
from toolchat.wire.deltas import Delta, Finished, TokenCount
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Event
from toolchat.wire.messages import Message, ToolCall, ToolSpec


class CassetteWriter:
    """Writes a cassette while its chat goes on. A disk that is full does not end the chat: see `failure`.

    What streams is written with the round that it belongs to, since a secret may stand in several pieces.
    """

    def __init__(self, path: Path, header: Header, redaction: Redaction) -> None:
        """Raises UsageError where the file cannot be made; one that is there is left alone.

        Where nothing is asked until it is closed, there is no file in the end.
        """
        self.path = path
        self.redaction = redaction
        self.failure: OSError | None = None
        self._waiting: list[Event] = []
        self._tools_known = False
        self._worth_keeping = False
        self._messages: tuple[Message, ...] = ()
        self._count_keys = CountKeys(redaction.data)
        self._tools: tuple[ToolSpec, ...] | None = None
        self._early: list[tuple[str, dict[str, Any]]] = []
        """What was noted before the tools were known, and with them the secrets that they are given."""
        try:
            self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise UsageError(f"{path}: is there already; remove it, or write elsewhere") from None
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {refused(error) or error.strerror or error}") from None
        self._write({"format": FORMAT, "version": VERSION, **redaction.data(codec.encode(Header, header))})

    @property
    def loss(self) -> str:
        """What its failure costs, in one line."""
        assert self.failure is not None
        return f"{self.path}: is not written any more: {refused(self.failure) or self.failure.strerror}"

    def know_tools(self, secrets: Mapping[str, str]) -> None:
        """Take these values out too. Nothing is written before this is called, or the chat is over."""
        self.redaction.hide(secrets)
        self._count_keys = CountKeys(self.redaction.data)
        self._tools_known = True
        early, self._early = self._early, []
        for kind, data in early:
            self._note(kind, data)
        self._flush()

    def take(self, event: Event) -> None:
        """Add an event that is shown."""
        self._worth_keeping |= isinstance(event.body, events.QuestionAsked)
        self._waiting.append(event)
        streams = any(isinstance(one.body, _STREAMS) for one in self._waiting)
        if not streams or isinstance(event.body, _ROUND_ENDS):
            self._flush()

    def report(self, report: Report) -> None:
        self._worth_keeping = True
        self._note("report", codec.encode(Report, report))

    def engine(self, info: EngineInfo) -> None:
        self._note("engine", codec.encode(EngineInfo, info))

    def generation(self, generation: RecordedGeneration) -> None:
        messages, kept = generation.messages or (), 0
        if generation.options is not None:
            kept = len(self._messages)
            if messages[:kept] != self._messages:  # else it goes on with what was asked before
                kept = next(
                    (at for at, (one, other) in enumerate(zip(messages, self._messages, strict=False)) if one != other),
                    min(len(messages), len(self._messages)),
                )
        tools = None if generation.tools == self._tools else generation.tools
        self._messages, self._tools = messages, generation.tools
        written = Written(
            generation.options,
            kept,
            messages[kept:],
            tools,
            tuple(_joined_deltas(generation.deltas, self.redaction)),
            generation.times,
            generation.end,
            generation.why,
            generation.count,
            generation.context,
        )
        self._note("generation", codec.encode(Written, written))

    def counted(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None, count: TokenCount
    ) -> None:
        before = self.redaction.found.copy()
        key = self._count_keys.key(messages, tools, effort)
        self.redaction.found = before  # none of it is written
        self._note("count", codec.encode(Counted, Counted(key, count)))

    def close(self) -> None:
        self.know_tools({})
        self._flush(last=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None
            if not self._worth_keeping:
                with suppress(OSError):
                    self.path.unlink()

    def _flush(self, *, last: bool = False) -> None:
        if not self._tools_known and not last:
            return
        waiting, self._waiting = self._waiting, []
        for event in _joined_events(waiting, self.redaction):
            self._write(self.redaction.data(codec.event_row(event)))

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        if self._tools_known:
            self._write({kind: self.redaction.data(data)})
        else:
            self._early.append((kind, data))

    def _write(self, row: dict[str, Any]) -> None:
        if self._file is None or self.failure is not None:
            return
        try:
            text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            line = text.encode("utf-8", "backslashreplace") + b"\n"
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self.failure = error
        except RecursionError:
            self.failure = OSError("a call's arguments are nested too deeply to be written")


_STREAMS = (events.TextDelta, events.ThinkingDelta, events.ToolOutput)
_ROUND_ENDS = (events.RoundFinished, events.TurnFinished, events.HistoryEdited, events.Interrupted)


def _joined_events(waiting: Sequence[Event], redaction: Redaction) -> Iterable[Event]:
    """The events, with secrets taken out that stand in several of them."""
    runs: dict[Any, list[int]] = {}
    for at, event in enumerate(waiting):
        match event.body:
            case events.TextDelta() | events.ThinkingDelta():
                runs.setdefault((type(event.body), event.turn, event.round), []).append(at)
            case events.ToolOutput(call_id):
                runs.setdefault(call_id, []).append(at)
    texts: dict[int, str] = {}
    for places in runs.values():
        pieces = redaction.pieces([waiting[at].body.text for at in places])  # type: ignore[union-attr]
        texts |= dict(zip(places, pieces, strict=True))
    for at, event in enumerate(waiting):
        body = event.body
        match body:
            case events.TextDelta() | events.ThinkingDelta() | events.ToolOutput():
                body = replace(body, text=texts[at])
        yield replace(event, body=body)


def _joined_deltas(stream: Sequence[Delta], redaction: Redaction) -> Iterable[Delta]:
    """The same of a generation's deltas. The text of arguments is written anew where they hold a secret."""
    runs: dict[Any, list[int]] = {}
    ended: dict[int, ToolCall] = {}
    for at, delta in enumerate(stream):
        match delta:
            case deltas.Text() | deltas.Thinking():
                runs.setdefault(type(delta), []).append(at)
            case deltas.CallArguments(index):
                runs.setdefault(index, []).append(at)
            case deltas.CallEnded(index, ToolCall() as call):
                ended[index] = call
    texts: dict[int, str] = {}
    for run, places in runs.items():
        pieces = redaction.pieces([stream[at].text for at in places])  # type: ignore[union-attr]
        if run in ended:
            before = redaction.found.copy()
            hidden = redaction.data(ended[run].arguments)
            redaction.found = before  # counted with the call itself
            if hidden != ended[run].arguments:
                pieces = [json.dumps(hidden, ensure_ascii=False), *[""] * (len(pieces) - 1)]
        texts |= dict(zip(places, pieces, strict=True))
    for at, delta in enumerate(stream):
        match delta:
            case deltas.Text() | deltas.Thinking() | deltas.CallArguments():
                yield replace(delta, text=texts[at])
            case _:
                yield delta


def write_session(tape: CassetteWriter, history: Iterable[Event]) -> None:
    """Add a session to a cassette."""
    shown = list(history)
    for generation in generations(shown):
        tape.generation(generation)
    for event in shown:
        tape.take(event)


def generations(history: Iterable[Event]) -> Iterator[RecordedGeneration]:
    """What the engine answered, a generation a round. What it was asked is not known: nothing is compared with it.

    A round that was asked for again after the engine's failure comes twice, as it did.
    """
    stream: list[Delta] = []
    tools: tuple[ToolSpec, ...] = ()
    calls = 0
    under_way = False

    def made(end: End, why: str = "") -> RecordedGeneration:
        generation = RecordedGeneration(None, tools, None, tuple(stream), (), end, why)
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
