"""`toolchat ps` and `toolchat stop`: the models that stay loaded after their command. Imports nothing heavy."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolchat.engine.kept.control import KeptWorker

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead, for scripts.")]
Model = Annotated[
    str | None, typer.Argument(help="Which, where several are loaded: a model or a process id.", metavar="MODEL")
]
All = Annotated[bool, typer.Option("--all", help="End all of them.")]


def ps(json: Json = False) -> None:
    """Show the models that stay loaded, who uses them, and when they end."""
    from toolchat.engine.kept.control import kept_workers

    workers = kept_workers()
    if json:
        _print_json(workers)
        return
    if not workers:
        typer.echo("No model is loaded.")
        return
    from toolchat.ui.tables import EngineRow, print_engines

    print_engines(
        [
            EngineRow(
                worker.model,
                worker.pid,
                worker.device,
                f"{worker.context:,}" if worker.context else "",
                memory_text(worker),
                str(worker.clients) if worker.answers else "",
                span_text(worker.idle) if worker.idle is not None else "",
                end_text(worker),
            )
            for worker in workers
        ]
    )


def stop(model: Model = None, all_: All = False) -> None:
    """End a model that stays loaded, and free its memory; whatever uses it is told so."""
    from toolchat.engine.kept.control import end, kept_workers
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.wire.errors import UsageError

    workers = kept_workers()
    if model is not None and all_:
        raise UsageError("a MODEL and --all contradict each other; leave one of them out")
    if model is not None:
        named = [worker for worker in workers if model in (worker.model, str(worker.pid))]
        if not named:
            raise UsageError(f"{model} is not loaded; {_those(workers)}")
        workers = named
    elif len(workers) > 1 and not all_:
        raise UsageError(f"several models are loaded; name one, or give --all; {_those(workers)}")
    if not workers:
        typer.echo("No model is loaded.")
    for worker in workers:
        clients = end(worker.path)
        used = f"; {clients} {'command was' if clients == 1 else 'commands were'} using it" if clients else ""
        typer.echo(f"{sanitize_line(worker.model or 'The model')} is ended (process {worker.pid}){used}.")


def _those(workers: list[KeptWorker]) -> str:
    if not workers:
        return "no model is"
    return "loaded: " + ", ".join(f"{worker.model or 'one that does not answer'} ({worker.pid})" for worker in workers)


def memory_text(worker: KeptWorker) -> str:
    """ "1.9 GiB", and what it takes of a GPU."""
    own = f"{worker.memory / 1024**3:.1f} GiB" if worker.memory else ""
    return ", ".join(filter(None, (own, worker.gpu)))


def end_text(worker: KeptWorker) -> str:
    """When it ends by itself, for people."""
    if not worker.answers:
        return f"does not answer; toolchat stop {worker.pid} ends it"
    if worker.keep < 0:
        return "when it is stopped"
    if worker.ends_in is None:
        return "with its last user" if worker.keep == 0 else f"{span_text(worker.keep)} after its last use"
    return f"in {span_text(worker.ends_in)}"


def span_text(seconds: float) -> str:
    """ "4 min 10 s", "2 h 5 min"; the two largest units."""
    whole = round(seconds)
    for size, unit, small, small_unit in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def _print_json(workers: list[KeptWorker]) -> None:
    now = time.time()
    rows = [
        {
            **{name: value for name, value in asdict(worker).items() if name not in ("path", "card")},
            "identity": worker.name,
            "keep": None if worker.keep < 0 else worker.keep,
            "age": round(max(0.0, now - worker.began), 1) if worker.began else None,
        }
        for worker in workers
    ]
    typer.echo(json.dumps({"version": 1, "engines": rows}, indent=1))
