"""Reads the descriptions of a function and its parameters from its docstring: Google, NumPy or Sphinx style."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import docstring_parser
from docstring_parser import DocstringStyle

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
