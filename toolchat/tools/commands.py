"""Tools that are programs of the system: finds the program, makes a function of its command line, and runs it.

The function runs within a call's own process, as every tool does, and so under its limits. Whatever a value holds, it
stays one word; a shell is used only where the file says so, and gets values as variables.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import selectors
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.tools.code import local_programs
from toolchat.tools.command_line import SHELL_PREFIX, CommandLine, Word
from toolchat.tools.entry import ToolEntry
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.local_modules import MAX_COMPILED, opened
from toolchat.tools.problems import did_you_mean
from toolchat.wire.errors import ToolchatError

_MAX_OUTPUT = 64 * 1024**2
"""Bytes of standard output that are kept."""
_MAX_SAID = 4096
"""Bytes of standard error that an error quotes, its last."""
_MAX_WORD = 128 * 1024
"""Bytes of one word that Linux takes (MAX_ARG_STRLEN)."""
_PIECE = 64 * 1024


class CommandFailed(Exception):  # noqa: N818
    """A program that did not do what it was called for; the message is all that the model reads."""


class UnusableCommandError(Exception):
    """A command that cannot be a tool: "what is wrong; what was expected; what to do"."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, ready to be run."""

    line: CommandLine
    program: str
    """The path of what is run."""
    folder: Path
    """Of the tools file: words that name files beside it are given with it."""
    code: Mapping[str, str]
    """The digest of each file beside the tools file that it runs, by its path."""
    optional: frozenset[str]
    """Parameters that are null where the model leaves them out."""
    own: Mapping[str, Any]
    """What the file itself gives parameters: its author may mean an option. None where that is not known here."""

    def run(self, values: Mapping[str, Any]) -> Any:
        """What the program writes to standard output: text, or bytes where it is none; None for nothing.

        Raises:
            CommandFailed: it could not be run, or says by its exit code that it failed.
        """
        for file in {**self.code, **dict.fromkeys(local_programs(self.line, self.folder))}:
            name = os.path.relpath(file, self.folder)
            if file not in self.code:
                raise CommandFailed(f"{name} has come since the tools were read; look at it, then say /reload")
            if file_digest(file) != self.code[file]:
                raise CommandFailed(f"{name} has changed since the tools were read; expected it to stay; say /reload")
        environment = dict(os.environ)
        if self.line.groups:
            words = [self.line.program, *self._words(values)]
        else:
            words = [self.line.program, "-c", self.line.script]
            environment |= {f"{SHELL_PREFIX}{name}": _text(values.get(name)) for name in self.line.fields}
        if any(len(os.fsencode(word)) >= _MAX_WORD for word in words):
            raise CommandFailed(f"an argument has more than {_MAX_WORD} bytes; expected a shorter one")
        entered = "".join(_filled(self.line.stdin, values)) if self.line.stdin is not None else None
        return self._ran(words, entered, environment)

    def _ran(self, words: Sequence[str], entered: str | None, environment: Mapping[str, str]) -> Any:
        name = Path(self.program).name if self.line.groups else "the shell"
        stdin: Any = subprocess.DEVNULL
        if entered is not None:
            # A file in memory: a program that does not read all of it holds nothing up.
            stdin = os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b")
            stdin.write(entered.encode("utf-8", "surrogateescape"))
            stdin.seek(0)
        try:
            process = subprocess.Popen(
                words,
                executable=self.program,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise CommandFailed(f"{name} cannot be run: {error.strerror}") from error
        finally:
            if entered is not None:
                stdin.close()
        written, said = _read(process)
        code = process.wait()
        if code != 0:
            last = said.decode("utf-8", "replace").strip() or written[-_MAX_SAID:].decode("utf-8", "replace").strip()
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise CommandFailed(f"{name} ended with {how}: {last or 'it printed nothing'}")
        if b"\0" in written:
            return bytes(written)
        return written.decode("utf-8", "replace").rstrip("\n") or None

    def _words(self, values: Mapping[str, Any]) -> list[str]:
        words: list[str] = []
        ended = False
        before = ""
        for number, group in enumerate(self.line.groups):
            if number == 0 or any(values.get(name) is None for word in group for name in word.names):
                continue
            for word in group:
                plain = word.plain
                made = self._made(word, values)
                # A value that begins with "-" would be an option, but behind "--" or as the value of one.
                if plain is None and not ended and not before.startswith("-"):
                    self._check_no_option(word, values, made)
                ended = ended or plain == "--"
                before = plain if plain is not None else ""
                words += made
        return words

    def _check_no_option(self, word: Word, values: Mapping[str, Any], made: Sequence[str]) -> None:
        kind, name = word.pieces[0]
        if kind != "field" or isinstance(values.get(name), int | float):
            return
        if name in self.own and self.own[name] in (None, values.get(name)):
            return
        if any(text.startswith("-") for text in made):
            what = f'{name} begins with "-", which the program would take for an option'
            raise CommandFailed(f'{what}; expected another value; or the tools file has to put "--" before {{{name}}}')

    def _made(self, word: Word, values: Mapping[str, Any]) -> list[str]:
        if word.only is not None and isinstance(values.get(word.only), list):
            return [_text(item) for item in values[word.only]]
        if word.plain is not None:
            local = self.folder / word.plain
            return [str(local) if str(local) in self.code else word.plain]
        return ["".join(_filled(word, values))]


def _filled(word: Word, values: Mapping[str, Any]) -> list[str]:
    return [text if kind == "text" else _text(values.get(text)) for kind, text in word.pieces]


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text:
        raise CommandFailed("an argument holds a NUL, which no program can be given; expected other text")
    return text


def _read(process: subprocess.Popen[bytes]) -> tuple[bytearray, bytearray]:
    """Its standard output, and the end of its standard error, which is also shown as it comes."""
    written, said = bytearray(), bytearray()
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, _PIECE)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    written += data[: _MAX_OUTPUT - len(written)]
                else:
                    said = (said + data)[-_MAX_SAID:]
                    with suppress(OSError):
                        os.write(2, data)
    return written, said


def command_of(entry: ToolEntry, folder: Path, files: Mapping[str, str]) -> Command:
    """The command of an entry. `files` are the digests of local files as they were read.

    Raises:
        UnusableCommandError: its program is not there.
    """
    line = entry.command
    assert line is not None
    optional = {name for name, one in entry.parameters.items() if one.keywords.get("default", ...) is None}
    own = {
        name: one.keywords["default"]
        for name, one in entry.parameters.items()
        if name not in optional and "default" in one.keywords
    }
    own |= dict.fromkeys(entry.arguments or ())
    code = {file: files[file] for file in local_programs(line, folder) if file in files}
    return Command(line, _program(line, folder), folder, code, frozenset(optional), own)


def _program(line: CommandLine, folder: Path) -> str:
    name = line.program
    if name.startswith("./"):
        path = folder / name
        if not path.is_file():
            others = [f"./{other.name}" for other in sorted(folder.iterdir()) if os.access(other, os.X_OK)]
            what = f'there is no file "{name}" beside the tools file; expected a program'
            raise UnusableCommandError(f"{what}; {did_you_mean(name, others, 'correct the path')}")
        if not os.access(path, os.X_OK):
            what = f'"{name}" may not be executed; expected a program'
            raise UnusableCommandError(f"{what}; run chmod +x on it, or write its interpreter before it")
        return str(path)
    found = shutil.which(name)
    if found is None or ("/" in name and not name.startswith("/")):
        what = f'there is no program "{name}"; expected one on PATH, or ./file beside the tools file'
        raise UnusableCommandError(f"{what}; install it, or correct the name")
    return found


def installed_programs(command: Command) -> list[str]:
    """The paths whose contents are a part of the tool's digest, beside local files."""
    return [] if command.program in command.code else [command.program]


def function_of(entry: ToolEntry, command: Command) -> tuple[Callable[..., Any], Mapping[str, ParameterEntry]]:
    """A function whose parameters are the command's, and what the file says of them.

    A parameter that the file gives no type is text.
    """

    def run(**values: Any) -> Any:
        return command.run(values)

    parameters = []
    for name in command.line.names:
        keywords = entry.parameters[name].keywords if name in entry.parameters else {}
        typed = "type" in keywords or "schema" in keywords
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=inspect.Parameter.empty if typed else str,
                # The file's own null: the words with it are left out.
                default=None if name in command.optional else inspect.Parameter.empty,
            )
        )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__ = run.__qualname__ = entry.name or entry.target.name
    without = {name: _without_null(one) if name in command.optional else one for name, one in entry.parameters.items()}
    return run, without


def _without_null(entry: ParameterEntry) -> ParameterEntry:
    keywords = {word: value for word, value in entry.keywords.items() if word != "default"}
    return ParameterEntry(entry.place, keywords, entry.places)


def file_digest(path: str) -> str:
    """The SHA-256 (hexadecimal) of a file as it is now. Raises CommandFailed where it cannot be read."""
    try:
        with opened(Path(path), MAX_COMPILED) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except ToolchatError as error:
        raise CommandFailed(str(error)) from None
