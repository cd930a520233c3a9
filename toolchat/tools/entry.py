"""One entry of a tools file as values, before anything is imported: what it names, and all that it says of it.

What it names is a callable reference, by module or by file, or a command line; both are text here, and nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Self

from toolchat.tools.command_line import CommandLine
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.options import OptionError
from toolchat.tools.problems import Place
from toolchat.tools.toolbox import ToolOptions
from toolchat.tools.yaml_file import one_name

_NAME = r"[^\W\d]\w*"
_INSIDE = rf"{_NAME}(?:\.{_NAME})*"
_SEVERAL = r"\w*\*[\w*]*"
_MODULE = re.compile(rf"(?P<where>{_INSIDE}):(?P<attribute>{_INSIDE}|{_SEVERAL})")
_FILE = re.compile(rf"(?P<where>\./(?:[^/:]+/)*[^/:]+\.py):(?P<attribute>{_INSIDE}|{_SEVERAL})")
_PACKAGE = "toolchat.samples"
SAMPLES = frozenset(
    f"{_PACKAGE}.{name}"
    for name in (
        "weather:get_current_weather",
        "calculator:calculate",
        "clock:current_time",
        "units:convert_units",
        "files:list_files",
        "files:read_file",
    )
)
"""The sample tools. They read and compute, so that a file of these alone needs no consent; what else their package
holds was not made to be called by a model."""


@dataclass(frozen=True, slots=True)
class CallableReference:
    """ "module:name" or "./file.py:name"."""

    where: str
    """A module's dotted name, or a file's path from the folder of the tools file, beginning with "./"."""
    attribute: str
    """A name in it, or what names lead to from one: "function", "Class.method", "object.method". With "*" a pattern of
    names: all functions that it fits."""

    @property
    def name(self) -> str:
        """Its last name, which the tool has unless the file gives it another."""
        return self.attribute.rpartition(".")[2]

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for several functions."""
        return "*" in self.attribute

    @property
    def text(self) -> str:
        return f"{self.where}:{self.attribute}"

    @property
    def file(self) -> PurePosixPath | None:
        """The file's path, where it is named by its file."""
        return PurePosixPath(self.where) if self.where.startswith("./") else None

    @property
    def is_sample(self) -> bool:
        """Whether it is one of the sample tools."""
        return self.text in SAMPLES

    @property
    def from_samples(self) -> bool:
        """Whether it is said to be in the samples' package."""
        return self.where == _PACKAGE or self.where.startswith(f"{_PACKAGE}.")


@dataclass(frozen=True, slots=True)
class CommandReference(CallableReference):
    """A program of the system, whose command line takes the place of a module: "command: git log -n {count}"."""

    @classmethod
    def of(cls, line: CommandLine) -> Self:
        """Its tool has the program's name unless the file gives it another."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", line.program.rpartition("/")[2].partition(".")[0])
        return cls(line.text, name or "command")

    @property
    def text(self) -> str:
        return self.where

    @property
    def file(self) -> PurePosixPath | None:
        return None


def parse_callable(text: str) -> CallableReference:
    """The callable that `text` names.

    Raises:
        OptionError: it names none.
    """
    where, colon, attribute = text.rpartition(":")
    text = f"{where}{colon}{one_name(attribute)}" if colon else text
    if text.startswith(("/", "~", "../")) or "/../" in text:
        what = f'callable is "{text}"; expected a file in the folder of the tools file or below it'
        raise OptionError(f"{what}; put it there, or install it and name its module")
    match = _FILE.fullmatch(text) or _MODULE.fullmatch(text)
    # "tools.py:f" has the form of a module named py in a package named tools; nobody means that.
    if match is None or (match["where"].endswith(".py") and match.re is _MODULE):
        raise OptionError(f'callable is "{text}"; expected module:function or ./file.py:function; {_fix(text)}')
    return CallableReference(match["where"], match["attribute"])


def _fix(text: str) -> str:
    where, colon, attribute = text.partition(":")
    if not colon:
        where, _, attribute = text.rpartition(".")
        guesses = [text] if text.endswith(".py") else [f"{where}:{attribute}"]
    else:
        local = where if where.startswith("./") else f"./{where}"
        guesses = [f"{local if local.endswith('.py') else f'{local}.py'}:{attribute}"]
    right = [guess for guess in guesses if _FILE.fullmatch(guess) or (not colon and _MODULE.fullmatch(guess))]
    return f'did you mean "{right[0]}"?' if right else "write for example my_tools:greet"


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """What a class's entry says of one of its methods."""

    name: str | None = None
    description: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, ParameterEntry] = field(default_factory=dict)
    arguments: Mapping[str, Any] | None = None
    misread: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One entry of the list as the file gives it, before anything is imported."""

    target: CallableReference
    name: str | None
    """What the model calls it; None for the function's own name. Of a class: what its methods' names begin with."""
    description: str | None
    """None where the docstring is to serve."""
    place: Place
    """Of the callable's name."""
    options: ToolOptions = field(default_factory=ToolOptions)
    parameters: Mapping[str, ParameterEntry] = field(default_factory=dict)
    arguments: Mapping[str, Any] | None = None
    """What a class's constructor or a function is given, as the file writes it: texts may hold `${NAME}`."""
    misread: Mapping[str, str] = field(default_factory=dict)
    """Of `arguments`, those that are a word which YAML reads as true or false (`no`): how they are written."""
    methods: tuple[str, ...] | None = None
    """Of the class, those that are tools; None for all public ones."""
    settings: Mapping[str, MethodEntry] = field(default_factory=dict)
    """What is said of single methods."""
    include: tuple[str, ...] = ()
    """Patterns, one of which a method's or function's name must fit; empty for all."""
    exclude: tuple[str, ...] = ()
    """Patterns of names that are left out."""
    prefix: str = ""
    """What the name of each of its tools begins with."""
    instance: str | None = None
    """Entries of one class with the same word here share its object."""
    command: CommandLine | None = None
    """Of a program of the system."""
    package: str | None = None
    """The installed package that offers it, where the file names that."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of the values of the keys that the entry has itself, and of each item as "arguments.NAME", "methods.NAME"."""
    sound: bool = True
    """Whether nothing in it is wrong; where something is, what depends on the whole of it is not checked further."""
    order: int = 0
    """Among all entries, those of included files too."""

    @property
    def callable_ref(self) -> str:
        return self.target.text

    def name_of(self, reference: str) -> str | None:
        """The name of the tool that this entry makes of a callable, or of a method of one; None where it makes none."""
        if self.target.is_pattern and self.command is None:
            where, _, attribute = reference.rpartition(":")
            fits = where == self.target.where and fnmatchcase(attribute, self.target.attribute)
            return f"{self.prefix}{attribute}" if fits and self.takes(attribute) else None
        method = reference.removeprefix(f"{self.callable_ref}.")
        if reference == self.callable_ref:
            return f"{self.prefix}{self.name or self.target.name}"
        if method == reference:
            return None
        own = self.settings[method].name if method in self.settings else None
        return f"{self.prefix}{own or (method if self.name is None else f'{self.name}_{method}')}"

    def takes(self, name: str) -> bool:
        """Whether a function or method of that name is one of its tools, as far as its patterns say."""
        kept = not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
        return kept and not any(fnmatchcase(name, pattern) for pattern in self.exclude)

    @property
    def is_sample(self) -> bool:
        """Whether the callable is one of the sample tools, as it was made to be called."""
        changed = self.arguments or self.options.sets or self.options.cwd is not None
        return self.target.is_sample and not changed

    @property
    def from_samples(self) -> bool:
        """Whether the callable is said to be in the samples' package."""
        return self.target.from_samples
