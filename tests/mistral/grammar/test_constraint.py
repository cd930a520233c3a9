"""What each version's model may write: the whole plan, as the worker follows it."""

from __future__ import annotations

import copy
import json

import pytest
from grammar_matchers import accepts
from mistral_cases import Case, encode
from mistral_tokenizers import ALL, ARGS, CALLS, END_THINK, LISTS, NAMED, THINK, spell, vocabulary_of

from toolchat.mistral.grammar import constraint as module
from toolchat.mistral.grammar import ebnf
from toolchat.mistral.grammar.constraint import Constraint, Step, constraint, unconstrained
from toolchat.wire.messages import CallOrigin, ToolSpec

TAXI = ToolSpec(
    "book_taxi",
    "Book a taxi.",
    {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place"},
            "seats": {"type": "integer", "minimum": 1, "maximum": 8},
            "note": {"type": "string", "maxLength": 8},
            "kind": {"enum": ["van", "car"]},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        },
        "required": ["place", "seats"],
        "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    },
)
PING = ToolSpec("ping", "No arguments.", {"type": "object", "properties": {}})
ODD = ToolSpec(
    "odd-One", "", {"type": "object", "properties": {"a": {"type": "array", "items": {}, "uniqueItems": True}}}
)
TOOLS = [TAXI, PING, ODD]
RIGHT = '{"place": {"x": 1}, "seats": 2, "note": "a\\"b\\né", "kind": "van", "when": "2026-01-02"}'
ANSWER = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
IDS = [label for label in LISTS if label != "v2-spm"]


def call_of(label, *calls):
    """Calls as a model of that version writes them."""
    if label in NAMED:
        return [part for name, arguments in calls for part in (CALLS, name, ARGS, arguments)]
    written = ", ".join(f'{{"name": "{name}", "arguments": {arguments}}}' for name, arguments in calls)
    return [CALLS, f"[{written}]"]


def may_write(tokenizer, plan, ids):
    """Whether the plan lets the model write these tokens and end, all that is forced on it included."""
    step: Step | None = plan.step
    if plan.forced:
        if tuple(ids[: len(plan.forced)]) != plan.forced:
            return False
        ids = ids[len(plan.forced) :]
    elif plan.stop is not None and plan.stop in ids:
        at = ids.index(plan.stop)
        if plan.answer is not None and at > 0:
            return False
        ids, step = ids[at + 1 :], plan.calls
    elif plan.answer is not None:
        step = plan.answer
    assert step is not None
    if step.grammar is None:
        return not set(ids) & set(step.banned)
    return accepts(tokenizer, step.grammar, ids, step.banned)


@pytest.fixture
def allows(tokenizer_of):
    def check(label, *parts, tools=TOOLS, **options):
        tokenizer = tokenizer_of(label)
        plan = constraint(vocabulary_of(tokenizer), tools, **options)
        return may_write(tokenizer, plan, spell(tokenizer, *parts))

    return check


@pytest.mark.long
@pytest.mark.parametrize("label", ALL)
@pytest.mark.parametrize("choice", ["auto", "required", "book_taxi"])
def test_a_right_call_may_be_written(allows, label, choice):
    assert allows(label, *call_of(label, ("book_taxi", RIGHT)), choice=choice)
    assert allows(label, *call_of(label, ("book_taxi", '{"place": {"x": -3}, "seats": 8}')), choice=choice)
    assert allows(label, *call_of(label, ("book_taxi", RIGHT)), choice=choice, tools=[*reversed(TOOLS)])
    assert allows(label, *call_of(label, ("book_taxi", RIGHT)), choice=choice, parallel=False)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("book_tax", RIGHT),
        ("odd_One", "{}"),
        ("ping", '{"a": 1}'),
        ("book_taxi", "{}"),
        ("book_taxi", RIGHT[:-1]),
        ("book_taxi", RIGHT.replace('"seats": 2', '"seats": 9')),
        ("book_taxi", RIGHT.replace('"seats": 2', '"seats": "2"')),
        ("book_taxi", RIGHT.replace('"x": 1', '"x": 1, "y": 2')),
        ("book_taxi", RIGHT.replace('"x": 1', '"x": 1.5')),
        ("book_taxi", RIGHT.replace("van", "bus")),
        ("book_taxi", RIGHT.replace("2026-01-02", "tomorrow")),
        ("book_taxi", RIGHT.replace('a\\"b', "123456789")),
        ("book_taxi", RIGHT.replace("}", ', "more": 1}')),
        ("book_taxi", RIGHT.replace('a\\"b', 'a"b')),
        ("book_taxi", RIGHT.replace("\\n", "\n")),
        ("book_taxi", RIGHT.replace("\\n", "\t")),
        ("book_taxi", RIGHT.replace("\\n", "\\ud800")),
        ("book_taxi", RIGHT.replace(", ", ",  ")),
        ("book_taxi", RIGHT.replace(": ", ":\n")),
        ("book_taxi", RIGHT.replace(", ", " , ")),
        ("book_taxi", RIGHT.replace("{", "{ ")),
        ("book_taxi", RIGHT.replace(", ", ",\n\n\n")),
        ("book_taxi", "[1]"),
    ],
)
@pytest.mark.parametrize("label", ALL)
def test_a_wrong_call_may_not(allows, label, name, arguments):
    for choice in ("auto", "required"):
        assert not allows(label, *call_of(label, (name, arguments)), choice=choice)


@pytest.mark.parametrize("label", ALL)
def test_a_call_may_be_written_without_spaces(allows, label):
    compact = json.dumps(json.loads(RIGHT), ensure_ascii=False, separators=(",", ":"))
    assert " " not in compact
    calls = call_of(label, ("book_taxi", compact))
    assert allows(label, *calls)
    if label in LISTS:
        assert allows(label, CALLS, calls[1].replace(": ", ":").replace(", ", ","))
    assert allows(label, '{"sum":5}', answer=ANSWER)


@pytest.mark.parametrize("label", LISTS)
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '[{"name": "ping", "arguments": {}}',
        '[{"name": "ping", "arguments": {}}}]',
        '[{"name": "ping", "arguments": {}}] And more.',
        '[{"name": "ping", "arguments": {}},]',
        '[{"name": "ping", "arguments": {}}{"name": "ping", "arguments": {}}]',
        '[{"name": "ping", "arguments": "{}"}]',
        '[{"name": "ping"}]',
        '[{"arguments": {}, "name": "ping"}]',
        '[{"name": "ping", "arguments": {}, "id": "short"}]',
        '[{"name":  "ping", "arguments": {}}]',
        '[ {"name": "ping", "arguments": {}}]',
        '{"name": "ping", "arguments": {}}',
        "",
    ],
)
def test_a_list_that_is_not_one_may_not(allows, label, text):
    assert not allows(label, CALLS, text)


@pytest.mark.parametrize("label", ALL)
def test_several_calls_only_where_they_are_allowed_and_the_history_can_hold_them(allows, label):
    two = call_of(label, ("ping", "{}"), ("book_taxi", RIGHT))
    for choice in ("auto", "required"):
        assert allows(label, *two, choice=choice) == (label != "v2-spm")
        assert not allows(label, *two, choice=choice, parallel=False)


@pytest.mark.parametrize("label", ALL)
def test_a_required_call_has_no_text_before_it_nor_in_its_place(allows, label):
    call = call_of(label, ("ping", "{}"))
    for choice in ("required", "ping"):
        assert not allows(label, "Text.", choice=choice)
        assert not allows(label, "Text.", *call, choice=choice)
    assert allows(label, "Text.")
    assert allows(label, "Text.", *call)


@pytest.mark.parametrize("label", ALL)
def test_a_named_choice_allows_that_tool_only(allows, label):
    assert not allows(label, *call_of(label, ("book_taxi", RIGHT)), choice="ping")
    assert allows(label, *call_of(label, ("ping", "{}")), choice="ping")


@pytest.mark.parametrize("label", ALL)
def test_no_call_where_none_is_wanted_or_none_is_offered(allows, label):
    call = call_of(label, ("ping", "{}"))
    for options in ({"choice": "none"}, {"tools": []}, {"tools": [], "choice": "required"}):
        assert not allows(label, *call, **options)
        assert not allows(label, CALLS, **options)
        assert allows(label, "Text.", **options)


@pytest.mark.parametrize("label", ["v13", "v15"])
@pytest.mark.parametrize("choice", ["auto", "none", "required", "ping"])
def test_thinking_may_come_first(allows, label, choice):
    after = ["Text."] if choice == "none" else call_of(label, ("ping", "{}"))
    assert allows(label, THINK, "hm", END_THINK, *after, choice=choice)


@pytest.mark.long
@pytest.mark.parametrize("label", ALL)
def test_an_answer_is_held_to_its_schema_and_calls_go_by_the_choice(allows, label):
    call = call_of(label, ("book_taxi", RIGHT))
    for choice, called, answered in (("auto", True, True), ("none", False, True), ("required", True, False)):
        assert allows(label, '{"sum": 5}', choice=choice, answer=ANSWER) == answered
        assert allows(label, *call, choice=choice, answer=ANSWER) == called
        for wrong in ("Text.", '{"sum": "5"}', '{"sum": 5} Done.', '{"sum": 5, "more": 1}', '{"sum": ', "{}"):
            assert not allows(label, wrong, choice=choice, answer=ANSWER)
        assert not allows(label, "Text.", *call, choice=choice, answer=ANSWER)
    assert allows(label, '{"sum": 5}', tools=[], answer=ANSWER)


@pytest.mark.parametrize("label", ["v13", "v15"])
def test_thinking_may_come_before_an_answer_too(allows, label):
    assert allows(label, THINK, "hm", END_THINK, '{"sum": 5}', answer=ANSWER)


@pytest.mark.parametrize("label", ALL)
def test_an_answer_may_be_any_json_value(allows, label):
    assert allows(label, "[1, 2]", answer={"type": "array", "items": {"type": "integer"}})
    assert allows(label, '"yes"', answer={"enum": ["yes", "no"]})
    assert allows(label, '{"any": {"thing": []}}', answer={"type": "object"})
    assert not allows(label, '"maybe"', answer={"enum": ["yes", "no"]})


@pytest.mark.parametrize("label", ALL)
def test_what_mistral_common_encodes_for_these_tools_may_be_written(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    calls = [
        (TAXI.name, json.loads(RIGHT), "abcdefghi"),
        (PING.name, {}, "bcdefghij"),
        (ODD.name, {"a": []}, "cdefghijk"),
    ]
    for parallel in (True, False):
        wanted = Case(tuple(calls if parallel and label != "v2-spm" else calls[:1]))
        plan = constraint(vocabulary_of(tokenizer), TOOLS, choice="required", parallel=parallel)
        # All but the end of sequence.
        assert may_write(tokenizer, plan, encode(tokenizer, wanted)[:-1])


@pytest.mark.parametrize("label", IDS)
def test_a_control_token_within_a_list_is_not_taken_for_the_text_that_names_it(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    plan = constraint(vocabulary_of(tokenizer), TOOLS)
    opened = f'[{{"name": "book_taxi", "arguments": {RIGHT[: RIGHT.index("a") + 3]}'
    assert may_write(tokenizer, plan, spell(tokenizer, CALLS, f'[{{"name": "book_taxi", "arguments": {RIGHT}}}]'))
    for before in range(1, len(opened)):
        written = spell(tokenizer, CALLS, opened[:before], CALLS, RIGHT)
        assert not may_write(tokenizer, plan, written)


@pytest.mark.parametrize("label", ALL)
def test_what_cannot_be_held_to_is_said_and_its_calls_are_not_called_constrained(tokenizer_of, allows, label):
    plan = constraint(vocabulary_of(tokenizer_of(label)), TOOLS)
    assert plan.notes == ("calls of odd-One are checked, not constrained, as to uniqueItems",)
    assert plan.origin("odd-One") is CallOrigin.PARSED
    assert plan.origin("book_taxi") is plan.origin("ping") is CallOrigin.CONSTRAINED
    assert plan.origin("unheard-of") is CallOrigin.PARSED
    # The rest of its schema holds.
    assert allows(label, *call_of(label, ("odd-One", '{"a": [1, 1]}')))
    assert not allows(label, *call_of(label, ("odd-One", '{"a": 1}')))
    assert constraint(vocabulary_of(tokenizer_of(label)), TOOLS, choice="ping").notes == ()


@pytest.mark.parametrize("label", ALL)
def test_a_choice_that_is_no_tool_and_an_illegal_name_are_refused(tokenizer_of, label):
    vocabulary = vocabulary_of(tokenizer_of(label))
    with pytest.raises(ValueError, match="'pong' is not among the tools: book_taxi, ping, odd-One"):
        constraint(vocabulary, TOOLS, choice="pong")
    with pytest.raises(ValueError, match="cannot name a tool"):
        constraint(vocabulary, [ToolSpec('a" | "b', "", {})])


@pytest.mark.parametrize("label", ALL)
def test_the_same_request_again_costs_nothing(tokenizer_of, monkeypatch, label):
    vocabulary = vocabulary_of(tokenizer_of(label))
    first = constraint(vocabulary, TOOLS, answer=ANSWER)
    for name in ("narrowed", "lark_grammar", "calls_ebnf", "answer_ebnf"):
        monkeypatch.setattr(module, name, None)
    assert constraint(vocabulary, copy.deepcopy(TOOLS), answer=copy.deepcopy(ANSWER)) is first


@pytest.mark.parametrize("label", ALL)
def test_switched_off_nothing_is_held_to_but_the_marker_of_a_required_call(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    assert unconstrained(vocabulary) == Constraint(Step())
    assert unconstrained(vocabulary, choice="required").forced == tuple(spell(tokenizer, CALLS))


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_tool_that_is_named_as_a_choice_is_not_chosen_by_it(tokenizer_of, choice):
    vocabulary = vocabulary_of(tokenizer_of("v13"))
    named = [ToolSpec(choice, "", PING.parameters), PING]
    other = [ToolSpec("other", "", PING.parameters), PING]
    found = constraint(vocabulary, named, choice=choice)
    wanted = constraint(vocabulary, other, choice=choice)
    text, like = (plan.step.grammar and plan.step.grammar.text for plan in (found, wanted))
    assert (text and text.replace(f'"{choice}"', '"other"')) == like


@pytest.mark.parametrize("label", ["v3-spm", "v7-spm"])
def test_where_xgrammar_writes_other_rules_calls_are_checked_and_that_is_said(tokenizer_of, monkeypatch, label):
    monkeypatch.setattr(ebnf, "_MENDED", ebnf._MENDED[2:])
    ebnf.rules_hold.cache_clear()
    module._plan.cache_clear()
    try:
        tokenizer = tokenizer_of(label)
        plan = constraint(vocabulary_of(tokenizer), TOOLS)
        assert not ebnf.rules_hold()
        assert plan.held == frozenset()
        (note,) = plan.notes
        assert note.startswith("calls are checked, not constrained: the installed xgrammar")
        # Names and shape are still held to.
        plain = '{"place": {"x": 1}, "seats": 2}'
        assert may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("book_taxi", plain))))
        assert not may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("book_tax", plain))))
    finally:
        monkeypatch.undo()
        ebnf.rules_hold.cache_clear()
        module._plan.cache_clear()


@pytest.mark.parametrize("index", range(len(ebnf._MENDED) + len(ebnf._ENDLESS)))
def test_each_text_that_is_replaced_is_missed_where_it_is_not(monkeypatch, index):
    mended = [*ebnf._MENDED, *ebnf._ENDLESS]
    monkeypatch.setattr(ebnf, "_MENDED", [pair for at, pair in enumerate(ebnf._MENDED) if at != index])
    monkeypatch.setattr(ebnf, "_ENDLESS", [pair for pair in ebnf._ENDLESS if pair is not mended[index]])
    assert not ebnf.rules_hold.__wrapped__()


def test_as_installed_xgrammar_writes_the_rules_that_are_known():
    assert ebnf.rules_hold()
