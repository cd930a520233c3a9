"""Reads what a tools file says, with the files that it includes, as text: it must never import what the file names.

Every problem is found in one pass and reported at its line and column.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from toolchat.tools.callable_reference import CallableReference, CommandReference, parse_callable
from toolchat.tools.command_line import CommandError, CommandLine, script_of, words_of
from toolchat.tools.entry import MethodEntry, ToolEntry
from toolchat.tools.keywords import read_parameters
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.reading import Reads, check_servers, read_foreign, read_servers
from toolchat.tools.options import (
    OPTION_NAMES,
    OPTIONS,
    ByPattern,
    Environment,
    OptionError,
    check_not_own,
    read_json,
    read_text,
)
from toolchat.tools.packages import GROUP, Package, find_package, offering
from toolchat.tools.problems import Place, Problems, did_you_mean
from toolchat.tools.rules import NO_RULES
from toolchat.tools.toolbox import ToolOptions
from toolchat.tools.variables import home_sign, is_basic, looks_expanded, names_in
from toolchat.tools.yaml_file import (
    BOOLEAN,
    INTEGER,
    STRING,
    compose,
    duplicate_keys,
    json_value,
    misread,
    one_name,
    read_bytes,
    shown,
    with_merged,
)
from toolchat.wire.errors import UsageError

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""The names that Mistral's validators accept."""
MAX_DESCRIPTION = 1024
"""Characters."""

FILE_KEYS = ("version", "defaults", "tools", "mcp")
FREE_KEYS = "x-"
"""Begins the names of top-level keys that mean nothing themselves: what the file merges into its tools stands there."""
_SOURCES = ("callable", "command", "include", "package")
"""Keys that say where a tool comes from."""
_OWN_KEYS = {
    "callable": (
        "name",
        "description",
        "parameters",
        "arguments",
        "methods",
        "include",
        "exclude",
        "prefix",
        "instance",
    ),
    "command": ("name", "description", "parameters", "arguments", "stdin", "shell"),
    "package": ("include", "exclude", "prefix"),
    "include": ("exclude", "prefix"),
}
TOOL_KEYS = (
    *("callable", "name", "description", "parameters", "arguments", "methods", "include", "exclude", "prefix"),
    *("instance", "command", "stdin", "shell", "package", *OPTION_NAMES),
)
METHOD_KEYS = (
    *("name", "description", "parameters", "arguments"),
    *("approval", "timeout", "max_result_tokens", "effects", "untrusted"),
)
_OF_PYTHON = ("stateful", "untyped")
"""Options that a program of the system has no use for."""
_LEGAL = "1 to 64 of the characters a-z A-Z 0-9 _ -"
_PREFIX = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_MOST_INCLUDED = 100
_SPARE_WORDS = ("description", "parameters", "name", "methods")


@dataclass(frozen=True, slots=True)
class ToolsFile:
    """A tools file with what it includes; the entries that are switched off are left out."""

    path: Path
    entries: tuple[ToolEntry, ...]
    notices: tuple[str, ...] = ()
    """What is right and may not be meant, one line each."""
    included: Mapping[str, bytes] = field(default_factory=dict)
    """What each included file holds, by its path from the folder of the tools file."""
    packages: Mapping[str, Package] = field(default_factory=dict)
    """The packages that it names."""
    servers: tuple[McpServer, ...] = ()
    """Its MCP servers, and those of included files."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a tools file leads to, where it has been read already: nothing else is looked at then."""

    folder: Path
    """The tools file's, without links."""
    included: Mapping[str, bytes] | None = None
    packages: Mapping[str, Package] | None = None


def read_tools_file(path: Path, text: bytes | None = None) -> ToolsFile:
    """Read and check the file at `path`; `text` is what it holds, where it has been read already.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    file, problems = scan_tools_file(path, text)
    if problems:
        raise problems.error()
    return file


def scan_tools_file(path: Path, text: bytes | None = None, known: Known | None = None) -> tuple[ToolsFile, Problems]:
    """As `read_tools_file`, but with what could be read beside the problems, so that more can be looked for.

    Raises:
        UsageError: the file cannot be read at all, or is not YAML.
    """
    root = compose(path, text)
    problems = Problems(path)
    reader = _Reader(path, problems, known or Known(path.resolve().parent))
    entries = reader.file(root)
    servers = tuple(reader.servers)
    return ToolsFile(path, entries, tuple(reader.notices), reader.included, reader.packages, servers), problems


class _Reader:
    """Walks the nodes once, keeping what is right and noting what is wrong."""

    def __init__(self, path: Path, problems: Problems, known: Known) -> None:
        self._path = path
        self._problems = problems
        self._known = known
        self._including: list[str] = []
        self._at = ""
        """The folder of the file that is being read, from that of the tools file: "" or "./sub"."""
        self._count = 0
        self.notices: list[str] = []
        self.included: dict[str, bytes] = {}
        self.packages: dict[str, Package] = {}
        self.servers: list[McpServer] = []
        self._lent = Reads(problems, self._mapping, self._options, self._patterns, self._prefix, self._notice)

    def file(self, root: yaml.Node | None) -> tuple[ToolEntry, ...]:
        entries = tuple(replace(entry, order=order) for order, entry in enumerate(self._entries(root)))
        self._check_instances(entries)
        check_servers(self.servers, self._problems)
        return entries

    def _entries(self, root: yaml.Node | None) -> Iterator[ToolEntry]:
        if root is None:
            where = Place(1, 1, self._problems.file)
            self._problems.add(where, "the file is empty; expected version: 1 and a list of tools; add them")
            return
        for key, name in duplicate_keys(root):
            what = f'the key "{name}" stands here a second time; expected it once; remove one of the two'
            self._problems.add(key, what)
        for node, what in with_merged(root):
            self._problems.add(node, what)
        # A file of another program may itself be the tools file.
        if isinstance(root, yaml.MappingNode) and (foreign := read_foreign(root, self._lent)) is not None:
            self.servers += foreign
            return
        keys = self._mapping(root, "the file", FILE_KEYS, FREE_KEYS)
        if keys is None:
            return
        self._version(root, keys.get("version"))
        defaults: dict[str, Any] = {}
        if "defaults" in keys:
            nodes = self._mapping(keys["defaults"], "defaults", OPTION_NAMES)
            defaults = self._options(nodes or {})
        tools = keys.get("tools")
        if "mcp" in keys:
            self.servers += read_servers(keys["mcp"], self._lent, defaults)
        if tools is None and "mcp" in keys:
            return
        if tools is None:
            what = "tools is missing; expected a list; add tools: and below it - callable: module:function"
            self._problems.add(root, what)
            return
        if not isinstance(tools, yaml.SequenceNode):
            what = f"tools is {shown(tools)}; expected a list; begin each tool with - callable:"
            self._problems.add(tools, what)
            return
        for node in tools.value:
            yield from self._entry(node, defaults)

    def _version(self, root: yaml.Node, node: yaml.Node | None) -> None:
        if node is None:
            self._problems.add(root, "version is missing; expected version: 1; add it as the first line")
        elif not (isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and node.value == "1"):
            self._problems.add(node, f"version is {shown(node)}; expected 1; write version: 1")

    def _entry(self, node: yaml.Node, defaults: Mapping[str, Any]) -> Iterator[ToolEntry]:
        """The entries that one item of the list stands for; none where it is switched off, or names nothing."""
        before = self._problems.count
        # A bare "- module:function".
        keys: dict[str, yaml.Node] | None = {"callable": node}
        if not (isinstance(node, yaml.ScalarNode) and node.tag == STRING and ":" in node.value):
            keys = self._mapping(node, "a tool", TOOL_KEYS)
        if keys is None:
            return
        kind = next((key for key in _SOURCES if key in keys and (key != "include" or _is_path(keys[key]))), "callable")
        allowed = (kind, *_OWN_KEYS[kind], *(("enabled",) if kind == "include" else OPTION_NAMES))
        for key in keys:
            if key not in allowed or (kind == "command" and key in _OF_PYTHON):
                what = f"{key} stands beside {kind}; expected {', '.join(allowed)}; remove it"
                self._problems.add(keys[key], what)
        options = self._options({key: keys[key] for key in OPTION_NAMES if key in keys})
        if kind == "command":
            # Whoever allows functions by default has not looked at a program yet.
            rules = replace(defaults.get("rules", NO_RULES), allow=())
            defaults = {key: value for key, value in defaults.items() if key not in ("approval", *_OF_PYTHON)}
            defaults["rules"] = rules
        options = {**defaults, **options}
        enabled = options.pop("enabled", True)
        match kind:
            case "include":
                if enabled:
                    yield from self._include(keys)
            case "package":
                if enabled:
                    yield from self._package(keys, options)
            case _:
                entry = self._one(node, keys, options, before, command=kind == "command")
                if entry is not None and enabled:
                    yield entry

    def _one(
        self, node: yaml.Node, keys: Mapping[str, yaml.Node], options: dict[str, Any], before: int, *, command: bool
    ) -> ToolEntry | None:
        """The entry; `before` is how many problems there were before it."""
        line = self._command(keys) if command else None
        target: CallableReference | None
        if command:
            target = CommandReference(line.text, _program_name(line.program)) if line is not None else None
        else:
            target = self._target(node, keys.get("callable"))
        name, description = self._name(keys), self._description(keys)
        prefix = self._prefix(keys)
        if target is not None and name is None and not target.is_pattern:
            first = f"{prefix}{target.name}"
            if not TOOL_NAME.fullmatch(first):
                what = f'"{first}" cannot be a tool\'s name; expected {_LEGAL}; add name:'
                self._problems.add(keys["command" if command else "callable"], what)
        if target is not None and target.is_pattern and not command:
            for key in ("name", "description", "parameters", "methods", "instance", "arguments"):
                if key in keys:
                    what = f"{key} is given for {target.attribute}, which stands for several functions"
                    self._problems.add(
                        keys[key], f"{what}; expected it of one; name the function itself, or use prefix:"
                    )
        if command and description is None and "description" not in keys:
            what = "description is missing; expected one sentence for the model; add description:"
            self._problems.add(keys["command"], what)
        parameters = read_parameters(keys["parameters"], self._problems) if "parameters" in keys else {}
        places = {key: self._problems.place(value) for key, value in keys.items()}
        words: dict[str, str] = {}
        arguments = self._arguments(keys["arguments"], places, words) if "arguments" in keys else None
        methods, settings = self._methods(keys["methods"], places) if "methods" in keys else (None, {})
        patterns = {key: self._patterns(key, keys[key]) for key in ("include", "exclude") if key in keys}
        instance = self._text("instance", keys)
        self._hints({key: value for key, value in keys.items() if key in _SPARE_WORDS})
        if target is None:
            return None
        given = [arguments, *(one.arguments for one in settings.values())]
        return ToolEntry(
            target=target,
            name=name,
            description=description,
            place=places["command" if command else "callable"],
            options=_made_options(options, given),
            parameters=parameters,
            arguments=arguments,
            misread=words,
            methods=methods,
            settings=settings,
            include=patterns.get("include", ()),
            exclude=patterns.get("exclude", ()),
            prefix=prefix,
            instance=instance,
            command=line,
            places=places,
            sound=self._problems.count == before,
        )

    def _include(self, keys: Mapping[str, yaml.Node]) -> Iterator[ToolEntry]:
        """The entries of another tools file."""
        node = keys["include"]
        prefix, exclude = self._prefix(keys), self._patterns("exclude", keys["exclude"]) if "exclude" in keys else ()
        word = str(node.value)
        relative = os.path.normpath(os.path.join(self._at, word))  # noqa: PTH118
        if word.startswith(("/", "~")) or relative.startswith("../") or relative == "..":
            what = f"include is {shown(node)}; expected a file in the folder of the tools file or below it"
            self._problems.add(node, f"{what}; put it there")
            return
        around = [*self._including, os.path.basename(self._path)]  # noqa: PTH119
        if relative in around:
            self._problems.add(
                node, f"include is {shown(node)}, which includes this file; expected no circle; remove it"
            )
            return
        self._count += 1
        if self._count > _MOST_INCLUDED:
            self._problems.add(node, f"over {_MOST_INCLUDED} files are included; expected fewer; remove this one")
            return
        file = self._shown_folder / relative
        try:
            data = self._read(relative)
            root = compose(file, data)
        except UsageError as error:
            self._problems.add(node, f"include: {error}")
            return
        at, shown_file, before = self._at, self._problems.file, len(self.servers)
        self._including.append(relative)
        self._at, self._problems.file = os.path.dirname(relative), str(file)  # noqa: PTH120
        try:
            for entry in self._entries(root):
                name = entry.name or entry.target.name
                if not any(fnmatchcase(name, pattern) for pattern in exclude):
                    # Of a class or a pattern it is known later which names there are.
                    yield replace(entry, prefix=f"{prefix}{entry.prefix}", exclude=(*entry.exclude, *exclude))
        finally:
            self._at, self._problems.file = at, shown_file
            self._including.pop()
        kept = [one for one in self.servers[before:] if not any(fnmatchcase(one.name, word) for word in exclude)]
        self.servers[before:] = [replace(server, prefix=f"{prefix}{server.prefix}") for server in kept]

    @property
    def _shown_folder(self) -> Path:
        return self._known.folder if self._path.is_symlink() else self._path.parent

    def _read(self, relative: str) -> bytes:
        if relative not in self.included:
            if self._known.included is None:
                self.included[relative] = read_bytes(self._known.folder / relative)
            elif relative in self._known.included:
                self.included[relative] = self._known.included[relative]
            else:
                # Where it cannot be read, that is the reason.
                read_bytes(self._known.folder / relative)
                raise UsageError(f"{relative}: was not read with the tools file; say /reload, or start again")
        return self.included[relative]

    def _package(self, keys: Mapping[str, yaml.Node], options: dict[str, Any]) -> Iterator[ToolEntry]:
        """What an installed package offers."""
        node = keys["package"]
        prefix = self._prefix(keys)
        patterns = {key: self._patterns(key, keys[key]) for key in ("include", "exclude") if key in keys}
        name = self._text("package", keys)
        if name is None:
            return
        if name not in self.packages:
            known = self._known.packages
            found = find_package(name) if known is None else known.get(name)
            if found is None:
                what = f'there is no installed package "{name}"'
                self._problems.add(node, f"{what}; expected one; {did_you_mean(name, offering(), f'install {name}')}")
                return
            self.packages[name] = found
        places = {key: self._problems.place(value) for key, value in keys.items() if key not in ("include", "exclude")}
        points = self.packages[name].points
        if not points:
            what = f'the package "{name}" offers no tools: it has no entry points in the group {GROUP}'
            self._problems.add(node, f"{what}; expected some; name its functions with callable: module:function")
        for point, value in points:
            try:
                target = parse_callable(value if ":" in value else f"{value}:*")
            except OptionError as error:
                self._problems.add(node, f'the entry point {point} of the package "{name}": {error}')
                continue
            entry = ToolEntry(
                target=target,
                name=point if TOOL_NAME.fullmatch(point) and not target.is_pattern else None,
                description=None,
                place=places["package"],
                options=_made_options(options, ()),
                prefix=prefix,
                package=name,
                include=patterns.get("include", ()),
                exclude=patterns.get("exclude", ()),
                places=places,
            )
            if target.is_pattern or entry.takes(entry.name or target.name):
                yield entry if target.is_pattern else replace(entry, include=(), exclude=())

    def _command(self, keys: Mapping[str, yaml.Node]) -> CommandLine | None:
        node, shell = keys["command"], keys.get("shell")
        if shell is not None and not (isinstance(shell, yaml.ScalarNode) and shell.tag == BOOLEAN):
            self._problems.add(shell, f"shell is {shown(shell)}; expected true or false; write shell: true")
            return None
        stdin = keys.get("stdin")
        if stdin is not None and not (isinstance(stdin, yaml.ScalarNode) and stdin.tag == STRING):
            self._problems.add(stdin, f'stdin is {shown(stdin)}; expected text; write for example stdin: "{{text}}"')
            return None
        entered = stdin.value if stdin is not None else None
        try:
            if shell is not None and json_value(shell):
                if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
                    what = f"command is {shown(node)}; expected one line of text for the shell; write it as text"
                    self._problems.add(node, what)
                    return None
                return script_of(node.value, entered)
            words = self._words(node)
            for word in words:
                if home_sign(word):
                    self._notice(node, 'command holds "~", which is not expanded: it is no shell; write the whole path')
            return words_of(words, entered) if words else None
        except CommandError as error:
            self._problems.add(node, f"command: {error}")
            return None

    def _words(self, node: yaml.Node) -> list[str | list[str]]:
        if isinstance(node, yaml.ScalarNode) and node.tag == STRING:
            try:
                words: list[str | list[str]] = [*shlex.split(node.value)]
            except ValueError as error:
                self._problems.add(
                    node, f"command is {shown(node)}, which cannot be split into words: {error}; correct it"
                )
                return []
            if words:
                return words
        items = node.value if isinstance(node, yaml.SequenceNode) else []
        found: list[str | list[str]] = []
        for item in items:
            inner = item.value if isinstance(item, yaml.SequenceNode) and found else [item]
            texts = [one.value for one in inner if isinstance(one, yaml.ScalarNode) and one.tag in (STRING, INTEGER)]
            if len(texts) != len(inner) or not texts:
                what = f"command holds {shown(item)}; expected a word, or a list of words that go together"
                self._problems.add(item, f"{what}; put it in quotes")
                return []
            found.append(texts if isinstance(item, yaml.SequenceNode) else texts[0])
        if not found:
            what = f"command is {shown(node)}; expected a program and its arguments"
            self._problems.add(node, f'{what}; write for example [git, log, -n, "{{count}}"]')
        return found

    def _target(self, tool: yaml.Node, node: yaml.Node | None) -> CallableReference | None:
        if node is None:
            what = "callable is missing; expected callable: module:function; name the tool's function"
            self._problems.add(tool, what)
            return None
        try:
            target = parse_callable(read_text("callable", node))
        except OptionError as error:
            self._problems.add(node, str(error))
            return None
        if target.file is None or not self._at:
            return target
        # An included file's own "./x.py" lies beside that file.
        return CallableReference(f"./{self._at}/{target.where.removeprefix('./')}", target.attribute)

    def _name(self, keys: Mapping[str, yaml.Node]) -> str | None:
        name = self._text("name", keys)
        if name is not None and not TOOL_NAME.fullmatch(name):
            self._problems.add(keys["name"], f'name is "{name}"; expected {_LEGAL}; rename the tool')
            return None
        return name

    def _prefix(self, keys: Mapping[str, yaml.Node]) -> str:
        prefix = self._text("prefix", keys)
        if prefix is not None and not _PREFIX.fullmatch(prefix):
            what = f'prefix is "{prefix}"; expected 1 to 63 of the characters a-z A-Z 0-9 _ -; correct it'
            self._problems.add(keys["prefix"], what)
            return ""
        return prefix or ""

    def _description(self, keys: Mapping[str, yaml.Node]) -> str | None:
        description = self._text("description", keys)
        if description is not None and len(description) > MAX_DESCRIPTION:
            what = f"description has {len(description)} characters; expected at most {MAX_DESCRIPTION}; shorten it"
            self._problems.add(keys["description"], what)
        return description

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
                value = option.read(option.name, nodes[option.name])
                if isinstance(value, ByPattern):
                    values |= {option.name: value.otherwise, "rules": value.rules}
                else:
                    values[option.name] = value
            except OptionError as error:
                self._problems.add(error.node or nodes[option.name], str(error))
        if "approval" in values:
            # A word in the place of the defaults' rules ends them.
            values.setdefault("rules", NO_RULES)
        return values

    def _arguments(self, node: yaml.Node, places: dict[str, Place], words: dict[str, str]) -> dict[str, Any]:
        """The values by name; `words` is given those that YAML reads as true or false, as they are written."""
        if not isinstance(node, yaml.MappingNode):
            what = f"arguments is {shown(node)}; expected a mapping; write name: value for each"
            self._problems.add(node, f"{what} of the arguments")
            return {}
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = one_name(str(key.value)) if isinstance(key, yaml.ScalarNode) else ""
            if not name.isidentifier():
                what = f"arguments holds the key {shown(key)}; expected an argument's name; correct it"
                self._problems.add(key, what)
                continue
            try:
                given = read_json(name, value, word=True)
                if misread(value) is not None:
                    words[name] = str(value.value)
                for variable in names_in(given):
                    check_not_own(name, variable, value)
                values[name] = given
                places[f"arguments.{name}"] = self._problems.place(value)
                if home_sign(given):
                    self._notice(value, f'{name} holds "~", which is not expanded here; write ${{HOME}} for your home')
            except OptionError as error:
                self._problems.add(error.node or value, str(error))
        return values

    def _methods(
        self, node: yaml.Node, places: dict[str, Place]
    ) -> tuple[tuple[str, ...] | None, dict[str, MethodEntry]]:
        """The methods that are chosen, and what is said of single ones."""
        if isinstance(node, yaml.MappingNode) and node.value:
            return None, self._settings(node, places)
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            what = "an empty list" if isinstance(node, yaml.SequenceNode) else shown(node)
            self._problems.add(node, f"methods is {what}; expected a list of names; write methods: [search, add]")
            return (), {}
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
                places[f"methods.{name}"] = self._problems.place(item)
        return tuple(names), {}

    def _settings(self, node: yaml.MappingNode, places: dict[str, Place]) -> dict[str, MethodEntry]:
        settings: dict[str, MethodEntry] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name.isidentifier() or name.startswith("__"):
                self._problems.add(key, f"methods holds {shown(key)}; expected a method's name; correct it")
                continue
            keys = self._mapping(value, name, METHOD_KEYS)
            if keys is None:
                continue
            places[f"methods.{name}"] = self._problems.place(key)
            own = {word: self._problems.place(inner) for word, inner in keys.items()}
            words: dict[str, str] = {}
            settings[name] = MethodEntry(
                name=self._name(keys),
                description=self._description(keys),
                options=self._options({word: keys[word] for word in OPTION_NAMES if word in keys}),
                parameters=read_parameters(keys["parameters"], self._problems) if "parameters" in keys else {},
                arguments=self._arguments(keys["arguments"], own, words) if "arguments" in keys else None,
                misread=words,
                places=own,
            )
        return settings

    def _patterns(self, key: str, node: yaml.Node) -> tuple[str, ...]:
        items = node.value if isinstance(node, yaml.SequenceNode) else []
        words = [str(item.value) if isinstance(item, yaml.ScalarNode) and item.tag == STRING else "" for item in items]
        if not words or not all(words):
            what = f"{key} is {shown(node)}" if not words else f"{key} holds what is no name"
            self._problems.add(node, f"{what}; expected a list of names, in which * stands for any; write [get_*]")
            return ()
        return tuple(words)

    def _check_instances(self, entries: tuple[ToolEntry, ...]) -> None:
        first: dict[str, ToolEntry] = {}
        for entry in entries:
            if entry.instance is None:
                continue
            known = first.setdefault(entry.instance, entry)
            same = (
                known.options.env,
                known.options.sets,
                known.options.given,
                known.options.privileges,
                known.options.cwd,
            )
            own = (
                entry.options.env,
                entry.options.sets,
                entry.options.given,
                entry.options.privileges,
                entry.options.cwd,
            )
            given = entry.arguments in (None, known.arguments)
            # Without arguments of its own it shares those of the first, and so the variables in them.
            if not given or (
                same != own and not (entry.arguments is None and same[:2] + same[3:] == own[:2] + own[3:])
            ):
                what = f'the instance "{entry.instance}" is made with other arguments, env, cwd or privileges'
                where = self._problems.where(known.place)
                self._problems.add(
                    entry.places["instance"], f"{what} at {where}; expected the same; correct one of them"
                )

    def _hints(self, keys: Mapping[str, yaml.Node]) -> None:
        """Note what looks as if it were to be expanded, and is not."""
        for key, node in keys.items():
            pending = [node]
            seen: set[int] = set()
            while pending:
                inner = pending.pop()
                if id(inner) in seen:
                    continue
                seen.add(id(inner))
                if isinstance(inner, yaml.MappingNode):
                    pending += [value for name, value in inner.value if getattr(name, "value", "") != "arguments"]
                elif isinstance(inner, yaml.SequenceNode):
                    pending += inner.value
                elif inner.tag == STRING and (sign := looks_expanded(inner.value)) is not None:
                    where = "arguments, env and cwd" if sign != "~" else "cwd"
                    self._notice(inner, f'"{sign}" in {key} is not expanded; it is in {where} only')

    def _notice(self, node: yaml.Node, text: str) -> None:
        self.notices.append(f"{self._problems.where(self._problems.place(node))}: {text}")

    def _mapping(
        self, node: yaml.Node, what: str, allowed: tuple[str, ...], free: str | None = None
    ) -> dict[str, yaml.Node] | None:
        """The values of a mapping by key; None where it is no mapping. Other keys are noted as problems, but for those
        that begin with `free`."""
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
            if free is not None and str(name).startswith(free):
                continue
            fix = did_you_mean(name, allowed, "remove it") if name else "remove it"
            quoted = f'"{name}"' if name is not None else shown(key)
            self._problems.add(key, f"unknown key {quoted}; expected {expected}; {fix}")
        return keys


def _is_path(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _program_name(program: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", program.rpartition("/")[2].partition(".")[0])
    return name or "command"


def _made_options(options: Mapping[str, Any], arguments: Any) -> ToolOptions:
    """The options with the variables that they and the arguments name."""
    rest = dict(options)
    environment = rest.pop("env", Environment())
    named = {
        name
        for value in (*arguments, [text for _, text in environment.values], rest.get("cwd"))
        for name in names_in(value)
    }
    given = tuple(sorted(name for name in named if not is_basic(name)))
    return replace(ToolOptions(), env=environment.names, sets=environment.values, given=given, **rest)
