"""The seam between the worker, which renders, constrains and parses, and the place where its tokens come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from toolchat.engine.config import Sampling
from toolchat.mistral.grammar.constraint import Step
from toolchat.wire.deltas import FinishReason

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.mistral.render import Encoded

ENDINGS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
"""vLLM's names of how a request ends well. It has more: "error" is for what fails in this one request."""


@dataclass(frozen=True, slots=True)
class SourceRun:
    """One uninterrupted run of the model for a generation."""

    id: str
    """The generation's: it has one run at a time."""
    prompt: Encoded
    """What stands before the first new token, what was generated so far among it."""
    step: Step
    max_tokens: int
    stop: int | None
    """A token that ends the run; it counts as generated."""
    temperature: float
    top_p: float
    seed: int | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """More of a run."""

    id: str
    ids: tuple[int, ...]
    ended: FinishReason | None = None
    """Set where these are the last ones."""
    cached: int | None = None
    """Of the prompt's tokens, those whose keys and values were known; None where that is not known yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run waits for something that the user should know of, in one line."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A run is over, and not as it should be."""

    id: str
    why: str
    exceeded: tuple[int, int] | None = None
    """Where the prompt is too long for the server: tokens of context and of the prompt, as it counts."""


Output = Tokens | Waiting | Failed


class TokenSource(Protocol):
    """Runs prompts of token ids under grammars. Used by one thread."""

    @property
    def tokenizer(self) -> MistralTokenizer: ...

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that whoever started the worker keeps to."""

    @property
    def capacity(self) -> int:
        """Tokens that there is room for: other clients may keep to more, or to fewer."""

    @property
    def sees(self) -> bool:
        """Whether the model has an image encoder that is loaded."""

    @property
    def sampling(self) -> Sampling:
        """The model's own, for requests that name none."""

    @property
    def has_output(self) -> bool:
        """Whether `step` has something to do now. A source that is fed from elsewhere wakes the worker for it."""

    def details(self) -> Mapping[str, str]:
        """How the model is run, for --debug and for reports."""

    def run(self, run: SourceRun) -> None:
        """Begin a run. Raises where it is refused at once."""

    def abort(self, run_id: str) -> None:
        """End a run; nothing of it comes any more."""

    def step(self) -> Iterable[Output]:
        """What came of the runs under way. Called only where `has_output`."""
