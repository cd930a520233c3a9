"""Writes EBNF for xgrammar, the backend of SentencePiece tokenizers: the list of calls, or an answer in JSON.

xgrammar's own converter of JSON Schema writes the rules. Some of them (xgrammar 0.2.8) let a model write what is no
JSON: a bounded string took raw control characters and no escapes, and an escape could be half of a surrogate pair. They
are replaced in the text, and the outcome is tried once (`rules_hold`), because another xgrammar may write other text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from toolchat.mistral.grammar.backend import Backend, Costs, Node

_WHOLE_PATTERN = re.compile(
    r"""\^(?: [^"\\.\[(\x00-\x1f] | \[(?!\^)[^"\\\[\]\x00-\x1f]+\] | \((?!\?) | \\[dws.+*?()\[\]{}|^$/-] )*\$""",
    re.VERBOSE | re.ASCII,
)
"""A pattern that xgrammar writes as JSON in UTF-8: anchored at both ends, and every character named."""
_MAIL = r"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-[A-Za-z0-9]+)*)+$"
"""Its own "email" lets a quoted name hold escapes that JSON has not."""
_SEPARATORS = (r",\u0001", r":\u0001")
"""Where a space may stand; the mark occurs in no pattern, and in JSON it is escaped."""
_MENDED = (
    (r'",\x01"', '"," " "?'),
    (r'":\x01"', '":" " "?'),
    # Every character class: half of a surrogate pair, written in UTF-8.
    (r"[^\0-\x1f\"\\", r"[^\0-\x1f\ud800-\udfff\"\\"),
    # A character of a string with a length.
    (r"([^\"\\\r\n])", r"""([^\0-\x1f\ud800-\udfff\"\\]) | ("\\" basic_escape)"""),
    # Half of a surrogate pair, written as an escape.
    (
        r"""("u" [A-Fa-f0-9] [A-Fa-f0-9] [A-Fa-f0-9] [A-Fa-f0-9])""",
        r"""("u" [0-9A-CE-Fa-ce-f] [A-Fa-f0-9] [A-Fa-f0-9] [A-Fa-f0-9]) | ("u" [Dd] [0-7] [A-Fa-f0-9] [A-Fa-f0-9])""",
    ),
)
"""What is wrong in the rules that xgrammar writes, and what is put there instead."""
_ENDLESS = (
    (r'^(\w+ ::= \("" \| \(\[eE\] \w+ \w+\{1, )-1\}', r"\g<1>2}"),
    (r'^(\w+ ::= \("" \| \("\." \w+\{1, )-1\}', r"\g<1>30}"),
    (r'^(\w+ ::= \(\("0"\) \| \((?:\w+ )?\[1-9\] )\[0-9\]\*\)', r"\1basic_number_digits{0, 30})"),
)
"""Numbers, likewise, that are no number of 64 bits, or endless: whole rules, by whatever name."""


def calls_ebnf(tools: Sequence[tuple[str, Node]], *, parallel: bool, ids: bool) -> str:
    """A list of calls of these tools: their names, and schemas made for their `call_base`.

    Spaced as json.dumps spaces or not at all, behind at most one space, which SentencePiece's encoder writes before a
    text. With `ids` an id may follow the arguments, because the history that a model reads has one there.
    """
    call = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                "arguments": {"$ref": call_base(index)},
                **({"id": {"type": "string", "pattern": "^[a-zA-Z0-9]{9}$"}} if ids else {}),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, (name, _) in enumerate(tools)
    ]
    return _ebnf(
        {
            "type": "array",
            "items": {"anyOf": call},
            "minItems": 1,
            **({} if parallel else {"maxItems": 1}),
            "$defs": {_key(index): schema for index, (_, schema) in enumerate(tools)},
        }
    )


def call_base(index: int) -> str:
    """Where the arguments' schema of the tool of that index stands in the document that `calls_ebnf` makes."""
    return f"#/$defs/{_key(index)}"


def _key(index: int) -> str:
    # Not the tool's name: what is no letter in it would be lost in the names of rules, and a-b meet a_b there.
    return f"tool{index}"


def answer_ebnf(schema: Node) -> str:
    """A JSON value that fits `schema`."""
    return _ebnf(schema)


def _ebnf(schema: Node) -> str:
    if not rules_hold():
        # Its own text. What it lets through is checked when the call is parsed.
        return str(_converted(schema, (", ", ": ")))
    return _mended(schema)


def _mended(schema: Node) -> str:
    text = str(_converted(schema, _SEPARATORS))
    for wrong, right in _MENDED:
        text = text.replace(wrong, right)
    for wrong, right in _ENDLESS:
        text = re.sub(wrong, right, text, flags=re.MULTILINE)
    return text


def _converted(schema: Node, separators: tuple[str, str]) -> Any:
    import xgrammar

    grammar = xgrammar.Grammar.from_json_schema(
        json.dumps(schema), any_whitespace=False, separators=separators, strict_mode=False
    )
    return xgrammar.Grammar.concat(xgrammar.Grammar.from_ebnf('root ::= " "?'), grammar)


@cache
def rules_hold() -> bool:
    """Whether the rules of the installed xgrammar, mended, allow JSON only, and either spacing. Tried once, in 3 ms."""
    import xgrammar

    string: Node = {"type": "string"}
    schema: Node = {
        "type": "object",
        "properties": {
            "text": string,
            "short": {**string, "maxLength": 50},
            "whole": {"type": "integer"},
            "number": {"type": "number"},
            "any": {},
        },
        "required": ["text", "short", "whole", "number", "any"],
        "additionalProperties": False,
    }
    right = [b'"a\\n\\u00e9\xc3\xa9"', b'"a\\n"', b"-12", b"1.5e3", b'{"a": [1, "b\\n"]}']
    wrong = [
        *((place, string) for place in (0, 1, 4) for string in (b'"\n"', b'"\\ud800"', b'"\xed\xa0\x80"', b'"\\x"')),
        *((place, number) for place in (2, 3, 4) for number in (b"1" * 40, b"-" + b"1" * 40)),
        *((place, number) for place in (3, 4) for number in (b"0." + b"1" * 40, b"1e" + b"1" * 9)),
        *((4, value) for value in (b'{"a":  1}', b"[1,\n2]", b'{"\n": 1}')),
    ]

    def written(values: Sequence[bytes], colon: bytes = b": ", comma: bytes = b", ") -> bytes:
        members = zip(schema["properties"], values, strict=True)
        return b"{" + comma.join(b'"%s"%s%s' % (name.encode(), colon, value) for name, value in members) + b"}"

    try:
        compiled = _compiler().compile_grammar(_mended(schema))

        def accepts(text: bytes) -> bool:
            matcher = xgrammar.GrammarMatcher(compiled)
            return bool(matcher.accept_string(text)) and bool(matcher.accept_token(_END))

        return (
            accepts(written(right))
            and accepts(b" " + written(right))
            and accepts(written(right, b":", b",").replace(b": ", b":"))
            and not any(accepts(written([*right[:place], value, *right[place + 1 :]])) for place, value in wrong)
        )
    except Exception:  # its bindings raise several kinds, RuntimeError among them
        return False


_END = 256


@cache
def _compiler() -> Any:
    import xgrammar

    # What it cannot compile, it cannot compile for any vocabulary.
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo([*(bytes([value]) for value in range(256)), b"</s>"], stop_token_ids=[_END]),
        max_threads=1,
        cache_enabled=False,
    )


def ebnf_compiles(text: str) -> bool:
    """Whether xgrammar takes a whole grammar."""
    try:
        _compiler().compile_grammar(text)
    except Exception:  # its bindings raise several kinds, RuntimeError among them
        return False
    return True


def _valid(schema: Node) -> bool:
    try:
        text = _ebnf(schema)
    except Exception:  # as above
        return False
    return ebnf_compiles(text)


_FORMATS = ("date", "time", "date-time", "duration", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uuid")
XGRAMMAR = Backend(
    formats={**{name: {"format": name} for name in _FORMATS}, "email": {"pattern": _MAIL}},
    pattern=_WHOLE_PATTERN,
    combines=False,
    spells_out=True,
    costs=Costs(schema=0.5, optional=0.005, open=6.0, bounds=4.0, lengths=6.0, format=2.0, letter=0.012),
    valid=_valid,
)
