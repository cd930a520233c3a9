from __future__ import annotations

from dataclasses import replace

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.memory import MOST
from toolchat.engine.vllm_options import Lora
from toolchat.engine.worker.loading import engine_arguments, startup_plan

GPU = EngineConfig("m", "/models/m", "cuda", None, None, eager=False)
CPU = EngineConfig("m", "/models/m", "cpu", 8192, 1000)


def test_a_gpu_gets_its_share_and_a_context_that_fits_it() -> None:
    arguments = engine_arguments(GPU, tekken=True, vision=False, share=0.8)
    assert (arguments["gpu_memory_utilization"], arguments["max_model_len"]) == (0.8, -1)
    assert not {"enforce_eager", "kv_cache_memory_bytes", "hf_overrides", "compilation_config"} & set(arguments)


def test_a_context_that_is_asked_for_changes_nothing_that_is_compiled() -> None:
    asked = replace(GPU, context=4096)
    assert engine_arguments(asked, tekken=True, vision=False) == engine_arguments(GPU, tekken=True, vision=False)


@pytest.mark.parametrize("vision", [False, True])
def test_the_models_window_is_told_where_its_parameters_do_not_say_it(vision: bool) -> None:
    arguments = engine_arguments(replace(GPU, window=32768), tekken=True, vision=vision)
    known = {"max_position_embeddings": 32768}
    assert arguments["hf_overrides"] == ({"text_config": known} if vision else known)


def test_the_tokenizer_chooses_the_backend_of_the_grammar() -> None:
    for tekken, backend in ((True, "guidance"), (False, "xgrammar")):
        arguments = engine_arguments(GPU, tekken=tekken, vision=False)
        assert arguments["structured_outputs_config"]["backend"] == backend


def test_a_fast_start_leaves_out_inductor_and_keeps_graphs_for_decoding() -> None:
    fast = engine_arguments(replace(GPU, fast_start=True), tekken=True, vision=False)
    assert fast["compilation_config"] == {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
    eager = engine_arguments(replace(GPU, fast_start=True, eager=True), tekken=True, vision=False)
    assert "compilation_config" not in eager
    assert eager["enforce_eager"]


def test_a_cpu_gets_its_cache_and_context_and_no_share() -> None:
    arguments = engine_arguments(replace(CPU, dtype="float32"), tekken=True, vision=False)
    assert (arguments["max_model_len"], arguments["kv_cache_memory_bytes"], arguments["dtype"]) == (
        8192,
        1000,
        "float32",
    )
    assert "gpu_memory_utilization" not in arguments


def test_a_text_only_model_is_loaded_without_its_eyes() -> None:
    assert engine_arguments(replace(GPU, text_only=True), tekken=True, vision=True)["language_model_only"]


@pytest.mark.parametrize(
    ("config", "share", "used"),
    [
        (GPU, MOST, True),
        (GPU, 0.8, False),  # a busy card: its short context must not become the plan of a free one
        (replace(GPU, gpu_memory=MOST), MOST, False),
        (CPU, None, False),
    ],
)
def test_vllms_startup_plan_is_used_with_its_own_share_alone(
    config: EngineConfig, share: float | None, used: bool
) -> None:
    assert startup_plan(config, share) is used


def test_each_format_is_read_as_what_it_is_with_mistrals_tokenizer() -> None:
    mistral = engine_arguments(CPU, tekken=True, vision=False)
    assert (mistral["config_format"], mistral["load_format"]) == ("mistral", "mistral")
    other = engine_arguments(replace(CPU, format="hf"), tekken=True, vision=False)
    assert (other["config_format"], other["load_format"], other["tokenizer_mode"]) == ("hf", "safetensors", "mistral")


def test_options_of_vllms_are_passed_on_by_its_names() -> None:
    config = replace(GPU, quantization="awq", lora=Lora("a", "/a", 16), engine_args={"block_size": 16})
    arguments = engine_arguments(config, tekken=True, vision=False)
    assert (arguments["quantization"], arguments["block_size"]) == ("awq", 16)
    assert (arguments["enable_lora"], arguments["max_loras"], arguments["max_lora_rank"]) == (True, 1, 16)
    assert not {"quantization", "enable_lora"} & set(engine_arguments(GPU, tekken=True, vision=False))
