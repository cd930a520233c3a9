"""What is wrong with a tools file: gathered while it is read, told all at once, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from toolchat.wire.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the file something stands; line and column count from 1."""

    line: int
    column: int

    @classmethod
    def of(cls, node: yaml.Node) -> Place:
        return cls(node.start_mark.line + 1, node.start_mark.column + 1)


class Problems:
    """The problems of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place | yaml.Node, what: str) -> None:
        """Note `what`: "what is wrong; what was expected; what to do"."""
        self._found.append((place if isinstance(place, Place) else Place.of(place), what))

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def count(self) -> int:
        return len(self._found)

    def where(self, place: Place) -> str:
        """ "FILE:LINE:COL"."""
        return f"{self._path}:{place.line}:{place.column}"

    def error(self) -> UsageError:
        """All of them, one a line."""
        return UsageError("\n".join(f"{self.where(place)}: {what}" for place, what in sorted(self._found)))


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """'did you mean "greet"?', or `otherwise` where nothing known is near."""
    choices = {choice.lower(): choice for choice in known}
    near = get_close_matches(name.lower(), choices, n=1)
    return f'did you mean "{choices[near[0]]}"?' if near else otherwise
