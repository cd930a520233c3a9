from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from e2e_engine import CONTEXT, Running
from questions import ENDLESS

from toolchat.engine.base import EngineCrashedError, GenerateOptions
from toolchat.mistral.ids import is_legal_call_id
from toolchat.tools.argument_check import Rejected, check_arguments
from toolchat.tools.load import load_tools
from toolchat.tools.toolbox import LoadedToolbox, Toolbox
from toolchat.wire.deltas import CallBegun, CallEnded, Delta, Finished, FinishReason, Text, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import AssistantMessage, CallOrigin, Message, ToolCall, UserMessage

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).parents[2]
SONG = (UserMessage(ENDLESS),)
STORY = (UserMessage("Tell me a story about a dragon and a baker."),)
"""Unlike the song, it may go on in many ways."""
WEATHER = (UserMessage("What is the weather in Dallas, in fahrenheit?"),)


@pytest.fixture(scope="module")
def loaded_tools() -> LoadedToolbox:
    return load_tools(REPOSITORY / "tools.yaml")


@pytest.fixture(scope="module")
def tools(loaded_tools: LoadedToolbox) -> Toolbox:
    return loaded_tools.toolbox


async def generated(
    running: Running,
    request_id: str,
    messages: Sequence[Message],
    tools: Toolbox | None = None,
    on: Callable[[str, Delta], None] = lambda request_id, delta: None,
    **options: object,
) -> list[Delta]:
    """All deltas of one generation; `on` gets each as it comes."""
    deltas: list[Delta] = []
    specs = tools.specs if tools else ()
    asked = GenerateOptions(**{"max_tokens": 48, **options})  # type: ignore[arg-type]
    async for delta in running.engine.generate(request_id, messages, specs, asked):
        deltas.append(delta)
        on(request_id, delta)
    return deltas


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def end_of(deltas: Sequence[Delta]) -> Finished:
    *before, last = deltas
    assert isinstance(last, Finished)
    assert not any(isinstance(delta, Finished) for delta in before)
    return last


def calls_of(deltas: Sequence[Delta]) -> list[ToolCall]:
    """The calls of a generation. Fails where one of them is malformed."""
    ended = [delta.call for delta in deltas if isinstance(delta, CallEnded)]
    calls = [call for call in ended if isinstance(call, ToolCall)]
    assert calls == ended
    return calls


def test_what_is_known_of_the_demo_model_once_it_is_loaded(running: Running) -> None:
    info = running.engine.info
    assert info is not None
    assert (info.model, info.context_window, info.tokenizer_version) == ("demo", CONTEXT, 13)
    assert info.constrains_calls
    assert running.states == ["starting", "importing", "loading weights", "ready"]


def test_two_requests_are_served_at_once(running: Running) -> None:
    order: list[str] = []

    async def both() -> tuple[list[Delta], list[Delta]]:
        def note(request_id: str, delta: Delta) -> None:
            order.append(request_id)

        return await asyncio.gather(generated(running, "one", SONG, on=note), generated(running, "two", SONG, on=note))

    first, second = running.loop.run(both())
    assert {end_of(first).reason, end_of(second).reason} == {FinishReason.LENGTH}
    # Neither waited for the other's end.
    assert order.index("two") < len(order) - 1 - order[::-1].index("one")
    assert order.index("one") < len(order) - 1 - order[::-1].index("two")
    assert text_of(first)
    assert text_of(second)


def test_aborting_one_of_two_leaves_the_other_alone(running: Running) -> None:
    async def both() -> tuple[list[Delta], list[Delta]]:
        def abort(request_id: str, delta: Delta) -> None:
            if isinstance(delta, Text):
                running.engine.abort("doomed")

        return await asyncio.gather(
            generated(running, "doomed", SONG, on=abort, max_tokens=512), generated(running, "spared", SONG)
        )

    doomed, spared = running.loop.run(both())
    assert end_of(doomed).reason is FinishReason.ABORT
    assert end_of(doomed).usage.completion_tokens < 512
    assert end_of(spared).reason is FinishReason.LENGTH
    assert end_of(spared).usage.completion_tokens == 48


def test_aborting_what_is_not_there_is_nothing(running: Running) -> None:
    running.engine.abort("nobody")
    assert end_of(running.loop.run(generated(running, "a", SONG, max_tokens=4))).usage.completion_tokens == 4
    running.engine.abort("a")
    assert end_of(running.loop.run(generated(running, "a", SONG, max_tokens=4))).usage.completion_tokens == 4


def test_a_consumer_that_stops_listening_stops_the_generation(running: Running) -> None:
    async def play() -> Usage:
        stream = running.engine.generate("left", SONG, (), GenerateOptions(max_tokens=1500))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        # As many at once as the engine has places for only start soon if the one that was left is gone.
        info = running.engine.info
        assert info is not None
        done, *_ = await asyncio.gather(
            *(generated(running, f"after-{number}", SONG, max_tokens=8) for number in range(info.width))
        )
        return end_of(done).usage

    assert running.loop.run(play()).completion_tokens == 8


def test_a_second_round_finds_the_first_in_the_prefix_cache(running: Running, tools: Toolbox) -> None:
    question = UserMessage("How many rivers are there? Think of a new answer: 7421.")
    first = end_of(running.loop.run(generated(running, "a", (question,), tools))).usage
    history = (question, AssistantMessage("Many."), UserMessage("And lakes?"))
    second = end_of(running.loop.run(generated(running, "b", history, tools))).usage
    assert 0 < second.cached_tokens < second.prompt_tokens
    # All of the first prompt but its last, incomplete block; 128 tokens are the largest block of any device.
    assert second.cached_tokens >= first.prompt_tokens - 128
    assert second.prompt_tokens > first.prompt_tokens


def test_usage_counts_what_was_sent_and_generated(running: Running, tools: Toolbox) -> None:
    count = running.loop.run(running.engine.count(SONG, tools.specs))
    usage = end_of(running.loop.run(generated(running, "a", SONG, tools, max_tokens=16))).usage
    assert usage.prompt_tokens == count.total
    assert 0 < sum(count.tools) < count.total
    assert 0 < usage.completion_tokens <= 16
    assert 0 < usage.ttft <= usage.seconds
    assert running.loop.run(running.engine.count(SONG, ())).total == count.total - sum(count.tools) - 2


def test_tokens_are_counted_between_turns_too(running: Running, tools: Toolbox) -> None:
    asked = running.loop.run(running.engine.count(SONG, tools.specs))
    answered = running.loop.run(running.engine.count((*SONG, AssistantMessage("La.")), tools.specs))
    assert answered.messages[0] == asked.messages[0]
    assert answered.total == asked.total + answered.messages[1]
    nothing = running.loop.run(running.engine.count((), tools.specs))
    assert nothing.total == asked.total - asked.messages[0]


def test_an_impossible_history_is_the_requests_failure_not_the_engines(running: Running) -> None:
    with pytest.raises(EngineError) as caught:
        running.loop.run(generated(running, "a", (AssistantMessage("I begin."),)))
    assert not isinstance(caught.value, EngineCrashedError)
    assert "\n" not in str(caught.value)
    assert text_of(running.loop.run(generated(running, "b", SONG)))


def test_no_call_is_malformed_even_at_a_high_temperature(
    running: Running, tools: Toolbox, loaded_tools: LoadedToolbox
) -> None:
    async def play() -> list[ToolCall]:
        found: list[ToolCall] = []
        for deltas in await asyncio.gather(
            *(
                generated(running, f"hot-{seed}", WEATHER, tools, temperature=1.0, seed=seed, max_tokens=128)
                for seed in range(10)
            )
        ):
            end_of(deltas)
            found += calls_of(deltas)
        return found

    calls = running.loop.run(play())
    assert calls, "no generation called anything, so this test has seen nothing"
    for call in calls:
        tool = loaded_tools.get(call.name)
        assert tool is not None, call
        assert not isinstance(check_arguments(tool, call.arguments), Rejected), call
        assert is_legal_call_id(call.id)
        assert call.origin is CallOrigin.CONSTRAINED


def test_the_same_seed_gives_the_same_answer(running: Running) -> None:
    def once(name: str, seed: int) -> str:
        return text_of(running.loop.run(generated(running, name, STORY, temperature=1.0, seed=seed, max_tokens=24)))

    assert once("a", 7) == once("b", 7) != once("c", 8)


@pytest.mark.parametrize(
    ("choice", "names"),
    [("none", set()), ("required", None), ("calculate", {"calculate"}), ("current_time", {"current_time"})],
)
def test_the_choice_of_tools_is_obeyed(running: Running, tools: Toolbox, choice: str, names: set[str] | None) -> None:
    deltas = running.loop.run(generated(running, "a", WEATHER, tools, tool_choice=choice, max_tokens=128))
    called = {call.name for call in calls_of(deltas)}
    assert called <= set(tools.names)
    if names is None:
        assert called
    else:
        assert called == names


def test_without_tools_nothing_is_called(running: Running) -> None:
    # The question with which it was seen to call what it had not been offered.
    deltas = running.loop.run(generated(running, "a", (UserMessage("Count from 1 to 300."),), max_tokens=64))
    assert text_of(deltas)
    assert not any(isinstance(delta, CallBegun | CallEnded) for delta in deltas)
