from __future__ import annotations

import pytest

from toolchat.engine.fit import Need
from toolchat.engine.gpu import GIB
from toolchat.engine.gpu_memory import (
    MOST,
    OVERHEAD,
    VISION_ENCODER,
    budget,
    check_fits,
    left_for_context,
    little_left,
    useful,
)
from toolchat.wire.errors import EngineError

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
