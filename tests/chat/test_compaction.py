from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from toolchat.chat.compaction import REQUEST, Summary, older_turns, summarise, summary_limit
from toolchat.chat.conversation import SUMMED_UP, Conversation, Turn
from toolchat.engine.base import ContextOverflowError, GenerateOptions
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.wire.deltas import FinishReason, TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import Image, ToolMessage, ToolResult, UserMessage

OPTIONS = GenerateOptions(max_tokens=512, tool_choice="required", response_schema={"type": "object"}, seed=5)


def chat(*sizes: int) -> Conversation:
    """Turns whose answers have so many characters."""
    conversation = Conversation("Be brief.")
    for number, size in enumerate(sizes, start=1):
        conversation.add_user(f"q{number}")
        conversation.add_answer("x" * size)
    return conversation


def counted(conversation: Conversation) -> TokenCount:
    sizes = tuple(len(message.content) for message in conversation.messages)
    return TokenCount(sum(sizes), (), sizes)


def older(conversation: Conversation) -> list[int]:
    return [turn.number for turn in older_turns(conversation.history, counted(conversation))]


def test_the_last_turns_stay_within_a_quarter_of_all() -> None:
    assert older(chat(100, 100, 100, 100, 100, 100, 100, 100)) == [1, 2, 3, 4, 5, 6]
    assert older(chat(10, 10, 10, 500)) == [1, 2, 3]
    assert older(chat(500, 10, 10, 10)) == [1]


@pytest.mark.parametrize("sizes", [(), (10,)])
def test_the_last_turn_is_never_summed_up(sizes: Sequence[int]) -> None:
    assert older(chat(*sizes)) == []


def test_turns_that_are_set_aside_are_summed_up_too() -> None:
    conversation = chat(10, 10, 10, 10)
    conversation.set_aside([1, 2, 3])
    assert older(conversation) == [1, 2, 3]


def test_turns_that_the_user_keeps_are_summed_up_last() -> None:
    conversation = chat(50, 50, 50, 50, 50)
    conversation.keep(2)
    assert older(conversation) == [1, 3, 4]
    conversation.summarise([1, 3, 4], "s")
    # A summary and a turn that stays are all there is before the last one.
    assert older(conversation) == []
    conversation.keep(2, False)
    assert older(conversation) == [6, 2]


def test_a_summary_takes_at_most_half_of_what_it_stands_for() -> None:
    assert summary_limit(1000, 8192, OPTIONS) == 500
    assert summary_limit(6000, 8192, OPTIONS) == 512
    assert summary_limit(6000, 2048, OPTIONS) == 256
    assert summary_limit(10, 8192, OPTIONS) == 64


def summed(engine: ScriptedEngine, turns: Sequence[Turn], words: str = "", system: str | None = "Be brief.") -> Summary:
    async def run() -> Summary:
        async for _ in engine.start():
            pass
        return await summarise(
            engine, "summary", turns, system=system, tools=(), options=OPTIONS, limit=50, words=words
        )

    return asyncio.run(run())


def test_the_model_is_asked_behind_the_turns_and_can_call_nothing() -> None:
    engine = ScriptedEngine([Answer([" They ", "spoke. "], thinking="Hm.")])
    conversation = chat(3, 3)
    assert summed(engine, conversation.history, "names of cities") == Summary(
        "They spoke.", Usage(prompt_tokens=engine.requests[0].prompt_tokens, completion_tokens=5), False
    )
    (request,) = engine.requests
    # It begins as the prompt of a turn does, for the prefix cache.
    assert request.messages[:-1] == conversation.messages
    assert request.messages[-1].content.startswith(REQUEST)
    assert "names of cities" in request.messages[-1].content
    assert (request.options.tool_choice, request.options.response_schema) == ("none", None)
    assert (request.options.max_tokens, request.options.reserve, request.options.seed) == (50, 50, 5)


def test_what_does_not_fit_at_once_is_summed_up_in_portions() -> None:
    engine = ScriptedEngine([Answer("One."), Answer("Two."), Answer("Three.")], context=700)
    conversation = chat(*[800] * 6)
    assert summed(engine, conversation.history).text == "Three."
    asked = [
        [one.content for one in request.messages[1:-1] if isinstance(one, UserMessage)] for request in engine.requests
    ]
    assert asked == [["q1", "q2"], [SUMMED_UP, "q3", "q4"], [SUMMED_UP, "q5", "q6"]]
    assert engine.requests[1].messages[2].content == "One."


def test_a_turn_that_is_too_long_alone_is_cut_in_its_longest_text_and_loses_its_images() -> None:
    conversation = Conversation()
    conversation.add_user("look", [Image("image/png", "AAAA", 1, 1)])
    item = call("read")
    conversation.add_calls("", [item])
    conversation.add_results([ToolResult(item.id, "read", "y" * 9000)])
    conversation.add_answer("done")
    engine = ScriptedEngine([Answer("Short.")], context=700)
    assert summed(engine, conversation.history, system=None).text == "Short."
    sent = engine.requests[0].messages
    assert sent[0] == UserMessage("look")
    assert isinstance(sent[2], ToolMessage)
    assert "characters are left out here" in sent[2].content
    assert sent[3].content == "done"


def test_a_context_that_something_else_fills_is_the_engines_error() -> None:
    engine = ScriptedEngine([Answer("Never.")], context=200)
    with pytest.raises(ContextOverflowError):
        summed(engine, chat(10, 10).history, system="long " * 400)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_summary_is_an_error(text: str) -> None:
    with pytest.raises(EngineError, match="the model gave no summary"):
        summed(ScriptedEngine([Answer(text)]), chat(3, 3).history)


def test_a_summary_that_the_limit_ended_says_so() -> None:
    assert summed(ScriptedEngine([Answer("Half", reason=FinishReason.LENGTH)]), chat(3, 3).history).cut_off


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            "It is 85 degrees. The user lives in Ulm. It is 85 degrees. It is 85",
            "It is 85 degrees. The user lives in Ulm.",
        ),
        ("- Ada, 3.5 kg\n- Tom\n- Ada, 3.5 kg\n- T", "- Ada, 3.5 kg\n- Tom"),
        ("One sentence that finds no end", "One sentence that finds no end"),
        ("Was it? Yes! Was it? Yes!", "Was it? Yes!"),
    ],
)
def test_a_summary_that_finds_no_end_says_everything_once(written: str, kept: str) -> None:
    cut = summed(ScriptedEngine([Answer(written, reason=FinishReason.LENGTH)]), chat(3, 3).history)
    assert (cut.text, cut.cut_off) == (kept, True)
    whole = summed(ScriptedEngine([Answer(written)]), chat(3, 3).history)
    assert (whole.text, whole.cut_off) == (written, False)


def test_cancelling_stops_the_generation() -> None:
    engine = ScriptedEngine([Answer(["a"] * 100, delay=0.01)])

    async def run() -> None:
        async for _ in engine.start():
            pass
        turns = chat(3, 3).history
        task = asyncio.create_task(
            summarise(engine, "summary-1", turns, system=None, tools=(), options=OPTIONS, limit=50)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(run())
    assert "summary-1" in engine._aborted
