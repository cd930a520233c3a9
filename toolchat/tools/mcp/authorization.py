"""OAuth 2.1 as the Model Context Protocol has it: finds a server's authorization server, registers, gets tokens.

RFC 9728 (who issues tokens for a resource), RFC 8414 and OpenID Connect Discovery (what that is), RFC 7591
(registration), RFC 7636 (PKCE), RFC 8707 (what a token is for), RFC 9207 (who answered), RFC 7009 (revocation).

Every answer is a stranger's: addresses are https (http on this machine only), nothing is redirected, documents are
bounded. A secret that an issuer gave goes to endpoints that this issuer names, an access token to the MCP server; a
client's secret of the tools file goes to the issuer that the file names beside it. Nothing goes anywhere else.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpx2

from toolchat.tools.mcp.endpoints import (
    Answer,
    LoginError,
    canonical,
    challenge,
    check_reach,
    checked_address,
    covers,
    fetch,
    origin,
    same,
    shown,
)
from toolchat.tools.mcp.login_store import Login

_LONGEST = 2000
"""Characters of a client's identity."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
OFFLINE = "offline_access"
_METHODS = ("none", "client_secret_post", "client_secret_basic")


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    names_itself: bool = False
    """Whether it promises to say in its answer who it is (RFC 9207)."""
    methods: tuple[str, ...] = ()
    refreshes_by_scope: bool = False
    """Whether it knows the scope by which OpenID Connect asks for tokens that can be refreshed."""


@dataclass(frozen=True, slots=True)
class Protected:
    """An MCP server that wants a login."""

    url: str
    resource: str
    scope: str
    server: AuthorizationServer


@dataclass(frozen=True, slots=True)
class Client:
    """Who toolchat is at an authorization server."""

    id: str
    secret: str = field(default="", repr=False)
    method: str = "none"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of one login under way, and of no other: RFC 7636's verifier, and the state."""

    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


# What is found out


async def protected(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> Protected:
    """Who issues tokens for the MCP server at `url`. Raises LoginError, also where it wants no login."""
    checked_address(url, "the server's address", url)
    body = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
    accepted = {"Accept": "application/json, text/event-stream"}
    answer = await fetch(client, url, "POST", url, headers={**headers, **accepted}, json=body, read=False)
    if answer.status in (404, 405):  # HTTP with SSE, the transport of 2024
        answer = await fetch(client, url, "GET", url, headers={**headers, **accepted}, read=False)
    if answer.status not in (401, 403):
        raise LoginError(f"it wants no login: it answered {answer.status} to a request without one")
    told = challenge(answer.headers.get_list("www-authenticate"))
    data = await _resource(client, url, told.get("resource_metadata", ""))
    resource, issuer = canonical(url), origin(url)
    if data is not None:
        resource = _text(data, "resource", "what it says of itself (RFC 9728)")
        if not covers(resource, url):
            raise LoginError(f"it says to be another resource than its address: {shown(resource)}")
        issuers = data.get("authorization_servers")
        if not isinstance(issuers, list) or not issuers or not all(isinstance(one, str) for one in issuers):
            raise LoginError("it does not say who issues tokens for it (authorization_servers)")
        issuer = checked_address(issuers[0], "the authorization server's address", url)
    scope = told.get("scope", "") or _words((data or {}).get("scopes_supported"))
    return Protected(url, resource, scope if _SCOPE.fullmatch(scope) else "", await _server(client, issuer, url))


async def _resource(client: httpx2.AsyncClient, url: str, named: str) -> Mapping[str, Any] | None:
    """What the server says of itself by RFC 9728; None where it does not, as those before June 2025."""
    home, path = origin(url), urlsplit(url).path.rstrip("/")
    places = [f"{home}/.well-known/oauth-protected-resource{end}" for end in dict.fromkeys((path, ""))]
    if named:
        checked_address(named, "the address of what it says of itself", url)
        if origin(named) != home:
            raise LoginError(f"what it says of itself lies at another server: {shown(named)}")
        places = [named]
    for place in places:
        answer = await fetch(client, url, "GET", place)
        if answer.status == 200 and answer.data:
            return answer.data
        if answer.status >= 500 or named:
            raise LoginError(f"it answered {answer.status} without JSON where it should say what it is: {shown(place)}")
    return None


async def _server(client: httpx2.AsyncClient, issuer: str, url: str) -> AuthorizationServer:
    home, path = origin(issuer), urlsplit(issuer).path.rstrip("/")
    places = [
        f"{home}/.well-known/oauth-authorization-server{path}",
        f"{home}/.well-known/openid-configuration{path}",
        *([f"{home}{path}/.well-known/openid-configuration"] if path else []),
    ]
    for place in places:
        answer = await fetch(client, url, "GET", place)
        if answer.status == 200 and answer.data:
            server = _described(answer.data, issuer, url)
            # The browser goes there.
            await check_reach(server.authorization_endpoint, url)
            return server
        if answer.status >= 500:
            break
    raise LoginError(f"its authorization server does not say what it is: {shown(issuer)}")


def _described(data: Mapping[str, Any], issuer: str, url: str) -> AuthorizationServer:
    said = _text(data, "issuer", "its authorization server")
    if not same(said, issuer):
        raise LoginError(f"its authorization server says to be another: {shown(said)} in place of {shown(issuer)}")
    methods = data.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise LoginError("its authorization server does not protect codes on their way (PKCE with S256)")
    kinds = data.get("response_types_supported")
    if isinstance(kinds, list) and "code" not in kinds:
        raise LoginError("its authorization server gives no codes (response_types_supported)")
    addresses = {}
    for name, needed in (
        ("authorization_endpoint", True),
        ("token_endpoint", True),
        ("registration_endpoint", False),
        ("revocation_endpoint", False),
    ):
        value = _text(data, name, "its authorization server") if needed else data.get(name)
        addresses[name] = checked_address(value, name, url) if value else ""
    supported = data.get("token_endpoint_auth_methods_supported")
    known = [one for one in supported if one in _METHODS] if isinstance(supported, list) else []
    names_itself = data.get("authorization_response_iss_parameter_supported") is True
    by_scope = OFFLINE in _words(data.get("scopes_supported")).split()
    return AuthorizationServer(
        issuer, **addresses, names_itself=names_itself, methods=tuple(known), refreshes_by_scope=by_scope
    )


# The login


async def registered(client: httpx2.AsyncClient, of: Protected, redirect: str, scope: str) -> Client:
    """toolchat as a client of this server's authorization server (RFC 7591). Raises LoginError."""
    server = of.server
    if not server.registration_endpoint:
        what = f"{shown(server.issuer)} takes no registrations of programs"
        raise LoginError(f"{what}; register toolchat there, with {redirect}, and write oauth: {{client_id: …}}")
    asked = {
        "client_name": "toolchat",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        **({"scope": scope} if scope else {}),
    }
    answer = await fetch(client, of.url, "POST", server.registration_endpoint, json=asked)
    if answer.status not in (200, 201):
        raise LoginError(f"{shown(server.issuer)} did not register toolchat{_reason(answer)}")
    data = answer.data
    number, secret = data.get("client_id"), data.get("client_secret") or ""
    if not isinstance(number, str) or not re.fullmatch(rf"[\x20-\x7e]{{1,{_LONGEST}}}", number):
        raise LoginError(f"{shown(server.issuer)} registered toolchat without a client_id")
    places = data.get("redirect_uris", [redirect])
    if not isinstance(places, list) or redirect not in places:
        raise LoginError(f"{shown(server.issuer)} registered toolchat with another address to return to")
    method = data.get("token_endpoint_auth_method", "none")
    if method not in _METHODS or not isinstance(secret, str) or (method != "none" and not secret):
        raise LoginError(f"{shown(server.issuer)} wants a client to say who it is in an unknown way")
    return Client(number, secret, method)


def given_client(server: AuthorizationServer, number: str, secret: str) -> Client:
    """The client that the tools file names."""
    if not secret:
        return Client(number)
    posts = "client_secret_post" in server.methods and "client_secret_basic" not in server.methods
    return Client(number, secret, "client_secret_post" if posts else "client_secret_basic")


def authorization_url(of: Protected, client: Client, redirect: str, attempt: Attempt, scope: str) -> str:
    """The address at which a person logs in."""
    parts = urlsplit(of.server.authorization_endpoint)
    asked = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect,
        "state": attempt.state,
        "code_challenge": attempt.challenge,
        "code_challenge_method": "S256",
        "resource": of.resource,
        **({"scope": scope} if scope else {}),
        # OpenID Connect asks for that with the scope that refresh tokens take there.
        **({"prompt": "consent"} if OFFLINE in scope.split() else {}),
    }
    own = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in asked]
    return urlunsplit(parts._replace(query=urlencode([*own, *asked.items()])))


def code_of(query: str, server: AuthorizationServer, attempt: Attempt) -> str | None:
    """The code in the query of the address that a browser returned to; None where it is no answer to this login.

    Raises LoginError where it is one, and not to be gone on with.
    """
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    found = dict(pairs)
    if not secrets.compare_digest(found.get("state", "").encode(), attempt.state.encode()):
        return None
    if len(found) != len(pairs):
        raise LoginError("the answer to the login says the same thing twice")
    issuer = found.get("iss")
    if issuer is not None and not same(issuer, server.issuer):
        raise LoginError(f"another server answered to the login: {shown(issuer)} in place of {shown(server.issuer)}")
    if issuer is None and server.names_itself:
        raise LoginError("the answer to the login does not say whose it is (iss), as was promised")
    if "error" in found:
        raise LoginError(f"the login was refused{_why(found)}")
    if not _TOKEN.fullmatch(found.get("code", "")):
        raise LoginError("the answer to the login has no code")
    return found["code"]


async def exchanged(
    client: httpx2.AsyncClient, of: Protected, who: Client, *, code: str, redirect: str, attempt: Attempt, scope: str
) -> Login:
    """The tokens for a code. Raises LoginError."""
    start = Login(
        url=of.url,
        resource=of.resource,
        issuer=of.server.issuer,
        token_endpoint=of.server.token_endpoint,
        client_id=who.id,
        access_token="",
        client_secret=who.secret,
        method=who.method,
        scope=scope,
        revocation_endpoint=of.server.revocation_endpoint,
    )
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
    return await _tokens(client, start, {**form, "code_verifier": attempt.verifier, "resource": of.resource})


async def refreshed(client: httpx2.AsyncClient, login: Login) -> Login:
    """It with new tokens. Raises LoginError; `LoginOver` where there will be none."""
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, "resource": login.resource}
    return await _tokens(client, login, form)


class LoginOver(LoginError):  # noqa: N818
    """The authorization server gives no new tokens for a login."""


async def revoked(client: httpx2.AsyncClient, login: Login) -> bool:
    """Whether the authorization server was told, and agrees, that the login has ended (RFC 7009)."""
    if not login.revocation_endpoint:
        return False
    form = {"token": login.refresh_token or login.access_token}
    data, headers = _said_who(login, form)
    answer = await fetch(client, login.url, "POST", login.revocation_endpoint, data=data, headers=headers)
    return answer.status == 200


async def _tokens(client: httpx2.AsyncClient, login: Login, form: Mapping[str, str]) -> Login:
    data, headers = _said_who(login, form)
    started = time.time()
    answer = await fetch(client, login.url, "POST", login.token_endpoint, data=data, headers=headers)
    said = answer.data
    if answer.status != 200:
        kind = LoginOver if answer.status in (400, 401, 403) else LoginError
        raise kind(f"{shown(login.issuer)} gave no token{_reason(answer)}")
    token, more = said.get("access_token"), said.get("refresh_token") or login.refresh_token
    if str(said.get("token_type", "")).lower() != "bearer":
        raise LoginError(f"{shown(login.issuer)} gave a token of a kind that toolchat does not know")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(more, str):
        raise LoginError(f"{shown(login.issuer)} gave a token that is none")
    seconds = said.get("expires_in")
    expires = started + seconds if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0.0
    scope = said.get("scope")
    return replace(
        login,
        access_token=token,
        refresh_token=more if _TOKEN.fullmatch(more) else "",
        expires=expires,
        scope=scope if isinstance(scope, str) and _SCOPE.fullmatch(scope) else login.scope,
    )


def _said_who(login: Login, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """A form and headers that say which client asks (RFC 6749, 2.3.1)."""
    if login.method == "client_secret_basic":
        pair = f"{quote(login.client_id, safe='')}:{quote(login.client_secret, safe='')}"
        return dict(form), {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    own = {"client_id": login.client_id}
    return {**form, **own, **({"client_secret": login.client_secret} if login.method != "none" else {})}, {}


# What strangers write


def _words(value: Any) -> str:
    return " ".join(one for one in value if isinstance(one, str)) if isinstance(value, list) else ""


def _text(data: Mapping[str, Any], name: str, whose: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise LoginError(f"{whose} does not say its {name}")
    return value


def _reason(answer: Answer) -> str:
    return f": it answered {answer.status}{_why(answer.data)}"


def _why(data: Mapping[str, Any]) -> str:
    said = [data.get(name) for name in ("error", "error_description")]
    return "".join(f": {shown(one)}" for one in said if isinstance(one, str) and one)
