"""Plans one generation: which grammar holds it, from which token on, and which parts of the schemas go unheld.

Pure: it knows tokenizers and schemas, and nothing of the engine that carries the plan out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from toolchat.mistral.grammar.backend import Backend, Budget, Node
from toolchat.mistral.grammar.ebnf import XGRAMMAR, answer_ebnf, call_base, calls_ebnf, ebnf_compiles, rules_hold
from toolchat.mistral.grammar.lark import LLGUIDANCE, lark_compiles, lark_grammar, supports_lark
from toolchat.mistral.grammar.narrowing import narrowed
from toolchat.mistral.ids import is_legal_name
from toolchat.mistral.vocabulary import Vocabulary
from toolchat.wire.messages import CallOrigin, ToolSpec

_CHOICES = ("auto", "none", "required")
_FIRST_IDS = 3
"""Before it calls have no ids, and a history cannot hold the results of two calls of one round."""
_OTHER_RULES = (
    "calls are checked, not constrained: the installed xgrammar writes rules that toolchat does not know; "
    "install the version that toolchat was tested with"
)


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
    """The plan of one generation.

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
    """The tools whose calls always fit their schemas."""
    notes: tuple[str, ...] = ()
    """For the user, one line each: what of the schemas is not enforced."""

    def origin(self, name: str) -> CallOrigin:
        """How a call of this tool is known to be well-formed: by the grammar, or by parsing and checking it."""
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
    if not tools and answer is None:
        # A model that learnt to call begins calls also where it was offered nothing to call.
        return Constraint(Step(banned=(calls,)))
    plan = _made(vocabulary, tools, choice, parallel, answer)
    steps = (plan.step, plan.calls, plan.answer)
    if not all(compiles(step.grammar) for step in steps if step is not None and step.grammar is not None):
        # Each part does; all together are too large. Names and JSON still hold.
        parts.give_up([name for name, _ in tools])
        tools = [(name, {"type": "object"}) for name, _ in tools]
        plan = _made(vocabulary, tools, choice, parallel, None if answer is None else {})
    if not lark and not rules_hold():
        return replace(plan, notes=(_OTHER_RULES,))
    return replace(plan, held=frozenset(parts.held), notes=tuple(parts.notes))


def compiles(grammar: Grammar) -> bool:
    """Whether the backend takes a whole grammar."""
    return lark_compiles(grammar.text) if grammar.kind == "lark" else ebnf_compiles(grammar.text)


def _made(
    vocabulary: Vocabulary, tools: Sequence[tuple[str, Node]], choice: str, parallel: bool, answer: Node | None
) -> Constraint:
    if supports_lark(vocabulary):
        text = lark_grammar(vocabulary, tools, choice=choice, parallel=parallel, answer=answer)
        return Constraint(Step(Grammar("lark", text)))
    # To xgrammar control tokens are text, and would pass where a string may hold anything.
    banned = vocabulary.specials
    calls = vocabulary.special("[TOOL_CALLS]")
    assert calls is not None
    calls_step = answer_step = None
    if tools:
        ids = vocabulary.version >= _FIRST_IDS
        calls_step = Step(Grammar("ebnf", calls_ebnf(tools, parallel=parallel and ids, ids=ids)), banned)
    if answer is not None:
        answer_step = Step(Grammar("ebnf", answer_ebnf(answer)), banned)
    if choice == "required":
        assert calls_step is not None
        return Constraint(calls_step, forced=(calls,))
    if calls_step is None:
        assert answer_step is not None
        return Constraint(answer_step)
    return Constraint(Step(), stop=calls, calls=calls_step, answer=answer_step)


class _Parts:
    """The narrowed schemas of one plan, the tools that they hold, and notes of what was left out."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._budget = Budget()
        self._answers = False
        self.held: list[str] = []
        self.notes: list[str] = []

    def tool(self, name: str, parameters: Mapping[str, Any], *, base: str) -> Node:
        found = narrowed(parameters, self._backend, base=base, budget=self._budget)
        if found.left_out:
            self.notes.append(f"calls of {name} are checked, not constrained, as to {', '.join(found.left_out)}")
        else:
            self.held.append(name)
        return found.schema

    def give_up(self, names: Sequence[str]) -> None:
        """Hold to no schema at all."""
        self.held, self.notes = [], []
        self.notes += [f"calls of {name} are checked, not constrained, as to the whole schema" for name in names]
        if self._answers:
            self.notes.append("the answer is not constrained as to the whole schema")

    def answer(self, schema: Mapping[str, Any]) -> Node:
        self._answers = True
        found = narrowed(schema, self._backend, arguments=False, budget=self._budget)
        if found.left_out:
            self.notes.append(f"the answer is not constrained as to {', '.join(found.left_out)}")
        return found.schema
