"""Reads a YAML file as a tree of nodes with line and column, and nodes as plain JSON values.

It must never construct any other object. Nodes, not values, so that their reader can say where something is wrong.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from toolchat.private_file import NotAFileError, TooLargeError, read_file
from toolchat.wire.errors import UsageError

STRING = "tag:yaml.org,2002:str"
INTEGER = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
BOOLEAN = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"

_MAX_SHOWN = 60
# Aliases may stand for more nodes than there is memory for; no tool's options come near this.
_MAX_NODES = 10_000
_MAX_DEPTH = 50
_SCALARS = yaml.constructor.SafeConstructor()


# YAML 1.1 reads clock times as numbers to the base of 60, and what begins with 0 as one to the base of 8.
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class NotJsonError(Exception):
    """A node that no JSON value stands for; the message says why."""

    def __init__(self, node: yaml.Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node


def json_value(node: yaml.Node) -> Any:
    """The node as a JSON value. A date without quotes is its text.

    Raises:
        NotJsonError: it holds a number that is not finite, a key that is no text, another tag, or far too much.
    """
    return _Converter().value(node)


class _Converter:
    def __init__(self) -> None:
        self._count = 0

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        self._count += 1
        if depth > _MAX_DEPTH:
            raise NotJsonError(node, f"is nested deeper than {_MAX_DEPTH} levels")
        if self._count > _MAX_NODES:
            raise NotJsonError(node, f"holds more than {_MAX_NODES} values")
        if isinstance(node, yaml.MappingNode):
            return {self._key(key): self.value(inner, depth + 1) for key, inner in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(inner, depth + 1) for inner in node.value]
        return _scalar(node)

    @staticmethod
    def _key(node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != STRING:
            raise NotJsonError(node, f"has the key {shown(node)}, which is no text")
        return str(node.value)


def _scalar(node: yaml.Node) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise NotJsonError(node, f"is {shown(node)}, which JSON cannot hold")
    try:
        match node.tag:
            case "tag:yaml.org,2002:str" | "tag:yaml.org,2002:timestamp":
                return node.value
            case "tag:yaml.org,2002:int":
                return _SCALARS.construct_yaml_int(node)
            case "tag:yaml.org,2002:float":
                number = _SCALARS.construct_yaml_float(node)
                if math.isfinite(number):
                    return number
                raise NotJsonError(node, f"is {node.value}, which JSON cannot hold")
            case "tag:yaml.org,2002:bool":
                return _SCALARS.construct_yaml_bool(node)
            case "tag:yaml.org,2002:null":
                return None
    except (ValueError, KeyError, IndexError):
        pass
    raise NotJsonError(node, f"is {shown(node)} with the tag {node.tag}, which JSON cannot hold")


def shown(node: yaml.Node) -> str:
    """A node as an error quotes it: one line, not too long."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    text = " ".join(str(node.value).split())
    if not text:
        return "empty"
    text = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return f'"{text}"' if node.tag == STRING else text


def misread(node: yaml.Node) -> str | None:
    """What YAML reads a word without quotes as that was hardly meant so (`no`, `12:30`, `010`); None for all else."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    if node.tag == BOOLEAN and node.value.lower() not in ("true", "false"):
        return "true" if _SCALARS.construct_yaml_bool(node) else "false"
    if node.tag in (INTEGER, FLOAT) and _OTHER_BASE.fullmatch(node.value):
        return str(_scalar(node))
    return None


def scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The scalars in a node that `json_value` has taken: values, not keys."""
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from scalars(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars(item)
    elif isinstance(node, yaml.ScalarNode):
        yield node


def one_name(text: str) -> str:
    """`text` as Python writes a name: letters and their accents may be one character or several."""
    return unicodedata.normalize("NFKC", text)


# A tools file is a few hundred lines. The bound keeps a file named by mistake from being read whole.
_MAX_BYTES = 1024 * 1024
# PyYAML's composer recurses in C, where deep nesting ends the process (6.0.3) or has a bound of its own (6.0.4).
_MAX_NESTING = 100
# libyaml's parser is in C and several times faster; wheels of PyYAML have it, a source build may not.
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def compose(path: Path, data: bytes | None = None) -> yaml.Node | None:
    """The root node of the only document in the file; None where the file holds none.

    `data` is what the file holds, where it has been read already.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, does not parse as YAML, or is nested over 100 levels deep.
    """
    text = _text(path, read_bytes(path) if data is None else data)
    try:
        _check_nesting(path, text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        what = " ".join((error.problem or error.context or "cannot be read").split())
        raise UsageError(f"{where}: not valid YAML: {what}; correct the file at this place") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise UsageError(f"{path}:{line}:{column}: not valid YAML: {error.reason}; remove the character") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}; correct the file") from None
    return node


def duplicate_keys(root: yaml.Node) -> list[tuple[yaml.Node, str]]:
    """Every key that its mapping already holds, with its name: YAML would silently take the last."""
    found: list[tuple[yaml.Node, str]] = []
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        # An alias is the node it points at, which may even hold itself.
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (name := unicodedata.normalize("NFC", key.value)) in names:
                        found.append((key, key.value))
                    names.add(name)
                pending.extend((key, value))
    return sorted(found, key=lambda item: (item[0].start_mark.line, item[0].start_mark.column))


def with_merged(root: yaml.Node) -> list[tuple[yaml.Node, str]]:
    """Replace each merge key (`<<: *anchor`) by what it merges, in place; what is wrong with one is returned.

    A mapping's own keys count before merged ones, and of several merged mappings the first.
    """
    problems: list[tuple[yaml.Node, str]] = []
    done: set[int] = set()
    _merge(root, done, problems)
    return problems


def _merge(node: yaml.Node, done: set[int], problems: list[tuple[yaml.Node, str]]) -> None:
    # Before what is inside it: an alias may hold itself.
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _merge(item, done, problems)
    if not isinstance(node, yaml.MappingNode):
        return
    own: list[tuple[yaml.Node, yaml.Node]] = []
    merged: list[tuple[yaml.Node, yaml.Node]] = []
    for key, value in node.value:
        _merge(value, done, problems)
        if key.tag != MERGE:
            own.append((key, value))
            continue
        for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(other, yaml.MappingNode) and other is not node:
                merged += other.value
            else:
                what = f"<< is {shown(other) if other is not node else 'the mapping that it stands in'}"
                problems.append((other, f"{what}; expected another mapping; write <<: *name, and &name before it"))
    seen = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
    for key, value in merged:
        if key.tag == MERGE or (isinstance(key, yaml.ScalarNode) and key.value in seen):
            continue
        if isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
        own.append((key, value))
    node.value = own


def _check_nesting(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_NESTING:
                mark = event.start_mark
                where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
                raise UsageError(f"{where}: is nested over {_MAX_NESTING} levels deep; correct the file at this place")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def read_bytes(path: Path) -> bytes:
    """What the file holds.

    Raises:
        UsageError: it cannot be read, or is too long for a tools file.
    """
    try:
        return read_file(path, _MAX_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; name an existing tools file with --tools FILE") from None
    except NotAFileError as error:
        raise UsageError(f"{path}: {error}; or name a tools file with --tools FILE") from None
    except TooLargeError as error:
        raise UsageError(f"{path}: {error}; name a tools file with --tools FILE") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read ({reason}); name a readable tools file") from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None
