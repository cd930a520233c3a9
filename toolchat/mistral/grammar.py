"""Lark grammars under which a model cannot write a malformed call: which names, which arguments, what order.

The language is that of mistral_common's GrammarFactory with every tool strict, and narrower in two points.
Arguments are spaced as json.dumps spaces them, and so as every call of the history is written: with free
whitespace a small model can write line breaks for ever. And a call that is required comes first, without text
before it. The factory itself is not used because its constructor builds another llguidance tokenizer: 0.5 s
for 130,000 tokens, in the way of the first answer. A test holds the two side by side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from toolchat.mistral.closed_schema import closed_schema
from toolchat.mistral.ids import is_legal_name
from toolchat.mistral.vocabulary import MistralVocabulary, Vocabulary
from toolchat.wire.messages import ToolSpec

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

__all__ = ["closed_schema", "supports_lark", "tool_call_grammar"]

_FIRST_LARK = 11
_FIRST_THINKING = 13
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_LENIENT = {"lenient": True, "coerce_one_of": True}
_ANY_OBJECT = {"type": "object"}
_RULES = r"""content: (/(.|\n)+/)+
SAFE_WS: /[ \t\r\n]{1,8}/
"""


def supports_lark(tokenizer: Vocabulary | MistralTokenizer) -> bool:
    """Whether its calls can be constrained by a Lark grammar: tekken from v11 on, with its markers.

    Before v11 a call is JSON from the first to the last character, and a JSON Schema does it.
    """
    vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else MistralVocabulary(tokenizer)
    return (
        vocabulary.version >= _FIRST_LARK
        and not vocabulary.adds_space
        and None not in (vocabulary.special("[TOOL_CALLS]"), vocabulary.special("[ARGS]"))
    )


def tool_call_grammar(
    tokenizer: MistralTokenizer,
    tools: Sequence[ToolSpec],
    *,
    tool_choice: str,
    parallel: bool = True,
) -> str | None:
    """The grammar of one answer, or None where there is nothing to constrain: no tools.

    Args:
        tokenizer: one that supports_lark.
        tools: all tools the model is told of.
        tool_choice: "auto" (text, or calls with or without text before them), "none" (text), "required"
            (calls and no text), or a tool's name (its calls and no text). Thinking may come first in each.
        parallel: whether several calls are allowed.

    A schema keyword that llguidance does not know is left out of the constraint; where that is not enough,
    that tool's arguments are only held to be some object. The same request again costs nothing.

    Raises:
        ValueError: the chosen tool is not among `tools`, or a name is not legal.
    """
    names = [tool.name for tool in tools]
    if illegal := [name for name in names if not is_legal_name(name)]:
        raise ValueError(f"{illegal[0]!r} cannot name a tool")
    if tool_choice not in ("auto", "none", "required", *names):
        raise ValueError(f"the chosen tool {tool_choice!r} is not among the tools: {', '.join(names) or 'none'}")
    if not tools:
        return None
    markers = _markers(tokenizer)
    if tool_choice in names:
        tools, tool_choice = [tool for tool in tools if tool.name == tool_choice], "required"
    # Not sorted: llguidance holds the model to the order in which a schema names its properties.
    key = json.dumps([[tool.name, tool.parameters] for tool in tools], ensure_ascii=False)
    return _grammar(markers, key, tool_choice, parallel)


def _markers(tokenizer: MistralTokenizer) -> tuple[int | None, ...]:
    vocabulary = MistralVocabulary(tokenizer)
    if not supports_lark(vocabulary):
        raise ValueError("a Lark grammar needs a tekken tokenizer of version 11 or later")
    thinks = vocabulary.version >= _FIRST_THINKING
    names = ("[TOOL_CALLS]", "[ARGS]", *(("[THINK]", "[/THINK]") if thinks else ()))
    return tuple(vocabulary.special(name) for name in names)


@lru_cache(maxsize=64)
def _grammar(markers: tuple[int | None, ...], tools: str, tool_choice: str, parallel: bool) -> str:
    calls, arguments, *thinking = markers
    call = " | ".join(
        f'(<[{calls}]> SAFE_WS? "{name}" <[{arguments}]> SAFE_WS? '
        f"%json {_arguments(json.dumps(parameters, ensure_ascii=False))} SAFE_WS?)"
        for name, parameters in json.loads(tools)
    )
    think = f"think: <[{thinking[0]}]> content <[{thinking[1]}]>\n" if thinking and None not in thinking else ""
    body = {"auto": "content | content? calls", "none": "content", "required": "calls"}[tool_choice]
    rules = "" if tool_choice == "none" else f"calls: ({call}){'+' if parallel else ''}\n"
    return f"start: {'think? ' if think else ''}({body})\n{rules}{think}{_RULES}"


@lru_cache(maxsize=256)
def _arguments(parameters: str) -> str:
    """The tightest schema of these parameters that llguidance can hold a model to, as JSON."""
    import llguidance

    closed = {**closed_schema({"type": "object", **json.loads(parameters)}), "type": "object"}
    options: list[dict[str, Any]] = [
        {**closed, "x-guidance": _SPACING},
        {**closed, "x-guidance": {**_SPACING, **_LENIENT}},
    ]
    for schema in options:
        written = json.dumps(schema, ensure_ascii=False)
        failed, _ = llguidance.LLMatcher.validate_grammar_with_warnings(
            llguidance.LLMatcher.grammar_from_lark(f"start: %json {written}")
        )
        if not failed:
            return written
    return json.dumps({**_ANY_OBJECT, "x-guidance": _SPACING})
