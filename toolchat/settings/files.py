"""Reads the files of settings: the user's config.toml, which is believed, and a folder's .toolchat.toml, which is not.

A .toolchat.toml is another's text until the user has accepted it: what it may set unasked is harmless, see `table`.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.settings.folders import state_folder
from toolchat.settings.table import SETTINGS
from toolchat.wire.errors import UsageError

MAX_BYTES = 1024**2
"""Of a file of settings."""
PROJECT_NAME = ".toolchat.toml"
PROFILES = "profiles"
_TRUSTED = "trusted-settings.json"
_VERSION = 1
_NOT_IN_PROFILE = ("profile", "project")
"""What says which places count is said before any profile is looked at."""


@dataclass(frozen=True, slots=True)
class Config:
    """What config.toml says."""

    file: Path
    values: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]

    def profile(self, name: str, where: str) -> Mapping[str, Any]:
        """The settings of a profile that `where` names. Raises UsageError where there is none."""
        if name not in self.profiles:
            raise UsageError(f"{where}: {self.file} has no [{PROFILES}.{name}]; {_known_profiles(name, self.profiles)}")
        return self.profiles[name]

    def problems(self) -> Iterator[str]:
        """Every key that there is not, a line for each."""
        yield from _unknown(str(self.file), self.values)
        for name, profile in self.profiles.items():
            yield from _unknown(f"{self.file}: {PROFILES}.{name}", profile, _NOT_IN_PROFILE)


@dataclass(frozen=True, slots=True)
class Project:
    """What the .toolchat.toml of a folder says."""

    file: Path
    values: Mapping[str, Any]
    digest: str

    @property
    def asks_for(self) -> tuple[str, ...]:
        """The settings that count only once the user has accepted the file."""
        return tuple(name for name in self.values if name in SETTINGS and not SETTINGS[name].harmless)

    @property
    def accepted(self) -> bool:
        return not self.asks_for or _accepted_files().get(_key(self.file)) == self.digest

    def accept(self) -> None:
        """Have it count until it changes. Raises ToolchatError where the state directory cannot be written."""
        _store().change(lambda data: {"version": _VERSION, "files": {**_files(data), _key(self.file): self.digest}})

    def problems(self) -> Iterator[str]:
        """As `Config.problems`."""
        yield from _unknown(str(self.file), self.values, ("project", *_HOOKS))


def read_config(file: Path) -> Config:
    """What config.toml says; nothing where it is missing, or not to be believed. Raises UsageError, see `_parse`."""
    from toolchat.private_file import DistrustedError, UnfitFileError, ignore, read_believed

    nothing = Config(file, {}, {})
    try:
        # It can name a tools file, and by that the code that runs.
        text = read_believed(file, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return nothing
    except DistrustedError as error:
        ignore(file, str(error))
        return nothing
    except UnfitFileError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except PermissionError as error:
        if _hidden(file):
            return nothing
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return nothing  # where no file can be
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    written = _parse(file, text)
    profiles = written.pop(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{file}: {PROFILES}: expected tables such as [{PROFILES}.work], with settings in them")
    return Config(file, written, profiles)


def read_project(file: Path) -> Project | None:
    """What the .toolchat.toml at `file` says, accepted or not; None where there is none. Raises UsageError."""
    from toolchat.private_file import UnfitFileError, read_file

    try:
        text = read_file(file, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnfitFileError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; --no-project leaves it out") from None
    written = _parse(file, text)
    if PROFILES in written:
        raise UsageError(f"{file}: {PROFILES}: profiles belong into your config.toml; remove them here")
    return Project(file, written, hashlib.sha256(text).hexdigest())


def _parse(file: Path, text: bytes) -> dict[str, Any]:
    """The keys of a TOML file. Raises UsageError, which names the file, where it is none."""
    import tomllib

    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: not valid TOML: {error}") from None


def _unknown(place: str, values: Mapping[str, Any], elsewhere: tuple[str, ...] = ()) -> Iterator[str]:
    for key in values:
        if key in elsewhere:
            yield f"{place}: {key} cannot be set here; {_BELONGS[key]}"
        elif key not in SETTINGS:
            from difflib import get_close_matches

            near = get_close_matches(key, SETTINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(SETTINGS)}"
            yield f"{place}: there is no setting {key!r}; {hint}"


_HOOKS = ("before_tool", "after_tool", "hook_timeout")
"""They run in the user's own name and look at every call: no folder chooses them, accepted or not."""
_BELONGS = {
    **dict.fromkeys(_HOOKS, "hooks belong into your config.toml; remove it here"),
    "profile": "remove it: no profile is based on another",
    "project": "set it above all sections of config.toml, or with --no-project",
}


def _known_profiles(name: str, profiles: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    if near := get_close_matches(name, profiles, n=1):
        return f"did you mean {near[0]}?"
    return f"it has {', '.join(profiles)}" if profiles else "it has no profiles; docs/settings.md shows one"


def _hidden(file: Path) -> bool:
    """Whether it lies in what this user may not look into: HOME is another's, as it may be in a container."""
    try:
        file.lstat()
    except OSError:
        return True
    return False


def _store() -> Any:
    from toolchat.private_file import PrivateFile

    return PrivateFile(state_folder() / _TRUSTED)


def _accepted_files() -> Mapping[str, Any]:
    return _files(_store().read())


def _files(data: Any) -> dict[str, Any]:
    """Digests by path. What cannot be read was accepted by nobody."""
    match data:
        case {"version": 1, "files": dict(files)}:
            return files
    return {}


def _key(file: Path) -> str:
    """The file as this folder has it: by a link to one accepted elsewhere, its paths would mean other files."""
    return str(file.parent.resolve() / file.name)
