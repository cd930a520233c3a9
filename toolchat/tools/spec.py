"""What a tools file says, checked as text: it must never import what the file names.

Every problem is found in one pass and reported at its line and column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from toolchat.tools.yaml_file import compose, duplicate_keys, place
from toolchat.wire.errors import UsageError

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""The names that Mistral's validators accept."""

_CALLABLE = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")
_FILE_KEYS = ("version", "tools")
_TOOL_KEYS = ("callable", "name", "description")
_STRING = "tag:yaml.org,2002:str"
_INTEGER = "tag:yaml.org,2002:int"
_MAX_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One tool as the file names it, before anything is imported."""

    module: str
    function: str
    name: str
    description: str | None
    """None where the docstring's first line is to serve."""
    place: str
    """ "FILE:LINE:COL" of the callable's name, for messages."""

    @property
    def callable_ref(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def from_samples(self) -> bool:
        """Whether the callable is one of toolchat's own samples."""
        return self.module == "toolchat.samples" or self.module.startswith("toolchat.samples.")


@dataclass(frozen=True, slots=True)
class ToolsFile:
    """A tools file whose text is right."""

    path: Path
    entries: tuple[ToolEntry, ...]


def read_tools_file(path: Path) -> ToolsFile:
    """Read and check the file at `path`.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    root = compose(path)
    reader = _Reader(path)
    entries = reader.file(root)
    if reader.problems:
        raise UsageError("\n".join(reader.problems))
    return ToolsFile(path, entries)


class _Reader:
    """Walks the nodes once, keeping what is right and noting what is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, int, str]] = []

    @property
    def problems(self) -> list[str]:
        return [line for _, _, line in sorted(self._found)]

    def file(self, root: yaml.Node | None) -> tuple[ToolEntry, ...]:
        if root is None:
            self._found.append((0, 0, f"{self._path}:1:1: the file is empty; expected version: 1 and a list of tools"))
            return ()
        for key, name in duplicate_keys(root):
            self._problem(key, f'the key "{name}" stands here a second time; expected it once; remove one of the two')
        keys = self._mapping(root, "the file", _FILE_KEYS)
        if keys is None:
            return ()
        self._version(root, keys.get("version"))
        tools = keys.get("tools")
        if tools is None:
            self._problem(
                root, "tools is missing; expected a list; add tools: and below it - callable: module:function"
            )
            return ()
        if not isinstance(tools, yaml.SequenceNode):
            self._problem(tools, f"tools is {_kind(tools)}; expected a list; begin each tool with - callable:")
            return ()
        entries: list[ToolEntry] = []
        for node in tools.value:
            entry = self._entry(node)
            if entry is None:
                continue
            if any(entry.name == other.name for other in entries):
                what = f'a second tool is named "{entry.name}"; expected each name once; give one another name:'
                self._problem(node, what)
            entries.append(entry)
        return tuple(entries)

    def _version(self, root: yaml.Node, node: yaml.Node | None) -> None:
        if node is None:
            self._problem(root, "version is missing; expected version: 1; add it as the first line")
        elif not (isinstance(node, yaml.ScalarNode) and node.tag == _INTEGER and node.value == "1"):
            self._problem(node, f"version is {_shown(node)}; expected 1; write version: 1")

    def _entry(self, node: yaml.Node) -> ToolEntry | None:
        keys = self._mapping(node, "a tool", _TOOL_KEYS)
        if keys is None:
            return None
        name = self._string(keys.get("name"), "name")
        description = self._string(keys.get("description"), "description")
        if name is not None and not TOOL_NAME.fullmatch(name):
            what = f'name is "{name}"; expected 1 to 64 of the characters a-z A-Z 0-9 _ -; rename the tool'
            self._problem(keys["name"], what)
        if description is not None and len(description) > _MAX_DESCRIPTION:
            what = f"description has {len(description)} characters"
            self._problem(keys["description"], f"{what}; expected at most {_MAX_DESCRIPTION}; shorten it")
        if "callable" not in keys:
            self._problem(node, "callable is missing; expected callable: module:function; name the tool's function")
            return None
        reference = self._string(keys["callable"], "callable")
        if reference is None:
            return None
        match = _CALLABLE.fullmatch(reference)
        if match is None:
            what = f'callable is "{reference}"; expected module:function; write for example my_tools:greet'
            self._problem(keys["callable"], what)
            return None
        function = match["function"]
        if name is None and not TOOL_NAME.fullmatch(function):
            what = f'"{function}" cannot be a tool\'s name; expected a-z A-Z 0-9 _ -; add name:'
            self._problem(keys["callable"], what)
        return ToolEntry(match["module"], function, name or function, description, place(self._path, keys["callable"]))

    def _mapping(self, node: yaml.Node, what: str, allowed: tuple[str, ...]) -> dict[str, yaml.Node] | None:
        """The values of a mapping by key; None where it is no mapping. Other keys are noted as problems."""
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{what} is {_kind(node)}; expected the keys {', '.join(allowed)}; write key: value")
            return None
        keys: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in allowed:
                keys[name] = value
                continue
            near = get_close_matches(name, allowed, n=1) if name else []
            fix = f'did you mean "{near[0]}"?' if near else "remove it"
            shown = f'"{name}"' if name is not None else _kind(key)
            self._problem(key, f"unknown key {shown}; expected {', '.join(allowed)}; {fix}")
        return keys

    def _string(self, node: yaml.Node | None, key: str) -> str | None:
        """The text of a value, whitespace folded; None where it is missing or wrong."""
        if node is None:
            return None
        text = " ".join(node.value.split()) if isinstance(node, yaml.ScalarNode) and node.tag == _STRING else ""
        if not text:
            self._problem(node, f"{key} is {_shown(node)}; expected text; write it in quotes, or leave the key out")
            return None
        return text

    def _problem(self, node: yaml.Node, what: str) -> None:
        mark = node.start_mark
        self._found.append((mark.line, mark.column, f"{place(self._path, node)}: {what}"))


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return _shown(node)


def _shown(node: yaml.Node) -> str:
    """A value as an error quotes it: one line, not too long."""
    if not isinstance(node, yaml.ScalarNode):
        return _kind(node)
    text = " ".join(node.value.split())
    if not text:
        return "empty"
    text = text if len(text) <= 60 else f"{text[:60]}..."
    return f'"{text}"' if node.tag == _STRING else text
