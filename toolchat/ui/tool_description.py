"""What a tool is to the model and to a person: `tools show` and `/tool NAME` print it, and JSON carries the same.

Asks no engine and no tokenizer; what is known of tokens and of the prompt is given to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from rich.text import Text

from toolchat.mistral.grammar.backend import Backend
from toolchat.mistral.grammar.ebnf import XGRAMMAR
from toolchat.mistral.grammar.lark import LLGUIDANCE
from toolchat.mistral.grammar.narrowing import narrowed
from toolchat.tools.toolbox import MIB, Approval, Privileges, Tool, ToolOptions
from toolchat.ui.tables import changes
from toolchat.ui.text.sanitize import look_alikes, sanitize, sanitize_line

HEAD = "bold"
QUIET = "dim"
WARNING = "yellow"


@dataclass(frozen=True, slots=True)
class Held:
    """What of a tool's schema a grammar holds a model to while it writes a call; all of it is checked afterwards."""

    backend: str
    whole: bool
    checked_only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By parameter ("" for the tool as a whole), the keywords that are only checked."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a tool takes of every prompt."""

    tokens: int
    exact: bool
    by: str
    """Whose count it is, or how the estimate was made and what would count exactly."""


def held(tool: Tool, *, tekken: bool) -> Held:
    """What the grammar holds with tekken's backend, or else with SentencePiece's.

    xgrammar takes seconds to import and is not asked; llguidance is, where it is installed.
    """
    backend = LLGUIDANCE if tekken else XGRAMMAR
    if not tekken or find_spec("llguidance") is None:
        backend = replace(backend, valid=lambda _: True)
    left_out = narrowed(tool.parameters, backend).left_out
    name = "llguidance" if tekken else "xgrammar"
    if not left_out:
        return Held(name, True)
    by_parameter = {
        parameter: alone
        for parameter, part in tool.parameters.get("properties", {}).items()
        if (alone := _left_out(tool, parameter, part, backend))
    }
    known = {word for words in by_parameter.values() for word in words}
    if rest := tuple(word for word in left_out if word not in known and not word.startswith("the schema of ")):
        by_parameter[""] = rest
    return Held(name, False, by_parameter)


def _left_out(tool: Tool, parameter: str, part: Any, backend: Backend) -> tuple[str, ...]:
    alone = {**tool.parameters, "properties": {parameter: part}, "required": [parameter]}
    words = narrowed(alone, backend).left_out
    return tuple("all of it" if "schema" in word else word for word in words)


def description(
    tool: Tool,
    cost: Cost,
    grammar: Held | None,
    *,
    approval: Approval | None = None,
    prompt: tuple[str, str] | None = None,
) -> list[Text]:
    """The rows of a description, safe for a terminal; they may be longer than it is wide.

    Args:
        tool: as its process has loaded it.
        cost: its tokens.
        grammar: None where calls are generated without one.
        approval: what becomes of its calls, where that is not what its file says.
        prompt: a heading and the written-out prompt.
    """
    rows = [Text(sanitize_line(tool.signature), style=HEAD)]
    rows += [Text(f"  {sanitize(row)}") for row in tool.description.splitlines()]
    rows.append(_fact("from", f"{tool.callable_ref}, {tool.place}"))
    rows.append(_fact("calls", ", ".join(_options(tool.options, approval or tool.options.approval))))
    rows += [_fact(word, f"where {text}") for word, text in tool.options.rules.texts()]
    rows += [_fact("file sets", row) for row in changes(tool)]
    if tool.untyped:
        rows.append(_fact("no type", f"{', '.join(tool.untyped)}: the model is offered what could be told of it"))
    rows += [_fact("note", f"it {note}") for note in tool.notes]
    rows += [_fact("mind", remark) for remark in tool.remarks]
    rows += [Text(f"Mind the name: {mark}", style=WARNING) for mark in look_alikes(tool.callable_ref)]
    about = "" if cost.exact else "about "
    rows.append(_fact("tokens", f"{about}{cost.tokens:,} of every prompt, {cost.by}"))
    rows += _grammar(grammar)
    rows.append(Text("Parameters, as the model is given them:", style=HEAD))
    rows += [Text(f"  {sanitize(row)}") for row in written(tool.parameters).splitlines()]
    if prompt is not None:
        heading, text = prompt
        rows.append(Text(f"{sanitize_line(heading)}:", style=HEAD))
        rows += [Text(f"  {sanitize(row)}") for row in text.split("\n")]
    return rows


def written(schema: Mapping[str, Any]) -> str:
    """A schema for people: indented, with lists of values in one row."""
    return "\n".join(_rows(schema, ""))


def _rows(value: Any, indent: str) -> list[str]:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, Mapping) or not value or (len(flat) <= 80 and not _holds_mappings(value)):
        return [flat]
    rows = ["{"]
    for number, (key, inner) in enumerate(value.items(), 1):
        first, *rest = _rows(inner, indent + "  ")
        rows.append(f"{indent}  {json.dumps(key, ensure_ascii=False)}: {first}")
        rows += rest
        rows[-1] += "," if number < len(value) else ""
    return [*rows, f"{indent}}}"]


def _holds_mappings(value: Mapping[str, Any]) -> bool:
    return any(isinstance(inner, Mapping) and inner for inner in value.values())


def tool_json(tool: Tool) -> dict[str, Any]:
    """A tool as JSON, for programs: what the model is told, and what the file says."""
    options = tool.options
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "signature": tool.signature,
        "callable": tool.callable_ref,
        "place": tool.place,
        "approval": str(options.approval),
        "rules": [{word: text} for word, text in options.rules.texts()],
        "timeout": options.timeout,
        "memory": options.memory,
        "max_result_tokens": options.max_result_tokens,
        "stateful": options.stateful,
        "from_file": {parameter: list(keywords) for parameter, keywords in tool.from_file.items()},
        "untyped": list(tool.untyped),
        "notes": list(tool.notes),
        "server": tool.server or None,
        "remarks": list(tool.remarks),
        "effects": options.effects,
        "untrusted": options.untrusted,
    }


def _fact(name: str, text: str) -> Text:
    return Text.assemble((f"  {name:<10}", QUIET), sanitize_line(text))


def _options(options: ToolOptions, approval: Approval) -> list[str]:
    facts = [str(approval), f"at most {options.timeout:g} s"]
    facts.append("any memory" if options.memory is None else f"at most {_size(options.memory)}")
    if options.max_result_tokens is not None:
        facts.append(f"results cut to {options.max_result_tokens:,} tokens")
    if options.stateful:
        facts.append("stateful")
    if options.env:
        facts.append(f"sees {', '.join(options.env)}")
    if options.privileges is Privileges.KEEP:
        facts.append("keeps privileges")
    if options.effects:
        facts.append("has effects")
    if options.untrusted:
        facts.append("its results are strangers' words")
    return facts


def _size(size: int) -> str:
    mebibytes = size / MIB
    return f"{mebibytes / 1024:g} GiB" if size % (1024 * MIB) == 0 else f"{mebibytes:g} MiB"


def _grammar(grammar: Held | None) -> list[Text]:
    if grammar is None:
        return [_fact("grammar", "none here: calls are checked when they are made")]
    if grammar.whole:
        return [_fact("grammar", f"holds every call to all of this ({grammar.backend})")]
    rows = [_fact("grammar", f"holds calls to all but what follows, which is only checked ({grammar.backend})")]
    return [
        *rows,
        *(
            _fact("checked", f"{parameter}: {', '.join(words)}" if parameter else ", ".join(words))
            for parameter, words in grammar.checked_only.items()
        ),
    ]
