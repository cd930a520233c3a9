"""The chat's end of the bridge to MCP servers, as a process: what it starts with, its messages, and its death."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from toolchat.environment import working_folder
from toolchat.private_file import open_private, private_folder
from toolchat.process import hide_memory
from toolchat.settings import cache_folder, state_folder
from toolchat.tools.code import ToolsCode
from toolchat.tools.commands import CommandFailed, file_digest
from toolchat.tools.host import confine
from toolchat.tools.host.channel import AsyncChannel, Message, new_token, socket_pair
from toolchat.tools.host.process_client import how_it_ended
from toolchat.tools.host.process_tree import kill_marked, kill_tree
from toolchat.tools.host.protocol import PYTHON_FLAGS, to_descriptor
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.protocol import BridgeRequest, Served
from toolchat.tools.variables import MissingVariable, basic_environment, expanded, named_environment, working_folder_of
from toolchat.wire.errors import UsageError

FOLDER = "mcp-files"
"""Below the cache folder: files that servers send."""
_MARK = "_TOOL_BRIDGE"
_END_SECONDS = 3.0
_BRIDGE = ("-m", "toolchat.tools.mcp.bridge")


class Bridge:
    """One bridge process, with the servers of equal rights."""

    def __init__(
        self,
        served: Sequence[Served],
        log: Path | None,
        *,
        confined: bool,
        heard: Callable[[Bridge, Message], None],
        ended: Callable[[Bridge, str], None],
    ) -> None:
        """Call in the main thread: the kernel ends the bridge with the thread that started it. Raises OSError."""
        self._heard = heard
        self._on_end = ended
        self._mark = f"{_MARK}={secrets.token_hex(16)}"
        self._ending: asyncio.Task[None] | None = None
        self._closing = False
        ours, theirs = socket_pair()
        token = new_token()
        folder = working_folder()
        request = BridgeRequest(
            channel=theirs.fileno(),
            token=token,
            parent=os.getpid(),
            confined=confined,
            abi=confine.landlock_abi(),
            terminals=tuple(confine.own_terminals()),
            root=str(folder) if folder is not None else "/",
            files=str(cache_folder() / FOLDER),
            logins=str(state_folder()),
            servers=tuple(served),
        )
        argument = to_descriptor(request)
        name, _, value = self._mark.partition("=")
        errors: Any = subprocess.DEVNULL
        with suppress(OSError):
            if log is not None:
                private_folder(log.parent)
                errors = os.fdopen(open_private(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
        hide_memory()
        try:
            self._process = subprocess.Popen(
                [sys.executable, *PYTHON_FLAGS, *_BRIDGE, str(argument)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(theirs.fileno(), argument),
                start_new_session=True,
                env=basic_environment(os.environ) | {name: value},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(argument)
            _close(errors)
        self._channel = AsyncChannel(ours, token, lambda message: self._heard(self, message), self._ended)

    @property
    def pid(self) -> int:
        """Of the guardian; the bridge is its child."""
        return self._process.pid

    def send(self, message: Message) -> None:
        self._channel.send(message)

    async def close(self) -> None:
        """End it, with all its servers."""
        self._closing = True
        self._channel.close()
        if self._ending is None:
            self._ended(_END_SECONDS)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    def _ended(self, wait: float = 0.5) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(wait), name="mcp-bridge-end")

    async def _end(self, wait: float) -> None:
        for _ in range(int(wait / 0.01)):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        killed = self._process.poll() is None
        if killed:
            kill_tree(self._process.pid)
        self._process.wait()
        if killed or self._process.returncode != 0:
            kill_marked(self._mark)
        self._channel.close()
        if not self._closing:
            self._on_end(self, how_it_ended(self._process.returncode))


def _close(stream: BinaryIO | int) -> None:
    if not isinstance(stream, int):
        stream.close()


def check_files(server: McpServer, code: ToolsCode) -> None:
    """Raise UsageError where a file beside the tools file, which it runs, is not as it was accepted."""
    for file in code.reach.get(server.reach, ()):
        # What was shown, and accepted, is what runs.
        try:
            same = file_digest(file) == code.files.get(file)
        except CommandFailed as error:
            raise UsageError(str(error)) from None
        if not same:
            raise UsageError(f"{code.shown(file)} has changed since the tools were read; say /reload")


def served_by(server: McpServer, code: ToolsCode) -> Served:
    """The server with the values of its variables. Raises UsageError where one is missing, or its code is other."""
    secrets_ = named_environment(server.given, os.environ)
    known = basic_environment(os.environ) | secrets_
    check_files(server, code)
    missing = [name for name in server.env if name not in os.environ]
    if missing:
        raise UsageError(f"it needs the variable {missing[0]}, which is not set; set it before toolchat starts")
    try:
        words = [str(expanded(word, known)) for word in server.command]
        url = str(expanded(server.url, known))
        headers = {name: str(expanded(text, known)) for name, text in server.headers}
        sets = {name: str(expanded(text, known)) for name, text in server.sets}
    except MissingVariable as missing_one:
        what = f"it needs the variable {missing_one.name}, which is not set"
        raise UsageError(f"{what}; set it before toolchat starts") from None
    folder = working_folder()
    cwd = str(folder) if folder is not None else "/"
    if server.cwd is not None:
        path, wrong = working_folder_of(server.cwd, code.folder, os.environ)
        if wrong:
            raise UsageError(wrong)
        cwd = str(path)
    local = set(server.local_files(code.folder))
    # A file beside the tools file is meant wherever the user is.
    words = [
        str(code.folder / word) if str(code.folder / plain) in local else word
        for word, plain in zip(words, server.command, strict=True)
    ]
    own = named_environment(server.env, os.environ)
    environment = basic_environment(os.environ) | own | sets
    if words and shutil.which(words[0], path=environment.get("PATH")) is None and "/" not in words[0]:
        raise UsageError(f'there is no program "{words[0]}"; install it, or correct command:')
    values = secrets_ | {name: text for name, text in own.items() if name not in basic_environment(os.environ)}
    return Served(
        server.name,
        tuple(words),
        url,
        server.transport,
        headers,
        environment,
        cwd,
        server.start_timeout,
        server.roots,
        values,
    )
