"""A hostile server: whatever it does, each call has a result, each line says what is wrong, and nothing outlives it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage
from mcp_bench import McpBench, hostile, start, write_servers

from toolchat.tools.mcp.elicitation import Elicitation, Elicited, asked_for, first_answer
from toolchat.tools.mcp.stdio import StdioServer
from toolchat.wire.messages import CutResult, ResultStatus

pytestmark = pytest.mark.process

BEGINNINGS = {
    "dies_at_once": r"exit code 1: Traceback: no module named x",
    "hangs_at_once": r"did not answer within 2 seconds",
    "prints_only": r"did not answer within 2 seconds .*hello",
    "binary": r"did not answer within 2 seconds",
    "forks": r"did not answer within 2 seconds",
    "hangs_at_initialize": r"did not answer within 2 seconds",
    "dies_at_initialize": r"exit code 4",
    "refuses_initialize": r"I do not like you at all",
    "old_protocol": r"protocol",
    "initialize_is_list": r"what the protocol does not know|valid",
    "initialize_is_empty": r"what the protocol does not know|valid",
    "dies_after_initialize": r"exit code 5",
    "hangs_at_list": r"did not answer within 2 seconds",
    "dies_at_list": r"exit code 6",
    "refuses_list": r"no list",
    "list_is_text": r"what the protocol does not know|valid",
    "tools_are_numbers": r"what the protocol does not know|valid",
    "schema_is_array": r"what the protocol does not know \(.*type",
    "nameless_tool": r"what the protocol does not know|valid",
    "half_a_message": r"^exit code 3$",
    "closes_input": r"^it closed its standard input$",
    "stops": r"did not answer within 2 seconds",
    "echoes": r"^Method not found$",
    "floods_requests": r"did not answer within 2 seconds",
    "refuses_at_length": r"^no (no ?){100,200}$",
    "insists": r"^it answered with what the protocol does not know$",
    "cursor_is_number": r"what the protocol does not know \(nextCursor: ",
    "hints_are_text": r"what the protocol does not know \(tools.0.annotations: ",
    "required_is_text": r"what the protocol does not know \(tools.0.inputSchema.required: ",
}
"""What a server does before it is ready, and what the line says of it."""
READY = {
    "dies_at_discover": {"ok"},
    "silent_at_discover": {"ok"},
    "no_tools": set(),
    "ignores_term": {"ok"},
    "twice": {"same"},
    "lies": {"delete_all"},
    "odd_texts": {"escapes"},
    "long_texts": {"long"},
    "odd_schemas": {
        *("no_schema_type", "deep", "elsewhere", "bad_pattern", "circle", "wordy", "draft"),
    },
    **{word: {"ok"} for word in ("batches", "crlf", "bom", "blank_lines", "ids_are_text", "daemonizes", "meta_flood")},
    **{word: {"ok"} for word in ("asks_first", "initializes_twice", "same_cursor", "odd_prompts")},
    **{word: {"ok"} for word in ("prompts_are_text", "hangs_at_prompts", "hangs_at_resources", "odd_resources")},
    "schema_bomb": {"bomb"},
    "odd_properties": {"odd"},
    "odd_required": {"impossible"},
}
"""What servers that are ready, odd as they are, offer."""
LISTINGS = ("many_tools", "endless_pages", "odd_names")
HANGING = ("hang_call", "ignore_cancel", "drip", "answers_nobody")


@pytest.fixture(scope="module")
def beginnings(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpBench]:
    # Those that answer have time, on a machine that is busy.
    seconds = {word: 2 if "did not answer" in why else 30 for word, why in BEGINNINGS.items()}
    servers = {word: hostile(word, start_timeout=seconds[word]) for word in BEGINNINGS}
    servers |= {word: hostile(word, prefix=f"{word}__") for word in (*READY, *LISTINGS)}
    servers["calls"] = hostile("calls", prefix="c_", timeout=20, tools={key: {"timeout": 0.4} for key in HANGING})
    servers |= {"bystander": hostile("plain", prefix="p_"), "deaf": hostile("plain", timeout=0.4)}
    servers["missing"] = {"command": ["no-such-program-anywhere"]}
    servers["unset"] = {"command": ["true"], "env": {"A": "${NO_SUCH_VARIABLE}"}}
    bench = start(loop, write_servers(tmp_path_factory.mktemp("beginnings"), servers))
    yield bench
    loop.run(bench.runner.close())


@pytest.mark.parametrize("word", BEGINNINGS)
def test_a_server_that_fails_is_told_in_one_line(beginnings: McpBench, word: str) -> None:
    state = beginnings.state(word)
    assert (state.state, state.tools) == ("failed", ())
    assert re.search(BEGINNINGS[word], state.why), state.why
    assert "\n" not in state.line


@pytest.mark.parametrize("word", READY)
def test_a_server_that_is_odd_is_used_as_far_as_it_can_be(beginnings: McpBench, word: str) -> None:
    state = beginnings.state(word)
    assert (state.state, state.why) == ("ready", "")
    assert {name.partition("__")[2] for name in beginnings.names(word)} == READY[word]


def test_no_more_tools_are_taken_than_anybody_can_use(beginnings: McpBench) -> None:
    assert len(beginnings.names("many_tools")) == 512
    assert any("more than 512 tools" in note for note in beginnings.state("many_tools").notes)
    assert len(beginnings.names("endless_pages")) == 64
    assert beginnings.state("same_cursor").notes == ("ok: is listed twice, and the first is taken",)


def test_prompts_that_can_be_typed_are_taken_and_not_too_many(beginnings: McpBench) -> None:
    names = beginnings.state("odd_prompts").prompts
    assert {"/quit", "../x", "fine", "p0"} <= set(names)
    assert len(names) <= 512
    assert all(re.fullmatch(r"[a-zA-Z0-9_./-]{1,80}", name) for name in names)
    assert not beginnings.state("prompts_are_text").prompts


def test_resources_that_can_be_typed_are_offered_and_not_too_many(beginnings: McpBench) -> None:
    found = beginnings.state("odd_resources").resources
    assert {"x://fine", "x://0", "x://by/"} <= set(found)
    assert len(found) <= 513
    assert all(re.fullmatch(r"[!-~]{1,500}", uri) for uri in found)
    assert max(map(len, found.values())) <= 100
    assert list(beginnings.state("hangs_at_resources").resources) == ["x://by/"]


def test_what_a_tool_has_beside_its_schema_goes_nowhere(beginnings: McpBench) -> None:
    (tool,) = beginnings.state("meta_flood").tools
    assert len(repr(tool)) < 2000


def test_a_schema_that_doubles_at_each_level_checks_a_call_all_the_same(beginnings: McpBench) -> None:
    said = beginnings.call("schema_bomb__bomb", a="x")
    assert said.result.content == 'Error: a must be array (got "x")'
    nested: object = "x"
    for _ in range(30):
        nested = [nested, nested]
        if len(str(nested)) > 1000:
            break
    assert beginnings.call("schema_bomb__bomb", a=nested).result.seconds < 5
    assert beginnings.call("odd_required__impossible", a=1).result.content == 'Error: missing argument "b"'


def test_names_are_legal_and_unique(beginnings: McpBench) -> None:
    names = beginnings.runner.toolbox.names
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    assert len(names) == len(set(names))
    assert len(beginnings.names("odd_names")) == 9


def test_texts_of_strangers_are_bounded_and_can_be_encoded(beginnings: McpBench) -> None:
    for tool in beginnings.runner.toolbox.tools:
        assert len(tool.description) <= 2048
        tool.description.encode()
        assert "\0" not in tool.description


def test_a_schema_that_a_prompt_cannot_hold_is_left_out_and_said(beginnings: McpBench) -> None:
    notes = "\n".join(beginnings.state("odd_schemas").notes)
    for name, why in (
        ("no_schema_type", "is no JSON Schema"),
        ("deep", "nested deeper"),
        ("elsewhere", "refers to another document"),
        ("bad_pattern", "is no JSON Schema"),
        ("huge", "has more than 32 KiB"),
        ("wordy", "descriptions of its parameters are left out"),
    ):
        assert re.search(f"{name}: .*{why}", notes), notes


def test_a_hint_of_a_server_is_said_and_changes_nothing(beginnings: McpBench) -> None:
    (tool,) = beginnings.state("lies").tools
    assert tool.options.approval == "ask"
    assert any("nobody has checked, that it only reads" in remark for remark in tool.remarks)


def test_a_program_or_a_variable_that_is_missing_is_said(beginnings: McpBench) -> None:
    assert 'there is no program "no-such-program-anywhere"' in beginnings.state("missing").why
    assert "needs the variable NO_SUCH_VARIABLE" in beginnings.state("unset").why


OK, ERROR = ResultStatus.OK, ResultStatus.ERROR
RESULTS = {
    "error": (ERROR, "^Error: no \x1b\\[31mway$"),
    "is_error": (ERROR, "^Error: it went wrong$"),
    "no_content": (ERROR, "protocol does not know"),
    "text_content": (ERROR, "protocol does not know"),
    "unknown_block": (ERROR, "protocol does not know"),
    "escapes": (OK, r"^\x1b\[2J"),
    "nul": (OK, "^a␀b$"),
    "bad_image": (OK, "an image whose base64 is broken"),
    "audio": (OK, r"^\[audio \(audio/wav, 4 bytes\), kept in .*\.wav\]$"),
    "blob": (OK, r"\[resource x://1\]\n\[a file \(application/pdf, 5 bytes\), kept in .*\.pdf\]$"),
    "svg": (OK, r"an image of a kind that is not shown \(image/svg\+xml"),
    "link": (OK, r"^\[a resource: file:///a.txt \(a, text/plain\)\]$"),
    "embedded": (OK, r"^\[resource x://2\]\nwithin$"),
    "structured": (OK, r'^\{"a": 1\}$'),
    "both": (OK, r'^in words\n\{"a": 1\}$'),
    "only_structured": (OK, r'^\{"a": 1\}$'),
    "wrong_structured": (OK, "^fine\n"),
    "malformed": (OK, "^after noise$"),
    "wrong_id": (OK, "^mine$"),
    "twice": (OK, "^first$"),
    "noise": (OK, "^quiet$"),
    "progress_backwards": (OK, "^done$"),
    "stderr": (OK, "^done$"),
    "sampling": (OK, "does not let servers use its model"),
    "roots": (OK, "^file:///"),
    "ask": (OK, '"action": "decline"'),
    "ask_url": (OK, '"action": "decline"'),
    "ask_nonsense": (OK, "refused"),
    "unknown_request": (OK, "^-32601$"),
    "ping": (OK, r"^\{\}$"),
    "empty": (OK, r"^\(no result\)$"),
    "images": (OK, r"^\[image 1\]\n(.*\n)*\[an image more than the \d+"),
    "duplicate_keys": (OK, "^x$"),
    "both_ways": (ERROR, "^Error: and yet it failed$"),
    "code_is_text": (ERROR, "protocol does not know"),
    "long_error": (ERROR, "^Error: (very wrong ?){20,50}"),
    "many_blocks": (OK, "^0\n1\n2\n(.*\n)*4999$"),
    "image_bomb": (OK, r"^\[an image that cannot be shown: .*60000×60000, .* that Pillow does not open\]$"),
    "image_is_text": (OK, r"an image of a kind that is not shown \(image/png, 5 bytes\), kept in .*/\w{16}.bin"),
    "mime_is_path": (OK, r"\(../../../etc/passwd, 5 bytes\), kept in .*/mcp-files/\w{16}.bin\]$"),
    "drip": (ResultStatus.TIMEOUT, "did not answer within 0.4 seconds"),
    "answers_nobody": (ResultStatus.TIMEOUT, "did not answer within 0.4 seconds"),
    "cancels_mine": (OK, "^done$"),
    "answers_ahead": (OK, "^done$"),
    "same_id": (OK, "^done$"),
    "unknown_notices": (OK, "^done$"),
    "changes_of_all": (OK, "^done$"),
    "foreign_progress": (OK, "^done$"),
    "late_progress": (OK, "^done$"),
    "descriptors": (OK, r"^\[\]$"),
    "terminal": (OK, "^(OSError|FileNotFoundError)$"),
}
"""What calls come to that are answered in odd ways."""


@pytest.fixture(scope="module")
def calls(beginnings: McpBench) -> McpBench:
    return beginnings


@pytest.mark.parametrize("word", RESULTS)
def test_an_odd_answer_is_a_result(calls: McpBench, word: str) -> None:
    status, pattern = RESULTS[word]
    result = calls.call(f"c_{word}").result
    assert result.status is status, result
    assert re.search(pattern, result.content), result.content
    assert len(result.content) < 300_000
    assert calls.call("c_good", n=1).result.content == "2"


HARDLY_JSON = ("surrogate", "nan", "huge_number", "deep", "null_result", "list_result")


@pytest.mark.parametrize("word", HARDLY_JSON)
def test_an_answer_that_is_hardly_json_ends_its_call_at_once(calls: McpBench, word: str) -> None:
    said = calls.call(f"c_{word}")
    assert said.result.seconds < 5
    assert said.result.status in (OK, ERROR)


@pytest.mark.parametrize("word", ["hang_call", "ignore_cancel"])
def test_a_call_that_hangs_is_over_when_its_time_is(calls: McpBench, word: str) -> None:
    result = calls.call(f"c_{word}").result
    assert result.status is ResultStatus.TIMEOUT
    assert "did not answer within 0.4 seconds (timeout: in the tools file)" in result.content
    assert calls.call("c_good", n=1).result.content == "2"


def test_an_interrupted_call_is_over_at_once(calls: McpBench) -> None:
    async def interrupted() -> ResultStatus:
        cancel = asyncio.Event()
        calling = asyncio.create_task(calls.call_async("c_stuck", cancel))
        # The server has it: it answers in turn.
        assert (await calls.call_async("c_good", arguments={"n": 1})).result.content == "2"
        assert not calling.done()
        cancel.set()
        return (await calling).result.status

    assert calls.loop.run(interrupted()) is ResultStatus.INTERRUPTED


def test_a_pattern_that_takes_for_ever_is_left_to_the_server(calls: McpBench) -> None:
    said = calls.call("c_bomb", s="a" * 40 + "!")
    assert (said.result.content, said.result.status) == ("passed on", OK)
    assert said.result.seconds < 5


def test_arguments_are_checked_and_converted_before_they_are_sent(calls: McpBench) -> None:
    assert calls.call("c_good", n="41").result.content == "42"
    assert calls.call("c_good", n="many").result.content == 'Error: n must be integer (got "many")'
    assert calls.call("c_good").result.content == 'Error: missing argument "n"'


def test_a_picture_is_one_that_a_model_may_see(calls: McpBench) -> None:
    result = calls.call("c_image").result
    assert result.content == "[image 1]"
    (image,) = result.images
    assert (image.media_type, image.width, image.height) == ("image/png", 1, 1)


@pytest.mark.parametrize(
    ("word", "size"), [("big", 400_000 * 13), pytest.param("very_big", 50 * 1024**2, marks=pytest.mark.slow)]
)
def test_a_long_result_is_an_excerpt_and_its_beginning_is_kept(calls: McpBench, word: str, size: int) -> None:
    said = calls.call(f"c_{word}")
    assert isinstance(said.result, CutResult)
    assert said.result.excerpt.total == size
    assert len(said.parts) == size
    assert len(said.result.content) < 1_100_000


def test_progress_stands_under_the_call(calls: McpBench) -> None:
    assert calls.call("c_progress").lines == "1 of 2: step 1\n2 of 2: step 2\n"


@pytest.mark.parametrize("word", ["flood_logs", "flood_progress"])
def test_a_flood_is_cut_and_counted(calls: McpBench, word: str) -> None:
    said = calls.call(f"c_{word}")
    assert said.result.content == "done"
    assert len(said.lines.splitlines()) == 101
    assert re.search(r"\n\(\d+ more lines\)\n$", said.lines)
    assert max(map(len, said.lines.splitlines())) <= 520


@pytest.mark.parametrize("word", ["foreign_progress", "late_progress"])
def test_progress_of_another_call_does_not_stand_under_this_one(calls: McpBench, word: str) -> None:
    said = calls.call(f"c_{word}")
    assert (said.result.content, said.lines) == ("done", "")
    assert calls.call("c_good", n=1).lines == ""


def test_a_log_message_is_a_bounded_line_whatever_it_is(calls: McpBench) -> None:
    lines = calls.call("c_odd_logs").lines.splitlines()
    assert len(lines) == 3
    assert lines[1:] == ["error: a", "b\x1b[2J"]
    assert len(lines[0]) <= 501


def test_questions_that_are_taken_back_leave_room_for_more(calls: McpBench) -> None:
    async def elicit(_: Elicitation) -> Elicited:
        await asyncio.Event().wait()
        return Elicited(True)

    calls.attach(elicit)
    try:
        assert calls.call("c_ask_back").result.content == "done"
    finally:
        calls.attach()


def test_a_server_that_reads_no_answers_is_not_read_on_whatever_it_takes_back() -> None:
    async def main() -> list[bool]:
        server = StdioServer((), {}, None, lambda _: None)
        send, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

        async def let_in(number: int) -> bool:
            message = types.JSONRPCRequest(jsonrpc="2.0", id=number, method="ping")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await server._let_in(message, outgoing)
                    return True
            return False

        async with anyio.create_task_group() as answering:
            admitted = [await let_in(1)]
            for number in range(64):
                answer = types.JSONRPCResponse(jsonrpc="2.0", id=number, result={})
                answering.start_soon(send.send, SessionMessage(answer))
            await anyio.wait_all_tasks_blocked()
            cancelled = {"requestId": 1}
            server._withdraw(
                types.JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=cancelled)
            )
            admitted.append(await let_in(2))
            outgoing.receive_nowait()
            admitted.append(await let_in(3))
            answering.cancel_scope.cancel()
        send.close()
        outgoing.close()
        return admitted

    assert asyncio.run(main()) == [True, False, True]


def test_many_questions_at_once_are_few_for_the_user(calls: McpBench) -> None:
    asked: list[Elicitation] = []
    before_the_user = set()
    most = 0

    async def elicit(question: Elicitation) -> Elicited:
        nonlocal most
        asked.append(question)
        before_the_user.add(question.message)
        most = max(most, len(before_the_user))
        await calls.until(lambda: bool(calls.notices))
        before_the_user.remove(question.message)
        return Elicited(True)

    calls.attach(elicit)
    calls.notices.clear()
    calls.mcp.questions._declined.clear()
    try:
        result = calls.call("c_ask_flood").result.content
        wide = calls.call("c_ask_wide").result.content
    finally:
        calls.attach()
    assert result == f"{len(asked) - 1} accepted"
    assert most == 8
    assert len(asked) < 50
    assert calls.notices == ["the server calls asked something and was declined: it asks too much at once"]
    assert wide == "accept"
    assert len(asked[-1].message) == 4000
    assert len(asked_for(asked[-1].schema)) == len(first_answer(asked[-1].schema)) == 64


def test_a_server_that_asks_though_no_call_of_it_runs_is_declined(calls: McpBench) -> None:
    asked: list[Elicitation] = []

    async def elicit(question: Elicitation) -> Elicited:
        asked.append(question)
        return Elicited(True)

    calls.attach(elicit)
    calls.notices.clear()
    calls.mcp.questions._declined.clear()
    try:
        assert calls.call("c_ask_late").result.content == "done"
        calls.wait(lambda: bool(calls.notices))
        assert calls.call("c_late").result.content == "decline"
    finally:
        calls.attach()
    assert not asked
    assert calls.notices == ["the server calls asked something and was declined: no call of it was under way"]


def test_a_server_sees_nothing_of_the_chat_or_its_bridge(calls: McpBench) -> None:
    assert calls.call("c_spy", pid=os.getpid()).result.content == "PermissionError PermissionError"


def test_what_a_server_prints_without_end_does_not_fill_the_log(calls: McpBench) -> None:
    log = calls.runner.toolbox.path.parent / "tools.log"
    before = log.stat().st_size
    assert calls.call("c_fill_log").result.content == "done"
    calls.wait(lambda: b"what else it says is left out: it has said 4 MiB" in log.read_bytes()[before:])
    size = log.stat().st_size
    assert size - before < 5 * 1024**2
    assert calls.call("c_fill_log").result.content == "done"
    assert log.stat().st_size == size


def test_a_server_that_does_not_read_any_more_costs_its_calls_only_their_time(calls: McpBench) -> None:
    calls.call("deaf_no_reading")
    for size in (10, 1_000_000):
        assert calls.call("deaf_arguments", a="x" * size).result.status is ResultStatus.TIMEOUT
    assert calls.call("c_good", n=1).result.content == "2"


def test_other_servers_do_not_notice(calls: McpBench) -> None:
    async def both() -> bool:
        cancel = asyncio.Event()
        hanging = asyncio.create_task(calls.call_async("c_stuck", cancel))
        await calls.call_async("p_environment")
        meanwhile = not hanging.done()
        cancel.set()
        await hanging
        return meanwhile

    assert calls.loop.run(both())


IN_TESTS = {
    *("bomb", "image", "big", "very_big", "progress", "flood_logs", "flood_progress", "stuck", "odd_logs"),
    *("ask_back", "ask_flood", "ask_wide", "ask_late", "spy", "fill_log", "no_reading"),
}
"""Behaviours of calls that have a test of their own above."""
IN_LIVES = {
    *("exit", "crash", "close_out", "never_ends", "leave_children", "change", "flood_changes", "environment", "secret"),
    *("parent",),
}
"""Those of `test_mcp_life.py`."""
HELPERS = {"good", "late", "arguments", "listings", "calls", "changing"}
"""What the server does as it should."""


def test_the_hostile_server_does_more_than_a_hundred_things_and_each_is_tested() -> None:
    """By name: a behaviour is one kind, and two tables never count the same."""
    starts = [*BEGINNINGS, *READY, *LISTINGS, "missing", "unset"]
    called = [*RESULTS, *HARDLY_JSON, *(set(HANGING) - RESULTS.keys()), *IN_TESTS, *IN_LIVES]
    assert len(starts) == len(set(starts))
    assert len(called) == len(set(called))
    assert len(starts) + len(called) == 146
    for source in ("hostile_server.py", "hostile_calls.py"):
        text = (Path(__file__).parent / source).read_text()
        cases = set(re.findall(r"\w+", " ".join(re.findall(r'^ +case ((?:"\w+"[ |]*)+)', text, re.M))))
        assert cases - set(starts) - set(called) - HELPERS <= {"initialize"}, source
