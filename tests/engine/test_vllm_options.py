from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine import vllm_options
from toolchat.engine.vllm_options import (
    OURS,
    Lora,
    check_lora,
    check_quantization,
    engine_fields,
    quantizations,
    read_engine_args,
    read_lora,
)
from toolchat.wire.errors import UsageError

FIELDS = {
    "block_size": "int | None",
    "cpu_offload_gb": "float",
    "trust_remote_code": "bool",
    "kv_cache_dtype": "CacheDType",
    "optimization_level": "OptimizationLevel",
    "speculative_config": "dict[str, Any] | None",
    "override_generation_config": "dict[str, Any]",
    "logits_processors": "list[str | type[LogitsProcessor]] | None",
    "swap_path": "str | None",
    "offload_params": "set[str]",
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("block_size=16", 16),
        ("block-size=16", 16),
        ("--block-size=16", 16),
        ("block_size=none", None),
        ("cpu_offload_gb=1.5", 1.5),
        ("trust_remote_code=on", True),
        ("trust_remote_code=False", False),
        ("kv_cache_dtype=fp8", "fp8"),
        ("optimization_level=1", 1),
        (
            'speculative_config={"method": "ngram", "num_speculative_tokens": 3}',
            {"method": "ngram", "num_speculative_tokens": 3},
        ),
        ("swap_path=a=b", "a=b"),
        ("swap_path=1", "1"),
        ('offload_params=["a"]', ["a"]),
    ],
)
def test_a_value_gets_the_type_that_vllms_annotation_names(pair: str, value: Any) -> None:
    (found,) = read_engine_args([pair], FIELDS).values()
    assert found == value
    assert type(found) is type(value)


def test_relative_paths_begin_in_the_folder_the_user_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "draft").mkdir(parents=True)
    whole = {"model": "./draft", "deep": [{"at": "../x"}, "owner/draft", "owner/other", "/abs/x", "a/\0b", 3]}
    read = read_engine_args([f"speculative_config={json.dumps(whole)}", "swap_path=.", "model_impl=./x=y"], {})
    assert read == {
        "speculative_config": {
            "model": str(tmp_path / "draft"),
            "deep": [
                {"at": str(tmp_path / ".." / "x")},
                str(tmp_path / "owner" / "draft"),  # vLLM takes a folder that is there for the folder
                *("owner/other", "/abs/x", "a/\0b", 3),
            ],
        },
        "swap_path": str(tmp_path),
        "model_impl": str(tmp_path / "x=y"),
    }


def test_without_arguments_vllms_source_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_options, "engine_fields", lambda: pytest.fail("it takes 0.1 s"))
    assert read_engine_args([]) == {}


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (["block_sise=16"], "--engine-arg block_sise: vLLM's EngineArgs have no such name; did you mean block_size?"),
        (["xyzzy=1"], "--engine-arg xyzzy: vLLM's EngineArgs have no such name; docs.vllm.ai, Engine Arguments"),
        (["block_size=many"], "--engine-arg block_size: expected a whole number, not 'many'"),
        (["cpu_offload_gb=x"], "--engine-arg cpu_offload_gb: expected a number, not 'x'"),
        (["trust_remote_code=maybe"], "--engine-arg trust_remote_code: expected true or false, not 'maybe'"),
        (["speculative_config=ngram"], "--engine-arg speculative_config: expected JSON"),
        (['speculative_config={"a":'], "--engine-arg speculative_config: expected JSON"),
        (["block_size=1", "block-size=2"], "--engine-arg block_size: given twice"),
        (["max_model_len=1"], "--engine-arg max_model_len: this is not to be set so; use --context"),
        (["max-model-len=1"], "--engine-arg max-model-len: this is not to be set so; use --context"),
        (["tensor_parallel_size=2"], "--engine-arg tensor_parallel_size: .*takes one GPU"),
        (["tokenizer_mode=hf"], "--engine-arg tokenizer_mode: .*by the model's files"),
    ],
)
def test_a_wrong_argument_is_one_line_with_the_nearest_name_or_toolchats_flag(pairs: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line) as refused:
        read_engine_args(pairs, FIELDS)
    assert "\n" not in str(refused.value)


def test_words_that_vllms_alias_allows_are_checked_and_of_another_kind_are_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_options, "choices", lambda alias: ("auto", "fp8") if alias == "CacheDType" else ())
    assert read_engine_args(["kv_cache_dtype=fp8"], FIELDS) == {"kv_cache_dtype": "fp8"}
    with pytest.raises(UsageError, match=r"expected one of auto, fp8, not 'fp9'; did you mean fp8\?"):
        read_engine_args(["kv_cache_dtype=fp9"], FIELDS)
    assert read_engine_args(["x=whatever"], {"x": "CacheDType | Custom"}) == {"x": "whatever"}


def test_without_vllm_the_names_are_left_to_it() -> None:
    assert read_engine_args(["anything=1"], {}) == {"anything": 1}
    with pytest.raises(UsageError, match="use --context"):
        read_engine_args(["max_model_len=1"], {})


def test_the_names_are_those_of_the_installed_vllm_and_reading_them_imports_nothing() -> None:
    import sys

    if not engine_fields():
        pytest.skip("vLLM is not installed")
    assert set(OURS) <= set(engine_fields()), "vLLM has dropped an argument that toolchat speaks of"
    assert engine_fields()["trust_remote_code"] == "bool"
    assert "_api_process_count" not in engine_fields()
    assert {"awq", "gptq", "fp8", "compressed-tensors", "fp8_per_tensor"} <= set(quantizations())
    assert read_engine_args(["kv_cache_dtype=fp8"]) == {"kv_cache_dtype": "fp8"}
    with pytest.raises(
        UsageError, match=r"kv_cache_dtype: expected one of auto, .*, not 'fp8_e4n3'; did you mean fp8_e4m3"
    ):
        read_engine_args(["kv_cache_dtype=fp8_e4n3"])
    assert "vllm" not in sys.modules


def test_every_argument_that_toolchat_gives_vllm_is_its_own_or_may_be_overridden() -> None:
    from dataclasses import replace

    from toolchat.engine.config import EngineConfig
    from toolchat.engine.worker.loading import engine_arguments

    lora = Lora("a", "/a", 8)
    gpu = EngineConfig("m", "/m", "cuda", None, 1, 1, text_only=True, quantization="awq", lora=lora)
    given: set[str] = set()
    for config in (gpu, replace(gpu, eager=False, fast_start=True), replace(gpu, device="cpu")):
        given |= set(engine_arguments(config, tekken=True, vision=False, share=0.5))
    assert given - set(OURS) == {"block_size", "compilation_config"}


def test_a_quantisation_that_vllm_has_not_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_options, "quantizations", lambda: ("awq", "gptq", "fp8", "fp8_per_tensor"))
    with pytest.raises(UsageError, match=r"--quantization awk: vLLM has no such method; did you mean awq\?"):
        check_quantization("awk", "")
    with pytest.raises(UsageError, match=r"--quantization fp8: .* fp8_per_tensor$"):
        check_quantization("fp8", "")
    with pytest.raises(UsageError, match=r"--quantization awq: this model is in 16 bits, .* fp8_per_tensor$"):
        check_quantization("awq", "")
    check_quantization("awq", "awq")
    check_quantization("fp8", "fp8")
    check_quantization("fp8_per_tensor", "")


def adapter(folder: Path, config: Any = None, weights: str | None = "adapter_model.safetensors") -> Path:
    folder.mkdir()
    if config is not None:
        (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights is not None:
        (folder / weights).write_bytes(b"1234")
    return folder


@pytest.mark.parametrize(
    ("config", "rank"),
    [({"r": 1}, 1), ({"r": 4}, 8), ({"r": 33, "peft_type": "LORA"}, 64), ({"r": 4, "rank_pattern": {"q": 200}}, 256)],
)
def test_an_adapter_is_given_the_least_rank_of_vllms_that_holds_it(tmp_path: Path, config: Any, rank: int) -> None:
    folder = adapter(tmp_path / "a", config)
    assert read_lora(f"mine={folder}") == Lora("mine", str(folder), rank, 4)


@pytest.mark.parametrize(
    ("config", "weights", "line"),
    [
        (None, "adapter_model.safetensors", "has no adapter_config.json"),
        ("{", "adapter_model.safetensors", r"adapter_config\.json: cannot be read"),
        ({"r": 8}, None, "has no adapter_model.safetensors"),
        ({"r": 8, "peft_type": "IA3"}, "adapter_model.bin", "peft_type is IA3; vLLM takes LORA"),
        ({"r": 0}, "adapter_model.bin", "expected a rank r from 1 to 512, not 0"),
        ({"r": 1024}, "adapter_model.bin", "expected a rank r from 1 to 512, not 1024"),
        ({}, "adapter_model.bin", "expected a rank r from 1 to 512, not None"),
    ],
)
def test_what_is_no_adapter_is_one_line(tmp_path: Path, config: Any, weights: str | None, line: str) -> None:
    folder = adapter(tmp_path / "a", config, weights)
    with pytest.raises(UsageError, match=line) as refused:
        read_lora(f"mine={folder}")
    assert str(refused.value).startswith(f"--lora mine={folder}: ")
    assert "\n" not in str(refused.value)


def test_an_adapter_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no folder; expected one with adapter_config\.json"):
        read_lora(f"mine={tmp_path / 'none'}")


def test_an_adapter_of_a_model_of_another_width_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [8, 4096], "data_offsets": [0, 4]}}).encode()
    folder = adapter(tmp_path / "a", {"r": 8})
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    lora = read_lora(f"mine={folder}")
    assert lora.dim == 4096
    check_lora(lora, "m", {"dim": 4096})
    check_lora(lora, "m", {})
    with pytest.raises(UsageError, match=r"--lora mine=.*: it was made for a model of width 4096, and m has 576; name"):
        check_lora(lora, "m", {"dim": 576})


@pytest.mark.parametrize("data", [b"", b"1234", (3).to_bytes(8, "little") + b"[1]", (2**60).to_bytes(8, "little")])
def test_an_adapter_whose_weights_tell_no_width_is_left_to_vllm(tmp_path: Path, data: bytes) -> None:
    folder = adapter(tmp_path / "a", {"r": 8})
    (folder / "adapter_model.safetensors").write_bytes(data)
    assert read_lora(f"mine={folder}").dim is None
