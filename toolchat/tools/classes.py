"""Loads a class named in a tools file: creates one object, whose public methods are the tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from toolchat.environment import wanting
from toolchat.tools.bound import Problem, by_name, expanded_arguments, fit_arguments
from toolchat.tools.entry import ToolEntry
from toolchat.tools.problems import did_you_mean, listed, reason

_PLUMBING = frozenset(("connect", "disconnect", "close", "aclose", "register", "unregister", "shutdown"))
"""Methods by which a framework manages an object. A model that may call `close` ends the tools of the class."""

_OF_CLASSES = ("methods", "include", "exclude", "instance")


def class_problems(entry: ToolEntry, made_of: type) -> list[Problem]:
    """What the entry says that does not suit a class."""
    problems: list[Problem] = []
    for key in ("description", "parameters"):
        if key in entry.places:
            what = f"{key} is given for the class {entry.target.attribute}; expected it of a function or method"
            fix = f"write methods: {{NAME: {{{key}: …}}}}, or say it in the docstrings of the methods"
            problems.append((entry.places[key], f"{what}; {fix}"))
    if "stateful" in entry.places and not entry.options.stateful:
        what = f"stateful is false for the class {entry.target.attribute}; expected true, its methods share state"
        problems.append((entry.places["stateful"], f"{what}; leave it out"))
    available = _public(made_of)
    for name in (*(entry.methods or ()), *entry.settings):
        if not inspect.isroutine(inspect.getattr_static(made_of, name, None)) and not callable(
            getattr(made_of, name, None)
        ):
            what = f'"{entry.callable_ref}" has no method "{name}"; expected {", ".join(available) or "one it has"}'
            problems.append((entry.places[f"methods.{name}"], f"{what}; {did_you_mean(name, available, 'correct it')}"))
    if entry.methods is None and not available and not entry.settings:
        what = f'the class "{entry.callable_ref}" has no public methods'
        fix = "expected at least one; add one, or choose inherited ones with methods:"
        if silent := silent_methods(made_of):
            what = f'no method of the class "{entry.callable_ref}" has a readable signature'
            fix = f"expected the parameters of one at least; it has {listed(silent)}; {_described(silent[0])}"
        problems.append((entry.place, f"{what}; {fix}"))
    elif not problems and not method_names(entry, made_of):
        key = next((key for key in ("include", "exclude") if key in entry.places), "callable")
        what = f'{key} leaves no method of "{entry.callable_ref}"'
        problems.append(
            (entry.places.get(key, entry.place), f"{what}; expected at least one of {', '.join(available)}")
        )
    return problems


def method_problems(entry: ToolEntry) -> list[Problem]:
    """What an entry of one method, "module:Class.method", says that does not suit it."""
    what = f'"{entry.callable_ref}" is one method; expected a class here; remove the key, or name the class'
    return [(entry.places[key], f"{key}: {what}") for key in ("methods", "include", "exclude") if key in entry.places]


def has_methods(made_of: type) -> bool:
    """Whether a class has public methods, which would be tools."""
    return bool(_public(made_of))


def function_problems(entry: ToolEntry) -> list[Problem]:
    """What the entry says that suits a class only."""
    what = f'"{entry.callable_ref}" is a function; expected a class here; remove the key, or name a class'
    return [(entry.places[key], f"{key}: {what}") for key in _OF_CLASSES if key in entry.places]


def method_names(entry: ToolEntry, made_of: type) -> tuple[str, ...]:
    """The methods that are tools, in the order of the file or of the class."""
    if entry.methods is not None:
        return tuple(name for name in entry.methods if entry.takes(name))
    # What the file has something to say of is meant, whatever it is called.
    named = [name for name in entry.settings if name not in _public(made_of)]
    kept = [
        name for name in _public(made_of) if name in entry.settings or entry.include or name not in _left_out(made_of)
    ]
    return tuple(name for name in (*kept, *named) if entry.takes(name))


def plumbing(entry: ToolEntry, made_of: type) -> list[str]:
    """The public methods that are left out because they manage the object, and that the file says nothing of."""
    if entry.methods is not None or entry.include:
        return []
    hidden = _left_out(made_of) - entry.settings.keys()
    return [name for name in _public(made_of) if name in hidden and entry.takes(name)]


def _left_out(made_of: type) -> frozenset[str]:
    if issubclass(made_of, BaseModel):
        return _PLUMBING | {name for name in vars(BaseModel) if not name.startswith("_")}
    return _PLUMBING


def make_instance(
    entry: ToolEntry, made_of: Callable[..., Any], folder: Path, environment: Mapping[str, str]
) -> tuple[Any, list[Problem]]:
    """The instance that the methods belong to, or why there is none. `environment` is for `${NAME}`.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C meanwhile.
    """
    given, problems = expanded_arguments(entry.arguments, entry.places, environment)
    place = entry.places.get("arguments", entry.place)
    init: Any = made_of.__init__
    problems = problems or fit_arguments(
        made_of, init, given, entry.places, name=entry.callable_ref, needs_all=place, misread=entry.misread
    )
    if problems:
        return None, problems
    try:
        return by_name(made_of, given), []
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f'"{entry.callable_ref}" cannot be made: {reason(error, folder)}'
        if (why := wanting(error)) is not None:
            return None, [(entry.place, f"{what}; the class may be right: {why}")]
        return None, [(entry.place, f"{what}; expected its constructor to succeed; correct it, or arguments:")]


def without_silent(entry: ToolEntry, made_of: type) -> str | None:
    """A notice of the methods of C that are left out, where the file could say what they take."""
    if entry.methods is not None:
        return None
    silent = [name for name in silent_methods(made_of) if name not in entry.settings and entry.takes(name)]
    if not silent:
        return None
    what = f'"{entry.callable_ref}" is offered without {listed(silent)}, of which no signature can be read'
    return f"{what}; {_described(silent[0])}, or exclude: them"


def _described(name: str) -> str:
    return f"write methods: {{{name}: {{parameters: {{}}}}}}, with its parameters in their order"


def has_signature(item: Any) -> bool:
    """Whether it tells what it takes, as not all functions of C do."""
    try:
        inspect.signature(item)
    except (ValueError, TypeError):
        return False
    return True


def silent_methods(made_of: type) -> tuple[str, ...]:
    """Public methods of C that do not tell what they take, and so are tools only where the file says it."""
    return tuple(name for name, tells in _routines(made_of).items() if not tells)


def _public(made_of: type) -> tuple[str, ...]:
    """Public methods of the class and of its bases that are of the same module or package, oldest base first.

    Those of a base from elsewhere (a framework's, the standard library's) are no tools unless the file names them.
    """
    return tuple(name for name, tells in _routines(made_of).items() if tells)


def _routines(made_of: type) -> dict[str, bool]:
    """By name of a public method, whether it tells what it takes."""
    top = made_of.__module__.partition(".")[0]
    names: dict[str, bool] = {}
    for base in reversed(made_of.__mro__):
        if base.__module__.partition(".")[0] != top or base is object:
            continue
        for name, item in vars(base).items():
            if isinstance(item, staticmethod | classmethod):
                item = item.__func__
            if inspect.isroutine(item) and not name.startswith("_"):
                names[name] = inspect.isfunction(item) or has_signature(item)
    return names
