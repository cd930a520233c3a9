"""The options of a tool in a tools file: how each is written, what it may be, and how an editor explains it.

The one source of both the reader and the JSON Schema of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from toolchat.tools.argument_patterns import Pattern
from toolchat.tools.problems import did_you_mean
from toolchat.tools.rules import Rule, Rules
from toolchat.tools.toolbox import MIB, Approval, Privileges, Untyped
from toolchat.tools.variables import OWN_PREFIX, VARIABLE, names_in
from toolchat.tools.yaml_file import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    NULL,
    STRING,
    NotJsonError,
    json_value,
    misread,
    scalars,
    shown,
)

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>ms|s|sec|m|min|h)?")
_SECONDS = {None: "1", "ms": "0.001", "s": "1", "sec": "1", "m": "60", "min": "60", "h": "3600"}
_MAX_SECONDS = 24 * 3600
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>B|[KMGT]i?B)?")
_FACTORS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_MAX_MEMORY = 2**50
_MIN_TOKENS = 32
# What people write for these words; YAML reads some of them as true and false.
_APPROVAL_WORDS = {
    **dict.fromkeys(("yes", "true", "on", "always", "auto", "allowed"), "allow"),
    **dict.fromkeys(("no", "false", "off", "never", "denied"), "deny"),
    **dict.fromkeys(("prompt", "confirm", "manual"), "ask"),
}


class OptionError(Exception):
    """A value that an option cannot have: "what is wrong; what was expected; what to do"."""

    def __init__(self, message: str, node: yaml.Node | None = None) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True, slots=True)
class Option:
    """One key of `defaults` and of a tool."""

    name: str
    read: Callable[[str, yaml.Node], Any]
    """From the key and its node to the value; raises OptionError."""
    schema: dict[str, Any]
    """A JSON Schema, with the description that an editor shows."""


def read_text(key: str, node: yaml.Node) -> str:
    """Text of one line: whitespace folded."""
    text = " ".join(node.value.split()) if isinstance(node, yaml.ScalarNode) and node.tag == STRING else ""
    if not text:
        raise OptionError(f"{key} is {shown(node)}; expected text; write it in quotes, or leave the key out")
    return text


@dataclass(frozen=True, slots=True)
class ByPattern:
    """What `approval` says as a mapping."""

    rules: Rules
    otherwise: Approval
    """Of calls that no rule means."""


_RULES_KEYS = ("deny", "ask", "allow", "else")


def _approval(key: str, node: yaml.Node) -> Approval | ByPattern:
    if not isinstance(node, yaml.MappingNode):
        return _approval_word(key, node)
    expected = 'expected deny, ask, allow and else; write allow: {path: "docs/**"}'
    if not node.value:
        raise OptionError(f"{key} is an empty mapping; {expected}")
    rules: dict[str, tuple[Rule, ...]] = {}
    otherwise = Approval.ASK
    for name, value in node.value:
        word = _word(name)
        if word not in _RULES_KEYS:
            raise OptionError(f"{key} holds the key {shown(name)}; {expected}", name)
        if word == "else":
            otherwise = _approval_word(f"else of {key}", value)
        else:
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if not items:
                raise OptionError(f"{word} of {key} is empty; {expected}", value)
            rules[word] = tuple(_rule(f"{word} of {key}", item) for item in items)
    return ByPattern(Rules(**rules), otherwise)


def _rule(key: str, node: yaml.Node) -> Rule:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        what = f"{key} is {shown(node)}; expected the patterns of arguments"
        raise OptionError(f'{what}; write for example {{path: "docs/**"}}', node)
    arguments = []
    for name, value in node.value:
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        patterns = tuple(read_json(f"{_word(name)} of {key}", item) for item in items)
        if not _word(name) or not patterns or not all(isinstance(one, Pattern) for one in patterns):
            what = f"{_word(name) or 'a key'} of {key} is {shown(value)}; expected a pattern, or a list of them"
            raise OptionError(f"{what}; write it in quotes", value)
        arguments.append((_word(name), patterns))
    return Rule(tuple(arguments))


def _approval_word(key: str, node: yaml.Node) -> Approval:
    word = _word(node)
    if isinstance(node, yaml.ScalarNode) and node.tag == STRING and word in tuple(Approval):
        return Approval(word)
    meant = _APPROVAL_WORDS.get(word.lower())
    fix = f'did you mean "{meant}"?' if meant else did_you_mean(word, Approval, "write approval: ask")
    raise OptionError(f"{key} is {shown(node)}; expected allow, ask or deny; {fix}")


def _timeout(key: str, node: yaml.Node) -> float:
    word = _word(node)
    match = _DURATION.fullmatch(word)
    if match is None:
        fix = "a tool cannot be without a limit" if word.lower() in ("off", "none", "no") else "write timeout: 30s"
        raise OptionError(f'{key} is {shown(node)}; expected seconds, as 30, "30s" or "2m"; {fix}')
    seconds = float(Decimal(match["number"]) * Decimal(_SECONDS[match["unit"]]))
    if not 0 < seconds <= _MAX_SECONDS:
        raise OptionError(f"{key} is {shown(node)}; expected more than 0 seconds and at most 24h; write timeout: 60s")
    return seconds


def _memory(key: str, node: yaml.Node) -> int | None:
    word = _word(node)
    # YAML 1.1 reads a bare off as false.
    if word == "off":
        return None
    match = _SIZE.fullmatch(word)
    if match is None:
        near = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt])(i?)b?", word, re.IGNORECASE)
        fix = f'did you mean "{near[1]}{near[2].upper()}{near[3].lower()}B"?' if near else "write memory: 512MB"
        raise OptionError(f'{key} is {shown(node)}; expected a size, as "512MB" or "2GiB", bytes, or off; {fix}')
    unit = (match["unit"] or "B").removesuffix("B")
    size = int(Decimal(match["number"]) * (1024 if unit.endswith("i") else 1000) ** _FACTORS[unit.rstrip("i")])
    if not MIB <= size <= _MAX_MEMORY:
        fix = f'did you mean "{word}MB"?' if size < MIB and word.isdigit() else "write memory: 512MB"
        raise OptionError(f"{key} is {shown(node)}; expected at least 1MiB and at most 1024TiB; {fix}")
    return size


def _tokens(key: str, node: yaml.Node) -> int:
    if not (isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and re.fullmatch(r"\d{1,9}", node.value)):
        raise OptionError(f"{key} is {shown(node)}; expected a number of tokens; write for example {key}: 2000")
    if int(node.value) < _MIN_TOKENS:
        raise OptionError(f"{key} is {shown(node)}; expected at least {_MIN_TOKENS}; raise it")
    return int(node.value)


def _boolean(key: str, node: yaml.Node) -> bool:
    if not (isinstance(node, yaml.ScalarNode) and node.tag == BOOLEAN):
        raise OptionError(f"{key} is {shown(node)}; expected true or false; write {key}: true")
    return bool(json_value(node))


_OF_LOADERS = ("PYTHON", "LD_")
"""Begin the variables by which Python and the dynamic loader choose the code that they run."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What `env` says."""

    names: tuple[str, ...] = ()
    """Of toolchat's variables, those that the tool sees."""
    values: tuple[tuple[str, str], ...] = ()
    """Variables that the file sets; a value may hold `${NAME}`."""


def _env(key: str, node: yaml.Node) -> Environment:
    return read_environment(key, node)


def read_environment(key: str, node: yaml.Node, *, any_name: bool = False) -> Environment:
    """What `env` says; with `any_name` also the variables by which loaders choose code may be set."""
    if isinstance(node, yaml.MappingNode):
        return _env_values(key, node, any_name=any_name)
    if not isinstance(node, yaml.SequenceNode):
        one = isinstance(node, yaml.ScalarNode) and VARIABLE.fullmatch(node.value)
        fix = f"write {key}: [{node.value}]" if one else f"write {key}: [NAME]"
        raise OptionError(f"{key} is {shown(node)}; expected a list of variable names; {fix}")
    names: list[str] = []
    for item in node.value:
        word = _word(item)
        if not VARIABLE.fullmatch(word):
            fix = f'write "{word.partition("=")[0]}"' if "=" in word else "correct it"
            what = f"{key} holds {shown(item)}; expected the name of a variable, its value comes from the environment"
            raise OptionError(f"{what}; {fix}", item)
        check_not_own(key, word, item)
        if word in names:
            raise OptionError(f'{key} holds "{word}" a second time; expected it once; remove one of the two', item)
        names.append(word)
    return Environment(tuple(names))


def _env_values(key: str, node: yaml.MappingNode, *, any_name: bool) -> Environment:
    """`{NAME: value}`; a name without a value has that of toolchat's environment."""
    names: list[str] = []
    values: dict[str, str] = {}
    for name, value in node.value:
        word = _word(name)
        if not VARIABLE.fullmatch(word):
            raise OptionError(f"{key} holds {shown(name)}; expected the name of a variable; correct it", name)
        check_not_own(key, word, name)
        if word.startswith(_OF_LOADERS) and not any_name:
            what = (
                f'{key} sets "{word}"; expected no {" or ".join(_OF_LOADERS)} name, toolchat\'s own processes obey them'
            )
            raise OptionError(f"{what}; set it in the function or program itself", name)
        if not isinstance(value, yaml.ScalarNode) or value.tag not in (STRING, INTEGER, FLOAT, NULL):
            what = f"{word} of {key} is {shown(value)}; expected text"
            raise OptionError(f"{what}; put it in quotes", value)
        if value.tag == NULL and not value.value:
            names.append(word)
            continue
        for inner in names_in(value.value):
            check_not_own(f"{word} of {key}", inner, value)
        if "\0" in value.value:
            raise OptionError(f"{word} of {key} holds a NUL, which no variable can; remove it", value)
        values[word] = value.value
    return Environment(tuple(names), tuple(values.items()))


def check_not_own(key: str, name: str, node: yaml.Node) -> None:
    """Raises OptionError where `name` is a variable of toolchat's own."""
    if name.startswith(OWN_PREFIX):
        what = f'{key} holds "{name}"; expected no {OWN_PREFIX} name, toolchat keeps its own variables from tools'
        raise OptionError(f"{what}; give the tool a variable of its own", node)


def _cwd(key: str, node: yaml.Node) -> str:
    text = read_text(key, node)
    for name in names_in(text):
        check_not_own(key, name, node)
    return text


def _privileges(key: str, node: yaml.Node) -> Privileges:
    word = _word(node)
    if isinstance(node, yaml.ScalarNode) and node.tag == STRING and word in tuple(Privileges):
        return Privileges(word)
    fix = did_you_mean(word, Privileges, f"write {key}: keep for a tool that needs sudo or a terminal of its own")
    raise OptionError(f"{key} is {shown(node)}; expected drop or keep; {fix}")


def _untyped(key: str, node: yaml.Node) -> Untyped:
    word = _word(node)
    if isinstance(node, yaml.ScalarNode) and node.tag == STRING and word in tuple(Untyped):
        return Untyped(word)
    fix = did_you_mean(word, Untyped, f"write {key}: refuse")
    raise OptionError(f"{key} is {shown(node)}; expected take or refuse; {fix}")


def _word(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def read_json(key: str, node: yaml.Node, *, word: bool = False) -> Any:
    """Any JSON value, in which no word is read as another value than it looks like.

    `word` lets the whole value be such a word for true or false: the caller knows later whether that is meant.
    """
    try:
        value = json_value(node)
    except NotJsonError as error:
        raise OptionError(f"{key} {error}; expected a JSON value; put it in quotes or correct it", error.node) from None
    for inner in scalars(node):
        other = misread(inner)
        if other is not None and not (word and inner is node and inner.tag == BOOLEAN):
            raise OptionError(not_as_meant(key, str(inner.value), other), inner)
    return value


def not_as_meant(key: str, written: str, read: str) -> str:
    """What to say of a word that YAML reads as another value."""
    what = f"{key} holds {written}, which YAML reads as {read}"
    return f'{what}; expected what is meant; write "{written}" in quotes, or {read}'


_ONE_PATTERN = {"type": ["string", "number", "boolean", "null"]}
_RULE = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [_ONE_PATTERN, {"type": "array", "items": _ONE_PATTERN, "minItems": 1}]},
}
_RULES = {"anyOf": [_RULE, {"type": "array", "items": _RULE, "minItems": 1}]}

OPTIONS = (
    Option(
        "approval",
        _approval,
        {
            "anyOf": [
                {"enum": list(Approval)},
                {
                    "type": "object",
                    "properties": {**dict.fromkeys(("deny", "ask", "allow"), _RULES), "else": {"enum": list(Approval)}},
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ],
            "description": "Whether a call may run without asking; or, by the patterns of arguments, which calls do: "
            'allow: {path: "docs/**"}. deny counts before ask, ask before allow. Default: ask.',
        },
    ),
    Option(
        "timeout",
        _timeout,
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": _MAX_SECONDS},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|sec|m|min|h)?$"},
            ],
            "description": 'Time that one call may take: seconds, or "30s", "2m", "1h". Default: 60.',
        },
    ),
    Option(
        "memory",
        _memory,
        {
            "anyOf": [
                {"type": "integer", "minimum": MIB, "maximum": _MAX_MEMORY},
                {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(B|[KMGT]i?B)?|off)$"},
                {"const": False},
            ],
            "description": 'Memory that one call may take beyond what the imports took: "512MB", "2GiB", bytes, or '
            "off (for tools that map GPU memory). Default: 2GiB.",
        },
    ),
    Option(
        "max_result_tokens",
        _tokens,
        {
            "type": "integer",
            "minimum": _MIN_TOKENS,
            "maximum": 999_999_999,
            "description": "Longer results are cut in the middle. Default: a quarter of the model's context.",
        },
    ),
    Option(
        "stateful",
        _boolean,
        {
            "type": "boolean",
            "description": "Whether calls share one process, and so the module's globals, as long as the chat lives. "
            "Default: false; the methods of a class always do.",
        },
    ),
    Option(
        "enabled",
        _boolean,
        {"type": "boolean", "description": "false leaves the tool out, and does not import it. Default: true."},
    ),
    Option(
        "env",
        _env,
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": rf"^(?!{OWN_PREFIX})[A-Za-z_][A-Za-z0-9_]*$"},
                    "uniqueItems": True,
                },
                {
                    "type": "object",
                    "propertyNames": {"pattern": rf"^(?!{OWN_PREFIX})[A-Za-z_][A-Za-z0-9_]*$"},
                    "additionalProperties": {"type": ["string", "number", "null"]},
                },
            ],
            "description": "Names of environment variables that the tool may see beyond the basic ones; or a mapping "
            "of variables to values, which may hold ${NAME}.",
        },
    ),
    Option(
        "cwd",
        _cwd,
        {
            "type": "string",
            "pattern": r"\S",
            "description": "The folder that calls run in, from this file's folder; ~ and ${NAME} are expanded. "
            "Default: the folder you are in.",
        },
    ),
    Option(
        "privileges",
        _privileges,
        {
            "enum": list(Privileges),
            "description": "keep lets the tool run sudo, signal other processes and open terminals. Default: drop.",
        },
    ),
    Option(
        "untyped",
        _untyped,
        {
            "enum": list(Untyped),
            "description": "refuse makes a parameter without a type a mistake; take offers it as a string, number, "
            "boolean or null, or as what its docstring, a stub file, its examples or its default say. Default: take.",
        },
    ),
    Option(
        "effects",
        _boolean,
        {
            "type": "boolean",
            "description": "true: it changes or sends something. After a tool of an MCP server, or one with untrusted: "
            "true, has spoken in a turn, its calls ask, whatever this file and grants allow. Default: false.",
        },
    ),
    Option(
        "untrusted",
        _boolean,
        {
            "type": "boolean",
            "description": "true: its results are strangers' words, as a web page's are; see effects. Default: false; "
            "of MCP servers true.",
        },
    ),
)  # fmt: skip
OPTION_NAMES = tuple(option.name for option in OPTIONS)
