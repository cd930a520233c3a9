"""State machine of one generation, which takes one run of the engine or several: what to run next, and the deltas.

Knows nothing of vLLM: the worker runs what it is given here, and hands over the tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from toolchat.mistral.grammar.constraint import Constraint, Step
from toolchat.mistral.parse import StreamParser
from toolchat.mistral.vocabulary import Vocabulary
from toolchat.wire.deltas import Delta, Finished, FinishReason, Note, Usage


@dataclass(frozen=True, slots=True)
class Run:
    """What the engine is to do next for a generation."""

    written: tuple[int, ...]
    """What was generated so far and stands behind the prompt."""
    step: Step
    max_tokens: int
    stop: int | None = None
    """A token that ends the run; it counts as generated."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What came of some tokens."""

    deltas: list[Delta]
    run: Run | None = None
    """What the generation goes on with."""

    @property
    def over(self) -> bool:
        return bool(self.deltas) and isinstance(self.deltas[-1], Finished)


class Generation:
    """One or several runs, which are one stream and one usage to whoever asked for them."""

    def __init__(
        self,
        request_id: str,
        vocabulary: Vocabulary,
        constraint: Constraint,
        *,
        prompt_tokens: int,
        max_tokens: int,
        began: float,
    ) -> None:
        """`max_tokens` is the limit of all runs together; `began` is by time.monotonic()."""
        self.id = request_id
        self._constraint = constraint
        self._parser = StreamParser(vocabulary, origin=constraint.origin)
        self._prompt_tokens = prompt_tokens
        self._max_tokens = max_tokens
        self._began = began
        self._written: list[int] = []
        self._first = 0.0
        self._cached: int | None = None
        self._looking = False
        """True while a single token is sampled to see which it is."""
        self._calling = False
        """True in the run behind the token that the first one stopped at."""

    def begin(self) -> Progress:
        """The first run."""
        constraint = self._constraint
        deltas: list[Delta] = [Note(text) for text in constraint.notes]
        if constraint.forced:
            self._written += constraint.forced
            deltas += self._parser.feed(constraint.forced)
        self._looking = constraint.answer is not None
        return self._go_on(constraint.step, deltas, stop=constraint.stop)

    def take(self, token_ids: Sequence[int], ended: FinishReason | None, cached: int | None) -> Progress:
        """More tokens of the run under way; `ended` where it is over, `cached` tokens of its prompt were known.

        A source may know `cached` from the beginning, or not before the run's end: None until then.
        """
        if self._cached is None and not self._calling:
            self._cached = cached
        stopped = bool(token_ids) and token_ids[-1] == self._constraint.stop and not self._calling
        if self._looking:
            self._looking = False
            if not stopped:
                assert self._constraint.answer is not None
                return self._go_on(self._constraint.answer, [])
        if token_ids and not self._first:
            self._first = time.monotonic()
        self._written += token_ids
        deltas = self._parser.feed(token_ids)
        if ended is None:
            return Progress(deltas)
        if stopped and self._constraint.calls is not None:
            self._calling = True
            return self._go_on(self._constraint.calls, deltas)
        return self._finish(ended, deltas)

    def abort(self) -> Finished:
        return Finished(FinishReason.ABORT, self._usage())

    def _go_on(self, step: Step, deltas: list[Delta], *, stop: int | None = None) -> Progress:
        left = self._max_tokens - len(self._written)
        if left <= 0:
            return self._finish(FinishReason.LENGTH, deltas)
        return Progress(deltas, Run(tuple(self._written), step, 1 if self._looking else left, stop))

    def _finish(self, reason: FinishReason, deltas: list[Delta]) -> Progress:
        deltas = deltas + self._parser.finish(truncated=reason is FinishReason.LENGTH)
        return Progress([*deltas, Finished(reason, self._usage())])

    def _usage(self) -> Usage:
        now = time.monotonic()
        return Usage(
            prompt_tokens=self._prompt_tokens,
            # Of the first run: what the later ones find in the cache is this request's own doing.
            cached_tokens=self._cached or 0,
            completion_tokens=len(self._written),
            ttft=round((self._first or now) - self._began, 6),
            seconds=round(now - self._began, 6),
        )
