from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine.config import BY_GENERATION_CONFIG, Sampling
from toolchat.engine.params import context_window
from toolchat.models.card import BY_CARD, sampling
from toolchat.wire.errors import EngineError


def folder_of(folder: Path, params: Any, config: Any = None, generation: Any = None) -> Path:
    contents = {"params.json": params, "config.json": config, "generation_config.json": generation}
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("params", "config", "longest"),
    [
        ({"max_position_embeddings": 32768}, None, 32768),
        ({}, {"max_position_embeddings": 32768}, 32768),
        # Models that see.
        ({}, {"text_config": {"max_position_embeddings": 131072}, "vision_config": {}}, 131072),
        ({}, {"max_position_embeddings": 1, "text_config": {"max_position_embeddings": 4096}}, 4096),
        # vLLM asks config.json only where params.json does not say it.
        ({"max_position_embeddings": 262144}, {"max_position_embeddings": 131072}, 262144),
        # The smaller of params.json's two, and of either and config.json's where one is missing.
        ({"max_position_embeddings": 131072, "max_seq_len": 128000}, None, 128000),
        ({"max_seq_len": 128000}, {"max_position_embeddings": 1024000}, 128000),
        ({"max_seq_len": 131072}, {"max_position_embeddings": 32768}, 32768),
        # What vLLM assumes bounds what is written.
        ({"max_seq_len": 8192}, None, 8192),
        ({"max_seq_len": 200_000}, None, 128_000),
        # Nobody says it.
        ({}, None, None),
        ({}, {}, None),
        ({}, "{", None),
        ({}, [], None),
        ({"max_position_embeddings": "many", "max_seq_len": True}, {"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": None}, {"text_config": 3, "max_position_embeddings": 2048}, 2048),
    ],
)
def test_the_context_is_the_longest_that_vllm_accepts(
    tmp_path: Path, params: Any, config: Any, longest: int | None
) -> None:
    assert context_window(folder_of(tmp_path, params, config)) == longest


def test_broken_params_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"params\.json"):
        context_window(folder_of(tmp_path, "{"))


@pytest.mark.parametrize(
    ("generation", "values"),
    [
        ({"temperature": 0.15}, (0.15, 1.0)),
        ({"temperature": 1, "top_p": 0.9, "do_sample": True}, (1.0, 0.9)),
        ({"top_p": 0.95}, (1.0, 0.95)),
        ({"do_sample": False, "temperature": 0.7}, (0.0, 1.0)),
    ],
)
def test_the_models_own_file_says_how_it_is_sampled(
    tmp_path: Path, generation: Any, values: tuple[float, float]
) -> None:
    found = sampling(folder_of(tmp_path, {}, generation=generation), "mistralai/Magistral-Small-2509")
    assert found == Sampling(*values, BY_GENERATION_CONFIG)


@pytest.mark.parametrize(
    "generation",
    [None, "{", [], {}, {"bos_token_id": 1}, {"temperature": True, "top_p": "much"}, {"temperature": -1, "top_p": 2}],
)
def test_a_file_that_says_nothing_of_use_leaves_it_to_the_card(tmp_path: Path, generation: Any) -> None:
    found = sampling(folder_of(tmp_path, {}, generation=generation), "mistralai/Magistral-Small-2509")
    assert found == Sampling(0.7, 0.95, BY_CARD)
    assert str(found) == "temperature 0.7, top-p 0.95"


@pytest.mark.parametrize(
    ("name", "temperature"),
    [
        ("mistralai/Magistral-Small-2506", 0.7),
        ("mistralai/Mistral-Small-24B-Instruct-2501", 0.15),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 0.15),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 0.15),
        ("mistralai/Devstral-Small-2507", 0.15),
        ("mistralai/Devstral-Small-2-24B-Instruct-2512", 0.15),
        ("mistralai/Ministral-3-8B-Instruct-2512", 0.05),
        ("mistralai/Ministral-3-14B-Reasoning-2512", 0.7),
        ("mistralai/Mistral-Large-3-675B-Instruct-2512", 0.05),
        ("mistralai/Mistral-Small-4-119B-2603", 0.0),
        ("~/models/Magistral-Small-2509/", 0.7),
    ],
)
def test_cards_are_known_by_name(tmp_path: Path, name: str, temperature: float) -> None:
    found = sampling(tmp_path, name)
    assert (found.temperature, found.source) == (temperature, BY_CARD)


@pytest.mark.parametrize(
    "name", ["demo", "mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-Nemo-Instruct-2407", "my-magistral-small"]
)
def test_other_models_take_the_likeliest_tokens(tmp_path: Path, name: str) -> None:
    assert sampling(tmp_path, name) == Sampling(0.0, 1.0, "toolchat's own default")


def test_a_model_that_is_told_to_think_is_sampled_for_that(tmp_path: Path) -> None:
    small, medium = "mistralai/Mistral-Small-4-119B-2603", "mistralai/Mistral-Medium-3.5-128B"
    assert sampling(tmp_path, small, "none") == sampling(tmp_path, small) == Sampling(0.0, 1.0, BY_CARD)
    assert sampling(tmp_path, small, "high") == Sampling(0.7, 1.0, BY_CARD)
    assert sampling(tmp_path, medium, "high") == Sampling(0.7, 0.95, BY_CARD)
    assert sampling(tmp_path, medium) == Sampling(0.0, 1.0, BY_CARD)
