from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine.params import (
    Format,
    architectures,
    context_window,
    format_by,
    format_of,
    has_vision,
    kv_bytes_per_token,
    quantized_by,
    read_params,
    weight_bytes,
)
from toolchat.wire.errors import EngineError

TEXT = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32768,
    "max_position_embeddings": 32768,
    "sliding_window": None,
}


def hf(folder: Path, config: Any, *weights: str) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    for name in weights or ("model.safetensors",):
        (folder / name).write_bytes(b"12345")
    return folder


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"params.json", "consolidated.safetensors"}, Format.MISTRAL),
        (
            {"params.json", "config.json", "consolidated-00001-of-00002.safetensors", "model.safetensors"},
            Format.MISTRAL,
        ),
        ({"config.json", "model.safetensors"}, Format.HF),
        # Quantisations keep the params.json of the model that they were made from.
        ({"params.json", "config.json", "model-00001-of-00003.safetensors"}, Format.HF),
        ({"config.json", "gptq_model-4bit-128g.safetensors"}, Format.HF),
        # Weights are yet to come.
        ({"params.json", "config.json", "tekken.json"}, Format.MISTRAL),
        ({"config.json", "tekken.json"}, Format.HF),
        ({"config.json", "params.json", "adapter_model.safetensors"}, Format.MISTRAL),
        (set(), Format.MISTRAL),
        # vLLM would read the weights of both.
        ({"config.json", "model.safetensors", "consolidated.safetensors"}, Format.MISTRAL),
    ],
)
def test_the_format_is_told_by_the_names_of_the_files(names: set[str], kind: Format) -> None:
    assert format_by(names) is kind


def test_parameters_of_the_other_format_have_mistrals_names(tmp_path: Path) -> None:
    folder = hf(tmp_path, {"architectures": ["MistralForCausalLM"], **TEXT})
    assert read_params(folder) == {
        "dim": 4096,
        "n_layers": 32,
        "n_heads": 32,
        "n_kv_heads": 8,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
    }
    assert kv_bytes_per_token(read_params(folder)) == 131072
    assert context_window(folder) == 32768
    assert architectures(folder) == ["MistralForCausalLM"]
    assert weight_bytes(folder) == 5
    assert not has_vision(read_params(folder))
    assert quantized_by(read_params(folder)) == ""


@pytest.mark.parametrize("method", ["awq", "gptq", "fp8", "compressed-tensors"])
def test_how_a_model_is_quantised_is_read_off_its_files(tmp_path: Path, method: str) -> None:
    assert quantized_by(read_params(hf(tmp_path, TEXT | {"quantization_config": {"quant_method": method}}))) == method


def test_a_model_that_sees_has_the_language_models_parameters_one_level_down(tmp_path: Path) -> None:
    config = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "vision_config": {"hidden_size": 1024},
        "text_config": TEXT,
        "quantization_config": {"quant_method": "compressed-tensors"},
    }
    params = read_params(hf(tmp_path, config))
    assert (params["dim"], params["n_layers"]) == (4096, 32)
    assert has_vision(params)
    assert quantized_by(params) == "compressed-tensors"


def test_weights_of_the_other_format_alone_are_counted_in_it(tmp_path: Path) -> None:
    folder = hf(
        tmp_path,
        TEXT,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "adapter_model.safetensors",
    )
    assert weight_bytes(folder) == 10


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    (hf(tmp_path, {}) / "config.json").write_text(text)
    with pytest.raises(EngineError, match=r"config\.json: (cannot be read|expected)"):
        read_params(tmp_path)


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="none: cannot be read: No such file"):
        format_of(tmp_path / "none")
