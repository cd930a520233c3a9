from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import PROGRAM, Program
from fake_hub import FakeHub, Repository, running, safetensors
from small_disk import UNSHARE, can_mount
from terminal_screen import CTRL_D, Terminal

from toolchat.models.hardware import installed_vllm

pytestmark = pytest.mark.process

NAME = "mistralai/Magistral-Small-Tiny"
PARAMS = b'{"dim": 8, "max_position_embeddings": 40960}'


def repository(size: int) -> Repository:
    weights = safetensors(random.Random(1).randbytes(size))
    files = {"params.json": PARAMS, "tekken.json": b"{}", "consolidated.safetensors": weights}
    return Repository({**files, "config.json": b"{}"})


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running() as hub:
        yield hub


def noted(home: Path) -> int:
    """Bytes of the weights, which are one part here, that the next download finds."""
    journals = [at.read_text() for at in home.rglob("*.toolchat.parts")]
    lines = journals[0].splitlines()[1:] if journals else []
    return int(lines[-1].split()[1]) if lines else 0


def variables(hub: FakeHub) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url}


def test_models_pull_says_what_is_fetched_and_how_far_it_is_and_list_what_is_here(
    toolchat: Program, hub: FakeHub, home: Path
) -> None:
    hub.repositories[NAME] = repository(2_000_000)
    ran = toolchat("models", "pull", NAME, variables=variables(hub))
    assert ran.code == 0, ran
    asking, size, fetching, *_ = ran.err.splitlines()
    assert asking == f"{NAME}: fetching, asking the hub"
    assert size.startswith(f"{NAME}: 2 MB to fetch into ~/.cache/huggingface/hub, ")
    assert size.endswith(" free")
    assert fetching == f"{NAME}: fetching 0.0 of 2.0 MB, file 1 of 4"
    folder = Path(ran.out.strip())
    assert folder.is_relative_to(home)
    assert (folder / "params.json").read_bytes() == PARAMS

    listed = toolchat("models", "list")
    (line,) = [line for line in listed.out.splitlines() if NAME in line]
    for part in ("2 MB", "40,960", "temperature 0.7, top-p 0.95 (its model card)"):
        assert part in line


def test_a_pull_that_is_stopped_ends_at_once_and_the_next_goes_on(toolchat: Program, hub: FakeHub, home: Path) -> None:
    hub.repositories[NAME] = repository(3_000_000)
    whole = len(hub.repositories[NAME].files["consolidated.safetensors"])
    open_ = threading.Event()

    def on_large() -> None:
        # Half of it comes; the rest waits.
        if hub.sent > whole // 2:
            open_.wait(60)

    hub.on_large = on_large
    process = toolchat.start("models", "pull", NAME, variables=variables(hub))
    until = time.monotonic() + 60
    while noted(home) < 0.4 * whole and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    # The hub still holds the rest back: stopping does not wait for it.
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    open_.set()

    (line,) = [line for line in toolchat("models", "list").out.splitlines() if NAME in line]
    assert "incomplete (models pull goes on): weights" in line
    refused = toolchat("models", "path", NAME, variables=variables(hub)).refused(3)
    assert refused.startswith(f"only a part of {NAME} is on this machine (missing: weights")
    hub.sent = 0
    ran = toolchat("models", "pull", NAME, variables=variables(hub))
    assert ran.code == 0, ran
    assert "are here)" in ran.err.splitlines()[1]
    assert 0 < hub.sent < 0.75 * whole


def test_what_is_here_of_an_incomplete_model_is_told_where_there_is_no_network(toolchat: Program, hub: FakeHub) -> None:
    hub.repositories[NAME] = repository(100_000)
    folder = Path(toolchat("models", "pull", NAME, variables=variables(hub)).out.strip())
    (folder / "consolidated.safetensors").resolve().unlink()
    ran = toolchat("models", "pull", NAME, variables={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert (ran.code, ran.out) == (3, "")
    asking, line = ran.err.splitlines()
    assert asking == f"{NAME}: fetching, asking the hub"
    assert line.startswith(
        f"toolchat: {NAME}: only a part of it is on this machine (missing: weights (consolidated*.safetensors)),"
    )


# The reckoning before a download refuses a small disk; here it believes that there is room.
PULL = """
import shutil, sys
from toolchat.cli.main import run
if sys.argv[1] == "unforeseen":
    usage = shutil.disk_usage("/")
    shutil.disk_usage = lambda _: usage._replace(free=10**12)
run(["models", "pull", sys.argv[2]])
"""


@pytest.mark.skipif(not can_mount(), reason="needs user namespaces, to mount a small disk without being root")
@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("foreseen", "the disk is too full: 3 MB are to be"),
        ("unforeseen", "the disk is full (No space left on device)"),
    ],
)
def test_a_full_disk_is_told_as_one(toolchat: Program, hub: FakeHub, home: Path, when: str, said: str) -> None:
    hub.repositories[NAME] = repository(3_000_000)
    cache = home / ".cache"
    cache.mkdir()
    script = f'mount -t tmpfs -o size=2m none "{cache}" && exec "$@"'
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", script, "sh", sys.executable, "-c", PULL, when, NAME],
        cwd=toolchat.folder,
        env=toolchat.environment | variables(hub),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"toolchat: {NAME}: {said}")
    assert "HF_HOME" in line
    assert "network" not in line


@pytest.mark.skipif(installed_vllm() is None, reason="a chat needs an engine")
@pytest.mark.parametrize("plain", [True, False])
def test_the_repl_says_how_far_a_download_is_and_leaving_keeps_what_is_there(
    toolchat: Program, hub: FakeHub, tmp_path: Path, home: Path, plain: bool
) -> None:
    hub.repositories[NAME] = repository(3_000_000)
    whole = len(hub.repositories[NAME].files["consolidated.safetensors"])
    open_ = threading.Event()

    def on_large() -> None:
        if hub.sent > whole // 2:
            open_.wait()

    hub.on_large = on_large
    notes = tmp_path / "notes"
    notes.mkdir()
    flags = ["--no-tools", "--no-history", "--model", NAME, *(["--plain"] if plain else [])]
    environment = {**toolchat.environment, **variables(hub)}
    chat = Terminal([*PROGRAM, "repl", *flags], notes, toolchat.folder, environment, columns=120)
    try:
        # In lines a tenth is told, in the row below the prompt each step.
        step = r"fetching 1\.\d of 3\.0 MB, .*\(\d\d %\)"
        chat.wait_for("how far it is", lambda: any(re.search(step, row) for row in chat.rows))
        # At the end of the program half a second of downloading may be lost.
        chat.wait_for("that it is noted", lambda: noted(home) > 0.4 * whole)
        chat.child.send(CTRL_D)
        # The hub still holds the rest back: leaving does not wait for it.
        chat.wait_for("the shell", lambda: chat.shows("the shell again"))
    finally:
        open_.set()
        chat.close()
    hub.sent = 0
    assert toolchat("models", "pull", NAME, variables=variables(hub)).code == 0
    assert 0 < hub.sent < 0.75 * whole
