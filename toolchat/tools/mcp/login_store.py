"""Where logins at MCP servers lie: one private file in the state folder, by the server's address.

Whoever reads them never shows them. The chat's process does not read them at all; the bridge does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolchat.private_file import PrivateFile, private_folder

FILE = "mcp-logins.json"
REFRESH_SECONDS = 30.0
"""How long another program may take to refresh the same login."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a login came to (RFC 6749), and where it is refreshed and ended."""

    url: str
    """The MCP server's address. Its tokens go there, and to the authorization server's own endpoints below."""
    resource: str
    """What the tokens are for (RFC 8707)."""
    issuer: str
    token_endpoint: str
    client_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    method: str = "none"
    """How the client says who it is at the token endpoint: "none", "client_secret_post" or "client_secret_basic"."""
    expires: float = 0.0
    """By the clock of the system; 0 where that is not known."""
    scope: str = ""
    revocation_endpoint: str = ""

    @property
    def secrets(self) -> dict[str, str]:
        """Its secret values, by what stands for them where they are replaced."""
        values = {"ACCESS_TOKEN": self.access_token, "REFRESH_TOKEN": self.refresh_token}
        return {name: value for name, value in {**values, "CLIENT_SECRET": self.client_secret}.items() if value}


class Logins:
    """The logins of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = PrivateFile(folder / FILE)

    def get(self, url: str) -> Login | None:
        return _login(self._all(self._file.read()).get(url))

    def keep(self, login: Login) -> None:
        """In place of whatever is kept. Raises ToolchatError where it cannot be written."""
        self._file.change(lambda data: {**self._all(data), login.url: asdict(login)})

    def renew(self, old: Login, new: Login) -> bool:
        """Keep `new` in place of `old`; False where that is not what is kept: the user has logged in anew, or out.

        Raises ToolchatError where it cannot be written.
        """
        renewed = False

        def change(data: Any) -> dict[str, Any]:
            nonlocal renewed
            kept = self._all(data)
            renewed = _login(kept.get(old.url)) == old
            return {**kept, old.url: asdict(new)} if renewed else kept

        self._file.change(change)
        return renewed

    def forget(self, url: str) -> None:
        """Raises ToolchatError where that cannot be written."""
        self._file.change(lambda data: {key: entry for key, entry in self._all(data).items() if key != url})

    async def log_in(self, login: Login) -> None:
        """As `keep`, once no program refreshes the login before it."""
        async with self._unrefreshed(login.url):
            self.keep(login)

    async def log_out(self, url: str) -> Login | None:
        """As `forget`, once no program refreshes the login: the one that there was, with its newest tokens."""
        async with self._unrefreshed(url):
            login = self.get(url)
            if login is not None:
                self.forget(url)
            return login

    @asynccontextmanager
    async def refreshing(self, url: str) -> AsyncIterator[None]:
        """Have nobody else refresh this login meanwhile: a refresh token often works once. Raises OSError."""
        from filelock import FileLock, Timeout

        private_folder(self._folder)
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        lock = FileLock(self._folder / f"mcp-login-{name}.lock", timeout=0, mode=0o600)
        async with asyncio.timeout(REFRESH_SECONDS):
            while True:
                try:
                    lock.acquire()
                    break
                except Timeout:
                    await asyncio.sleep(0.05)
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def _unrefreshed(self, url: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # One that hangs does not stop the user: what comes of it is not kept, see `renew`.
            with suppress(TimeoutError, OSError):
                await stack.enter_async_context(self.refreshing(url))
            yield

    def _all(self, data: Any) -> dict[str, Any]:
        return data if isinstance(data, dict) else {}


def _login(entry: Any) -> Login | None:
    try:
        return Login(**entry) if isinstance(entry, dict) else None
    except TypeError:  # by another version
        return None
