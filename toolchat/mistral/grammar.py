"""Lark grammars under which a model cannot write a malformed call: which names, which arguments, what order.

From v11 on the language is that of mistral_common's GrammarFactory with every tool strict, and narrower in two points.
Arguments are spaced as json.dumps spaces them, and so as every call of the history is written: with free
whitespace a small model can write line breaks for ever. And a call that is required comes first, without text
before it. The factory itself is not used because its constructor builds another llguidance tokenizer: 0.5 s
for 130,000 tokens, in the way of the first answer. A test holds the two side by side. Before v11 the factory has
nothing; the list of calls is that of `[TOOL_CALLS]` in mistral_common's encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction

from toolchat.mistral.schema_subset import Backend, LeaveOut, Node
from toolchat.mistral.vocabulary import FIRST_NAMED, Vocabulary

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_CONTENT = r"content: (/(.|\n)+/)+"
_SAFE_WS = r"SAFE_WS: /[ \t\r\n]{1,8}/"
_MOST_STEP, _FINEST = 100, 64
"""Of a `multipleOf`, as a fraction: 0.1 is none in the floats of those who check it, and 1.2 not its multiple."""
_BODIES = {
    "auto": "content | content? calls",
    "none": "content",
    "required": "calls",
}
_ANSWER_BODIES = {
    "auto": "answer | calls",
    "none": "answer",
    "required": "calls",
}
"""Where an answer is held to a schema, there is no text but that answer."""


def supports_lark(vocabulary: Vocabulary) -> bool:
    """Whether a Lark grammar can name its control tokens: tekken, with the markers of its version's calls."""
    markers = ["[TOOL_CALLS]"] + ["[ARGS]"] * (vocabulary.version >= FIRST_NAMED)
    return not vocabulary.adds_space and all(vocabulary.special(name) is not None for name in markers)


def lark_grammar(
    vocabulary: Vocabulary,
    tools: Sequence[tuple[str, Node]],
    *,
    choice: str,
    parallel: bool,
    answer: Node | None = None,
) -> str:
    """The grammar of one generation.

    Args:
        vocabulary: one that supports_lark.
        tools: names that are legal, each with the schema of its arguments, narrowed to what LLGUIDANCE can hold.
        choice: "auto" (text, or calls with or without text before them), "none" (text), or "required" (calls and no
            text). Thinking may come first in each, where the vocabulary has its markers.
        parallel: whether several calls are allowed.
        answer: the schema that an answer in text is held to, narrowed likewise.
    """
    choice = choice if tools else "none"
    think = [vocabulary.special(name) for name in ("[THINK]", "[/THINK]")]
    thinks = None not in think
    body = (_BODIES if answer is None else _ANSWER_BODIES)[choice]
    rules = [f"start: {'think? ' if thinks else ''}({body})"]
    if choice != "none":
        rules += _calls(vocabulary, tools, parallel=parallel)
    if answer is not None:
        rules.append(f'answer: " "? {_json(answer)}')
    if thinks:
        rules.append(f"think: <[{think[0]}]> content <[{think[1]}]>")
    return "\n".join([*rules, _CONTENT, _SAFE_WS, ""])


def _calls(vocabulary: Vocabulary, tools: Sequence[tuple[str, Node]], *, parallel: bool) -> list[str]:
    calls = f"<[{vocabulary.special('[TOOL_CALLS]')}]>"
    if vocabulary.version >= FIRST_NAMED:
        arguments = f"<[{vocabulary.special('[ARGS]')}]>"
        call = " | ".join(
            f'({calls} SAFE_WS? "{name}" {arguments} SAFE_WS? {_json(schema)} SAFE_WS?)' for name, schema in tools
        )
        return [f"calls: ({call}){'+' if parallel else ''}"]
    # The history that a model reads has an id behind the arguments of each call, from v3 on.
    call = " | ".join(
        rf"""("{{\"name\": \"{name}\", \"arguments\": " {_json(schema)} id? "}}")""" for name, schema in tools
    )
    more = ' (", " call)*' if parallel else ""
    return [
        f'calls: {calls} " "? "[" call{more} "]"',
        f"call: {call}",
        r"""id: ", \"id\": \"" /[a-zA-Z0-9]{9}/ "\""
""".rstrip(),
    ]


def _json(schema: Node) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': _SPACING}, ensure_ascii=False)}"


def lark_compiles(text: str) -> bool:
    """Whether llguidance takes a whole grammar."""
    import llguidance

    failed, _ = llguidance.LLMatcher.validate_grammar_with_warnings(llguidance.LLMatcher.grammar_from_lark(text))
    return not failed


def _valid(schema: Node) -> bool:
    return lark_compiles(f"start: {_json(schema)}")


def _narrow(node: Node, leave_out: LeaveOut) -> Node:
    """llguidance writes an exclusive bound itself where that is whole and the other bound is less than 1 away.

    Of a large step it tells the multiples one remainder after the other, and gives up in the middle of a number; where
    only those below 0 fit, or a single one, it stops before the number.
    """
    if "multipleOf" in node:
        step = Fraction(node["multipleOf"])
        large = step.numerator > _MOST_STEP or step.denominator > _FINEST
        point = "minimum" in node and node["minimum"] == node.get("maximum")
        if large or point or node.get("maximum", 0) < 0 or node.get("exclusiveMaximum", 1) <= 0:
            leave_out("multipleOf")
            node = {key: value for key, value in node.items() if key != "multipleOf"}
    if "number" not in node.get("type", ()):
        return node
    for exclusive, other, others in (
        ("exclusiveMinimum", "minimum", ("maximum", "exclusiveMaximum")),
        ("exclusiveMaximum", "maximum", ("minimum", "exclusiveMinimum")),
    ):
        bound = node.get(exclusive)
        if isinstance(bound, bool) or not isinstance(bound, int | float) or bound != round(bound):
            continue
        if any(abs(node[key] - bound) < 1 for key in others if isinstance(node.get(key), int | float)):
            leave_out(exclusive)
            kept = {key: value for key, value in node.items() if key != exclusive}
            node = kept if other in kept else {**kept, other: bound}
    return node


LLGUIDANCE = Backend(
    formats=frozenset(
        ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"],
    ),
    narrow=_narrow,
    valid=_valid,
    spells_out=False,
)
