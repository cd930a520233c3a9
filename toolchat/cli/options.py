"""The flags that several commands share, each declared once; those of settings are made from `toolchat.settings`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from toolchat.cli import completion
from toolchat.settings.table import SETTINGS, Setting

if TYPE_CHECKING:
    from toolchat.session.startup import Plan
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Cassette
    from toolchat.store.sessions import Opened

Command = TypeVar("Command", bound=Callable[..., Any])

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Run tools that would ask, without asking.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="Run this tool without asking, whatever its file says; repeatable.",
        metavar="NAME",
        autocompletion=completion.tools,
    ),
]
Deny = Annotated[
    list[str] | None,
    typer.Option(
        "--deny",
        help="Never run this tool, whatever else allows it; repeatable.",
        metavar="NAME",
        autocompletion=completion.tools,
    ),
]
NoTools = Annotated[bool, typer.Option("--no-tools", help="Offer the model no tools.")]
NoSystem = Annotated[bool, typer.Option("--no-system", help="No system prompt, not even the model's own.")]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", "-i", help="An image to send with the question; may be given again.", metavar="FILE|URL"),
]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Go on with the session that was used last.")]
Name = Annotated[
    str | None, typer.Option("--name", help="What the session is called, to find it again.", metavar="NAME")
]

Record = Annotated[
    str | None,
    typer.Option(
        "--record",
        help="Record the chat on a cassette, a new file; secrets that are known are left out.",
        metavar="FILE",
    ),
]
Replay = Annotated[
    str | None, typer.Option("--replay", help="Have the answers of a cassette; no model is loaded.", metavar="FILE")
]
RecordedResults = Annotated[
    bool, typer.Option("--recorded-results", help="With --replay: have the recorded results too; no tool runs.")
]


def _go_offline(value: bool) -> bool:
    if value:
        from toolchat.offline import go_offline

        go_offline()
    return value


Offline = Annotated[
    bool,
    typer.Option("--offline", callback=_go_offline, help="Ask nothing of the network: use what is on this machine."),
]


def takes_settings(*names: str) -> Callable[[Command], Command]:
    """Give a command the flags of these settings (none named: of all), in the place of its `**` parameter.

    They come before its own flags. What is given is in that parameter, by the flags' names: see `settings_flags`.
    """

    def give(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        made = [parameter for name in names or SETTINGS for parameter in _parameters(name)]
        # Only the way in which typer reads a function knows no other place for its parameters.
        arguments = [one for one in own if _is_argument(one)]
        flags = [one for one in own if not _is_argument(one)]
        ordered = [one.replace(kind=one.KEYWORD_ONLY) for one in (*arguments, *made, *flags)]
        vars(command)["__signature__"] = signature.replace(parameters=ordered)
        return command

    return give


def settings_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are settings, by the settings' names, None for what was not given.

    Where a .toolchat.toml of this folder has to be accepted first, a person at the terminal is asked now. Raises
    UsageError, see `_system`, and where that file cannot be read.
    """
    from toolchat.cli.project_settings import ask_to_accept

    flags = {name: given.get(_parameter(setting)) for name, setting in SETTINGS.items()}
    flags["system"] = _system(given.get("system"), given.get("no_system", False))
    return ask_to_accept(flags)


def _parameters(name: str) -> list[inspect.Parameter]:
    setting = SETTINGS[name]
    kind: Any = str
    declared = [setting.flag, *([setting.short] if setting.short else [])]
    if setting.is_switch:
        kind, declared = bool, [f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"]
    elif setting.repeated:
        kind = list[str]
    option = typer.Option(
        *declared,
        help=_help(setting),
        metavar=setting.metavar or None,
        show_default=False,
        autocompletion=completion.OF_SETTINGS.get(name),
    )
    made = [_keyword(_parameter(setting), Annotated[kind | None, option], None)]
    return [*made, _keyword("no_system", NoSystem, False)] if name == "system" else made


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _help(setting: Setting) -> str:
    return f"{setting.help.removesuffix('.')} [default: {setting.default}]." if setting.default else setting.help


def _parameter(setting: Setting) -> str:
    return setting.flag.removeprefix("--").replace("-", "_")


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(one, typer.models.ArgumentInfo) for one in getattr(parameter.annotation, "__metadata__", ()))


def cassette_to_replay(replay: str | None, recorded_results: bool, flags: Mapping[str, Any]) -> Cassette | None:
    """The cassette that --replay names. Raises UsageError where it cannot be read, or contradicts other flags."""
    from toolchat.wire.errors import UsageError

    if replay is None:
        if recorded_results:
            raise UsageError("--recorded-results: is for the cassette of --replay FILE; name one")
        return None
    for name in ("model", "server"):
        if flags[name] is not None:
            raise UsageError(f"--replay and --{name} do not go together: a cassette answers, and no model")
    from toolchat.settings import user_path
    from toolchat.store.cassettes import read_cassette

    return read_cassette(user_path(replay))


def check_record(record: str | None) -> None:
    """Raise UsageError where --record names what is there already: nothing is to be loaded for that."""
    if record is None:
        return
    from toolchat.settings import user_path
    from toolchat.wire.errors import UsageError

    if os.path.lexists(user_path(record)):
        raise UsageError(f"--record {record}: is there already; remove it, or name another file")


def tape_for(record: str | None, command: str, plan: Plan) -> CassetteWriter | None:
    """The cassette that --record names, a new file. Raises UsageError where it cannot be written."""
    if record is None:
        return None
    import time

    import toolchat
    from toolchat.settings import user_path
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Header
    from toolchat.store.redaction import Redaction

    header = Header(f"toolchat {toolchat.__version__}", command, plan.model, round(time.time(), 3))
    more = {"API_KEY": plan.settings.api_key} if plan.settings.api_key else {}
    return CassetteWriter(user_path(record), header, Redaction.here(more=more))


def replaying(cassette: Cassette | None) -> dict[str, Any]:
    """What `open_session` is given to have the recorded results of calls; nothing where tools run."""
    if cassette is None:
        return {}
    from toolchat.session.replaying import RecordedRunner

    runner = RecordedRunner(cassette)

    async def start() -> RecordedRunner:
        return runner

    return {"start_tools": start, "decide": runner.decide}


def session_to_open(key: str | None, last: bool, store: bool, flag: str) -> Opened | None:
    """The stored session that --continue and `flag` mean. Raises ToolchatError where there is none."""
    if key is None and not last:
        return None
    # Not before: most chats begin anew, and their prompt waits for no store.
    from toolchat.settings import state_folder
    from toolchat.store.sessions import LAST, open_session_of
    from toolchat.wire.errors import UsageError

    if key is not None and last:
        raise UsageError(f"{flag} and --continue contradict each other; leave one of them out")
    if not store:
        raise UsageError(
            f"{'--continue' if last else flag} needs stored sessions, and --no-store or store = false is said"
        )
    return open_session_of(state_folder() / "sessions", LAST if key is None else key)


def _system(system: str | None, no_system: bool) -> str | None:
    """The setting that --system and --no-system come to. Raises UsageError where both are given."""
    from toolchat.settings.values import NO_SYSTEM
    from toolchat.wire.errors import UsageError

    if no_system and system is not None:
        raise UsageError("--system and --no-system contradict each other; leave one of them out")
    return NO_SYSTEM if no_system else system
