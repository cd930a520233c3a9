"""Reads what a callable takes from JSON: which parameters a model is offered, and how the callable is then called.

A parameter that is needed and that JSON cannot hold is an error; one that may be left out is left out, with a note.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import typing_extensions
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from toolchat.tools.docstrings import Documentation, documentation
from toolchat.tools.hints import HintError, field_of, holdable, plain_function, resolved_hint
from toolchat.tools.json_schema import ANYTHING, SCALAR
from toolchat.tools.untyped import NotJson, in_examples, named_items, type_of

EMPTY = inspect.Parameter.empty
_Kind: Any = type(inspect.Parameter.KEYWORD_ONLY)
_VARIADIC = (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)
_BY_NAME = (_Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
# For types that are known only here.
_LIST: Any = list
_DICT: Any = dict
# Under these names the objects of other frameworks' decorators keep the function that they were made of.
_HELD = ("func", "fn", "coroutine", "function", "callback")


class SchemaError(Exception):
    """A function that cannot be a tool; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class Offered:
    """One parameter that the model may set."""

    name: str
    hint: Any
    """As pydantic takes it."""
    default: Any = EMPTY
    """The function's own; `EMPTY` where it is needed."""
    given: Callable[[], Any] | None = None
    """Makes the value that is passed where the model leaves it out, because the function itself has none."""
    typed: bool = True
    """Whether the signature says its type."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a callable without calling it."""

    name: str
    plain: Callable[..., Any]
    """The function that holds the code."""
    parameters: Mapping[str, Offered]
    documented: Documentation
    call: Callable[..., Any]
    """Called with named values only; the callable itself where it takes them so."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it is offered."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of each parameter that may be set by name, those that are not offered too; `EMPTY` where it has none."""


@dataclass(frozen=True, slots=True)
class Call:
    """Calls a function that takes some of its parameters by position, or any number of them."""

    function: Callable[..., Any]
    positional: tuple[tuple[str, Any], ...]
    """Those before the first that is always named, with their defaults."""
    forced: int
    """So many of them cannot be named."""
    rest: str | None
    """The parameter that becomes `*rest`."""
    more: str | None
    """The parameter that becomes `**more`."""
    named: frozenset[str] = frozenset()
    """What is set by name, by the model or by whoever wrote the tool: no key of `**more` may set it another time."""

    def __call__(self, /, **values: Any) -> Any:
        rest = list(values.pop(self.rest, None) or ()) if self.rest is not None else []
        more = dict(values.pop(self.more, None) or {}) if self.more is not None else {}
        if taken := sorted(more.keys() & self.named):
            raise TypeError(f"{self.more} cannot have the key {taken[0]}, which is a parameter of its own")
        # A value behind one that is left out needs the default of that one in its place.
        last = max((i for i, (name, _) in enumerate(self.positional[: self.forced]) if name in values), default=-1) + 1
        count = len(self.positional) if rest else last
        given = [values.pop(name, default) for name, default in self.positional[:count]]
        if any(value is EMPTY for value in given):
            missing = next(name for (name, _), value in zip(self.positional, given, strict=False) if value is EMPTY)
            raise TypeError(f"{missing} is needed as well, since what follows it is passed by position")
        return self.function(*given, *rest, **{**more, **values})


def signature_of(
    function: Callable[..., Any],
    described: Mapping[str, bool] | None = None,
    *,
    refuse_untyped: bool = False,
    bound: frozenset[str] = frozenset(),
) -> Signature:
    """What `function` takes from JSON.

    Args:
        function: any callable.
        described: the parameters that the tools file describes, in its order, and whether each is typed there; None
            where it says nothing. Of a built-in function without a signature they are all that is known.
        refuse_untyped: whether a parameter must have a type.
        bound: parameters that the tools file sets or hides, whatever they are.

    Raises:
        SchemaError: the function takes something that a model cannot be asked for.
    """
    function = held_function(function) or function
    plain = plain_function(function)
    _check_kind(function, plain)
    name = str(getattr(plain, "__name__", type(plain).__name__))
    if name == "__call__":
        name = type(function).__name__
    try:
        signature: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    except (ValueError, TypeError):
        signature = _from_file(described)
    fixed = _fixed(function)
    named = frozenset(fixed) | {key for key, item in signature.items() if item.kind in _BY_NAME}
    signature = {key: item for key, item in signature.items() if key not in fixed}
    described = described or {}
    documented = _documentation(function, plain, signature)
    free = {key: item for key, item in signature.items() if key not in bound}
    reader = _Reader(function, plain, free, documented, described, named, refuse_untyped=refuse_untyped)
    offered = reader.offered()
    rest = next((key for key, item in signature.items() if key in bound and item.kind is _Kind.VAR_POSITIONAL), None)
    call = _call(function, signature, {*offered, *bound}, reader.rest or rest, reader.more, named)
    defaults = {key: item.default for key, item in signature.items() if item.kind not in _VARIADIC}
    return Signature(name, plain, offered, documented, call, tuple(reader.notes), defaults)


def held_function(value: Any) -> Callable[..., Any] | None:
    """The function that the object of another framework's decorator was made of; None for everything else."""
    if isinstance(value, type | partial) or inspect.isroutine(value):
        return None
    if not isinstance(getattr(value, "name", None), str):
        return None
    for name in _HELD:
        inner = getattr(value, name, None)
        if inspect.isfunction(inner) or inspect.ismethod(inner):
            return inner
    return None


def is_record(value: Any) -> bool:
    """Whether calling it with its fields gives an object of them: of a dataclass, a pydantic model, a named tuple or a
    class of attrs."""
    if not isinstance(value, type):
        return False
    named = issubclass(value, tuple) and hasattr(value, "_fields")
    return dataclasses.is_dataclass(value) or issubclass(value, BaseModel) or named or hasattr(value, "__attrs_attrs__")


def _check_kind(function: Any, plain: Any) -> None:
    if inspect.isclass(function) and not is_record(function):
        raise SchemaError("it is a class; expected a function; name the class in the tools file itself")
    if not callable(function):
        raise SchemaError(f"it is a {type(function).__name__}; expected a function; wrap it in a def")
    if getattr(plain, "__name__", "") == "<lambda>":
        raise SchemaError("it is a lambda, which has neither types nor a docstring; expected a def")


def _from_file(described: Mapping[str, bool] | None) -> Mapping[str, inspect.Parameter]:
    if described is None:
        what = "it has no readable signature; expected its parameters in the tools file, in their order"
        raise SchemaError(f"{what}; add for example parameters: {{x: {{type: number}}}}, or parameters: {{}} for none")
    return {key: inspect.Parameter(key, _Kind.POSITIONAL_ONLY) for key in described}


def _fixed(function: Any) -> set[str]:
    """What a partial has set by name: the one who wrote it has decided, and the model neither sees nor changes it."""
    return set(function.keywords) if isinstance(function, partial) else set()


def _documentation(function: Any, plain: Any, names: Iterable[str]) -> Documentation:
    text: Any = plain
    if inspect.isclass(function):
        text = function
    elif getattr(plain, "__name__", "") == "__call__" and not plain.__doc__:
        text = type(function)
    return documentation(text, names)


def no_json_fix(name: str) -> str:
    """What to do about a parameter that is needed and cannot be had from JSON."""
    return f"wrap it in a def without {name}, set it with arguments: {{{name}: VALUE}}"


class _Reader:
    """Goes through a signature once."""

    def __init__(
        self,
        function: Callable[..., Any],
        plain: Callable[..., Any],
        signature: Mapping[str, inspect.Parameter],
        documented: Documentation,
        described: Mapping[str, bool],
        named: frozenset[str],
        *,
        refuse_untyped: bool,
    ) -> None:
        self._function = function
        self._plain = plain
        self._signature = signature
        self._documented = documented
        self._described = described
        self._named = named
        self._refuse_untyped = refuse_untyped
        text = inspect.getdoc(plain) or ""
        name = str(getattr(plain, "__name__", ""))
        # A method that is bound has no self any more, and its examples are written so, too.
        self._examples = in_examples(name, text, [*signature.values()])
        self._left_out: list[str] = []
        self._unresolved: list[str] = []
        self.rest: str | None = None
        self.more: str | None = None

    @property
    def notes(self) -> list[str]:
        notes: list[str] = []
        if self._left_out:
            notes.append(f"is offered without {', '.join(self._left_out)}, which JSON cannot hold")
        if self._unresolved:
            what = "takes any JSON, as far as toolchat can tell, as"
            notes.append(f"{what} {', '.join(self._unresolved)}: for type checkers only there is a type")
        return notes

    def offered(self) -> dict[str, Offered]:
        found: dict[str, Offered] = {}
        for name, parameter in self._signature.items():
            match parameter.kind:
                case _Kind.VAR_POSITIONAL:
                    one = self._rest(name, parameter)
                    self.rest = name if one is not None else None
                case _Kind.VAR_KEYWORD:
                    found.update(self._more(name, parameter))
                    continue
                case _:
                    one = self._one(name, parameter)
            if one is not None:
                found[name] = one
        return found

    def _one(self, name: str, parameter: inspect.Parameter) -> Offered | None:
        in_place = _field(parameter.default)
        default = parameter.default if in_place is None else _default(in_place)
        described = self._described.get(name, False)
        typed = parameter.annotation is not EMPTY
        if not typed and self._refuse_untyped and not described:
            raise SchemaError(f"its parameter {name} has no type; add a type hint such as {name}: str")
        try:
            hint = self._typed(name, parameter) if typed else self._found(parameter.replace(default=default))
            free = described or default is not EMPTY
            unfit = free and hint is not SCALAR and not holdable(hint, needed=False)
        except HintError as error:
            if default is EMPTY and not described:
                fix = "" if "arguments:" in str(error) else f"; {no_json_fix(name)}"
                raise SchemaError(f"{error}{fix}") from None
            unfit = True
        if unfit and not described:
            self._left_out.append(name)
            return None
        if unfit:
            hint, typed = SCALAR, False
        field = in_place if in_place is not None else _in_annotation(hint) if default is EMPTY else None
        if field is not None:
            hint = _without_default(hint, field)
        if field is None:
            return Offered(name, hint, default, None, typed)
        # The function itself would be given the Field, or nothing.
        given = None if field.is_required() else partial(_default, field)
        return Offered(name, hint, _default(field), given, typed)

    def _typed(self, name: str, parameter: inspect.Parameter) -> Any:
        return resolved_hint(self._function, name, parameter.annotation, self._unresolved)

    def _found(self, parameter: inspect.Parameter) -> Any:
        """The type of a parameter that has none."""
        name = parameter.name
        hint = type_of(parameter, self._plain, self._documented.types.get(name), self._examples)
        if hint is NotJson or not holdable(hint):
            what = f"its parameter {name} has no type, and what is said of it cannot be had from JSON"
            raise HintError(f"{what}; {no_json_fix(name)}, or say parameters: {{{name}: {{type: string}}}}")
        return hint

    def _rest(self, name: str, parameter: inspect.Parameter) -> Offered | None:
        """`*args`, as an array, where something says what it holds, or at least its name does."""
        known = name in self._documented.parameters or name in self._documented.types or name in self._described
        typed = parameter.annotation is not EMPTY
        # Those that are passed on to something else are called args, as a rule.
        if not typed and not known and name in ("args", "argv", "unused"):
            return None
        try:
            if typed:
                hint = resolved_hint(self._function, name, parameter.annotation, self._unresolved)
                if hint is Any or hint is object or not holdable(hint):
                    return None
            else:
                if self._refuse_untyped and not self._described.get(name):
                    return None
                hint = type_of(parameter, self._plain, self._documented.types.get(name), {})
                hint = named_items(name) if hint is NotJson or hint is SCALAR else hint
        except HintError:
            return None
        return Offered(name, _LIST[hint], None, typed=typed)

    def _more(self, name: str, parameter: inspect.Parameter) -> dict[str, Offered]:
        """`**kwargs`, where it is typed: an object, or the keys of an unpacked TypedDict one by one."""
        if parameter.annotation is EMPTY:
            return {}
        try:
            hint = resolved_hint(self._function, name, parameter.annotation)
        except HintError:
            return {}
        unpacked = typing.get_args(hint)[0] if str(typing.get_origin(hint)).endswith("Unpack") else None
        if unpacked is not None and typing_extensions.is_typeddict(unpacked):
            return _keys(unpacked, self._named)
        if unpacked is not None or hint in (Any, object, ANYTHING) or not holdable(hint):
            return {}
        self.more = name
        return {name: Offered(name, _DICT[str, hint], None)}


def _keys(unpacked: Any, named: frozenset[str]) -> dict[str, Offered]:
    hints = typing.get_type_hints(unpacked, include_extras=True)
    keys: dict[str, Offered] = {}
    for key, value in hints.items():
        required = key in unpacked.__required_keys__
        if str(typing.get_origin(value)).endswith(("Required", "NotRequired")):
            required = not str(typing.get_origin(value)).endswith("NotRequired")
            value = typing.get_args(value)[0]
        if key not in named and (required or holdable(value)):
            keys[key] = Offered(key, value, EMPTY if required else None)
    return keys


def _field(default: Any) -> FieldInfo | None:
    return default if isinstance(default, FieldInfo) else field_of(default)


def _in_annotation(hint: Any) -> FieldInfo | None:
    """The `Field(default=...)` in an Annotated, which is where the only default may stand."""
    if typing.get_origin(hint) is not Annotated:
        return None
    fields = [item for item in typing.get_args(hint)[1:] if isinstance(item, FieldInfo) and not item.is_required()]
    return fields[-1] if fields else None


def _without_default(hint: Any, field: FieldInfo) -> Any:
    """`hint` with what the field says beside its default."""
    origin, items = hint, [field]
    if typing.get_origin(hint) is Annotated:
        origin, *others = typing.get_args(hint)
        items = [*(item for item in others if item is not field), field]
    plain: list[Any] = []
    for item in items:
        if item is not field:
            plain.append(item)
            continue
        words = {"description": field.description, "examples": field.examples, "discriminator": field.discriminator}
        given: dict[str, Any] = {key: value for key, value in words.items() if value is not None}
        plain += [*field.metadata, *([Field(**given)] if given else [])]
    return Annotated[(origin, *plain)] if plain else origin


def _default(field: FieldInfo) -> Any:
    return EMPTY if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _call(
    function: Callable[..., Any],
    signature: Mapping[str, inspect.Parameter],
    offered: Collection[str],
    rest: str | None,
    more: str | None,
    named: frozenset[str],
) -> Callable[..., Any]:
    forced = [name for name, item in signature.items() if item.kind is _Kind.POSITIONAL_ONLY]
    if hasattr(function, "dispatch") and hasattr(function, "registry") and signature:
        # functools.singledispatch looks at the first argument, and only where it comes by position.
        forced = forced or [next(iter(signature))]
    if rest is None and more is None and not any(name in offered for name in forced):
        return function
    ordered = [
        (name, item.default)
        for name, item in signature.items()
        if item.kind in (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
    ]
    return Call(function, tuple(ordered), len(forced), rest, more, named)
