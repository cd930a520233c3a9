"""Parses the `command:` of a tools file: words with `{parameters}` in them, or a line for a shell. Text only.

Each word stays one word whatever a value holds; a shell is given values as variables, which it does not parse.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FIELD = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHELL_PREFIX = "arg_"
"""Of the variables that a shell finds the values in."""

Piece = tuple[str, str]
"""("text", words of the file) or ("field", a parameter's name)."""


class CommandError(Exception):
    """A command line that cannot be one: "what is wrong; what was expected; what to do"."""


@dataclass(frozen=True, slots=True)
class Word:
    """One argument of the program."""

    pieces: tuple[Piece, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in it."""
        return tuple(text for kind, text in self.pieces if kind == "field")

    @property
    def plain(self) -> str | None:
        """The word, where it has no parameter."""
        return None if self.names else "".join(text for _, text in self.pieces)

    @property
    def only(self) -> str | None:
        """The parameter that is all of the word, where there is one."""
        return self.pieces[0][1] if len(self.pieces) == 1 and self.pieces[0][0] == "field" else None

    @property
    def text(self) -> str:
        return "".join(text if kind == "text" else f"{{{text}}}" for kind, text in self.pieces)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A program and its arguments."""

    groups: tuple[tuple[Word, ...], ...]
    """Words; those of one group are left out together where a parameter in them has no value. Empty for a shell."""
    script: str = ""
    """For a shell: what it runs. Values are in variables."""
    fields: tuple[str, ...] = ()
    """The parameters of `script`."""
    shown: str = ""
    """`script` as the file writes it."""
    stdin: Word | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, in their order."""
        words = [name for group in self.groups for word in group for name in word.names]
        return tuple(dict.fromkeys([*words, *self.fields, *(self.stdin.names if self.stdin is not None else ())]))

    @property
    def text(self) -> str:
        """As people know it: "command: git log -n {count}"."""
        if not self.groups:
            return f"shell: {' '.join(self.shown.split())}"
        words = [word.text for group in self.groups for word in group]
        return (
            f"command: {' '.join(word if word and not set(word) & _SPECIAL else shlex.quote(word) for word in words)}"
        )

    @property
    def program(self) -> str:
        """The program's name or path, as the file writes it."""
        return self.groups[0][0].plain or "" if self.groups else "/bin/sh"


_SPECIAL = set(" \t\n\"'\\$`;&|<>()*?#~")


def words_of(template: Sequence[str | Sequence[str]], stdin: str | None = None) -> CommandLine:
    """A program of words; a list among them is a group.

    Raises:
        CommandError: a word has braces that are no parameter, or the program's own name has one.
    """
    groups = [(word_of(item),) if isinstance(item, str) else tuple(map(word_of, item)) for item in template]
    if groups[0][0].plain is None or len(groups[0]) != 1:
        raise CommandError("the program is a parameter; expected its name; the model may choose arguments only")
    if not groups[0][0].plain:
        raise CommandError("the program is empty; expected its name; write for example [git, log]")
    return CommandLine(tuple(groups), stdin=word_of(stdin) if stdin is not None else None)


def word_of(text: str) -> Word:
    """A word with its parameters; `{{` and `}}` stand for braces. Raises CommandError."""
    return Word(tuple(_pieces(text)))


def script_of(text: str, stdin: str | None = None) -> CommandLine:
    """A line for a shell, with each `{parameter}` replaced by a variable that holds its value.

    Raises:
        CommandError: a parameter stands where a shell replaces no variable.
    """
    script, names, quote = "", [], ""
    for kind, piece in _pieces(text):
        if kind == "text":
            script += piece
            quote = _quote_after(piece, quote)
            continue
        if quote == "'":
            what = f"{{{piece}}} stands in single quotes, where a shell replaces nothing"
            raise CommandError(f"{what}; expected it outside of them; remove the quotes, its value stays one word")
        names.append(piece)
        variable = f"${{{SHELL_PREFIX}{piece}}}"
        script += variable if quote else f'"{variable}"'
    fields = tuple(dict.fromkeys(names))
    return CommandLine((), script, fields, text, word_of(stdin) if stdin is not None else None)


def _quote_after(text: str, quote: str) -> str:
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character in "'\"":
            quote = "" if quote == character else quote or character
    return quote


def _pieces(text: str) -> Iterator[Piece]:
    # A NUL ends a word for the kernel.
    if "\0" in text:
        raise CommandError("a word holds a NUL; expected text; remove it")
    at, plain = 0, ""
    for match in _FIELD.finditer(text):
        plain += text[at : match.start()]
        at = match.end()
        if match[0] in ("{{", "}}"):
            plain += match[0][0]
            continue
        name = match["name"]
        if name is not None and plain.endswith("$"):
            what = f'"${match[0]}" is not expanded here; expected {{name}}, with arguments: {{name: "${match[0]}"}}'
            raise CommandError(f"{what}; or write ${{{{{name}}}}} for a variable of the shell's own")
        if name is None or not _NAME.fullmatch(name):
            what = f'"{match[0]}" is no parameter; expected {{name}}'
            raise CommandError(f"{what}; write {{{{ and }}}} for braces")
        if plain:
            yield "text", plain
        yield "field", name
        plain = ""
    if (plain := plain + text[at:]) or not text:
        yield "text", plain
