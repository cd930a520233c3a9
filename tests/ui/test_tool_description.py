from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from toolchat.tools.toolbox import MIB, Approval, Privileges, Tool, ToolOptions
from toolchat.ui.tool_description import Cost, Held, description, held, tool_json, written

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Which", "pattern": "(?=a)b"},
        "step": {"type": "integer", "multipleOf": 5},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
TOOL = Tool(
    "weather",
    "Get the weather.\nMore on that.",
    PARAMETERS,
    "mine:weather",
    "weather(city: str)",
    "tools.yaml:3:15",
    ToolOptions(timeout=5, memory=512 * MIB, max_result_tokens=2000, stateful=True, env=("KEY",)),
    notes=("is offered without log",),
    untyped=("step",),
    from_file={"city": ("description", "pattern")},
)
COST = Cost(1234, False, "estimated")


def rows(tool: Tool = TOOL, cost: Cost = COST, grammar: Held | None = None, **more: Any) -> list[str]:
    return [row.plain for row in description(tool, cost, grammar, **more)]


def test_a_description_says_all_that_is_known_of_a_tool() -> None:
    assert rows()[:11] == [
        "weather(city: str)",
        "  Get the weather.",
        "  More on that.",
        "  from      mine:weather, tools.yaml:3:15",
        "  calls     ask, at most 5 s, at most 512 MiB, results cut to 2,000 tokens, stateful, sees KEY",
        "  file sets city: description, pattern",
        "  no type   step: the model is offered what could be told of it",
        "  note      it is offered without log",
        "  tokens    about 1,234 of every prompt, estimated",
        "  grammar   none here: calls are checked when they are made",
        "Parameters, as the model is given them:",
    ]


def test_the_schema_that_is_shown_is_the_one_that_the_model_is_given() -> None:
    shown = rows()
    assert json.loads("\n".join(shown[shown.index("Parameters, as the model is given them:") + 1 :])) == PARAMETERS
    assert '    "required": ["city"]' in shown


@pytest.mark.parametrize("value", [{}, {"a": {}}, {"type": "object", "properties": {}}, {"a": [{"b": {"c": 1}}]}])
def test_any_schema_is_written_as_json(value: Any) -> None:
    assert json.loads(written(value)) == value


def test_exact_tokens_and_the_prompt_are_shown_where_they_are_known() -> None:
    shown = rows(cost=Cost(7, True, "by demo"), prompt=("Prompt, tokenizer v3", "<s>[INST] x[/INST]"))
    assert "  tokens    7 of every prompt, by demo" in shown
    assert shown[-2:] == ["Prompt, tokenizer v3:", "  <s>[INST] x[/INST]"]


def test_calls_are_what_becomes_of_them_now_and_not_only_what_the_file_says() -> None:
    options = ToolOptions(memory=None, privileges=Privileges.KEEP)
    shown = rows(replace(TOOL, options=options), approval=Approval.DENY)
    assert "  calls     deny, at most 60 s, any memory, keeps privileges" in shown


def test_what_the_grammar_does_not_hold_is_named_by_parameter() -> None:
    assert held(TOOL, tekken=True).checked_only == {"city": ("all of it",), "step": ("multipleOf",)}
    assert held(TOOL, tekken=False).checked_only == {"city": ("pattern",), "step": ("multipleOf",)}
    shown = rows(grammar=Held("llguidance", False, {"step": ("multipleOf",), "": ("not",)}))
    assert shown[9:12] == [
        "  grammar   holds calls to all but what follows, which is only checked (llguidance)",
        "  checked   step: multipleOf",
        "  checked   not",
    ]


def test_a_schema_that_a_grammar_holds_whole_is_said_to_be() -> None:
    plain = replace(TOOL, parameters={"type": "object", "properties": {"unit": PARAMETERS["properties"]["unit"]}})
    for tekken, backend in ((True, "llguidance"), (False, "xgrammar")):
        assert held(plain, tekken=tekken) == Held(backend, True)
    assert "  grammar   holds every call to all of this (llguidance)" in rows(grammar=Held("llguidance", True))


def test_what_others_wrote_cannot_reach_the_terminal() -> None:
    evil = "\x1b]0;x\x07\u202e"
    schema = {"type": "object", "properties": {evil: {"description": evil}}}
    bad = replace(TOOL, description=evil, parameters=schema, signature=f"f({evil})", callable_ref=f"m:{evil}")
    shown = rows(replace(bad, from_file={evil: (evil,)}, notes=(evil,)), prompt=(evil, evil))
    assert not any(character in "".join(shown) for character in evil if not character.isprintable())


def test_json_holds_what_is_shown() -> None:
    told = json.loads(json.dumps(tool_json(TOOL)))
    assert told["parameters"] == PARAMETERS
    assert told["from_file"] == {"city": ["description", "pattern"]}
    assert (told["approval"], told["memory"], told["untyped"]) == ("ask", 512 * MIB, ["step"])
