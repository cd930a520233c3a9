"""One engine with the demo model, kept by the command that loads it, for all tests of this file."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_processes import PATIENCE, PROGRAM, wait_until
from questions import ENDLESS
from terminal_screen import Terminal

from toolchat.engine.kept.control import KeptWorker, alive, kept_workers, kill
from toolchat.engine.served import below

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).parents[2]
QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
CACHED = re.compile(r"prompt ([\d,]+) cached \+ ([\d,]+) new")
USED = re.compile(r"demo · ready · ([5-9]\d\d|\d,\d{3})/8,192")
HEAVY = {"torch", "vllm", "mistral_common", "numpy", "openai", "mcp", "httpx", "huggingface_hub"}
MODULES_AT_EXIT = """
import sys
from pathlib import Path
from toolchat.cli.main import run
try:
    run(sys.argv[2:])
finally:
    Path(sys.argv[1]).write_text("\\n".join(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """How a command finds the engine, and how the first one, which loaded it, ended."""

    environment: dict[str, str]
    folder: Path
    first: subprocess.CompletedProcess[str]

    def ask(self, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "ask", "--model", "demo", *arguments]
        return self.run(command, **more)

    def run(self, command: list[str], stdin: str = "", **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            command,
            cwd=REPOSITORY,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **more,
        )

    def worker(self) -> KeptWorker:
        (worker,) = kept_workers(self.folder)
        return worker


@pytest.fixture(scope="module")
def kept(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    home = tmp_path_factory.mktemp("kept")
    own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "XDG_CACHE_HOME": str(demo_cache.parent)}
    unset = ("XDG_STATE_HOME", "XDG_CONFIG_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= own | {"TOOLCHAT_KEEP_ALIVE": "10m"}
    weather = [*PROGRAM, "ask", "--model", "demo", "--tools", "tools.yaml", QUESTION]
    first = subprocess.run(
        weather,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    made = Kept(environment, home / "toolchat", first)
    worker = made.worker()
    yield made
    made.run([*PROGRAM, "stop", "--all"])
    assert not alive(worker.pid)
    assert {path.suffix for path in made.folder.iterdir()} <= {".lock"}


def test_the_main_job_a_question_a_call_and_an_answer_from_its_result(kept: Kept) -> None:
    out = kept.first.stdout
    assert "85" in out
    assert "fahrenheit" in out.lower()
    assert "Dallas" in out
    assert "→" not in out
    assert [line for line in kept.first.stderr.splitlines() if "stays loaded" not in line] == [
        '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")',
        "  ✓ The weather in Dallas, TX is 85 degrees fahrenheit. It is partly cloudy, with highs in the 90's.",
    ]


def test_the_second_command_answers_on_the_engine_of_the_first_and_imports_nothing_heavy(
    kept: Kept, tmp_path: Path
) -> None:
    assert kept.first.stderr.count("demo stays loaded for 10 minutes after its last use") == 1
    worker, report = kept.worker(), tmp_path / "modules.txt"
    ask = ["ask", "--model", "demo", "--tools", "tools.yaml", QUESTION]
    done = kept.run([sys.executable, "-c", MODULES_AT_EXIT, str(report), *ask])
    assert (done.returncode, "85" in done.stdout) == (0, True), done
    assert done.stderr.splitlines()[0] == '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")'
    assert "stays loaded" not in done.stderr
    modules = set(report.read_text().splitlines())
    assert "toolchat.engine.kept.engine" in modules
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    assert kept.worker().pid == worker.pid


def test_a_question_that_comes_through_a_pipe(kept: Kept) -> None:
    ran = kept.ask(stdin="17 * 24?\n")
    assert ran.returncode == 0, ran
    assert "408" in ran.stdout
    assert '→ calculate(expression="17 * 24")' in ran.stderr


def test_a_reader_that_takes_one_byte_ends_it_quietly_and_the_engine_stops_generating(kept: Kept) -> None:
    command = '"$@" </dev/null | head -c1 >/dev/null; echo "${PIPESTATUS[0]}"'
    done = kept.run(["bash", "-c", command, "bash", *PROGRAM, "ask", "--model", "demo", "--no-tools", ENDLESS])
    assert (done.stdout, done.stderr) == ("141\n", "")
    wait_until("no request of a client that is gone", lambda: kept.worker().requests == 0)


def test_commands_at_once_are_all_answered_right_by_one_engine(kept: Kept) -> None:
    worker = kept.worker()
    asked = {
        number: subprocess.Popen(
            [*PROGRAM, "ask", "--model", "demo", f"What is {number} * 24?"],
            cwd=REPOSITORY,
            env=kept.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (11, 12, 13)
    }
    for number, process in asked.items():
        out, err = process.communicate(timeout=PATIENCE)
        assert str(number * 24) in out, (out, err)
    assert kept.worker().pid == worker.pid


def test_what_is_shown_of_it_is_true(kept: Kept) -> None:
    done = kept.run([*PROGRAM, "ps", "--json"])
    (shown,) = json.loads(done.stdout)["engines"]
    assert (shown["model"], shown["device"], shown["context"], shown["clients"]) == ("demo", "cpu", 8192, 0)
    assert shown["memory"] > 300 * 1024**2
    assert 0 < shown["ends_in"] <= 600
    environment = Path(f"/proc/{shown['pid']}/environ")
    assert not os.access(environment, os.R_OK) or os.geteuid() == 0


def test_a_cassette_of_the_real_engine_replays_to_the_same_transcript_byte_for_byte(kept: Kept, tmp_path: Path) -> None:
    cassette = str(tmp_path / "weather.jsonl")
    ran = kept.ask("--tools", "tools.yaml", "--record", cassette, QUESTION)
    assert (ran.returncode, "85" in ran.stdout) == (0, True), ran
    for again in (
        ["replay", cassette],
        ["ask", "--replay", cassette, "--tools", "tools.yaml", QUESTION],
        ["ask", "--replay", cassette, "--recorded-results", QUESTION],
    ):
        done = kept.run([*PROGRAM, *again])
        assert (done.returncode, done.stdout, done.stderr) == (0, ran.stdout, ran.stderr), again


@pytest.mark.slow
def test_a_chat_that_goes_on_finds_its_prompt_cached_and_the_toolbar_says_so(kept: Kept, tmp_path: Path) -> None:
    for question in (QUESTION, "What is 17 * 24?"):
        first = kept.ask("--tools", "tools.yaml", *(["--continue"] if question != QUESTION else []), question)
        assert first.returncode == 0, first
    notes = tmp_path / "terminal"
    notes.mkdir()
    command = [*PROGRAM, "repl", "--continue", "--tools", "tools.yaml", "--model", "demo"]
    chat = Terminal(command, notes, REPOSITORY, kept.environment, columns=140, patience=PATIENCE)
    try:
        chat.wait_for("how much it takes, its tools too", lambda: bool(USED.search(chat.toolbar)))
        assert "cached" not in chat.toolbar
        chat.type("hi")
        chat.wait_for("what was cached", lambda: "cached + " in chat.toolbar)
        cached, new = (int(number.replace(",", "")) for number in CACHED.findall(chat.toolbar)[0])
        print(f"cached {cached} of {cached + new}: {chat.toolbar}")
        assert cached >= 0.9 * (cached + new), chat.toolbar
        chat.leave()
        assert chat.exit_code() == 0
    finally:
        chat.close()


@pytest.mark.slow
@pytest.mark.timeout(560)
def test_ten_workers_killed_at_any_moment_cost_a_fresh_start_each_and_leave_nothing(kept: Kept, tmp_path: Path) -> None:
    """While they load, while they answer, and while they are idle."""
    chance, met, cold = random.Random(3), set(), 0.0
    # A folder of their own: the engine of the other tests goes on, and is idle meanwhile.
    environment = kept.environment | {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    folder = tmp_path / "toolchat"

    def start(number: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, "ask", "--model", "demo", "--tools", "tools.yaml", f"What is {number} * 24?"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for number in range(11, 21):
        began = time.monotonic()
        process = start(number)
        if cold:
            time.sleep(chance.uniform(0.1, 1.2) * cold)
        else:
            process.wait(PATIENCE)
            cold = time.monotonic() - began
        workers = [found.pid for found in kept_workers(folder)] or loading(process.pid)
        for pid in workers:
            kill(pid)
            met.add(pid)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode == 0:
            assert str(number * 24) in out, (out, err)
        else:
            assert (process.returncode, "killed" in err or "ended" in err) == (3, True), (out, err)
    out, err = (last := start(77)).communicate(timeout=PATIENCE)
    assert (last.returncode, "1848" in out) == (0, True), (out, err)
    assert len(met) == 10
    assert not any(map(alive, met))
    (left,) = kept_workers(folder)
    assert left.pid not in met
    subprocess.run([*PROGRAM, "stop", "--all"], env=environment, check=True, capture_output=True, timeout=PATIENCE)
    assert not alive(left.pid)
    assert kept_workers(folder) == []


def loading(starter: int) -> list[int]:
    """The worker that `starter` has started and that listens nowhere yet."""
    found = [one.pid for one in below(starter)]
    return [pid for pid in found if b"toolchat.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
def test_ten_clients_killed_at_any_moment_leave_it_as_it_was(kept: Kept) -> None:
    worker, chance = kept.worker(), random.Random(10)
    for _ in range(10):
        process = subprocess.Popen(
            [*PROGRAM, "ask", "--model", "demo", "--no-tools", ENDLESS],
            env=kept.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.2, 3))
        process.kill()
        process.wait()
    wait_until("no client", lambda: kept.worker().clients == 0)
    assert kept.worker().requests == 0
    assert kept.worker().pid == worker.pid
    assert "85" in kept.ask("--tools", "tools.yaml", QUESTION).stdout
