"""Completes the names of files after `@`, without those that .gitignore files leave out.

The files are read here and no git is run: a repository's configuration can name programs that git starts.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from toolchat.ui.attached import written

OFFERED = 50
MOST_ENTRIES = 20_000
"""Of a tree that are looked at for one completion."""
MOST_SECONDS = 0.3
"""Likewise: on a slow disk some names are better than a wait."""
DEEPEST = 12
_MOST_RULES = 2000
_IGNORE_BYTES = 256 * 1024
_ALWAYS_IGNORED = (".git", ".hg", ".svn")
_MOST_DEEP = 4
"""Of `**` in a pattern."""
_CLASS = re.compile(r"\[([!^]?)(\]?[^\]/]*)\]")
_BEGUN = re.compile(r'(?<!\S)@(?:"([^"\n]*)|((?:\\.|[^\s\\"])*))\Z')


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of a .gitignore file, for paths relative to its folder."""

    pattern: re.Pattern[str]
    folders_only: bool
    keeps: bool
    """Whether it takes back what a line before it leaves out."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The rules of a folder and of those above it, the nearest last."""

    levels: tuple[tuple[str, tuple[Rule, ...]], ...] = ()
    """Each folder's path and its rules."""

    def with_folder(self, folder: str) -> Ignored:
        rules = _rules(f"{folder}/.gitignore")
        return Ignored((*self.levels, (folder, rules))) if rules else self

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        if path.rpartition("/")[2] in _ALWAYS_IGNORED:
            return True
        for folder, rules in reversed(self.levels):
            relative = path.removeprefix(f"{folder}/")
            for rule in reversed(rules):
                if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(relative):
                    return not rule.keeps
        return False


def begun_mention(text: str) -> tuple[str, int] | None:
    """The path that a mention at the end of `text` has so far, and the characters of the mention; None without one."""
    match = _BEGUN.search(text)
    if match is None:
        return None
    path = match[1] if match[1] is not None else re.sub(r"\\(.)", r"\1", match[2])
    return path, len(match[0])


def paths(begun: str) -> list[str]:
    """What a path that begins so may go on with; folders end with a slash."""
    return list(islice(_in_folder(begun or "./"), OFFERED))


def completions(begun: str) -> list[tuple[str, bool]]:
    """What a mention whose path begins with `begun` may become, and whether it goes on: folders end with a slash.

    A path with a slash goes on in its folder. A word is looked for in the names of all files below this folder.
    """
    found = _in_folder(begun) if "/" in begun or begun.startswith(("~", ".")) else _in_tree(begun)
    return [(_open(path), True) if path.endswith("/") else (written(path), False) for path in islice(found, OFFERED)]


def _open(folder: str) -> str:
    """A mention that goes on: its quotation mark is not closed."""
    return f"@{folder}" if re.fullmatch(r'[^\s\\"]+', folder) else f'@"{folder}'


def _in_folder(begun: str) -> Iterator[str]:
    folder, slash, word = begun.rpartition("/")
    if not slash:  # "~", "." and "..": what they hold comes after a slash
        hidden = [] if begun in ("~", "..") else sorted(_entries(".", begun, _ignored_at(".")), key=_order)
        if begun in ("~", ".", ".."):
            yield f"{begun}/"
        yield from (f"{name}/" if is_folder else name for name, is_folder in hidden)
        return
    with suppress(OSError, ValueError, RuntimeError):
        place = str(Path(folder + slash).expanduser())
        for name, is_folder in sorted(_entries(place, word, _ignored_at(place)), key=_order):
            yield f"{folder}/{name}{'/' if is_folder else ''}"


def _in_tree(word: str) -> Iterator[str]:
    wanted = word.lower()
    ranked = []
    for path, is_folder in _walk():
        name = path.rpartition("/")[2].lower()
        if wanted in path.lower():
            rank = 0 if name.startswith(wanted) else 1 if wanted in name else 2
            ranked.append((rank, path.count("/"), path, is_folder))
    for _, _, path, is_folder in sorted(ranked):
        yield f"{path}/" if is_folder else path


def _walk() -> Iterator[tuple[str, bool]]:
    """The files and folders below this one, level by level."""
    until = time.monotonic() + MOST_SECONDS
    seen = 0
    level: Sequence[tuple[str, Ignored]] = [("", _ignored_at("."))]
    for _ in range(DEEPEST):
        below = []
        for folder, ignored in level:
            inside = ignored if not folder else ignored.with_folder(_whole(folder))
            for name, is_folder in sorted(_entries(folder or ".", "", inside)):
                seen += 1
                if seen > MOST_ENTRIES or time.monotonic() > until:
                    return
                path = f"{folder}/{name}" if folder else name
                yield path, is_folder
                if is_folder:
                    below.append((path, inside))
        level = below


def _entries(folder: str, begin: str, ignored: Ignored) -> Iterator[tuple[str, bool]]:
    """The names in a folder that begin so and are not left out, and whether each is a folder that can be walked."""
    here = _whole(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(begin) or (name.startswith(".") and not begin.startswith(".")):
                continue
            if not name.isprintable() or '"' in name or "\\" in name:
                continue  # it cannot be written as a mention
            is_folder = entry.is_dir(follow_symlinks=False)
            if not ignored.leaves_out(f"{here}/{name}", is_folder=is_folder):
                yield name, is_folder


def _whole(folder: str) -> str:
    """The folder's whole path, without a slash at its end."""
    return str(Path(folder).resolve()).rstrip("/")


def _order(entry: tuple[str, bool]) -> tuple[bool, str]:
    return not entry[1], entry[0].lower()


def _ignored_at(folder: str) -> Ignored:
    """The rules that hold in a folder: its own and those up to the repository that it is in."""
    here = Path(_whole(folder))
    chain = [here, *here.parents]
    root = next((place for place in chain if (place / ".git").exists()), None)
    if root is None:
        return Ignored().with_folder(str(here))
    ignored = Ignored()
    if exclude := _rules(str(root / ".git" / "info" / "exclude")):
        ignored = Ignored(((str(root), exclude),))
    for place in reversed(chain[: chain.index(root) + 1]):
        ignored = ignored.with_folder(str(place))
    return ignored


def _rules(file: str) -> tuple[Rule, ...]:
    try:
        facts = Path(file).stat()
    except (OSError, ValueError):
        return ()
    return _read_rules(file, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=512)
def _read_rules(file: str, _changed: int, _size: int) -> tuple[Rule, ...]:
    from toolchat.private_file import read_file

    try:
        lines = read_file(Path(file), _IGNORE_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    return tuple(rule for line in lines[:_MOST_RULES] if (rule := parsed_rule(line)) is not None)


def parsed_rule(line: str) -> Rule | None:
    """The rule of a line, see https://git-scm.com/docs/gitignore; None for a comment, a blank, a broken pattern."""
    text = re.sub(r"(?<!\\) +\Z", "", line)
    if not text or text.startswith("#"):
        return None
    keeps = text.startswith("!")
    text = text.removeprefix("!")
    text = text[1:] if text.startswith(("\\#", "\\!")) else text
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    text = text.lstrip("/")
    if not text or len(text) > 512:
        return None
    with suppress(re.error):
        return Rule(re.compile(("" if anchored else "(?:.*/)?") + _regular(text)), folders_only, keeps)
    return None


def _regular(glob: str) -> str:
    """A pattern of .gitignore as a regular expression that takes no long time on any name."""
    parts = glob.split("/")
    segments = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == "**"]
    if segments.count("**") > _MOST_DEEP:
        raise re.error("too many **")
    out = ""
    for number, segment in enumerate(segments):
        is_last = number == len(segments) - 1
        if segment == "**":
            out += ".*" if is_last else "(?:.*/)?"
        else:
            out += _of_segment(segment) + ("" if is_last else "/")
    return out


def _of_segment(glob: str) -> str:
    parts = [""]
    at = 0
    while at < len(glob):
        rest = glob[at:]
        if rest[0] == "*":
            if parts[-1] or len(parts) == 1:
                parts.append("")
            at += 1
        elif rest[0] == "?":
            parts[-1] += "[^/]"
            at += 1
        elif match := _CLASS.match(rest):
            inside = match[2].replace("\\", "\\\\").replace("[", "\\[")
            parts[-1] += f"[{'^' if match[1] else ''}{inside}]"
            at += match.end()
        else:
            escaped = rest[0] == "\\" and len(rest) > 1
            parts[-1] += re.escape(rest[1] if escaped else rest[0])
            at += 1 + escaped
    first, *more = parts
    if not more:
        return first
    # What stands between two stars is taken where it comes first, and never looked for again.
    return first + "".join(f"(?>[^/]*?{part})" for part in more[:-1]) + f"[^/]*{more[-1]}"
