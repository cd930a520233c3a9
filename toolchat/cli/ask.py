"""`toolchat ask`: one question, one answer on stdout; everything else on stderr. Many of both with --n and --batch."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.cli.given import (
    cassette_to_replay,
    check_record,
    recorded_tools,
    session_to_open,
    settings_flags,
    tape_for,
)

if TYPE_CHECKING:
    from toolchat.chat.approval import ApprovalPolicy
    from toolchat.cli.input_text import Note
    from toolchat.models.choice import ModelChoice
    from toolchat.models.hub import RemoteSize
    from toolchat.session.startup import Plan
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Cassette
    from toolchat.store.sessions import Opened

MOST_ANSWERS = 64
"""Of --n."""


def answer(given: Mapping[str, Any]) -> int:
    """Do what the flags say, by the names of `main.ask`'s parameters; the exit code. Raises ToolchatError."""
    # Modules are no garbage: the collector's rounds over them are a twentieth of what a command takes of its own.
    gc.disable()
    if given["offline"]:
        from toolchat.offline import go_offline

        go_offline()
    _check(given)
    with _errors_too(given["as_json"]):
        from toolchat.cli.approval import make_policy
        from toolchat.settings import state_folder
        from toolchat.store.state import open_state

        open_state(state_folder())
        policy = make_policy(yes=given["yes"], allow=given["allow"], deny=given["deny"])
        if given["batch"] is not None:
            return _batch(given, policy)
        return _one(given, policy)


_ALONE: Mapping[str, tuple[str, ...]] = {
    "batch": (
        "question",
        "file",
        "image",
        "as_json",
        "stream_json",
        "n",
        "session",
        "continue_",
        "record",
        "replay",
        "recorded_results",
    ),
    "n": ("stream_json", "session", "continue_", "record", "replay", "recorded_results"),
    "stream_json": ("as_json",),
    "no_tools": ("tool",),
}
"""Flags that leave no sense to others."""
_NAMES = {"question": "a question", "as_json": "--json", "continue_": "--continue"}


def _check(given: Mapping[str, Any]) -> None:
    """Raise UsageError for flags that contradict each other."""
    from toolchat.wire.errors import UsageError

    def is_given(name: str) -> bool:
        return given[name] != 1 if name == "n" else bool(given[name] or given[name] == "")

    for one, others in _ALONE.items():
        for other in filter(is_given, others if is_given(one) else ()):
            first, second = (_NAMES.get(name, f"--{name.replace('_', '-')}") for name in (one, other))
            raise UsageError(f"{first} and {second} do not go together; leave one of them out")
    if given["batch"] is not None and given["output"] is None:
        raise UsageError("--batch: name the file that the answers go to with -o")
    if given["output"] is not None and given["batch"] is None:
        raise UsageError("-o: is where the answers of --batch go; without that, use > FILE")


@contextlib.contextmanager
def _errors_too(as_json: bool) -> Iterator[None]:
    """With --json, what ends the command without an answer is an object too, beside its line on stderr."""
    from toolchat.wire.errors import ToolchatError

    try:
        yield
    except ToolchatError as error:
        if as_json:
            from toolchat.ui.json_output import write_json

            write_json(sys.stdout, {"answer": None, "error": str(error), "exit_code": int(error.exit_code)})
        raise


def _note(quiet: bool) -> Note:
    from toolchat.cli.input_text import tell

    return (lambda _: None) if quiet else tell


def _plan(
    given: Mapping[str, Any],
    flags: Mapping[str, Any],
    images: tuple[str, ...] = (),
    opened: Opened | None = None,
    cassette: Cassette | None = None,
    *,
    see: bool = False,
) -> Plan:
    """What the chat starts from, the model's files here. `see`: whether there will be other images."""
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.session.startup import prepare
    from toolchat.settings import resolve

    if opened is not None and cassette is None:
        from toolchat.session.past import with_model

        flags = with_model(flags, opened.record.transcript.model)
    debug = bool(os.environ.get("TOOLCHAT_DEBUG"))
    runs_tools = not given["no_tools"] and not given["recorded_results"]
    tools = choose_tools_file(resolve(flags)) if runs_tools else None
    if cassette is not None:
        from toolchat.session.replaying import replay_plan

        plan = replay_plan(cassette, flags, tools, images=images, debug=debug)
    else:
        plan = prepare(flags, tools, _obtain, images=images, see=see, debug=debug)
    gc.freeze()
    gc.enable()
    return replace(plan, only=tuple(given["tool"] or ()))


def _obtain(choice: ModelChoice, fits: Callable[[RemoteSize], str]) -> Path:
    if choice.folder is not None:
        return choice.folder
    from toolchat.cli.models import obtain_with_progress  # with typer and rich

    return obtain_with_progress(choice, fits)


def _batch(given: Mapping[str, Any], policy: ApprovalPolicy) -> int:
    from toolchat.cli.batch import run_batch
    from toolchat.cli.input_text import check_schema, read_schema
    from toolchat.session.batch_file import read_rows
    from toolchat.settings import user_path

    schema = read_schema(given["schema"]) if given["schema"] is not None else None
    rows = read_rows(user_path(given["batch"]), schema, check_schema)
    plan = _plan(given, settings_flags(given), see=any(row.images for row in rows))
    source, out = user_path(given["batch"]), user_path(given["output"])
    return run_batch(plan, rows, source, out, policy, _note(given["quiet"]), quiet=given["quiet"])


def _one(given: Mapping[str, Any], policy: ApprovalPolicy) -> int:
    from toolchat.cli.input_text import read_question, read_schema
    from toolchat.settings import resolve

    schema = read_schema(given["schema"]) if given["schema"] is not None else None
    note = _note(given["quiet"])
    question = read_question(given["question"], given["file"] or (), read_stdin=not given["no_stdin"], note=note)
    images = (*(given["image"] or ()), *question.images)
    flags = settings_flags(given)
    check_record(given["record"])
    cassette = cassette_to_replay(given["replay"], given["recorded_results"], flags)
    stored = resolve(flags).store
    opened = session_to_open(given["session"], given["continue_"], stored, "--session")
    plan = _plan(given, flags, images, opened, cassette)
    if given["n"] > 1:
        from toolchat.cli.batch import run_several
        from toolchat.session.batch_file import Row

        row = Row(1, question.text, images=images, schema=schema)
        return run_several(plan, row, given["n"], policy, as_json=given["as_json"], quiet=given["quiet"])
    return _answer(plan, question.text, schema, policy, given, opened, cassette)


def _answer(
    plan: Plan,
    question: str,
    schema: dict[str, Any] | None,
    policy: ApprovalPolicy,
    given: Mapping[str, Any],
    opened: Opened | None,
    cassette: Cassette | None,
) -> int:
    """Ask one question, and print its answer in the form that the flags say."""
    from toolchat.cli.approval import ask_on_terminal
    from toolchat.cli.running import Interrupts, run_async
    from toolchat.session.startup import open_session
    from toolchat.ui.plain import PlainRenderer

    as_json, as_events = given["as_json"], given["stream_json"]
    streams = schema is None and not as_json and not as_events
    renderer = PlainRenderer(sys.stdout if streams else None, quiet=given["quiet"])
    recorded = recorded_tools(cassette if given["recorded_results"] else None)
    answer = None
    if not streams:
        from toolchat.ui.json_output import Answer

        answer = Answer(sys.stdout, renderer, events=as_events)
    shown = answer or renderer

    async def main(_: Interrupts) -> int:
        with renderer:
            ask_person = ask_on_terminal(renderer.pause)
            tape = tape_for(given["record"], "ask", plan)
            async with open_session(
                plan, shown.show, policy, ask_person, shown.show_plain, opened, early_tools=True, tape=tape, **recorded
            ) as chat:
                await chat.ready()
                code = (await chat.ask(question, plan.images, schema, typed=given["question"] or "")).exit_code
            return code or _recorded(tape, quiet=given["quiet"])

    code = run_async(main)
    return code if answer is None or as_events else answer.write(schema, as_json=as_json) or code


def _recorded(tape: CassetteWriter | None, *, quiet: bool) -> int:
    """1 where the cassette is not whole: else a notice has said so."""
    if tape is None or tape.failure is None:
        return 0
    if quiet:
        from toolchat.ui.text.sanitize import sanitize

        print(f"toolchat: {sanitize(tape.loss)}", file=sys.stderr)
    return 1
