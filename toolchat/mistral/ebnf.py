"""EBNF for xgrammar, the backend of SentencePiece: the calls' list after `[TOOL_CALLS]`, and an answer in JSON.

Its own converter of JSON Schema writes the rules; what they get wrong (xgrammar 0.2.8) is left out beforehand or mended
afterwards, so that what can be written is JSON that can be loaded: a bounded string took raw control characters and no
escapes, and an escape could be half of a surrogate pair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from toolchat.mistral.schema_form import is_number, is_of
from toolchat.mistral.schema_subset import Backend, LeaveOut, Node

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LARGEST = 10**15
"""xgrammar counts integers in 64 bits, and spells out a number's bounds to six decimals."""
_MOST_COUNTED = 1_000
"""Properties times the bound of their number: each number has rules of its own (for 300 times 140 it took 186 s)."""
_BY_KIND = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": (*_BOUNDS, "multipleOf"),
}
_SAYS_NOTHING = ("$defs", "definitions")
_WHOLE_PATTERN = re.compile(
    r"""\^(?: [^"\\.\[(\x00-\x1f] | \[(?!\^)[^"\\\[\x00-\x1f]+\] | \((?!\?) | \\[dws.+*?()\[\]{}|^$/-] )*\$""",
    re.VERBOSE | re.ASCII,
)
"""A pattern that xgrammar writes as JSON in UTF-8: anchored at both ends, and every character named."""
_MAIL = r"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-[A-Za-z0-9]+)*)+$"
"""Its own "email" lets a quoted name hold escapes that JSON has not."""
_MENDED = (
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

    Spaced as json.dumps spaces, behind at most one space, which SentencePiece's encoder writes before a text. With
    `ids` an id may follow the arguments, because the history that a model reads has one there.
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
    import xgrammar

    grammar = xgrammar.Grammar.concat(xgrammar.Grammar.from_ebnf('root ::= " "?'), _converted(schema))
    text = str(grammar)
    for wrong, right in _MENDED:
        text = text.replace(wrong, right)
    for wrong, right in _ENDLESS:
        text = re.sub(wrong, right, text, flags=re.MULTILINE)
    return text


def _converted(schema: Node) -> Any:
    import xgrammar

    return xgrammar.Grammar.from_json_schema(
        json.dumps(schema), any_whitespace=False, separators=(", ", ": "), strict_mode=False
    )


@cache
def _compiler() -> Any:
    import xgrammar

    # What it cannot compile, it cannot compile for any vocabulary.
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo([*(bytes([value]) for value in range(256)), b"</s>"], stop_token_ids=[256]),
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


def _narrow(node: Node, leave_out: LeaveOut) -> Node:
    """xgrammar looks at one kind of keyword only: of several, the one that says most is kept."""
    document = {key: node[key] for key in _SAYS_NOTHING if key in node}
    says = {key: value for key, value in node.items() if key not in document}
    return document | _kind(says, leave_out)


def _kind(says: Node, leave_out: LeaveOut) -> Node:
    if "enum" in says or "const" in says:
        key = "const" if "const" in says else "enum"
        values = [says["const"]] if key == "const" else says["enum"]
        if fits := [value for value in values if is_of(value, says.get("type"))]:
            only = _only(key, _without(says, "type"), leave_out)
            return only if key == "const" else {"enum": fits}
        leave_out(key)
        return _kind(_without(says, key), leave_out)
    if "$ref" in says:
        return _only("$ref", says, leave_out)
    if "allOf" in says and len(says) == len(says["allOf"]) == 1 and isinstance(says["allOf"][0], dict):
        return dict(says["allOf"][0])
    if "anyOf" in says and not says.keys() - {"anyOf", "allOf"}:
        return _only("anyOf", says, leave_out)
    kept = {key: value for key, value in says.items() if key not in ("allOf", "anyOf")}
    for key in says.keys() - kept.keys():
        leave_out(key)
    return _by_type(kept, leave_out)


def _only(keyword: str, says: Node, leave_out: LeaveOut) -> Node:
    for key in says.keys() - {keyword}:
        leave_out(key)
    return {keyword: says[keyword]}


def _by_type(node: Node, leave_out: LeaveOut) -> Node:
    if "type" not in node:
        # It guesses from the keywords, or forgets them.
        implied = [kind for kind in ("object", "array") if any(key in node for key in _BY_KIND[kind])]
        if len(implied) == 1:
            node = {"type": implied[0], **node}
        else:
            for key in node:
                leave_out(key)
            return {}
    kinds = {node["type"]} if isinstance(node["type"], str) else set(node["type"])
    if "object" in kinds:
        node = _object(node, leave_out)
    if "string" in kinds:
        node = _string(node, leave_out)
    if kinds & {"integer", "number"}:
        node = _number(node, leave_out, whole="number" not in kinds)
    return node


def _object(node: Node, leave_out: LeaveOut) -> Node:
    if "patternProperties" in node:
        leave_out("patternProperties")
        node = {**node, "additionalProperties": True}
        del node["patternProperties"]
    properties: Mapping[str, Any] = node.get("properties", {})
    if forbidden := [name for name, part in properties.items() if part is False]:
        if node.get("additionalProperties", True) is not False:
            leave_out("false")
        node = {**node, "properties": {name: part for name, part in properties.items() if name not in forbidden}}
    properties = node.get("properties", {})
    escaped = [name for name in properties if json.dumps(name, ensure_ascii=False) != f'"{name}"']
    if escaped and node.get("additionalProperties", True) is not False:
        # Among the keys that are none of these it would write escapes that JSON has not.
        leave_out("properties")
        node = {**node, "properties": {name: part for name, part in properties.items() if name not in escaped}}
        node["required"] = [name for name in node.get("required", ()) if name not in escaped]
    bounds = [key for key in ("minProperties", "maxProperties") if key in node]
    if len(properties) * max((node[key] for key in bounds), default=0) > _MOST_COUNTED:
        for key in bounds:
            leave_out(key)
        node = _without(node, *bounds)
    return node


def _string(node: Node, leave_out: LeaveOut) -> Node:
    if "pattern" in node and not _WHOLE_PATTERN.fullmatch(node["pattern"]):
        leave_out("pattern")
        node = _without(node, "pattern")
    if "pattern" in node and "format" in node:
        leave_out("format")
        node = _without(node, "format")
    if node.get("format") == "email":
        node = {**_without(node, "format"), "pattern": _MAIL}
    if "pattern" in node or "format" in node:
        for key in ("minLength", "maxLength"):
            if key in node:
                leave_out(key)
        node = _without(node, "minLength", "maxLength")
    return node


def _number(node: Node, leave_out: LeaveOut, *, whole: bool) -> Node:
    found = _without(node, "multipleOf", *_BOUNDS)
    if "multipleOf" in node:
        leave_out("multipleOf")
    for key in _BOUNDS:
        bound = node.get(key)
        if not is_number(bound):
            continue
        if abs(bound) > _LARGEST or (not whole and round(bound, 6) != bound):
            leave_out(key)
        elif whole and not float(bound).is_integer():
            # 2.5 and more is 3 and more.
            if key.lower().endswith("minimum"):
                found["minimum"] = max(math.ceil(bound), found.get("minimum", -_LARGEST))
            else:
                found["maximum"] = min(math.floor(bound), found.get("maximum", _LARGEST))
        else:
            found[key] = int(bound) if whole else bound
    return found


def _without(node: Node, *keys: str) -> Node:
    return {key: value for key, value in node.items() if key not in keys}


XGRAMMAR = Backend(
    formats=frozenset(
        [
            *("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference"),
            "uuid",
        ]
    ),
    narrow=_narrow,
    valid=_valid,
    spells_out=True,
)
