"""Variables of the environment in a tools file: which tools see, `${NAME}` in values and in `cwd:`, and hiding values.

Values come from toolchat's own environment when tools are loaded. They are neither compared, nor recorded, nor shown.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

OWN_PREFIX = "TOOLCHAT_"
"""Environment variables that no tool is given: toolchat's own, secrets among them."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# fmt: off
_BASIC = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "TMPDIR", "TMP", "TEMP",
    "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS",
    "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
))
# fmt: on
_BASIC_PREFIXES = ("LC_", "XDG_", "PYTHON")

_TEMPLATE = re.compile(r"\$(?:(?P<escaped>\$)(?=\{)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<otherwise>[^{}]*))?\})")
_LOOKS_EXPANDED = re.compile(r"(?<!\$)\$\{[A-Za-z_][^{}]*\}|^~(?:/|$)")
MIN_SECRET = 6
"""Characters. Hiding a shorter value would hide ordinary words and numbers of a result."""


class MissingVariable(Exception):  # noqa: N818
    """A variable that a value needs and that is not set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def is_basic(name: str) -> bool:
    """Whether every tool sees the variable."""
    return name in _BASIC or name.startswith(_BASIC_PREFIXES)


def basic_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every tool sees of `environment`."""
    return {name: value for name, value in environment.items() if is_basic(name)}


def named_environment(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """What a tools file asks for by name. toolchat's own variables stay out even then."""
    return {name: environment[name] for name in names if name in environment and not name.startswith(OWN_PREFIX)}


def names_in(value: Any) -> Iterator[str]:
    """The variables that a JSON value's texts name as `${NAME}`."""
    for text in _texts(value):
        yield from (match["name"] for match in _TEMPLATE.finditer(text) if match["name"])


def looks_expanded(value: Any) -> str | None:
    """What in a JSON value that is taken as it stands has the form of `${NAME}` or of `~`; None for nothing."""
    for text in _texts(value):
        if match := _LOOKS_EXPANDED.search(text):
            return match[0] if match[0].startswith("$") else "~"
    return None


def home_sign(value: Any) -> bool:
    """Whether a text in a JSON value begins with `~`, which is not expanded there."""
    return any(text == "~" or text.startswith("~/") for text in _texts(value))


def expanded(value: Any, environment: Mapping[str, str]) -> Any:
    """A JSON value with `${NAME}` and `${NAME:-otherwise}` replaced in its texts; `$${` stands for `${`.

    Raises:
        MissingVariable: one is not in `environment`.
    """
    match value:
        case str():
            return _TEMPLATE.sub(lambda match: _replaced(match, environment), value)
        case list():
            return [expanded(item, environment) for item in value]
        case dict():
            return {key: expanded(item, environment) for key, item in value.items()}
    return value


def _replaced(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    name, otherwise = match["name"], match["otherwise"]
    # As in a shell: ":-" stands for what is not set, and for what is set to nothing.
    if value := environment.get(name, ""):
        return value
    if otherwise is not None:
        return str(otherwise)
    if name in environment:
        return ""
    raise MissingVariable(name)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)


class Redactor:
    """Replaces the values of variables in text by `${NAME}`, also as JSON, Python, URLs and base64 write them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        forms: dict[str, str] = {}
        for name, value in values.items():
            for form in _forms(value):
                forms.setdefault(form, f"${{{name}}}")
        self._forms = forms
        # The longest first: a value may begin with another.
        words = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    @property
    def longest(self) -> int:
        """Characters of the longest text that it replaces."""
        return max(map(len, self._forms), default=0)

    def places(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where the values stand in `text`: begin, end, and what is written instead."""
        if self._pattern is not None:
            yield from ((match.start(), match.end(), self._forms[match[0]]) for match in self._pattern.finditer(text))

    def text(self, text: str) -> str:
        """`text` without the values."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._forms[match[0]], text)

    def data(self, value: Any) -> Any:
        """A JSON value without the values, in its keys too."""
        return _mapped(value, self.text) if self._pattern is not None else value


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case list() | tuple():
            return [_mapped(item, change) for item in value]
        case dict():
            return {change(key): _mapped(item, change) for key, item in value.items()}
    return value


def _forms(value: str) -> set[str]:
    plain = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    forms = set(plain)
    for text in plain:
        forms |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        forms |= {quote(text), quote(text, safe=""), quote_plus(text)}
        forms.add(base64.b64encode(text.encode("utf-8", "surrogateescape")).decode().rstrip("="))
    return {form for form in forms if len(form) >= MIN_SECRET}


def working_folder_of(cwd: str, folder: Path, environment: Mapping[str, str]) -> tuple[Path, str | None]:
    """The folder that `cwd` means in the tools file of `folder`, and what is wrong with it, if anything is."""
    try:
        text = expanded(cwd, environment)
    except MissingVariable as missing:
        what = f"cwd needs the variable {missing.name}, which is not set; set it before toolchat starts"
        return folder, f"{what}, or write another folder"
    if text == "~" or text.startswith("~/"):
        text = f"{environment.get('HOME', '~')}{text[1:]}"
    path = folder / text
    if not path.is_dir():
        return path, f'cwd is "{cwd}", and there is no such folder; expected one; make it, or correct it'
    return path, None
