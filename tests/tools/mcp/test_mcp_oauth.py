"""Logins at MCP servers: what comes of them, and that nothing a server does sends a secret astray."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp_bench import McpBench, write_servers
from oauth_server import OAuthWorld, Reply, as_json, oauth_world

from toolchat.cli import tool_login
from toolchat.settings import state_folder
from toolchat.tools.mcp.authorization import (
    Attempt,
    AuthorizationServer,
    Protected,
    code_of,
    protected,
    refreshed,
)
from toolchat.tools.mcp.bridge import Bridge
from toolchat.tools.mcp.endpoints import (
    LoginError,
    canonical,
    challenge,
    check_reach,
    checked_address,
    covers,
    http_client,
    origin,
    same,
)
from toolchat.tools.mcp.http import Bearer, right_scope
from toolchat.tools.mcp.login import Wanted, log_in
from toolchat.tools.mcp.login_store import FILE, Login, Logins
from toolchat.tools.mcp.protocol import BridgeRequest
from toolchat.wire.errors import ToolchatError, UsageError


@pytest.fixture
def world() -> Iterator[OAuthWorld]:
    with oauth_world() as world:
        yield world


async def browse(address: str) -> httpx2.Response:
    """What a browser does, with a person in front of it who agrees."""
    async with httpx2.AsyncClient(follow_redirects=True) as client:
        return await client.get(address)


def logged_in(
    world: OAuthWorld, visit: Callable[[str], Any] = browse, seconds: float = 10.0, **wanted: Any
) -> tuple[Login, str]:
    """The login, and the address that a person was shown."""
    shown: list[str] = []

    async def main() -> Login:
        tasks: list[asyncio.Task[Any]] = []

        async def show(_: str, address: str) -> None:
            shown.append(address)
            tasks.append(asyncio.create_task(visit(address)))

        try:
            return await log_in(Wanted(world.url, **wanted), show, seconds=seconds)
        finally:
            await asyncio.gather(*tasks)

    return asyncio.run(main()), shown[0]


def refused(world: OAuthWorld, line: str, token_requests: int = 0, **how: Any) -> None:
    with pytest.raises(LoginError, match=line) as told:
        logged_in(world, **how)
    assert str(told.value).isprintable()
    assert world.paths().count("/token") == token_requests


def test_a_login_finds_its_server_registers_and_gets_tokens(world: OAuthWorld) -> None:
    login, address = logged_in(world)
    assert {login.access_token} == world.tokens
    assert (login.issuer, login.resource, login.client_id) == (world.origin, world.url, "client-1")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert (asked["resource"], asked["scope"], asked["response_type"]) == (world.url, "read", "code")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", asked["redirect_uri"])
    assert len(asked["state"]) >= 43
    registration = next(json.loads(body) for _, path, _, body in world.seen if path == "/register")
    assert registration["redirect_uris"] == [asked["redirect_uri"]]
    assert registration["token_endpoint_auth_method"] == "none"
    assert login.access_token not in repr(login)
    assert login.refresh_token not in repr(login)


def test_a_server_of_before_protected_resources_is_its_own_issuer(world: OAuthWorld) -> None:
    world.with_resource = False
    assert logged_in(world)[0].issuer == world.origin


def test_tokens_that_can_be_refreshed_are_asked_for_where_that_takes_a_scope(world: OAuthWorld) -> None:
    world.metadata["scopes_supported"] = ["offline_access", "read"]
    asked = parse_qs(urlsplit(logged_in(world)[1]).query)
    assert (asked["scope"], asked["prompt"]) == (["read offline_access"], ["consent"])
    asked = parse_qs(urlsplit(logged_in(world, scope="write")[1]).query)
    assert asked["scope"] == ["write"]


def test_an_issuer_with_a_path_is_looked_for_in_all_three_places(world: OAuthWorld) -> None:
    issuer = f"{world.origin}/tenant"
    world.resource["authorization_servers"] = [issuer]
    found = as_json(200, {**world._about(), "issuer": issuer, "authorization_response_iss_parameter_supported": False})
    world.instead["/tenant/.well-known/openid-configuration"] = lambda: found
    world.answer["iss"] = ""
    assert logged_in(world)[0].issuer == issuer
    assert [path for path in world.paths() if "tenant" in path] == [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    ("methods", "in_head"),
    [(None, True), (["client_secret_post"], False), (["client_secret_basic", "client_secret_post"], True)],
)
def test_a_client_that_the_file_names_is_not_registered(world: OAuthWorld, methods: Any, in_head: bool) -> None:
    world.metadata = {"token_endpoint_auth_methods_supported": methods, "registration_endpoint": None}
    if in_head:
        world.instead["/token"] = lambda: as_json(200, {"access_token": "t", "token_type": "bearer"})
    login, _ = logged_in(world, client_id="own", client_secret="s3cret/+", issuer=world.origin, scope="a b")
    assert "/register" not in world.paths()
    headers, body = next((headers, body) for _, path, headers, body in world.seen if path == "/token")
    assert ("Authorization" in headers) is in_head
    assert (b"s3cret" in body) is not in_head
    assert login.scope == "a b"


def test_an_address_that_is_pasted_is_an_answer_too(world: OAuthWorld) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def main() -> Login:
        async def show(_: str, address: str) -> None:
            async with httpx2.AsyncClient() as client:
                there = (await client.get(address)).headers["location"]
            for line in ("what?", "http://[", there.replace("state=", "state=x"), there + "\n"):
                lines.put_nowait(line)

        return await log_in(Wanted(world.url), show, lines.get, seconds=10)

    assert asyncio.run(main()).access_token in world.tokens


def test_a_server_that_wants_no_login_and_one_that_takes_no_programs_are_told(world: OAuthWorld) -> None:
    world.metadata["registration_endpoint"] = None
    refused(
        world, r"takes no registrations of programs; register toolchat there, with http://127.0.0.1:\d+/callback, and"
    )
    world.instead["/mcp"] = lambda: as_json(200, {})
    refused(world, "it wants no login: it answered 200")


def naming(address: str) -> Reply:
    return 401, {"WWW-Authenticate": f'Bearer resource_metadata="{address}"'}, b""


ELSEWHERE = "https://elsewhere.example"


def redirect(status: int = 307) -> Callable[[], Reply]:
    return lambda: (status, {"Location": f"{ELSEWHERE}/x"}, b"")


HOSTILE: dict[str, tuple[Callable[[OAuthWorld], Any], str]] = {
    "metadata of another issuer": (
        lambda world: world.metadata.update(issuer=ELSEWHERE),
        "its authorization server says to be another: https://elsewhere.example in place of http://127.0.0.1",
    ),
    "an answer of another issuer": (
        lambda world: world.answer.update(iss=ELSEWHERE),
        "another server answered to the login: https://elsewhere.example in place of",
    ),
    "an answer that does not say whose it is, as was promised": (
        lambda world: world.answer.update(iss=""),
        r"does not say whose it is \(iss\), as was promised",
    ),
    "metadata that redirect": (
        lambda world: world.instead.update(
            {f"/.well-known/{name}": redirect() for name in ("oauth-authorization-server", "openid-configuration")}
        ),
        "its authorization server does not say what it is",
    ),
    "the resource's metadata at another server": (
        lambda world: world.instead.update(
            {
                "/mcp": lambda: (
                    401,
                    {"WWW-Authenticate": f'Bearer resource_metadata="http://localhost:{world.port}/a"'},
                    b"",
                )
            }
        ),
        "what it says of itself lies at another server: http://localhost",
    ),
    "another resource": (
        lambda world: world.resource.update(resource=f"{ELSEWHERE}/mcp"),
        "it says to be another resource than its address: https://elsewhere.example/mcp",
    ),
    "a resource beside it": (
        lambda world: world.resource.update(resource=f"{world.origin}/mc"),
        "it says to be another resource than its address",
    ),
    "no issuers": (lambda world: world.resource.update(authorization_servers=[]), "does not say who issues tokens"),
    "no protection of codes": (
        lambda world: world.metadata.update(code_challenge_methods_supported=["plain"]),
        "does not protect codes on their way",
    ),
    "nothing on the protection of codes": (
        lambda world: world.metadata.update(code_challenge_methods_supported=None),
        "does not protect codes on their way",
    ),
    "tokens by http from elsewhere": (
        lambda world: world.metadata.update(token_endpoint="http://elsewhere.example/token"),
        "token_endpoint is not one that is gone to: http://elsewhere.example/token; expected https://",
    ),
    "a script as the page": (
        lambda world: world.metadata.update(authorization_endpoint="javascript:alert(1)"),
        "authorization_endpoint is not one that is gone to: javascript:",
    ),
    "a file as the page": (
        lambda world: world.metadata.update(authorization_endpoint="file:///etc/passwd"),
        "authorization_endpoint is not one that is gone to",
    ),
    "a flag as the page": (
        lambda world: world.metadata.update(authorization_endpoint="--new-window"),
        "authorization_endpoint is not one that is gone to",
    ),
    "somebody's name before the host": (
        lambda world: world.metadata.update(authorization_endpoint="https://you@elsewhere.example/"),
        "authorization_endpoint is not one that is gone to",
    ),
    "an address in two lines": (
        lambda world: world.metadata.update(token_endpoint=f"{world.origin}/token\r\nX: y"),
        "token_endpoint is not one that is gone to",
    ),
    "endless metadata": (
        lambda world: world.instead.update(
            {"/.well-known/oauth-authorization-server": lambda: (200, {}, b"x" * 1_000_000)}
        ),
        "answered with more than 256 KiB",
    ),
    "metadata that are a list": (
        lambda world: world.instead.update({"/.well-known/oauth-authorization-server": lambda: as_json(200, [1])}),
        "does not say what it is",
    ),
    "metadata too deep": (
        lambda world: world.instead.update(
            {"/.well-known/oauth-authorization-server": lambda: (200, {}, b"[" * 100_000)}
        ),
        "does not say what it is",
    ),
    "a registration elsewhere": (
        lambda world: world.registration.update(redirect_uris=[ELSEWHERE]),
        "registered toolchat with another address to return to",
    ),
    "a registration as nobody": (
        lambda world: world.registration.update(client_id={"a": 1}),
        "registered toolchat without a client_id",
    ),
    "a registration with a key": (
        lambda world: world.registration.update(token_endpoint_auth_method="private_key_jwt"),
        "wants a client to say who it is in an unknown way",
    ),
    "a registration that is refused with control characters": (
        lambda world: world.instead.update(
            {"/register": lambda: as_json(400, {"error": "no\x1b[2J", "error_description": "x\n" * 5000})}
        ),
        r"did not register toolchat: it answered 400: no\?\[2J: x\?x",
    ),
    "a refusal": (
        lambda world: world.answer.update(error="access_denied", error_description="no\x1b]0;x"),
        r"the login was refused: access_denied: no\?\]0;x",
    ),
    "a code that is none": (lambda world: world.answer.update(code="a\nb"), "has no code"),
    "an address that is none as the issuer": (
        lambda world: world.resource.update(authorization_servers=["https://999.1.1.1"]),
        "https://999.1.1.1 cannot be asked: ",
    ),
    "a host that is no name as the issuer": (
        lambda world: world.resource.update(authorization_servers=[f"https://{'x' * 64}.example"]),
        "https://x{64}.example cannot be asked: ",
    ),
    "a resource that is no address": (
        lambda world: world.resource.update(resource="http://["),
        r"it says to be another resource than its address: http://\[",
    ),
    "a resource at a port that is none": (
        lambda world: world.resource.update(resource="http://127.0.0.1:99999/mcp"),
        "it says to be another resource than its address",
    ),
    "metadata of an issuer that is no address": (
        lambda world: world.metadata.update(issuer="http://["),
        "its authorization server says to be another",
    ),
    "metadata of an issuer with somebody's name before it": (
        lambda world: world.metadata.update(issuer=f"http://bank.example@127.0.0.1:{world.port}"),
        "its authorization server says to be another",
    ),
    **{
        f"a registration that returns to {places!r}": (
            lambda world, places=places: world.registration.update(redirect_uris=places),
            "registered toolchat with another address to return to",
        )
        for places in (None, 5, {}, [], "x http://127.0.0.1:1/callback http://127.0.0.1:2/callback")
    },
    "a registration that returns to a longer text": (
        lambda world: world.instead.update(
            {"/register": lambda: as_json(201, {"client_id": "c", "redirect_uris": f"{_asked_redirect(world)}/x"})}
        ),
        "registered toolchat with another address to return to",
    ),
}
"""What is refused before anything goes to the token endpoint."""


def _asked_redirect(world: OAuthWorld) -> str:
    return str(json.loads(world.seen[-1][3])["redirect_uris"][0])


HOSTILE_TOKENS: dict[str, tuple[Callable[[OAuthWorld], Any], str]] = {
    "tokens that redirect": (
        lambda world: world.instead.update({"/token": redirect()}),
        "gave no token: it answered 307",
    ),
    "a token with a line break": (
        lambda world: world.token.update(access_token="a\r\nCookie: b"),
        "gave a token that is none",
    ),
    "a token that is an object": (lambda world: world.token.update(access_token={}), "gave a token that is none"),
    "a token of another kind": (lambda world: world.token.update(token_type="mac"), "of a kind that toolchat does not"),
    "a code for somebody else": (
        lambda world: world.answer.update(code="stolen"),
        r"gave no token: it answered 400: invalid_grant: no\?\[31mthing",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_server_gets_no_login_and_one_line(world: OAuthWorld, what: str) -> None:
    misbehave, line = HOSTILE[what]
    misbehave(world)
    refused(world, line)


@pytest.mark.parametrize("what", HOSTILE_TOKENS)
def test_a_hostile_token_endpoint_is_asked_once_and_gives_no_login(world: OAuthWorld, what: str) -> None:
    misbehave, line = HOSTILE_TOKENS[what]
    misbehave(world)
    refused(world, line, token_requests=1)


def test_a_secret_of_the_file_goes_to_the_issuer_that_the_file_names_alone(world: OAuthWorld) -> None:
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    own = {"client_id": "own", "client_secret": "s3cret"}
    refused(world, f"client_secret stands without issuer, whose it is; is it for {world.origin}", **own)
    line = f"it wants a login at {world.origin}, and its oauth: names the issuer https://right.example; correct that"
    refused(world, line, **own, issuer="https://right.example")
    refused(world, "names the issuer https://right.example", client_id="own", issuer="https://right.example")
    assert not [path for path in world.paths() if path in ("/register", "/authorize")]
    login, _ = logged_in(world, **own, issuer=f"{world.origin}/")
    assert (login.client_secret, login.issuer) == ("s3cret", world.origin)
    assert [path for _, path, _, body in world.seen if b"s3cret" in body] == ["/token"]


def streamed(data: Any) -> httpx2.Response:
    return httpx2.Response(200, stream=httpx2.ByteStream(json.dumps(data).encode()))


def outside(
    monkeypatch: pytest.MonkeyPatch, numbers: dict[str, list[str]], authorization: str, **endpoints: str
) -> tuple[Protected, set[str]]:
    """What is found out of https://mcp.example, without a network; and the hosts that were asked."""
    asked: set[str] = set()

    def lookup(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in numbers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 0)) for number in numbers[host]]

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.add(request.url.host)
        about = {"authorization_endpoint": f"{authorization}/a", "token_endpoint": f"{authorization}/t", **endpoints}
        match request.url.path:
            case "/mcp":
                return httpx2.Response(401)
            case "/.well-known/oauth-protected-resource/mcp":
                found: Any = {"resource": "https://mcp.example/mcp", "authorization_servers": [authorization]}
            case _:
                found = {"issuer": authorization, "code_challenge_methods_supported": ["S256"], **about}
        return streamed(found)

    async def found() -> Protected:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            return await protected(client, "https://mcp.example/mcp", {})

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asyncio.run(found()), asked


@pytest.mark.parametrize(
    ("server", "other", "right"),
    [
        (["93.184.216.34"], ["93.184.216.35"], True),
        (["93.184.216.34"], ["10.0.0.5"], False),
        (["93.184.216.34"], ["93.184.216.35", "192.168.1.1"], False),
        (["93.184.216.34"], ["127.0.0.1"], False),
        (["93.184.216.34"], ["::ffff:10.0.0.5"], False),
        (["93.184.216.34"], ["fd00::1"], False),
        (["93.184.216.34", "10.0.0.2"], ["10.0.0.5"], False),
        (["10.0.0.2"], ["10.0.0.5"], True),
        (["10.0.0.2"], ["127.0.0.1"], False),
        (["127.0.1.1"], ["127.0.0.1"], True),
        (["127.0.1.1", "10.0.0.2"], ["127.0.0.1"], False),
        ([], ["10.0.0.5"], False),
        ([], [], True),
    ],
)
def test_a_name_that_leads_within_is_not_asked_for_a_server_outside(
    monkeypatch: pytest.MonkeyPatch, server: list[str], other: list[str], right: bool
) -> None:
    numbers = {name: some for name, some in (("mcp.example", server), ("auth.example", other)) if some}
    if right:
        of, asked = outside(monkeypatch, numbers, "https://auth.example")
        assert (of.server.issuer, asked) == ("https://auth.example", {"mcp.example", "auth.example"})
        return
    with pytest.raises(LoginError, match=r"^https://auth.example is within your own network \(.*\); it is not asked$"):
        outside(monkeypatch, numbers, "https://auth.example")


@pytest.mark.parametrize("host", ["a..example", f"{'x' * 64}.example"])
def test_a_host_that_is_no_name_is_not_asked(host: str) -> None:
    with pytest.raises(LoginError, match=rf"^{re.escape(host)} is no name of a host; it is not asked$"):
        asyncio.run(check_reach(f"https://{host}/", "https://93.184.216.34/mcp"))


def test_a_page_that_leads_within_is_not_opened_for_a_server_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"mcp.example": ["93.184.216.34"], "auth.example": ["93.184.216.35"], "router.example": ["192.168.1.1"]}
    with pytest.raises(LoginError, match=r"^https://router.example is within your own network \(192.168.1.1\)"):
        outside(monkeypatch, numbers, "https://auth.example", authorization_endpoint="https://router.example/reboot")


def test_a_token_endpoint_that_leads_within_is_not_asked_by_a_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, *_: Any, **__: Any) -> list[Any]:
        number = "10.0.0.5" if host == "auth.example" else "93.184.216.34"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 0))]

    async def again() -> Login:
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: streamed({})))
        async with client:
            token_endpoint = "https://auth.example/t"
            url = "https://mcp.example/mcp"
            return await refreshed(client, Login(url, url, "https://auth.example", token_endpoint, "c", "a", "r"))

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(LoginError, match=r"^https://auth.example is within your own network"):
        asyncio.run(again())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Docs.Example.org", "https://docs.example.org/"),
        ("HTTPS://docs.example.org:443/a", "https://docs.example.org/a/"),
        ("http://docs.example.org:80", "http://docs.example.org"),
        ("https://[2001:DB8::1]:443/", "https://[2001:db8::1]"),
        ("https://docs.example.org//a/", "https://DOCS.example.org//a"),
    ],
)
def test_two_spellings_of_an_address_are_one_server(one: str, other: str) -> None:
    assert same(one, other)
    assert origin(one) == origin(other)
    assert canonical(one) == canonical(other)
    assert covers(one, other)
    assert covers(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example:8443", "https://a.example"),
        ("https://a.example:80", "http://a.example"),
        ("https://a.example/A", "https://a.example/a"),
        ("https://a.example/?x", "https://a.example/"),
        ("https://a.example/#x", "https://a.example/"),
        ("https://you@a.example/", "https://a.example/"),
        ("https://a.example:0/", "https://a.example/"),
        ("https://[::1]/", "https://::1/"),
        ("http://[", "http://["),
    ],
)
def test_another_address_is_another_server(one: str, other: str) -> None:
    assert not same(one, other)


def test_letter_case_and_usual_ports_make_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    of, _ = outside(monkeypatch, {}, "https://Auth.Example:443")
    assert same(of.server.issuer, "https://auth.example")


def test_scopes_that_are_no_list_are_none(world: OAuthWorld) -> None:
    world.resource["scopes_supported"] = "read"
    world.metadata["scopes_supported"] = "offline_access"
    assert "scope" not in parse_qs(urlsplit(logged_in(world)[1]).query)


def test_an_answer_of_another_login_is_none_and_the_login_goes_on(world: OAuthWorld) -> None:
    pages: list[tuple[int, str]] = []

    async def visit(address: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        back = asked["redirect_uri"]
        async with httpx2.AsyncClient() as client:
            for query in (
                "",
                "?code=x",
                "?code=x&state=",
                f"?error=no&state={asked['state'][:-1]}",
                "?a=1" + "&a=1" * 99,
            ):
                page = await client.get(f"{back}{query}")
                pages.append((page.status_code, page.text))
            right = f"?code=x&state={asked['state']}&iss={world.origin}"
            pages.append(((await client.get(f"{back.removesuffix('callback')}{right}")).status_code, ""))
            pages.append(((await client.get(back + right, headers={"Host": "a"})).status_code, ""))
            pages.append(((await client.post(back + right)).status_code, ""))
        pages.append(((await browse(address)).status_code, ""))

    login, _ = logged_in(world, visit)
    assert [status for status, _ in pages] == [400] * 8 + [200]
    assert "no answer to the login" in pages[0][1]
    assert login.access_token in world.tokens


def test_nobody_who_logs_in_is_waited_for_only_so_long(world: OAuthWorld) -> None:
    async def nobody(_: str) -> None:
        pass

    refused(world, "nobody logged in within 0.05 seconds", visit=nobody, seconds=0.05)


def test_an_answer_that_says_a_thing_twice_is_refused() -> None:
    server, attempt = AuthorizationServer("https://a", "https://a/a", "https://a/t"), Attempt()
    assert code_of(f"code=x&state={attempt.state}", server, attempt) == "x"
    assert code_of("code=x&state=ü", server, attempt) is None
    with pytest.raises(LoginError, match="says the same thing twice"):
        code_of(f"code=x&code=y&state={attempt.state}", server, attempt)


@pytest.mark.parametrize(
    ("address", "server", "right"),
    [
        ("https://auth.example/x?y=1", "https://mcp.example/mcp", True),
        ("http://auth.example", "https://mcp.example/mcp", False),
        ("http://127.0.0.1:5000/x", "https://mcp.example/mcp", False),
        ("https://localhost/x", "https://mcp.example/mcp", False),
        ("https://a.LocalHost./x", "https://mcp.example/mcp", False),
        ("http://a.localhost:1/x", "http://127.0.0.1:2/mcp", True),
        ("https://169.254.169.254/latest", "https://mcp.example/mcp", False),
        ("https://10.0.0.1/", "https://mcp.example/mcp", False),
        ("https://[::ffff:127.0.0.1]/", "https://mcp.example/mcp", False),
        ("https://2130706433/", "https://mcp.example/mcp", False),
        ("https://0x7f.1/", "https://mcp.example/mcp", False),
        ("https://10.0.0.1/", "https://10.0.0.2/mcp", True),
        ("http://localhost:1/", "http://127.0.0.1:2/mcp", True),
        ("http://auth.example/", "http://127.0.0.1:2/mcp", False),
        ("https://auth.example\\@x/", "https://mcp.example/mcp", False),
        ("https://auth.example/#x", "https://mcp.example/mcp", False),
        ("https://auth.example:99999/", "https://mcp.example/mcp", False),
        ("https://", "https://mcp.example/mcp", False),
        ("https://exаmple.org/", "https://mcp.example/mcp", False),
        (5, "https://mcp.example/mcp", False),
        ("https://auth.example/" + "x" * 3000, "https://mcp.example/mcp", False),
    ],
)
def test_an_address_is_https_or_at_home_and_never_within_for_a_stranger(address: Any, server: str, right: bool) -> None:
    if right:
        assert checked_address(address, "it", server) == address
    else:
        with pytest.raises(LoginError, match=r"^it is (not one that is gone to|within your own network): "):
            checked_address(address, "it", server)


def test_a_resource_is_the_address_or_a_part_of_it_above() -> None:
    url = "https://mcp.example/a/b"
    assert all(
        covers(one, url) for one in (url, "https://mcp.example/a/", "https://MCP.example", "https://mcp.example/")
    )
    others = ("https://mcp.example/a/bc", "https://mcp.example/a/b/c", "https://x/", "http://mcp.example/", f"{url}#x")
    assert not any(covers(one, url) for one in others)


def test_a_scope_is_shown_in_a_command_only_where_it_is_harmless() -> None:
    assert right_scope("files:read a.b/c-d") == "files:read a.b/c-d"
    assert not any(map(right_scope, ("a;rm", "$(x)", "`x`", "a'b", "a\nb", "ü", "x" * 100)))


def test_a_challenge_is_taken_apart_whatever_it_is() -> None:
    told = challenge(['Basic realm="x"', 'Bearer a="1, b=2", scope=read , error="x", a=3'])
    assert told == {"a": "1, b=2", "scope": "read", "error": "x"}
    assert challenge(["Bearer", "Bearer a=1"]) == {}
    assert len(challenge(["Bearer " + "a=" * 100_000 + '"' * 100_000])["a"]) == 2000
    assert challenge([]) == {}


def test_a_login_is_kept_for_its_user_alone_and_forgotten(tmp_path: Path) -> None:
    logins = Logins(tmp_path / "state")
    login = Login("https://a/mcp", "https://a/mcp", "https://a", "https://a/t", "c", "access", "refresh")
    logins.keep(login)
    logins.keep(replace(login, url="https://b/mcp"))
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert logins.get("https://a/mcp") == login
    assert logins.get("https://a/mcp/") is None
    logins.forget("https://a/mcp")
    assert (logins.get("https://a/mcp"), logins.get("https://b/mcp") is not None) == (None, True)
    (tmp_path / "state" / FILE).write_text('{"https://b/mcp": {"new": 1}, "c": 5}')
    assert (logins.get("https://b/mcp"), logins.get("c")) == (None, None)


def test_a_refreshed_login_keeps_what_is_not_said_anew(world: OAuthWorld) -> None:
    login, _ = logged_in(world)

    async def again(login: Login) -> Login:
        async with http_client() as client:
            return await refreshed(client, login)

    world.token = {"refresh_token": None, "expires_in": "soon", "scope": "a\nb"}
    newer = asyncio.run(again(login))
    assert newer.access_token != login.access_token
    assert (newer.refresh_token, newer.expires, newer.scope) == (login.refresh_token, 0.0, "read")


def test_two_programs_refresh_a_login_once(world: OAuthWorld, tmp_path: Path) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    logins.keep(replace(login, expires=1.0))
    used: list[Login] = []

    async def asked() -> int:
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, used.append)) as client:
            return (await client.post(world.url, json={})).status_code

    async def both() -> list[int]:
        return await asyncio.gather(asked(), asked())

    before = world.paths().count("/token")
    assert asyncio.run(both()) == [202, 202]
    assert world.paths().count("/token") == before + 1
    assert logins.get(world.url) == used[-1] != login


def test_a_refreshed_login_that_cannot_be_written_is_used_all_the_same(world: OAuthWorld, tmp_path: Path) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    logins.keep(login)

    async def asked() -> list[int]:
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, lambda _: None)) as client:
            world.tokens.clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(logins, "renew", unwritable)
                answers = [await client.post(world.url, json={})]
                answers.append(await client.post(world.url, json={}))
                world.tokens.clear()
                answers.append(await client.post(world.url, json={}))
            world.tokens.clear()
            answers.append(await client.post(world.url, json={}))
            return [answer.status_code for answer in answers]

    def unwritable(*_: Login) -> bool:
        raise ToolchatError("cannot be written")

    assert asyncio.run(asked()) == [202, 202, 202, 202]
    assert world.paths().count("/token") == 4
    kept = logins.get(world.url)
    assert kept is not None
    assert world.tokens == {kept.access_token}


def test_what_could_not_be_written_hides_no_later_login(world: OAuthWorld, tmp_path: Path) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    logins.keep(login)

    async def asked() -> list[str | None]:
        sent = []
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, lambda _: None)) as client:
            world.tokens.clear()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(logins, "renew", unwritable)
                await client.post(world.url, json={})
            world.tokens.add("other")
            for change in (lambda: logins.keep(replace(login, access_token="other")), lambda: logins.forget(world.url)):
                change()
                await client.post(world.url, json={})
                sent.append(world.seen[-1][2].get("Authorization"))
        return sent

    def unwritable(*_: Login) -> bool:
        raise ToolchatError("cannot be written")

    assert asyncio.run(asked()) == ["Bearer other", None]


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("again", [False, True])
def test_a_refresh_under_way_undoes_no_logout_and_no_new_login(
    world: OAuthWorld, tmp_path: Path, status: int, again: bool
) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    # Its last seconds, in which it would be good still.
    logins.keep(replace(login, expires=time.time() + 10))
    other = replace(login, access_token="other", refresh_token="more")
    world.tokens |= {"other", "new"}

    def meanwhile() -> Reply:
        logins.keep(other) if again else logins.forget(world.url)
        return as_json(status, {"access_token": "new", "refresh_token": "r", "token_type": "Bearer"})

    async def asked() -> None:
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, lambda _: None)) as client:
            await client.post(world.url, json={})

    world.instead["/token"] = meanwhile
    asyncio.run(asked())
    assert logins.get(world.url) == (other if again else None)
    assert world.paths()[-2:] == ["/token", "/mcp"]
    assert world.seen[-1][2].get("Authorization") == ("Bearer other" if again else None)


class SlowTokens:
    """A token endpoint whose answer waits for `go`."""

    def __init__(self, world: OAuthWorld) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()
        self._world = world
        world.instead["/token"] = self

    def __call__(self) -> Reply:
        self.asked.set()
        assert self.go.wait(10)
        self._world.tokens.add("new")
        return as_json(200, {"access_token": "new", "refresh_token": "r-new", "token_type": "Bearer"})


@pytest.mark.parametrize("out", [False, True])
def test_a_login_and_a_logout_wait_for_a_refresh(world: OAuthWorld, tmp_path: Path, out: bool) -> None:
    old = replace(logged_in(world)[0], expires=1.0)
    other = replace(old, access_token="other")
    logins = Logins(tmp_path)
    logins.keep(old)

    async def main() -> Login | None:
        slow = SlowTokens(world)
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, lambda _: None)) as client:
            request = asyncio.create_task(client.post(world.url, json={}))
            await asyncio.to_thread(slow.asked.wait, 10)
            command = asyncio.create_task(logins.log_out(world.url) if out else logins.log_in(other))
            await asyncio.sleep(0)
            assert logins.get(world.url) == old
            slow.go.set()
            await request
            return await command

    ended = asyncio.run(main())
    # What is ended at the authorization server is what the refresh came to.
    assert (ended.refresh_token if ended is not None else None) == ("r-new" if out else None)
    assert logins.get(world.url) == (None if out else other)


def test_a_refresh_goes_on_where_the_request_for_it_is_cancelled(world: OAuthWorld, tmp_path: Path) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    logins.keep(replace(login, expires=1.0))

    async def main() -> None:
        slow, refreshes = SlowTokens(world), set[asyncio.Task[Login | None]]()
        async with httpx2.AsyncClient(auth=Bearer("s", world.url, logins, lambda _: None, refreshes)) as client:
            request = asyncio.create_task(client.post(world.url, json={}))
            await asyncio.to_thread(slow.asked.wait, 10)
            request.cancel()
            await asyncio.wait({request})
            (refresh,) = refreshes
            slow.go.set()
            await refresh
            async with logins.refreshing(world.url):
                pass

    asyncio.run(main())
    kept = logins.get(world.url)
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("new", "r-new")


def test_a_refresh_is_waited_for_at_the_end_of_the_bridge(tmp_path: Path) -> None:
    request = BridgeRequest(0, "", 0, False, 0, (), "/", str(tmp_path), str(tmp_path), ())

    async def main() -> str:
        bridge, ending = Bridge(request), asyncio.Event()

        async def call() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()

        async def refresh() -> str:
            await ending.wait()
            for _ in range(50):  # turns of the loop, until long after the calls have ended
                await asyncio.sleep(0)
            return "kept"

        bridge.start(call(), "call")
        task: Any = asyncio.create_task(refresh())
        bridge.refreshes.add(task)
        asyncio.get_running_loop().call_soon(bridge._ended.set)
        await bridge.run(lambda *_: None)  # type: ignore[arg-type, return-value]  # nothing is said
        assert task.done()
        return str(task.result())

    assert asyncio.run(main()) == "kept"


def test_a_token_goes_to_its_servers_origin_alone(world: OAuthWorld, tmp_path: Path) -> None:
    login, _ = logged_in(world)
    logins = Logins(tmp_path)
    logins.keep(login)
    world.instead["/here"] = lambda: (307, {"Location": f"http://localhost:{world.port}/there"}, b"")

    async def asked() -> None:
        auth = Bearer("s", world.url, logins, lambda _: None)
        async with httpx2.AsyncClient(auth=auth, follow_redirects=True) as client:
            await client.get(f"{world.origin}/here")
            await client.get(f"http://localhost:{world.port}/other")

    asyncio.run(asked())
    sent = {path: headers.get("Authorization") for _, path, headers, _ in world.seen}
    assert sent["/here"] == f"Bearer {login.access_token}"
    assert (sent["/there"], sent["/other"]) == (None, None)


@pytest.mark.process
def test_a_server_is_used_with_the_login_and_says_nothing_of_it(
    served: Callable[..., McpBench], world: OAuthWorld, tmp_path: Path
) -> None:
    logins = Logins(state_folder())
    login, _ = logged_in(world)
    logins.keep(login)
    with oauth_world() as other:
        bench = served(
            s={"url": world.url},
            t={"url": other.url},
            u={"url": other.url, "headers": {"authorization": "x"}},
            v={"url": "https://999.1.1.1/mcp"},
        )
    assert bench.state("t").why == "it wants you to log in; run: toolchat tools mcp login t"
    assert "it wants other headers:" in bench.state("u").why
    assert "999.1.1.1" in bench.state("v").why
    assert bench.state("s").state == "ready", bench.state("s").why
    assert bench.call("s_token").result.content == "it is Bearer ${ACCESS_TOKEN_0}"
    bench.call("s_away")
    assert "/elsewhere" not in world.paths()
    # The server forgets the token: it is refreshed, and the answer is one.
    world.tokens.clear()
    assert bench.call("s_token").result.content == "it is Bearer ${ACCESS_TOKEN_2}"
    newer = logins.get(world.url)
    assert newer is not None
    assert newer.refresh_token != login.refresh_token
    # The server forgets all of it.
    world.tokens.clear()
    world.refreshing.clear()
    ended = "Error: the server s: your login there has ended; run: toolchat tools mcp login s"
    assert bench.call("s_token").result.content == ended
    written = (tmp_path / "tools.log").read_text() + str(bench.notices) + str(bench.mcp.states)
    for secret in (*login.secrets.values(), *newer.secrets.values()):
        assert secret not in written
    assert logins.get(world.url) == newer


def test_the_commands_log_in_and_out(
    world: OAuthWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def opened(address: str) -> bool:
        tasks.append(asyncio.create_task(browse(address)))
        return True

    tasks: list[asyncio.Task[Any]] = []
    monkeypatch.setattr(tool_login, "_opened", opened)
    monkeypatch.setenv("MCP_PORT", str(world.port))
    monkeypatch.setenv("OAUTH_ID", "own")
    monkeypatch.setenv("OAUTH_SCOPE", "all")
    oauth = {"client_id": "${OAUTH_ID}", "scope": "${OAUTH_SCOPE}", "issuer": "http://127.0.0.1:${MCP_PORT}"}
    entry = {"url": "http://127.0.0.1:${MCP_PORT}/mcp", "oauth": oauth}
    signed = {"url": world.url, "headers": {"Authorization": "x"}}
    path = write_servers(tmp_path, {"s": entry, "here": {"command": "x"}, "signed": signed})
    tool_login.log_in_at(path, "s", scope=None, browser=True)
    login = Logins(state_folder()).get(world.url)
    assert login is not None
    assert (login.client_id, login.scope) == ("own", "all")
    said = capsys.readouterr()
    assert said.out.startswith(f"{world.origin}/authorize?response_type=code&client_id=own&")
    assert f"You log in at {world.origin}, for the server s." in said.err
    assert "You are logged in at s." in said.err
    assert login.access_token not in said.out + said.err
    tool_login.log_out_at(path, "s")
    assert world.revoked == [login.refresh_token]
    assert capsys.readouterr().err == "You are logged out at s.\n"
    assert Logins(state_folder()).get(world.url) is None
    for name, line in (
        ("s", "s: you are not logged in there"),
        ("ss", 'ss: the tools file has no server of that name; did you mean "s"'),
        ("here", "here: it is started here, by command:; only a server with url: has logins"),
    ):
        with pytest.raises(UsageError, match=re.escape(line)):
            tool_login.log_out_at(path, name)
    with pytest.raises(UsageError, match="signed: its headers: say who you are"):
        tool_login.log_in_at(path, "signed", scope=None, browser=True)
    world.metadata["issuer"] = ELSEWHERE
    with pytest.raises(LoginError, match=r"^s: its authorization server says to be another"):
        tool_login.log_in_at(path, "s", scope=None, browser=True)
