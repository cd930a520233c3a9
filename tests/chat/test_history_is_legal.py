from __future__ import annotations

import asyncio
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mistral_tokenizers import ALL, SEEING, load, vocabulary_of
from played_chat import TOOLBOX, play

from toolchat.mistral.render import encode
from toolchat.mistral.token_count import count_tokens
from toolchat.wire.messages import Message


@cache
def _tokenizer(folder: Path, label: str, supports_images: bool) -> Any:
    return load(folder, label, supports_images=supports_images)


def _tokens(*arguments: Any, **more: Any) -> list[int]:
    return encode(*arguments, **more).tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


TOKENIZERS = [*((label, False) for label in ALL), *((label, True) for label in SEEING)]
QUICK = 3
"""In `make test` each tokenizer encodes one in so many chats: encoding takes most of the time."""


def check_versions(folder: Path, requests: list[tuple[Message, ...]], tokenizers: list[tuple[str, bool]]) -> None:
    for label, supports_images in tokenizers:
        tokenizer = _tokenizer(folder, label, supports_images)
        vocabulary = vocabulary_of(tokenizer)
        supports_reasoning = vocabulary.special("[THINK]") is not None
        tokens = partial(
            _tokens,
            tokenizer,
            vocabulary.version,
            supports_reasoning=supports_reasoning,
            supports_images=supports_images,
        )
        for messages in requests:
            prompt = tokens(messages, TOOLBOX.specs)
            count = count_tokens(vocabulary, tokens, prompt, messages, TOOLBOX.specs, supports_images=supports_images)
            assert sum(count.messages) + sum(count.tools) + count.format == count.total == len(prompt)
            assert all(size > 0 for size in count.tools)


def legal(folder: Path, data: Any, tokenizers: list[tuple[str, bool]]) -> None:
    chat = asyncio.run(play(data.draw))
    chat.conversation.add_user("And now?")
    engine = chat.engine
    assert all(request.prompt_tokens + request.options.reserve <= engine.context for request in engine.requests)
    # Each request holds those before it or was cut: the last of each turn, and the last of all, say it all.
    asked = {request.request_id.rpartition("-")[0]: request.messages for request in engine.requests}
    check_versions(folder, [*asked.values(), chat.conversation.messages], tokenizers)


@pytest.mark.long
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happens_every_version_accepts_the_history(folder: Path, data: Any) -> None:
    first = data.draw(st.integers(0, QUICK - 1))
    legal(folder, data, TOKENIZERS[first::QUICK])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happens_ten_thousand_times(folder: Path, data: Any) -> None:
    legal(folder, data, TOKENIZERS)
