"""A vLLM server as a source of tokens: prompts of token ids and grammars over /v1/completions.

A prompt with images goes to /inference/v1/generate, which is there where the server has `--enable-scale-out`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import queue
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from toolchat.engine.config import Sampling
from toolchat.engine.remote.config import WIDTH
from toolchat.engine.remote.connection import DONE, Connection, Wait
from toolchat.engine.remote.failures import BrokenStreamError
from toolchat.engine.worker.failures import one_line
from toolchat.engine.worker.source import ENDINGS, Failed, Output, SourceRun, Tokens, Waiting
from toolchat.wire.deltas import FinishReason
from toolchat.wire.errors import EngineError

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from PIL.Image import Image as Picture

NEVER = -100.0
"""The least logit bias that vLLM takes."""
GENERATE = "/inference/v1/generate"
_PICTURES = 16
"""Encoded pictures that are remembered: every round of a turn sends all of them again."""


class Completions:
    """See `TokenSource` for the protocol; `wake` is called, in another thread, where there is output."""

    def __init__(
        self,
        connection: Connection,
        model: str,
        tokenizer: MistralTokenizer,
        *,
        context: int,
        sampling: Sampling,
        sees: bool,
        wake: Callable[[], None],
    ) -> None:
        self.tokenizer = tokenizer
        self.context = self.capacity = context
        self.width = WIDTH
        self.sampling = sampling
        self.sees = sees
        self._connection = connection
        self._model = model
        self._wake = wake
        self._outputs: queue.SimpleQueue[Output] = queue.SimpleQueue()
        self._tasks: dict[str, Future[None]] = {}

    @property
    def has_output(self) -> bool:
        return not self._outputs.empty()

    def details(self) -> Mapping[str, str]:
        return {}

    def run(self, run: SourceRun) -> None:
        task = self._tasks[run.id] = self._connection.spawn(self._follow(run))
        task.add_done_callback(partial(self._forget, run.id))

    def abort(self, run_id: str) -> None:
        # What it has put into the queue meanwhile is nobody's any more.
        if (task := self._tasks.pop(run_id, None)) is not None:
            task.cancel()

    def _forget(self, run_id: str, task: Future[None]) -> None:
        # The generation may be in its next run by now.
        if self._tasks.get(run_id) is task:
            self._tasks.pop(run_id, None)

    def step(self) -> Iterator[Output]:
        while not self._outputs.empty():
            yield self._outputs.get()

    async def _follow(self, run: SourceRun) -> None:
        def put(output: Output) -> None:
            self._outputs.put(output)
            self._wake()

        def wait(why: str) -> None:
            put(Waiting(run.id, why))

        try:
            async with aclosing(token_stream(self._connection, self._model, run, wait)) as outputs:
                async for output in outputs:
                    put(output)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            put(Failed(run.id, one_line(error)))


async def token_stream(connection: Connection, model: str, run: SourceRun, wait: Wait) -> AsyncGenerator[Tokens, None]:
    """What comes of a run, as it comes; raises EngineError where it is refused or breaks."""
    ended: FinishReason | None = None
    last: tuple[int, ...] = ()
    cached = None
    where = connection.address.text
    if run.prompt.images:
        url, request = f"{connection.address.root}{GENERATE}", body_with_images(model, run)
    else:
        url, request = f"{connection.address.api}/completions", body(model, run)
    events = connection.events(url, request, wait)
    async with aclosing(events):
        async for event in events:
            if event is DONE:
                break
            cached = _cached(event, cached)
            choice = next((one for one in event.get("choices") or () if isinstance(one, dict)), None)
            if choice is None or ended is not None:
                continue
            ids = _ids(choice.get("token_ids"), where)
            sent = choice.get("prompt_token_ids")
            if isinstance(sent, list) and sent != run.prompt.tokens:
                raise EngineError(
                    f"{where}: the server changed the prompt's tokens; is it started with --tokenizer-mode mistral?"
                )
            match choice.get("finish_reason"):
                case None:
                    if ids:
                        yield Tokens(run.id, ids)
                case reason:
                    # Held back until the usage has come, behind it: a run's last tokens and its end are one.
                    last, ended = ids, ENDINGS.get(str(reason))
                    if ended is None:
                        raise BrokenStreamError(f"{where}: the server gave the answer up ({reason}); see its log")
    if ended is None:
        raise BrokenStreamError(f"{where}: the server ended the answer in the middle; see its log")
    yield Tokens(run.id, last, ended, cached)


def body(model: str, run: SourceRun) -> dict[str, Any]:
    """The request of a run."""
    return {
        "model": model,
        "prompt": run.prompt.tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
        "skip_special_tokens": False,
        "add_special_tokens": False,
        **_sampling(run),
    }


def body_with_images(model: str, run: SourceRun) -> dict[str, Any]:
    """The same for GENERATE: the [IMG] tokens are in the prompt already, and the images go beside it."""
    return {
        "model": model,
        "token_ids": run.prompt.tokens,
        "content_parts": [{"type": "image_url", "url": _data_url(picture)} for picture in run.prompt.images],
        "stream": True,
        "stream_options": {"include_usage": True},
        "sampling_params": _sampling(run) | {"detokenize": False},
    }


def _sampling(run: SourceRun) -> dict[str, Any]:
    """Every field of sampling is named: what is omitted comes from the server's configuration."""
    grammar = run.step.grammar
    wanted: dict[str, Any] = {
        "max_tokens": run.max_tokens,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if run.seed is not None:
        wanted["seed"] = run.seed
    if grammar is not None:
        # vLLM tells Lark from EBNF by itself.
        wanted["structured_outputs"] = {"grammar": grammar.text}
    if run.step.banned:
        wanted["logit_bias"] = {str(token): NEVER for token in run.step.banned}
    if run.stop is not None:
        wanted["stop_token_ids"] = [run.stop]
    return wanted


_encoded: dict[int, tuple[Picture, str]] = {}
"""By the picture's identity, which `images.image.decoded` keeps as long as it is sent again."""


def _data_url(picture: Picture) -> str:
    """The very pixels that the prompt's tokens were counted for."""
    known = _encoded.get(id(picture))
    if known is None or known[0] is not picture:
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=1)
        known = picture, f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        while len(_encoded) >= _PICTURES:
            del _encoded[next(iter(_encoded))]
        _encoded[id(picture)] = known
    return known[1]


def _ids(value: Any, where: str) -> tuple[int, ...]:
    ids = value if value is not None else []
    if not isinstance(ids, list) or not all(type(one) is int and one >= 0 for one in ids):
        raise BrokenStreamError(f"{where}: sent token ids that are none")
    return tuple(ids)


def _cached(event: Mapping[str, Any], before: int | None) -> int | None:
    """Of the prompt's tokens, those in the server's prefix cache, as --enable-prompt-tokens-details has it say."""
    match event.get("usage"):
        case {"prompt_tokens_details": {"cached_tokens": int(cached)}}:
            return cached
    return before
