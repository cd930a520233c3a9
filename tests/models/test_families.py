from __future__ import annotations

import importlib.metadata
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_hub import FakeHub, Repository, safetensors

from toolchat.engine.server_command import MistralTraits, Parsers
from toolchat.engine.vllm_options import registered_parsers
from toolchat.models import hub as models
from toolchat.models.families import (
    _FAMILIES,
    is_other_folder,
    is_other_repository,
    mistral_traits,
    parsers_for,
    unloadable_modules,
)
from toolchat.offline import VARIABLE
from toolchat.wire.errors import EngineError

QWEN = {
    "config.json": b'{"model_type": "qwen3", "vocab_size": 151936}',
    "model.safetensors": safetensors(b"12345678"),
    "tokenizer.json": b"{}",
}


def folder_with(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def tekken(*specials: str) -> bytes:
    return json.dumps({"special_tokens": [{"rank": 0, "token_str": name} for name in specials]}).encode()


def test_traits_are_read_off_the_files(model_folder: Path) -> None:
    (model_folder / "tekken.json").write_bytes(tekken("[INST]", "[THINK]"))
    assert mistral_traits(model_folder) == MistralTraits(tekken=True, thinks=True, sees=False)
    (model_folder / "tekken.json").write_bytes(tekken("[INST]"))
    (model_folder / "params.json").write_text('{"vision_encoder": {"hidden_size": 8}}')
    assert mistral_traits(model_folder) == MistralTraits(tekken=True, thinks=False, sees=True)
    (model_folder / "tekken.json").unlink()
    assert not mistral_traits(model_folder).tekken
    for written in ("{", "[]", '{"special_tokens": [1]}'):
        (model_folder / "tekken.json").write_text(written)
        with pytest.raises(EngineError, match=r"tekken\.json: cannot be read"):
            mistral_traits(model_folder)


def test_a_folder_without_a_mistral_tokenizer_is_another_familys(model_folder: Path, tmp_path: Path) -> None:
    assert not is_other_folder(model_folder)
    assert is_other_folder(folder_with(tmp_path / "qwen", QWEN))
    llama = {name: data for name, data in QWEN.items() if name != "tokenizer.json"} | {"tokenizer.model": b"x"}
    assert is_other_folder(folder_with(tmp_path / "llama", llama))
    first = llama | {"config.json": b'{"model_type": "mistral", "vocab_size": 32000}'}
    assert not is_other_folder(folder_with(tmp_path / "v1", first))
    # Of what is no whole model toolchat says what is missing.
    assert not is_other_folder(folder_with(tmp_path / "half", {"config.json": b"{}"}))


def test_a_repository_is_told_by_its_files(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["Qwen/Tiny"] = Repository(QWEN)
    names, config = models.described("Qwen/Tiny")
    assert is_other_repository(names, config)
    assert not any("model.safetensors" in request for request in hub.requests)
    hub.repositories["mistralai/Tiny"] = Repository(QWEN | {"tekken.json": tekken()})
    assert not is_other_repository(*models.described("mistralai/Tiny"))
    assert not is_other_repository({"README.md"}, None)
    assert is_other_repository({"config.json", "model.safetensors", "tokenizer.model"}, config)
    with pytest.raises(EngineError, match="Qwen/None"):
        models.described("Qwen/None")
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(EngineError, match="Qwen/Other is not on this machine"):
        models.described("Qwen/Other")


@pytest.mark.parametrize(
    ("name", "kind", "parsers"),
    [
        ("Qwen/Qwen3-8B", "qwen3", Parsers("hermes", "qwen3")),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3", Parsers("hermes")),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_moe", Parsers("qwen3_coder")),
        ("Qwen/QwQ-32B", "qwen2", Parsers("hermes", "deepseek_r1")),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2", Parsers("hermes")),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama", Parsers("llama3_json")),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama", Parsers("hermes")),
        ("openai/gpt-oss-20b", "gpt_oss", Parsers("openai", "openai_gptoss")),
        ("zai-org/GLM-4.5-Air", "glm4_moe", Parsers("glm45", "glm45")),
        ("deepseek-ai/DeepSeek-R1", "deepseek_v3", Parsers("deepseek_v3", "deepseek_r1")),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "llama", Parsers()),
        ("someone/new", "unheard_of", Parsers()),
    ],
)
def test_parsers_of_other_families(tmp_path: Path, name: str, kind: str, parsers: Parsers) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": kind}))
    found, note = parsers_for(name, config)
    assert found == parsers
    assert ("calls no tools: -- --tool-call-parser" in note) == (parsers.tools is None)
    assert "by chat completions" in note


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_installed_vllm_has_every_parser_of_the_table() -> None:
    tools, reasoning = registered_parsers("tool_parsers"), registered_parsers("reasoning")
    assert tools
    assert reasoning
    assert {one.tools for one in _FAMILIES if one.tools} <= tools
    assert {one.reasoning for one in _FAMILIES if one.reasoning} <= reasoning


@pytest.mark.parametrize(
    ("versions", "sees", "absent", "mended"),
    [
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0"}, True, (), ("torchvision",)),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0", "torchaudio": "1"}, False, ("torchvision", "torchaudio"), ()),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, True, (), ()),
        ({"torch": "2.13.0", "torchvision": "0.28.0"}, False, (), ()),
        ({"torch": "2.13.0+cpu"}, True, (), ()),
    ],
)  # fmt: skip
def test_modules_that_were_built_for_another_torch(
    versions: dict[str, str],
    sees: bool,
    absent: tuple[str, ...],
    mended: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert unloadable_modules(sees=sees) == (absent, mended)
