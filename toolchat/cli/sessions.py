"""`toolchat sessions`: the stored chats, listed, shown, searched, named, exported, imported and deleted."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolchat.store.sessions import StoredSession
    from toolchat.store.transcript import Transcript

app = typer.Typer(help="The stored chats.", no_args_is_help=True, rich_markup_mode=None)

Which = Annotated[
    str,
    typer.Argument(
        help="Its name, its id or a part of that, or: last.", metavar="SESSION", autocompletion=completion.sessions
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead, for scripts.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.", metavar="N")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write into this file instead of to stdout.", metavar="FILE")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="md, json, html, or jsonl, which sessions import reads [default: by FILE's name, else md].",
        metavar="FORMAT",
    ),
]
FORMATS = ("md", "json", "html", "jsonl")


@app.command("list")
def list_(
    limit: Limit = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them, also those without a question.")] = False,
    json: Json = False,
) -> None:
    """List the sessions, the last used first."""
    from toolchat.ui.tables import print_sessions

    with _store() as store:
        found = store.latest(None if everything else limit, empty=everything)
    if json:
        _print_json([session_json(one) for one in found])
    else:
        print_sessions(found)


@app.command()
def show(session: Which = "last", json: Json = False) -> None:
    """Show a session from its first question on."""
    transcript = _transcript(session)
    typer.echo(_export(transcript, "json" if json else "md"), nl=False)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words that stand in it, or their beginnings.", metavar="TEXT")],
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Search questions, answers, calls and results. Exits with 1 where nothing is found."""
    from toolchat.ui.tables import print_hits

    with _store() as store:
        found = store.search(text, limit)
    if json:
        _print_json([{"session": session_json(hit.session), **_hit_json(hit)} for hit in found])
    else:
        print_hits(found)
    if not found:
        raise typer.Exit(1)


@app.command()
def rename(
    session: Which, name: Annotated[str, typer.Argument(help="What it is to be called.", metavar="NAME")]
) -> None:
    """Give a session a name, by which --resume finds it."""
    with _store() as store:
        found = store.find(session)
        store.rename(found, name)
    _say(f"{found.id} is {name} now.")


@app.command()
def export(session: Which = "last", output: Output = None, form: Format = None) -> None:
    """Write a session as Markdown, JSON, one HTML page, or as lines that import reads."""
    form = export_format(form, output)
    if form == "jsonl":
        from toolchat.store.sessions import exported_lines

        with _store() as store:
            content = b"".join(exported_lines(store.events(store.find(session))))
    else:
        content = _export(_transcript(session), form).encode("utf-8", "replace")
    if output is not None:
        write_export(output, content)
        _say(f"{output} is written.")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files that export --format jsonl wrote, or records of before.", metavar="FILE…"),
    ],
) -> None:
    """Store sessions that were exported, or recorded before there was a database."""
    from toolchat.store.record import read_record
    from toolchat.wire.errors import ToolchatError, UsageError

    failed: list[str] = []
    with _store() as store:
        for file in files:
            try:
                stored = store.put(read_record(file))
                _say(f"{file}: stored as {stored.id}, {_turns(stored.turns)}.")
            except ToolchatError as error:
                told = str(error)
                failed.append(told if told.startswith(str(file)) else f"{file}: {told}")
    if failed:
        raise UsageError("\n".join(failed))


@app.command()
def delete(
    sessions: Annotated[list[str], typer.Argument(help="Names or ids.", metavar="SESSION…")],
) -> None:
    """Delete sessions, and the images and results that only they have."""
    with _store() as store:
        for found in [store.find(session) for session in sessions]:
            store.delete(found)
            _say(f"{found.handle} is deleted.")
        store.collect()


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", help="Days, or a number with h, d, w or y: 90, 12w, 1y.", metavar="AGE")
    ],
) -> None:
    """Delete the sessions without a name that were not used for so long, and files that none needs any more."""
    import time

    seconds = age(older_than)
    with _store() as store:
        gone = store.prune(time.time() - seconds)
        files = store.collect()
    what = "1 session is" if gone == 1 else f"{gone} sessions are"
    _say(f"{what} deleted, and {'1 file' if files == 1 else f'{files} files'}.")


def export_format(form: str | None, output: Path | None) -> str:
    """The format that is meant. Raises UsageError for one that there is not."""
    from toolchat.wire.errors import UsageError

    by_name = output.suffix.removeprefix(".").lower() if output is not None else ""
    form = form or {"markdown": "md", "htm": "html"}.get(by_name, by_name if by_name in FORMATS else "md")
    if form not in FORMATS:
        raise UsageError(f"--format {form}: expected one of {', '.join(FORMATS)}")
    return form


def age(written: str) -> float:
    """Seconds of "90" (days), "12h", "12w" or "1y". Raises UsageError."""
    from toolchat.wire.errors import UsageError

    found = re.fullmatch(r"(\d{1,6})\s*([hdwy]?)", written.strip().lower())
    if found is None:
        raise UsageError(f"--older-than {written}: expected days, or a number with h, d, w or y, such as 90, 12w or 1y")
    return int(found[1]) * {"h": 3600, "": 86400, "d": 86400, "w": 604800, "y": 31557600}[found[2]]


def write_export(path: Path, content: bytes) -> None:
    """Write a new file. Raises UsageError where that cannot be done, also where there is one: it may be anything."""
    from toolchat.environment import refused
    from toolchat.wire.errors import UsageError

    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path}: is there already; remove it, or write elsewhere") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {refused(error) or error}") from None


def session_json(session: StoredSession) -> dict[str, Any]:
    """As `list --json` has it (docs/sessions.md)."""
    return {
        "id": session.id,
        "name": session.name,
        "title": session.title,
        "model": session.model,
        "turns": session.turns,
        "began": session.began,
        "updated": session.updated,
    }


def _hit_json(hit: Any) -> dict[str, Any]:
    return {"turn": hit.turn, "kind": hit.kind, "excerpt": hit.excerpt}


def _transcript(session: str) -> Transcript:
    from toolchat.store.transcript import Transcript

    with _store() as store:
        return Transcript(store.events(store.find(session)))


def _export(transcript: Transcript, form: str) -> str:
    from toolchat.ui.export import ExportFormat, export

    return export(transcript, ExportFormat(form))


def _store() -> Any:
    from toolchat.settings import state_folder
    from toolchat.store.sessions import stored_sessions
    from toolchat.store.state import open_state

    return stored_sessions(open_state(state_folder()) / "sessions")


def _print_json(rows: Sequence[Any]) -> None:
    import json

    typer.echo(json.dumps(rows, indent=1))


def _say(text: str) -> None:
    from toolchat.ui.text.sanitize import sanitize_line

    typer.echo(sanitize_line(text))


def _turns(number: int) -> str:
    return "1 turn" if number == 1 else f"{number} turns"
