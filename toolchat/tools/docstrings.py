"""Reads a docstring: descriptions of the function and its parameters (Google, NumPy or Sphinx style), and examples."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import docstring_parser
from docstring_parser import DocstringStyle

_MAX_EXAMPLES = 50
_STYLES = (DocstringStyle.GOOGLE, DocstringStyle.NUMPYDOC, DocstringStyle.REST, DocstringStyle.EPYDOC)
_NO_SUMMARY = re.compile(r"(Args|Arguments|Params|Parameters)\s*(:|\n-{3,})|[:@]param\b")
_CALL = re.compile(r"[A-Za-z_][\w.]*\([^\n]*\)( *->.*)?(\n|$)")


@dataclass(frozen=True, slots=True)
class Documentation:
    summary: str | None = None
    """The first paragraph, on one line."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Descriptions by name, each on one line."""
    types: dict[str, str] = field(default_factory=dict)
    """What it calls the types of parameters, by name: "int", "array_like", "{'a', 'b'}, optional"."""
    whole: str | None = None
    """All that it says before its sections, on one line; examples are left out."""


def documentation(function: Callable[..., Any], names: Iterable[str]) -> Documentation:
    """The documentation of a function whose parameters are `names`; whatever the docstring holds, it never fails."""
    try:
        text = str(inspect.getdoc(function) or "")
    except Exception:
        # A docstring may be a property that fails.
        text = ""
    first, _, rest = text.partition("\n\n")
    if _CALL.match(first) and rest:
        # A function of C begins with how it is called.
        text = rest
    known = set(names)
    bare = _NO_SUMMARY.match(text) is not None
    # A docstring that begins with its sections is misread as one whose summary is their title.
    readings = [_reading(f"_\n\n{_indented(text)}" if bare else text, style) for style in _STYLES]
    # Not the parser's own choice: one :class:`…` in the text makes it take Google's style for Sphinx's.
    best = max(readings, key=lambda reading: len(known & (reading.parameters.keys() | reading.types.keys())))
    return replace(best, summary=None, whole=None) if bare else best


def _indented(text: str) -> str:
    """`text` with its lines below the first set in again, where cleaning took that indentation for the margin."""
    first, _, rest = text.partition("\n")
    indent = first.endswith(":") and rest and not rest.startswith(" ")
    return f"{first}\n{textwrap.indent(rest, '    ')}" if indent else text


def _reading(text: str, style: DocstringStyle) -> Documentation:
    try:
        parsed = docstring_parser.parse(text, style)
    except (docstring_parser.ParseError, ValueError, IndexError, KeyError):
        first = _one_line(text.partition("\n\n")[0])
        return Documentation(first, whole=first)
    first = parsed.short_description or ""
    if parsed.long_description and not parsed.blank_after_short_description:
        first = f"{first} {parsed.long_description.partition(chr(10) * 2)[0]}"
    described: dict[str, str] = {}
    types: dict[str, str] = {}
    for item in parsed.params:
        # NumPy's style lets parameters share a description: "x, y : int".
        for name in item.arg_name.split(","):
            words = _one_line(item.description or "")
            if words:
                described[name.strip().lstrip("*")] = words
            if item.type_name:
                types[name.strip().lstrip("*")] = item.type_name
    paragraphs = f"{parsed.short_description or ''}\n\n{parsed.long_description or ''}".split("\n\n")
    whole = " ".join(paragraph for paragraph in paragraphs if not paragraph.lstrip().startswith(">>>"))
    return Documentation(_one_line(first), described, types, _one_line(whole))


def _one_line(text: str) -> str | None:
    return " ".join(text.split()) or None


def kinds_in_examples(name: str, text: str, parameters: list[inspect.Parameter]) -> dict[str, set[str]]:
    """By parameter, what the examples of a docstring (`>>> mean([1, 2])`) pass to the function of that name: "scalar",
    "array", "rows" (an array of arrays), "object" or "unknown"."""
    kinds: dict[str, set[str]] = {}
    for call in _calls(name, text):
        for parameter, node in zip(parameters, call.args, strict=False):
            if isinstance(node, ast.Starred) or parameter.kind is parameter.VAR_POSITIONAL:
                break
            kinds.setdefault(parameter.name, set()).add(_kind(node))
        for keyword in call.keywords:
            if keyword.arg is not None:
                kinds.setdefault(keyword.arg, set()).add(_kind(keyword.value))
    return kinds


def _calls(name: str, text: str) -> Iterator[ast.Call]:
    if ">>>" not in text:
        return
    import doctest  # with pdb and unittest, for the few who need it

    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return
    for example in examples[:_MAX_EXAMPLES]:
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            for node in ast.walk(ast.parse(example.source)):
                match node:
                    case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called == name:
                        yield node


def _kind(node: ast.expr) -> str:
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            nested = any(isinstance(item, ast.List | ast.Tuple | ast.Set) for item in items)
            return "rows" if nested else "array"
        case ast.ListComp() | ast.GeneratorExp():
            return "array"
        case ast.Dict():
            return "object"
        case ast.Constant() | ast.UnaryOp():
            return "scalar"
    return "unknown"
