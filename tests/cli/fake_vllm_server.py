"""Takes the place of vLLM's server: `python fake_vllm_server.py [serve] FLAGS`; it answers /health and /invocations.

Classes that --middleware names are asked before it answers, as vLLM does.

FAKE_REPORT names a file, which gets its arguments, key and processes as JSON. FAKE_MODE is "ready"; "fails", to end
with vLLM's words before it is ready; "crashes", to end when it has answered; or "stubborn", to ignore SIGTERM. It has a
process of its own, as vLLM has, which ignores SIGTERM, is in another session and keeps the output open.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

MODE = os.environ.get("FAKE_MODE", "ready")


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        sent: list[dict[str, Any]] = []

        async def app(*_: object) -> None:
            sent.append({"status": 200 if self.path in ("/health", "/invocations") else 404})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        whole: Any = app
        for named in (one.partition("=")[2] for one in sys.argv if one.startswith("--middleware=")):
            module, _, name = named.rpartition(".")
            whole = getattr(importlib.import_module(module), name)(whole)
        asyncio.run(whole({"type": "http", "method": "GET", "path": self.path, "headers": headers}, None, send))
        self.send_response(sent[0]["status"])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        print("GET\x1b[2J /health 200", flush=True)


class UnixServer(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(flag("uds"))
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        return self.socket.accept()[0], ("", 0)


def flag(name: str) -> str:
    return next((one.partition("=")[2] for one in sys.argv if one.startswith(f"--{name}=")), "")


def main() -> None:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()"],
        start_new_session=True,
    )
    report = {
        "arguments": sys.argv[1:],
        "key": os.environ.get("VLLM_API_KEY"),
        "scratch": os.environ.get("TMPDIR"),
        "pids": [os.getpid(), child.pid],
    }
    place = Path(os.environ["FAKE_REPORT"])
    place.with_suffix(".new").write_text(json.dumps(report))
    place.with_suffix(".new").replace(place)
    if MODE == "fails":
        print("\x1b]0;title\x07loading  50%\rloading 100%", flush=True)
        print("ValueError: no such layer\nRuntimeError: initialization failed. See root cause above.", flush=True)
        sys.exit(1)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kind, address = (UnixServer, ("", 0)) if flag("uds") else (HTTPServer, (flag("host"), int(flag("port"))))
    server = kind(address, Health)
    if MODE == "crashes":
        server.handle_request()
        os._exit(9)
    server.serve_forever()


if __name__ == "__main__":
    main()
