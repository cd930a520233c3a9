"""The flags that several commands share, each declared once; those of settings are made from `toolchat.settings`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from toolchat.cli import completion
from toolchat.cli.given import parameter_of
from toolchat.settings.table import SETTINGS, Setting

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
Plain = Annotated[bool, typer.Option("--plain", help="Line by line, without live rows, colours or escape sequences.")]
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


def takes_settings(*names: str, screen: bool = False) -> Callable[[Command], Command]:
    """Give a command the flags of these settings, in the place of its `**` parameter.

    None named: of all, those about the chat in the terminal only with `screen`.

    They come before its own flags. What is given is in that parameter, by the flags' names: see `settings_flags`.
    """

    def give(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        all_names = [name for name, setting in SETTINGS.items() if screen or not setting.of_screen]
        made = [parameter for name in names or all_names for parameter in _parameters(name)]
        # Only the way in which typer reads a function knows no other place for its parameters.
        arguments = [one for one in own if _is_argument(one)]
        flags = [one for one in own if not _is_argument(one)]
        ordered = [one.replace(kind=one.KEYWORD_ONLY) for one in (*arguments, *made, *flags)]
        vars(command)["__signature__"] = signature.replace(parameters=ordered)
        return command

    return give


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
    made = [_keyword(parameter_of(setting), Annotated[kind | None, option], None)]
    return [*made, _keyword("no_system", NoSystem, False)] if name == "system" else made


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _help(setting: Setting) -> str:
    return f"{setting.help.removesuffix('.')} [default: {setting.default}]." if setting.default else setting.help


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(one, typer.models.ArgumentInfo) for one in getattr(parameter.annotation, "__metadata__", ()))
