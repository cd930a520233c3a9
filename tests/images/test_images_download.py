from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from image_files import image_file

from toolchat.images.attached import read_image
from toolchat.images.download import MAX_REDIRECTS, download, is_address
from toolchat.wire.errors import UsageError

MOST = 50_000
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Serves every request with one answer; returns the address of a picture there."""
    servers: list[ThreadingHTTPServer] = []

    def serve_it(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server looks for
                with suppress(OSError):  # the client may have left
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/cat.png"

    yield serve_it
    for server in servers:
        server.shutdown()
        server.server_close()


def sends(data: bytes, *, length: int | None = None, kind: str = "image/png") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirects(to: Callable[[str], str | None]) -> Answer:
    """To where `to` says for a path; a picture where it says None."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        target = to(handler.path)
        if target is None:
            sends(image_file())(handler)
            return
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


def refused(address: str, **options: float) -> str:
    with pytest.raises(UsageError) as caught:
        download(address, MOST, **options)
    line = str(caught.value)
    assert line.startswith(f"{address}: ")
    assert "\n" not in line
    return line.removeprefix(f"{address}: ")


@pytest.mark.parametrize("length", [True, False])
def test_an_image_is_fetched_whatever_its_server_calls_it(serve: Callable[[Answer], str], length: bool) -> None:
    data = image_file("JPEG")
    address = serve(sends(data, length=len(data) if length else None, kind="text/plain"))
    image = read_image(address)
    assert (image.media_type, image.source) == ("image/jpeg", address)


def test_a_page_is_no_image_though_its_server_says_so(serve: Callable[[Answer], str]) -> None:
    address = serve(sends(b"<html>Sign in first</html>"))
    with pytest.raises(UsageError, match="but an HTML page"):
        read_image(address)


def test_too_much_is_refused_by_what_is_announced(serve: Callable[[Answer], str]) -> None:
    assert refused(serve(sends(b"", length=MOST + 1))) == "50 kB; at most 50 kB can be sent"


@pytest.mark.parametrize("announced", [None, 10])
def test_too_much_is_refused_by_what_comes(serve: Callable[[Answer], str], announced: int | None) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        sends(b"", length=announced)(handler)
        while sent < 100 * MOST:
            sent += handler.wfile.write(bytes(10_000))

    address = serve(endless)
    if announced is None:
        assert refused(address) == "more than 50 kB, which is the most that can be sent"
        assert sent < 100 * MOST
    else:
        # What a server sends beyond what it announced is not read.
        assert download(address, MOST) == bytes(10)


def test_a_server_that_is_silent_is_given_up(serve: Callable[[Answer], str]) -> None:
    silent = threading.Event()
    address = serve(lambda _: silent.wait(10) and None)
    began = time.monotonic()
    assert refused(address, seconds=0.3).startswith("not fetched within 0.3 seconds")
    assert time.monotonic() - began < 2
    silent.set()


def test_a_server_that_drips_is_given_up(serve: Callable[[Answer], str]) -> None:
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        sends(b"")(handler)
        while not over.wait(0.05):
            handler.wfile.write(b"x")

    began = time.monotonic()
    assert "not fetched within" in refused(serve(drip), seconds=0.5)
    assert time.monotonic() - began < 2
    over.set()


def test_redirects_are_followed_but_not_for_ever(serve: Callable[[Answer], str]) -> None:
    def count_down(path: str) -> str | None:
        left = int(path.rpartition("/")[2])
        return f"/{left - 1}" if left else None

    address = serve(redirects(count_down)).removesuffix("cat.png")
    assert download(f"{address}{MAX_REDIRECTS}", MOST) == image_file()
    assert "the server answered 302" in refused(f"{address}{MAX_REDIRECTS + 1}")


def test_a_circle_of_redirects_ends(serve: Callable[[Answer], str]) -> None:
    assert "infinite loop" in refused(serve(redirects(lambda path: path)))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("data:image/png;base64,AAAA", "Redirection to url 'data:image/png;base64,AAAA' is not allowed"),
        ("ftp://127.0.0.1/x", "it leads to ftp://127.0.0.1/x, which is not http or https"),
    ],
)
def test_a_redirect_away_from_http_is_not_followed(serve: Callable[[Answer], str], target: str, said: str) -> None:
    assert said in refused(serve(redirects(lambda _: target)))


def test_an_error_of_the_server_is_told(serve: Callable[[Answer], str]) -> None:
    assert refused(serve(lambda handler: handler.send_error(404))).startswith(
        "cannot be fetched: the server answered 404"
    )


def test_no_server_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        line = refused(f"http://127.0.0.1:{taken.getsockname()[1]}/cat.png")
    assert line == "cannot be fetched: Connection refused; check the address and the network"


@pytest.mark.parametrize("address", ["http://", "http:///cat.png", "https://[::1", "http://a b/", "http://host:x/"])
def test_an_address_that_is_none_is_told_in_one_line(address: str) -> None:
    assert refused(address)


def test_addresses_are_told_from_files() -> None:
    assert all(map(is_address, ["http://a/b.png", "HTTPS://A/b.png"]))
    assert not any(map(is_address, ["cat.png", "/http/x", "http", "httpx://a", "file:///a"]))
