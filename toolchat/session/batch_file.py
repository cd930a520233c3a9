"""The files of a batch: its rows, and what has been answered of them, so that a batch that was killed goes on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchat.session.startup import Plan
from toolchat.session.turn_settings import generate_options
from toolchat.settings import NO_SYSTEM, user_path
from toolchat.wire.errors import UsageError

_KEYS = {"id", "question", "system", "images", "schema"}


@dataclass(frozen=True, slots=True)
class Row:
    """One question."""

    number: int
    """Of its line in the file, from 1."""
    question: str
    id: Any = None
    system: str | None = None
    """Empty for none; None for what the other rows have."""
    images: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    problem: str = ""
    """Why it cannot be asked."""
    seed: int | None = None


def read_rows(path: Path, schema: dict[str, Any] | None, check: Callable[[str, Any], None]) -> list[Row]:
    """The rows of a JSONL file, blank lines left out. `schema` is for those without one of their own.

    A line that is no row becomes one with a `problem`; `check` raises UsageError for what is no schema. Raises
    UsageError where there is no such file, or not a single line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not text in UTF-8 (byte {error.start}); expected a JSON object a line") from None
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; expected a file with a JSON object a line"
        ) from None
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        data: dict[str, Any] = {}
        try:
            data = _object(f"line {number}", line)
            rows.append(_row(number, data, path.parent, schema, check))
        except UsageError as error:
            rows.append(Row(number, line, data.get("id"), problem=str(error)))
    if not rows:
        raise UsageError(f'{path}: there is no row in it; expected a JSON object a line, such as {{"question": "…"}}')
    return rows


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON ({error}); expected an object") from None
    if not isinstance(data, dict):
        raise UsageError(f'{where}: expected an object such as {{"question": "…"}}')
    return data


def _row(
    number: int,
    data: dict[str, Any],
    folder: Path,
    schema: dict[str, Any] | None,
    check: Callable[[str, Any], None],
) -> Row:
    where = f"line {number}"
    if unknown := sorted(data.keys() - _KEYS):
        raise UsageError(f"{where}: there is no field {unknown[0]!r}; the fields are {', '.join(sorted(_KEYS))}")
    question, system, images = data.get("question"), data.get("system"), data.get("images") or []
    if not isinstance(question, str) or not question.strip():
        raise UsageError(f"{where}: question: expected a text")
    if system is not None and not isinstance(system, str):
        raise UsageError(f"{where}: system: expected a text")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise UsageError(f"{where}: images: expected a list of files and addresses")
    if (own := data.get("schema")) is not None:
        check(f"{where}: schema", own)
    if system is not None:
        system = "" if system.strip().lower() in ("", NO_SYSTEM) else system
    # A relative path begins at the file that has it, wherever the user is.
    places = tuple(image if "://" in image else str(folder / user_path(image)) for image in images)
    return Row(number, question, data.get("id"), system, places, own if own is not None else schema)


class Results:
    """The answers of a batch: `OUT`, in the order of the rows and whole; before that `OUT.part`, as they come.

    Each line has the "row", its "id", a "key" of what was asked and how, and the answer.
    """

    def __init__(self, path: Path, rows: Sequence[Row], asked_with: dict[str, Any]) -> None:
        """Read what an earlier run has answered.

        Raises UsageError where a file is not a batch's, is another one's, or is in use, and OSError.
        """
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._keys = {row.number: _key(row, asked_with) for row in rows}
        self._ids = {row.number: row.id for row in rows}
        if path.exists() and not path.is_file():
            raise UsageError(f"-o {path}: not a file; expected one to write a JSON object a line to")
        self.answers: dict[int, dict[str, Any]] = self._read(path, path.read_bytes()) if path.exists() else {}
        self._file = os.open(self.part, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._take_over()
        except BaseException:
            os.close(self._file)
            raise

    def _take_over(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{self.part}: another toolchat is writing it; wait for that, or give another -o"
            ) from None
        with open(self.part, "rb") as file:  # noqa: PTH123
            written = file.read()
        # The last line of a run that was killed may be half of one.
        whole = written[: written.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        self.answers |= self._read(self.part, whole)

    def _read(self, path: Path, written: bytes) -> dict[int, dict[str, Any]]:
        found = {}
        for number, line in enumerate(written.splitlines(), 1):
            try:
                answer = json.loads(line)
                row, key = answer["row"], answer["key"]
            except (ValueError, KeyError, TypeError):
                raise UsageError(f"{path}, line {number}: no answer of a batch; give another file with -o") from None
            if self._keys.get(row) != key:
                raise UsageError(
                    f"{path}, line {number}: answers another question than row {row} has now, or was asked with other "
                    f"flags; give another file with -o, or delete this one"
                )
            found[row] = answer
        return found

    def add(self, row: Row, answer: dict[str, Any]) -> None:
        """Write one answer. Raises OSError."""
        told = {"row": row.number, "id": row.id, "key": self._keys[row.number], **answer}
        line = _line(told)
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.part)) from None
        self.answers[row.number] = told

    @property
    def failed(self) -> int:
        """Rows with another code than 0."""
        return sum(answer["exit_code"] != 0 for answer in self.answers.values())

    def finish(self) -> None:
        """Put the answers in order, all of them there. Raises OSError."""
        ordered = self.part.with_suffix(".ordered")
        try:
            with ordered.open("wb") as file:
                for number in self._keys:
                    file.write(_line(self.answers[number]))
                file.flush()
                os.fsync(file.fileno())
            ordered.replace(self.path)
        except BaseException:
            ordered.unlink(missing_ok=True)
            raise
        self.part.unlink(missing_ok=True)

    def close(self) -> None:
        """May leave the part, for the next run; not where there is nothing in it."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file).st_size == 0:
                self.part.unlink()
        os.close(self._file)


def _line(answer: dict[str, Any]) -> bytes:
    # A lone surrogate, which UTF-8 has not, becomes JSON's own escape of it.
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _key(row: Row, asked_with: dict[str, Any]) -> str:
    """Another one for another question, or for one that is asked otherwise."""
    return hashlib.sha256(json.dumps([asdict(row), asked_with], sort_keys=True).encode()).hexdigest()[:16]


def asked_with(plan: Plan) -> dict[str, Any]:
    """What decides on answers besides the rows. Not the model's own prompt: its date is another one tomorrow."""
    tools = plan.tools if isinstance(plan.tools, Path | None) else plan.tools.path
    settings = plan.settings
    return {
        "model": [plan.model, settings.server, settings.revision, settings.lora, settings.quantization],
        "options": asdict(generate_options(settings)),
        "system": settings.system,
        "tools": None if tools is None else str(tools),
        "only": plan.only,
    }
