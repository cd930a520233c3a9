"""Parses a callable reference of a tools file: by module or by file. Text only; imports nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from toolchat.tools.options import OptionError
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
