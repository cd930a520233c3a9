"""`toolchat ps` and `toolchat stop`: the models that stay loaded, and those of `serve`. Imports nothing heavy."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolchat.engine.kept.control import KeptWorker
    from toolchat.engine.served import ServedModel

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead, for scripts.")]
Model = Annotated[
    str | None, typer.Argument(help="Which, where several are loaded: a model or a process id.", metavar="MODEL")
]
All = Annotated[bool, typer.Option("--all", help="End all of them.")]


def ps(json: Json = False) -> None:
    """Show the models that stay loaded or are served, who uses them, and when they end."""
    from toolchat.engine.kept.control import kept_workers
    from toolchat.engine.served import served_models

    workers, served = kept_workers(), served_models()
    if json:
        _print_json(workers, served)
        return
    if not workers and not served:
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
        + [
            EngineRow(one.model, _pid(one), one.device, "", _gib(one.memory()), "", "", served_text(one))
            for one in served
        ]
    )


def stop(model: Model = None, all_: All = False) -> None:
    """End a model that stays loaded or is served, and free its memory; whatever uses it is told so."""
    from toolchat.engine.kept.control import KeptWorker, end, kept_workers
    from toolchat.engine.served import end_served, served_models
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.wire.errors import UsageError

    loaded: list[KeptWorker | ServedModel] = [*kept_workers(), *served_models()]
    if model is not None and all_:
        raise UsageError("a MODEL and --all contradict each other; leave one of them out")
    if model is not None:
        named = [one for one in loaded if model in (one.model, str(_pid(one)))]
        if not named:
            raise UsageError(f"{model} is not loaded; {_those(loaded)}")
        loaded = named
    elif len(loaded) > 1 and not all_:
        raise UsageError(f"several models are loaded; name one, or give --all; {_those(loaded)}")
    if not loaded:
        typer.echo("No model is loaded.")
    for one in loaded:
        pid, used = _pid(one), ""
        if isinstance(one, KeptWorker):
            clients = end(one.path)
            used = f"; {clients} {'command was' if clients == 1 else 'commands were'} using it" if clients else ""
        else:
            end_served(one)
        typer.echo(f"{sanitize_line(one.model or 'The model')} is ended (process {pid}){used}.")


def _those(loaded: Sequence[KeptWorker | ServedModel]) -> str:
    if not loaded:
        return "no model is"
    return "loaded: " + ", ".join(f"{one.model or 'one that does not answer'} ({_pid(one)})" for one in loaded)


def _pid(one: KeptWorker | ServedModel) -> int:
    """Of a server its toolchat's, which ends it; vLLM's first process where that was killed."""
    from toolchat.engine.served import ServedModel

    if isinstance(one, ServedModel):
        return (one.toolchat if one.is_attended else one.leader).pid
    return one.pid


def served_text(one: ServedModel) -> str:
    """When a server ends, for people."""
    if not one.is_attended:
        return f"left behind by a toolchat serve that was killed; toolchat stop {one.leader.pid} ends it"
    state = "serves" if one.ready else "loads, to serve"
    return f"{state} {one.address or 'as a node of another machine'}; when it is stopped"


def memory_text(worker: KeptWorker) -> str:
    """ "1.9 GiB", and what it takes of a GPU."""
    return ", ".join(filter(None, (_gib(worker.memory), worker.gpu)))


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size else ""


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


def _print_json(workers: list[KeptWorker], served: list[ServedModel]) -> None:
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
    servers = [
        {
            "model": one.model,
            "pid": _pid(one),
            "device": one.device,
            "address": one.address or None,
            "ready": one.ready,
            "attended": one.is_attended,
            "memory": one.memory(),
            "age": round(max(0.0, now - one.began), 1),
        }
        for one in served
    ]
    typer.echo(json.dumps({"version": 1, "engines": rows, "servers": servers}, indent=1))
