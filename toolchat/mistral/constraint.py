"""What a generation is held to, decided before it begins: which grammar, from which token on, and what goes unheld.

Pure: it knows tokenizers and schemas, and nothing of the engine that is to follow the plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from toolchat.mistral.closed_schema import closed_schema
from toolchat.mistral.ebnf import XGRAMMAR, answer_ebnf, call_base, calls_ebnf
from toolchat.mistral.grammar import LLGUIDANCE, lark_grammar, supports_lark
from toolchat.mistral.ids import is_legal_name
from toolchat.mistral.schema_subset import Backend, Node, subset
from toolchat.mistral.vocabulary import Vocabulary
from toolchat.wire.messages import CallOrigin, ToolSpec

_CHOICES = ("auto", "none", "required")
_FIRST_IDS = 3
"""Before it calls have no ids, and a history cannot hold the results of two calls of one round."""


@dataclass(frozen=True, slots=True)
class Grammar:
    kind: Literal["lark", "ebnf"]
    """Lark for llguidance, EBNF for xgrammar."""
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One uninterrupted run of the engine."""

    grammar: Grammar | None = None
    """From the first token on; None for none."""
    banned: tuple[int, ...] = ()
    """Tokens that must not come."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A plan for one generation.

    Most have one step. Where the backend cannot tell control tokens from text (SentencePiece), the generation runs free
    up to `[TOOL_CALLS]` and goes on behind it in a step of its own, `calls`.
    """

    step: Step
    """The first one."""
    forced: tuple[int, ...] = ()
    """Tokens that are put before the first step, as if the model had written them."""
    stop: int | None = None
    """The token that ends the first step, if the model writes it; `calls` then goes on."""
    calls: Step | None = None
    answer: Step | None = None
    """Where there is one, the first step is a single token. One that is not `stop` is forgotten, and this is run."""
    held: frozenset[str] = frozenset()
    """The tools whose calls cannot but fit their schemas."""
    notes: tuple[str, ...] = ()
    """For the user: what could not be held to, one line each."""

    def origin(self, name: str) -> CallOrigin:
        """How a call of this tool, made under this constraint, came to be well-formed."""
        return CallOrigin.CONSTRAINED if name in self.held else CallOrigin.PARSED


def constraint(
    vocabulary: Vocabulary,
    tools: Sequence[ToolSpec],
    *,
    choice: str = "auto",
    parallel: bool = True,
    answer: Mapping[str, Any] | None = None,
) -> Constraint:
    """Plan a generation. The same request again costs next to nothing.

    Args:
        vocabulary: the model's; of any version.
        tools: all tools the model is told of.
        choice: "auto" (text or calls), "none" (text), "required" (calls, and no text), or a tool's name (its calls).
        parallel: whether several calls are allowed.
        answer: a JSON Schema that an answer in text is held to.

    A part of a schema that the backend cannot hold to is left out, with a note; the calls of that tool are then not
    among those `held`.

    Raises:
        ValueError: the chosen tool is not among `tools`, or a name is not legal.
    """
    names = [tool.name for tool in tools]
    if illegal := [name for name in names if not is_legal_name(name)]:
        raise ValueError(f"{illegal[0]!r} cannot name a tool")
    if choice not in (*_CHOICES, *names):
        raise ValueError(f"the chosen tool {choice!r} is not among the tools: {', '.join(names) or 'none'}")
    # A tool may be called "auto": what every request says is then not that tool's name.
    if choice in names and choice not in _CHOICES:
        tools, choice = [tool for tool in tools if tool.name == choice], "required"
    if choice == "none":
        tools = []
    # Not sorted: a model is held to the order in which a schema names its properties.
    tools_key = json.dumps([[tool.name, tool.parameters] for tool in tools], ensure_ascii=False)
    answer_key = None if answer is None else json.dumps(answer, ensure_ascii=False)
    return _plan(vocabulary, tools_key, choice if tools else "none", parallel, answer_key)


def unconstrained(vocabulary: Vocabulary, *, choice: str = "auto") -> Constraint:
    """The plan of the same generation without any grammar, to measure what grammars are worth."""
    calls = vocabulary.special("[TOOL_CALLS]")
    if choice in ("auto", "none") or calls is None:
        return Constraint(Step())
    return Constraint(Step(), forced=(calls,))


@lru_cache(maxsize=64)
def _plan(vocabulary: Vocabulary, tools_key: str, choice: str, parallel: bool, answer_key: str | None) -> Constraint:
    calls = vocabulary.special("[TOOL_CALLS]")
    if calls is None:
        return Constraint(Step())
    lark = supports_lark(vocabulary)
    backend = LLGUIDANCE if lark else XGRAMMAR
    parts = _Parts(backend)
    tools = [
        (name, parts.tool(name, parameters, base="#" if lark else call_base(index)))
        for index, (name, parameters) in enumerate(json.loads(tools_key))
    ]
    answer = None if answer_key is None else parts.answer(json.loads(answer_key))
    held, notes = frozenset(parts.held), tuple(parts.notes)
    if not tools and answer is None:
        # A model that learnt to call begins calls also where it was offered nothing to call.
        return Constraint(Step(banned=(calls,)))
    if lark:
        text = lark_grammar(vocabulary, tools, choice=choice, parallel=parallel, answer=answer)
        return Constraint(Step(Grammar("lark", text)), held=held, notes=notes)
    # To xgrammar control tokens are text, and would pass where a string may hold anything.
    banned = vocabulary.specials
    calls_step = answer_step = None
    if tools:
        ids = vocabulary.version >= _FIRST_IDS
        calls_step = Step(Grammar("ebnf", calls_ebnf(tools, parallel=parallel and ids, ids=ids)), banned)
    if answer is not None:
        answer_step = Step(Grammar("ebnf", answer_ebnf(answer)), banned)
    if choice == "required":
        assert calls_step is not None
        return Constraint(calls_step, forced=(calls,), held=held, notes=notes)
    if calls_step is None:
        assert answer_step is not None
        return Constraint(answer_step, notes=notes)
    return Constraint(Step(), stop=calls, calls=calls_step, answer=answer_step, held=held, notes=notes)


class _Parts:
    """Schemas narrowed to what the backend holds, and the record of what that cost."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.held: list[str] = []
        self.notes: list[str] = []

    def tool(self, name: str, parameters: Mapping[str, Any], *, base: str) -> Node:
        closed = {**closed_schema({"type": "object", **parameters}), "type": "object"}
        found = subset(closed, self._backend, base=base)
        if found.left_out:
            what = ", ".join(found.left_out)
            self.notes.append(f"calls of {name} are checked, not constrained, as to {what}")
        else:
            self.held.append(name)
        return found.schema

    def answer(self, schema: Mapping[str, Any]) -> Node:
        found = subset(closed_schema(schema, arguments=False), self._backend)
        if found.left_out:
            self.notes.append(f"the answer is not constrained as to {', '.join(found.left_out)}")
        return found.schema
