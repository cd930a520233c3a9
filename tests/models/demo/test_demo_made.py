"""What the demo model is taught with made tools and with other names: every call fits its tool, and its question."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

TRAINING = Path(__file__).parents[3] / "training"


@pytest.fixture(scope="module")
def training() -> Iterator[Any]:
    """The modules of training/, which import one another by their bare names."""
    sys.path.insert(0, str(TRAINING))
    try:
        import everyday
        import exchanges
        import made
        import summaries
        import tables
        import values
        import varied

        yield SimpleNamespace(
            everyday=everyday,
            exchanges=exchanges,
            made=made,
            summaries=summaries,
            tables=tables,
            values=values,
            varied=varied,
        )
    finally:
        sys.path.remove(str(TRAINING))


def assert_calls_fit(calls: Any, tools: Any) -> None:
    schemas = {tool["name"]: tool["parameters"] for tool in tools}
    for call in calls:
        schema = {**schemas[call["name"]], "additionalProperties": False}
        jsonschema.Draft202012Validator(schema).validate(call["arguments"])


def test_every_made_tool_is_asked_for_with_calls_that_fit_it(training: Any) -> None:
    rng = random.Random(3)
    assert len(training.made.tools()) >= 150
    for tool in training.made.tools():
        assert tool.phrases, tool.name
        asked = training.made.asked(tool, rng)
        assert_calls_fit(asked.calls, asked.tools)
        assert not set("{}[]") & set(asked.say), asked.say


def leaves(value: Any) -> Iterator[Any]:
    """The values of arguments, those within objects and lists too."""
    for inside in value.values() if isinstance(value, Mapping) else value:
        if isinstance(inside, Mapping | list):
            yield from leaves(inside)
        else:
            yield inside


def places(question: str, value: Any) -> list[int]:
    """Where the question has the value as it is written in the call."""
    written = re.escape(f"{value}".casefold())
    return [found.start() for found in re.finditer(rf"(?<![\w.,:-]){written}(?!\w|[.,:-]\w)", question.casefold())]


def own_places(question: str, calls: Any) -> list[list[int]]:
    """For each call, where the question has the values that are no other call's, and that stand there once.

    Not those of one digit: 9 is the value 0.09 of another call too, where the question says 9 percent.
    """
    said = [{leaf for leaf in leaves(call["arguments"]) if len(f"{leaf}") > 1} for call in calls]
    found = []
    for number, values in enumerate(said):
        others = set[Any]().union(*said[:number], *said[number + 1 :])
        found.append([at[0] for value in values - others if len(at := places(question, value)) == 1])
    return found


@pytest.mark.parametrize(("kind", "least"), [("single", 1), ("parallel", 2), ("parallel_multiple", 2)])
def test_what_is_asked_at_once_is_called_in_its_order_with_its_values(training: Any, kind: str, least: int) -> None:
    rng = random.Random(5)
    pool = training.made.pool(held_out=False)
    located = several = 0
    for _ in range(60):
        asked = getattr(training.made, kind)(pool, rng)
        assert len(asked.calls) == len(asked.results) >= least
        assert_calls_fit(asked.calls, asked.tools)
        names = {tool["name"] for tool in training.made.offered(asked.tools, pool, rng)}
        assert asked.needed <= names
        for call in asked.calls:
            for value in leaves(call["arguments"]):
                if isinstance(value, str) and not value[0].isdigit() and "_" not in value:
                    assert value.casefold() in asked.question.casefold()
        rows = [row for row in own_places(asked.question, asked.calls) if row]
        if "respectively" not in asked.question:  # there, each parameter has a list of its own
            assert all(max(row) < min(following) for row, following in itertools.pairwise(rows)), asked.question
        located, several = located + len(rows), several + len(asked.calls)
    assert located > several * 0.8


PUMPS = """## pumps
pump_flow | The flow of a pump. | pressure:d bar; width:i centimetres; cold?:b cold water; unit?:e(litres/gallons) unit
 ~the flow at {pressure} bar through {width} cm[ of cold water @cold=true]
 >Look. {* engine} presses at {pressure} bar through {width} cm[, cold @cold=true]. || What flows? || What flows out?
 =It is {flow:d}.
"""


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_story_names_each_thing_and_is_asked_once(training: Any, count: int) -> None:
    (pump,) = training.made.parse(PUMPS)
    rng = random.Random(17)
    for _ in range(60):
        told = training.made.told(pump, count, rng)
        assert len(told.calls) == count
        assert_calls_fit(told.calls, told.tools)
        assert told.question.startswith("Look. ")
        assert told.question.count("Look") == 1
        assert told.question.endswith("What flows?" if count == 1 else "What flows out?")
        sentences = re.findall(r"(\S+(?: \S+)*?) presses at (\S+) bar through (\S+) cm(, cold)?\.", told.question)
        assert len(sentences) == count
        assert len({name for name, *_ in sentences}) == count
        for (_, pressure, width, cold), call in zip(sentences, told.calls, strict=True):
            assert f"{call['arguments']['pressure']}" == pressure
            assert width in (
                f"{call['arguments']['width']}",
                training.values.SMALL[min(12, abs(call["arguments"]["width"]))],
            )
            assert call["arguments"].get("cold", False) is bool(cold)


def test_each_of_some_values_is_asked_for_with_each_of_others(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.made, "PARALLEL_STORY_SHARE", 0.0)
    monkeypatch.setattr(training.made, "CROSSED_SHARE", 1.0)
    pool = training.made.parse(
        "## rain\nrain | Rain. | city:c where; date:D when\n ~the rain in {city} on {date}\n ={mm:i} mm."
    )
    rng = random.Random(19)
    crossed = 0
    for _ in range(60):
        calls = [call["arguments"] for call in training.made.parallel(pool, rng).calls]
        cities, dates = (list(dict.fromkeys(call[name] for call in calls)) for name in ("city", "date"))
        if len(calls) == len(cities) * len(dates) > len(cities):
            crossed += 1
            assert calls == [{"city": city, "date": date} for city in cities for date in dates]
    assert crossed > 15


def test_an_optional_parameter_is_said_by_its_name_and_is_in_the_call(
    training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.made, "NAMED_SHARE", 1.0)
    (pump,) = training.made.parse(PUMPS)
    rng = random.Random(21)
    for _ in range(60):
        asked = training.made.asked(pump, rng)
        assert_calls_fit(asked.calls, asked.tools)
        ((_, arguments),) = ((call["name"], call["arguments"]) for call in asked.calls)
        assert "unit" in asked.question
        assert arguments["unit"] in asked.question


@pytest.mark.parametrize("story", [" >{* engine} runs. || What flows?", " >It runs. || What? || What of each?"])
def test_a_story_without_its_parts_is_refused_with_its_number(training: Any, story: str) -> None:
    with pytest.raises(ValueError, match="line 3: expected a story of three parts"):
        training.made.parse(f"## pumps\npump_flow | The flow. | pressure:d bar\n{story}\n")


def test_a_list_of_choices_is_a_list_of_its_members(training: Any) -> None:
    rng = random.Random(23)
    schema = training.values.schema("es(wifi/free_parking/pool)")
    assert schema == {"type": "array", "items": {"type": "string", "enum": ["wifi", "free_parking", "pool"]}}
    lengths = set()
    for _ in range(60):
        said, meant = training.values.draw("es(wifi/free_parking/pool)", rng)
        jsonschema.validate(meant, schema)
        assert all(member.replace("_", " ") in said for member in meant)
        lengths.add(len(meant))
    assert lengths == {1, 2, 3}


def test_a_tool_alone_in_its_field_is_asked_for_beside_one_of_another(training: Any) -> None:
    field = "## field {0}\nrain_{0} | Rain. | city:c where\n ~the rain in {{city}}\n ={{mm:i}} mm.\n"
    pool = training.made.parse("".join(field.format(number) for number in range(4)))
    rng = random.Random(25)
    for _ in range(60):
        assert len(training.made.parallel_multiple(pool, rng).needed) >= 2


def test_what_is_declined_is_offered_no_tool_for_it(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    pool = training.made.pool(held_out=False)
    single, drawn = training.made.single, []

    def kept(*arguments: Any) -> Any:
        drawn.append(single(*arguments))
        return drawn[-1]

    monkeypatch.setattr(training.made, "single", kept)
    monkeypatch.setattr(training.made, "NEAR_MISS_SHARE", 0.0)
    for _ in range(60):
        asked, offered = training.made.declined(pool, rng)
        assert asked.question == drawn[-1].question
        assert offered
        assert not asked.calls
        names = {tool["name"] for tool in offered}
        assert names <= {tool.name for tool in pool}
        assert len(drawn[-1].needed) == 1
        assert not names & drawn[-1].needed
        assert not training.exchanges.clash(drawn[-1], offered)


def test_held_out_tools_are_never_trained_on(training: Any) -> None:
    seen = {tool.name for tool in training.made.pool(held_out=False)}
    kept = {tool.name for tool in training.made.pool(held_out=True)}
    assert kept
    assert not seen & kept
    assert len(seen | kept) == len(training.made.tools())


def test_calls_follow_the_other_names_of_tools_and_parameters(training: Any) -> None:
    rng = random.Random(9)
    pool = training.made.pool(held_out=False)
    changed = 0
    for _ in range(80):
        asked = training.made.parallel_multiple(pool, rng)
        before = {"tools": list(asked.tools), "turns": asked.turns()}
        after = training.varied.renamed(before, rng)
        names = [tool["name"] for tool in after["tools"]]
        assert len(set(names)) == len(names)
        assert_calls_fit(after["turns"][1]["call"], after["tools"])
        for old, new in zip(before["turns"][1]["call"], after["turns"][1]["call"], strict=True):
            assert list(old["arguments"].values()) == list(new["arguments"].values())
            changed += (old["name"], *old["arguments"]) != (new["name"], *new["arguments"])
    assert changed > 80


WEATHER = {
    "tools": [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {}, "state": {}}}}],
    "turns": [
        {"user": "How is the weather in Springtown?"},
        {"call": [{"name": "weather", "arguments": {"city": "Springtown"}}]},
        {"result": ['{"sky": "clear over Springtown"}']},
        {"say": "It is clear in Springtown."},
    ],
}


def test_a_place_gets_another_name_everywhere_but_where_its_state_is_to_be_known(training: Any) -> None:
    rng = random.Random(11)
    other = training.varied.other_values(WEATHER, rng)
    city = other["turns"][1]["call"][0]["arguments"]["city"]
    assert city != "Springtown"
    assert "Springtown" not in json.dumps(other)
    assert all(city in json.dumps(turn, ensure_ascii=False) for turn in other["turns"])
    known = json.loads(json.dumps(WEATHER))
    known["turns"][1]["call"][0]["arguments"]["state"] = "TX"
    assert training.varied.other_values(known, rng) == known


@pytest.mark.parametrize(
    ("kind", "type_of_it"),
    [
        ("i", int),
        ("I", int),
        ("d", (int, float)),
        ("p", (int, float)),
        ("r", float),
        ("is", list),
        ("D", str),
        ("c", str),
    ],
)
def test_values_are_said_as_people_write_them_and_meant_as_their_type(
    training: Any, kind: str, type_of_it: Any
) -> None:
    rng = random.Random(13)
    drawn = [training.values.draw(kind, rng) for _ in range(60)]
    schema = training.values.schema(kind)
    for value in drawn:
        assert isinstance(value.meant, type_of_it)
        jsonschema.validate(value.meant, schema)
    assert len({value.said for value in drawn}) > 25


def test_a_line_that_is_no_tool_is_refused_with_its_number(training: Any) -> None:
    with pytest.raises(ValueError, match="line 2"):
        training.made.parse("## x\nno tool here\n")


def test_near_misses_are_declined_beside_their_tool(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.made, "NEAR_MISS_SHARE", 1.0)
    rng = random.Random(11)
    pool = training.made.pool(held_out=False)
    near = {tool.name: tool.near for tool in pool}
    for _ in range(200):
        declined, offered = training.made.declined(pool, rng)
        assert not declined.calls
        assert "{" not in declined.question
        patterns = [
            re.sub(r"\\{[^}]*\\}", ".+", re.escape(question)) for tool in offered for question in near[tool["name"]]
        ]
        assert any(re.fullmatch(pattern, declined.question) for pattern in patterns), declined.question
    for tool in training.made.tools():
        for question in tool.near:
            assert training.values.filled(question, rng)


@pytest.mark.parametrize("text", [" ?Who asks?", "a_tool\nwho asks?", "## field"])
def test_a_line_that_is_no_near_miss_is_refused_with_its_number(training: Any, text: str) -> None:
    number = len(text.splitlines())
    if text.startswith("#"):  # a comment
        assert training.made.parse_near(text) == {}
        return
    with pytest.raises(ValueError, match=f"line {number}: expected a tool's name"):
        training.made.parse_near(text)


def test_tables_have_the_values_that_their_function_gives(training: Any) -> None:
    rng = random.Random(5)
    with_table = 0
    for _ in range(300):
        question, say = training.tables.draw(rng)
        found = re.fullmatch(r"```python\n(.+?)\n```(?:\n\n\| \w+ \| \S+ \|\n\| --- \| --- \|\n(.+))?", say, re.DOTALL)
        assert found is not None
        names: dict[str, Any] = {}
        exec(found[1], names)  # what training teaches is run nowhere else
        (function,) = (value for name, value in names.items() if name != "__builtins__")
        refused = re.search(r"no table|without a table|don't (need|add) a table|leave out the table", question, re.I)
        assert (found[2] is not None) is ("table" in question.lower() and not refused), question
        if found[2] is None:
            continue
        with_table += 1
        rows = [line.strip("| ").split(" | ") for line in found[2].splitlines()]
        assert len(rows) >= 4
        assert [value for _, value in rows] == [f"{function(int(n) if n.isdigit() else n)}" for n, _ in rows]
        if asked := re.search(r"first (\d+) values", question):
            assert len(rows) == int(asked[1])
        if span := re.search(r"(?:for|from) (\d+) to (\d+)", question):
            assert [rows[0][0], rows[-1][0]] == [span[1], span[2]]
    assert 180 < with_table < 240


def test_a_summary_says_what_was_asked_and_what_came_of_it(training: Any) -> None:
    exchange = training.exchanges.Exchange
    rows = [
        exchange("weather in Dallas", "It is 85 degrees.", calls=({"name": "weather"},)),
        exchange("Set an alarm.", "Sorry, I have no tool for that."),
        exchange("hello world in Python?", "```python\nprint('Hello')\n```"),
        exchange("list the files", "The files here are:\n```\na\nb\n```", calls=({"name": "list_files"},)),
        exchange("what has Norway", "Norway has fjords"),
    ]
    text = training.summaries.summary("The user asked: hi. Hello.", rows)
    assert text == (
        "The user asked: hi. Hello. The user asked: weather in Dallas. It is 85 degrees. "
        "No tool could do this: Set an alarm. Code was written: hello world in Python? "
        "The user asked: list the files. The files were listed. Norway has fjords."
    )
    seen = set()
    for seed in range(100):
        asked = training.summaries.asked("", rows[:1], random.Random(seed))
        assert asked.say.startswith("The user asked: weather in Dallas. It is 85 degrees.")
        kept = asked.question.partition(" Above all, keep this: ")[2]
        assert asked.say.endswith(f" Keep in mind: {kept}." if kept else "degrees.")
        seen.add(bool(kept))
    assert seen == {True, False}


def test_places_of_the_weather_are_called_as_they_are_asked_for(training: Any) -> None:
    rng = random.Random(2)
    for _ in range(300):
        asked = training.everyday.weather(rng)
        (call,) = asked.calls
        assert call["arguments"]["city"].casefold() in asked.question.casefold()
        assert call["arguments"]["city"] in asked.say
