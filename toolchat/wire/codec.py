"""The one codec of the wire types: messages, tools, deltas, token counts and events to JSON and back.

The engine's channel and the record of a session use it. The form follows from the types: a dataclass is an object of
its fields, a tuple a list, an enum its value, and a member of a union says which it is under "type". What does not
fit raises `CodecError`, one line that names the field.

An event carries its version, "MAJOR.MINOR". A reader takes every minor version of its own major one, and of those
before it down to `_OLDEST`:

- A field with a default may be missing: an older minor version did not have it.
- An unknown field is ignored if the line is of a newer minor version than the reader, and else an error.
- A new minor version may only add fields whose absence a reader can bear: never a kind of event or edit, nor one that
  changes what the conversation holds. Those raise the major version.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Event, EventBody
from toolchat.wire.messages import Image, Message, ToolSpec

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of the longest line that the engine's channel reads: a long history is one line."""

VERSION = (3, 0)
"""Of an event's JSON form. 1 could be written and not read; 2.1 added `left_out`, 2.2 `estimated`, 2.3 what
hooks did; 3 the edits that make room in the context, and branches."""

_OLDEST = 2
"""The major version from which on ours has everything."""

LoadImage = Callable[[str, str], str]
"""Given the file that keeps an image and its SHA-256, its bytes in base64. Raises CodecError where they are gone."""

EncodeImage = Callable[[Image], dict[str, Any]]

_T = TypeVar("_T")
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_SHOWN = 60
"""Characters of a value that an error quotes."""


class CodecError(ToolchatError):
    """Data that are not of the form expected: the version, the field, and what is wrong with it."""


def line(message: dict[str, Any]) -> bytes:
    """A message of the engine's channel as it is sent. A lone surrogate travels as an escape.

    JSON cannot tell two surrogates that make a pair from the character they stand for: that is what arrives.
    """
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def encode_delta(delta: Delta) -> dict[str, Any]:
    return cast("dict[str, Any]", _form(Delta).encode(delta, _WHOLE))


def decode_delta(data: Any) -> Delta:
    return cast(Delta, _decoded(Delta, data))


def encode_message(message: Message) -> dict[str, Any]:
    return cast("dict[str, Any]", _form(Message).encode(message, _WHOLE))


def decode_message(data: Any) -> Message:
    return cast(Message, _decoded(Message, data))


def encode_tool(tool: ToolSpec) -> dict[str, Any]:
    return cast("dict[str, Any]", _form(ToolSpec).encode(tool, _WHOLE))


def decode_tool(data: Any) -> ToolSpec:
    return cast(ToolSpec, _decoded(ToolSpec, data))


def encode_count(count: TokenCount) -> dict[str, Any]:
    return cast("dict[str, Any]", _form(TokenCount).encode(count, _WHOLE))


def decode_count(data: Any) -> TokenCount:
    return cast(TokenCount, _decoded(TokenCount, data))


def encode(kind: Any, value: Any) -> Any:
    """The JSON form of a value of the dataclass `kind`; images are whole."""
    return _form(kind).encode(value, _WHOLE)


def decode(kind: type[_T], data: Any) -> _T:
    """The value of the dataclass `kind`. Raises CodecError."""
    return cast(_T, _decoded(kind, data))


def decode_prompt(command: dict[str, Any]) -> tuple[list[Message], list[ToolSpec]]:
    """The messages and the tools of a command."""
    return [decode_message(message) for message in command["messages"]], [decode_tool(t) for t in command["tools"]]


def event_line(event: Event) -> bytes:
    """An event as a record holds it: one line of JSON, in UTF-8, newline included.

    `v`, `session`, `turn`, `round`, `seq` and `time` place it, `type` is the kind of its body, and `data` the body's
    fields. An image that a file keeps is named by that file, and not written once more.
    """
    # A lone surrogate, which UTF-8 has not, becomes JSON's own escape of it.
    text = json.dumps(_row(event, _BY_FILE), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def event_row(event: Event) -> dict[str, Any]:
    """The JSON object of an event's line, with whole images."""
    return _row(event, _WHOLE)


def _row(event: Event, image: EncodeImage) -> dict[str, Any]:
    data = _form(EventBody).encode(event.body, image)
    kind = data.pop("type")
    return {
        "v": f"{VERSION[0]}.{VERSION[1]}",
        "session": event.session,
        "turn": event.turn,
        "round": event.round,
        "seq": event.sequence,
        "time": event.time,
        "type": kind,
        "data": data,
    }


def read_event(row: bytes | str, load_image: LoadImage | None = None) -> Event:
    """The event of one line. Without `load_image`, images that a file keeps have no bytes."""
    try:
        data = json.loads(row)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not a line of JSON: {error}") from None
    return decode_event(data, load_image)


def decode_event(data: Any, load_image: LoadImage | None = None) -> Event:
    """The event of a line's JSON, see `read_event`."""
    if not isinstance(data, dict):
        raise CodecError(f"expected an object, not {_shown(data)}")
    written, newer = _version(data)
    reading = _Reading(newer, load_image)
    try:
        place = {key: value for key, value in data.items() if key in _PLACE}
        extra = next((key for key in data if key not in _PLACE and key not in ("v", "type", "data")), None)
        if extra is not None and not newer:
            raise _MisfitError("a field that this version does not have", _name(extra))
        body = data.get("data")
        if not isinstance(body, dict):
            raise _MisfitError(f"expected an object, not {_shown(body)}", "data")
        try:
            decoded = _form(EventBody).decode(body | {"type": data.get("type")}, reading)
        except _MisfitError as error:
            if error.path != ["type"]:
                error.path.insert(0, "data")
            raise
        stamp = _form(_Place).decode(place, reading)
    except _MisfitError as error:
        raise CodecError(f"version {written}: {error}") from None
    return Event(stamp.session, stamp.turn, stamp.round, stamp.seq, stamp.time, decoded)


def type_name(kind: type) -> str:
    """The name of a dataclass in JSON: "text_delta" for `TextDelta`."""
    return _WORD.sub("_", kind.__name__).lower()


def _version(data: dict[str, Any]) -> tuple[str, bool]:
    """The version of a line, and whether its minor version is newer than ours. Raises CodecError for another major."""
    ours = f"{VERSION[0]}.{VERSION[1]}"
    written = data.get("v")
    numbers = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", written) if isinstance(written, str) else None
    if numbers is None and not (isinstance(written, int) and not isinstance(written, bool)):
        raise CodecError(f'v: expected a version such as "{ours}", not {_shown(written)}')
    major, minor = (int(numbers[1]), int(numbers[2])) if numbers else (int(written or 0), 0)
    if not _OLDEST <= major <= VERSION[0]:
        which = "an older" if major < VERSION[0] else "a newer"
        reads = f"versions {_OLDEST} to {VERSION[0]}"
        raise CodecError(f"version {written} of the record, of {which} toolchat; this one reads {reads}")
    return str(written), major == VERSION[0] and minor > VERSION[1]


# ---------------------------------------------------------------------------------------------------------------------
# The forms of the types. Each is built once, from the annotations.


class _MisfitError(Exception):
    """What is wrong, and the path of the field it is wrong with; the forms on the way out put the path together."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.path = list(path)

    def __str__(self) -> str:
        return ": ".join([".".join(self.path)] * bool(self.path) + [str(self.args[0])])


class _Reading:
    """How data are read."""

    def __init__(self, newer: bool = False, load_image: LoadImage | None = None) -> None:
        self.newer = newer
        """Whether unknown fields are ignored."""
        self.load_image = load_image


class _Form:
    """How values of one type are written and read."""

    def __init__(self, encode: Callable[[Any, EncodeImage], Any], decode: Callable[[Any, _Reading], Any]) -> None:
        self.encode = encode
        self.decode = decode


class _Place:
    """The fields of an event's line beside its version and its body."""

    def __init__(self, session: str, turn: int, round: int, seq: int, time: float) -> None:
        self.session, self.turn, self.round, self.seq, self.time = session, turn, round, seq, time


_PLACE = {"session": str, "turn": int, "round": int, "seq": int, "time": float}


def _decoded(kind: Any, data: Any) -> Any:
    try:
        return _form(kind).decode(data, _Reading())
    except _MisfitError as error:
        raise CodecError(str(error)) from None


@cache
def _form(kind: Any) -> _Form:
    origin = get_origin(kind)
    if kind is _Place:
        return _object(kind, _PLACE, required=set(_PLACE))
    if kind is Image:
        return _image_form()
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        return _object(cast(type, kind), {f.name: hints[f.name] for f in fields(kind)}, required)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is tuple:
        return _list(get_args(kind)[0])
    if origin in (dict, Mapping) or kind is dict:
        return _plain("an object", dict)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if kind is float:
        return _Form(_same, _number)
    if kind is Any:
        return _Form(_same, _same)
    return _plain({str: "a text", int: "a whole number", bool: "true or false"}[kind], kind)


def _same(value: Any, _: Any) -> Any:
    return value


def _plain(name: str, kind: type) -> _Form:
    def decode(data: Any, _: _Reading) -> Any:
        # `type` and not isinstance: true is no number.
        if type(data) is not kind:
            raise _MisfitError(f"expected {name}, not {_shown(data)}")
        return data

    return _Form(_same, decode)


def _number(data: Any, _: _Reading) -> float:
    if type(data) not in (int, float):
        raise _MisfitError(f"expected a number, not {_shown(data)}")
    try:
        return float(data)
    except OverflowError:
        raise _MisfitError("expected a number that is not as large") from None


def _enum(kind: type[Enum]) -> _Form:
    members = {member.value: member for member in kind}

    def decode(data: Any, _: _Reading) -> Any:
        if not isinstance(data, str) or data not in members:
            raise _MisfitError(f"expected one of {', '.join(members)}, not {_shown(data)}")
        return members[data]

    return _Form(lambda value, _: value.value, decode)


def _list(item: Any) -> _Form:
    form = _form(item)

    def decode(data: Any, reading: _Reading) -> Any:
        if type(data) is not list:
            raise _MisfitError(f"expected a list, not {_shown(data)}")
        found = []
        for index, value in enumerate(data):
            try:
                found.append(form.decode(value, reading))
            except _MisfitError as error:
                error.path.insert(0, str(index))
                raise
        return tuple(found)

    return _Form(lambda values, image: [form.encode(value, image) for value in values], decode)


def _object(kind: type, hints: dict[str, Any], required: set[str]) -> _Form:
    forms = {name: _form(hint) for name, hint in hints.items()}

    def encode(value: Any, image: EncodeImage) -> dict[str, Any]:
        return {name: form.encode(getattr(value, name), image) for name, form in forms.items()}

    def decode(data: Any, reading: _Reading) -> Any:
        if type(data) is not dict:
            raise _MisfitError(f"expected an object, not {_shown(data)}")
        found = {}
        for name, value in data.items():
            if (form := forms.get(name)) is None:
                if reading.newer:
                    continue
                raise _MisfitError("a field that this version does not have", _name(name))
            try:
                found[name] = form.decode(value, reading)
            except _MisfitError as error:
                error.path.insert(0, name)
                raise
        for name in required:
            if name not in found:
                raise _MisfitError("is missing", name)
        return kind(**found)

    return _Form(encode, decode)


def _union(members: tuple[Any, ...]) -> _Form:
    """Of dataclasses, which say under "type" which they are; or of one type and None."""
    if type(None) in members:
        (other,) = (member for member in members if member is not type(None))
        form = _form(other)
        return _Form(
            lambda value, image: None if value is None else form.encode(value, image),
            lambda data, reading: None if data is None else form.decode(data, reading),
        )
    by_type = {member: (type_name(member), _form(member)) for member in members}
    by_name = dict(by_type.values())

    def encode(value: Any, image: EncodeImage) -> dict[str, Any]:
        name, form = by_type[type(value)]
        return {"type": name, **form.encode(value, image)}

    def decode(data: Any, reading: _Reading) -> Any:
        if type(data) is not dict:
            raise _MisfitError(f"expected an object, not {_shown(data)}")
        name = data.get("type")
        if not isinstance(name, str) or name not in by_name:
            raise _MisfitError(f"expected one of {', '.join(by_name)}, not {_shown(name)}", "type")
        return by_name[name].decode({key: value for key, value in data.items() if key != "type"}, reading)

    return _Form(encode, decode)


# ---------------------------------------------------------------------------------------------------------------------
# Images: whole on the channel; in a record, by the file that keeps them.


def _whole_image(image: Image) -> dict[str, Any]:
    return {field.name: getattr(image, field.name) for field in fields(Image)}


def _image_by_file(image: Image) -> dict[str, Any]:
    content = base64.b64decode(image.data)
    described = _whole_image(image) | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if image.file:
        del described["data"]
    return described


_WHOLE: EncodeImage = _whole_image
_BY_FILE: EncodeImage = _image_by_file


def _image_form() -> _Form:
    hints = get_type_hints(Image) | {"bytes": int, "sha256": str}
    described = _object(dict, hints, required={"media_type", "width", "height"})

    def decode(data: Any, reading: _Reading) -> Image:
        found = described.decode(data, reading)
        sha256 = found.pop("sha256", "")
        found.pop("bytes", None)
        if "data" not in found:
            if not found.get("file"):
                raise _MisfitError("is missing, and no file has it", "data")
            found["data"] = reading.load_image(found["file"], sha256) if reading.load_image is not None else ""
        return Image(**found)

    return _Form(lambda image, encode: encode(image), decode)


def _name(key: str) -> str:
    """An unknown field's name in one line."""
    return json.dumps(key)[1:-1][:_SHOWN]


def _shown(data: Any) -> str:
    """A piece of data as an error names it."""
    if data is None:
        return "nothing"
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "a list"
    text = json.dumps(data)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
