"""Whether the value of an argument fits a pattern: a path, a command line, a URL or any other text, or a value itself.

Two questions, because a doubt must have another answer in each: `surely`, for what is to run unasked, says no where a
value could mean something else to the tool; `possibly`, for what is to be refused or asked about, then says maybe.

A text is compared with wildcards in time proportional to its length, whatever the pattern (`glob`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import SplitResult

Pattern = str | int | float | bool | None
"""A text, in which `*` and `**` stand for what the kind of its argument says and `?` for one character; or a value."""


class Kind(StrEnum):
    """What an argument holds."""

    PATH = "path"
    COMMAND = "command"
    URL = "url"
    TEXT = "text"


class Fit(IntEnum):
    NO = 0
    MAYBE = 1
    YES = 2


UNUSUAL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Line breaks and other control characters: no wildcard stands for one where a call is to run unasked."""
LONGEST = 65_536
"""Characters of a value that are looked at; a longer one fits nothing surely, and everything maybe."""

_PATH_WORDS = frozenset((
    "path", "paths", "file", "files", "filename", "filenames", "filepath", "filepaths", "pathname", "folder",
    "folders", "dir", "dirs", "directory", "directories", "src", "dst", "dest", "destination", "target", "root",
    "cwd", "workdir",
))  # fmt: skip
_COMMAND_WORDS = frozenset(("command", "commands", "cmd", "cmds", "cmdline", "shell", "script", "bash"))
_URL_WORDS = frozenset(("url", "urls", "uri", "uris", "href", "link", "links"))
_PATH_FORMATS = ("path", "file-path", "directory-path")

_OF_SHELLS = frozenset(";&|<>$`\\(){}#\n\r")
"""What ends a command for a shell, begins another one, or computes a word."""
_ENDS = re.compile(r"[;&|\n\r(){}`]|\$\(|<\(|>\(")
_COMPUTED = re.compile(r"[$`\\]")
_ASSIGNMENT = re.compile(r"\A(?:[A-Za-z_]\w*=\S*\s+)+")
_LONGEST_PATH = 4096
"""Characters of a path, as of the kernel's, and of a command line whose words are looked at."""
_MOST_ITEMS = 1000
"""Of a list or object: each path is looked up."""
_MOST_WORDS = 50
"""Of one command, that are looked at; of a longer one nothing is sure."""

RUNNERS = frozenset((
    "ash", "awk", "bash", "busybox", "command", "csh", "dash", "doas", "env", "eval", "exec", "find", "fish",
    "ksh", "nice", "node", "nohup", "npx", "parallel", "perl", "php", "pkexec", "python", "python3", "ruby",
    "setsid", "sh", "source", "ssh", "su", "sudo", "time", "timeout", "uvx", "watch", "xargs", "zsh", ".",
))  # fmt: skip
"""Programs that run others, or the text that they are given."""


class Stars:
    """What `*` and `?` stand for: all but some characters and those that are unusual, or any."""

    def __init__(self, excluded: frozenset[str] = frozenset(), *, any_character: bool = False) -> None:
        self._excluded, self._any = excluded, any_character

    def take(self, character: str) -> bool:
        return self._any or (character not in self._excluded and not UNUSUAL.match(character))


def glob(pattern: str, text: str, stars: Stars, double: Stars | None = None) -> bool:
    """Whether `text` fits, in time proportional to its length: the states of an automaton are the bits of a number."""
    tokens = _tokens(pattern)
    ones = sum(1 << at for at, token in enumerate(tokens) if token == "?")
    many = sum(1 << at for at, token in enumerate(tokens) if token == "*")
    more = sum(1 << at for at, token in enumerate(tokens) if token == "**")
    letters: dict[str, int] = {}
    for at, token in enumerate(tokens):
        if token not in ("?", "*", "**"):
            letters[token[-1]] = letters.get(token[-1], 0) | 1 << at
    loops = many | more

    def skipped(state: int) -> int:
        while (further := state | (state & loops) << 1) != state:
            state = further
        return state

    state = skipped(1)
    for character in text:
        stay = many | ones if stars.take(character) else 0
        if (double or stars).take(character):
            stay |= more
        kept = state & stay
        state = skipped((kept & loops) | (kept & ones) << 1 | (state & letters.get(character, 0)) << 1)
        if not state:
            return False
    return bool(state >> len(tokens) & 1)


@lru_cache(maxsize=512)
def _tokens(pattern: str) -> tuple[str, ...]:
    # A letter is marked, so that one is told from a wildcard; runs of stars are as one.
    parts: list[str] = re.findall(r"\*+|.", pattern, re.DOTALL)
    return tuple(part[:2] if part[0] == "*" else "?" if part == "?" else f"={part}" for part in parts)


def kind_of(name: str, schema: Mapping[str, Any], pattern: Pattern) -> Kind:
    """What the argument `name` holds, by its name, its JSON Schema, and what the pattern looks like."""
    word = re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)[-1].lower()
    if word in _URL_WORDS or (isinstance(pattern, str) and "://" in pattern):
        return Kind.URL
    if word in _COMMAND_WORDS:
        return Kind.COMMAND
    if word in _PATH_WORDS or _is_path(schema):
        return Kind.PATH
    # Taken for a path where it may be one: the rules of paths are the stricter ones.
    looks = isinstance(pattern, str) and not re.search(r"\s", pattern) and ("/" in pattern or pattern.startswith("~"))
    return Kind.PATH if looks or (isinstance(pattern, str) and "**" in pattern) else Kind.TEXT


def _is_path(schema: Mapping[str, Any]) -> bool:
    inner = [schema.get("items"), *schema.get("anyOf", ())]
    return schema.get("format") in _PATH_FORMATS or any(isinstance(one, Mapping) and _is_path(one) for one in inner)


def problem_of(pattern: Pattern, kind: Kind) -> str:
    """What is wrong with a pattern, for whoever wrote it; empty where nothing is."""
    if not isinstance(pattern, str):
        return ""
    if len(pattern) > 1000:
        return "it has more than 1000 characters"
    if kind is Kind.PATH and _wild(pattern.partition("/..")[0]) and "/.." in pattern:
        return "it goes up by .. behind a wildcard"
    if kind is Kind.URL and "://" in pattern:
        host = _host_of(pattern)
        if not host or _wild(host.rpartition(".")[2]):
            return "its wildcard stands for the end of the host's name, and so for any host; write https://HOST/**"
    return ""


def surely(pattern: Pattern, value: Any, kind: Kind, folder: str) -> bool:
    """Whether `value` fits, whatever the tool makes of it.

    Of a list each item has to, and there has to be one. An object never does, whose meaning only the tool knows.
    `folder` is where relative paths begin.
    """
    if _items(value) > _MOST_ITEMS:
        return False
    if isinstance(value, list):
        if kind is Kind.COMMAND and value and all(isinstance(word, str) for word in value):
            return surely(pattern, shlex.join(value), kind, folder)
        return bool(value) and all(not isinstance(item, list) and surely(pattern, item, kind, folder) for item in value)
    if isinstance(value, dict):
        return False
    if not isinstance(value, str) or not isinstance(pattern, str):
        # A number for a path may be a file that is open.
        as_text = isinstance(pattern, str) and value is not None and kind is Kind.TEXT
        return _equal(pattern, value) or (as_text and glob(str(pattern), _written(value), _TEXT))
    if len(value) > LONGEST:
        return False
    match kind:
        case Kind.PATH:
            return _path_surely(pattern, value, folder)
        case Kind.COMMAND:
            return glob(pattern, value, _COMMAND)
        case Kind.URL:
            return _url_surely(pattern, value)
    return glob(pattern, value, _TEXT)


def possibly(pattern: Pattern, value: Any, kind: Kind, folder: str) -> Fit:
    """Whether `value` fits, or may fit by a reading that a tool could have: of lists and objects, one of its values."""
    if _items(value) > _MOST_ITEMS:
        return Fit.MAYBE
    if isinstance(value, list | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        found = max((possibly(pattern, item, kind, folder) for item in inner), default=Fit.NO)
        if kind is Kind.COMMAND and isinstance(value, list) and all(isinstance(word, str) for word in value):
            found = max(found, possibly(pattern, " ".join(value), kind, folder))
        return found
    if value is None:
        # What a tool does then is not known here.
        return Fit.YES if pattern is None else Fit.MAYBE
    if not isinstance(pattern, str):
        return Fit.YES if _equal(pattern, value) or _written(pattern) == value else Fit.NO
    text = _written(value)
    if len(text) > LONGEST:
        return Fit.MAYBE
    match kind:
        case Kind.PATH:
            return _path_possibly(pattern, text, folder)
        case Kind.COMMAND:
            return _command_possibly(pattern, text)
        case Kind.URL:
            return _url_possibly(pattern, text)
    return _folded(pattern, text)


def _items(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_items, value.values()))
    return sum(map(_items, value)) if isinstance(value, list) else 1


def _equal(pattern: Pattern, value: Any) -> bool:
    # Not by == alone, which takes 1 and true for the same.
    return isinstance(pattern, bool) == isinstance(value, bool) and bool(pattern == value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


# What `*` and `?` stand for, by kind. A double star stands for what a single one does where there is no other rule.
_TEXT = Stars()
_ANY = Stars(any_character=True)
_COMMAND = Stars(_OF_SHELLS)
_PART = Stars(frozenset("/"))
_URL_PART = Stars(frozenset("/?#@:\\ "))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _folded(pattern: str, text: str) -> Fit:
    """Letters that only look different by case or width may mean the same to the tool, or to a file system."""
    if glob(pattern, text, _ANY):
        return Fit.YES
    return Fit.MAYBE if glob(_fold(pattern), _fold(text), _ANY) else Fit.NO


# URLs.


def _url_surely(pattern: str, value: str) -> bool:
    if UNUSUAL.search(value) or re.search(r"[\\\s]|/\.\.?(/|$|\?|#)|%2e|%2f|%5c", value, re.IGNORECASE):
        return False
    try:
        parts = _split(value)
    except ValueError:
        return False
    if not parts.netloc or "@" in parts.netloc:
        return False
    return glob(pattern, value, _URL_PART, _TEXT)


def _url_possibly(pattern: str, value: str) -> Fit:
    """Of the host that a pattern names, any other spelling of the address may be meant."""
    found = _folded(pattern, value)
    if found is Fit.NO and "://" in pattern:
        try:
            host = _split(value.strip()).hostname or ""
        except ValueError:
            return Fit.MAYBE
        if not host or glob(_fold(_host_of(pattern)), _fold(host).rstrip("."), _ANY):
            return Fit.MAYBE
    return found


def _split(url: str) -> SplitResult:
    from urllib.parse import urlsplit  # not needed by most commands

    return urlsplit(url)


def _host_of(pattern: str) -> str:
    return re.split(r"[/?#]", pattern.partition("://")[2])[0].rpartition("@")[2].partition(":")[0]


# Command lines.


def _command_possibly(pattern: str, value: str) -> Fit:
    """By each command of the line, as its words are without quotes and directories.

    What only a shell could work out may be anything; so may what stands behind the words of another program, which may
    run it.
    """
    if glob(pattern, value, _ANY):
        return Fit.YES
    if len(value) > _LONGEST_PATH:
        return Fit.MAYBE
    found = Fit.NO
    for part in (part for part in _ENDS.split(value) if part.strip()):
        try:
            words = shlex.split(_ASSIGNMENT.sub("", part.strip(), count=1), comments=False)
        except ValueError:
            return Fit.MAYBE
        if len(words) > _MOST_WORDS or not words:
            return Fit.MAYBE
        if os.path.basename(words[0]) in RUNNERS or re.search(r"[*?\[]", words[0]):  # noqa: PTH119
            found = max(found, Fit.MAYBE)
        for at in range(len(words)):
            for first in {words[at], os.path.basename(words[at])}:  # noqa: PTH119
                line = " ".join([first, *words[at + 1 :]])
                # "rm *" means a bare rm, too.
                for text in (line, f"{line} "):
                    fit = _folded(pattern, text)
                    found = max(found, fit if at == 0 else min(fit, Fit.MAYBE))
        # A script in one word: bash -c "rm x".
        if any(" " in word and _command_possibly(pattern, word) for word in words if word != value):
            found = max(found, Fit.MAYBE)
    if found is Fit.NO and _COMPUTED.search(value):
        return Fit.MAYBE
    return found


# Paths.


def _path_surely(pattern: str, value: str, folder: str) -> bool:
    # A tool may take a URL or a wildcard where it takes a path, and these need not lead to what the path says.
    if (
        not 0 < len(value) <= _LONGEST_PATH
        or UNUSUAL.search(value)
        or value.lower().startswith("file:")
        or re.search(r"://|[*?]", value)
    ):
        return False
    if value.startswith("~") and not re.match(r"~(/|$)", value):
        return False
    wanted = _parts(resolved_pattern(pattern, folder))
    paths = list(_readings(value, folder))
    if any(path.startswith(("/proc/", "/dev/fd")) for path in paths):
        # What these are depends on the process that asks.
        return False
    real = {os.path.realpath(path) for path in paths}
    return all(_parts_fit(wanted, _parts(path)) for path in real)


def _path_possibly(pattern: str, value: str, folder: str) -> Fit:
    if len(value) > _LONGEST_PATH:
        return Fit.MAYBE
    try:
        readings = list(_readings(value, folder))
        paths = {*readings, *map(os.path.realpath, readings)}
    except ValueError:
        return Fit.MAYBE
    # A link may stand in the pattern, and the path go past it.
    own = resolved_pattern(pattern, folder)
    literal, wild = _literal(own)
    real = os.path.realpath(literal)
    patterns = [_parts(own), _parts(f"{real}/{wild}")]
    if "/" not in pattern and not pattern.startswith("~"):
        patterns.append(["**", pattern])
    found = Fit.NO
    for path in paths:
        parts = _parts(path)
        for wanted in patterns:
            # What lies below what is refused is refused with it.
            if _parts_fit(wanted, parts, _ANY) or _parts_fit([*wanted, "**"], parts, _ANY):
                return Fit.YES
            folded = [_fold(part) for part in parts]
            names = [_fold(part) for part in wanted]
            if _parts_fit(names, folded, _ANY) or _parts_fit([*names, "**"], folded, _ANY):
                found = Fit.MAYBE
            # A folder above it holds it.
            base = _parts(_literal("/" + "/".join(wanted))[0])
            if wanted[:1] != ["**"] and parts == base[: len(parts)] and (len(base) > len(parts) or wild):
                found = Fit.MAYBE
    if (
        UNUSUAL.search(value)
        or re.search(r"[*?]|://", value)
        or any(p.startswith(("/proc/", "/dev/fd")) for p in paths)
    ):
        found = max(found, Fit.MAYBE)
    return found


def resolved_pattern(pattern: str, folder: str) -> str:
    """The pattern from the root on. Links in what it names are not followed, so that none made later widens it."""
    if pattern == "~" or pattern.startswith("~/"):
        anchor, rest = os.path.expanduser("~"), pattern[2:]  # noqa: PTH111
    elif pattern.startswith("/"):
        anchor, rest = "/", pattern
    else:
        anchor, rest = folder, pattern
    return os.path.normpath(os.path.join(os.path.realpath(anchor), rest.lstrip("/")))  # noqa: PTH118


def _literal(pattern: str) -> tuple[str, str]:
    """The folders that a pattern begins with, and what is left of it from the first wildcard on."""
    parts = pattern.split("/")
    at = next((at for at, part in enumerate(parts) if _wild(part)), len(parts))
    return "/".join(parts[:at]) or "/", "/".join(parts[at:])


def _readings(value: str, folder: str) -> Iterator[str]:
    """The absolute paths that a tool may make of a text: with the home folder and variables expanded or not, and with
    `..` taken before links are followed or after."""
    texts = {value, os.path.expandvars(value)}
    texts |= {os.path.expanduser(text) for text in texts}  # noqa: PTH111
    for text in texts:
        path = os.path.join(folder, text)  # noqa: PTH118
        yield path
        yield os.path.normpath(path)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _parts_fit(wanted: Sequence[str], parts: Sequence[str], stars: Stars = _PART) -> bool:
    """Part by part; `**` stands for any number of them, and at the end for one at least."""
    reached = {0}
    last = len(wanted) - 1
    for at, part in enumerate(wanted):
        if part == "**":
            first = min(reached, default=len(parts) + 1)
            reached = set(range(first + (at == last), len(parts) + 1))
        else:
            reached = {end + 1 for end in reached if end < len(parts) and glob(part, parts[end], stars)}
        if not reached:
            return False
    return len(parts) in reached
