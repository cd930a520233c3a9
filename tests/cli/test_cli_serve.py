from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_program import REPOSITORY, Program, Ran

from toolchat.cli import engines, serve
from toolchat.cli.serve import KEY_FILE
from toolchat.engine.kept.place import folder_for_sockets
from toolchat.engine.served import Identity, ServedModel, identity_of, served_models
from toolchat.engine.server_command import Place
from toolchat.engine.server_process import check_place
from toolchat.settings import state_folder
from toolchat.wire.errors import UsageError

PROGRAM = Path(__file__).with_name("serve_program.py")
PATIENCE = 60


class Serving:
    """`toolchat serve` with the fake server, started in a folder of its own."""

    def __init__(self, folder: Path, model: Path, mode: str, *arguments: str) -> None:
        self.report = folder / "report.json"
        command = [sys.executable, str(PROGRAM), "serve", str(model), *arguments]
        environment = {"FAKE_REPORT": str(self.report), "FAKE_MODE": mode, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | environment,
        )

    def announced(self) -> list[str]:
        """The lines that it prints when it is ready."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline() for _ in range(3)]

    def reported(self) -> dict[str, Any]:
        return dict(json.loads(self.report.read_text()))

    def ended(self, number: int | None = None) -> Ran:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ran(self.process.returncode, out, err)


Serve = Callable[..., Serving]


@pytest.fixture
def start(tmp_path: Path, model_folder: Path) -> Iterator[Serve]:
    started: list[Serving] = []

    def start(mode: str, *arguments: str) -> Serving:
        started.append(Serving(tmp_path, model_folder, mode, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
        for pid in one.reported()["pids"] if one.report.exists() else ():
            if identity_of(pid) is not None:
                os.kill(pid, signal.SIGKILL)
    until(lambda: served_models() == [])  # which clears what they left


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def status(port: int, authorization: str) -> int:
    """Of a question to a path that vLLM's own key does not guard."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/invocations", headers={"Authorization": authorization} if authorization else {})
        return connection.getresponse().status


def gone(pids: list[int]) -> bool:
    return all(identity_of(pid) is None for pid in pids)


@pytest.mark.process
def test_a_server_is_announced_when_it_answers_shown_by_ps_and_ended_by_ctrl_c_with_all_its_processes(
    start: Serve, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = start("stubborn", f"--port={port}", "--", "--seed=3")
    told, chat, curl = serving.announced()
    reported = serving.reported()
    url = f"http://127.0.0.1:{port}"
    assert told == f"model is served at {url} (process {reported['pids'][0]}); Ctrl-C ends it.\n"
    assert chat == f"  toolchat repl --server {url}\n"
    assert curl.startswith(f"  curl {url}/v1/chat/completions ")
    assert {f"--port={port}", "--host=127.0.0.1", "--seed=3", "--served-model-name=model"} <= set(reported["arguments"])
    assert reported["key"] is None
    engines.ps(json=True)
    (shown,) = json.loads(capsys.readouterr().out)["servers"]
    assert (shown["model"], shown["pid"], shown["address"]) == ("model", serving.process.pid, url)
    assert (shown["ready"], shown["attended"]) == (True, True)
    assert shown["memory"] > 1024**2
    ran = serving.ended(signal.SIGINT)
    assert ran.code == 130
    assert gone(reported["pids"])
    assert not Path(reported["scratch"]).exists()
    assert served_models() == []
    # What others wrote is shown, but does nothing to the terminal.
    assert "GET␛[2J /health 200" in ran.err
    assert "\x1b" not in ran.err
    assert "every user of this machine may use it" in ran.err


@pytest.mark.process
def test_stop_ends_a_server_and_its_toolchat(start: Serve, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    serving = start("ready", f"--port={port}")
    serving.announced()
    engines.stop("model")
    assert capsys.readouterr().out == f"model is ended (process {serving.process.pid}).\n"
    assert serving.ended().code == 143
    assert gone(serving.reported()["pids"])


@pytest.mark.process
def test_what_a_killed_toolchat_leaves_is_shown_by_ps_and_cleared_by_stop(
    start: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    serving = start("stubborn", f"--socket={path}")
    serving.announced()
    reported = serving.reported()
    serving.ended(signal.SIGKILL)
    engines.ps(json=True)
    (shown,) = json.loads(capsys.readouterr().out)["servers"]
    assert (shown["pid"], shown["attended"]) == (reported["pids"][0], False)
    engines.ps()
    assert "left behind" in " ".join(capsys.readouterr().out.split())
    os.kill(reported["pids"][0], signal.SIGKILL)  # as its own session is left, without the process that led it
    (left,) = served_models()
    assert left.processes() == {reported["pids"][1]}
    engines.stop(str(reported["pids"][0]))
    assert gone(reported["pids"])
    assert not path.exists()
    assert not Path(reported["scratch"]).exists()
    engines.ps()
    assert capsys.readouterr().out.endswith("No model is loaded.\n")


@pytest.mark.process
def test_the_server_is_told_to_end_when_toolchat_is_killed(start: Serve, port: int) -> None:
    serving = start("ready", f"--port={port}")
    serving.announced()
    serving.ended(signal.SIGKILL)
    leader = serving.reported()["pids"][0]
    until(lambda: gone([leader]))


@pytest.mark.process
def test_a_server_that_does_not_start_is_told_of_with_its_reason(start: Serve, port: int) -> None:
    ran = start("fails", f"--port={port}").ended()
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[-1] == (
        "toolchat: vLLM's server ended before it was ready (its process ended with 1): ValueError: no such layer"
    )
    assert "loading 100%\n" in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.process
def test_a_server_that_crashes_ends_with_what_it_leaves(start: Serve, port: int) -> None:
    serving = start("crashes", f"--port={port}")
    ran = serving.ended()
    assert ran.code == 3
    assert "(its process ended with 9)" in ran.err.splitlines()[-1]
    assert gone(serving.reported()["pids"])


@pytest.mark.process
def test_a_socket_is_for_its_user_alone_and_removed(start: Serve, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))  # left by a server that was killed
    serving = start("ready", "--socket=s")
    told, chat, curl = serving.announced()
    assert f"served at unix:{path} " in told
    assert chat == f"  toolchat repl --server unix:{path}\n"
    assert curl.startswith(f"  curl --unix-socket {path} http://localhost/v1/chat/completions ")
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert serving.ended(signal.SIGTERM).code == 143
    assert not path.exists()


@pytest.mark.process
def test_other_hosts_need_a_key_which_is_made_shown_once_and_kept(start: Serve, port: int) -> None:
    serving = start("ready", "--host=0.0.0.0", f"--port={port}", "--", "--seed=1")
    told, chat, curl = serving.announced()
    path = state_folder() / KEY_FILE
    key = path.read_text().strip()
    statuses = {given: status(port, given) for given in ("", "Bearer wrong", f"Bearer {key}")}
    assert statuses == {"": 401, "Bearer wrong": 401, f"Bearer {key}": 200}
    ran = serving.ended(signal.SIGTERM)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) >= 40
    assert serving.reported()["key"] == key
    assert not any(key in one for one in (*serving.reported()["arguments"], told, chat, curl))
    assert f"not shown again: {key} (kept in {path})" in ran.err
    assert f'TOOLCHAT_API_KEY="$(cat {path})" toolchat repl --server http://{socket.gethostname()}:{port}' in chat
    assert f'"Authorization: Bearer $(cat {path})"' in curl
    again = serve._key(Place("0.0.0.0"), None, None)
    assert (again.value, again.note) == (key, f"clients need the API key that is kept in {path}")


def test_keys_are_taken_from_one_place_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a key"
    file.write_text("sk-file\n")
    file.chmod(0o600)
    found = serve._key(Place(), None, str(file))
    assert (found.value, found.shell, found.note) == ("sk-file", f"$(cat '{file}')", "")
    file.chmod(0o644)
    assert "chmod 600 closes it" in serve._key(Place(), None, str(file)).note
    assert serve._key(Place(), "sk-flag", None).value == "sk-flag"
    assert serve._key(Place(), None, None).value == ""
    monkeypatch.setenv("VLLM_API_KEY", "sk-variable")
    assert serve._key(Place(), None, None).value == "sk-variable"
    with pytest.raises(UsageError, match="contradict each other"):
        serve._key(Place(), "a", "b")
    for key in ("", "two words", "naïve"):
        with pytest.raises(UsageError, match=r"^--api-key: expected a key"):
            serve._key(Place(), key, None)
    file.write_text("\n")
    with pytest.raises(UsageError, match=r"^--api-key-file .*: expected a key"):
        serve._key(Place(), None, str(file))
    with pytest.raises(UsageError, match=r"^--api-key-file missing: cannot be read: No such file"):
        serve._key(Place(), None, "missing")


def test_where_no_key_can_be_kept_one_must_be_given(home: Path) -> None:
    (home / ".local").write_text("a file")
    with pytest.raises(UsageError, match=r"it needs an API key, and none can be kept .*--api-key-file"):
        serve._key(Place("0.0.0.0"), None, None)


def test_a_place_that_is_taken_is_told_of_before_anything_is_loaded(tmp_path: Path, port: int) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(UsageError, match=rf"^--port {port}: is in use by another program; --port names another"):
            check_place(Place(port=port))
    check_place(Place(port=port))
    with pytest.raises(UsageError, match=r"^--host 203\.0\.113\.1: is no address of this machine"):
        check_place(Place("203.0.113.1"))
    with pytest.raises(UsageError, match=r"^--host a\.\.b: expected a name or address of this machine"):
        check_place(Place("a..b"))
    with pytest.raises(UsageError, match=r"^--socket .*: the folder .* does not exist"):
        check_place(Place(socket=str(tmp_path / "none" / "s")))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="something else than a socket is there"):
        check_place(Place(socket=str(tmp_path / "file")))
    with closing(socket.socket(socket.AF_UNIX)) as taken:
        taken.bind(str(tmp_path / "s"))
        taken.listen()
        with pytest.raises(UsageError, match="a program listens there"):
            check_place(Place(socket=str(tmp_path / "s")))
    with pytest.raises(UsageError, match=r"--socket .*: expected a path of at most 107 bytes"):
        serve._place("127.0.0.1", 8000, "x" * 120)


def test_a_note_names_no_process_that_has_its_number_by_now(tmp_path: Path) -> None:
    own = identity_of(os.getpid())
    assert own is not None
    folder = folder_for_sockets(make=True)
    assert folder is not None
    other = Identity(own.pid, own.start - 1)
    note = ServedModel("m", "cpu", "http://x", other, other, (other,))
    assert not note.is_attended
    assert note.processes() == set()
    path = note.write(folder)
    assert served_models() == []
    assert not path.exists()
    earlier = replace(note, toolchat=own, leader=own, boot="an earlier start of the machine")
    assert not earlier.is_attended
    assert earlier.processes() == set()
    (folder / "serve-1.json").write_text("{")
    assert served_models() == []


def test_only_what_a_note_says_of_temporary_folders_and_sockets_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "toolchat-serve-x"
    kept.mkdir()
    file = tmp_path / "file"
    file.write_text("")
    nobody = Identity(2**22, 1)
    ServedModel("m", "cpu", "", nobody, nobody, scratch=str(kept), socket=str(file)).clear()
    assert kept.exists()
    assert file.exists()


@pytest.mark.process
def test_a_flag_of_vllms_before_the_dashes_is_told_of_them(forked_toolchat: Program) -> None:
    told = forked_toolchat("serve", "demo", "--tensor-parallel-size", "2").refused(2)
    assert "vLLM's own flags stand behind --: toolchat serve MODEL -- --tensor-parallel-size 2" in told
