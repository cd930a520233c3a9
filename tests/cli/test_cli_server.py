"""`--server`: the program against servers, in an environment where neither vLLM nor torch can be imported."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import REPOSITORY, Program
from fake_vllm import FakeVllm
from mistral_tokenizers import Mark, load, spell
from scripted_server import Asked, Reply, ScriptedServer, as_json, delta, events, scripted_server, stream, usage

from toolchat.cli.doctor import examine
from toolchat.session.startup import sketch
from toolchat.wire.errors import EngineError

CHAT = "/v1/chat/completions"
KEY = "sk-very-secret-key"
BLOCKED = "import sys\nfor name in ('vllm', 'torch', 'transformers', 'xgrammar'):\n    sys.modules[name] = None\n"
ARGUMENTS = '{"city": "Dallas", "state": "TX", "unit": "fahrenheit"}'


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        running.on("/v1/models", as_json({"data": [{"id": "m", "context_length": 8192}]}))
        yield running


@pytest.fixture
def program(toolchat: Program, tmp_path: Path) -> Program:
    """The program without vLLM and torch."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCKED)
    return Program(toolchat.folder, (site, REPOSITORY))


def called() -> Reply:
    piece = {"index": 0, "id": "call_1", "function": {"name": "get_current_weather", "arguments": ARGUMENTS}}
    return stream(delta(tool_calls=[piece], finish="tool_calls"), usage(50, 20))


@pytest.mark.process
def test_a_turn_with_a_call_runs_by_chat_completions_and_the_key_stays_secret(
    program: Program, server: ScriptedServer, home: Path
) -> None:
    commands: list[str] = []

    def answer(_: Asked) -> Reply:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                commands.append(file.read_text(errors="replace"))
            except OSError:
                continue
        return stream(delta("It is 85 degrees."), delta(finish="stop"), usage(90, 6))

    server.on(CHAT, called(), answer)
    ran = program("ask", "--server", server.url, "How warm is it?", variables={"TOOLCHAT_API_KEY": KEY})
    assert (ran.code, ran.out) == (0, "It is 85 degrees.\n"), ran
    assert "(calls are checked, not constrained): it is not vLLM" in ran.err
    assert 'get_current_weather(city="Dallas"' in ran.err
    first, second = server.bodies(CHAT)
    assert second["messages"][-1]["role"] == "tool"
    assert second["messages"][-1]["tool_call_id"] == second["messages"][-2]["tool_calls"][0]["id"]
    assert {tool["function"]["strict"] for tool in first["tools"]} == {True}
    assert {one.headers["authorization"] for one in server.asked} == {f"Bearer {KEY}"}
    assert any("toolchat.engine.remote" in one for one in commands)
    assert not any(KEY in one for one in commands)
    kept = [file for file in home.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if KEY.encode() in file.read_bytes()]


@pytest.mark.process
def test_a_turn_runs_by_token_ids_on_vllm(program: Program, server: ScriptedServer, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "v13")
    model = tmp_path / "model"
    model.mkdir()
    shutil.move(next(tmp_path.glob("tekken*.json")), model / "tekken.json")
    vllm = FakeVllm(server, tokenizer, model)
    calls = spell(tokenizer, Mark("[TOOL_CALLS]"), "get_current_weather", Mark("[ARGS]"), ARGUMENTS, Mark("</s>"))
    vllm.writes = [calls, spell(tokenizer, "It is 85 degrees.", Mark("</s>"))]
    ran = program("ask", "--server", server.url, "How warm is it?", variables={"TOOLCHAT_DEBUG": "1"})
    assert (ran.code, ran.out) == (0, "It is 85 degrees.\n"), ran
    assert "profile: token profile; vLLM: 0.32.0" in ran.err
    assert "checked, not constrained" not in ran.err
    assert server.bodies(CHAT) == []


@pytest.mark.process
def test_an_answer_that_breaks_off_is_kept_and_told(program: Program, server: ScriptedServer) -> None:
    server.on(CHAT, Reply([events(delta("It is 85"), done=False)]))
    ran = program("ask", "--no-tools", "--server", server.url, "How warm is it?")
    assert ran.code == 3
    assert ran.out.startswith("It is 85")
    assert f"the answer broke off, and what came of it is kept: {server.url}: the server ended the answer" in ran.err


@pytest.mark.process
def test_a_server_that_is_not_there_is_one_line(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = program("ask", "--no-tools", "--server", url, "Hi").refused(3)
    assert line.startswith(f"{url}: the connection is refused; is the server running there")


def test_a_missing_client_library_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plan = sketch({"server": "http://h"}, None)
    with pytest.raises(EngineError, match=r"httpx is not installed.*; pip install 'toolchat\[remote\]'"):
        plan.engine()


def test_flags_of_loading_have_no_effect_and_a_key_without_encryption_is_told() -> None:
    flags = {"server": "http://example.org", "api_key": KEY, "dtype": "float16", "kv_cache_gib": "1"}
    engine = sketch(flags, None).engine()
    notes = engine._config.notes  # type: ignore[attr-defined]  # an engine of another process shows no more
    assert [note.partition(" ")[0] for note in notes[:2]] == ["--kv-cache", "--dtype"]
    assert "the API key and the chat go to http://example.org unencrypted" in notes[2]
    assert KEY not in repr(engine._config)  # type: ignore[attr-defined]


def test_doctor_tells_of_a_server_and_leaves_out_what_a_local_model_needs(server: ScriptedServer) -> None:
    checks = {check.name: check for check in examine({"server": server.url})}
    assert checks["server"].state == "ok"
    assert "m, 8192 tokens of context, chat profile (it is not vLLM)" in checks["server"].text
    assert not {"vllm", "gpu", "cores", "model"} & checks.keys()


def test_doctor_tells_why_a_server_cannot_be_used(server: ScriptedServer) -> None:
    server.on("/v1/models", as_json({"error": "no"}, 401))
    checks = {check.name: check for check in examine({"server": server.url})}
    assert checks["server"].state == "problem"
    assert checks["server"].remedy == "set TOOLCHAT_API_KEY, or give --api-key"
