"""What a tools file says of MCP servers, before any is started: the section `mcp`, and `mcpServers` of other programs.

Values only: nothing is started, expanded or asked for here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from toolchat.tools.problems import Place
from toolchat.tools.rules import NO_RULES, Rules
from toolchat.tools.toolbox import Approval, Privileges
from toolchat.tools.variables import is_basic, names_in

SERVER_NAME = re.compile(r"[a-zA-Z0-9_-]{1,40}")
_RUNNERS = ("npx", "bunx", "pnpx", "uvx", "pipx", "uv", "npm", "yarn", "pnpm")
_VERSION = re.compile(r"(?<=.)@v?\d+(\.\d+)+[\w.+-]*$|==\s*\d[\w.+-]*$")
"""Of a package's name: one exact version."""
_VALUED = {"-p", "--package", "--from", "--with", "-c", "--call", "--python", "-e", "-v", "--env", "--volume", "--name"}
"""Flags of such programs that a value follows."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """What the file says of logins at a server; texts may hold `${NAME}`."""

    client_id: str = ""
    """Of toolchat, where somebody has registered it at the authorization server; empty to have it registered."""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    """The authorization server that a login must be at, and the only one that is told `client_secret`; empty where
    there is no secret, and the server may say."""
    scope: str = ""
    port: int = 0
    """Of 127.0.0.1, where the answer to a login comes; 0 for one that is free."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """One server, as a file describes it; texts may hold `${NAME}`."""

    name: str
    place: Place
    command: tuple[str, ...] = ()
    """The program and its arguments, where toolchat starts it; empty where it has a `url`."""
    url: str = ""
    transport: str = ""
    """Of a `url`: "http" or "sse"; empty where that is to be found out."""
    headers: tuple[tuple[str, str], ...] = ()
    env: tuple[str, ...] = ()
    """Names of variables that it sees beyond the basic ones."""
    sets: tuple[tuple[str, str], ...] = ()
    """Variables that the file sets."""
    cwd: str | None = None
    include: tuple[str, ...] = ()
    """Patterns of the server's own names for its tools, one of which must fit; empty for all."""
    exclude: tuple[str, ...] = ()
    prefix: str = ""
    """What the names of its tools begin with."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """`ToolOptions` of all its tools, where the file says them."""
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of the tools whose names fit a pattern; of several patterns, the last counts."""
    start_timeout: float = 30.0
    """Seconds until it has told its tools."""
    oauth: OAuth = OAuth()
    roots: bool = False
    """Whether it is told that it may ask for the folder that the user is in. The file system's server takes that in
    place of the folders of its command line."""

    @property
    def approval(self) -> Approval:
        return Approval(self.options.get("approval", Approval.ASK))

    @property
    def rules(self) -> Rules:
        return self.options.get("rules", NO_RULES)  # type: ignore[no-any-return]  # read by `options`

    @property
    def keeps_privileges(self) -> bool:
        return self.options.get("privileges") is Privileges.KEEP

    @property
    def shown(self) -> str:
        """What is run or asked, in one line, as the file writes it."""
        return " ".join(self.command) if self.command else self.url

    @property
    def given(self) -> tuple[str, ...]:
        """The variables, basic ones left out, that its texts name; sorted."""
        texts = [self.command, self.url, [text for _, text in (*self.headers, *self.sets)], self.cwd]
        texts += [self.oauth.client_id, self.oauth.client_secret, self.oauth.issuer, self.oauth.scope]
        return tuple(sorted({name for name in names_in(texts) if not is_basic(name)}))

    @property
    def reach(self) -> str:
        """What `ToolsCode.reach` calls it."""
        return f"mcp:{self.name}"

    @property
    def allows(self) -> bool:
        """Whether the file would have calls of it run without asking."""
        return any(map(allows, (self.options, *self.tools.values())))

    def takes(self, tool: str) -> bool:
        """Whether the server's tool of that name is to be one of the chat's."""
        kept = not self.include or any(fnmatchcase(tool, pattern) for pattern in self.include)
        return kept and not any(fnmatchcase(tool, pattern) for pattern in self.exclude)

    def options_of(self, tool: str) -> dict[str, Any]:
        """What the file says of the server's tool of that name."""
        said = dict(self.options)
        for pattern, options in self.tools.items():
            if fnmatchcase(tool, pattern):
                said |= options
        return said

    def local_files(self, folder: Path) -> list[str]:
        """The files beside the tools file that words of the command name: code that a person is to see."""
        paths = [folder / word for word in self.command if word and not os.path.isabs(word)]  # noqa: PTH117
        return [str(path) for path in paths if path.is_file()]

    def digest(self, tool: Mapping[str, Any], files: Mapping[str, str]) -> str:
        """A SHA-256 (hexadecimal) of who the server and its issuer are, of `tool` as it describes it, and of the local
        files that it runs: a grant ends with any of them."""
        who = [self.command, self.url, self.headers, sorted(self.env), self.sets, self.cwd, self.roots]
        who += [self.oauth.issuer] if self.oauth.issuer else []
        return hashlib.sha256(json.dumps([who, tool, sorted(files.items())], sort_keys=True).encode()).hexdigest()


def allows(options: Mapping[str, Any]) -> bool:
    """Whether options of a server, or of some of its tools, have calls run without asking."""
    return options.get("approval") is Approval.ALLOW or bool(options.get("rules", NO_RULES).allow)


def unpinned(command: Iterable[str]) -> str | None:
    """The package that a command fetches in whatever version is newest when it starts; None for all else."""
    words = [*command]
    program = words[0].rpartition("/")[2] if words else ""
    if program not in _RUNNERS:
        return None
    rest = words[1:]
    if program in ("uv", "pipx", "npm", "yarn", "pnpm"):
        verbs = {"uv": ("tool", "run", "x"), "npm": ("exec", "x")}
        known = verbs.get(program, ("run", "dlx", "exec"))
        if not rest or rest[0] not in known:
            return None
        while rest and rest[0] in known:
            rest = rest[1:]
    named = [value for flag, value in pairwise(rest) if flag in ("-p", "--package", "--from")]
    named += [word.partition("=")[2] for word in rest if word.startswith(("--package=", "--from="))]
    if not named:
        plain = iter(rest)
        for word in plain:
            if word in _VALUED:
                next(plain, None)
            elif not word.startswith("-"):
                named = [word]
                break
    loose = [name for name in named if not _VERSION.search(name) and not name.startswith((".", "/"))]
    return loose[0] if loose else None
