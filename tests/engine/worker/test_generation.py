"""A generation in one run or several is one stream, one usage and one limit."""

from __future__ import annotations

import json

import pytest
from mistral_tokenizers import CALLS, Mark, load, spell, vocabulary_of

from toolchat.engine.worker.generation import Generation, Run
from toolchat.mistral.grammar.constraint import Constraint, Grammar, Step
from toolchat.wire.deltas import CallEnded, Finished, FinishReason, Note, Text
from toolchat.wire.messages import CallOrigin, FailedCall, ToolCall

CALL = json.dumps([{"name": "f", "arguments": {"a": 1}}])
FIRST, SECOND, THIRD = (Step(Grammar("ebnf", name)) for name in ("first", "second", "third"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tokenizer"), "v3-spm")


@pytest.fixture
def ids(tokenizer):
    return lambda *parts: spell(tokenizer, *parts)


@pytest.fixture
def request_of(tokenizer):
    def make(plan, max_tokens=100):
        vocabulary = vocabulary_of(tokenizer)
        return Generation("r", vocabulary, plan, prompt_tokens=7, max_tokens=max_tokens, began=0.0)

    return make


@pytest.fixture
def stopping(ids):
    (calls,) = ids(CALLS)
    return Constraint(FIRST, stop=calls, calls=SECOND, held=frozenset({"f"}))


def test_a_plan_of_one_step_is_one_run(request_of, ids):
    request = request_of(Constraint(FIRST, notes=("one", "two")))
    begun = request.begin()
    assert begun.deltas == [Note("one"), Note("two")]
    assert begun.run == Run((), FIRST, 100)
    assert not begun.over
    hello = ids("Hello")
    going = request.take(hello, None, 5)
    assert (going.deltas, going.run, going.over) == ([Text("Hello")], None, False)
    done = request.take([], FinishReason.STOP, None)
    (end,) = done.deltas
    assert done.over
    assert end.reason is FinishReason.STOP
    assert (end.usage.prompt_tokens, end.usage.cached_tokens, end.usage.completion_tokens) == (7, 5, len(hello))


def test_what_is_forced_counts_as_written_and_the_call_goes_on_behind_it(request_of, ids):
    (calls,) = ids(CALLS)
    request = request_of(Constraint(FIRST, forced=(calls,), held=frozenset({"f"})))
    assert request.begin().run == Run((calls,), FIRST, 99)
    written = ids(CALL)
    deltas = request.take(written, FinishReason.STOP, 0).deltas
    (ended,) = [delta for delta in deltas if isinstance(delta, CallEnded)]
    assert isinstance(ended.call, ToolCall)
    assert (ended.call.arguments, ended.call.origin) == ({"a": 1}, CallOrigin.CONSTRAINED)
    assert deltas[-1].usage.completion_tokens == 1 + len(written)


def test_a_call_that_begins_goes_on_in_a_run_of_its_own(request_of, ids, stopping):
    request = request_of(stopping)
    assert request.begin().run == Run((), FIRST, 100, stop=stopping.stop)
    text, call = ids("Let me see."), ids(CALL)
    assert request.take(text, None, 3).run is None
    stopped = request.take([stopping.stop], FinishReason.STOP, 3)
    assert stopped.run == Run((*text, stopping.stop), SECOND, 100 - len(text) - 1)
    assert not stopped.over
    # What the second run finds in the cache is the first one's doing.
    deltas = request.take(call, FinishReason.STOP, 50).deltas
    assert deltas[-1].usage.cached_tokens == 3
    assert deltas[-1].usage.completion_tokens == len(text) + 1 + len(call)
    assert [type(delta.call) for delta in deltas if isinstance(delta, CallEnded)] == [ToolCall]


def test_an_answer_without_a_call_ends_in_its_first_run(request_of, ids, stopping):
    request = request_of(stopping)
    request.begin()
    done = request.take(ids("No."), FinishReason.STOP, 0)
    assert done.over
    assert done.run is None


def test_the_limit_is_of_all_runs_together(request_of, ids, stopping):
    request = request_of(stopping, max_tokens=4)
    request.begin()
    stopped = request.take([*ids("a"), stopping.stop], FinishReason.STOP, 0)
    assert stopped.run is not None
    assert stopped.run.max_tokens == 2
    deltas = request.take(ids(CALL)[:2], FinishReason.LENGTH, 0).deltas
    *_, ended, finished = deltas
    assert isinstance(ended.call, FailedCall)
    assert ended.call.truncated
    assert (finished.reason, finished.usage.completion_tokens) == (FinishReason.LENGTH, 4)


@pytest.mark.parametrize("forced", [True, False])
def test_a_limit_that_is_met_between_two_runs_cuts_the_call_off(request_of, ids, stopping, forced):
    plan = Constraint(FIRST, forced=(stopping.stop,)) if forced else stopping
    request = request_of(plan, max_tokens=1)
    done = request.begin()
    if not forced:
        done = request.take([stopping.stop], FinishReason.STOP, 0)
    assert done.over
    ended, finished = done.deltas[-2:]
    assert ended.call.truncated
    assert finished.reason is FinishReason.LENGTH


def test_the_end_of_sequence_is_not_taken_for_the_token_that_stops(request_of, ids, stopping):
    request = request_of(stopping)
    request.begin()
    assert request.take(ids("Hi", Mark("</s>")), FinishReason.STOP, 0).over


def test_a_token_that_is_only_looked_at_leaves_no_trace(request_of, ids, stopping):
    plan = Constraint(FIRST, stop=stopping.stop, calls=SECOND, answer=THIRD)
    request = request_of(plan)
    assert request.begin().run == Run((), FIRST, 1, stop=stopping.stop)
    looked = request.take(ids("Hm")[:1], FinishReason.LENGTH, 6)
    assert (looked.deltas, looked.run) == ([], Run((), THIRD, 100))
    answer = ids('{"a": 1}')
    *texts, finished = request.take(answer, FinishReason.STOP, 7).deltas
    assert "".join(delta.text for delta in texts) == '{"a": 1}'
    assert (finished.usage.completion_tokens, finished.usage.cached_tokens) == (len(answer), 6)


def test_a_call_that_the_look_finds_is_gone_on_with(request_of, stopping):
    plan = Constraint(FIRST, stop=stopping.stop, calls=SECOND, answer=THIRD)
    request = request_of(plan)
    request.begin()
    assert request.take([stopping.stop], FinishReason.STOP, 6).run == Run((stopping.stop,), SECOND, 99)


def test_an_abort_tells_what_was_used_in_either_run(request_of, ids, stopping):
    request = request_of(stopping)
    request.begin()
    request.take([*ids("a"), stopping.stop], FinishReason.STOP, 2)
    request.take(ids("[")[:1], None, 2)
    end = request.abort()
    assert end == Finished(FinishReason.ABORT, end.usage)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (7, 3)
