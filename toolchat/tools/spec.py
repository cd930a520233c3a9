"""Reads what a tools file says, as text: it must never import what the file names.

Every problem is found in one pass and reported at its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from toolchat.tools.callable_reference import CallableReference, parse_callable
from toolchat.tools.keywords import ParameterEntry, read_parameters
from toolchat.tools.options import OPTION_NAMES, OPTIONS, OptionError, read_json, read_text
from toolchat.tools.problems import Place, Problems, did_you_mean
from toolchat.tools.toolbox import ToolOptions
from toolchat.tools.yaml_file import INTEGER, compose, duplicate_keys, one_name, shown


def sample_tools_path() -> Path:
    """The tools file that is shipped with toolchat."""
    return Path(str(files("toolchat.samples") / "tools.yaml"))


TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""The names that Mistral's validators accept."""
MAX_DESCRIPTION = 1024
"""Characters."""

FILE_KEYS = ("version", "defaults", "tools")
TOOL_KEYS = ("callable", "name", "description", "parameters", "arguments", "methods", *OPTION_NAMES)
_LEGAL = "1 to 64 of the characters a-z A-Z 0-9 _ -"


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One entry of the list as the file gives it, before anything is imported."""

    target: CallableReference
    name: str | None
    """What the model calls it; None for the function's own name. Of a class: what its methods' names begin with."""
    description: str | None
    """None where the docstring is to serve."""
    place: Place
    """Of the callable's name."""
    options: ToolOptions = field(default_factory=ToolOptions)
    parameters: Mapping[str, ParameterEntry] = field(default_factory=dict)
    arguments: Mapping[str, Any] | None = None
    """Of the constructor, where the callable is a class."""
    methods: tuple[str, ...] | None = None
    """Of the class, those that are tools; None for all public ones."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of the values of the keys that the entry has itself, and of each item as "arguments.NAME", "methods.NAME"."""
    sound: bool = True
    """Whether nothing in it is wrong; where something is, what depends on the whole of it is not checked further."""

    @property
    def callable_ref(self) -> str:
        return self.target.text

    def name_of(self, reference: str) -> str | None:
        """The name of the tool that this entry makes of a callable, or of a method of one; None where it makes none."""
        method = reference.removeprefix(f"{self.callable_ref}.")
        if reference == self.callable_ref:
            return self.name or self.target.name
        if method == reference:
            return None
        return method if self.name is None else f"{self.name}_{method}"

    @property
    def is_sample(self) -> bool:
        """Whether the callable is one of the sample tools."""
        return self.target.is_sample

    @property
    def from_samples(self) -> bool:
        """Whether the callable is said to be in the samples' package."""
        return self.target.from_samples


@dataclass(frozen=True, slots=True)
class ToolsFile:
    """A tools file; the entries that are switched off are left out."""

    path: Path
    entries: tuple[ToolEntry, ...]


def read_tools_file(path: Path, text: bytes | None = None) -> ToolsFile:
    """Read and check the file at `path`; `text` is what it holds, where it has been read already.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    file, problems = scan_tools_file(path, text)
    if problems:
        raise problems.error()
    return file


def scan_tools_file(path: Path, text: bytes | None = None) -> tuple[ToolsFile, Problems]:
    """As `read_tools_file`, but with what could be read beside the problems, so that more can be looked for.

    Raises:
        UsageError: the file cannot be read at all, or is not YAML.
    """
    root = compose(path, text)
    problems = Problems(path)
    entries = _Reader(problems).file(root)
    return ToolsFile(path, entries), problems


class _Reader:
    """Walks the nodes once, keeping what is right and noting what is wrong."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def file(self, root: yaml.Node | None) -> tuple[ToolEntry, ...]:
        if root is None:
            self._problems.add(Place(1, 1), "the file is empty; expected version: 1 and a list of tools; add them")
            return ()
        for key, name in duplicate_keys(root):
            what = f'the key "{name}" stands here a second time; expected it once; remove one of the two'
            self._problems.add(key, what)
        keys = self._mapping(root, "the file", FILE_KEYS)
        if keys is None:
            return ()
        self._version(root, keys.get("version"))
        defaults: dict[str, Any] = {}
        if "defaults" in keys:
            nodes = self._mapping(keys["defaults"], "defaults", OPTION_NAMES)
            defaults = self._options(nodes or {})
        tools = keys.get("tools")
        if tools is None:
            what = "tools is missing; expected a list; add tools: and below it - callable: module:function"
            self._problems.add(root, what)
            return ()
        if not isinstance(tools, yaml.SequenceNode):
            what = f"tools is {shown(tools)}; expected a list; begin each tool with - callable:"
            self._problems.add(tools, what)
            return ()
        entries = [self._entry(node, defaults) for node in tools.value]
        return tuple(entry for entry in entries if entry is not None)

    def _version(self, root: yaml.Node, node: yaml.Node | None) -> None:
        if node is None:
            self._problems.add(root, "version is missing; expected version: 1; add it as the first line")
        elif not (isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and node.value == "1"):
            self._problems.add(node, f"version is {shown(node)}; expected 1; write version: 1")

    def _entry(self, node: yaml.Node, defaults: Mapping[str, Any]) -> ToolEntry | None:
        """The entry; None where it is switched off, or names no callable."""
        before = self._problems.count
        keys = self._mapping(node, "a tool", TOOL_KEYS)
        if keys is None:
            return None
        target = self._target(node, keys.get("callable"))
        name = self._text("name", keys)
        description = self._text("description", keys)
        if name is not None and not TOOL_NAME.fullmatch(name):
            self._problems.add(keys["name"], f'name is "{name}"; expected {_LEGAL}; rename the tool')
            name = None
        elif name is None and target is not None and not TOOL_NAME.fullmatch(target.name):
            what = f'"{target.name}" cannot be a tool\'s name; expected {_LEGAL}; add name:'
            self._problems.add(keys["callable"], what)
        if description is not None and len(description) > MAX_DESCRIPTION:
            what = f"description has {len(description)} characters; expected at most {MAX_DESCRIPTION}; shorten it"
            self._problems.add(keys["description"], what)
        parameters = read_parameters(keys["parameters"], self._problems) if "parameters" in keys else {}
        places = {key: Place.of(value) for key, value in keys.items()}
        arguments = self._arguments(keys["arguments"], places) if "arguments" in keys else None
        methods = self._methods(keys["methods"], places) if "methods" in keys else None
        options = {**defaults, **self._options({key: keys[key] for key in OPTION_NAMES if key in keys})}
        if not options.pop("enabled", True) or target is None:
            return None
        return ToolEntry(
            target=target,
            name=name,
            description=description,
            place=places["callable"],
            options=replace(ToolOptions(), **options),
            parameters=parameters,
            arguments=arguments,
            methods=methods,
            places=places,
            sound=self._problems.count == before,
        )

    def _target(self, tool: yaml.Node, node: yaml.Node | None) -> CallableReference | None:
        if node is None:
            what = "callable is missing; expected callable: module:function; name the tool's function"
            self._problems.add(tool, what)
            return None
        try:
            return parse_callable(read_text("callable", node))
        except OptionError as error:
            self._problems.add(node, str(error))
            return None

    def _text(self, key: str, keys: Mapping[str, yaml.Node]) -> str | None:
        if key not in keys:
            return None
        try:
            return read_text(key, keys[key])
        except OptionError as error:
            self._problems.add(keys[key], str(error))
            return None

    def _options(self, nodes: Mapping[str, yaml.Node]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for option in OPTIONS:
            if option.name not in nodes:
                continue
            try:
                values[option.name] = option.read(option.name, nodes[option.name])
            except OptionError as error:
                self._problems.add(error.node or nodes[option.name], str(error))
        return values

    def _arguments(self, node: yaml.Node, places: dict[str, Place]) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            what = f"arguments is {shown(node)}; expected a mapping; write name: value for each"
            self._problems.add(node, f"{what} of the class's arguments")
            return {}
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = one_name(str(key.value)) if isinstance(key, yaml.ScalarNode) else ""
            if not name.isidentifier():
                what = f"arguments holds the key {shown(key)}; expected an argument's name; correct it"
                self._problems.add(key, what)
                continue
            try:
                values[name] = read_json(name, value)
                places[f"arguments.{name}"] = Place.of(value)
            except OptionError as error:
                self._problems.add(error.node or value, str(error))
        return values

    def _methods(self, node: yaml.Node, places: dict[str, Place]) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            what = "an empty list" if isinstance(node, yaml.SequenceNode) else shown(node)
            self._problems.add(node, f"methods is {what}; expected a list of names; write methods: [search, add]")
            return ()
        names: list[str] = []
        for item in node.value:
            name = one_name(str(item.value)) if isinstance(item, yaml.ScalarNode) else ""
            if not name.isidentifier() or name.startswith("__"):
                self._problems.add(item, f"methods holds {shown(item)}; expected a method's name; correct it")
            elif name in names:
                what = f'methods holds "{name}" a second time; expected it once; remove one of the two'
                self._problems.add(item, what)
            else:
                names.append(name)
                places[f"methods.{name}"] = Place.of(item)
        return tuple(names)

    def _mapping(self, node: yaml.Node, what: str, allowed: tuple[str, ...]) -> dict[str, yaml.Node] | None:
        """The values of a mapping by key; None where it is no mapping. Other keys are noted as problems."""
        expected = ", ".join(allowed)
        if not isinstance(node, yaml.MappingNode):
            self._problems.add(node, f"{what} is {shown(node)}; expected the keys {expected}; write key: value")
            return None
        keys: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in allowed:
                keys.setdefault(str(name), value)
                continue
            fix = did_you_mean(name, allowed, "remove it") if name else "remove it"
            quoted = f'"{name}"' if name is not None else shown(key)
            self._problems.add(key, f"unknown key {quoted}; expected {expected}; {fix}")
        return keys
