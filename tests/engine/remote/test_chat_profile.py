"""The chat profile against a server that answers in every dialect, and misbehaves in every way."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import threading
from collections.abc import Iterator

import httpx
import pytest
from asked_chat import WEATHER, AskedChat, asked
from scripted_server import Reply, ScriptedServer, as_json, delta, events, stream, usage

from toolchat.engine.base import GenerateOptions
from toolchat.engine.remote import connection as connection_module
from toolchat.engine.remote.config import Address
from toolchat.engine.remote.failures import refused, unreachable
from toolchat.wire.deltas import FinishReason
from toolchat.wire.messages import AssistantMessage, FailedCall, ToolCall, ToolMessage, UserMessage

CHAT = "/v1/chat/completions"
KEY = "sk-very-secret"


@pytest.fixture
def chat(server: ScriptedServer) -> Iterator[AskedChat]:
    with asked(server) as running:
        yield running


def call(index: int | None, name: str = "", arguments: object = "", call_id: str = "") -> dict[str, object]:
    piece: dict[str, object] = {"function": {"name": name, "arguments": arguments}} if name else {}
    if not name:
        piece = {"function": {"arguments": arguments}}
    return piece | ({"index": index} if index is not None else {}) | ({"id": call_id} if call_id else {})


def calls(*pieces: dict[str, object], finish: str | None = None) -> dict[str, object]:
    return delta(tool_calls=list(pieces), finish=finish)


def test_an_answer_streams_and_is_counted_by_the_server(server, chat):
    server.on(CHAT, stream(delta("Hel"), delta("lo"), delta(finish="stop"), usage(9, 2, 4)))
    outcome = chat.ask("Hi")
    assert outcome.text == "Hello"
    counted = outcome.finished.usage
    assert (counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens) == (9, 2, 4)
    assert not counted.estimated
    (body,) = server.bodies(CHAT)
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (body["model"], body["stream"], body["max_tokens"]) == ("m", True, 100)
    assert "temperature" not in body


def test_without_usage_the_tokens_are_estimates(server, chat):
    server.on(CHAT, stream(delta("Hello there, all of you"), delta(finish="stop")))
    counted = chat.ask("Hi").finished.usage
    assert counted.estimated
    assert 0 < counted.prompt_tokens < 40
    assert 3 < counted.completion_tokens < 12


def test_estimates_follow_what_the_server_counts(server, chat):
    long = [UserMessage("word " * 400)]
    before = chat.count(long)
    assert before.estimated
    server.on(CHAT, stream(delta("ok", finish="stop"), usage(2 * before.total, 1)))
    chat.ask(long)
    assert abs(chat.count(long).total - 2 * before.total) < 20


@pytest.mark.parametrize("spelling", ["reasoning_content", "reasoning", "thinking"])
def test_thinking_comes_in_every_spelling(server, chat, spelling):
    server.on(CHAT, stream(delta(**{spelling: "Hm"}), delta(**{spelling: "m."}), delta("Yes.", finish="stop")))
    outcome = chat.ask()
    assert (outcome.thinking, outcome.text) == ("Hmm.", "Yes.")


def test_thinking_between_tags_and_in_mistrals_chunks(server, chat):
    chunks = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}, {"type": "text", "text": "Yes."}]
    server.on(
        CHAT,
        stream(delta("<thi"), delta("nk>Hmm.</think>\n\nYes."), delta(finish="stop")),
        stream({"choices": [{"index": 0, "delta": {"content": chunks}, "finish_reason": "stop"}]}),
    )
    for _ in range(2):
        outcome = chat.ask()
        assert (outcome.thinking, outcome.text) == ("Hmm.", "Yes.")


DIALECTS = {
    "in pieces": [
        calls(call(0, "weather", "", "call_abcdefghijkl")),
        calls(call(0, arguments='{"city": "Da')),
        calls(call(0, arguments='llas"}')),
    ],
    "at once": [calls(call(0, "weather", '{"city": "Dallas"}', "x"))],
    "as an object": [calls(call(0, "weather", {"city": "Dallas"}, "x"))],
    "without index": [calls(call(None, "weather", '{"city":', "x")), calls(call(None, arguments='"Dallas"}'))],
    "with the name each time": [
        calls(call(0, "weather", '{"city":', "x")),
        calls(call(0, "weather", '"Dallas"}', "x")),
    ],
    "arguments first": [calls(call(0, arguments='{"city": "Dallas"}')), calls(call(0, "weather", "", "x"))],
    "without id": [calls(call(0, "weather", '{"city": "Dallas"}'))],
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_is_read_in_every_dialect(server, chat, dialect):
    server.on(CHAT, stream(*DIALECTS[dialect], delta(finish="tool_calls")))
    (made,) = chat.ask(tools=[WEATHER]).calls
    assert isinstance(made, ToolCall)
    assert (made.name, made.arguments) == ("weather", {"city": "Dallas"})
    assert len(made.id) == 9
    assert made.id.isalnum()


def test_several_calls_keep_their_order_and_get_ids_of_their_own(server, chat):
    server.on(
        CHAT,
        stream(
            calls(call(1, "weather", '{"city": "B', "aaaaaaaaa")),
            calls(call(0, "weather", '{"city": "A"}', "aaaaaaaaa")),
            calls(call(1, arguments='"}')),
            delta(finish="tool_calls"),
        ),
    )
    made = chat.ask(tools=[WEATHER]).calls
    assert [one.arguments["city"] for one in made if isinstance(one, ToolCall)] == ["A", "B"]
    assert len({one.id for one in made}) == 2


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids(server, chat):
    server.on(
        CHAT,
        stream(
            calls(call(0, "weather", '{"city": "A"}', "one")),
            calls(call(0, "weather", '{"city": "B"}', "two")),
            delta(finish="tool_calls"),
        ),
    )
    made = chat.ask(tools=[WEATHER]).calls
    assert [one.arguments["city"] for one in made if isinstance(one, ToolCall)] == ["A", "B"]


def test_a_call_without_arguments_has_none(server, chat):
    server.on(CHAT, stream(calls(call(0, "weather", None, "x")), delta(finish="tool_calls")))
    (made,) = chat.ask(tools=[WEATHER]).calls
    assert isinstance(made, ToolCall)
    assert made.arguments == {}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"city": Dallas}', "not valid JSON: expecting value at character 9"),
        ('["Dallas"]', "a list, not an object"),
        ('{"a": 1, "a": 2}', "a"),
        ('{"city": NaN}', "NaN"),
    ],
)
def test_arguments_that_are_no_object_fail_with_the_reason(server, chat, arguments, reason):
    server.on(CHAT, stream(calls(call(0, "weather", arguments, "x")), delta(finish="tool_calls")))
    (made,) = chat.ask(tools=[WEATHER]).calls
    assert isinstance(made, FailedCall)
    assert reason in made.reason
    assert arguments in made.raw


@pytest.mark.parametrize("name", ["", "rm -rf /", "x" * 65])
def test_a_name_that_is_none_fails(server, chat, name):
    server.on(
        CHAT, stream(calls({"index": 0, "id": "x", "function": {"name": name, "arguments": "{}"}}, finish="stop"))
    )
    (made,) = chat.ask(tools=[WEATHER]).calls
    assert isinstance(made, FailedCall)
    assert made.name == "invalid_tool_call"


def test_a_call_that_the_limit_cut_off_is_not_run_and_those_before_it_are(server, chat):
    server.on(
        CHAT,
        stream(
            calls(call(0, "weather", '{"city": "A"}', "a")),
            calls(call(1, "weather", '{"city": "B', "b")),
            delta(finish="length"),
        ),
    )
    outcome = chat.ask(tools=[WEATHER])
    whole, cut = outcome.calls
    assert isinstance(whole, ToolCall)
    assert isinstance(cut, FailedCall)
    assert cut.truncated
    assert outcome.finished.reason is FinishReason.LENGTH


def test_of_several_choices_the_first_is_read_and_nothing_behind_its_end(server, chat):
    other = {"index": 1, "delta": {"content": "no"}, "finish_reason": None}
    first = {"index": 0, "delta": {"content": "yes"}, "finish_reason": None}
    server.on(CHAT, stream({"choices": [other, first]}, delta(finish="stop"), delta("late")))
    assert chat.ask().text == "yes"


ANSWER = [delta("Größe: "), delta("1 €"), delta(finish="stop"), usage(5, 3)]


@pytest.mark.parametrize(
    "reply",
    [
        Reply([bytes([one]) for one in events(*ANSWER)]),
        Reply([events(*ANSWER).replace(b"\n", b"\r\n")]),
        Reply([b": keep-alive\n\nevent: ping\ndata:\n\n", events(*ANSWER)]),
        Reply([events(*ANSWER)], kind="text/plain"),
        Reply([events(*ANSWER)], kind=""),
        Reply([events(*ANSWER)], kind="text/event-stream; charset=latin-1"),
        Reply([events(*ANSWER, done=False)]),
        Reply([b"data: " + json.dumps(delta("Größe: 1 €", padding="x" * 65536)).encode() + b"\n\n", events(ANSWER[2])]),
        as_json({"choices": [{"index": 0, "message": {"content": "Größe: 1 €"}, "finish_reason": "stop"}]}),
    ],
    ids=[
        "byte by byte",
        "CRLF",
        "comments",
        "text/plain",
        "no type",
        "wrong charset",
        "no DONE",
        "64 KB line",
        "no stream",
    ],
)
def test_an_odd_stream_is_read(server, chat, reply):
    server.on(CHAT, reply)
    assert chat.ask().text == "Größe: 1 €"


def test_bytes_that_are_no_utf_8_are_replaced(server, chat):
    server.on(CHAT, Reply([events(delta("a¿b", finish="stop")).replace(b"\\u00bf", b"\xff\xfe")]))
    assert chat.ask().text == "a��b"


HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
MALFORMED = {
    "rubbish": (Reply([events(delta("Hel"), "%$!")]), "broken", "sent what is no part of an answer (%$!)"),
    "a list": (Reply([events(delta("Hel"), [1])]), "broken", "sent what is no part of an answer"),
    "half-way": (Reply([events(delta("Hel"), done=False)]), "broken", "ended the answer in the middle"),
    "half a body": (Reply([events(delta("Hel"))[:-9]], length=9999), "broken", "the connection broke in the middle"),
    "an error within": (
        Reply([events(delta("Hel"), {"error": {"message": "out of memory", "code": 500}})]),
        "broken",
        "the server failed (500): out of memory",
    ),
    "given up": (Reply([events(delta("Hel", finish="error"))]), "broken", "gave the answer up (error)"),
    "nothing": (Reply([]), "error", "answered with no stream of events"),
    "a page": (Reply([HTML], kind="text/html"), "error", "a web page (Sign in)"),
    "no HTTP": (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), "error", "speaks no HTTP"),
    "closed": (Reply(raw=b" "), "error", "speaks no HTTP"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_answer_is_told_in_a_line_and_what_came_is_kept(server, chat, kind):
    reply, op, line = MALFORMED[kind]
    server.on(CHAT, reply)
    outcome = chat.ask()
    how, said = outcome.failure
    assert how == op
    assert line in said
    assert outcome.text == ("Hel" if op == "broken" else "")


def error(text: str, **more: object) -> dict[str, object]:
    return {"error": {"message": text, **more}}


REFUSALS = [
    (as_json(error("no"), 401), "", "wants an API key (401): no; set TOOLCHAT_API_KEY"),
    (as_json({"detail": f"bad key {KEY}"}, 403), KEY, "refuses the API key (403): bad key …; set TOOLCHAT_API_KEY"),
    (as_json(error("The model `m` does not exist"), 404), "", "has no such model (404)"),
    (as_json({"message": "too big"}, 413), "", "too large for it, or for a proxy before it"),
    (as_json(error("boom"), 500), "", "the server failed (500): boom; its log says more"),
    (Reply([HTML], 502, "text/html"), "", "answers 502 with a web page (Sign in)"),
    (Reply([b"upstream timed out"], 504, "text/plain"), "", "the server failed (504): upstream timed out"),
    (as_json({}, 302, location="https://elsewhere"), "", "is redirected to https://elsewhere (302); name that address"),
    (as_json(error("You exceeded your current quota", code="insufficient_quota"), 429), "", "too many requests (429)"),
    (as_json(error("slow down"), 429, **{"retry-after": "9000"}), "", "too many requests for 9000 s (429)"),
    (
        as_json({"detail": [{"loc": ["messages"], "msg": "Input should be a list"}]}, 418),
        "",
        "messages: Input should be a list",
    ),
]


@pytest.mark.parametrize(("reply", "key", "line"), REFUSALS, ids=[str(row[2])[:24] for row in REFUSALS])
def test_a_refusal_is_one_line_with_the_remedy(server, reply, key, line):
    server.on(CHAT, reply)
    with asked(server, key=key, models=["one", "two"]) as chat:
        how, said = chat.ask().failure
    assert how == "error"
    assert line in said
    assert KEY not in said
    if reply.status == 404:
        assert "one, two" in said


ELSEWHERE = [
    ("https://h/v1/models", "https://h/v1"),
    ("https://h/v1/chat/completions", "https://h/v1"),
    ("https://h/v1/models?from=http#top", "https://h/v1"),
    ("https://h/base/models", "https://h/base"),
    ("//other:81/v1/models/", "http://other:81/v1"),
    ("/llm/v1/models", "http://h/llm/v1"),
    ("https://models", "https://models"),
]


@pytest.mark.parametrize(("target", "place"), ELSEWHERE)
def test_a_redirect_names_the_address_to_give(target, place):
    told = str(refused(307, {"location": target}, b"", Address.read("http://h"), ""))
    assert told == f"http://h: is redirected to {place} (307); name that address"


NO_ADDRESS = [
    ("//a]b/", "//a]b/"),
    ("http://h:99999/v1/models", "http://h:99999/v1/models"),
    ("mailto:admin@h", "mailto:admin@h"),
    ("unix:/s", "unix:/s"),
    ("https://me:pass@h/v1", "https://me:pass@h/v1"),
    ("https://h/v1 beta", "https://h/v1 beta"),
    ("https:///v1", "https:///v1"),
    ("/login?next=/v1/models", "http://h/login?next=/v1/models"),
    ("https://sso/#/login", "https://sso/#/login"),
    ("/v1/models", "http://h/v1/models"),
    ("https://sso/" + "x" * 9000, None),
    ("https://sso/login?key=" + KEY, "https://sso/login?key=…"),
    ("", "another place"),
]


@pytest.mark.parametrize(("target", "shown"), NO_ADDRESS, ids=[row[0][:24] for row in NO_ADDRESS])
def test_a_redirect_to_what_is_no_address_advises_none(target, shown):
    told = str(refused(302, {"location": target}, b"", Address.read("http://h/v1"), KEY))
    assert len(told) < 500
    if shown is not None:
        assert told == f"http://h/v1: is redirected to {shown} (302), as no API is; check what answers there"


def test_a_redirect_within_a_socket_names_no_address_and_one_away_from_it_does():
    def told(target: str) -> str:
        return str(refused(302, {"location": target}, b"", Address.read("unix:/s"), ""))

    assert told("/ui") == "unix:/s: is redirected to http://localhost/ui (302), as no API is; check what answers there"
    assert told("https://h/v1/models") == "unix:/s: is redirected to https://h/v1 (302); name that address"


def test_the_key_is_sent_as_a_bearer_token(server):
    server.on(CHAT, stream(delta("ok", finish="stop")))
    with asked(server, key=KEY) as chat:
        assert chat.ask().text == "ok"
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_waited_for_and_it_is_told(server, chat, status):
    server.on(CHAT, as_json(error("busy"), status, **{"retry-after": "0"}), stream(delta("ok", finish="stop")))
    outcome = chat.ask()
    assert outcome.text == "ok"
    (note,) = outcome.notes
    assert "(busy): asking again in 0 s" in note


def test_a_server_that_always_asks_to_wait_is_not_asked_for_ever(server, chat, monkeypatch):
    monkeypatch.setattr(connection_module, "WAITS", 2)
    server.on(CHAT, as_json(error("busy"), 429, **{"retry-after": "0"}))
    assert "too many requests for 0 s (429): busy" in chat.ask().failure[1]
    assert len(server.asked) == 3


def test_a_wait_can_be_stopped(server, chat):
    server.on(CHAT, as_json(error("busy"), 429, **{"retry-after": "500"}))
    request = chat.begin()
    chat.wait_for_text(request)
    chat.chat.abort(request)
    assert chat.outcome(request).finished.reason is FinishReason.ABORT


def test_an_answer_can_be_stopped_and_the_connection_is_closed(server, chat):
    hold = threading.Event()
    server.on(CHAT, Reply([events(delta("Hel"), done=False)], hold=hold))
    request = chat.begin()
    chat.wait_for_text(request)
    chat.chat.abort(request)
    outcome = chat.outcome(request)
    hold.set()
    assert outcome.text == "Hel"
    assert outcome.finished.reason is FinishReason.ABORT


def test_a_request_that_is_stopped_at_once_ends_too(server, chat):
    server.on(CHAT, stream(delta("ok", finish="stop")))
    for _ in range(10):
        request = chat.begin()
        chat.chat.abort(request)
        assert chat.outcome(request).finished.reason in (FinishReason.ABORT, FinishReason.STOP)


def test_a_500_is_not_asked_again(server, chat):
    server.on(CHAT, as_json(error("boom"), 500))
    chat.ask()
    assert len(server.asked) == 1


def test_a_kept_connection_that_was_closed_is_tried_once_more(server, chat):
    server.on(CHAT, Reply(raw=b" "), stream(delta("ok", finish="stop")))
    assert chat.ask().text == "ok"


class TestUnreachable:
    @pytest.fixture
    def line(self, server: ScriptedServer):
        def told(url: str) -> str:
            server.url = url
            with asked(server) as chat:
                return chat.ask().failure[1]

        return told

    def test_refused(self, line):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            assert "the connection is refused; is the server running there" in line(f"http://127.0.0.1:{port}")

    def test_an_unknown_host(self, line):
        assert "this host's name is not known" in line("http://no-such-host.invalid:8000")

    def test_no_socket(self, line, tmp_path):
        assert "there is no such socket" in line(f"unix:{tmp_path}/s")

    def test_no_tls_there(self, line):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.recv(1000)

            threading.Thread(target=answer, daemon=True).start()
            assert "no TLS is spoken there" in line(f"https://127.0.0.1:{listener.getsockname()[1]}")

    def test_a_certificate_that_nobody_vouches_for(self):
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        refused.verify_message = "self-signed certificate"
        error = httpx.ConnectError("failed")
        error.__cause__ = ExceptionGroup("all attempts", [refused])
        told = str(unreachable(error, Address.read("https://h/v1")))
        assert "its certificate is not trusted (self-signed certificate)" in told
        assert "SSL_CERT_FILE" in told

    @pytest.mark.parametrize(
        ("why", "remedy"),
        [
            ("Hostname mismatch, certificate is not valid for 'h'.", "'h'); name the server as its certificate does"),
            ("certificate has expired", "expired); it needs a new one, or the clock of this machine is wrong"),
        ],
    )
    def test_a_certificate_for_another_name_or_time(self, why, remedy):
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        refused.verify_message = why
        assert str(unreachable(refused, Address.read("https://h/v1"))).endswith(remedy)

    def test_a_file_in_a_sockets_place(self, line, tmp_path):
        (tmp_path / "s").write_text("")
        assert "it is no socket; is the server running" in line(f"unix:{tmp_path}/s")

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (httpx.ConnectTimeout(""), "no connection within the time allowed"),
            (httpx.ReadTimeout(""), "accepts connections and does not answer"),
            (httpx.ProxyError("403 Forbidden"), "the proxy refuses (403 Forbidden); see HTTPS_PROXY"),
            (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot be reached (No route to host)"),
            (PermissionError(errno.EACCES, "denied"), "the socket is another user's"),
        ],
    )
    def test_others(self, error, says):
        assert says in str(unreachable(error, Address.read("http://h:1")))


REFUSED_PARTS = [
    ("strict", "Unknown parameter: 'tools[0].function.strict'", GenerateOptions(50)),
    ("stream_options", "stream_options is not supported", GenerateOptions(50)),
    ("parallel_tool_calls", "extra field parallel_tool_calls", GenerateOptions(50, parallel_tool_calls=False)),
    ("response_format", "json_schema is not supported here", GenerateOptions(50, response_schema={"type": "object"})),
    ("seed", "seed: not permitted", GenerateOptions(50, seed=7)),
    ("reasoning_effort", "reasoning_effort: unknown", GenerateOptions(50, reasoning_effort="high")),
    ("strict", "Invalid schema for function 'weather'", GenerateOptions(50)),
]


@pytest.mark.parametrize(("part", "says", "options"), REFUSED_PARTS)
def test_what_a_server_refuses_is_left_out_and_that_is_remembered(server, chat, part, says, options):
    server.on(CHAT, as_json(error(says), 400), stream(delta("ok", finish="stop")))
    for _ in range(2):
        assert chat.ask("Hi", [WEATHER], options).text == "ok"
    with_it, *without = server.bodies(CHAT)
    assert part in json.dumps(with_it)
    assert len(without) == 2
    assert all(part not in json.dumps(body) for body in without)


def test_a_refused_part_is_known_by_its_place_alone(server, chat):
    problem = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
    server.on(CHAT, as_json({"detail": [problem]}, 422), stream(delta("ok", finish="stop")))
    assert chat.ask("Hi", [WEATHER], GenerateOptions(50, seed=7)).text == "ok"
    _, without = server.bodies(CHAT)
    assert "seed" not in without
    assert without["tools"][0]["function"]["strict"]


def test_what_the_user_asked_for_and_the_server_refuses_is_told(server, chat):
    server.on(CHAT, as_json(error("seed: not permitted"), 400), stream(delta("ok", finish="stop")))
    (note,) = chat.ask("Hi", (), GenerateOptions(50, seed=7)).notes
    assert note.endswith("refuses seed: left out from here on")


def test_the_newer_name_of_the_limit_is_used_where_the_older_is_refused(server, chat):
    says = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.on(CHAT, as_json(error(says), 400), stream(delta("ok", finish="stop")))
    assert chat.ask().text == "ok"
    assert server.bodies(CHAT)[1]["max_completion_tokens"] == 100


def test_a_limit_of_the_answer_is_kept_to(server, chat):
    says = "max_tokens is too large: 100. This model supports at most 40 completion tokens"
    server.on(CHAT, as_json(error(says), 400), stream(delta("ok", finish="stop")))
    assert chat.ask().text == "ok"
    assert chat.ask().text == "ok"
    assert [body["max_tokens"] for body in server.bodies(CHAT)] == [100, 40, 40]


def test_a_request_that_stays_refused_ends(server, chat):
    server.on(CHAT, as_json(error("no"), 400))
    assert "the request is refused (400): no" in chat.ask("Hi", [WEATHER]).failure[1]
    assert len(server.asked) == 2


def test_choices_of_tools_are_named_as_openai_does(server, chat):
    server.on(CHAT, stream(delta("ok", finish="stop")))
    for choice in ("auto", "none", "required", "weather"):
        chat.ask("Hi", [WEATHER], GenerateOptions(50, tool_choice=choice))
    auto, none, required, named = server.bodies(CHAT)
    assert "tool_choice" not in auto
    assert (none["tool_choice"], required["tool_choice"]) == ("none", "required")
    assert named["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_a_choice_that_the_server_does_not_keep_to_is_told(server, chat):
    server.on(CHAT, stream(delta("It is warm.", finish="stop")))
    (note,) = chat.ask("Hi", [WEATHER], GenerateOptions(50, tool_choice="required")).notes
    assert note.endswith("let the model answer without a call, though --tool-choice asks for one")


def test_the_answer_to_a_prompt_that_leaves_less_room_is_shorter(server):
    says = (
        "This model's maximum context length is 300 tokens. However, you requested 100 output tokens and your prompt "
        "contains at least 250 input tokens, for a total of at least 350 tokens."
    )
    server.on(CHAT, as_json(error(says), 400), stream(delta("ok", finish="stop")))
    with asked(server, known=False) as chat:
        assert chat.ask().text == "ok"
    assert server.bodies(CHAT)[1]["max_tokens"] == 50


TOO_LONG = [
    "This model's maximum context length is 300 tokens. However, your prompt contains 400 input tokens, which exceeds "
    "this limit even without any output tokens.",
    "This model's maximum context length is 300 tokens. However, your messages resulted in 400 tokens.",
    "you requested 500 tokens (400 in the messages, 100 in the completion); the maximum context length is 300 tokens",
    "request (400 tokens) exceeds the available context size (300 tokens), try increasing it",
    "Prompt contains 400 tokens, too large for model with 300 maximum context length",
    "prompt is too long: 400 tokens > 300 maximum",
]


@pytest.mark.parametrize("says", TOO_LONG)
def test_a_prompt_that_is_too_long_overflows_with_the_servers_figures(server, says):
    server.on(CHAT, as_json(error(says), 400))
    with asked(server, known=False) as chat:
        end = chat.ask("a long question").end
    assert end["op"] == "overflow"
    assert end["context"] == 300
    assert 380 <= end["count"]["total"] <= 400


def test_a_prompt_beyond_a_known_context_is_not_sent(server):
    with asked(server, context=100) as chat:
        assert chat.ask("word " * 200).end["op"] == "overflow"
    assert server.asked == []


def test_a_history_is_sent_as_openai_has_it(server, chat):
    server.on(CHAT, stream(delta("ok", finish="stop")))
    made = ToolCall("a1B2c3D4e", "weather", {"city": "Köln"})
    chat.ask(
        [UserMessage("Hi"), AssistantMessage("Let me see", (made,), "hm"), ToolMessage(made.id, "weather", "rain")]
    )
    (body,) = server.bodies(CHAT)
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Let me see",
            "tool_calls": [
                {
                    "id": "a1B2c3D4e",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "a1B2c3D4e", "content": "rain"},
    ]
    assert "tools" not in body


MARKERS = ["[INST]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "<|im_start|>", "<|eot_id|>", "</s>", "<start_of_turn>"]
MARKERS += ["<｜tool▁calls▁begin｜>", "<tool_call>", "<function=", "[THINK]"]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_control_marker_is_broken_up_wherever_it_stands(server, chat, marker):
    server.on(CHAT, stream(delta("ok", finish="stop")))
    text = f"a {marker} b"
    made = ToolCall("a1B2c3D4e", "weather", {"city": text})
    history = [UserMessage(text), AssistantMessage(text, (made,)), ToolMessage(made.id, "weather", text)]
    described = type(WEATHER)(
        "weather", text, {"type": "object", "properties": {"city": {"description": text, "enum": ["[INST]"]}}}
    )
    outcome = chat.ask(history, [described])
    assert any("broken up" in note for note in outcome.notes)
    (body,) = server.bodies(CHAT)
    assert marker not in json.dumps(body["messages"], ensure_ascii=False)
    function = body["tools"][0]["function"]
    assert marker not in function["description"] + function["parameters"]["properties"]["city"]["description"]
    assert function["parameters"]["properties"]["city"]["enum"] == ["[INST]"]


def test_ordinary_text_is_sent_as_it_is(server, chat):
    text = "a[1] <b>x</b> <T> [INST <|not closed 1 < 2 | 3 > [args] half \ud800"
    server.on(CHAT, stream(delta("ok", finish="stop")))
    outcome = chat.ask(text)
    assert outcome.notes == []
    assert server.bodies(CHAT)[0]["messages"][0]["content"] == text.replace("\ud800", "�")


def test_requests_run_side_by_side(server, chat):
    hold = threading.Event()
    server.on(CHAT, Reply([events(delta("slow"), done=False)], hold=hold), stream(delta("quick", finish="stop")))
    slow = chat.begin()
    chat.wait_for_text(slow)
    assert chat.ask().text == "quick"
    hold.set()
    assert chat.outcome(slow).failure[0] == "broken"


def test_a_line_without_end_is_given_up(server, chat, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_ANSWER", 100_000)
    server.on(CHAT, Reply([events(delta("Hel"), done=False), *[b"x" * 60_000] * 4]))
    assert "sent a line of more than" in chat.ask().failure[1]
