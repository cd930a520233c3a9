"""Reads what a tools file says, with the files that it includes, as text: it must never import what the file names.

Every problem is found in one pass and reported at its line and column.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from toolchat.tools.entry import CallableReference, CommandReference, ToolEntry, parse_callable
from toolchat.tools.file_keys import (
    FILE_KEYS,
    FREE_KEYS,
    LEGAL_NAME,
    NOT_OF_COMMANDS,
    OWN_KEYS,
    SOURCES,
    TOOL_KEYS,
    TOOL_NAME,
    KeyReader,
)
from toolchat.tools.installed import GROUP, Package, find_package, offering
from toolchat.tools.keywords import read_parameters
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.reading import check_servers, read_foreign, read_servers
from toolchat.tools.options import (
    OPTION_NAMES,
    Environment,
    OptionError,
    read_text,
)
from toolchat.tools.problems import Place, Problems, did_you_mean
from toolchat.tools.rules import NO_RULES
from toolchat.tools.toolbox import ToolOptions
from toolchat.tools.variables import is_basic, names_in
from toolchat.tools.yaml_file import (
    INTEGER,
    STRING,
    compose,
    duplicate_keys,
    read_bytes,
    shown,
    with_merged,
)
from toolchat.wire.errors import UsageError

_MOST_INCLUDED = 100
_SPARE_WORDS = ("description", "parameters", "name", "methods")
"""Keys in which nothing is expanded."""


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
        self._values = KeyReader(problems)
        self._known = known
        self._including: list[str] = []
        self._at = ""
        """The folder of the file that is being read, from that of the tools file: "" or "./sub"."""
        self._count = 0
        self.included: dict[str, bytes] = {}
        self.packages: dict[str, Package] = {}
        self.servers: list[McpServer] = []

    @property
    def notices(self) -> list[str]:
        return self._values.notices

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
        if isinstance(root, yaml.MappingNode) and (foreign := read_foreign(root, self._values)) is not None:
            self.servers += foreign
            return
        keys = self._values.mapping(root, "the file", FILE_KEYS, FREE_KEYS)
        if keys is None:
            return
        self._version(root, keys.get("version"))
        defaults: dict[str, Any] = {}
        if "defaults" in keys:
            nodes = self._values.mapping(keys["defaults"], "defaults", OPTION_NAMES)
            defaults = self._values.options(nodes or {})
        tools = keys.get("tools")
        if "mcp" in keys:
            self.servers += read_servers(keys["mcp"], self._values, defaults)
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
            keys = self._values.mapping(node, "a tool", TOOL_KEYS)
        if keys is None:
            return
        kind = next((key for key in SOURCES if key in keys and (key != "include" or _is_path(keys[key]))), "callable")
        allowed = (kind, *OWN_KEYS[kind], *(("enabled",) if kind == "include" else OPTION_NAMES))
        for key in keys:
            if key not in allowed or (kind == "command" and key in NOT_OF_COMMANDS):
                what = f"{key} stands beside {kind}; expected {', '.join(allowed)}; remove it"
                self._problems.add(keys[key], what)
        options = self._values.options({key: keys[key] for key in OPTION_NAMES if key in keys})
        if kind == "command":
            # Whoever allows functions by default has not looked at a program yet.
            rules = replace(defaults.get("rules", NO_RULES), allow=())
            defaults = {key: value for key, value in defaults.items() if key not in ("approval", *NOT_OF_COMMANDS)}
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
        line = self._values.command(keys) if command else None
        target: CallableReference | None
        if command:
            target = CommandReference.of(line) if line is not None else None
        else:
            target = self._target(node, keys.get("callable"))
        name, description = self._values.name(keys), self._values.description(keys)
        prefix = self._values.prefix(keys)
        if target is not None and name is None and not target.is_pattern:
            first = f"{prefix}{target.name}"
            if not TOOL_NAME.fullmatch(first):
                what = f'"{first}" cannot be a tool\'s name; expected {LEGAL_NAME}; add name:'
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
        arguments = self._values.arguments(keys["arguments"], places, words) if "arguments" in keys else None
        methods, settings = self._values.methods(keys["methods"], places) if "methods" in keys else (None, {})
        patterns = {key: self._values.patterns(key, keys[key]) for key in ("include", "exclude") if key in keys}
        instance = self._values.text("instance", keys)
        self._values.hints({key: value for key, value in keys.items() if key in _SPARE_WORDS})
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
        prefix, exclude = (
            self._values.prefix(keys),
            self._values.patterns("exclude", keys["exclude"]) if "exclude" in keys else (),
        )
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
        prefix = self._values.prefix(keys)
        patterns = {key: self._values.patterns(key, keys[key]) for key in ("include", "exclude") if key in keys}
        name = self._values.text("package", keys)
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


def _is_path(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


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
