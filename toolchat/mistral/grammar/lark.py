"""Writes Lark grammars for llguidance, the backend of tekken tokenizers: thinking, text, calls and answers in one.

From v11 on the language is that of mistral_common's GrammarFactory with every tool strict, with three differences.
Arguments have at most one space behind a comma or colon, as json.dumps writes them and every call of the history is
written, or none: with free whitespace a small model can write line breaks for ever. A required call comes first,
without text before it. And a v11 call may have an id, as every call of the history has there. The factory itself is not
used because its constructor builds another llguidance tokenizer: 0.5 s for 130,000 tokens, before the first answer. A
test holds the two side by side. Before v11 the factory has nothing; the list of calls is that of `[TOOL_CALLS]` in
mistral_common's encoder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from toolchat.mistral.grammar.backend import Backend, Costs, Node
from toolchat.mistral.vocabulary import FIRST_NAMED, Vocabulary

_SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
"""The separators are regular expressions."""
_CONTENT = r"content: (/(.|\n)+/)+"
_SAFE_WS = r"SAFE_WS: /[ \t\r\n]{1,8}/"
_FIRST_WITHOUT_IDS = 13
"""From this version on calls of the history have no id."""
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
    supports_reasoning = None not in think
    body = (_BODIES if answer is None else _ANSWER_BODIES)[choice]
    rules = [f"start: {'think? ' if supports_reasoning else ''}({body})"]
    if choice != "none":
        rules += _calls(vocabulary, tools, parallel=parallel)
    if answer is not None:
        rules.append(f'answer: " "? {_json(answer)}')
    if supports_reasoning:
        rules.append(f"think: <[{think[0]}]> content <[{think[1]}]>")
    return "\n".join([*rules, _CONTENT, _SAFE_WS, ""])


def _calls(vocabulary: Vocabulary, tools: Sequence[tuple[str, Node]], *, parallel: bool) -> list[str]:
    calls = f"<[{vocabulary.special('[TOOL_CALLS]')}]>"
    call_id = vocabulary.special("[CALL_ID]")
    if vocabulary.version >= FIRST_NAMED:
        arguments = f"<[{vocabulary.special('[ARGS]')}]>"
        rules = []
        if vocabulary.version < _FIRST_WITHOUT_IDS and call_id is not None:
            rules = [f"id: <[{call_id}]> /[a-zA-Z0-9]{{9}}/"]
            arguments = f"id? {arguments}"
        call = " | ".join(
            f'({calls} SAFE_WS? "{name}" {arguments} SAFE_WS? {_json(schema)} SAFE_WS?)' for name, schema in tools
        )
        return [f"calls: ({call}){'+' if parallel else ''}", *rules]
    # The history has an id behind the arguments of each call, from v3 on.
    call = " | ".join(
        rf"""("{{\"name\":" " "? "\"{name}\"," " "? "\"arguments\":" " "? {_json(schema)} id? "}}")"""
        for name, schema in tools
    )
    more = ' ("," " "? call)*' if parallel else ""
    return [
        f'calls: {calls} " "? "[" call{more} "]"',
        f"call: {call}",
        r"""id: "," " "? "\"id\":" " "? "\"" /[a-zA-Z0-9]{9}/ "\""
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


LLGUIDANCE = Backend(
    formats={
        name: {"format": name}
        for name in ("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")
    },
    pattern=re.compile(".*", re.DOTALL),
    combines=True,
    spells_out=False,
    costs=Costs(schema=0.3, optional=0.0001, open=0.1, bounds=0.3, lengths=0.1, format=0.2, letter=0.001),
    valid=_valid,
)
