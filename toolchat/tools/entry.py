"""One entry of a tools file as values, before anything is imported: what it names, and all that it says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from toolchat.tools.callable_reference import CallableReference
from toolchat.tools.command_line import CommandLine
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place
from toolchat.tools.toolbox import ToolOptions


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
