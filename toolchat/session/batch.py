"""Asks many questions at once on one engine, each in a conversation of its own; keeps what a batch has answered.

A row that fails stops no other. An answer is on disk before the next question of its place is asked, so that a batch
that was killed goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolchat.chat.approval import ApprovalPolicy, decider
from toolchat.chat.calls import CallRunner, Decide
from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import Engine
from toolchat.environment import refused
from toolchat.images.attached import read_images, refuse_unseen
from toolchat.session.background import in_background
from toolchat.session.keeper import EngineKeeper
from toolchat.session.session import check_tool_choice, generate_options, left_out
from toolchat.session.startup import Plan
from toolchat.settings import NO_SYSTEM, user_path
from toolchat.store.record import new_session_id
from toolchat.store.transcript import Transcript, TurnStory, call_json, turn_json
from toolchat.wire.errors import ExitCode, ToolchatError, UsageError
from toolchat.wire.events import EventBody, Stamper, TurnStatus
from toolchat.wire.messages import ToolSpec

_KEYS = {"id", "question", "system", "images", "schema"}
_SPARE = 2
"""Requests beyond the engine's width, so that it has work while a row runs tools or is written down."""


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


def answer_json(story: TurnStory, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer as `ask --json` and a batch give it (docs/scripts.md). With `schema`, "json" is the answer's value."""
    data = turn_json(story)
    data["calls"] = [call_json(call) for call in story.calls]
    del data["steps"], data["number"]
    if schema is not None:
        value, code, problem = held(story)
        data |= {"json": value, "exit_code": code}
        if problem:
            data["notices"] = [*data["notices"], problem]
    return data


def held(story: TurnStory) -> tuple[Any, int, str]:
    """The value of an answer that was held to a schema, the exit code of its turn, and what is wrong; "" for nothing.

    None where it is no JSON: it was cut off, or there is none.
    """
    try:
        return json.loads(story.answer), int(story.exit_code), ""
    except (ValueError, RecursionError):
        if story.exit_code != ExitCode.OK:
            return None, int(story.exit_code), ""
        return None, ExitCode.FAILURE, "the answer is not JSON: the engine did not hold it to the schema"


class RowAsker:
    """Asks rows on one engine, which is loading: see `open_asker`."""

    def __init__(self, plan: Plan, engine: Engine, emit: Callable[[EventBody], None]) -> None:
        self._plan = plan
        self._keeper = EngineKeeper(engine, emit)
        self._runner: CallRunner | None = None
        self._decide: Decide | None = None
        self._options = generate_options(plan.settings)
        self._offered: tuple[ToolSpec, ...] = ()
        self._system = plan.settings.system
        self._session = new_session_id()

    def use_own_system(self, text: str | None) -> None:
        """The prompt that comes with the model, for where the user chose none."""
        if self._system is None:
            self._system = text

    async def launch(self) -> None:
        await self._keeper.launch()

    def equip(self, runner: CallRunner, policy: ApprovalPolicy) -> None:
        """As `Session.equip`. Nobody is there to be asked: several calls would be asked about at once."""
        self._runner = runner
        policy.check(runner.toolbox)
        off = left_out(runner.toolbox, self._plan.only)
        check_tool_choice(self._options.tool_choice, runner.toolbox, off)
        self._offered = tuple(spec for spec in runner.toolbox.specs if spec.name not in off)
        self._decide = decider(policy, None)

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""
        await self._keeper.ready()

    async def close(self) -> None:
        await self._keeper.stop()
        if self._runner is not None:
            await self._runner.close()
        await self._keeper.close()

    async def run(
        self, rows: Sequence[Row], done: Callable[[Row, dict[str, Any]], None], *, places: int | None = None
    ) -> None:
        """Ask all rows; `done` is called with each and its answer, see `answer_json`, in the order of their ends.

        So many as `places` are asked at the same time; None for as many as the engine generates at the same time.

        Where the engine dies it is started again, and the rows that it was at are asked once more, one at a time: what
        kills it costs one row. Raises EngineError where it cannot be started again.
        """
        waiting = deque(rows)
        while waiting:
            crashed: list[Row] = []

            async def work(crashed: list[Row] = crashed) -> None:
                while waiting and self._alive:
                    row = waiting.popleft()
                    answer = await self._answer(row)
                    if self._alive or answer["exit_code"] != ExitCode.ENGINE:
                        done(row, answer)
                    else:
                        crashed.append(row)

            several = places or self.width + _SPARE
            async with asyncio.TaskGroup() as group:
                for _ in range(min(several, len(waiting))):
                    group.create_task(work())
            for row in crashed:
                await self._alive_again()
                done(row, await self._answer(row))
            await self._alive_again()

    @property
    def width(self) -> int:
        """Of the engine, see `EngineInfo.width`."""
        info = self._keeper.engine.info
        return info.width if info is not None else 1

    @property
    def _alive(self) -> bool:
        return self._keeper.engine.info is not None

    async def _alive_again(self) -> None:
        if not self._alive:
            await self._keeper.launch()
            await self._keeper.ready()

    async def _answer(self, row: Row) -> dict[str, Any]:
        """The answer to one row; of one that fails, why."""
        if row.problem:
            return failure(row.problem, ExitCode.USAGE)
        try:
            story = await self._story(row)
        except ToolchatError as error:
            return failure(str(error), error.exit_code)
        except Exception as error:
            reason = refused(error) or f"unexpected {type(error).__name__}: {error} (please report it)"
            return failure(" ".join(reason.split()), ExitCode.FAILURE)
        answer = answer_json(story, row.schema)
        if story.status is TurnStatus.ENGINE_FAILED:
            answer["error"] = "the engine failed while it answered"
        return answer

    async def _story(self, row: Row) -> TurnStory:
        assert self._runner is not None
        assert self._decide is not None
        info = self._keeper.engine.info
        if row.images and info is not None and not info.supports_images:
            raise refuse_unseen(self._plan.model)
        images = await in_background(lambda _: read_images(row.images)) if row.images else ()
        system = self._system if row.system is None else row.system
        told = Transcript()
        told.model = self._plan.model
        loop = ChatLoop(
            engine=self._keeper.engine,
            conversation=Conversation(system or None),
            runner=self._runner,
            options=self._options if row.seed is None else replace(self._options, seed=row.seed),
            stamp=Stamper(f"{self._session}-{row.number}", time.time),
            decide=self._decide,
            offered=lambda: self._offered,
        )
        async with contextlib.aclosing(loop.turn(row.question, images, row.schema)) as turn:
            async for event in turn:
                told.take(event)
        return told.turns[-1]


def failure(problem: str, code: ExitCode) -> dict[str, Any]:
    """In the place of an answer."""
    return {"answer": None, "error": problem, "exit_code": int(code)}


@contextlib.asynccontextmanager
async def open_asker(plan: Plan, policy: ApprovalPolicy, emit: Callable[[EventBody], None]) -> AsyncIterator[RowAsker]:
    """An asker with its tools, whose engine is loading: await `ready` first. `emit` is told how the engine is.

    Raises UsageError where the tools cannot be had, or a flag names one that there is not.
    """
    asker = RowAsker(plan, plan.engine(), emit)
    try:
        asker.use_own_system(plan.own_prompt().text)
        await asker.launch()
        asker.equip(await plan.start_tools(), policy)
        yield asker
    finally:
        await asker.close()


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
    return {
        "model": plan.model,
        "options": asdict(generate_options(plan.settings)),
        "system": plan.settings.system,
        "tools": None if tools is None else str(tools),
        "only": plan.only,
    }
