"""What the worker tells of requests that vLLM ends, and of a parent that cannot be heard; vLLM is a double here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from mistral_tokenizers import load, spell

from toolchat.engine.worker.channel import Channel
from toolchat.engine.worker.generation import Generation
from toolchat.engine.worker.in_process import InProcess
from toolchat.engine.worker.server import Serving, Worker
from toolchat.mistral.grammar.constraint import Constraint, Step
from toolchat.mistral.render import Encoded
from toolchat.mistral.vocabulary import MistralVocabulary


class Ending:
    """An engine whose next step ends the starter's request "r" with some tokens."""

    def __init__(self, reason: str, tokens: list[int]) -> None:
        self.reason, self.tokens = reason, tokens

    def step(self) -> list[Any]:
        completion = SimpleNamespace(token_ids=self.tokens, finish_reason=self.reason)
        return [SimpleNamespace(request_id="0-r", outputs=[completion], finished=True, num_cached_tokens=0)]


def told(reason: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the parent is told where vLLM ends a request so."""
    tokenizer = load(tmp_path_factory.mktemp("tokenizer"), "v3-spm")
    ours, theirs = socket.socketpair()
    worker = Worker.__new__(Worker)
    worker._channel = Channel(theirs)
    source = InProcess.__new__(InProcess)
    source._engine = Ending(reason, spell(tokenizer, "Half of it"))
    source._under_way = {"0-r"}
    worker._source = source
    generation = Generation(
        "0-r", MistralVocabulary(tokenizer), Constraint(Step()), prompt_tokens=1, max_tokens=9, began=0.0
    )
    worker._serving = {"0-r": Serving(generation, Encoded([1], []), 0.0, 1.0, None)}
    worker._step()
    assert worker._serving == {}
    assert not source.has_output
    theirs.shutdown(socket.SHUT_WR)
    return [json.loads(row) for row in ours.makefile("rb")]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_that_ended_is_told_with_how(reason: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    (message,) = told(reason, tmp_path_factory)
    assert "".join(delta.get("text", "") for delta in message["deltas"]) == "Half of it"
    assert message["deltas"][-1]["reason"] == reason


@pytest.mark.parametrize("reason", ["error", "abort", "repetition"])
def test_an_answer_that_vllm_gave_up_is_a_failure_and_no_answer(
    reason: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (message,) = told(reason, tmp_path_factory)
    assert (message["op"], message["id"]) == ("broken", "r")
    assert f'("{reason}")' in message["message"]


@pytest.mark.process
def test_a_command_that_cannot_be_read_ends_the_worker_and_leaves_nobody_waiting() -> None:
    ours, theirs = socket.socketpair()
    code = (
        "import os, socket\n"
        "from toolchat.engine.worker.channel import Channel\n"
        f"channel = Channel(socket.socket(fileno={theirs.fileno()}))\n"
        "channel.listen()\n"
        "channel.commands.get()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=(theirs.fileno(),), start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        ours.sendall(b"[" * 100_000 + b"\n")
        assert process.wait(60) == -9
        assert process.stderr is not None
        assert b"RecursionError" in process.stderr.read()
