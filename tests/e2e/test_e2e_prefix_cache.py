from __future__ import annotations

from pathlib import Path

import pytest
from e2e_engine import Running

from toolchat.models.demo import build as demo

pytestmark = pytest.mark.engine


def test_every_later_round_of_a_turn_knows_the_whole_blocks_it_shares_with_the_one_before(
    running: Running, demo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import prefix_cache

    rounds = running.loop.run(prefix_cache.turn(running.engine, demo.demo_folder(demo_cache)))
    assert len(rounds) == prefix_cache.ROUNDS
    for one in rounds[1:]:
        print(f"cached {one.usage.cached_tokens} of {one.usage.prompt_tokens} ({one.blocks} in whole blocks)")
        assert one.blocks > 0
        assert one.met, one
