"""What goes along with a question: files named in it as `@path`, and texts such as a command's output.

A text goes behind the question, with its name, in a fence. Of a question that is shown again only the names are shown.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from toolchat.session.resources import names_resource, quoted
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TEXT = 1_000_000
"""Bytes of a file: more than most contexts hold."""
MAX_FILES = 20
"""In one question."""

_MENTION = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|((?:\\.|[^\s\\"])+))')
_TRAILING = ".,;:!?)]}'"
_PATH_LIKE = re.compile(r"\.{0,2}/|~/")
_OPENS = re.compile(r"(?:\A|(?<=\n\n))([^\n]{1,4096}):\n(`{3,})\n")
_MOST_BLOCKS = 1000
"""That are looked for: each may be a search through all of a text."""
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_SNIFFED = 16


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be sent with a question."""

    name: str
    """What it is, for the model and the user: "output of `ls`"."""
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is sent."""

    text: str
    images: tuple[Image, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user is told of it."""
    typed: str = ""
    """The words that the user has typed for it; "" where it is asked again, with what went along with it then."""


@dataclass(frozen=True, slots=True)
class Mention:
    begin: int
    end: int
    path: str


def mentions(text: str) -> list[Mention]:
    """The files that `text` names as `@path`, `@"a path"` or `@a\\ path`, whether there are such files or not."""
    found = []
    for match in _MENTION.finditer(text):
        if (path := match[1]) is None:
            path = re.sub(r"\\(.)", r"\1", match[2])
        if path:
            found.append(Mention(match.start(), match.end(), path))
    return found


def names_file_among_words(text: str) -> bool:
    """Whether `text` is more than one mention, and holds a mention of a file that there is, or of a resource."""
    found = mentions(text)
    if len(found) == 1 and not (text[: found[0].begin] + text[found[0].end :]).strip():
        return False
    return len(found) > MAX_FILES or any(map(_names_something, found))


def _names_something(mention: Mention) -> bool:
    return names_resource(mention.path) or _file(mention.path) is not None


def named_but_not_sent(text: str, images: Iterable[Image] = ()) -> tuple[str, ...]:
    """The mentions in `as_typed(text)` that name a file or a resource now and did not go along when `text` was sent.

    What a command printed, and what was pasted, is a part of it, and full of words that begin with "@".
    """
    sent = _read_again(text, _blocks(text)) | {image.source for image in images}
    question = as_typed(text)
    found = {question[mention.begin : mention.end]: mention for mention in mentions(question)}
    return tuple(
        words for words, mention in found.items() if _names_something(mention) and not (_sent_as(mention) & sent)
    )


def _sent_as(mention: Mention) -> set[str]:
    return {str(_file(mention.path)), f"@{mention.path}", f"@{mention.path.rstrip(_TRAILING)}"}


def written(path: str) -> str:
    """The mention of a path, as `mentions` reads it back."""
    plain = re.fullmatch(r"[^\s\\\"]+", path) is not None and path[-1] not in _TRAILING
    return f"@{path}" if plain else f'@"{path}"'


def with_files(
    question: str, images: Sequence[Image] = (), texts: Iterable[Text] = (), typed: str | None = None
) -> Question:
    """The question with the files that it names, read now, and with `images` and `texts`.

    Only mentions in `typed` count where that is given: what was pasted is full of words that begin with "@". A name of
    no file stays a word. Raises UsageError for a file that can be read but not sent.
    """
    files: dict[str, Path] = {}
    notes = []
    for mention in mentions(question if typed is None else typed):
        path = _file(mention.path)
        if path is not None:
            files.setdefault(str(path), path)
        elif _PATH_LIKE.match(mention.path):
            what = "a folder; name a file in it" if _is_folder(mention.path) else "no such file"
            notes.append(f"@{mention.path}: {what}; only the words are sent")
    if len(files) > MAX_FILES:
        raise UsageError(f"{len(files)} files: at most {MAX_FILES} can be sent with one question")
    blocks, seen = [], list(images)
    sources = {image.source for image in images}
    for name, path in files.items():
        text = read_text(name, path)
        if text is not None:
            blocks.append(quoted(name, text))
        elif name not in sources:
            seen.append(_image(name))
    blocks += [quoted(one.name, one.text) for one in texts]
    words = question if typed is None else typed
    return Question("\n\n".join([question, *blocks]), tuple(seen), tuple(notes), words)


def read_text(name: str, path: Path) -> str | None:
    """The text of a file; None for an image. Raises UsageError, which names the file as `name`."""
    from toolchat.images.image import ACCEPTED, format_of, size_text
    from toolchat.private_file import TooLargeError, UnfitFileError, open_file

    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            beginning = file.read(_SNIFFED)
            if format_of(beginning) is not None:
                return None
            data = beginning + file.read(MAX_TEXT + 1)
            if len(data) > MAX_TEXT:
                size = size_text(os.fstat(file.fileno()).st_size)
                raise UsageError(f"{name}: {size}; at most {size_text(MAX_TEXT)} can be sent; send a part of it")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: not text in UTF-8 (byte {error.start}), nor an image; expected text or a {ACCEPTED} image"
        ) from None
    except (TooLargeError, UnfitFileError) as error:
        raise UsageError(f"{name}: {error}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{name}: cannot be read: {reason}") from None


@dataclass(frozen=True, slots=True)
class _Block:
    """A text that goes along, within the text of a question."""

    begin: int
    end: int
    """Of what follows it."""
    name: str
    text: str


def shown(text: str, most_lines: int = 30) -> str:
    """A question as it is shown once it was sent: a row for each text that goes along, and of a long one the beginning.

    This depends on the text alone, so that a stored session shows it alike.
    """
    rows: list[str] = []
    at = 0
    for block in _blocks(text):
        rows += _shortened(text[at : block.begin], most_lines)
        rows.append(f"[{block.name}: {lines_of(block.text)}]")
        at = block.end
    rows += _shortened(text[at:], most_lines)
    return "\n".join(rows)


def as_typed(text: str) -> str:
    """A question that was sent, as it is typed again: without what it names, which is read again."""
    blocks = _blocks(text)
    named = _read_again(text, blocks)
    if not named:
        return text
    parts, at = [], 0
    for block in blocks:
        parts.append(text[at : block.begin if block.name in named else block.end])
        at = block.end
    return "".join([*parts, text[at:]]).rstrip("\n")


def _read_again(text: str, blocks: Sequence[_Block]) -> set[str]:
    """The names of the blocks that the words before the first of them name."""
    if not blocks:
        return set()
    question = text[: blocks[0].begin]
    files = {str(path) for mention in mentions(question) if (path := _file(mention.path)) is not None}
    names = {block.name for block in blocks}
    return {name for name in names if name in files or (name.startswith("@") and name in question)}


def _blocks(text: str) -> list[_Block]:
    found: list[_Block] = []
    at = 0
    while len(found) < _MOST_BLOCKS and (opens := _OPENS.search(text, at)) is not None:
        fence = f"\n{opens[2]}"
        closes = text.find(fence, opens.end() - 1)
        end = closes + len(fence)
        if closes < 0 or not (end == len(text) or text.startswith("\n\n", end)):
            break
        at = min(end + 2, len(text))
        found.append(_Block(opens.start(), at, opens[1], text[opens.end() : closes]))
    return found


def dropped_images(pasted: str) -> list[str] | None:
    """The paths of a paste that is nothing but paths of image files, as terminals write what is dropped on them.

    None for any other paste. Looks at the first bytes of the files.
    """
    line = pasted.strip()
    if not line or "\n" in line or len(line) > 8192 or not any(one in line.lower() for one in _IMAGES):
        return None
    for words in (_words(line), [line]):
        paths = [_of_file_address(word) for word in words]
        if paths and all(path is not None and _is_image(path) for path in paths):
            return [path for path in paths if path is not None]
    return None


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _of_file_address(word: str) -> str | None:
    """The path of a `file://` address on this machine, or the word itself."""
    if not word.lower().startswith("file://"):
        return word
    import socket

    try:
        parts = urlsplit(word)
    except ValueError:
        return None
    return unquote(parts.path) if parts.netloc in ("", "localhost", socket.gethostname()) else None


def _is_image(path: str) -> bool:
    from toolchat.images.image import format_of

    if "/" not in path or not path.lower().endswith(_IMAGES) or not path.isprintable() or '"' in path:
        return False
    found = _file(path)
    if found is None:
        return False
    try:
        with found.open("rb") as file:
            return format_of(file.read(_SNIFFED)) is not None
    except OSError:
        return False


def _file(written: str) -> Path | None:
    """The regular file of a mention; without the punctuation behind it where only that is one."""
    name = written
    while name:
        try:
            path = Path(name).expanduser()
            if stat.S_ISREG(path.stat().st_mode):
                return path
        except (OSError, ValueError, RuntimeError):
            pass
        if name[-1] not in _TRAILING:
            return None
        name = name[:-1]
    return None


def _is_folder(written: str) -> bool:
    try:
        return Path(written).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def _image(name: str) -> Image:
    from toolchat.images.attached import read_image

    return read_image(name)


def _shortened(text: str, most_lines: int) -> list[str]:
    lines = text.strip("\n").split("\n") if text.strip("\n") else []
    if len(lines) <= most_lines:
        return lines
    kept = lines[: most_lines // 2]
    return [*kept, f"[… {len(lines) - len(kept):,} more lines]"]


def lines_of(text: str) -> str:
    """How many lines a text has: "1 line"."""
    lines = text.count("\n") + 1
    return "1 line" if lines == 1 else f"{lines:,} lines"
