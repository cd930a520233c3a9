"""`toolchat serve`: vLLM's own server with a model, in the foreground. Imports nothing heavy."""

from __future__ import annotations

import os
import shlex
import socket as sockets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import completion
from toolchat.cli.given import settings_flags
from toolchat.cli.options import Offline, takes_settings

if TYPE_CHECKING:
    from toolchat.engine.served import ServedModel
    from toolchat.engine.server_command import Place, ServerCommand
    from toolchat.models.choice import ModelChoice

KEY_FILE = "serve-api-key"
"""In the state folder: the key that was made."""
_MOST_KEY = 4096

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        help="demo, a Hugging Face id, or a model's folder [default: as for repl]. Behind -- stand vLLM's own flags.",
        metavar="[MODEL] [-- FLAGS]",
        show_default=False,
        autocompletion=completion.models,
    ),
]
Host = Annotated[
    str, typer.Option("--host", help="Where to listen; 0.0.0.0 for every address, with an API key.", metavar="HOST")
]
Port = Annotated[int, typer.Option("--port", help="The port.", min=1, max=65535, metavar="PORT")]
Socket = Annotated[
    str | None,
    typer.Option("--socket", help="Listen on a unix socket, for you alone, and on no port.", metavar="PATH"),
]
ServeKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="The key that clients must have; --api-key-file does not show it to this machine's other users.",
        metavar="KEY",
    ),
]
ServeKeyFile = Annotated[
    str | None, typer.Option("--api-key-file", help="The file that holds the key, in one line.", metavar="FILE")
]


@dataclass(frozen=True, slots=True)
class _Key:
    """The key that clients must have; empty for none."""

    value: str = ""
    shell: str = ""
    """What a shell makes the key of."""
    note: str = ""


@takes_settings("context", "kv_cache_gib", "text_only", "revision", "profile", "project")
def serve(
    arguments: Arguments = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    socket: Socket = None,
    api_key: ServeKey = None,
    api_key_file: ServeKeyFile = None,
    offline: Offline = False,
    **given: Any,
) -> None:
    """Start vLLM's own server with a model, for toolchat on other machines and for any OpenAI client.

    It runs until Ctrl-C. A Mistral model gets the flags that it needs; vLLM's own stand behind --, such as
    --tensor-parallel-size 2.
    """
    from toolchat.cli.running import run_async
    from toolchat.engine.server_process import check_place, run_server
    from toolchat.engine.vllm_options import read_passed, server_flags
    from toolchat.models.hardware import engine_device
    from toolchat.session.serving import plan_server

    engine_device()  # without vLLM nothing else matters
    named, behind = _parted(arguments or [])
    passed = read_passed(behind, server_flags())
    place = _place(host, port, socket)
    headless = any(flag.name == "headless" for flag in passed)
    if not headless:
        check_place(place)
    key = _Key() if headless else _key(place, api_key, api_key_file)
    if key.note:
        _say(key.note)  # at once: one that was made is shown this once
    flags = settings_flags({**given, "model": named})
    plan = plan_server(flags, place, passed, key.value, _obtain)
    for note in (*plan.notes, *([] if headless else _left_open(place, key))):
        _say(note)

    def ready(served: ServedModel) -> None:
        for line in _announcement(plan.command, served, key):
            typer.echo(line)

    run_async(lambda _: run_server(plan.command, plan.device, _say, ready))


def _parted(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The model, and vLLM's flags: no model's name begins with a dash."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return None, arguments


def _place(host: str, port: int, socket: str | None) -> Place:
    from toolchat.engine.server_command import Place
    from toolchat.settings import SETTINGS, user_path
    from toolchat.wire.errors import UsageError

    if socket is None:
        if not host.strip():
            raise UsageError("--host: expected a name or address of this machine, not ''")
        return Place(host.strip().removeprefix("[").removesuffix("]"), port)
    path = user_path(socket).absolute()
    try:
        SETTINGS["server"].parse(f"unix:{path}")  # clients must be able to name it
    except ValueError:
        raise UsageError(
            f"--socket {socket}: expected a path of at most 107 bytes, not {len(os.fsencode(path))}"
        ) from None
    return Place(socket=str(path))


def _key(place: Place, written: str | None, file: str | None) -> _Key:
    """The key of the flags, of VLLM_API_KEY, or for a place that others reach the one that is kept or made now."""
    from toolchat.wire.errors import UsageError

    if written is not None and file is not None:
        raise UsageError("--api-key and --api-key-file contradict each other; leave one of them out")
    if written is not None:
        return _Key(_checked(written, "--api-key"), "KEY")
    if file is not None:
        return _of_file(file)
    if of_variable := os.environ.get("VLLM_API_KEY"):
        return _Key(_checked(of_variable, "VLLM_API_KEY"), "$VLLM_API_KEY")
    return _Key() if place.is_local else _made(place)


def _checked(key: str, where: str) -> str:
    from toolchat.settings import SETTINGS
    from toolchat.wire.errors import UsageError

    try:
        return str(SETTINGS["api_key"].parse(key))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _of_file(written: str) -> _Key:
    from toolchat.private_file import read_file
    from toolchat.settings import user_path
    from toolchat.wire.errors import UsageError

    path = user_path(written).absolute()
    try:
        key = read_file(path, _MOST_KEY).decode("utf-8-sig")
        is_open = bool(path.stat().st_mode & 0o004)
    except OSError as error:
        raise UsageError(f"--api-key-file {written}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--api-key-file {written}: expected a key of printable ASCII characters") from None
    note = f"--api-key-file {written}: other users of this machine may read it; chmod 600 closes it" if is_open else ""
    return _Key(_checked(key, f"--api-key-file {written}"), f"$(cat {shlex.quote(str(path))})", note)


def _made(place: Place) -> _Key:
    """The key that is kept in the state folder; made where there is none, and shown then and never again."""
    import secrets

    from toolchat.private_file import open_private, private_folder, read_believed
    from toolchat.settings import state_folder
    from toolchat.wire.errors import UsageError

    path = state_folder() / KEY_FILE
    shell = f"$(cat {shlex.quote(str(path))})"
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            kept = _checked(read_believed(path, _MOST_KEY).decode("ascii", "replace"), str(path))
            return _Key(kept, shell, f"clients need the API key that is kept in {path}")
        key = secrets.token_urlsafe(32)
        private_folder(path.parent)
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="ascii") as file:
            file.write(f"{key}\n")
    except OSError as error:
        raise UsageError(
            f"--host {place.host}: others reach it, so it needs an API key, and none can be kept in {path} "
            f"({error.strerror or error}); give one with --api-key-file"
        ) from None
    return _Key(key, shell, f"the API key that clients need, not shown again: {key} (kept in {path})")


def _left_open(place: Place, key: _Key) -> list[str]:
    """What those who reach the server may do without a key."""
    if key.value or place.socket is not None:
        return []
    return ["every user of this machine may use it: it has no API key"]


def _obtain(choice: ModelChoice) -> Path:
    from toolchat.cli.models import obtain_with_progress

    # Not compared with the card: vLLM may spread it over several.
    return obtain_with_progress(choice, lambda _: "")


def _announcement(command: ServerCommand, served: ServedModel, key: _Key) -> list[str]:
    from toolchat.engine.server_command import client_lines
    from toolchat.ui.text.sanitize import sanitize_line

    name = sanitize_line(command.name)
    chat, curl = client_lines(command, key.shell, sockets.gethostname())
    where = sanitize_line(command.place.url(sockets.gethostname()))
    return [
        f"{name} is served at {where} (process {served.leader.pid}); Ctrl-C ends it.",
        f"  {sanitize_line(chat)}",
        f"  {sanitize_line(curl)}",
    ]


def _say(line: str) -> None:
    """On standard error; where nobody reads that any more, the server goes on."""
    from toolchat.ui.text.sanitize import sanitize

    with suppress(OSError):
        print(sanitize(line), file=sys.stderr, flush=True)
