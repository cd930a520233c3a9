from __future__ import annotations

import json
import re
import types
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import image

from toolchat.store.record import read_record
from toolchat.store.results import keep_image
from toolchat.wire import events
from toolchat.wire.codec import (
    CodecError,
    decode_count,
    decode_delta,
    decode_message,
    decode_tool,
    encode_count,
    encode_delta,
    encode_message,
    encode_tool,
    event_line,
    line,
    read_event,
)
from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.events import EventBody, Stamper
from toolchat.wire.messages import Image, Message, ToolCall, ToolResult, ToolSpec

# Two halves of a pair are one character in JSON.
TEXT = st.text(alphabet=st.characters(codec=None), max_size=8).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
IMAGES = st.builds(Image, TEXT, st.sampled_from(["", "AA==", "iVBORw0K"]), st.integers(), st.integers(), TEXT)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a wire type."""
    if kind is Image:
        return IMAGES
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values(member) for member in get_args(kind)])
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=3).map(tuple)
    if get_origin(kind) is dict:
        return st.dictionaries(TEXT, JSON, max_size=3)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    simple = {str: TEXT, int: st.integers(), bool: st.booleans(), type(None): st.none()}
    return simple.get(kind, st.floats(allow_nan=False))


def over_the_socket(message: dict[str, Any]) -> dict[str, Any]:
    sent = line(message)
    assert sent.count(b"\n") == 1
    received: dict[str, Any] = json.loads(sent)
    return received


@given(values(Delta))
def test_deltas_arrive_as_they_were_sent(delta: Any) -> None:
    assert decode_delta(over_the_socket(encode_delta(delta))) == delta


@given(values(Message))
def test_messages_arrive_as_they_were_sent(message: Any) -> None:
    assert decode_message(over_the_socket(encode_message(message))) == message


@given(values(ToolSpec), values(TokenCount))
def test_tools_and_counts_arrive_as_they_were_sent(tool: ToolSpec, count: TokenCount) -> None:
    assert decode_tool(over_the_socket(encode_tool(tool))) == tool
    assert decode_count(over_the_socket(encode_count(count))) == count


@settings(max_examples=300)
@given(values(EventBody), st.floats(0, 2e9))
def test_events_are_read_as_they_were_written(body: Any, time: float) -> None:
    event = Stamper("s", lambda: time)(body, 3, 2)
    written = event_line(event)
    assert written.count(b"\n") == 1
    assert read_event(written) == event


def row(body: EventBody, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event_line(Stamper("s", lambda: 1.0)(body)))
    return data | changes


TEXT_ROW = row(events.TextDelta("hi"))
CALL_ROW = row(events.CallProposed(ToolCall("a" * 9, "f", {"x": 1})))


def test_a_proposed_call_says_which_kind_it_is() -> None:
    assert CALL_ROW["data"]["call"]["type"] == "tool_call"
    failed = events.CallProposed(events.FailedCall("a" * 9, "f", "raw", "why"))
    assert row(failed)["data"]["call"]["type"] == "failed_call"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{", "not a line of JSON: .*"),
        ("[" * 100_000, "not a line of JSON: .*"),
        ("[]", "expected an object, not a list"),
        ({}, 'v: expected a version such as "3.0", not nothing'),
        (TEXT_ROW | {"v": 1}, "version 1 of the record, of an older toolchat; this one reads versions 2 to 3"),
        (TEXT_ROW | {"v": "4.1"}, "version 4.1 of the record, of a newer toolchat; this one reads versions 2 to 3"),
        (TEXT_ROW | {"v": "two"}, 'v: expected a version such as "3.0", not "two"'),
        (TEXT_ROW | {"v": True}, 'v: expected a version such as "3.0", not true'),
        (TEXT_ROW | {"type": "song"}, 'version 3.0: type: expected one of session_started, .*, not "song"'),
        (TEXT_ROW | {"type": None}, "version 3.0: type: expected one of .*, not nothing"),
        (TEXT_ROW | {"data": []}, "version 3.0: data: expected an object, not a list"),
        (TEXT_ROW | {"data": {}}, "version 3.0: data.text: is missing"),
        (TEXT_ROW | {"data": {"text": 5}}, "version 3.0: data.text: expected a text, not 5"),
        (TEXT_ROW | {"data": {"text": "x" * 99}, "seq": -0.5}, "version 3.0: seq: expected a whole number, not -0.5"),
        (TEXT_ROW | {"turn": True}, "version 3.0: turn: expected a whole number, not true"),
        (TEXT_ROW | {"time": "now"}, 'version 3.0: time: expected a number, not "now"'),
        (TEXT_ROW | {"time": 10**400}, "version 3.0: time: expected a number that is not as large"),
        (TEXT_ROW | {"a\nb": 1}, r"version 3.0: a\\nb: a field that this version does not have"),
        (TEXT_ROW | {"colour": 1}, "version 3.0: colour: a field that this version does not have"),
        (TEXT_ROW | {"data": {"text": "", "font": 1}}, "version 3.0: data.font: a field that this version .*"),
        (
            CALL_ROW | {"data": {"call": CALL_ROW["data"]["call"] | {"arguments": "x" * 99}}},
            'version 3.0: data.call.arguments: expected an object, not "x{59}…',
        ),
        (
            CALL_ROW | {"data": {"call": CALL_ROW["data"]["call"] | {"origin": "stolen"}}},
            'version 3.0: data.call.origin: expected one of constrained, parsed, repaired, edited, not "stolen"',
        ),
        (
            row(events.HistoryEdited(events.TurnsSetAside((1, 2))))
            | {"data": {"edit": {"type": "turns_set_aside", "turns": [1, "2"]}}},
            'version 3.0: data.edit.turns.1: expected a whole number, not "2"',
        ),
        (
            row(events.QuestionAsked("?"))
            | {"data": {"text": "?", "images": [{"media_type": "image/png", "width": 1, "height": 1}]}},
            "version 3.0: data.images.0.data: is missing, and no file has it",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_field(data: Any, problem: str) -> None:
    text = data if isinstance(data, str) else json.dumps(data)
    with pytest.raises(CodecError) as caught:
        read_event(text)
    assert "\n" not in str(caught.value)
    assert re.fullmatch(problem, str(caught.value)), str(caught.value)


def test_fields_of_a_newer_minor_version_are_ignored_and_new_kinds_are_not() -> None:
    newer = CALL_ROW | {"v": "3.7", "colour": 1}
    newer["data"] = {"call": newer["data"]["call"] | {"font": 2}, "size": 3}
    assert read_event(json.dumps(newer)) == read_event(json.dumps(CALL_ROW))
    with pytest.raises(CodecError, match=r"version 3\.7: type: expected one of"):
        read_event(json.dumps(newer | {"type": "song"}))


@pytest.mark.parametrize("version", ["2.0", "2.3", 2])
def test_records_of_the_major_version_before_are_read(version: object) -> None:
    assert read_event(json.dumps(CALL_ROW | {"v": version})) == read_event(json.dumps(CALL_ROW))
    with pytest.raises(CodecError, match="a field that this version does not have"):
        read_event(json.dumps(CALL_ROW | {"v": version, "colour": 1}))


def test_a_field_with_a_default_may_be_missing_for_an_older_minor_version_had_none() -> None:
    old = row(events.SessionStarted("m", "p"), data={"model": "m", "program": "p"})
    assert read_event(json.dumps(old)).body == events.SessionStarted("m", "p")


@settings(max_examples=300)
@given(values(EventBody), st.data())
def test_a_line_with_anything_in_any_place_is_read_or_refused_and_nothing_else(body: Any, data: Any) -> None:
    damaged = row(body)
    place: Any = damaged
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    with suppress(CodecError):
        read_event(json.dumps(damaged))


@pytest.mark.parametrize("data", [None, 5, {}, {"type": "text"}, {"type": "song", "text": "x"}, {"type": ["text"]}])
def test_garbage_in_place_of_a_delta_is_refused(data: Any) -> None:
    with pytest.raises(CodecError):
        decode_delta(data)


def test_a_record_is_read_back_with_its_images_and_without_a_line_that_was_cut(tmp_path: Path) -> None:
    record = tmp_path / "s.jsonl"
    stamp = Stamper("s", lambda: 1.0)
    kept = keep_image(tmp_path / "s", image())
    written = [
        stamp(events.QuestionAsked("What is it?\ud800", (kept, image("blue"))), 1),
        stamp(events.CallFinished(ToolResult("a" * 9, "draw", "[image 1]", images=(kept,))), 1, 1),
    ]
    record.write_bytes(b"".join(map(event_line, written)) + event_line(stamp(events.TurnStarted()))[:-5])
    assert list(read_record(record)) == written


def test_what_a_record_holds_that_cannot_be_read_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(TEXT_ROW) + "\n" + json.dumps(TEXT_ROW | {"v": 1}) + "\n")
    with pytest.raises(CodecError, match=r"s\.jsonl, line 2: version 1 of the record, of an older toolchat"):
        list(read_record(path))
    with pytest.raises(CodecError, match=r"none\.jsonl: cannot be read: No such file"):
        list(read_record(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read: No such file"), (b"other", "its SHA-256 differs")]
)
def test_an_image_whose_file_is_gone_or_another_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    record = tmp_path / "s.jsonl"
    kept = keep_image(tmp_path / "s", image())
    record.write_bytes(event_line(Stamper("s", lambda: 1.0)(events.QuestionAsked("?", (kept,)))))
    Path(kept.file).unlink()
    if content is not None:
        Path(kept.file).write_bytes(content)
    with pytest.raises(CodecError, match=rf"s\.jsonl, line 1: the image .*\.png .*{why}"):
        list(read_record(record))
