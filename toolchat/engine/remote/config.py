"""What the process that speaks to a server is told, and how a server's address is read. Imports nothing heavy."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

from toolchat.engine.config import Sampling

COMMAND = (sys.executable, "-P", "-m", "toolchat.engine.remote")
"""Starts that process. `-P`: the folder the user is in must not shadow any module."""

WIDTH = 8
"""Requests that a batch asks of a server at the same time: none says how many it takes, and hosted ones limit them."""

_VERSION = re.compile(r"/v\d+[a-z0-9]*$")
_ENDPOINT = re.compile(
    r"(?:/chat/completions|/completions|/responses|/embeddings|(?P<base>/(?:v\d+[a-z0-9]*|openai))/models)$"
)
"""Of a path. A base path may itself end in /models; behind a version, or /openai as with Gemini, that is the list."""
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    text: str
    """As people are told of it."""
    root: str
    """The URL that its own paths, such as /version, stand behind; without a slash at its end."""
    api: str
    """The same of OpenAI's paths, such as /chat/completions."""
    socket: str | None = None
    """The path of its unix socket, where it has one."""
    loopback: bool = False
    """Whether what is sent there stays on this machine."""

    @classmethod
    def read(cls, written: str) -> Self:
        """Of an address that `settings.resolve` accepts. `/v1` may be left out where the path is empty."""
        if written.startswith("unix:"):
            path = written.removeprefix("unix:")
            return cls(written, "http://localhost", "http://localhost/v1", path, loopback=True)
        # What is copied from an example of a request ends in what is asked there.
        parts = urlsplit(written)
        path = _ENDPOINT.sub(r"\g<base>", parts.path.rstrip("/")).rstrip("/")
        url = parts._replace(path=path).geturl()
        local = _LOOPBACK.fullmatch(parts.hostname or "") is not None
        if not path:
            return cls(url, url, f"{url}/v1", None, local)
        return cls(url, _VERSION.sub("", url), url, None, local)

    def with_version(self) -> Address | None:
        """The same with /v1 behind its path, which was left out; None where a version stands there."""
        if self.api != self.root:
            return None
        return replace(self, text=f"{self.text}/v1", api=f"{self.api}/v1")

    @property
    def short(self) -> str:
        """For the toolbar: "localhost:8000", or the socket's file name."""
        if self.socket is not None:
            return self.socket.rstrip("/").rpartition("/")[2]
        return urlsplit(self.root).netloc


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What the process is told; the counterpart of `EngineConfig`."""

    server: str
    model: str
    """The name shown to people until the server has said what it has."""
    asked: str | None = None
    """The model that was named; None for the server's only one."""
    api_key: str = field(default="", repr=False)
    tokenizer: str | None = None
    """The folder or the Hugging Face id with the tokenizer's files; None for what the server names."""
    context: int | None = None
    """At most so many tokens of prompt and answer together; None for what the server allows."""
    reasoning_effort: str | None = None
    """What every request will ask for; None for the model's own default."""
    cards: tuple[tuple[str, Sampling], ...] = ()
    """What publishers recommend, each for models whose name begins with a pattern, in lower case."""
    debug: bool = False
    notes: tuple[str, ...] = ()
    """What the user is to be told before anything is asked."""

    @property
    def device(self) -> str:
        return "server"

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one."""
        cards = tuple((pattern, Sampling(**sampling)) for pattern, sampling in written["cards"])
        return cls(**{**written, "cards": cards, "notes": tuple(written["notes"])})

    def recommended(self, model: str) -> Sampling | None:
        """What the publisher of `model` recommends, by the last part of its name; None where nothing is known."""
        base = model.rstrip("/").rpartition("/")[2].lower()
        return next((sampling for pattern, sampling in self.cards if re.match(pattern, base)), None)
