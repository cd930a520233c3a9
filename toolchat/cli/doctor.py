"""`toolchat doctor`: looks at everything that a chat needs, and says what to do where something is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli.options import Offline, takes_settings

if TYPE_CHECKING:
    from toolchat.models.health import Check

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead, for scripts.")]

_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}
_PLAIN_MARKS = {"ok": "ok", "warning": "warning:", "problem": "problem:"}
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@takes_settings("tools", "server", "api_key", "model", "profile", "project")
def doctor(offline: Offline = False, json: Json = False, **given: Any) -> int:
    """Look at this machine, or at a server, and say what is missing. Exits with 1 where there is a problem."""
    checks = examine(given)
    _print_json(checks) if json else _print(checks)
    return int(any(check.state == "problem" for check in checks))


def examine(flags: Mapping[str, Any], *, network: bool = True) -> list[Check]:
    """All lines, in the order in which they are shown. What is added later has its place between hub and tools.

    With a server, what a model on this machine would need is left out. Without `network`, what would ask it.
    """
    from toolchat.models import health
    from toolchat.settings import cache_folder, config_file, resolve, state_folder
    from toolchat.wire.errors import UsageError

    places = health.Folders(config_file(), cache_folder(), state_folder())
    try:
        served = bool(resolve(flags).server)
    except UsageError:
        served = False  # told among the settings
    of_model: tuple[tuple[str, Callable[[], Iterable[Check]]], ...] = (
        ("packages", health.packages),
        ("machine", health.machine),
        ("gpu", health.gpus),
        ("hub", health.hub),
    )
    if served:
        of_model = (("server", lambda: _server(flags)), ("hub", health.hub))
    looks = (
        ("python", health.python),
        *of_model,
        ("settings", lambda: _settings(flags)),
        ("engines", _engines),
        ("tools", lambda: _tools(flags)),
        ("folders", lambda: health.folders(places)),
        ("terminal", _terminal),
    )
    asking = () if network else ("server", "hub")
    return [check for name, look in looks if name not in asking for check in health.guarded(name, look)]


def _server(flags: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the server answers, with which model, and by which profile it would be used."""
    from toolchat.models.health import ok, problem, warning
    from toolchat.session.engines import missing_client, server_config
    from toolchat.settings import resolve
    from toolchat.wire.errors import EngineError

    if missing := missing_client():
        what, _, remedy = missing.partition("; ")
        yield problem("server", what, remedy)
        return
    from toolchat.engine.remote.config import Address
    from toolchat.engine.remote.connection import Connection
    from toolchat.engine.remote.examine import CHAT, examine

    config = server_config(resolve(flags))
    connection = Connection(Address.read(config.server), config.api_key)
    try:
        served = connection.call(examine(connection, config, None))
    except EngineError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield problem("server", what or str(error), remedy if what else "look at the server's log")
        return
    finally:
        connection.close()
    version = f", vLLM {served.version}" if served.version else ""
    facts = f"{served.address.text}: {served.model}, {served.context} tokens of context, {served.profile}{version}"
    if served.profile == CHAT and served.version:
        yield warning("server", f"{facts}: {served.why}", "docs/engines.md says what the token profile needs")
    else:
        yield ok("server", f"{facts}{f' ({served.why})' if served.why else ''}")


def _settings(flags: Mapping[str, Any] | None = None) -> Iterator[Check]:
    from toolchat.engine.vllm_options import read_engine_args, read_lora
    from toolchat.models.choice import default_model
    from toolchat.models.health import ok
    from toolchat.settings import trace

    found = trace(flags or {})
    settings, file = found.settings, found.config.file
    named = settings.model
    profile = f", with the profile {settings.profile}" if settings.profile else ""
    yield ok("settings", f"{file}{'' if file.is_file() else ' is not there: defaults'}{profile}")
    if found.project is not None:
        yield ok("project", f"{found.project.file} sets {', '.join(found.project.values) or 'nothing'} for this folder")
    if settings.server:
        return
    yield ok("model", f"the model is {named or default_model()}" + ("" if named else ", where none is named"))
    # Raised, they are lines of their own.
    if settings.engine_arg:
        yield ok("engine-args", f"vLLM is given {', '.join(read_engine_args(settings.engine_arg))} too")
    if settings.lora is not None:
        adapter = read_lora(settings.lora)
        yield ok("adapter", f"the adapter {adapter.name} ({adapter.folder}), rank {adapter.rank}")


def _engines() -> Iterator[Check]:
    """The models that stay loaded, and take memory."""
    from toolchat.cli.engines import end_text, memory_text
    from toolchat.engine.kept.control import kept_workers
    from toolchat.models.health import ok, warning

    for worker in kept_workers():
        if worker.answers:
            yield ok("engine", f"{worker.model} stays loaded ({memory_text(worker)}), and ends {end_text(worker)}")
        else:
            remedy = f"end it with: toolchat stop {worker.pid}"
            yield warning("engine", f"the process {worker.pid}, which holds a model, does not answer", remedy)


def _tools(flags: Mapping[str, Any]) -> Iterator[Check]:
    """The tools file that a command would use here. Nothing of it is run."""
    from toolchat.cli.tools_file import FOUND, choose_tools_file
    from toolchat.models.health import ok, problem
    from toolchat.samples import sample_tools_path
    from toolchat.settings import resolve
    from toolchat.tools.code import read_code
    from toolchat.wire.errors import UsageError

    try:
        chosen = choose_tools_file(resolve(flags), ask=False)
    except UsageError as error:
        found, _, remedy = str(error).partition("; ")
        # That of a chat speaks of another terminal and of /reload; this is no chat.
        accept = f"accept it with: toolchat tools trust {flags.get('tools') or FOUND}, or name it with --tools"
        yield problem("tools", found, accept if remedy.startswith("accept it") else remedy or "name another: --tools")
        return
    if isinstance(chosen, Path):
        sample = chosen == sample_tools_path()
        count = len(read_code(chosen).entries())
        where = f"no ./{FOUND} here: the samples" if sample else f"{chosen}, named by you"
    else:
        count, where = len(chosen.entries()), f"{chosen.real}, {'only samples' if chosen.samples_only else 'accepted'}"
    yield ok("tools", f"{where}; {count} {'entry' if count == 1 else 'entries'}")


def _terminal() -> Iterator[Check]:
    from toolchat.models.health import ok, warning

    if not sys.stdout.isatty():
        yield ok("terminal", "standard output is no terminal")
        return
    columns = os.get_terminal_size(sys.stdout.fileno()).columns
    term, encoding = os.environ.get("TERM", ""), (sys.stdout.encoding or "").lower()
    facts = f"TERM={term or 'not set'}, {columns} columns, {encoding}"
    facts += ", no colours (NO_COLOR)" if os.environ.get("NO_COLOR") else ""
    if term in ("", "dumb"):
        yield warning("terminal", f"{facts}: repl goes line by line", "set TERM to your terminal's, as xterm-256color")
    elif encoding.replace("-", "") != "utf8":
        yield warning("terminal", facts, "set LANG to one that is UTF-8, as C.UTF-8")
    elif columns < 40:
        yield warning("terminal", facts, "make the window wider: 40 columns or more")
    else:
        yield ok("terminal", facts)


def _print(checks: Sequence[Check]) -> None:
    from toolchat.ui.tables import console
    from toolchat.ui.text.sanitize import sanitize_line

    out = console()
    marks = _MARKS if out.is_terminal else _PLAIN_MARKS
    for check in checks:
        for row in rows(f"{marks[check.state]} ", sanitize_line(check.text), sanitize_line(check.remedy), out.width):
            out.print(row, style=_COLOURS[check.state] if check.state != "ok" else "", soft_wrap=True)
    numbers = {state: sum(check.state == state for check in checks) for state in _MARKS}
    out.print(f"{numbers['ok']} ok, {numbers['warning']} warnings, {numbers['problem']} problems", soft_wrap=True)


def rows(mark: str, text: str, remedy: str, width: int) -> list[str]:
    """A line and its remedy, wrapped to `width` with what follows the mark in one column."""
    from toolchat.ui.text.wrapping import wrapped

    indent = " " * len(mark)
    room = max(16, width - len(mark))
    found = [*wrapped(text, room), *(wrapped(f"→ {remedy}", room) if remedy else ())]
    return [f"{indent if number else mark}{row}" for number, row in enumerate(found)]


def _print_json(checks: Sequence[Check]) -> None:
    import json
    from dataclasses import asdict

    worst = next((s for s in ("problem", "warning") if any(check.state == s for check in checks)), "ok")
    print(json.dumps({"version": 1, "state": worst, "checks": [asdict(check) for check in checks]}, indent=1))
