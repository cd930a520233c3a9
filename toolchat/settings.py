"""Settings, resolved in one place: flags > TOOLCHAT_* variables > config.toml > the model's own defaults > built-in.

A value that is wrong is a UsageError that names where it stands: the flag, the variable, or the file and key.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from toolchat.private_file import DistrustedError, UnfitFileError, ignore, read_believed, steps
from toolchat.wire.errors import UsageError

MAX_BYTES = 1024**2
"""Of config.toml."""

APP = "toolchat"

DTYPES = ("auto", "float32", "bfloat16", "float16")
"""vLLM's names of number formats; auto is that of the weights."""


NO_SYSTEM = "none"
"""What is written in the place of a system prompt to have none, not even the model's own."""


NO_SERVER = "none"
"""What is written in the place of a server's address to have the model loaded here, whatever config.toml says."""


NO_HOME = Path(os.devnull, "no-home-folder")
"""Where nothing is found and nothing can be made: for a user who has neither HOME nor an entry in passwd."""


def config_file() -> Path:
    """Where config.toml is looked for; it need not exist."""
    return _user_folder(platformdirs.user_config_dir, ".config") / "config.toml"


def cache_folder() -> Path:
    """What can be made again: the built demo model."""
    return _user_folder(platformdirs.user_cache_dir, ".cache")


def state_folder() -> Path:
    """What a user would miss: records of sessions, logs, what was trusted."""
    return _user_folder(platformdirs.user_state_dir, ".local/state")


def _user_folder(find: Callable[[str], str], below_home: str) -> Path:
    """What `find` finds, if that is a place: without a home it may be a folder "~" in whatever folder the user is in.

    A relative path in an XDG variable is to be ignored, as its specification says.
    """
    places: tuple[Callable[[], Path], ...] = (lambda: Path(find(APP)), lambda: Path.home() / below_home / APP)
    for place in places:
        with suppress(RuntimeError):
            if (folder := place()).is_absolute():
                return folder
    return NO_HOME / APP


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, resolved. None means: by the model, or none."""

    model: str | None = None
    tools: str | None = None
    tools_named: bool = True
    """Whether `tools` is consent to use that file. A relative path in a variable means another file in each folder, and
    so does a link of the process, as /proc/self/cwd."""
    system: str | None = None
    """Empty for none; None for the model's own."""
    max_tokens: int = 8192
    temperature: float | None = None
    top_p: float | None = None
    context: int | None = None
    kv_cache_gib: float | None = None
    gpu_memory: float | None = None
    """Up to 1 a share of the card, above it GiB."""
    dtype: str | None = None
    fast_start: bool = False
    text_only: bool = False
    quantization: str | None = None
    revision: str | None = None
    """Of a repository on the hub: a branch, a tag or a commit."""
    lora: str | None = None
    """NAME=PATH."""
    enforce_eager: bool = False
    seed: int | None = None
    engine_arg: tuple[str, ...] = ()
    """Each KEY=VALUE."""
    reasoning_effort: str | None = None
    tool_choice: str = "auto"
    parallel_calls: bool = True
    store: bool = True
    """Whether sessions are stored."""
    keep_alive: float | None = None
    """Seconds that the engine stays loaded after its last use: 0 not at all, negative until it is stopped."""
    server: str | None = None
    """The address of a server that has the model; None or empty for an engine on this machine."""
    api_key: str | None = field(default=None, repr=False)
    tokenizer: str | None = None
    """The folder, file or Hugging Face id with the tokenizer of the server's model; None for what the server names."""


def user_path(written: str) -> Path:
    """`written` with a home folder in place of "~" or "~NAME". Raises UsageError where there is no such folder."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise UsageError(f"{written}: {_NO_HOME}") from None


_NO_HOME = "expected a path that begins with an existing home folder"


def _path(value: Any) -> str:
    written = _text(value)
    try:
        user_path(written)
    except UsageError:
        raise ValueError(_NO_HOME) from None
    return written


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a text")
    return value


def _system(value: Any) -> str:
    text = _text(value)
    return "" if text.strip().lower() == NO_SYSTEM else text


def _switch(value: Any) -> bool:
    written = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    found = value if isinstance(value, bool) else written.get(str(value).strip().lower())
    if found is None:
        raise ValueError("expected true or false")
    return found


def _count(value: Any) -> int:
    number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    if number < 1:
        raise ValueError("expected a whole number, at least 1")
    return number


def _number(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        what = f"expected a number{unit} from {low:g} to {high:g}"
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError):
            raise ValueError(what) from None
        if not low <= number <= high:
            raise ValueError(what)
        return number

    return parse


def _gpu_memory(value: Any) -> float:
    written = str(value).strip()
    in_gib = written.lower().endswith("gib")
    try:
        number = _number(0.01, 4096, "")(written[:-3].rstrip() if in_gib else value)
    except ValueError:
        number = 0.0
    # "1GiB" would be the whole card, as 1 is.
    if number == 0 or (in_gib and number <= 1):
        raise ValueError("expected a share of the card from 0.01 to 1, or GiB above 1")
    return number


def _seed(value: Any) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise ValueError("expected a whole number, at least 0")
    return number


def _lora(value: Any) -> str:
    written = _text(value)
    name, equals, path = written.partition("=")
    if not (equals and name.strip() and path.strip()):
        raise ValueError("expected NAME=PATH, the adapter's folder")
    _path(path)
    return written


def _pairs(value: Any) -> tuple[str, ...]:
    """Of a flag that is repeated and of config.toml, a list; of a variable, words as a shell splits them."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:
            raise ValueError(_PAIRS) from None
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError(_PAIRS)
    for one in value:
        name, equals, _ = one.partition("=")
        if not (equals and name.strip()):
            raise ValueError(_PAIRS)
    return tuple(value)


_PAIRS = "expected KEY=VALUE, by the names of vLLM's EngineArgs"


def _dtype(value: Any) -> str:
    if value not in DTYPES:
        raise ValueError(f"expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return str(value)


_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
"""Days, hours, minutes and seconds, each at most once."""
_LONGEST_SPAN = 366 * 86400.0


def _span(value: Any) -> float:
    written = str(value).strip().lower().replace(" ", "")
    expected = "expected a time such as 90s, 10m, 2h or 1h30m, 0 for none, or -1 for no end"
    if isinstance(value, bool):
        raise ValueError(expected)
    if written.startswith("-"):
        # Any negative number, as elsewhere; "-5m" is rather a mistake.
        if written.removeprefix("-").isdigit():
            return -1.0
        raise ValueError(expected)
    match = _SPAN.fullmatch(written)
    if match is None or not any(match.groups()):
        raise ValueError(expected)
    seconds = sum(float(number or 0) * unit for number, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
    if seconds > _LONGEST_SPAN:
        raise ValueError(f"{expected}; a year at most")
    return seconds


SERVER_FORMS = "http://HOST:PORT, https://HOST or unix:/PATH"
_SOCKET_PATH = 107
"""Bytes of a unix socket's path, at most: what the kernel has room for."""
_PASSWORD = re.compile(r"//[^/@]*@")


def _server(value: Any) -> str:
    written = _text(value).strip()
    if written.lower() == NO_SERVER:
        return ""
    if written.startswith("unix:"):
        path = user_path(written.removeprefix("unix:"))
        if not path.is_absolute() or len(os.fsencode(path)) > _SOCKET_PATH:
            raise ValueError(f"expected unix: and an absolute path of at most {_SOCKET_PATH} bytes")
        return f"unix:{path}"
    try:
        parts = urlsplit(written)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"expected {SERVER_FORMS}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or any(map(str.isspace, written)):
        raise ValueError(f"expected {SERVER_FORMS}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected an address without user, password, ? and #; a key goes into TOOLCHAT_API_KEY")
    return written.rstrip("/")


def _api_key(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a key")
    key = value.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("expected a key of printable ASCII characters without spaces")
    return key


@dataclass(frozen=True, slots=True)
class _Setting:
    flag: str
    parse: Callable[[Any], Any]
    shown: Callable[[Any], str] = repr
    """A wrong value as an error quotes it."""


SETTINGS: Mapping[str, _Setting] = {
    "model": _Setting("--model", _path),
    "tools": _Setting("--tools", _path),
    "system": _Setting("--system", _system),
    "max_tokens": _Setting("--max-tokens", _count),
    "temperature": _Setting("--temperature", _number(0, 5, "")),
    "top_p": _Setting("--top-p", _number(0.01, 1, "")),
    "context": _Setting("--context", _count),
    "kv_cache_gib": _Setting("--kv-cache", _number(0.01, 4096, " of GiB")),
    "gpu_memory": _Setting("--gpu-memory", _gpu_memory),
    "dtype": _Setting("--dtype", _dtype),
    "fast_start": _Setting("--fast-start", _switch),
    "text_only": _Setting("--text-only", _switch),
    "quantization": _Setting("--quantization", _text),
    "revision": _Setting("--revision", _text),
    "lora": _Setting("--lora", _lora),
    "enforce_eager": _Setting("--enforce-eager", _switch),
    "seed": _Setting("--seed", _seed),
    "engine_arg": _Setting("--engine-arg", _pairs),
    "reasoning_effort": _Setting("--reasoning-effort", _text),
    "tool_choice": _Setting("--tool-choice", _text),
    "parallel_calls": _Setting("--parallel-calls", _switch),
    "store": _Setting("--store", _switch),
    "keep_alive": _Setting("--keep-alive", _span),
    "server": _Setting("--server", _server, lambda value: repr(_PASSWORD.sub("//…@", str(value)))),
    "api_key": _Setting("--api-key", _api_key, lambda _: "what is given (not shown)"),
    "tokenizer": _Setting("--tokenizer", _path),
}
assert set(SETTINGS) == {field.name for field in fields(Settings)} - {"tools_named"}


MODEL_BOUND = ("quantization", "revision", "lora")
"""They belong to one model: what config.toml says of them is not meant for a model that a flag names."""


def resolve(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    model_defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """Resolve all settings.

    `flags` maps a setting's name to what was given, None for what was not. Raises UsageError for a wrong value and
    for a key of config.toml that there is not.
    """
    environment = os.environ if environment is None else environment
    file = config_file() if file is None else file
    written = _read(file)
    values: dict[str, Any] = dict(model_defaults or {})
    of_model = next(
        (at for at, value in enumerate((flags.get("model"), environment.get("TOOLCHAT_MODEL"))) if value), 2
    )
    for name, setting in SETTINGS.items():
        variable = f"TOOLCHAT_{name.upper()}"
        sources = (
            (setting.flag, flags.get(name)),
            (variable, environment.get(variable) or None),
            (f"{file}: {name}", _from_file(name, written.get(name), file)),
        )
        # Of the model that is named in the same place or in one that comes after: another has other branches.
        counting = sources[: of_model + 1] if name in MODEL_BOUND else sources
        for where, value in counting:
            if value is not None:
                values[name] = _parsed(setting, where, value)
                break
    named = flags.get("tools") is not None or "tools" not in values or _same_everywhere(values["tools"])
    return Settings(**values, tools_named=named)


def _same_everywhere(written: str) -> bool:
    """Whether a path leads to the same file whatever folder the user is in."""
    path = user_path(written)
    return path.is_absolute() and not any(
        stat.S_ISLNK(facts.st_mode) and place.is_relative_to("/proc") for place, facts in steps(path)
    )


def _from_file(name: str, value: Any, file: Path) -> Any:
    """A path in config.toml begins in the folder of that file, wherever the user is."""
    if name == "lora" and isinstance(value, str):
        label, equals, path = value.partition("=")
        return f"{label}={file.parent / path}" if equals and path.strip() and not path.startswith(("/", "~")) else value
    relative = isinstance(value, str) and value.strip() and not value.startswith(("/", "~"))
    if relative and (name == "tools" or (name in ("model", "tokenizer") and value.startswith("."))):
        return str(file.parent / value)
    return value


def _parsed(setting: _Setting, where: str, value: Any) -> Any:
    try:
        return setting.parse(value)
    except ValueError as error:
        reason = str(error) if str(error).startswith("expected") else "expected a whole number, at least 1"
        raise UsageError(f"{where}: {reason}, not {setting.shown(value)}") from None


def _hidden(file: Path) -> bool:
    """Whether it lies in what this user may not look into: HOME is another's, as it may be in a container."""
    try:
        file.lstat()
    except OSError:
        return True
    return False


def _read(file: Path) -> dict[str, Any]:
    try:
        # It can name a tools file, and by that the code that runs.
        written = tomllib.loads(read_believed(file, MAX_BYTES).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except DistrustedError as error:
        ignore(file, str(error))
        return {}
    except UnfitFileError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except PermissionError as error:
        if _hidden(file):
            return {}
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return {}  # where no file can be
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: not valid TOML: {error}") from None
    for key in written:
        if key not in SETTINGS:
            near = get_close_matches(key, SETTINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(SETTINGS)}"
            raise UsageError(f"{file}: there is no setting {key!r}; {hint}")
    return written
