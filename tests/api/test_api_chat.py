from __future__ import annotations

import base64
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from image_files import image_file
from pydantic import BaseModel

from toolchat import AnswerError, Call, CallRequest, Chat, EngineError, ToolchatError, UsageError, events
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.wire.deltas import FinishReason
from toolchat.wire.events import TurnStatus


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def local(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one of a notebook: no process could import it."""
    function.__module__ = "__main__"
    return function


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


def two_calls(engine: ScriptedEngine, name: str = "add", **arguments: object) -> None:
    """Have the model ask for one call, and then answer."""
    engine.enqueue(Answer("", [call(name, **(arguments or {"a": 1, "b": 2}))]), "done")


def test_an_answer_has_text_calls_thinking_usage_and_how_it_ended(engine: ScriptedEngine) -> None:
    @local
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    engine.enqueue(Answer("", [call("add", a=1, b=2)], thinking="Hm."), "It is 3.")
    with Chat(tools=[add], approve="allow", engine=engine) as chat:
        assert chat.tools == ("add",)
        answer = chat.ask("How much is 1 + 2?")
    assert (answer.text, answer.thinking, answer.status) == ("It is 3.", "Hm.", TurnStatus.ANSWERED)
    (made,) = answer.calls
    assert made == Call("add", {"a": 1, "b": 2}, "3", "ok", made.seconds, "parsed")
    assert answer.usage.completion_tokens == 10
    assert answer.usage.prompt_tokens > 0
    assert not answer.declined
    assert chat.last is answer
    assert str(answer) == "It is 3."


def test_questions_of_one_chat_are_one_conversation(engine: ScriptedEngine) -> None:
    engine.enqueue("one", "two")
    chat = Chat(engine=engine, system="Be brief.")
    assert [chat.ask("a").text, chat.ask("b").text] == ["one", "two"]
    chat.close()
    assert [message.content for message in engine.requests[1].messages] == ["Be brief.", "a", "one", "b"]
    assert engine.closed


@pytest.mark.parametrize("approve", [None, "deny", lambda _: False])
def test_nothing_runs_that_was_not_agreed_to(
    engine: ScriptedEngine, approve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @local
    def act() -> str:
        """Do something."""
        ran.append(1)
        return "done"

    engine.enqueue(Answer("", [call("act")]), "I may not.", Answer("", [call("act")]), "Still not.")
    with Chat(tools=[act], approve=approve, engine=engine) as chat:
        answer = chat.ask("Do it.")
        chat.ask("Do it now.")
    assert not ran
    assert answer.declined
    assert answer.calls[0].status == "denied"
    told = [record.message for record in caplog.records if "act did not run" in record.message]
    assert len(told) == (approve is None), "it is said once, and only where nobody has decided"
    if told:
        assert "approve=" in told[0]


@pytest.mark.process
def test_deny_also_declines_what_a_tools_file_allows(engine: ScriptedEngine, tmp_path: Path) -> None:
    file = tmp_path / "tools.yaml"
    file.write_text(
        "version: 1\ntools:\n- callable: toolchat.samples.calculator:calculate\n  name: sum\n  approval: allow\n"
    )
    for approve, status in ((None, "ok"), ("deny", "denied")):
        engine.enqueue(Answer("", [call("sum", expression="1+2")]), "ok")
        with Chat(tools=[str(file)], approve=approve, engine=engine) as chat:
            assert chat.ask("x").calls[0].status == status


def test_approve_is_asked_in_the_thread_of_whoever_asks(engine: ScriptedEngine) -> None:
    asked: list[tuple[CallRequest, int]] = []

    def approve(request: CallRequest) -> bool:
        asked.append((request, threading.get_ident()))
        return request.arguments["a"] == 1

    engine.enqueue(Answer("", [call("add", a=1, b=2), call("add", a=5, b="\x1b[2J")]), "done")

    @local
    def add(a: int, b: Any) -> str:
        """Add two numbers."""
        return "ran"

    with Chat(tools=[add], approve=approve, engine=engine) as chat:
        answer = chat.ask("x")
    assert [made.status for made in answer.calls] == ["ok", "denied"]
    assert {thread for _, thread in asked} == {threading.get_ident()}
    assert asked[0][0].description == "Add two numbers."
    assert "\x1b" not in str(asked[1][0])


def test_what_approve_does_to_a_request_changes_neither_what_runs_nor_what_is_told(engine: ScriptedEngine) -> None:
    ran: list[Any] = []

    @local
    def act(paths: Any) -> str:
        """Do something."""
        paths.append("own")
        ran.append(list(paths))
        return "ran"

    def approve(request: CallRequest) -> bool:
        request.arguments["paths"].clear()
        request.arguments["paths"] = ["safe"]
        return True

    engine.enqueue(Answer("", [call("act", paths=["/etc"])]), "done")
    with Chat(tools=[act], approve=approve, engine=engine) as chat:
        answer = chat.ask("x")
    assert ran == [["/etc", "own"]]
    assert answer.calls[0].arguments == {"paths": ["/etc"]}


@pytest.mark.process
def test_deny_lets_no_rule_allow_a_call(engine: ScriptedEngine, tmp_path: Path) -> None:
    file = tmp_path / "tools.yaml"
    file.write_text(
        "version: 1\ntools:\n- callable: toolchat.samples.calculator:calculate\n"
        "  approval: {allow: {expression: '*'}}\n"
    )
    for approve, status in ((None, "ok"), ("deny", "denied")):
        engine.enqueue(Answer("", [call("calculate", expression="1+2")]), "ok")
        with Chat(tools=[str(file)], approve=approve, engine=engine) as chat:
            assert chat.ask("x").calls[0].status == status


@pytest.mark.parametrize("given", ["no", 1, None])
def test_what_is_neither_true_nor_false_agrees_to_nothing(engine: ScriptedEngine, given: Any) -> None:
    ran = []

    @local
    def act() -> None:
        """Do something."""
        ran.append(1)

    engine.enqueue(Answer("", [call("act")]), "Hello again.")
    with Chat(tools=[act], approve=lambda _: given, engine=engine) as chat:
        with pytest.raises(UsageError, match="expected True or False"):
            chat.ask("x")
        assert not ran
        assert chat.last is not None
        assert chat.last.status is TurnStatus.INTERRUPTED
        assert chat.ask("y").text == "Hello again."


def test_an_error_of_approve_ends_the_turn_and_comes_out_of_ask(engine: ScriptedEngine) -> None:
    class MineError(Exception):
        pass

    def approve(_: CallRequest) -> bool:
        raise MineError

    two_calls(engine)
    with Chat(tools=[make_add()], approve=approve, engine=engine) as chat:
        with pytest.raises(MineError):
            chat.ask("x")
        engine.answers = [Answer("fine")]
        assert chat.ask("y").text == "fine"


def make_add() -> Callable[..., Any]:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return add


def test_a_stream_yields_the_events_and_has_the_answer_at_its_end(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer(["Hel", "lo"]))
    with Chat(engine=engine) as chat:
        stream = chat.stream("Hi")
        with pytest.raises(UsageError, match="to its end"):
            _ = stream.answer
        bodies = [event.body for event in stream]
    texts = [body.text for body in bodies if isinstance(body, events.TextDelta)]
    assert "".join(texts) == "Hello" == stream.answer.text
    assert isinstance(bodies[-1], events.TurnFinished)
    assert list(stream) == []


@pytest.mark.parametrize("how", ["close", "next question", "forgotten"])
def test_a_stream_that_is_left_early_stops_the_answer(engine: ScriptedEngine, how: str) -> None:
    engine.enqueue(Answer(["word "] * 500, delay=0.01), "next")
    with Chat(engine=engine) as chat:
        stream = chat.stream("Talk.")
        for event in stream:
            if isinstance(event.body, events.TextDelta):
                break
        if how == "close":
            stream.close()
            assert stream.answer.status is TurnStatus.INTERRUPTED
            assert stream.answer.text.startswith("word")
        elif how == "forgotten":
            del stream
        assert chat.ask("And?").text == "next"
    contents = [message.content for message in engine.requests[1].messages]
    assert contents[0] == "Talk."
    assert contents[-1] == "And?"
    assert len(contents[1].split()) < 500


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer(["word "] * 2000, delay=0.01), "next")
    with Chat(engine=engine) as chat:
        main = threading.get_ident()
        threading.Thread(target=lambda: when(lambda: engine.requests, signal.pthread_kill, main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            chat.ask("Talk.")
        assert chat.last is not None
        assert chat.last.status is TurnStatus.INTERRUPTED
        assert chat.ask("And?").text == "next"


def test_another_thread_can_interrupt_and_gets_what_there_is(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer(["word "] * 2000, delay=0.01))
    chat = Chat(engine=engine)

    begun = threading.Event()
    answers: list[Any] = []

    def ask() -> None:
        for event in (stream := chat.stream("Talk.")):
            if isinstance(event.body, events.TextDelta):
                begun.set()
        answers.append(stream.answer)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(30)
    chat.interrupt()
    thread.join(30)
    chat.close()
    assert answers[0].status is TurnStatus.INTERRUPTED


def test_questions_of_several_threads_are_answered_one_after_the_other(engine: ScriptedEngine) -> None:
    engine.enqueue(*(Answer([f"{number}", "!"], delay=0.005) for number in range(8)))
    with Chat(engine=engine) as chat:
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(chat.ask("x").text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(answers) == [f"{number}!" for number in range(8)]
    assert len(engine.requests[-1].messages) == 15


def when(ready: Callable[[], Any], do: Callable[..., Any], *arguments: Any) -> None:
    """Wait until `ready` says so, and then do something."""
    until = time.monotonic() + 30
    while not ready() and time.monotonic() < until:
        time.sleep(0.005)
    do(*arguments)


class City(BaseModel):
    name: str
    people: int


@dataclass
class Town:
    name: str


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (City, '{"name": "Bonn", "people": 335000}', City(name="Bonn", people=335000)),
        (Town, '{"name": "Bonn"}', Town("Bonn")),
        (list[int], "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_schema_holds_the_answer_and_gives_a_value_of_it(
    engine: ScriptedEngine, schema: Any, text: str, value: Any
) -> None:
    engine.enqueue(text)
    with Chat(engine=engine) as chat:
        assert chat.ask("Which?", schema=schema) == value
        assert chat.last is not None
        assert chat.last.text == text
    held = engine.requests[0].options.response_schema
    assert held is not None
    assert held["type"] == ("array" if schema == list[int] else "object")


def test_an_answer_that_is_not_of_the_schema_is_an_error_with_the_answer(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer('{"name": "Bo', reason=FinishReason.LENGTH), '{"name": 3, "people": "x"}', "Bonn")
    with Chat(engine=engine) as chat:
        with pytest.raises(AnswerError, match="cut off at max_tokens") as caught:
            chat.ask("Which?", schema=City)
        assert caught.value.answer.text == '{"name": "Bo'
        with pytest.raises(AnswerError, match="name: Input should be a valid string"):
            chat.ask("Which?", schema=City)
        with pytest.raises(AnswerError):
            chat.ask("Which?", schema={"type": "object"})


def test_images_are_paths_bytes_and_pictures(engine: ScriptedEngine, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(image_file(size=(3, 2)))
    with Chat(engine=engine) as chat:
        with pytest.raises(UsageError, match=r"^images: the model .* cannot see"):
            chat.ask("What?", images=[file])
        with pytest.raises(UsageError, match=r"images\[0\]: expected a path"):
            chat.ask("What?", images=[3])
        with pytest.raises(UsageError, match="no such file"):
            chat.ask("What?", images=[tmp_path / "none.png"])

    class Seeing(ScriptedEngine):
        async def start(self) -> Any:
            async for state in super().start():
                if self.info is not None:
                    self.info = replace(self.info, supports_images=True)
                yield state

    seeing = Seeing()
    seeing.enqueue("Two.")
    with Chat(engine=seeing) as chat:
        assert chat.ask("What?", images=[str(file), image_file(size=(5, 4))]).text == "Two."
    (message,) = seeing.requests[0].messages
    assert [(image.width, image.height) for image in message.images] == [(3, 2), (5, 4)]  # type: ignore[union-attr]
    assert base64.b64decode(message.images[0].data) == file.read_bytes()  # type: ignore[union-attr]


def test_an_engine_that_dies_is_an_error_and_is_started_again(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer("Well,", crash=True), "Here I am.")
    with Chat(engine=engine) as chat:
        with pytest.raises(EngineError, match="failed while it answered: the engine's process ended"):
            chat.ask("a")
        assert chat.last is not None
        assert chat.last.text == "Well,"
        assert chat.ask("b").text == "Here I am."
    assert engine.starts == 2


def test_an_engine_that_cannot_start_is_an_error_of_each_question() -> None:
    class Broken(ScriptedEngine):
        async def start(self) -> Any:
            raise EngineError("no memory")
            yield

    with Chat(engine=Broken()) as chat:
        for _ in range(2):
            with pytest.raises(EngineError, match="no memory"):
                chat.ask("a")


def test_a_question_that_the_engine_refuses_leaves_the_conversation_as_it_was(engine: ScriptedEngine) -> None:
    engine.enqueue("short")
    with Chat(engine=engine) as chat:
        with pytest.raises(EngineError):
            chat.ask("x" * 100_000)
        assert chat.ask("y").text == "short"
    assert [message.content for message in engine.requests[0].messages] == ["y"]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Chat(tempratur=1), TypeError, "did you mean temperature?"),  # type: ignore[call-arg]
        (lambda: Chat(tools="tools.yaml"), UsageError, r"write tools=\["),
        (lambda: Chat(tools=add), UsageError, r"write tools=\["),  # type: ignore[arg-type]
        (lambda: Chat(approve="yes"), UsageError, "approve: expected"),  # type: ignore[arg-type]
        (lambda: Chat(temperature=9, engine=ScriptedEngine()).ask("x"), UsageError, "^temperature: expected a number"),
        (lambda: Chat(engine=ScriptedEngine(), tools=["no.yaml"]).ask("x"), UsageError, r"^tools\[0\]: no.yaml: no su"),
        (lambda: Chat(engine=ScriptedEngine(), tools=[3]).ask("x"), UsageError, r"^tools\[0\]: expected a function"),  # type: ignore[list-item]
        (lambda: Chat(engine=ScriptedEngine(), tool_choice="x").ask("y"), UsageError, "^tool_choice x: there are no"),
        (lambda: Chat(engine=ScriptedEngine()).ask(3), UsageError, "as a text"),  # type: ignore[call-overload]
        (lambda: Chat(engine=ScriptedEngine()).ask("x", images="a.png"), UsageError, r"write images=\["),
        (lambda: Chat(engine=ScriptedEngine()).ask("x", schema=3), UsageError, "schema: expected"),  # type: ignore[call-overload]
        (lambda: Chat.resume("none", engine=ScriptedEngine()).ask("x"), ToolchatError, "no session"),
        (lambda: Chat.resume(store=False, engine=ScriptedEngine()).ask("x"), UsageError, "store is false"),
        (lambda: Chat(store=False, engine=ScriptedEngine()).save("x"), UsageError, "store=False"),
    ],
)
def test_what_makes_no_sense_is_one_line_in_the_words_of_the_api(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        make()
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_chat_says_so_and_closing_twice_is_nothing(engine: ScriptedEngine) -> None:
    chat = Chat(engine=engine)
    with chat:
        assert "(open)" in repr(chat)
    chat.close()
    assert "(closed)" in repr(chat)
    for use in (lambda: chat.ask("x"), lambda: chat.save("y"), chat.__enter__):
        with pytest.raises(UsageError, match="is closed"):
            use()
    Chat(engine=engine).close()


def test_a_chat_that_is_closed_while_it_answers_ends_the_question(engine: ScriptedEngine) -> None:
    engine.enqueue(Answer(["word "] * 2000, delay=0.01))
    chat = Chat(engine=engine)
    errors: list[BaseException] = []
    begun = threading.Event()

    def ask() -> None:
        try:
            for event in chat.stream("Talk."):
                if isinstance(event.body, events.TextDelta):
                    begun.set()
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(30)
    chat.close()
    thread.join(30)
    assert ["the chat is closed" in str(error) for error in errors] == [True]
    assert engine.closed


def test_a_chat_that_nobody_has_any_more_is_closed(engine: ScriptedEngine) -> None:
    engine.enqueue("x")
    chat = Chat(engine=engine)
    chat.ask("a")
    thread = chat._thread
    assert thread is not None
    del chat
    thread.closed.result(30)
    assert engine.closed


def test_a_saved_session_is_resumed_with_its_conversation(engine: ScriptedEngine) -> None:
    engine.enqueue("one")
    with Chat(engine=engine) as chat:
        chat.ask("a")
        chat.save("mine")
        id_ = chat.session
    contents = ["a", "one"]
    for key, answer in (("mine", "two"), ("last", "three"), (id_, "four")):
        other = ScriptedEngine()
        other.enqueue(answer)
        with Chat.resume(key, engine=other) as chat:
            assert chat.session == id_
            assert chat.ask("and?").text == answer
        assert [message.content for message in other.requests[0].messages] == [*contents, "and?"]
        contents += ["and?", answer]


def test_notices_beside_a_turn_go_to_the_logger_and_those_of_a_turn_to_the_answer(
    engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.enqueue(Answer("cut", reason=FinishReason.LENGTH))
    with caplog.at_level(logging.INFO, "toolchat"), Chat(tools=[make_add()], engine=engine) as chat:
        answer = chat.ask("a")
    assert answer.status is TurnStatus.TRUNCATED
    assert "max_tokens allows more" in answer.notices[0]
    records = {record.message: record.levelname for record in caplog.records}
    assert records["ready"] == "INFO"
    (told,) = (text for text, level in records.items() if level == "WARNING")
    assert told.startswith("add runs in a thread of this program")
    assert "defined within another function" in told
