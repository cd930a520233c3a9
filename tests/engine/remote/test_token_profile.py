"""The token profile: a vLLM server is asked for token ids under the worker's own grammars, or not used so at all."""

from __future__ import annotations

import io
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fake_vllm import COMPLETIONS, FakeVllm
from mistral_tokenizers import Mark, load, sentencepiece_file, spell
from PIL import Image as Pillow
from scripted_server import Reply, ScriptedServer, as_json, delta, stream

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import Sampling
from toolchat.engine.remote.completions import GENERATE, body
from toolchat.engine.remote.config import Address, ServerConfig
from toolchat.engine.remote.connection import Connection
from toolchat.engine.remote.examine import CHAT, TOKENS, Served, examine
from toolchat.engine.remote.process import ChatWorker, described, worker_for
from toolchat.engine.worker.source import SourceRun
from toolchat.images.image import image_from_bytes
from toolchat.mistral.grammar.constraint import Grammar, Step
from toolchat.mistral.render import Encoded
from toolchat.wire.codec import decode_delta, encode_message, encode_tool
from toolchat.wire.deltas import CallEnded, Finished, FinishReason, Note, Text
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import CallOrigin, Image, ToolCall, ToolSpec, UserMessage

PATIENCE = 30
WEATHER = ToolSpec(
    "weather",
    "Tells it.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
)
VERSIONS = ("v3-tekken", "v7-tekken", "v11", "v13", "v15", pytest.param("v3-spm", marks=pytest.mark.slow))
"""The last one's grammars need xgrammar, whose import takes torch, and seconds."""


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """A tokenizer, and a folder whose only file it is."""

    def made(label: str) -> tuple[Any, Path]:
        folder = tmp_path_factory.mktemp(label)
        tokenizer = load(folder, label)
        if (piece := sentencepiece_file(label)) is not None:
            from mistral_tokenizers import DATA

            (folder / f"tokenizer.model.{label[:2]}").symlink_to(DATA / piece)
        else:
            next(folder.iterdir()).rename(folder / "tekken.json")
        return tokenizer, folder

    return made


@pytest.fixture(scope="module")
def v13(tokenizers):
    return tokenizers("v13")


@pytest.fixture
def vllm(server: ScriptedServer, v13) -> FakeVllm:
    return FakeVllm(server, *v13)


@pytest.fixture
def connection(server: ScriptedServer) -> Iterator[Connection]:
    connected = Connection(Address.read(server.url))
    yield connected
    connected.close()


def config(server: ScriptedServer, **more: Any) -> ServerConfig:
    return ServerConfig(server.url, "m", **more)


def seen(connection: Connection, server: ScriptedServer, **more: Any) -> Served:
    return connection.call(examine(connection, config(server, **more), lambda _: None))


class FakeChannel:
    """The worker's end of a channel whose other end is a test."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.told.put(message)


class StopError(Exception):
    pass


class Asking:
    """A worker on a thread, and what it tells."""

    def __init__(self, connection: Connection, served: Served, settings: ServerConfig) -> None:
        self.channel: Any = FakeChannel()
        self.worker = worker_for(self.channel, connection, served, settings)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        handle = self.worker.handle if isinstance(self.worker, ChatWorker) else self.worker._handle
        name = "handle" if isinstance(self.worker, ChatWorker) else "_handle"

        def stopping(command: dict[str, Any]) -> None:
            if command["op"] == "stop":
                raise StopError
            handle(command)

        setattr(self.worker, name, stopping)
        try:
            self.worker.serve()
        except StopError:
            return

    def begin(self, text: str = "hello", tools=(), images=(), **options: Any) -> None:
        self.channel.commands.put(
            {
                "op": "generate",
                "id": "r",
                "messages": [encode_message(UserMessage(text, images))],
                "tools": [encode_tool(one) for one in tools],
                "options": asdict(GenerateOptions(options.pop("max_tokens", 100), **options)),
            }
        )

    def ask(self, *arguments: Any, **named: Any) -> tuple[list[Any], dict[str, Any] | None]:
        """The deltas, and the message that ended it otherwise."""
        self.begin(*arguments, **named)
        return self.outcome()

    def outcome(self) -> tuple[list[Any], dict[str, Any] | None]:
        deltas: list[Any] = []
        while True:
            message = self.channel.told.get(timeout=PATIENCE)
            if message["op"] != "deltas":
                return deltas, message
            deltas += [decode_delta(one) for one in message["deltas"]]
            if isinstance(deltas[-1], Finished):
                return deltas, None

    def stop(self) -> None:
        self.channel.commands.put({"op": "stop"})
        self._thread.join(PATIENCE)


@pytest.fixture
def asking(connection, server) -> Iterator[Callable[..., Asking]]:
    running: list[Asking] = []

    def begin(**more: Any) -> Asking:
        settings = config(server, **more)
        served = connection.call(examine(connection, settings, lambda _: None))
        running.append(Asking(connection, served, settings))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def text(deltas: list[Any]) -> str:
    return "".join(one.text for one in deltas if isinstance(one, Text))


def call_of(tokenizer, version: str) -> list[int]:
    arguments = '{"city": "Dallas"}'
    if version[:2] in ("v3", "v7"):
        return spell(
            tokenizer, Mark("[TOOL_CALLS]"), f'[{{"name": "weather", "arguments": {arguments}}}]', Mark("</s>")
        )
    return spell(tokenizer, Mark("[TOOL_CALLS]"), "weather", Mark("[ARGS]"), arguments, Mark("</s>"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_call_of_every_version_is_constrained(server, connection, tokenizers, asking, version):
    tokenizer, folder = tokenizers(version)
    vllm = FakeVllm(server, tokenizer, folder)
    ids = call_of(tokenizer, version)
    # SentencePiece runs free up to the marker, and goes on behind it.
    vllm.writes = [ids[:1], ids[1:]] if version.endswith("spm") else [ids]
    deltas, _ = asking().ask(tools=[WEATHER])
    (made,) = [one.call for one in deltas if isinstance(one, CallEnded)]
    assert isinstance(made, ToolCall)
    assert (made.name, made.arguments, made.origin) == ("weather", {"city": "Dallas"}, CallOrigin.CONSTRAINED)
    last = vllm.runs()[-1]
    assert "weather" in last["structured_outputs"]["grammar"]
    if version.endswith("spm"):
        first = vllm.runs()[0]
        assert first["stop_token_ids"] == ids[:1]
        assert last["prompt"] == first["prompt"] + ids[:1]
        assert set(last["logit_bias"].values()) == {-100.0}


def test_a_request_names_every_field_of_sampling(vllm, v13, asking):
    vllm.writes = [spell(v13[0], "Hi", Mark("</s>"))] * 2
    vllm.cached = 3
    cards = (("demo", Sampling(0.7, 0.9)),)
    worker = asking(cards=cards)
    deltas, _ = worker.ask()
    assert text(deltas) == "Hi"
    assert deltas[-1].usage.cached_tokens == 3
    assert deltas[-1].usage.prompt_tokens == len(vllm.runs()[0]["prompt"])
    worker.ask(temperature=0.0, top_p=0.5, seed=7)
    first, second = vllm.runs()
    assert (first["temperature"], first["top_p"]) == (0.7, 0.9)
    assert (second["temperature"], second["top_p"], second["seed"]) == (0.0, 0.5, 7)
    named = {"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "max_tokens"}
    assert named <= first.keys()
    assert (first["stream"], first["return_token_ids"], first["skip_special_tokens"]) == (True, True, False)
    assert first["add_special_tokens"] is False


def test_the_models_file_beside_the_tokenizer_says_how_to_sample(server, tokenizers, asking):
    tokenizer, folder = tokenizers("v13-plain")
    (folder / "generation_config.json").write_text('{"temperature": 0.25}')
    vllm = FakeVllm(server, tokenizer, folder)
    vllm.writes = [spell(tokenizer, "Hi", Mark("</s>"))]
    asking(cards=(("demo", Sampling(0.7, 0.9)),)).ask()
    assert (vllm.runs()[0]["temperature"], vllm.runs()[0]["top_p"]) == (0.25, 1.0)


def test_an_effort_that_the_model_does_not_know_is_told_before_the_first_question(server, tokenizers, connection):
    tokenizer, folder = tokenizers("v15")
    FakeVllm(server, tokenizer, folder)
    served = seen(connection, server)
    with pytest.raises(EngineError, match=r"--reasoning-effort huge: the model demo knows none, high"):
        worker_for(FakeChannel(), connection, served, config(server, reasoning_effort="huge"))
    worker_for(FakeChannel(), connection, served, config(server, reasoning_effort="high"))


def test_a_step_of_two_has_its_stop_and_what_it_forbids(v13):
    step = Step(Grammar("ebnf", "root ::= x"), banned=(3, 4))
    run = SourceRun("r", Encoded([1, 2], []), step, 5, 9, 0.0, 1.0, None)
    wanted = body("m", run)
    assert (wanted["prompt"], wanted["max_tokens"], wanted["stop_token_ids"]) == ([1, 2], 5, [9])
    assert wanted["logit_bias"] == {"3": -100.0, "4": -100.0}
    assert wanted["structured_outputs"] == {"grammar": "root ::= x"}
    assert "seed" not in wanted
    free = body("m", replace(run, step=Step(), stop=None))
    assert not {"logit_bias", "stop_token_ids", "structured_outputs"} & free.keys()


def test_the_prompt_is_counted_exactly_and_one_that_is_too_long_is_not_sent(vllm, v13, asking):
    worker = asking(context=60)
    _, end = worker.ask("word " * 100)
    assert end["op"] == "overflow"
    assert end["context"] == 60
    assert not end["count"]["estimated"]
    assert vllm.runs() == []
    assert worker.worker.info()["constrains_calls"]


def test_the_answers_end_is_the_servers(vllm, v13, asking):
    vllm.finish = "length"
    vllm.writes = [spell(v13[0], "and so on and")]
    deltas, _ = asking().ask()
    assert deltas[-1].reason is FinishReason.LENGTH


def test_a_stream_that_breaks_is_told_and_what_came_stays(vllm, server, v13, asking):
    worker = asking()
    half = vllm.stream([], spell(v13[0], "Hello there"), "stop", done=False)
    half = Reply([half.pieces[0].replace(b'"prompt_token_ids": []', b'"nothing": 0')])
    server.on(COMPLETIONS, half)
    deltas, end = worker.ask()
    assert text(deltas) == "Hello there"
    assert end["op"] == "broken"
    assert "ended the answer in the middle" in end["message"]


@pytest.mark.parametrize(
    ("chunk", "line"),
    [
        ({"choices": [{"token_ids": ["a"]}]}, "sent token ids that are none"),
        ({"choices": [{"token_ids": [1], "prompt_token_ids": [1, 2]}]}, "the server changed the prompt's tokens"),
        ({"choices": [{"token_ids": [], "finish_reason": "abort"}]}, "the server gave the answer up (abort)"),
        ({"error": {"message": "the engine died", "code": 500}}, "the server failed (500): the engine died"),
    ],
)
def test_what_is_no_part_of_a_run_is_told(vllm, server, asking, chunk, line):
    worker = asking()
    server.on(COMPLETIONS, stream(chunk))
    deltas, end = worker.ask()
    assert deltas == []
    assert line in end["message"]


def test_an_answer_can_be_stopped(vllm, server, v13, asking):
    worker = asking()
    hold = threading.Event()
    piece = vllm.stream([], spell(v13[0], "Hello there"), "stop", done=False).pieces[0]
    server.on(COMPLETIONS, Reply([piece.replace(b'"prompt_token_ids": []', b'"nothing": 0')], hold=hold))
    worker.begin()
    message = worker.channel.told.get(timeout=PATIENCE)
    assert message["op"] == "deltas"
    worker.channel.commands.put({"op": "abort", "id": "r"})
    deltas, _ = worker.outcome()
    hold.set()
    assert deltas[-1].reason is FinishReason.ABORT


def test_a_wait_of_the_server_is_told(vllm, server, v13, asking):
    worker = asking()
    busy = as_json({"error": {"message": "busy"}}, 429, **{"retry-after": "0"})
    server.on(COMPLETIONS, busy, vllm._complete)
    vllm.writes = [spell(v13[0], "Hi", Mark("</s>"))]
    deltas, _ = worker.ask()
    assert isinstance(deltas[0], Note)
    assert "(busy): asking again in 0 s" in deltas[0].text
    assert text(deltas) == "Hi"


def test_a_conversation_with_images_goes_by_chat_completions(server, tokenizers, tmp_path, asking):
    tokenizer = load(tmp_path, "v13", supports_images=True)
    next(tmp_path.iterdir()).rename(tmp_path / "tekken.json")
    FakeVllm(server, tokenizer, tmp_path)
    server.on("/v1/chat/completions", stream(delta("A cat.", finish="stop")))
    worker = asking()
    assert worker.worker.info()["supports_images"]
    deltas, _ = worker.ask("What is it?", images=(Image("image/png", "QUJD", 2, 2),))
    assert "its calls are checked, not constrained" in deltas[0].text
    assert Text("A cat.") in deltas
    (body,) = server.bodies("/v1/chat/completions")
    assert body["messages"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,QUJD"


def test_images_go_beside_the_tokens_where_the_server_takes_them(server, tokenizers, tmp_path, asking):
    tokenizer = load(tmp_path, "v13", supports_images=True)
    next(tmp_path.iterdir()).rename(tmp_path / "tekken.json")
    vllm = FakeVllm(server, tokenizer, tmp_path)
    answer = vllm.stream([], spell(tokenizer, "A cat.", Mark("</s>")), "stop")
    answer = Reply([answer.pieces[0].replace(b'"prompt_token_ids": []', b'"nothing": 0')])
    server.on(GENERATE, as_json({"error": {"message": "token_ids: too short"}}, 400), answer)
    worker = asking()
    file = io.BytesIO()
    Pillow.new("RGB", (20, 10), "red").save(file, "PNG")
    image = image_from_bytes(file.getvalue())
    deltas, _ = worker.ask("What is it?", tools=[WEATHER], images=(image,))
    assert text(deltas) == "A cat."
    assert not any(isinstance(one, Note) for one in deltas)
    _, request = server.bodies(GENERATE)
    (part,) = request["content_parts"]
    assert part["url"].startswith("data:image/png;base64,iVBOR")
    image_token = tokenizer.instruct_tokenizer.tokenizer.get_special_token("[IMG]")
    assert image_token in request["token_ids"]
    assert request["sampling_params"]["structured_outputs"]["grammar"].startswith("start:")
    assert server.bodies("/v1/chat/completions") == []


class TestChoosingTheProfile:
    def test_a_vllm_server_whose_proofs_hold_is_asked_for_tokens(self, vllm, connection, server, v13):
        served = seen(connection, server)
        assert (served.profile, served.model, served.context, served.version) == (TOKENS, "demo", 4096, "0.32.0")
        assert served.tokenizer_place == str(v13[1] / "tekken.json")
        assert described(served)["notes"] == []

    def test_over_a_unix_socket(self, v13):
        from scripted_server import scripted_server

        with scripted_server(unix=True) as server:
            FakeVllm(server, *v13)
            connected = Connection(Address.read(server.url))
            assert seen(connected, server).profile == TOKENS
            connected.close()

    def reason(self, connection, server, **more: Any) -> str:
        served = seen(connection, server, **more)
        assert served.profile == CHAT
        (note,) = described(served)["notes"]
        assert served.why in note
        assert "(calls are checked, not constrained)" in note
        return served.why

    def test_a_grammar_that_is_not_held_to(self, vllm, connection, server):
        vllm.holds_grammars = False
        assert "does not hold answers to grammars; with a reasoning parser" in self.reason(connection, server)

    def test_a_grammar_that_is_refused(self, vllm, connection, server):
        says = "speculative decoding does not support logit_bias"
        server.on(COMPLETIONS, as_json({"error": {"message": says}}, 400))
        assert f"it refuses grammars, or what goes with them ({says})" in self.reason(connection, server)

    def test_another_rendering(self, vllm, connection, server):
        server.on("/tokenize", as_json({"tokens": [1, 2, 3]}))
        assert "renders prompts otherwise than Mistral's tokenizer here, from token " in self.reason(connection, server)

    @pytest.mark.parametrize(
        ("path", "why"), [("/version", "a proxy hides /version"), ("/tokenize", "a proxy hides /tokenize")]
    )
    def test_hidden_paths(self, vllm, connection, server, path, why):
        server.on(path, as_json({"detail": "Not Found"}, 404))
        assert why in self.reason(connection, server)

    def test_no_tokenizer_here(self, vllm, connection, server):
        vllm.list_models({"id": "demo", "root": "/srv/no/such/model"})
        assert "/srv/no/such/model is no folder of this machine; name one" in self.reason(connection, server)

    def test_a_tokenizer_on_the_hub_is_fetched_alone(self, vllm, connection, server, v13, monkeypatch):
        asked: list[tuple[str, bool]] = []

        def download(repository: str, *, token: str | None, local_files_only: bool) -> str:
            asked.append((repository, local_files_only))
            if local_files_only:
                raise FileNotFoundError
            return str(v13[1] / "tekken.json")

        monkeypatch.setattr("mistral_common.tokens.tokenizers.utils.download_tokenizer_from_hf_hub", download)
        vllm.list_models({"id": "demo", "root": "mistralai/Some-Model"})
        assert seen(connection, server).profile == TOKENS
        assert asked == [("mistralai/Some-Model", True), ("mistralai/Some-Model", False)]

    def test_a_tokenizer_that_cannot_be_fetched(self, vllm, connection, server, monkeypatch, tmp_path):
        monkeypatch.setenv("TOOLCHAT_OFFLINE", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        vllm.list_models({"id": "demo", "root": "mistralai/Some-Model"})
        told = self.reason(connection, server)
        assert told.startswith("the tokenizer of mistralai/Some-Model is not on this machine, and toolchat is offline")

    def test_a_tokenizer_that_is_not_mistrals(self, vllm, connection, server, tmp_path):
        (tmp_path / "tokenizer.json").write_text("{}")
        assert f"{tmp_path} has no tekken.json" in self.reason(connection, server, tokenizer=str(tmp_path))

    def test_a_broken_tokenizer(self, vllm, connection, server, tmp_path):
        (tmp_path / "tekken.json").write_text("{}")
        assert "cannot be read as a tokenizer of Mistral's" in self.reason(connection, server, tokenizer=str(tmp_path))

    @pytest.mark.parametrize("module", ["mistral_common", "llguidance"])
    def test_a_missing_package(self, vllm, connection, server, module, monkeypatch):
        from toolchat.engine.remote import examine as examining

        monkeypatch.setattr(examining, "_installed", lambda name: name != module)
        assert f"{module} is not installed" in self.reason(connection, server)

    def test_another_server(self, server, connection):
        server.on("/v1/models", as_json({"data": [{"id": "llama3:latest", "context_length": 8192}]}))
        assert self.reason(connection, server, asked="llama3") == "it is not vLLM"

    def test_an_adapters_tokenizer_and_context_are_its_parents(self, vllm, connection, server, v13):
        base = {"id": "base", "root": str(v13[1]), "parent": None}
        lora = {"id": "mine", "root": "/srv/lora", "parent": "base", "max_model_len": None}
        vllm.list_models(base, lora)
        served = seen(connection, server, asked="mine")
        assert (served.profile, served.model, served.context) == (TOKENS, "mine", 4096)
        assert seen(connection, server).model == "base"

    def test_the_tokenizer_that_is_named_is_used(self, vllm, connection, server, v13):
        vllm.list_models({"id": "demo", "root": "/srv/x"})
        assert seen(connection, server, tokenizer=str(v13[1])).profile == TOKENS


class TestModels:
    def line(self, connection, server, **more: Any) -> str:
        with pytest.raises(EngineError) as raised:
            seen(connection, server, **more)
        return str(raised.value)

    def test_several_must_be_chosen_from(self, server, connection):
        server.on("/v1/models", as_json({"data": [{"id": f"m{n}"} for n in range(22)]}))
        assert "has several models: m0, m1" in self.line(connection, server)
        assert "m19 and 2 more; name one with --model" in self.line(connection, server)

    def test_a_server_without_a_list_may_be_the_wrong_address(self, server, connection):
        told = self.line(connection, server)
        assert (
            "has no list of models (404); check the path of the address, which ends in /v1 as a rule, or name" in told
        )
        assert seen(connection, server, asked="m").model == "m"

    def test_none_must_be_named(self, server, connection):
        server.on("/v1/models", as_json({"data": []}))
        assert "does not say which models it has; name one with --model" in self.line(connection, server)
        assert seen(connection, server, asked="m").model == "m"

    def test_one_that_vllm_has_not_is_refused_with_those_it_has(self, vllm, server, connection):
        assert "has no model other; it has demo: --model NAME" in self.line(connection, server, asked="other")

    def test_the_context_is_what_the_server_says(self, server, connection):
        for card, context in (
            ({"context_window": 77}, 77),
            ({"meta": {"n_ctx": 88}}, 88),
            ({"max_context_length": 9}, 9),
        ):
            server.on("/v1/models", as_json({"data": [{"id": "m", **card}]}))
            assert (seen(connection, server).context, seen(connection, server).context_known) == (context, True)

    def test_a_context_that_is_assumed_is_told(self, server, connection):
        server.on("/v1/models", as_json({"data": [{"id": "m"}]}))
        served = seen(connection, server)
        assert (served.context, served.context_known) == (32768, False)
        assert "does not say how long a context m has: 32768 tokens are assumed" in described(served)["notes"][1]
        assert seen(connection, server, context=1000).context == 1000

    def test_a_context_beyond_the_servers_is_refused(self, vllm, server, connection):
        assert "--context 9999: " in self.line(connection, server, context=9999)

    def test_eyes_are_what_the_server_says(self, server, connection):
        for card, sees in (({"capabilities": {"vision": False}}, False), ({}, None)):
            server.on("/v1/models", as_json({"data": [{"id": "m", **card}]}))
            assert seen(connection, server).sees is sees

    def test_a_missing_v1_is_completed(self, server):
        server.on("/llm/v1/models", as_json({"data": [{"id": "m"}]}))
        connected = Connection(Address.read(f"{server.url}/llm"))
        assert seen(connected, server).address.api == f"{server.url}/llm/v1"
        connected.close()

    def test_a_server_that_still_loads_is_waited_for(self, server, connection):
        loading = as_json({"error": {"message": "Loading model"}}, 503, **{"retry-after": "0"})
        server.on("/v1/models", loading, loading, as_json({"data": [{"id": "m"}]}))
        told: list[str] = []
        served = connection.call(examine(connection, config(server), told.append))
        assert served.model == "m"
        assert len(told) == 2
        assert "is not ready (Loading model): asking again in 0 s" in told[0]

    def test_one_that_loads_for_too_long_is_told(self, server, connection, monkeypatch):
        from toolchat.engine.remote import connection as connecting

        monkeypatch.setattr(connecting, "LONGEST_WAIT", 60.0)
        soon, late = (
            as_json({"error": {"message": "Loading model"}}, 503, **{"retry-after": pause}) for pause in ("0", "60")
        )
        server.on("/v1/models", soon, late)
        with pytest.raises(EngineError, match=r"is not ready \(503\): Loading model; it may be loading its model"):
            connection.call(examine(connection, config(server), lambda _: None))
        assert len(server.asked) == 2

    def test_a_page_in_its_place_is_told(self, server, connection):
        server.on("/v1/models", Reply([b"<html><title>Welcome</title>"], kind="text/html"))
        assert "answers 200 with a web page (Welcome)" in self.line(connection, server)


ADDRESSES = [
    ("http://h:8000", "http://h:8000", "http://h:8000/v1", "h:8000"),
    ("http://h:8000/v1", "http://h:8000", "http://h:8000/v1", "h:8000"),
    ("https://openrouter.ai/api/v1", "https://openrouter.ai/api", "https://openrouter.ai/api/v1", "openrouter.ai"),
    ("https://g.com/v1beta/openai", "https://g.com/v1beta/openai", "https://g.com/v1beta/openai", "g.com"),
    ("https://h/api/v1/chat/completions", "https://h/api", "https://h/api/v1", "h"),
    ("http://h:1/v1/models/", "http://h:1", "http://h:1/v1", "h:1"),
    ("http://h:1/completions", "http://h:1", "http://h:1/v1", "h:1"),
    ("https://g.com/v1beta/openai/models", "https://g.com/v1beta/openai", "https://g.com/v1beta/openai", "g.com"),
    ("https://h/api/models", "https://h/api/models", "https://h/api/models", "h"),
    ("https://h/api/models/v1", "https://h/api/models", "https://h/api/models/v1", "h"),
    ("http://models", "http://models", "http://models/v1", "models"),
    ("https://responses/", "https://responses", "https://responses/v1", "responses"),
    ("http://embeddings/v1/embeddings", "http://embeddings", "http://embeddings/v1", "embeddings"),
    ("http://completions:1/?", "http://completions:1", "http://completions:1/v1", "completions:1"),
    ("http://v1", "http://v1", "http://v1/v1", "v1"),
    ("unix:/run/vllm.sock", "http://localhost", "http://localhost/v1", "vllm.sock"),
]


@pytest.mark.parametrize(("written", "root", "api", "short"), ADDRESSES)
def test_addresses_are_read(written, root, api, short):
    address = Address.read(written)
    assert (address.root, address.api, address.short) == (root, api, short)


def test_only_this_machine_is_loopback():
    local = ["http://localhost:1", "http://127.0.0.1", "http://[::1]:8000", "unix:/s"]
    assert all(Address.read(one).loopback for one in local)
    assert not any(Address.read(one).loopback for one in ("http://localhost.example.org", "http://10.0.0.1"))


def test_the_configuration_survives_its_way_and_hides_the_key():
    made = ServerConfig(
        "http://h", "m", "m", "sk-secret", "t", 5, None, (("demo", Sampling(0.5)),), debug=True, notes=("n",)
    )
    assert ServerConfig.read(json.loads(json.dumps(asdict(made)))) == made
    assert "sk-secret" not in repr(made)
    assert made.recommended("org/Demo-1") == Sampling(0.5)
    assert replace(made, cards=()).recommended("demo") is None
