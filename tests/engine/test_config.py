from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine import config
from toolchat.engine.config import GIB, EngineConfig, plan
from toolchat.engine.gpu import Gpu
from toolchat.engine.params import kv_bytes_per_token
from toolchat.engine.vllm_options import Lora
from toolchat.models.card import supports_images
from toolchat.models.choice import ModelChoice
from toolchat.wire.errors import EngineError, UsageError

PARAMS = {"dim": 576, "n_layers": 30, "head_dim": 64, "n_heads": 9, "n_kv_heads": 3, "max_seq_len": 8192}


NO_BF16 = frozenset({"avx2"})
BF16 = frozenset({"avx2", "avx512_bf16"})


@pytest.fixture(autouse=True)
def a_cpu_that_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cpu_flags", lambda: BF16)


def card(gib: int, capability: tuple[int, int] = (8, 9)) -> Gpu:
    return Gpu(0, "GPU-1", "RTX", gib * GIB, gib * GIB, capability, 580)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    (tmp_path / "consolidated.safetensors").write_bytes(b"\0" * 1000)
    return tmp_path


def test_kv_cache_holds_more_than_the_context_where_memory_allows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "granted_memory", lambda: 16 * GIB)
    planned = plan("m", folder, "cpu")
    assert kv_bytes_per_token(PARAMS) == 23040
    assert planned.context == 8192
    assert planned.kv_cache_bytes == (8192 + 32) * 23040 * 5 // 4
    assert planned.dtype == "auto"


def test_scarce_memory_is_used_for_one_context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = 8224 * 23040
    monkeypatch.setattr(config, "granted_memory", lambda: int(1.5 * GIB + 1.1 * one))
    assert plan("m", folder, "cpu").kv_cache_bytes == one


def test_too_little_memory_is_one_line_with_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "granted_memory", lambda: GIB)
    with pytest.raises(
        EngineError,
        match=r"not enough memory for m: .* GiB of KV cache for 8192 tokens, but 1.0 GiB are free",
    ):
        plan("m", folder, "cpu")


def test_kv_cache_smaller_than_the_context_names_both_flags(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"--kv-cache 0.05: too small for a context of 8192 .*--context"):
        plan("m", folder, "cpu", kv_cache_gib=0.05)


def test_context_longer_than_the_models_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--context 9000: the model m knows at most 8192"):
        plan("m", folder, "cpu", context=9000)


def test_without_bfloat16_arithmetic_it_is_float32_and_the_memory_is_reckoned_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "cpu_flags", lambda: NO_BF16)
    monkeypatch.setattr(config, "granted_memory", lambda: 16 * GIB)
    planned = plan("m", folder, "cpu")
    assert (planned.dtype, planned.kv_cache_bytes) == ("float32", (8192 + 32) * 46080 * 5 // 4)
    assert planned.notes == ()


def test_float32_that_does_not_fit_leaves_bfloat16_with_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cpu_flags", lambda: NO_BF16)
    monkeypatch.setattr(config, "granted_memory", lambda: int(1.5 * GIB + 8224 * 23040 * 1.5))
    planned = plan("m", folder, "cpu")
    assert (planned.dtype, planned.kv_cache_bytes) == ("bfloat16", (8192 + 32) * 23040 * 5 // 4)
    (note,) = planned.notes
    assert "does not hold m in float32" in note
    assert note.endswith("which is slow on this CPU")
    monkeypatch.setattr(config, "cpu_flags", frozenset)  # which tell nothing of its arithmetic
    assert plan("m", folder, "cpu").notes[0].endswith("which this CPU may be slow at")


def test_a_number_format_that_is_asked_for_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cpu_flags", lambda: NO_BF16)
    assert plan("m", folder, "cpu", dtype="bfloat16").dtype == "bfloat16"
    monkeypatch.setattr(config, "cpu_flags", lambda: BF16)
    assert plan("m", folder, "cpu", dtype="float32").dtype == "float32"


def test_a_quantised_model_keeps_the_format_it_was_made_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cpu_flags", lambda: NO_BF16)
    (folder / "params.json").write_text(json.dumps(PARAMS | {"quantization": {"qformat_weight": "fp8_e4m3"}}))
    assert plan("m", folder, "cpu").dtype == "auto"


def test_a_gpu_is_never_given_more_context_than_the_model_knows(folder: Path) -> None:
    (folder / "params.json").write_text(json.dumps({"dim": 4096, "n_layers": 32, "n_heads": 32}))
    assumed = plan("m", folder, "cuda")
    assert (assumed.window, assumed.context) == (32768, None)
    assert "do not say how long a context" in assumed.notes[0]
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 65536}))
    known = plan("m", folder, "cuda")
    assert (known.window, known.notes) == (65536, ())
    with pytest.raises(UsageError, match="--context 70000: the model m knows at most 65536"):
        plan("m", folder, "cuda", context=70000)


def test_a_model_larger_than_the_card_is_refused_before_anything_is_imported(folder: Path) -> None:
    with (folder / "consolidated.safetensors").open("wb") as weights:
        weights.truncate(14 * GIB)  # a hole, not bytes
    with pytest.raises(EngineError, match=r"m does not fit this GPU: .* 14\.0 GiB, and the GPU has 8\.0 GiB"):
        plan("m", folder, "cuda", card=card(8))
    assert plan("m", folder, "cuda", card=card(24)).device == "cuda"


def test_a_gpu_compiles_but_for_a_model_that_is_loaded_sooner(folder: Path) -> None:
    assert not plan("m", folder, "cuda").eager
    assert plan("demo", folder, "cuda", eager=True).eager
    assert plan("m", folder, "cpu").eager


def test_a_gpu_is_left_to_vllm(folder: Path) -> None:
    planned = plan("m", folder, "cuda")
    assert (planned.context, planned.kv_cache_bytes) == (None, None)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_broken_params_are_named(folder: Path, text: str) -> None:
    (folder / "params.json").write_text(text)
    with pytest.raises(EngineError, match=r"params\.json: (cannot be read|expected)"):
        plan("m", folder, "cpu")


VISION = PARAMS | {"vision_encoder": {"image_size": 64}}


@pytest.mark.parametrize(
    ("device", "params", "eager", "given", "notes"),
    [
        ("cpu", PARAMS, False, {"fast_start": True}, ["--fast-start has no effect: the engine runs on the CPU"]),
        (
            "cpu",
            VISION,
            False,
            {"gpu_memory": 0.5, "fast_start": True, "text_only": True},
            ["--gpu-memory and --fast-start have no effect: the engine runs on the CPU"],
        ),
        ("cpu", PARAMS, False, {"text_only": True}, ["--text-only has no effect: m has no image encoder"]),
        ("cuda", PARAMS, False, {"text_only": True}, ["--text-only has no effect: m has no image encoder"]),
        ("cuda", PARAMS, True, {"fast_start": True}, ["--fast-start has no effect: m is never compiled"]),
        ("cpu", PARAMS, False, {"enforce_eager": True}, ["--enforce-eager has no effect: the engine runs on the CPU"]),
        ("cuda", PARAMS, True, {"enforce_eager": True}, ["--enforce-eager has no effect: m is never compiled"]),
        ("cuda", VISION, False, {"gpu_memory": 0.5, "fast_start": True, "text_only": True}, []),
        ("cpu", PARAMS, False, {"fast_start": False, "text_only": False}, []),  # --no-fast-start
    ],
)
def test_flags_without_effect_are_told_where_they_stand_on_the_command_line(
    folder: Path, device: str, params: dict[str, object], eager: bool, given: dict[str, Any], notes: list[str]
) -> None:
    written = params | {"max_position_embeddings": 8192}
    (folder / "params.json").write_text(json.dumps(written))
    assert list(plan("m", folder, device, eager=eager, flags=given, **given).notes) == notes
    # From config.toml or a variable: it may be meant for another model or machine.
    assert plan("m", folder, device, eager=eager, **given).notes == ()


def test_options_reach_the_engine_and_come_back_whole_from_json(folder: Path) -> None:
    lora = Lora("mine", "/adapters/mine", 16, 100)
    planned = plan(
        "m",
        folder,
        "cuda",
        enforce_eager=True,
        quantization="fp8_per_tensor",
        lora=lora,
        engine_args={"kv_cache_dtype": "fp8", "stream_interval": 2},
        card=card(24),
    )
    assert planned.eager
    assert planned.need is not None
    assert planned.need.per_token == 23040 // 2
    assert EngineConfig.read(json.loads(json.dumps(asdict(planned)))) == planned


def test_a_fast_start_and_a_compilation_config_contradict_each_other(folder: Path) -> None:
    with pytest.raises(UsageError, match="--fast-start sets vLLM's compilation_config; leave it or"):
        plan("m", folder, "cuda", fast_start=True, engine_args={"compilation_config": {"mode": 0}})


def test_a_model_that_will_hardly_fit_is_warned_of_before_it_is_loaded(folder: Path) -> None:
    with (folder / "consolidated.safetensors").open("wb") as weights:
        weights.truncate(6 * GIB)
    (note,) = plan("m", folder, "cuda", card=card(8), context=8192).notes
    assert "m will hardly fit this GPU: its weights take 6.0 of 8.0 GiB" in note
    assert "--quantization fp8_per_tensor would make it fit" in note
    assert plan("m", folder, "cuda", card=card(24)).notes == ()


def test_too_little_memory_for_the_context_names_one_that_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "granted_memory", lambda: int(1.5 * GIB + 4000 * 23040))
    with pytest.raises(EngineError, match=r"close other programs, or --context 3584 would make it fit"):
        plan("m", folder, "cpu")


def test_an_fp8_cache_is_reckoned_and_offered_where_the_cpu_has_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "granted_memory", lambda: int(1.5 * GIB + 6000 * 23040))
    monkeypatch.setattr(config, "cpu_flags", lambda: BF16 | {"avx512f"})
    with pytest.raises(EngineError, match="--context 5632 or --engine-arg kv_cache_dtype=fp8 would make it fit"):
        plan("m", folder, "cpu")
    assert plan("m", folder, "cpu", engine_args={"kv_cache_dtype": "fp8"}).kv_cache_bytes is not None


def test_images_take_mistrals_format(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"1")
    text = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 512}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text, "vision_config": {"hidden_size": 8}}))
    planned = plan("m", tmp_path, "cuda")
    assert (planned.format, planned.text_only) == ("hf", True)
    assert "images take a model in Mistral's format" in planned.notes[0]
    assert supports_images(ModelChoice("m", "folder", tmp_path)) is False
