"""vLLM's own OpenAI server with a model of this machine, in a process group that ends with the block."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolchat.engine.local import LocalEngine
from toolchat.engine.remote.config import COMMAND, ServerConfig

REPOSITORY = Path(__file__).parents[2]
READY_SECONDS = 240
"""45 s on a quiet machine with two cores."""
ABSENT = "import sys\nfor name in ('torchvision', 'torchaudio', 'torchcodec'):\n    sys.modules[name] = None\n"
"""PyPI's builds of these cannot be loaded beside the CPU build of torch; vLLM's child processes must not find them."""
LOADABLE = """
from toolchat.engine.worker.loading import hide_unloadable_modules
hide_unloadable_modules(supports_images=True)
"""
"""For a model that sees: vLLM's class of it needs torchvision."""
GUARD = """
import os, select, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
ended = os.pidfd_open(child.pid)
if ended in select.select([0, ended], [], [])[0]:
    sys.exit(child.wait())
os.killpg(0, signal.SIGKILL)
"""
"""Leads the group, and ends it when its standard input does, however the process that started it has ended."""
MISTRAL = ("--tokenizer-mode=mistral", "--config-format=mistral", "--load-format=mistral")
CALLS = ("--enable-auto-tool-choice", "--tool-call-parser=mistral")


@dataclass(frozen=True)
class VllmServer:
    url: str
    key: str
    model: Path
    seconds: float
    """Until it was ready."""


@contextlib.contextmanager
def vllm_server(
    model: Path, folder: Path, *flags: str, key: str = "", unix: bool = False, sees: bool = False, context: int = 2048
) -> Iterator[VllmServer]:
    """A server with the model in `model`, ready; `folder` gets its log."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(LOADABLE if sees else ABSENT)
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = folder / "vllm.sock"
    # A server that was killed leaves its socket, to which the next one cannot bind.
    path.unlink(missing_ok=True)
    place = (f"--uds={path}",) if unix else ("--host=127.0.0.1", f"--port={port}")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(site), str(REPOSITORY))),
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    if key:
        environment["VLLM_API_KEY"] = key
    command = (
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}", *place),
        *("--enable-prompt-tokens-details", "--enforce-eager", "--block-size=32", "--max-num-seqs=16"),
        *(f"--max-model-len={context}", *MISTRAL, *CALLS, *flags),
    )
    began = time.monotonic()
    log = folder / "vllm.log"
    with log.open("wb") as output, process_group(command, output, environment) as process:
        while not _is_ready(port, path if unix else None):
            assert process.poll() is None, log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < began + READY_SECONDS, log.read_text(errors="replace")[-4000:]
            time.sleep(0.2)
        yield VllmServer(f"unix:{path}" if unix else f"http://127.0.0.1:{port}", key, model, time.monotonic() - began)


@contextlib.contextmanager
def process_group(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The leader of a process group in which `command` runs. The group ends with the block, and with this process."""
    guarded = (sys.executable, "-c", GUARD, *command)
    process = subprocess.Popen(
        guarded, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        # A clean end takes seconds and saves nothing.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _is_ready(port: int, path: Path | None) -> bool:
    connection = _UnixConnection(path) if path is not None else http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def attached_engine(server: VllmServer, logs: Path, **more: Any) -> AsyncIterator[LocalEngine]:
    """An engine whose model is on `server`, ready; `more` are fields of its `ServerConfig`."""
    engine = LocalEngine(ServerConfig(server.url, "m", api_key=server.key, **more), logs, worker=COMMAND)
    try:
        async for _ in engine.start():
            pass
        yield engine
    finally:
        await engine.close()
