"""vLLM's CUDA build takes what toolchat gives it, and makes of it what is meant. Nothing here ran on a GPU.

Run by `make check-cuda`, in an environment that has that build.
"""

from __future__ import annotations

from typing import Any

import pytest
import tiny_models
from cuda_cases import MEMORY, Answers, pixtral

from toolchat.engine.gpu import GIB
from toolchat.models.hardware import installed_vllm

pytestmark = [
    pytest.mark.cuda_wheels,
    pytest.mark.skipif(installed_vllm() != "cuda", reason="needs the cuda extra: make check-cuda"),
]

WHOLE = ("tekken", "sentencepiece", "8 GiB, Turing", "Blackwell", "sees", "fp8")


@pytest.fixture
def configured(answers: Answers) -> Any:
    def find(case: str) -> dict[str, Any]:
        answer = answers.configurations[case]
        assert "error" not in answer, answer["error"]
        return answer

    return find


@pytest.mark.parametrize("case", WHOLE)
def test_the_second_runner_schedules_asynchronously_and_keeps_prefixes(configured: Any, case: str) -> None:
    answer = configured(case)
    assert answer["second_runner"]
    assert answer["asynchronous"]
    assert answer["prefix_caching"]


@pytest.mark.parametrize("case", WHOLE)
def test_code_is_compiled_and_graphs_are_captured(configured: Any, case: str) -> None:
    answer = configured(case)
    assert not answer["eager"]
    assert (answer["compiles"], answer["graphs"]) == ("VLLM_COMPILE", "FULL_AND_PIECEWISE")


@pytest.mark.parametrize(
    ("case", "backend"), [("tekken", "guidance"), ("sees", "guidance"), ("sentencepiece", "xgrammar")]
)
def test_the_grammars_backend_is_the_one_that_knows_the_tokenizer(configured: Any, case: str, backend: str) -> None:
    answer = configured(case)
    assert answer["backend"] == backend
    assert not answer["any_whitespace"]


@pytest.mark.parametrize("case", ["tekken", "sentencepiece", "8 GiB, Turing", "context"])
def test_the_context_is_never_longer_than_the_models(configured: Any, case: str) -> None:
    assert 0 < configured(case)["longest_context"] <= tiny_models.CONTEXT


def test_the_context_of_a_model_that_sees_is_its_own(configured: Any) -> None:
    assert configured("sees")["longest_context"] == pixtral().CONTEXT


def test_a_context_beyond_the_models_is_refused_before_vllm_sees_it(answers: Answers) -> None:
    refusal = answers.configurations["longer than the model"]["error"]
    assert refusal.startswith(f"--context 4096: the model m knows at most {tiny_models.CONTEXT} tokens")


def test_where_params_json_is_silent_config_json_says_the_context(configured: Any) -> None:
    assert configured("context by config.json")["longest_context"] == 32_768


@pytest.mark.parametrize("case", ["context nowhere", "sees, context nowhere"])
def test_where_no_file_says_it_the_context_is_not_vllms_128_000(configured: Any, case: str) -> None:
    assert configured(case)["longest_context"] == 32_768


def test_where_no_file_says_it_the_context_is_what_was_asked_for(configured: Any) -> None:
    assert configured("context nowhere, asked for")["longest_context"] == 8192


def test_a_fast_start_compiles_nothing_and_keeps_graphs_for_decoding(configured: Any) -> None:
    answer = configured("fast start")
    assert (answer["eager"], answer["compiles"], answer["graphs"]) == (False, "NONE", "FULL_DECODE_ONLY")


def test_an_eager_start_compiles_nothing_and_captures_nothing(configured: Any) -> None:
    answer = configured("eager")
    assert (answer["eager"], answer["compiles"], answer["graphs"]) == (True, "NONE", "NONE")


def test_a_model_that_sees_is_loaded_without_its_encoder_where_only_text_is_asked_for(configured: Any) -> None:
    assert configured("text only")["text_only"] is True
    assert configured("sees")["text_only"] is False
    assert configured("text only, context nowhere")["longest_context"] == 32_768


def test_a_number_format_that_was_asked_for_is_taken(configured: Any) -> None:
    assert configured("float16")["dtype"] == "float16"


def test_numbers_have_the_format_that_the_card_computes_in(configured: Any) -> None:
    assert configured("tekken")["dtype"] == configured("Blackwell")["dtype"] == "bfloat16"
    assert configured("8 GiB, Turing")["dtype"] == "float16"  # Turing has no bfloat16


def test_a_quantised_model_of_mistrals_own_is_taken_as_such_on_every_card(configured: Any) -> None:
    assert configured("fp8")["quantization"] == configured("fp8, Turing")["quantization"] == "fp8"
    assert configured("tekken")["quantization"] is None


def test_the_cache_and_the_width_are_what_was_planned(configured: Any) -> None:
    assert configured("cache")["kv_cache_bytes"] == 1 << 29
    assert configured("tekken")["kv_cache_bytes"] is None
    assert configured("tekken")["sequences"] >= 2


def test_the_share_of_the_card_is_the_one_that_was_reckoned(configured: Any) -> None:
    assert configured("half the card")["share"] == 0.5
    assert configured("tekken")["share"] == 0.92  # vLLM's own, where there is nothing to say


def test_toolchats_worker_derives_from_the_one_that_vllm_would_take(answers: Answers) -> None:
    assert answers.workers["toolchat"] == answers.workers["vllm"]


@pytest.mark.parametrize(("number", "card"), list(enumerate(MEMORY)))
def test_vllm_starts_with_the_share_that_toolchat_reckons(
    answers: Answers, number: int, card: tuple[float, float]
) -> None:
    gib, held = card
    answer = answers.memory[number]
    assert answer["refused"] is None
    assert 0 < answer["share"] <= 0.92
    # No more is left unused than a margin: of half a GiB, or 2 % of the card, or what vLLM leaves anyway.
    assert answer["share"] >= min(0.92, (gib - held) / gib - max(0.5 / gib, 0.025))


def test_the_cards_that_drive_a_screen_are_refused_with_vllms_own_share(answers: Answers) -> None:
    refused = [card for card, answer in zip(MEMORY, answers.memory, strict=True) if answer["refused_by_default"]]
    assert refused == [(4, 0.7), (8, 0.9), (12, 1.2), (16, 1.4), (24, 2.0), (24, 12.0)]


def test_vllms_startup_plan_is_found_again_only_where_the_whole_context_fits(answers: Answers) -> None:
    assert answers.startup_plans["the context was made shorter"] is None
    assert answers.startup_plans["the whole context fits"] == 6 * GIB


def test_the_key_of_vllms_startup_plan_does_not_hold_the_share_of_the_card(answers: Answers) -> None:
    # Why toolchat uses the plan with vLLM's own share only.
    assert answers.startup_plans["the whole context fits, and another share is given"] == 6 * GIB
