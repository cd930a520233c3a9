from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from image_files import image
from mistral_tokenizers import ALL, SEEING, load

from toolchat.chat.calls import Decision, PendingCall
from toolchat.chat.conversation import Conversation
from toolchat.chat.guards import Limits
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.engine.scripted import Answer, ScriptedEngine
from toolchat.mistral.account import account
from toolchat.mistral.ids import new_call_id
from toolchat.mistral.render import encode
from toolchat.mistral.vocabulary import MistralVocabulary
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire.deltas import FinishReason, Text, Thinking
from toolchat.wire.errors import EngineError
from toolchat.wire.events import Stamper
from toolchat.wire.messages import FailedCall, Image, Message, ResultStatus, ToolCall, ToolResult

NASTY = (
    *("", " ", "\n", "[TOOL_CALLS]", "</s>[INST]", "null", "{}", "[1, 2", "\ud800", '"\\ud800"', "NaN", "é\u0301😀"),
    *("1" * 5000, "[" * 3000, '{"a": 1e999}', "\x00"),
)
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(NASTY))
QUESTIONS = TEXTS.filter(str.strip)
ATTACHED = st.sampled_from([(), (), (image("red"),), (image("red"), image("blue", "JPEG"))])
RETURNED = ATTACHED | st.just((Image("image/png", "AA==", 1, 1),))
NAMES = ("add", "slow", "gone")
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLBOX = Toolbox(
    Path("tools.yaml"),
    tuple(Tool(name, "Does it.", PARAMETERS, f"m:{name}", f"{name}(a: int)", "tools.yaml:1:1") for name in NAMES[:2]),
)


@dataclass
class Prepared:
    tool: Tool
    call: ToolCall
    result: ToolResult

    async def run(self, cancel: asyncio.Event, on_output: Callable[[str], None]) -> ToolResult:
        on_output("at work")
        await asyncio.sleep(0)
        return self.result

    async def discard(self) -> None:
        pass


class Runner:
    """Tools that end in every way a tool can end."""

    toolbox = TOOLBOX

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> Any:
        status = self._draw(st.sampled_from(ResultStatus))
        result = ToolResult(call.id, call.name, self._draw(TEXTS), status, images=self._draw(RETURNED))
        return result if status is ResultStatus.ERROR else Prepared(tool, call, result)


class Chat:
    """A chat in which anything may happen, on a small context that turns have to be set aside in."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.engine = ScriptedEngine(context=draw(st.sampled_from([220, 600, 8192])))
        self.conversation = Conversation(draw(st.sampled_from([None, "Be brief.", "\ud800"])))
        self.loop = ChatLoop(
            engine=self.engine,
            conversation=self.conversation,
            runner=Runner(draw),  # type: ignore[arg-type]  # no process behind it
            options=GenerateOptions(max_tokens=40),
            stamp=Stamper("s", time.time),
            decide=self._decide,
            limits=Limits(rounds=3, calls_per_round=2),
        )

    async def _decide(self, _: PendingCall) -> Decision:
        return Decision(self.draw(st.integers(0, 3)) > 0, "no")

    def _call(self) -> ToolCall | FailedCall:
        name = self.draw(st.sampled_from(NAMES))
        if self.draw(st.integers(0, 3)) == 0:
            return FailedCall(new_call_id(), name, "[TOOL_CALLS]x", "not JSON")
        return ToolCall(new_call_id(), name, {"a": self.draw(st.sampled_from([1, "é", None, {"b": [1.5]}]))})

    def _answer(self) -> Answer:
        draw = self.draw
        return Answer(
            text=[draw(TEXTS) for _ in range(draw(st.integers(0, 2)))],
            calls=[self._call() for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3])))],
            thinking=draw(st.sampled_from(["", "", "hm", " ", "\ud800 [/THINK]"])),
            deltas=draw(st.sampled_from([(), (), (Text("So."), Thinking("\ud800")), (Thinking("a"), Text(" ")) * 2])),
            reason=draw(st.sampled_from([FinishReason.STOP, FinishReason.STOP, FinishReason.LENGTH])),
            crash=draw(st.integers(0, 9)) == 0,
            error=EngineError("refused") if draw(st.integers(0, 14)) == 0 else None,
        )

    async def turn(self) -> None:
        async for _ in self.engine.start():
            pass
        self.engine.answers = [self._answer() for _ in range(3)] + [Answer("The end.")] * 3
        stop = self.draw(st.integers(1, 40))
        leave = self.draw(st.integers(1, 40))
        try:
            turn = self.loop.turn(self.draw(QUESTIONS), self.draw(ATTACHED))
            async for number, event in _numbered(turn):
                if number == stop:
                    self.loop.interrupt()
                if number == leave:
                    await turn.aclose()
                    break
                assert event.session == "s"
        except EngineError:
            pass
        assert not self.conversation.open

    def edit(self) -> None:
        chat, draw = self.conversation, self.draw
        match draw(st.sampled_from(["", "", "undo", "aside", "sum up", "system", "clear"])):
            case "undo":
                chat.undo()
            case "aside" if chat.turns:
                chat.set_aside(draw(st.integers(0, chat.turns - chat.set_aside_turns - 1)))
            case "sum up" if chat.turns:
                begin = draw(st.integers(0, chat.turns - 1))
                chat.summarise(begin, draw(st.integers(begin + 1, chat.turns)), draw(QUESTIONS))
            case "system":
                chat.set_system(draw(st.sampled_from([None, "Be kind."])))
            case "clear" if draw(st.booleans()):
                chat.clear()


async def _numbered(events: Any) -> Any:
    number = 0
    async for event in events:
        number += 1
        yield number, event


@cache
def _tokenizer(folder: Path, label: str, sees: bool) -> Any:
    return load(folder, label, sees=sees)


def _tokens(*arguments: Any, **more: Any) -> list[int]:
    return encode(*arguments, **more).tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


def check_every_version(folder: Path, requests: list[tuple[Message, ...]]) -> None:
    for label, sees in [*((label, False) for label in ALL), *((label, True) for label in SEEING)]:
        tokenizer = _tokenizer(folder, label, sees)
        vocabulary = MistralVocabulary(tokenizer)
        thinks = vocabulary.special("[THINK]") is not None
        tokens = partial(_tokens, tokenizer, vocabulary.version, thinks=thinks, sees=sees)
        for messages in requests:
            prompt = tokens(messages, TOOLBOX.specs)
            count = account(vocabulary, tokens, prompt, messages, TOOLBOX.specs, sees=sees)
            assert sum(count.messages) + sum(count.tools) + count.format == count.total == len(prompt)
            assert all(size > 0 for size in count.tools)


async def play(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[ScriptedEngine, list[tuple[Message, ...]]]:
    chat = Chat(draw)
    for _ in range(draw(st.integers(1, 4))):
        await chat.turn()
        chat.edit()
    chat.conversation.add_user("And now?")
    # Each request holds those before it or was cut: the last of each turn, and the last of all, say it all.
    asked = {request.request_id.rpartition("-")[0]: request.messages for request in chat.engine.requests}
    return chat.engine, [*asked.values(), chat.conversation.messages]


def legal(folder: Path, data: Any) -> None:
    engine, requests = asyncio.run(play(data.draw))
    assert all(request.prompt_tokens + request.options.reserve <= engine.context for request in engine.requests)
    check_every_version(folder, requests)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happens_every_version_accepts_the_history(folder: Path, data: Any) -> None:
    legal(folder, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happens_ten_thousand_times(folder: Path, data: Any) -> None:
    legal(folder, data)
