"""A hub on this machine that speaks what huggingface_hub asks of the real one, and fails as it is told to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 10_000
"""Bytes from which a file is in the large-file storage, on a host of its own."""


def safetensors(payload: bytes) -> bytes:
    """A whole safetensors file with one tensor of these bytes."""
    tensor = {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}
    header = json.dumps({"weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + payload


@dataclass
class Repository:
    files: Mapping[str, bytes]
    gated: bool = False
    revisions: tuple[str, ...] = ()
    """Branches and tags beside "main"."""
    sizes: bool = True
    """False for a mirror whose listing has none."""

    def knows(self, revision: str) -> bool:
        return revision in ("main", *self.revisions) or re.fullmatch(r"[0-9a-f]{40}", revision) is not None

    @property
    def commit(self) -> str:
        whole = repr(sorted((name, sha256(data)) for name, data in self.files.items()))
        return hashlib.sha1(whole.encode()).hexdigest()


@dataclass
class Mood:
    """What the hub answers to everything, instead of what it was asked for."""

    code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """It takes the connection and sends nothing."""


@dataclass
class FakeHub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    past: dict[str, Repository] = field(default_factory=dict)
    """By commit, what a repository was; any other commit is taken for the newest."""
    requests: list[str] = field(default_factory=list)
    """METHOD path, and the range where one was asked for."""
    authorized: set[str] = field(default_factory=set)
    """Hosts, "hub" and "storage", that were sent a token."""
    ranges: bool = True
    cut_after: int | None = None
    """Bytes of large files after which every connection is cut, until this is None again."""
    refusals: list[int] = field(default_factory=list)
    """HTTP codes that the storage answers first."""
    damaged: bool = False
    mood: Mood | None = None
    storage_mood: Mood | None = None
    """The same for the host of the large files."""
    closing: threading.Event = field(default_factory=threading.Event)
    on_large: Callable[[], None] = lambda: None
    """Called before each piece of a large file is sent."""
    url: str = ""
    storage_url: str = ""
    sent: int = 0
    """Bytes of large files."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def large_requests(self) -> list[str]:
        return [request for request in self.requests if "/storage/" in request]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(repository: Repository) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name, data in repository.files.items():
        entry: dict[str, object] = {"rfilename": name}
        if repository.sizes:
            entry |= {"size": len(data), "blobId": git_id(data)}
            if len(data) >= LARGE:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
        found.append(entry)
    return found


def tree(repository: Repository) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name, data in repository.files.items():
        entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git_id(data)}
        if len(data) >= LARGE:
            entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
        found.append(entry)
    return found


@contextmanager
def running() -> Iterator[FakeHub]:
    """A hub and, as another host, its storage."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        where = "hub"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked = self.headers.get("Range")
            with hub.lock:
                hub.requests.append(f"{self.command} {path}" + (f" {asked}" if asked else ""))
                if self.headers.get("Authorization"):
                    hub.authorized.add(self.where)
            mood = hub.mood if self.where == "hub" else hub.storage_mood
            if mood is not None:
                if mood.silent:
                    hub.closing.wait(60)
                    self.close_connection = True
                else:
                    self._answer(mood.code, mood.body, mood.headers)
                return
            if match := re.fullmatch(r"/storage/(\w+)", path):
                self._large(match[1])
                return
            match = re.fullmatch(r"/(?:api/models/)?([\w.-]+/[\w.-]+)(/.*)?", path)
            repository = hub.repositories.get(match[1]) if match else None
            if match is None or repository is None:
                self._answer(401, b"Invalid username or password.", {"X-Error-Code": "RepoNotFound"})
            elif path.startswith("/api/models/"):
                self._api(self._at(repository, match[2] or ""), match[1], match[2] or "")
            elif file := re.fullmatch(r"/resolve/\w+/(.+)", match[2] or ""):
                self._resolve(self._at(repository, match[2] or ""), file[1])
            else:
                self._answer(404)

        def _at(self, repository: Repository, rest: str) -> Repository:
            named = re.match(r"/(?:revision|tree|resolve)/(\w+)", rest)
            return hub.past.get(named[1], repository) if named else repository

        def _api(self, repository: Repository, name: str, rest: str) -> None:
            if rest == "/auth-check":
                self._answer(403 if repository.gated else 200, b"", self._gate(repository))
            elif re.match(r"/tree/", rest):
                self._json(tree(repository))
            elif (named := re.match(r"/revision/([^/]+)", rest)) and not repository.knows(named[1]):
                self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif not rest or rest.startswith("/revision/"):
                info = {"id": name, "sha": repository.commit, "gated": "manual" if repository.gated else False}
                self._json({**info, "siblings": listed(repository), "tags": [], "private": False, "downloads": 0})
            else:
                self._answer(404)

        def _resolve(self, repository: Repository, file: str) -> None:
            commit = {"X-Repo-Commit": repository.commit}
            data = repository.files.get(file)
            if repository.gated:
                self._answer(403, b"", self._gate(repository))
            elif data is None:
                self._answer(404, b"", {**commit, "X-Error-Code": "EntryNotFound"})
            elif len(data) >= LARGE:
                digest = sha256(data)
                linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "ETag": f'"{digest}"'}
                self._answer(302, b"", {**commit, **linked, "Location": f"{hub.storage_url}/storage/{digest}"})
            else:
                self._answer(200, data, {**commit, "ETag": f'"{git_id(data)}"'})

        def _large(self, digest: str) -> None:
            repositories = (*hub.repositories.values(), *hub.past.values())
            data = next(data for repo in repositories for data in repo.files.values() if sha256(data) == digest)
            with hub.lock:
                refusal = hub.refusals.pop(0) if hub.refusals else None
            if refusal is not None:
                self._answer(refusal)
                return
            start, end, code = 0, len(data), 200
            if hub.ranges and (asked := self.headers.get("Range")):
                begin, _, last = asked.removeprefix("bytes=").partition("-")
                start, end, code = int(begin), min(len(data), int(last or len(data)) + 1), 206
            if hub.damaged:
                data = bytes(len(data))
            self.send_response(code)
            self.send_header("Content-Length", str(end - start))
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            for position in range(start, end, 4096):
                piece = data[position : min(position + 4096, end)]
                hub.on_large()
                with hub.lock:
                    cut = hub.cut_after is not None and hub.sent + len(piece) > hub.cut_after
                    hub.sent += 0 if cut else len(piece)
                if cut:
                    self.close_connection = True
                    self.connection.close()
                    return
                try:
                    self.wfile.write(piece)
                except OSError:
                    self.close_connection = True
                    return

        def _gate(self, repository: Repository) -> dict[str, str]:
            return {"X-Error-Code": "GatedRepo"} if repository.gated else {}

        def _json(self, value: object) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _answer(self, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    class Storage(Handler):
        where = "storage"

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A cut connection is meant."""

    servers = [Server(("127.0.0.1", 0), kind) for kind in (Handler, Storage)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.closing.set()
        for server in servers:
            server.shutdown()
            server.server_close()
