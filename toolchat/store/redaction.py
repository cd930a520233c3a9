"""Finds what a file that is passed on must not hold: secrets by their names, their forms and their places, the home.

It cannot know every secret. What it replaces is counted, so that a person can be told, and everything else stays.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchat.tools.variables import Redactor

GONE = "[redacted]"

_NAME = r"(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|(?:access|private|secret|auth)[_-]?key|credentials?)"
_VARIABLE = re.compile(
    r"(?:^|_)(?:KEY|PASS|PAT|AUTH|CREDENTIALS?|COOKIE)\d*$|(?:TOKEN|SECRET|PASSPHRASE|APIKEY)\d*$"
    r"|PASSWORD|PASSWD|SECRET_|_KEY_ID$",
    re.IGNORECASE,
)
"""Names of variables whose values are secret."""
_KEY = re.compile(rf"[\w-]*{_NAME}|authorization|cookie", re.IGNORECASE)
"""Keys of JSON objects whose texts are secret."""

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "private keys",
        re.compile(
            r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----(?P<secret>.*?)(?:-----END (?P=kind)-----|\Z)", re.DOTALL
        ),
    ),
    (
        "bearer tokens",
        # "a basic understanding" and "the bearer securities" are none.
        re.compile(
            r"\bBearer\s+(?P<secret>(?=[\w+/.~=-]*\d)[\w+/.~=-]{8,}|[\w+/.~=-]{24,})"
            r"|\bAuthorization[\"']?\s*[:=]\s*[\"']?(?:Basic|Token|ApiKey)\s+(?P<quoted>[^\s\"'\[$]{6,})",
            re.IGNORECASE,
        ),
    ),
    (
        "tokens",
        re.compile(
            r"(?<![A-Za-z0-9])(?P<secret>hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|sk-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}"
            r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
        ),
    ),
    ("passwords in addresses", re.compile(r"://[^\s/:@\"']*:(?P<secret>[^\s/@\"']+)@")),
    (
        "values that are named as secrets",
        re.compile(
            # As JSON or Python write them, and NAME=VALUE. What is redacted already begins with [ or $.
            rf"{_NAME}(?:\\?[\"']\s*:\s*\\?[\"'](?P<quoted>[^\"'\\\[$][^\"'\\]{{3,}})"
            r"|=[\"']?(?P<secret>[^\s\"'&,;\\\[$][^\s\"'&,;\\]{5,}))",
            re.IGNORECASE,
        ),
    ),
)
"""What has the form of a secret, with how it is counted; of each, the group `secret` or `quoted` goes."""

Place = tuple[int, int, str, str]
"""Begin, end, what is written instead, and what it is."""


class Redaction:
    """Takes secrets out of texts and of JSON values. `found` counts what it has replaced, by kind."""

    def __init__(self, secrets: Mapping[str, str], homes: Iterable[Path] = ()) -> None:
        """`secrets` are values by the names that stand for them; `homes` are written as ~."""
        self._secrets = dict(secrets)
        self._redactor = Redactor(self._secrets)
        paths = sorted({re.escape(str(home)) for home in homes if len(home.parts) > 1}, key=len, reverse=True)
        self._home = re.compile(rf"(?<![\w.-])(?:{'|'.join(paths)})(?![\w-]|\.\w)") if paths else None
        self.found: Counter[str] = Counter()

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ, more: Mapping[str, str] | None = None) -> Redaction:
        """For this user: the variables that are secret by their names, `more` values, and the home folder."""
        secrets = {name: value for name, value in environment.items() if _VARIABLE.search(name)}
        homes = []
        with suppress(RuntimeError):  # a user without one
            homes = [Path.home(), Path.home().resolve()]
        return cls({**secrets, **(more or {})}, homes)

    def hide(self, secrets: Mapping[str, str]) -> None:
        """Have these replaced too, from now on."""
        self._secrets |= secrets
        self._redactor = Redactor(self._secrets)

    def text(self, text: str) -> str:
        return self.pieces([text])[0]

    def pieces(self, pieces: Sequence[str]) -> list[str]:
        """The pieces of one text, in which a secret may begin in one piece and end in another."""
        whole = "".join(pieces)
        places = self._places(whole)
        if not places:
            return list(pieces)
        made, end = [], 0
        for piece in pieces:
            begin, end = end, end + len(piece)
            made.append(_without(whole, places, begin, end))
        self.found.update(kind for *_, kind in places)
        return made

    def data(self, value: Any) -> Any:
        """A JSON value: its texts, and those under keys that are secret by their names. Images stay as they are."""
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.data(item) for item in value]
            case dict():
                # The bytes of an image: whatever looks like a secret there is none.
                image = {"data": value["data"]} if isinstance(value.get("data"), str) and "media_type" in value else {}
                return {self.text(key): self._under(key, item) for key, item in value.items()} | image
        return value

    def _under(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and value and _KEY.fullmatch(key) and not value.startswith(("[", "${")):
            self.found["values that are named as secrets"] += 1
            return GONE
        return self.data(value)

    def _places(self, text: str) -> list[Place]:
        """What goes, in order; of two that overlap the one that is known better."""
        found = [(begin, end, instead, instead) for begin, end, instead in self._redactor.places(text)]
        for kind, pattern in _FORMS:
            for match in pattern.finditer(text):
                group = "quoted" if match.groupdict().get("quoted") is not None else "secret"
                if match[group] != GONE:
                    found.append((*match.span(group), GONE, kind))
        if self._home is not None:
            found += [(*match.span(), "~", "the home folder") for match in self._home.finditer(text)]
        places: list[Place] = []
        for place in found:
            at = bisect_left(places, place)
            before, after = places[at - 1 : at], places[at : at + 1]
            if all(place[0] >= one[1] for one in before) and all(place[1] <= one[0] for one in after):
                places.insert(at, place)
        return places


def _without(text: str, places: Sequence[Place], begin: int, end: int) -> str:
    """What is left of a piece of `text`; what is written instead of a place stands where that begins."""
    parts, at = [], begin
    # They are in order and do not overlap: one that begins before the piece may reach into it, those before do not.
    for number in range(max(bisect_left(places, (begin,)) - 1, 0), len(places)):
        start, stop, instead, _ = places[number]
        if start >= end:
            break
        if stop <= begin:
            continue
        parts.append(text[at : max(at, start)])
        if start >= begin:
            parts.append(instead)
        at = max(at, min(stop, end))
    return "".join([*parts, text[at:end]])
