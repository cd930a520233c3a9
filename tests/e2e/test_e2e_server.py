"""Both profiles against vLLM's own server: the demo model over TCP, a random SentencePiece model over a socket."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import tiny_models
import tiny_pixtral
from e2e_engine import Running
from PIL import Image as Pillow
from valid_calls import BOUNDED, WIDTH, tally
from vllm_server import VllmServer, vllm_server

from toolchat.engine.base import ContextOverflowError, GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.engine.remote.config import COMMAND, ServerConfig
from toolchat.images.image import image_from_bytes
from toolchat.models.demo import build as demo
from toolchat.models.hardware import engine_device
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.wire.deltas import CallEnded, Delta, Finished, FinishReason, Note, Text
from toolchat.wire.messages import CallOrigin, Message, ToolCall, ToolSpec, UserMessage

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

WEATHER = (UserMessage("Can you tell me what the temperature will be in Dallas, in fahrenheit?"),)
TOOLS = load_tools(sample_tools_path()).toolbox.specs
Attach = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def served(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    folder = tmp_path_factory.mktemp("vllm")
    with vllm_server(
        demo.demo_folder(demo_cache), folder, "--served-model-name=demo", key="sk-test", context=4096
    ) as running:
        yield running


@contextmanager
def attached(server: VllmServer, logs: Path, **more: str) -> Iterator[Running]:
    config = ServerConfig(server.url, "m", api_key=server.key, **more)
    with asyncio.Runner() as loop:
        running = Running(LocalEngine(config, logs, worker=COMMAND), loop)
        try:
            running.start()
            yield running
        finally:
            loop.run(running.engine.close())


@pytest.fixture(scope="module")
def tokens(served: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with attached(served, tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="module")
def chat(served: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    nowhere = tmp_path_factory.mktemp("none")
    with attached(served, tmp_path_factory.mktemp("logs"), tokenizer=str(nowhere)) as running:
        yield running


def ask(
    running: Running,
    messages: Sequence[Message],
    name: str,
    *,
    tools: Sequence[ToolSpec] = TOOLS,
    **options: object,
) -> list[Delta]:
    asked = GenerateOptions(**{"max_tokens": 200, **options})  # type: ignore[arg-type]  # of a test's own

    async def generate() -> list[Delta]:
        return [delta async for delta in running.engine.generate(name, messages, tools, asked)]

    return running.loop.run(generate())


def call_in(deltas: Sequence[Delta]) -> ToolCall:
    (made,) = [delta.call for delta in deltas if isinstance(delta, CallEnded)]
    assert isinstance(made, ToolCall)
    return made


def test_token_profile_has_constrained_calls_exact_counts_and_the_servers_prefix_cache(tokens: Running) -> None:
    info = tokens.engine.info
    assert info is not None
    assert (info.profile, info.model, info.context_window, info.notes) == ("token profile", "demo", 4096, ())
    made = call_in(ask(tokens, WEATHER, "first"))
    assert made.arguments == {"city": "Dallas", "state": "TX", "unit": "fahrenheit"}
    assert made.origin is CallOrigin.CONSTRAINED
    usage = ask(tokens, WEATHER, "second")[-1]
    assert isinstance(usage, Finished)
    assert usage.usage.cached_tokens > usage.usage.prompt_tokens / 2
    count = tokens.loop.run(tokens.engine.count(WEATHER, TOOLS))
    assert count.total == usage.usage.prompt_tokens


def test_token_profile_makes_no_invalid_call(tokens: Running) -> None:
    found = tokens.loop.run(tally(tokens.engine, 2 * WIDTH, tool_choice="required"))
    assert (found.invalid, found.without) == (0, 0), found.flaws
    assert found.valid == found.constrained > WIDTH


def test_token_profile_holds_answers_to_a_schema_and_forces_a_tool(tokens: Running) -> None:
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
    deltas = ask(tokens, [UserMessage("Are you sure?")], "schema", response_schema=schema, tool_choice="none")
    text = "".join(delta.text for delta in deltas if isinstance(delta, Text))
    assert text.strip() in ('{"sure": true}', '{"sure": false}', '{"sure":true}', '{"sure":false}')
    made = call_in(ask(tokens, [UserMessage("Hi")], "forced", tool_choice="get_current_weather", max_tokens=100))
    assert made.name == "get_current_weather"


@pytest.mark.parametrize("profile", ["tokens", "chat"])
def test_an_answer_can_be_stopped(profile: str, request: pytest.FixtureRequest) -> None:
    running: Running = request.getfixturevalue(profile)

    async def stop() -> list[Delta]:
        found: list[Delta] = []
        options = GenerateOptions(2000, temperature=1.5)
        async for delta in running.engine.generate("endless", [UserMessage("Tell a long story.")], (), options):
            found.append(delta)
            running.engine.abort("endless")
        return found

    last = running.loop.run(stop())[-1]
    assert isinstance(last, Finished)
    assert last.reason is FinishReason.ABORT


def test_chat_profile_makes_the_same_call_and_says_why_it_is_used(chat: Running) -> None:
    info = chat.engine.info
    assert info is not None
    assert (info.profile, info.context_window, info.exact_counts) == ("chat profile", 4096, False)
    assert "has no tekken.json" in info.notes[0]
    made = call_in(ask(chat, WEATHER, "first"))
    assert made.arguments == {"city": "Dallas", "state": "TX", "unit": "fahrenheit"}
    assert made.origin is CallOrigin.PARSED
    usage = ask(chat, WEATHER, "second")[-1]
    assert isinstance(usage, Finished)
    assert not usage.usage.estimated
    assert usage.usage.prompt_tokens > 100


@pytest.mark.parametrize("profile", ["tokens", "chat"])
def test_a_prompt_that_is_too_long_is_told_with_the_context(profile: str, request: pytest.FixtureRequest) -> None:
    running: Running = request.getfixturevalue(profile)
    with pytest.raises(ContextOverflowError) as raised:
        # Words that estimates take for fewer tokens than they are.
        ask(running, [UserMessage("9 " * 5000)], "long")
    assert raised.value.context_window == 4096


def test_a_sentencepiece_model_over_a_unix_socket(tmp_path: Path) -> None:
    model = tiny_models.build(tmp_path / "model", "v3-spm")
    with (
        vllm_server(model, tmp_path, unix=True, context=tiny_models.CONTEXT) as server,
        attached(server, tmp_path / "logs") as running,
    ):
        assert running.engine.info is not None
        assert running.engine.info.notes == ()
        found = running.loop.run(tally(running.engine, WIDTH, tool_choice="required"))
    assert (found.invalid, found.without) == (0, 0), found.flaws
    assert found.valid == found.constrained > 0


def test_a_model_that_sees_is_given_images_beside_token_ids(tmp_path: Path) -> None:
    """The same answer as the local engine's to the same pixels, under the same grammar."""
    model = tmp_path / "model"
    tiny_pixtral.write(model)
    file = io.BytesIO()
    Pillow.new("RGB", (100, 50), "red").save(file, "PNG")
    question = UserMessage("What is this?", (image_from_bytes(file.getvalue(), "red.png"),))
    with (
        vllm_server(model, tmp_path, "--enable-scale-out", sees=True, context=tiny_pixtral.CONTEXT) as server,
        attached(server, tmp_path / "logs") as running,
    ):
        info = running.engine.info
        assert info is not None
        assert (info.profile, info.supports_images) == ("token profile", True)
        seen = ask(running, [question], "image", tools=BOUNDED, tool_choice="required", max_tokens=120)
    assert not any(isinstance(delta, Note) for delta in seen)
    end = seen[-1]
    assert isinstance(end, Finished)
    with asyncio.Runner() as loop:
        local = Running(LocalEngine(plan("tiny", model, engine_device()), tmp_path / "logs"), loop)
        local.start()
        here = ask(local, [question], "image", tools=BOUNDED, tool_choice="required", max_tokens=120)
        loop.run(local.engine.close())
    last = here[-1]
    assert isinstance(last, Finished)
    assert end.usage.prompt_tokens == last.usage.prompt_tokens
    assert _called(seen) == _called(here)


def _called(deltas: Sequence[Delta]) -> list[tuple[str, object]]:
    return [
        (delta.call.name, delta.call.arguments if isinstance(delta.call, ToolCall) else delta.call.raw)
        for delta in deltas
        if isinstance(delta, CallEnded)
    ]
