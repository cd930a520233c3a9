"""What a shell offers behind Tab: names of tools, models, sessions and profiles. Runs no tool, and asks no network.

A shell runs the program for each Tab, so each function imports only what it needs. Where something is wrong nothing is
offered: the command itself says what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from toolchat.settings.values import DTYPES

if TYPE_CHECKING:
    from toolchat.tools.toolbox import Toolbox

_MOST_SESSIONS = 50

Offers = list[tuple[str, str]]
"""Each with a line of help, which zsh and fish show."""


def tools(ctx: typer.Context, incomplete: str) -> Offers:
    """The tools of the file that applies."""
    return _offered(incomplete, lambda: _tools(ctx.params))


def tool_choices(ctx: typer.Context, incomplete: str) -> Offers:
    fixed = (
        ("auto", "the model decides"),
        ("none", "it calls nothing"),
        ("required", "it calls something"),
    )
    return _offered(incomplete, lambda: (*fixed, *_tools(ctx.params)))


def granted(incomplete: str) -> Offers:
    """The tools whose calls are allowed for good."""
    return _offered(incomplete, _granted)


def models(incomplete: str) -> Offers:
    """The models on this machine."""
    return _offered(incomplete, _models)


def sessions(incomplete: str) -> Offers:
    """The stored sessions that were used last."""
    return _offered(incomplete, lambda: _sessions(incomplete))


def profiles(incomplete: str) -> Offers:
    return _offered(incomplete, _profiles)


def dtypes(incomplete: str) -> Offers:
    return _offered(incomplete, lambda: ((name, "") for name in DTYPES))


def efforts(incomplete: str) -> Offers:
    """Those of the models that have any so far; others may come."""
    return _offered(incomplete, lambda: (("none", ""), ("high", "")))


def _words(*words: str) -> Callable[[str], Offers]:
    def offer(incomplete: str) -> Offers:
        return _offered(incomplete, lambda: ((word, "") for word in words))

    return offer


OF_SETTINGS: dict[str, Callable[..., Offers]] = {
    "model": models,
    "tool_choice": tool_choices,
    "profile": profiles,
    "dtype": dtypes,
    "reasoning_effort": efforts,
    "editing_mode": _words("emacs", "vi"),
    "theme": _words("auto", "dark", "light"),
    "thinking": _words("fold", "show"),
    "notify": _words("auto", "bell", "off"),
}
"""By setting, what its flag's value may be."""


def _offered(incomplete: str, find: Callable[[], Iterable[tuple[str, str]]]) -> Offers:
    try:
        return [
            (name, "".join(map(_harmless, help_)))
            for name, help_ in find()
            if name.startswith(incomplete) and name == "".join(map(_harmless, name)) and " " not in name
        ]
    except Exception:
        return []  # in the middle of a line that is typed, any message would be in the way


_OF_SHELLS = frozenset("\"'`$\\;&|<>()*?[]{}!#~^%")


def _harmless(character: str) -> str:
    """What stands for a character in what a shell is given. zsh evals that, and it comes from files of others."""
    return character if character.isprintable() and character not in _OF_SHELLS else " "


def _tools(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """As they were last loaded, if nothing has changed since; else what the file's text says."""
    from toolchat.cli.tools_file import FOUND, choose_tools_file
    from toolchat.samples import sample_tools_path
    from toolchat.settings import resolve, user_path
    from toolchat.tools.tools_file import read_tools_file
    from toolchat.wire.errors import ToolchatError

    settings = resolve({name: params.get(name) for name in ("tools", "profile", "project")})
    try:
        known = _known(choose_tools_file(settings, ask=False))
    except ToolchatError:
        known = None  # the file is not accepted: its text may be read
    if known is not None:
        for tool in known.tools:
            yield tool.name, tool.description.strip().partition("\n")[0]
        return
    path = user_path(settings.tools) if settings.tools is not None else FOUND
    for entry in read_tools_file(path if path.is_file() else sample_tools_path()).entries:
        if (name := entry.name_of(entry.callable_ref)) is not None:
            yield name, (entry.description or "").strip().partition("\n")[0]


def _known(chosen: Any) -> Toolbox | None:
    from toolchat.tools.code import ToolsCode, read_code
    from toolchat.tools.toolbox_cache import known_toolbox

    return known_toolbox(chosen if isinstance(chosen, ToolsCode) else read_code(chosen))


def _granted() -> Iterator[tuple[str, str]]:
    from toolchat.settings import state_folder
    from toolchat.store.grants import GrantStore

    for grant in GrantStore(state_folder()).granted():
        yield grant.tool, grant.callable_ref


def _models() -> Iterator[tuple[str, str]]:
    from toolchat.models import hub_cache
    from toolchat.models.choice import DEMO

    yield DEMO, "built in"
    for model in hub_cache.models():
        yield model.name, "incomplete" if model.lacks else "Hugging Face"


def _sessions(incomplete: str) -> Iterator[tuple[str, str]]:
    from toolchat.settings import state_folder
    from toolchat.store.database import FILE
    from toolchat.store.sessions import LAST, stored_sessions

    yield LAST, "the one that was used last"
    folder = state_folder() / "sessions"
    if not (folder / FILE).exists():
        return  # it is not made for this
    with stored_sessions(folder) as store:
        for session in store.latest(_MOST_SESSIONS, begins=incomplete):
            yield session.handle, session.title


def _profiles() -> Iterator[tuple[str, str]]:
    from toolchat.settings import config_file, read_config

    for name, values in read_config(config_file()).profiles.items():
        yield name, ", ".join(values)
