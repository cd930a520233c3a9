"""What the value of a setting may be: each function reads one as it was written, and raises ValueError("expected …").

A value is a string where it comes from a flag or a variable, and what TOML makes of it where it comes from a file.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolchat.wire.errors import UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")
"""vLLM's names of number formats; auto is that of the weights."""

NO_SYSTEM = "none"
"""What is written in the place of a system prompt to have none, not even the model's own."""

NO_SERVER = "none"
"""What is written in the place of a server's address to have the model loaded here, whatever config.toml says."""


def user_path(written: str) -> Path:
    """`written` with a home folder in place of "~" or "~NAME". Raises UsageError where there is no such folder."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise UsageError(f"{written}: {_NO_HOME}") from None


_NO_HOME = "expected a path that begins with an existing home folder"


def parse_path(value: Any) -> str:
    written = parse_text(value)
    try:
        user_path(written)
    except UsageError:
        raise ValueError(_NO_HOME) from None
    return written


def parse_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a text")
    return value


def parse_system(value: Any) -> str:
    text = parse_text(value)
    if text.strip().lower() == NO_SYSTEM:
        return ""
    if len(text.split()) == 1:
        from toolchat.settings.folders import named_prompt, prompt_text

        if (named := named_prompt(text.strip())) is not None:
            try:
                return prompt_text(text.strip(), named)
            except UsageError as error:
                raise ValueError(f"expected the system prompt in {named}, but {error}") from None
    return text


def parse_switch(value: Any) -> bool:
    written = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    found = value if isinstance(value, bool) else written.get(str(value).strip().lower())
    if found is None:
        raise ValueError("expected true or false")
    return found


COMPACT = ("off", "ask", "on")
"""Whether older turns are summed up when the context is nearly full."""


def parse_compact(value: Any) -> str:
    # YAML and TOML are not asked twice: true and false mean on and off.
    written = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else str(value).strip().lower()
    if written not in COMPACT:
        raise ValueError("expected off, ask or on")
    return str(written)


def one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}")
        return word

    return parse


def parse_count(value: Any) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("expected a whole number, at least 1")
    return number


def number_from(low: float, high: float, unit: str = "") -> Callable[[Any], float]:
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


def parse_gpu_memory(value: Any) -> float:
    written = str(value).strip()
    in_gib = written.lower().endswith("gib")
    try:
        number = number_from(0.01, 4096)(written[:-3].rstrip() if in_gib else value)
    except ValueError:
        number = 0.0
    # "1GiB" would be the whole card, as 1 is.
    if number == 0 or (in_gib and number <= 1):
        raise ValueError("expected a share of the card from 0.01 to 1, or GiB above 1")
    return number


def parse_seed(value: Any) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise ValueError("expected a whole number, at least 0")
    return number


def parse_lora(value: Any) -> str:
    written = parse_text(value)
    name, equals, path = written.partition("=")
    if not (equals and name.strip() and path.strip()):
        raise ValueError("expected NAME=PATH, the adapter's folder")
    parse_path(path)
    return written


def parse_pairs(value: Any) -> tuple[str, ...]:
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


NO_COMMAND = "none"
_COMMAND = "expected a command: its program as a name, or as a path from / or ~ on, and its arguments"


def parse_command(value: Any) -> tuple[str, ...]:
    """The words of a command, those that begin with "~/" as paths of the home folder; no words for "none".

    A relative program would be another one in each folder.
    """
    if isinstance(value, str):
        if value.strip().lower() == NO_COMMAND:
            return ()
        try:
            value = shlex.split(value)
        except ValueError:
            raise ValueError(_COMMAND) from None
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) for word in value):
        raise ValueError(_COMMAND)
    try:
        words = tuple(str(user_path(word)) if word.startswith("~/") else word for word in value)
    except UsageError:
        raise ValueError(_NO_HOME) from None
    if not words[0] or ("/" in words[0] and not words[0].startswith("/")) or any("\0" in word for word in words):
        raise ValueError(_COMMAND)
    return words


def show_command(value: tuple[str, ...]) -> str:
    return shlex.join(value)


_PAIRS = "expected KEY=VALUE, by the names of vLLM's EngineArgs"


def parse_dtype(value: Any) -> str:
    if value not in DTYPES:
        raise ValueError(f"expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return str(value)


_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
"""Days, hours, minutes and seconds, each at most once."""
_LONGEST_SPAN = 366 * 86400.0


def parse_span(value: Any) -> float:
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


def parse_server(value: Any) -> str:
    written = parse_text(value).strip()
    if written.lower() == NO_SERVER:
        return ""
    if written.startswith("unix:"):
        path = user_path(written.removeprefix("unix:"))
        if not path.is_absolute() or len(os.fsencode(path)) > _SOCKET_PATH:
            raise ValueError(f"expected unix: and an absolute path of at most {_SOCKET_PATH} bytes")
        return f"unix:{path}"
    from urllib.parse import urlsplit  # not needed by most commands

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


def parse_api_key(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a key")
    key = value.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("expected a key of printable ASCII characters without spaces")
    return key


_PROFILE = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


def parse_profile(value: Any) -> str:
    if not isinstance(value, str) or not _PROFILE.fullmatch(value.strip()):
        raise ValueError("expected the name of a profile: letters, digits, dots, hyphens and underscores")
    return value.strip()


def quote_server(value: Any) -> str:
    """A wrong address, as an error quotes it."""
    return repr(_PASSWORD.sub("//…@", str(value)))


_SECRET = re.compile(r"(^|[_.-])(token|key|secret|password)$", re.IGNORECASE)


def show_pairs(value: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments of vLLM as they may be shown: without the values of those that are secret by their names."""
    return tuple(
        f"{name}=(not shown)" if _SECRET.search(name.strip()) else f"{name}={rest}"
        for name, _, rest in (one.partition("=") for one in value)
    )
