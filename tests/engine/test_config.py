from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchat.engine import config
from toolchat.engine.config import GIB, kv_bytes_per_token, plan
from toolchat.wire.errors import EngineError, UsageError

PARAMS = {"dim": 576, "n_layers": 30, "head_dim": 64, "n_heads": 9, "n_kv_heads": 3, "max_seq_len": 8192}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    (tmp_path / "consolidated.safetensors").write_bytes(b"\0" * 1000)
    return tmp_path


def test_kv_cache_holds_two_contexts_where_memory_allows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "available_memory", lambda: 16 * GIB)
    planned = plan("m", folder, "cpu")
    assert kv_bytes_per_token(PARAMS) == 23040
    assert planned.context == 8192
    assert planned.kv_cache_bytes == 2 * (8192 + 32) * 23040


def test_scarce_memory_is_used_for_one_context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = 8224 * 23040
    monkeypatch.setattr(config, "available_memory", lambda: int(1.5 * GIB + 1.5 * one))
    assert plan("m", folder, "cpu").kv_cache_bytes == one


def test_too_little_memory_is_one_line_with_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "available_memory", lambda: GIB)
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


def test_a_gpu_is_left_to_vllm(folder: Path) -> None:
    planned = plan("m", folder, "cuda")
    assert (planned.context, planned.kv_cache_bytes) == (None, None)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_broken_params_are_named(folder: Path, text: str) -> None:
    (folder / "params.json").write_text(text)
    with pytest.raises(EngineError, match=r"params\.json: (cannot be read|expected)"):
        plan("m", folder, "cpu")
