"""What the environment says of the way to a server: whose certificates are trusted, and which proxy is between."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from toolchat.engine.remote.config import Address
from toolchat.wire.errors import EngineError


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between here and a server."""

    url: str
    """May hold a password, and is not shown."""
    variable: str
    """The variable of the environment that names it."""


def proxy_to(address: Address) -> Proxy | None:
    """The proxy by which a server is reached; None where there is none. What stays on this machine needs none."""
    parts = urlsplit(address.root)
    # An IPv6 address stands in brackets in the one, and without them in most NO_PROXY.
    if address.loopback or any(proxy_bypass(host) for host in (parts.netloc, parts.hostname or "")):
        return None
    proxies = getproxies()
    for kind in (parts.scheme, "all"):
        if url := proxies.get(kind):
            names = (name for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY") if os.environ.get(name))
            return Proxy(url if "://" in url else f"http://{url}", next(names, "the system's settings"))
    return None


def trusted(address: Address) -> ssl.SSLContext | bool:
    """What vouches for a server: the certificates that SSL_CERT_FILE or SSL_CERT_DIR names, else those of certifi.

    Read here because httpx reads these variables only where it takes proxies from the environment, too. Raises
    EngineError where what they name holds no certificates.
    """
    # Reading the certificates takes 30 ms, which only https needs.
    if not address.root.startswith("https:"):
        return False
    for variable, key in (("SSL_CERT_FILE", "cafile"), ("SSL_CERT_DIR", "capath")):
        if not (place := os.environ.get(variable)):
            continue
        try:
            if key == "capath" and not Path(place).is_dir():
                raise NotADirectoryError(0, "it is no folder")
            return ssl.create_default_context(**{key: place})  # type: ignore[arg-type]  # each is a path
        except OSError as error:
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise EngineError(
                f"{variable}={place}: cannot be read ({why}); expected certificates in PEM format; correct or unset it"
            ) from None
    return True
