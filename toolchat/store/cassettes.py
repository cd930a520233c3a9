"""Cassettes: files with the events of a chat and with what its engine was asked and answered, secrets taken out.

A cassette is JSON, a value a line (docs/replay.md). Its first line says what it is; a line with "v" is an event as
records have it; others are an engine, a generation, a count or a report. Whoever reads one trusts nothing in it.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import toolchat
from toolchat.engine.base import EngineInfo, GenerateOptions
from toolchat.engine.record_replay import End, Recorded, RecordedGeneration
from toolchat.private_file import TooLargeError, open_file
from toolchat.wire import codec, deltas
from toolchat.wire.codec import CodecError
from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Event
from toolchat.wire.messages import Image, Message, ToolSpec

FORMAT = "toolchat-cassette"
VERSION = 1
"""Grows where an older reader would read something else than is meant."""
MOST_BYTES = 512 * 1024**2
"""Of a cassette that is read: a chat of a thousand turns has a few."""
_LINE = codec.LINE_LIMIT

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Header:
    program: str
    """Name and version of the program that wrote it."""
    command: str
    """What was run, by which it is shown: "ask" or "repl"."""
    model: str = ""
    began: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Written:
    """A generation as a line has it."""

    options: GenerateOptions | None = None
    """None where it is not known what was asked."""
    kept: int = 0
    """How many messages of the generation before this one begins with."""
    messages: tuple[Message, ...] = ()
    """Those behind them."""
    tools: tuple[ToolSpec, ...] | None = None
    """None for those of the generation before."""
    deltas: tuple[Delta, ...] = ()
    times: tuple[float, ...] = ()
    end: End = End.FINISHED
    why: str = ""
    count: TokenCount | None = None
    context: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of a prompt."""

    key: str
    """See `count_key`."""
    count: TokenCount


@dataclass(frozen=True, slots=True)
class Report:
    """What a bug report has beside the chat."""

    versions: Mapping[str, str]
    doctor: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cassette:
    """A cassette that was read."""

    path: Path
    header: Header
    events: tuple[Event, ...]
    recorded: Recorded
    report: Report | None = None

    @property
    def model(self) -> str:
        infos = self.recorded.infos
        return self.header.model or (infos[0].model if infos else "")


def read_cassette(path: Path) -> Cassette:
    """Raises UsageError, one line that names the file, and the line where one is wrong.

    A last line that was not written whole is left out.
    """
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise TooLargeError(0, f"is larger than {MOST_BYTES // 1024**2} MiB")
            return _read(path, file)
    except OSError as error:
        raise UsageError(f"{path}: {_why(error)}") from None


def _why(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if reason.startswith("is ") else f"cannot be read: {reason}"


def _read(path: Path, file: Any) -> Cassette:
    reader, size, number = _Reader(path), 0, 0
    while row := file.readline(_LINE + 1):
        number += 1
        size += len(row)
        try:
            if len(row) > _LINE or size > MOST_BYTES:
                raise CodecError(f"is longer than {(_LINE if len(row) > _LINE else MOST_BYTES) // 1024**2} MiB")
            if number > 1 and not row.endswith(b"\n"):
                break
            reader.take(row)
        except CodecError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
    if reader.header is None:
        raise UsageError(f"{path}: is empty; expected a cassette, as --record writes one")
    return reader.cassette()


@dataclass(slots=True)
class _Reader:
    path: Path
    header: Header | None = None
    _events: list[Event] = field(default_factory=list)
    _infos: list[EngineInfo] = field(default_factory=list)
    _generations: list[RecordedGeneration] = field(default_factory=list)
    _counts: dict[str, TokenCount] = field(default_factory=dict)
    _report: Report | None = None
    _messages: tuple[Message, ...] = ()
    _tools: tuple[ToolSpec, ...] = ()

    def take(self, row: bytes) -> None:
        try:
            data = json.loads(row)
        except (ValueError, RecursionError) as error:
            what = "expected a cassette, as --record writes one" if self.header is None else "not a line of JSON"
            raise CodecError(f"{what}: {error}") from None
        if self.header is None:
            self.header = _header(data)
            return
        match data:
            case {"v": _}:
                event = codec.decode_event(data)
                _check(event)
                self._events.append(event)
            case {"engine": info} if len(data) == 1:
                info = _decoded("engine", EngineInfo, info)
                if info.context_window < 1:
                    raise CodecError("engine.context_window: expected at least 1")
                self._infos.append(info)
            case {"generation": written} if len(data) == 1:
                self._generation(_decoded("generation", Written, written))
            case {"count": counted} if len(data) == 1:
                found = _decoded("count", Counted, counted)
                self._counts[found.key] = found.count
            case {"report": report} if len(data) == 1:
                self._report = _decoded("report", Report, report)
            case _:
                raise CodecError("expected an event, or one of engine, generation, count, report")

    def _generation(self, written: Written) -> None:
        if not 0 <= written.kept <= len(self._messages):
            raise CodecError(f"generation.kept: expected 0 to {len(self._messages)}, not {written.kept}")
        if any(isinstance(delta, deltas.Finished) for delta in written.deltas[:-1]):
            raise CodecError("generation.deltas: expected nothing behind the one that is finished")
        self._messages = (*self._messages[: written.kept], *written.messages)
        self._tools = self._tools if written.tools is None else written.tools
        self._generations.append(
            RecordedGeneration(
                self._messages if written.options is not None else None,
                self._tools,
                written.options,
                written.deltas,
                written.times,
                written.end,
                written.why,
                written.count,
                written.context,
            )
        )

    def cassette(self) -> Cassette:
        assert self.header is not None
        recorded = Recorded(tuple(self._generations), tuple(self._infos), self._counts, str(self.path))
        return Cassette(self.path, self.header, tuple(self._events), recorded, self._report)


def _header(data: Any) -> Header:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CodecError("expected a cassette, as --record writes one")
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        newer = f"this is toolchat {toolchat.__version__}, take a newer one"
        raise CodecError(f"a cassette of another version than {VERSION}; {newer}")
    header = _decoded("", Header, {key: value for key, value in data.items() if key not in ("format", "version")})
    if header.command not in ("ask", "repl"):
        raise CodecError("command: expected ask or repl")
    return header


def _decoded(where: str, kind: type[_T], data: Any) -> _T:
    try:
        value = codec.decode(kind, data)
        _check(value)
    except CodecError as error:
        raise CodecError(f"{where}.{error}" if where else str(error)) from None
    return value


def _check(value: Any, name: str = "") -> None:
    """Raise CodecError for numbers and images that are none, which whoever shows them does not expect."""
    match value:
        case float() if not math.isfinite(value):
            raise CodecError(f"{name}: expected a number")
        case Image():
            try:
                base64.b64decode(value.data, validate=True)
            except ValueError:
                raise CodecError(f"{name}.data: expected an image in base64") from None
        case tuple():
            for item in value:
                _check(item, name)
        case _ if is_dataclass(value):
            for one in fields(value):
                _check(getattr(value, one.name), one.name)
