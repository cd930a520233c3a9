"""The keys of a tools file and what each may hold: checks the value of a key, and notes what is wrong with it.

Knows nothing of the order or the nesting of entries, see `tools_file`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from toolchat.tools.command_line import CommandError, CommandLine, script_of, words_of
from toolchat.tools.entry import MethodEntry
from toolchat.tools.keywords import read_parameters
from toolchat.tools.options import OPTION_NAMES, OPTIONS, ByPattern, OptionError, check_not_own, read_json, read_text
from toolchat.tools.problems import Place, Problems, did_you_mean
from toolchat.tools.rules import NO_RULES
from toolchat.tools.variables import home_sign, looks_expanded, names_in
from toolchat.tools.yaml_file import BOOLEAN, INTEGER, STRING, json_value, misread, one_name, shown

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""The names that Mistral's validators accept."""
MAX_DESCRIPTION = 1024
"""Characters."""

FILE_KEYS = ("version", "defaults", "tools", "mcp")
FREE_KEYS = "x-"
"""Begins the names of top-level keys that mean nothing themselves: what the file merges into its tools stands there."""
SOURCES = ("callable", "command", "include", "package")
"""Keys that say where a tool comes from."""
OWN_KEYS = {
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
NOT_OF_COMMANDS = ("stateful", "untyped")
"""Options that a program of the system has no use for."""
LEGAL_NAME = "1 to 64 of the characters a-z A-Z 0-9 _ -"
_PREFIX = re.compile(r"[a-zA-Z0-9_-]{1,63}")


class KeyReader:
    """Gives what is right. Notes what is wrong in `problems`, and what is right and may not be meant in `notices`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.notices: list[str] = []

    def command(self, keys: Mapping[str, yaml.Node]) -> CommandLine | None:
        node, shell = keys["command"], keys.get("shell")
        if shell is not None and not (isinstance(shell, yaml.ScalarNode) and shell.tag == BOOLEAN):
            self.problems.add(shell, f"shell is {shown(shell)}; expected true or false; write shell: true")
            return None
        stdin = keys.get("stdin")
        if stdin is not None and not (isinstance(stdin, yaml.ScalarNode) and stdin.tag == STRING):
            self.problems.add(stdin, f'stdin is {shown(stdin)}; expected text; write for example stdin: "{{text}}"')
            return None
        entered = stdin.value if stdin is not None else None
        try:
            if shell is not None and json_value(shell):
                if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
                    what = f"command is {shown(node)}; expected one line of text for the shell; write it as text"
                    self.problems.add(node, what)
                    return None
                return script_of(node.value, entered)
            words = self._words(node)
            for word in words:
                if home_sign(word):
                    self.notice(node, 'command holds "~", which is not expanded: it is no shell; write the whole path')
            return words_of(words, entered) if words else None
        except CommandError as error:
            self.problems.add(node, f"command: {error}")
            return None

    def _words(self, node: yaml.Node) -> list[str | list[str]]:
        if isinstance(node, yaml.ScalarNode) and node.tag == STRING:
            try:
                words: list[str | list[str]] = [*shlex.split(node.value)]
            except ValueError as error:
                self.problems.add(
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
                self.problems.add(item, f"{what}; put it in quotes")
                return []
            found.append(texts if isinstance(item, yaml.SequenceNode) else texts[0])
        if not found:
            what = f"command is {shown(node)}; expected a program and its arguments"
            self.problems.add(node, f'{what}; write for example [git, log, -n, "{{count}}"]')
        return found

    def name(self, keys: Mapping[str, yaml.Node]) -> str | None:
        name = self.text("name", keys)
        if name is not None and not TOOL_NAME.fullmatch(name):
            self.problems.add(keys["name"], f'name is "{name}"; expected {LEGAL_NAME}; rename the tool')
            return None
        return name

    def prefix(self, keys: Mapping[str, yaml.Node]) -> str:
        prefix = self.text("prefix", keys)
        if prefix is not None and not _PREFIX.fullmatch(prefix):
            what = f'prefix is "{prefix}"; expected 1 to 63 of the characters a-z A-Z 0-9 _ -; correct it'
            self.problems.add(keys["prefix"], what)
            return ""
        return prefix or ""

    def description(self, keys: Mapping[str, yaml.Node]) -> str | None:
        description = self.text("description", keys)
        if description is not None and len(description) > MAX_DESCRIPTION:
            what = f"description has {len(description)} characters; expected at most {MAX_DESCRIPTION}; shorten it"
            self.problems.add(keys["description"], what)
        return description

    def text(self, key: str, keys: Mapping[str, yaml.Node]) -> str | None:
        if key not in keys:
            return None
        try:
            return read_text(key, keys[key])
        except OptionError as error:
            self.problems.add(keys[key], str(error))
            return None

    def options(self, nodes: Mapping[str, yaml.Node]) -> dict[str, Any]:
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
                self.problems.add(error.node or nodes[option.name], str(error))
        if "approval" in values:
            # A word in the place of the defaults' rules ends them.
            values.setdefault("rules", NO_RULES)
        return values

    def arguments(self, node: yaml.Node, places: dict[str, Place], words: dict[str, str]) -> dict[str, Any]:
        """The values by name; `words` is given those that YAML reads as true or false, as they are written."""
        if not isinstance(node, yaml.MappingNode):
            what = f"arguments is {shown(node)}; expected a mapping; write name: value for each"
            self.problems.add(node, f"{what} of the arguments")
            return {}
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = one_name(str(key.value)) if isinstance(key, yaml.ScalarNode) else ""
            if not name.isidentifier():
                what = f"arguments holds the key {shown(key)}; expected an argument's name; correct it"
                self.problems.add(key, what)
                continue
            try:
                given = read_json(name, value, word=True)
                if misread(value) is not None:
                    words[name] = str(value.value)
                for variable in names_in(given):
                    check_not_own(name, variable, value)
                values[name] = given
                places[f"arguments.{name}"] = self.problems.place(value)
                if home_sign(given):
                    self.notice(value, f'{name} holds "~", which is not expanded here; write ${{HOME}} for your home')
            except OptionError as error:
                self.problems.add(error.node or value, str(error))
        return values

    def methods(
        self, node: yaml.Node, places: dict[str, Place]
    ) -> tuple[tuple[str, ...] | None, dict[str, MethodEntry]]:
        """The methods that are chosen, and what is said of single ones."""
        if isinstance(node, yaml.MappingNode) and node.value:
            return None, self._settings(node, places)
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            what = "an empty list" if isinstance(node, yaml.SequenceNode) else shown(node)
            self.problems.add(node, f"methods is {what}; expected a list of names; write methods: [search, add]")
            return (), {}
        names: list[str] = []
        for item in node.value:
            name = one_name(str(item.value)) if isinstance(item, yaml.ScalarNode) else ""
            if not name.isidentifier() or name.startswith("__"):
                self.problems.add(item, f"methods holds {shown(item)}; expected a method's name; correct it")
            elif name in names:
                what = f'methods holds "{name}" a second time; expected it once; remove one of the two'
                self.problems.add(item, what)
            else:
                names.append(name)
                places[f"methods.{name}"] = self.problems.place(item)
        return tuple(names), {}

    def _settings(self, node: yaml.MappingNode, places: dict[str, Place]) -> dict[str, MethodEntry]:
        settings: dict[str, MethodEntry] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name.isidentifier() or name.startswith("__"):
                self.problems.add(key, f"methods holds {shown(key)}; expected a method's name; correct it")
                continue
            keys = self.mapping(value, name, METHOD_KEYS)
            if keys is None:
                continue
            places[f"methods.{name}"] = self.problems.place(key)
            own = {word: self.problems.place(inner) for word, inner in keys.items()}
            words: dict[str, str] = {}
            settings[name] = MethodEntry(
                name=self.name(keys),
                description=self.description(keys),
                options=self.options({word: keys[word] for word in OPTION_NAMES if word in keys}),
                parameters=read_parameters(keys["parameters"], self.problems) if "parameters" in keys else {},
                arguments=self.arguments(keys["arguments"], own, words) if "arguments" in keys else None,
                misread=words,
                places=own,
            )
        return settings

    def patterns(self, key: str, node: yaml.Node) -> tuple[str, ...]:
        items = node.value if isinstance(node, yaml.SequenceNode) else []
        words = [str(item.value) if isinstance(item, yaml.ScalarNode) and item.tag == STRING else "" for item in items]
        if not words or not all(words):
            what = f"{key} is {shown(node)}" if not words else f"{key} holds what is no name"
            self.problems.add(node, f"{what}; expected a list of names, in which * stands for any; write [get_*]")
            return ()
        return tuple(words)

    def hints(self, keys: Mapping[str, yaml.Node]) -> None:
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
                    self.notice(inner, f'"{sign}" in {key} is not expanded; it is in {where} only')

    def notice(self, node: yaml.Node, text: str) -> None:
        self.notices.append(f"{self.problems.where(self.problems.place(node))}: {text}")

    def mapping(
        self, node: yaml.Node, what: str, allowed: tuple[str, ...], free: str | None = None
    ) -> dict[str, yaml.Node] | None:
        """The values of a mapping by key; None where it is no mapping. Other keys are noted as problems, but for those
        that begin with `free`."""
        expected = ", ".join(allowed)
        if not isinstance(node, yaml.MappingNode):
            self.problems.add(node, f"{what} is {shown(node)}; expected the keys {expected}; write key: value")
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
            self.problems.add(key, f"unknown key {quoted}; expected {expected}; {fix}")
        return keys
