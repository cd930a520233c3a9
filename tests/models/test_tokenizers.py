from __future__ import annotations

import json
from pathlib import Path

import mistral_tokenizers
import pytest

from toolchat.models.tokenizers import QUESTION, estimated_tool_tokens, tool_prompt
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.messages import ToolSpec

SPEC = ToolSpec(
    "get_current_weather",
    "Get the current weather in a given location",
    {"type": "object", "properties": {"city": {"type": "string", "description": "The city"}}, "required": ["city"]},
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that holds a model, as far as anybody looks at it here, with a v13 tokenizer."""
    folder = tmp_path / "model"
    folder.mkdir()
    mistral_tokenizers.tekken_file(tmp_path, "v13").rename(folder / "tekken.json")
    (folder / "params.json").write_text("{}")
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "consolidated.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    return folder


def test_a_version_that_mistral_common_ships_is_written_out_and_counted_exactly(tmp_path: Path) -> None:
    prompt = tool_prompt("v3", SPEC, tmp_path)
    begin, end = "<s>[AVAILABLE_TOOLS] ", f"[/AVAILABLE_TOOLS][INST] {QUESTION}[/INST]"
    assert prompt.text.startswith(begin)
    assert prompt.text.endswith(end)
    (told,) = json.loads(prompt.text.removeprefix(begin).removesuffix(end))
    assert told["function"] == {"name": SPEC.name, "description": SPEC.description, "parameters": SPEC.parameters}
    assert (prompt.version, prompt.tekken, prompt.source) == (3, False, "mistral_common")
    assert prompt.tokens == pytest.approx(estimated_tool_tokens(SPEC), rel=0.15)


def test_a_models_own_tokenizer_is_taken_by_its_folder(tmp_path: Path, model: Path) -> None:
    prompt = tool_prompt(str(model), SPEC, tmp_path)
    assert (prompt.version, prompt.tekken, prompt.source) == (13, True, str(model))
    assert prompt.text.startswith("<s>[AVAILABLE_TOOLS][{")


def test_a_version_that_is_not_here_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tokenizer 99: .*; expected one of .*v2 \(mistral_common\), v3"):
        tool_prompt("99", SPEC, tmp_path)


def test_a_model_that_is_not_here_yet_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--tokenizer demo: its tokenizer is not here yet; .* models pull demo"):
        tool_prompt("demo", SPEC, tmp_path)


def test_what_is_no_version_and_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tokenizer vier: expected a version such as v3, or a model: expected demo"):
        tool_prompt("vier", SPEC, tmp_path)


def test_a_tokenizers_file_that_is_broken_is_one_line(tmp_path: Path, model: Path) -> None:
    (model / "tekken.json").write_text("{}")
    with pytest.raises(EngineError, match=r"tekken\.json: no tokenizer that mistral_common reads") as caught:
        tool_prompt(str(model), SPEC, tmp_path)
    assert "\n" not in str(caught.value)
