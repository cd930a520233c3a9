from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchat.engine.server_command import Place
from toolchat.engine.vllm_options import read_passed
from toolchat.models import hub
from toolchat.models.choice import ModelChoice
from toolchat.session import serving
from toolchat.session.serving import ServePlan, plan_server
from toolchat.wire.errors import EngineError, UsageError


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "engine_device", lambda: "cpu")
    monkeypatch.setattr("toolchat.engine.config.granted_memory", lambda: 64 << 30)


def planned(model: Path | str, *passed: str, folder: Path | None = None, **flags: str) -> ServePlan:
    def obtain(choice: ModelChoice) -> Path:
        found = choice.folder or folder
        assert found is not None
        return found

    return plan_server({"model": str(model), **flags}, Place(), read_passed(passed), "", obtain)


def test_a_folder_is_served_by_its_name_and_as_the_settings_say(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLCHAT_DTYPE", "bfloat16")
    plan = planned(model_folder, "--seed=1", context="1024")
    assert plan.command.name == "model"
    assert {f"--model={model_folder}", "--max-model-len=1024", "--dtype=bfloat16", "--seed=1"} <= (
        set(plan.command.arguments)
    )
    with pytest.raises(UsageError, match="--context 9999: the model"):
        planned(model_folder, context="9999")


def test_a_model_of_the_hub_is_named_by_its_id_so_that_clients_find_its_tokenizer(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(name: str, revision: str | None) -> tuple[set[str], Path | None]:
        raise EngineError("a mirror without lists")

    monkeypatch.setattr(hub, "described", described)
    found = planned("mistralai/Tiny", folder=model_folder, revision="v2").command
    assert {"--model=mistralai/Tiny", "--revision=v2", "--served-model-name=mistralai/Tiny"} <= set(found.arguments)
    monkeypatch.setenv("TOOLCHAT_OFFLINE", "1")
    found = planned("mistralai/Tiny", folder=model_folder, revision="v2").command
    assert f"--model={model_folder}" in found.arguments
    assert "--revision=v2" not in found.arguments


def test_a_model_of_another_family_is_vllms_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen3"}))
    monkeypatch.setattr(hub, "described", lambda *_: ({"config.json", "model.safetensors", "tokenizer.json"}, config))
    plan = planned("Qwen/Qwen3-8B")
    assert {"--model=Qwen/Qwen3-8B", "--tool-call-parser=hermes"} <= set(plan.command.arguments)
    assert not any("mistral" in one for one in plan.command.arguments)
    assert "by chat completions" in plan.notes[0]
    with pytest.raises(UsageError, match=r"^--kv-cache: is for models with a Mistral tokenizer, and Qwen/Qwen3-8B has"):
        planned("Qwen/Qwen3-8B", kv_cache_gib="2")


def test_a_folder_here_takes_the_place_of_no_model_of_the_hub(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen3"}))
    names = {"config.json", "model.safetensors", "tokenizer.json"}
    monkeypatch.setattr(hub, "described", lambda name, _: (names, config) if "Qwen" in name else (set(), None))
    for name in ("mistralai/Tiny", "Qwen/Qwen3-8B"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    # vLLM looks into its working directory first.
    assert f"--model={model_folder}" in planned("mistralai/Tiny", folder=model_folder).command.arguments
    with pytest.raises(UsageError, match=r"^Qwen/Qwen3-8B: vLLM would take the folder of that name"):
        planned("Qwen/Qwen3-8B")


def test_a_folder_of_another_family(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    plan = planned(tmp_path)
    assert plan.command.name == tmp_path.name
    assert f"--model={tmp_path}" in plan.command.arguments
    assert "no parser of calls is known for it here" in plan.notes[0]


def test_a_share_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "gpu_total", lambda _: 24 << 30)
    assert serving._share(None, "cuda") is None
    assert serving._share(0.5, "cuda") == 0.5
    assert serving._share(6.0, "cuda") == 0.25
    assert serving._share(6.0, "cpu") is None
    with pytest.raises(UsageError, match="--gpu-memory 30"):
        serving._share(30.0, "cuda")


def test_a_model_that_sees_keeps_torchvision_unless_it_is_loaded_without_eyes(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(serving, "unloadable_modules", lambda *, sees: (asked.append(sees), ((), ()))[1])
    planned(model_folder)
    params = json.loads((model_folder / "params.json").read_text()) | {"vision_encoder": {"hidden_size": 8}}
    (model_folder / "params.json").write_text(json.dumps(params))
    planned(model_folder)
    assert "--language-model-only" in planned(model_folder, text_only="true").command.arguments
    assert asked == [False, True, False]
