"""YAML nodes as plain JSON values, and as an error quotes them; it must never construct any other object."""

from __future__ import annotations

import math
from typing import Any

import yaml

STRING = "tag:yaml.org,2002:str"
INTEGER = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
BOOLEAN = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"

_MAX_SHOWN = 60
# Aliases may stand for more nodes than there is memory for; no tool's options come near this.
_MAX_NODES = 10_000
_MAX_DEPTH = 50
_SCALARS = yaml.constructor.SafeConstructor()


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
