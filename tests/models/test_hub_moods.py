from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from fake_hub import FakeHub, Mood, Repository, safetensors

from toolchat.models import hub as models
from toolchat.models import hub_library, parts
from toolchat.models.demo.build import build
from toolchat.models.hub_library import Pace
from toolchat.wire.errors import EngineError

NAME = "mistralai/Tiny"
BAD_TOKEN = {"X-Error-Message": "Invalid credentials in Authorization header"}
PORTAL = Mood(200, b"<html>Welcome to the hotel</html>", {"Content-Type": "text/html"})


def repository(**what: bool) -> Repository:
    weights = safetensors(bytes(100_000))
    files = {"params.json": b"{}", "config.json": b"{}", "tekken.json": b"{}", "consolidated.safetensors": weights}
    return Repository(files, **what)


def pull_line(name: str = NAME) -> str:
    with pytest.raises(EngineError) as failure:
        models.pull(name)
    line = str(failure.value)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    return line


@pytest.fixture
def hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHub:
    from huggingface_hub import constants

    monkeypatch.setattr(parts, "SILENT_SECONDS", PATIENCE)
    monkeypatch.setattr(hub_library, "_TICK", 0.02)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    hub.repositories[NAME] = repository()
    return hub


PATIENCE = 30.0
"""Seconds of silence that a busy machine does not reach."""


@pytest.fixture
def impatient(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SILENT_SECONDS", 0.3)


MOODS = {
    "silent": (Mood(silent=True), ("does not answer for 0 s", "HTTPS_PROXY")),
    "bad token": (Mood(401, b"", BAD_TOKEN), ("does not take your token (HF_TOKEN)", "unset HF_TOKEN")),
    "gated": (Mood(403, b"", {"X-Error-Code": "GatedRepo"}), ("at https://huggingface.co/mistralai/Tiny", "token")),
    "forbidden": (Mood(403), ("forbids it (403)", "https://huggingface.co/settings/tokens")),
    "missing": (Mood(404, b"", {"X-Error-Code": "RepoNotFound"}), ("there is no such model", "check the name")),
    "busy": (Mood(429, b"", {"Retry-After": "77"}), ("too many requests", "try again in 77 s")),
    "portal": (PORTAL, ("is not the hub, but another page", "log in to this network in a browser")),
    "out of order": (Mood(503), ("out of order (503)", "try again later")),
    "proxy": (Mood(407), ("the proxy wants a login (407)", "HTTPS_PROXY")),
}


def test_nine_moods_of_the_hub_give_nine_lines_each_with_its_remedy(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    lines = set()
    for name, (mood, expected) in MOODS.items():
        hub.mood = mood
        monkeypatch.setattr(parts, "SILENT_SECONDS", 0.3 if mood.silent else PATIENCE)
        began = time.monotonic()
        line = pull_line()
        assert time.monotonic() - began < 5, name
        for words in expected:
            assert words in line, (name, line)
        assert "check the network and the name" not in line
        assert "hf_secret" not in line
        lines.add(line)
    assert len(lines) == len(MOODS) == 9


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_is_silent_ends_when_its_time_is_over_and_is_shown_as_asked_until_then(hub: FakeHub) -> None:
    hub.mood = Mood(silent=True)
    stages: list[str] = []
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"not on this machine, and http://127\.0\.0\.1:\d+ does not answer"):
        models.pull(NAME, lambda stage, _: stages.append(stage))
    assert 0.3 <= time.monotonic() - began < 3
    assert stages[0] == "fetching, asking the hub"
    assert len(stages) > 5, "nothing is shown while the hub is waited for"


def test_ctrl_c_ends_the_wait_for_a_silent_hub_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SILENT_SECONDS", 60.0)
    hub.mood = Mood(silent=True)
    ticks = iter(range(4))

    def report(stage: str, fraction: float) -> None:
        if next(ticks) == 3:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        models.pull(NAME, report)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_lists_and_then_falls_silent_ends_too(hub: FakeHub) -> None:
    def fall_silent(size: models.RemoteSize) -> None:
        hub.mood = Mood(silent=True)

    with pytest.raises(EngineError, match="does not answer"):
        models.pull(NAME, before=fall_silent)


def test_a_storage_that_is_silent_ends_and_what_it_sent_before_is_kept(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.storage_mood = Mood(silent=True)
    with monkeypatch.context() as patched:
        patched.setattr(parts, "SILENT_SECONDS", 0.3)
        assert "does not answer for 0 s" in pull_line()
    hub.storage_mood = None
    assert (models.pull(NAME) / "consolidated.safetensors").stat().st_size > 100_000


def test_a_storage_that_is_busy_for_long_says_so(hub: FakeHub) -> None:
    hub.storage_mood = Mood(429)
    assert "too many requests from here (429)" in pull_line()


def test_a_page_of_another_behind_a_redirect_is_no_hub_either(hub: FakeHub) -> None:
    hub.mood = Mood(302, b"", {"Location": hub.storage_url + "/login"})
    hub.storage_mood = PORTAL
    assert "is not the hub, but another page" in pull_line()


def test_without_a_network_the_line_says_that_there_is_no_connection(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        line = pull_line()
    assert "there is no connection to http://127.0.0.1:" in line
    assert "toolchat models list" in line


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("TOOLCHAT_OFFLINE", "toolchat is offline (--offline or TOOLCHAT_OFFLINE); run it once without"),
        ("HF_HUB_OFFLINE", "HF_HUB_OFFLINE forbids asking the Hugging Face hub; unset it once"),
    ],
)
def test_offline_the_hub_is_not_asked_and_the_line_says_what_is_missing(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    monkeypatch.setenv(variable, "1")
    line = pull_line()
    assert line == f"{NAME}: not on this machine, and {words}: toolchat models pull {NAME}"
    assert hub.requests == []


def test_offline_a_model_that_is_here_is_used_without_its_small_files(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models.pull(NAME)
    (folder / "config.json").unlink()
    asked = len(hub.requests)
    monkeypatch.setenv("TOOLCHAT_OFFLINE", "1")
    assert models.cached(NAME) == folder
    assert models.pull(NAME) == folder
    assert len(hub.requests) == asked


def test_offline_the_demo_model_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLCHAT_OFFLINE", "1")
    with pytest.raises(EngineError, match=r"the demo model is not built yet, and toolchat is offline .*pull demo$"):
        build(tmp_path)


def test_a_gated_model_names_its_page_and_how_to_log_in(hub: FakeHub) -> None:
    hub.repositories[NAME] = repository(gated=True)
    line = pull_line()
    assert "at https://huggingface.co/mistralai/Tiny; then log in with `hf auth login`" in line


def test_the_pace_is_that_of_the_last_seconds_and_says_how_long_it_will_take() -> None:
    now = 0.0
    pace = Pace(1_000_000_000, lambda: now)
    assert pace.text(0) == ""
    now = 10.0
    assert pace.text(100_000_000) == ", 10 MB/s, 2 min left"
    now = 20.0
    pace.text(100_000_000)
    now = 40.0
    assert pace.text(100_000_000) == ", waiting for the hub"
    now = 41.0
    pace.text(150_000_000)
    now = 42.0
    assert pace.text(999_000_000).endswith(" 1 s left")
    assert "left" not in pace.text(1_000_000_000)


def test_the_pace_of_days_is_told_in_hours() -> None:
    now = 0.0
    pace = Pace(100_000_000_000, lambda: now)
    pace.text(0)
    now = 10.0
    assert pace.text(50_000_000) == ", 5 MB/s, 5.6 h left"


@pytest.mark.usefixtures("impatient")
def test_no_thread_that_asks_the_hub_keeps_the_program_from_ending(hub: FakeHub) -> None:
    hub.mood = Mood(silent=True)
    pull_line()
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "ask-hub")
