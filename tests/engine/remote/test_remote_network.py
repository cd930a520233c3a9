"""Proxies and certificates that the environment names."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from pathlib import Path

import httpx
import pytest

from toolchat.engine.remote.config import Address
from toolchat.engine.remote.connection import Connection
from toolchat.engine.remote.failures import unreachable
from toolchat.engine.remote.network import Proxy, proxy_to, trusted
from toolchat.wire.errors import EngineError

FAR, NEAR = Address.read("http://models.example:8000"), Address.read("http://127.0.0.1:8000")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(address: Address = FAR) -> str:
    with pytest.raises(EngineError) as caught:
        Connection(address)
    return str(caught.value)


def test_the_proxy_is_the_schemes_then_that_of_all_and_none_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_to(FAR) is None
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1")
    assert proxy_to(FAR) == Proxy("socks5://p:1", "ALL_PROXY")
    monkeypatch.setenv("http_proxy", "p:2")
    assert proxy_to(FAR) == Proxy("http://p:2", "http_proxy")
    assert proxy_to(Address.read("https://models.example")) == Proxy("socks5://p:1", "ALL_PROXY")
    assert proxy_to(NEAR) is None
    assert proxy_to(Address.read("unix:/s")) is None
    monkeypatch.setenv("NO_PROXY", "models.example")
    assert proxy_to(FAR) is None


@pytest.mark.parametrize("written", ["fe80::1", "[fe80::1]", "[fe80::1]:8000", "h,FE80::1"])
def test_an_ipv6_address_needs_no_proxy_however_no_proxy_names_it(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", written)
    assert proxy_to(Address.read("http://[fe80::1]:8000")) is None
    assert proxy_to(Address.read("http://[fe80::2]:8000")) is not None


def test_a_proxy_that_cannot_be_used_is_told_with_its_variable_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "ftp://user:secret@p")
    told = refusal()
    assert told.endswith(
        "HTTP_PROXY names no proxy that can be used; expected http://HOST:PORT or socks5://HOST:PORT; correct it, or "
        "put the server's name into NO_PROXY"
    )
    assert "secret" not in told


def test_a_socks_proxy_names_the_package_it_takes_and_harms_no_server_that_is_reached_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    assert (
        "ALL_PROXY names a SOCKS proxy, which takes one more package; pip install 'httpx[socks]', or put" in refusal()
    )
    monkeypatch.setenv("NO_PROXY", "models.example")
    Connection(FAR).close()
    Connection(NEAR).close()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNREFUSED, "refused"),
        socket.gaierror(-2, "Name or service not known"),
        httpx.ConnectTimeout("took too long"),
    ],
)
def test_where_a_proxy_is_between_it_is_the_proxy_that_cannot_be_reached(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    assert "models.example:8000: the proxy that HTTP_PROXY names cannot be reached (" in str(unreachable(error, FAR))
    assert "proxy" not in str(unreachable(error, NEAR))


def test_the_named_certificates_are_trusted_for_this_machine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    https = Address.read("https://localhost:8000")
    assert trusted(https) is True
    assert trusted(NEAR) is False
    import certifi

    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    context = trusted(https)
    assert isinstance(context, ssl.SSLContext)
    assert context.get_ca_certs()
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert trusted(https) is True


@pytest.mark.parametrize(
    ("variable", "name", "why"),
    [
        ("SSL_CERT_FILE", "none.pem", "No such file or directory"),
        ("SSL_CERT_FILE", "rubbish.pem", "it holds no certificate"),
        ("SSL_CERT_DIR", "none", "it is no folder"),
    ],
)
def test_certificates_that_cannot_be_read_are_told_with_their_variable(
    variable: str, name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    monkeypatch.setenv(variable, str(tmp_path / name))
    told = refusal(Address.read("https://localhost:8000"))
    assert told.startswith(f"{variable}={tmp_path / name}: cannot be read ({why}); expected certificates in PEM format")
