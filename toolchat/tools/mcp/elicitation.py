"""What a server asks the user while a call of its runs, the answer, and the questions that wait for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Elicitation:
    """What a server asks the user while a call of its runs."""

    server: str
    message: str
    schema: Mapping[str, Any]
    """A flat JSON Schema of the answer; empty where there is a `url`."""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Elicited:
    accepted: bool
    content: Mapping[str, Any] = field(default_factory=dict)


Elicit = Callable[[Elicitation], Awaitable[Elicited]]

_MOST_QUESTIONS = 8
_DECLINED_SECONDS = 5.0
"""For so long it is not told again that a server was declined: it may ask hundreds of times."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}
_EMPTY: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}


def first_answer(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An answer to begin with: defaults, and of what must be there the first choice, or something empty."""
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    fields = _fields(schema).items()
    return {name: _first(part) for name, part in fields if "default" in part or name in needed}


def problem_of(schema: Mapping[str, Any], content: Mapping[str, Any]) -> str | None:
    """What is wrong with an answer, in one line for people; None where it fits. Patterns are the server's to check."""
    fields = _fields(schema)
    for name in schema.get("required", ()) if isinstance(schema.get("required"), list) else ():
        if name not in content:
            return f"{name} is missing"
    for name, value in content.items():
        if name not in fields:
            return f"unknown {name}; it asks for {', '.join(fields) or 'nothing'}"
        if wrong := _wrong(fields[name], value):
            return f"{name} {wrong}"
    return None


def asked_for(schema: Mapping[str, Any]) -> list[str]:
    """What each field is, a line each."""
    lines = []
    required = schema.get("required") if isinstance(schema.get("required"), list) else []
    for name, part in _fields(schema).items():
        choices = _choices(part)
        about = [str(part.get("type", "")), f"one of {', '.join(map(str, choices))}" if choices else ""]
        about += [str(part.get(key, "")) for key in ("title", "description", "format")]
        about += [] if name in (required or []) else ["may be left out"]
        lines.append(f"{name}: {'; '.join(filter(None, about))}")
    return lines


def _fields(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): part if isinstance(part, Mapping) else {} for name, part in list(properties.items())[:64]}


def _choices(part: Mapping[str, Any]) -> list[Any]:
    if isinstance(part.get("enum"), list):
        return list(part["enum"])[:64]
    titled = part.get("oneOf") or part.get("anyOf")
    if isinstance(titled, list):
        return [one["const"] for one in titled[:64] if isinstance(one, Mapping) and "const" in one]
    return []


def _first(part: Mapping[str, Any]) -> Any:
    if "default" in part:
        return part["default"]
    if choices := _choices(part):
        return choices[0]
    return _EMPTY.get(str(part.get("type")), "")


def _wrong(part: Mapping[str, Any], value: Any) -> str:
    kind = part.get("type")
    expected = _KINDS.get(kind, ()) if isinstance(kind, str) else ()
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean")):
        return f"must be of the type {kind}"
    if (choices := _choices(part)) and value not in choices:
        return f"must be one of {', '.join(map(str, choices))}"
    size = len(value) if isinstance(value, str | list) else value
    for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum")):
        if isinstance(size, int | float) and isinstance(part.get(low), int | float) and size < part[low]:
            return f"must be at least {part[low]}{'' if low == 'minimum' else ' long'}"
        if isinstance(size, int | float) and isinstance(part.get(high), int | float) and size > part[high]:
            return f"must be at most {part[high]}{'' if high == 'maximum' else ' long'}"
    return ""


class Questions:
    """The questions of servers that are before the user."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        """`notify` is told, in a line, that a server was declined."""
        self.elicit: Elicit | None = None
        """Asks the user what a server wants to know; None where nobody can be asked."""
        self._notify = notify
        self._asking: dict[Hashable, tuple[asyncio.Task[None], str]] = {}
        """By the key that it was asked with: the task, and its server."""
        self._open: dict[str, int] = {}
        """By server, how many."""
        self._declined: dict[str, float] = {}
        """By server, when it was last told."""

    def ask(self, key: Hashable, asked: Elicitation, answer: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Put a question to the user; `answer` is given "accept", "decline" or "cancel" in any case, and the content.

        `key` is for `withdraw`.
        """
        server = asked.server
        action = "cancel"
        content: Mapping[str, Any] = {}

        async def ask() -> None:
            nonlocal action, content
            self._open[server] = self._open.get(server, 0) + 1
            try:
                if self.elicit is None or sum(self._open.values()) > _MOST_QUESTIONS:
                    action = "decline"
                    why = "nobody can be asked" if self.elicit is None else "it asks too much at once"
                    self.declined(server, why)
                else:
                    given = await self.elicit(asked)
                    action, content = ("accept" if given.accepted else "decline"), given.content
            except Exception:
                action = "decline"
                raise
            finally:
                self._open[server] -= 1

        def asked_it(_: object) -> None:
            # Also where the task was cancelled before it began.
            self._asking.pop(key, None)
            answer(action, content)

        task = asyncio.get_running_loop().create_task(ask(), name="mcp-elicit")
        self._asking[key] = (task, server)
        task.add_done_callback(asked_it)

    def declined(self, server: str, why: str) -> None:
        """Tell the user that a server asked and was declined; not all the time."""
        now = time.monotonic()
        if now - self._declined.get(server, -_DECLINED_SECONDS) >= _DECLINED_SECONDS:
            self._declined[server] = now
            self._notify(f"the server {server} asked something and was declined: {why}")

    def are_open(self, server: str) -> bool:
        """Whether a question of that server is before the user."""
        return self._open.get(server, 0) > 0

    def withdraw(self, key: Hashable) -> None:
        if (asked := self._asking.get(key)) is not None:
            asked[0].cancel()

    def withdraw_all(self, server: str | None = None) -> None:
        """Those of one server, whose call is interrupted, or those of all."""
        for task, name in list(self._asking.values()):
            if server is None or name == server:
                task.cancel()
