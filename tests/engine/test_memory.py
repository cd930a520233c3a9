from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolchat.engine.config import gpu_need
from toolchat.engine.gpu import GIB
from toolchat.engine.memory import (
    MOST,
    OVERHEAD,
    VISION_ENCODER,
    Need,
    budget,
    check_fits,
    embedding_bytes,
    granted,
    left_for_context,
    little_left,
    loaded_bytes,
    useful,
)
from toolchat.wire.errors import EngineError

SEVEN_B: dict[str, Any] = {
    "dim": 4096,
    "n_layers": 32,
    "head_dim": 128,
    "n_heads": 32,
    "n_kv_heads": 8,
    "vocab_size": 32768,
}
WEIGHTS = 14_496_078_512
NEED = Need(
    8 * GIB, GIB // 8192, 16384, context_asked=True, other=GIB, encoder=GIB // 2, unquantized=6 * GIB, fp8_cache=True
)
"""11 GiB: 8 of weights, 2 of cache, 1 of the rest."""


def test_what_is_needed_is_weights_the_cache_of_one_chat_and_the_rest() -> None:
    assert NEED.total == 11 * GIB
    assert NEED.flags_that_fit(11 * GIB)  # nothing is wrong with asking


@pytest.mark.parametrize(
    ("need", "gib", "flags"),
    [
        # Each that suffices alone.
        (
            NEED,
            10.5,
            "--context 12288 or --text-only or --engine-arg kv_cache_dtype=fp8 or --quantization fp8_per_tensor",
        ),
        (NEED, 10, "--context 8192 or --engine-arg kv_cache_dtype=fp8 or --quantization fp8_per_tensor"),
        (NEED, 8, "--quantization fp8_per_tensor"),
        # Together, in the order of what they cost.
        (replace(NEED, unquantized=0), 9, "--text-only with --context 4096"),
        (
            replace(NEED, context_asked=False),
            6.6,
            "--text-only with --engine-arg kv_cache_dtype=fp8 with --quantization fp8_per_tensor",
        ),
        # None.
        (NEED, 4, ""),
        (Need(8 * GIB), 7, ""),
        # A context that is of no use is not offered.
        (Need(8 * GIB, GIB // 8192, 16384, context_asked=True), 8.05, ""),
    ],
)
def test_the_flags_that_are_offered_would_make_it_fit(need: Need, gib: float, flags: str) -> None:
    assert need.flags_that_fit(int(gib * GIB)) == flags


def test_where_no_flag_would_do_a_quantised_repository_of_the_same_model_is_offered() -> None:
    assert Need(8 * GIB).remedy(4 * GIB) == "take a smaller model"
    assert Need(8 * GIB, smaller="owner/small").remedy(4 * GIB) == (
        "take a quantised repository of it (--model owner/small)"
    )
    assert NEED.remedy(8 * GIB) == "--quantization fp8_per_tensor would make it fit, or take a smaller model"


def test_vllms_online_quantisation_leaves_embeddings_as_they_are() -> None:
    kept = embedding_bytes(SEVEN_B)
    assert kept == 2 * 2 * 32768 * 4096
    assert loaded_bytes(WEIGHTS, "fp8_per_tensor", SEVEN_B) == pytest.approx(kept + (WEIGHTS - kept) / 2, abs=1)
    assert loaded_bytes(WEIGHTS, "awq", SEVEN_B) == WEIGHTS  # as on disk
    assert loaded_bytes(WEIGHTS, None, SEVEN_B) == WEIGHTS


def test_fp8_is_offered_to_cards_that_have_it_and_models_that_are_not_in_it() -> None:
    def flags(params: dict[str, Any], capability: tuple[int, int] | None, **options: Any) -> tuple[bool, bool]:
        need = gpu_need(params, WEIGHTS, None, 32768, capability, **options)
        return need.fp8_cache, need.unquantized > 0

    assert flags(SEVEN_B, (8, 9)) == (True, True)
    assert flags(SEVEN_B, (8, 6)) == (False, False)
    assert flags(SEVEN_B, None) == (False, False)
    assert flags(SEVEN_B | {"quantization": {"quant_method": "awq"}}, (9, 0)) == (True, False)
    assert flags(SEVEN_B, (9, 0), quantized=True) == (True, False)
    assert flags(SEVEN_B, (9, 0), cached_in_8_bits=True) == (False, True)


def test_a_chat_of_a_gpu_is_the_context_asked_for_else_a_short_one() -> None:
    assert gpu_need(SEVEN_B, WEIGHTS, 16384, 32768, None).chat == 16384 * 131072
    assert gpu_need(SEVEN_B, WEIGHTS, None, 32768, None).chat == 4096 * 131072
    assert gpu_need(SEVEN_B, WEIGHTS, None, 2048, None).chat == 2048 * 131072
    assert gpu_need(SEVEN_B, WEIGHTS, 16384, 32768, (9, 0), cached_in_8_bits=True).chat == 16384 * 65536
    # What slides out of a window, or is not told, is no reason to refuse.
    assert gpu_need(SEVEN_B | {"sliding_window": 4096}, WEIGHTS, 16384, None, None).chat == 0
    assert gpu_need({}, WEIGHTS, 16384, None, None).chat == 0
    latent = {"n_layers": 61, "n_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert gpu_need(latent, WEIGHTS, 1000, None, None).chat == 1000 * 2 * 61 * 576


def test_the_image_encoder_is_counted_where_it_is_loaded() -> None:
    sees = SEVEN_B | {"vision_encoder": {"dim": 1}}
    with_it = gpu_need(sees, WEIGHTS, None, None, None)
    without = gpu_need(sees, WEIGHTS, None, None, None, text_only=True)
    assert (with_it.encoder, without.encoder) == (VISION_ENCODER, 0)
    assert with_it.weights - without.weights == VISION_ENCODER


def test_a_context_that_the_card_cannot_hold_is_refused_with_the_one_that_it_can() -> None:
    need = gpu_need(SEVEN_B, WEIGHTS, 32768, 32768, (8, 9))
    with pytest.raises(EngineError) as refused:
        check_fits("m", need, MOST, 16 * GIB, 16 * GIB)
    line = str(refused.value)
    assert line.startswith("m does not fit this GPU: its weights take 13.5 GiB and a chat of 32768 tokens 4.0 GiB")
    assert "--quantization fp8_per_tensor would make it fit" in line
    # On an older card there is no FP8, and the weights leave too little for any context.
    with pytest.raises(EngineError, match=r"take a smaller model \(docs"):
        check_fits("m", replace(need, unquantized=0, fp8_cache=False), MOST, 16 * GIB, 16 * GIB)


def test_what_others_hold_of_the_card_is_told_with_flags_that_do_without_it() -> None:
    need = gpu_need(SEVEN_B, WEIGHTS, 16384, 32768, None, smaller="owner/small")
    with pytest.raises(EngineError) as refused:
        check_fits("m", need, 0.6, 24 * GIB, 16 * GIB, "python (pid 7, 8.0 GiB)")
    line = str(refused.value)
    assert "a chat of 16384 tokens 2.0 GiB, and 16.0 of 24.0 GiB are free (held by python (pid 7, 8.0 GiB))" in line
    assert line.endswith("or take a quantised repository of it (--model owner/small)")


def test_a_flag_that_is_offered_is_taken_without_a_warning() -> None:
    need = gpu_need(SEVEN_B, WEIGHTS, None, 32768, (8, 9))
    assert "will hardly fit" in little_left("m", need, 16 * GIB)
    loaded = loaded_bytes(WEIGHTS, "fp8_per_tensor", SEVEN_B)
    done = gpu_need(SEVEN_B, loaded, None, 32768, (8, 9), quantized=True)
    check_fits("m", done, MOST, 16 * GIB, 16 * GIB)
    assert little_left("m", done, 16 * GIB) == ""
    assert done.weights + OVERHEAD < granted(16 * GIB, 16 * GIB)


def test_a_context_that_is_asked_for_and_will_hardly_fit_is_warned_of_with_the_one_that_will() -> None:
    need = gpu_need(SEVEN_B, WEIGHTS, 32768, 32768, (8, 6))
    assert little_left("m", need, 24 * GIB) == ""
    told = little_left("m", need, 20 * GIB)
    assert "which leaves 3.4 GiB for a context of 27848 tokens; --context 27648 would make it fit" in told


BUSY = [(4, 3.3), (8, 7.1), (12, 10.8), (16, 14.6), (24, 22.0)]
"""GiB of cards that also drive a screen, and what of them is free: vLLM's default share is refused on each."""


@pytest.mark.parametrize(("total", "free"), BUSY)
def test_a_card_that_drives_a_screen_gets_less_than_what_is_free(total: float, free: float) -> None:
    share = budget(int(free * GIB), int(total * GIB))
    assert MOST * total > free  # why vLLM's own share cannot start
    assert 0.75 * free < share * total < free - 0.2


def test_a_free_card_gets_vllms_own_share() -> None:
    assert budget(int(23.6 * GIB), 24 * GIB) == MOST


def test_a_small_model_leaves_the_rest_of_a_large_card_to_others() -> None:
    demo = Need(weights=272_000_000, per_token=23_040)
    enough = useful(demo, 8192, 8)
    assert enough == 272_000_000 + 3 * GIB + 8 * 8192 * 23_040  # 4.66 GiB
    assert budget(79 * GIB, 80 * GIB, enough=enough) == 0.0582
    # What is asked for, and what is free where that is less, stand.
    assert 0.499 < budget(79 * GIB, 80 * GIB, 0.5, enough=enough) <= 0.5
    assert budget(3 * GIB, 80 * GIB, enough=enough) == budget(3 * GIB, 80 * GIB)
    # A model that could use more than the card has gets what it got.
    large = useful(Need(weights=14_500_000_000, per_token=131_072), 32_768, 8)
    assert large is not None
    assert large > 24 * GIB
    assert budget(int(23.6 * GIB), 24 * GIB, enough=large) == MOST
    assert useful(Need(weights=14_500_000_000), 32_768, 8) is None


@pytest.mark.parametrize(("asked", "share"), [(0.5, 0.5), (1, 1.0), (6, 0.25), (12.0, 0.5)])
def test_what_is_asked_for_is_a_share_or_gib(asked: float, share: float) -> None:
    given = budget(24 * GIB, 24 * GIB, asked)
    assert share - 0.001 < given <= share


def test_more_than_the_card_or_than_is_free_is_refused_with_who_holds_it() -> None:
    with pytest.raises(EngineError, match=r"--gpu-memory 30: the GPU has 24\.0 GiB"):
        budget(24 * GIB, 24 * GIB, 30)
    with pytest.raises(
        EngineError,
        match=r"--gpu-memory 0\.9: 21\.6 GiB .* 10\.0 of 24\.0 GiB are free \(held by python \(pid 7\)\); close",
    ):
        budget(10 * GIB, 24 * GIB, 0.9, "python (pid 7)")


def test_a_full_card_is_told_with_the_remedies() -> None:
    with pytest.raises(
        EngineError, match=r"only 0\.2 of the GPU's 8\.0 GiB are free.*CUDA_VISIBLE_DEVICES.*EXTRA=cpu install"
    ):
        budget(int(0.2 * GIB), 8 * GIB)


def test_memory_that_no_listed_program_holds_is_perhaps_the_desktops() -> None:
    with pytest.raises(EngineError, match=r"0\.2 of .* 8\.0 GiB are free \(held by no program .* the desktop\);"):
        budget(int(0.2 * GIB), 8 * GIB)
    with pytest.raises(EngineError, match=r"10\.0 of 24\.0 GiB are free \(held by no program .* the desktop\);"):
        budget(10 * GIB, 24 * GIB, 0.9)
    with pytest.raises(EngineError, match=r"12\.0 of 24\.0 GiB are free \(held by no program .* the desktop\),"):
        check_fits("m", Need(14 * GIB), 0.48, 24 * GIB, 12 * GIB)


@pytest.mark.parametrize(("total", "free"), [*BUSY, (24, 24), (12, 11.2), (5, 5)])
def test_what_is_left_for_a_context_is_reckoned_by_the_engines_own_share(total: float, free: float) -> None:
    bytes_free, bytes_total = int(free * GIB), int(total * GIB)
    granted = budget(bytes_free, bytes_total) * bytes_total
    left = left_for_context(3 * GIB, bytes_free, bytes_total)
    assert left == pytest.approx(granted - 3 * GIB - OVERHEAD, abs=1e-4 * bytes_total)
    assert left_for_context(3 * GIB, bytes_free, bytes_total, text_only=True) - left == VISION_ENCODER


def test_weights_that_cannot_fit_are_refused_and_it_is_said_whether_a_free_card_would_do() -> None:
    check_fits("m", Need(14 * GIB), 0.92, 24 * GIB, 23 * GIB)
    with pytest.raises(EngineError, match=r"not enough GPU memory for m: .* 14\.0 GiB, and 12\.0 of 24\.0 .*held by x"):
        check_fits("m", Need(14 * GIB), 0.48, 24 * GIB, 12 * GIB, "x")
    with pytest.raises(
        EngineError, match=r"m does not fit this GPU: its weights take 14\.0 GiB, and the GPU has 12\.0"
    ):
        check_fits("m", Need(14 * GIB), 0.92, 12 * GIB, 12 * GIB)


def test_a_model_that_leaves_little_room_is_warned_of_with_the_reckoning() -> None:
    assert little_left("m", Need(int(13.5 * GIB)), 24 * GIB) == ""
    assert little_left("m", Need(int(4.4 * GIB)), 8 * GIB) == ""
    told = little_left("m", Need(int(9.7 * GIB)), 12 * GIB)
    assert "its weights take 9.7 of 12.0 GiB, which leaves 0.0 GiB for a context" in told
    assert little_left("m", Need(int(9.7 * GIB) - VISION_ENCODER), 12 * GIB) == ""
