"""Loads a class named in a tools file: creates one object, whose public methods are the tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from toolchat.tools.hints import HintError, resolved_hints
from toolchat.tools.problems import Place, did_you_mean, reason
from toolchat.tools.spec import ToolEntry

Problem = tuple[Place, str]


def class_problems(entry: ToolEntry, made_of: type) -> list[Problem]:
    """What the entry says that does not suit a class."""
    problems: list[Problem] = []
    for key in ("description", "parameters"):
        if key in entry.places:
            what = f"{key} is given for the class {entry.target.attribute}; expected it of a function"
            problems.append((entry.places[key], f"{what}; write it in the docstrings of the methods"))
    if "stateful" in entry.places and not entry.options.stateful:
        what = f"stateful is false for the class {entry.target.attribute}; expected true, its methods share state"
        problems.append((entry.places["stateful"], f"{what}; leave it out"))
    available = _public(made_of)
    for name in entry.methods or ():
        if not inspect.isroutine(inspect.getattr_static(made_of, name, None)) and not callable(
            getattr(made_of, name, None)
        ):
            what = f'"{entry.callable_ref}" has no method "{name}"; expected {", ".join(available) or "one it has"}'
            problems.append((entry.places[f"methods.{name}"], f"{what}; {did_you_mean(name, available, 'correct it')}"))
    if entry.methods is None and not available:
        what = f'the class "{entry.callable_ref}" has no public methods'
        problems.append(
            (entry.place, f"{what}; expected at least one; add one, or choose inherited ones with methods:")
        )
    return problems


def method_problems(entry: ToolEntry) -> list[Problem]:
    """What an entry of one method, "module:Class.method", says that does not suit it."""
    what = f'methods: "{entry.callable_ref}" is one method; expected a class here; remove the key, or name the class'
    return [(entry.places["methods"], what)] if "methods" in entry.places else []


def has_methods(made_of: type) -> bool:
    """Whether a class has public methods, which would be tools."""
    return bool(_public(made_of))


def function_problems(entry: ToolEntry) -> list[Problem]:
    """What the entry says that suits a class only."""
    what = f'"{entry.callable_ref}" is a function; expected a class here; remove the key, or name a class'
    return [(entry.places[key], f"{key}: {what}") for key in ("arguments", "methods") if key in entry.places]


def method_names(entry: ToolEntry, made_of: type) -> tuple[str, ...]:
    """The methods that are tools, in the order of the file or of the class."""
    return entry.methods if entry.methods is not None else _public(made_of)


def make_instance(entry: ToolEntry, made_of: Callable[..., Any], folder: Path) -> tuple[Any, list[Problem]]:
    """The instance that the methods belong to, or why there is none.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C meanwhile.
    """
    given = dict(entry.arguments or {})
    problems = _converted(entry, made_of, given)
    if problems:
        return None, problems
    try:
        return made_of(**given), []
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f'"{entry.callable_ref}" cannot be made: {reason(error, folder)}'
        return None, [(entry.place, f"{what}; expected its constructor to succeed; correct it, or arguments:")]


def _public(made_of: type) -> tuple[str, ...]:
    """Public methods of the class and of its bases that are of the same module or package, oldest base first.

    Those of a base from elsewhere (a framework's, the standard library's) are no tools unless the file names them.
    """
    top = made_of.__module__.partition(".")[0]
    names: dict[str, None] = {}
    for base in reversed(made_of.__mro__):
        if base.__module__.partition(".")[0] != top or base is object:
            continue
        for name, item in vars(base).items():
            if isinstance(item, staticmethod | classmethod):
                item = item.__func__
            if inspect.isfunction(item) and not name.startswith("_"):
                names[name] = None
    return tuple(names)


def _converted(entry: ToolEntry, made_of: Callable[..., Any], given: dict[str, Any]) -> list[Problem]:
    """Convert the constructor's arguments in place to what its annotations say; what does not fit is returned."""
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(made_of).parameters
    except (ValueError, TypeError):
        return []
    problems: list[Problem] = []
    variadic = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    named = {
        name: item
        for name, item in parameters.items()
        if item.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    for name in given:
        if name not in named and not variadic:
            known = f"expected {', '.join(named)}" if named else "expected none"
            what = f'"{entry.callable_ref}" takes no argument "{name}"; {known}'
            place = entry.places[f"arguments.{name}"]
            problems.append((place, f"{what}; {did_you_mean(name, named, 'remove it')}"))
    missing = [name for name, item in named.items() if item.default is inspect.Parameter.empty and name not in given]
    if missing:
        what = f'"{entry.callable_ref}" needs the argument{"s" if len(missing) > 1 else ""} {", ".join(missing)}'
        place = entry.places.get("arguments", entry.place)
        problems.append((place, f"{what}; expected arguments: with each of them; add {missing[0]}: VALUE"))
    for name, value in given.items():
        if name in named and (message := _convert(made_of, named[name], given, value)):
            what = f"{name} does not fit the constructor: {message}"
            problems.append((entry.places[f"arguments.{name}"], f"{what}; correct it"))
    return problems


def _convert(made_of: Any, parameter: inspect.Parameter, given: dict[str, Any], value: Any) -> str | None:
    """What is wrong with the value of one argument; None where it fits, or where its type says nothing."""
    if parameter.annotation is inspect.Parameter.empty:
        return None
    try:
        hint = resolved_hints(made_of.__init__, {parameter.name: parameter})[parameter.name]
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except (HintError, PydanticUserError, TypeError):
        return None
    try:
        given[parameter.name] = adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
        return f"expected {message}"
    return None
