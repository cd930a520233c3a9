from __future__ import annotations

from dataclasses import replace

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.worker import kept_context, own
from toolchat.engine.worker_stages import staged
from toolchat.wire.errors import EngineError

GPU = EngineConfig("m", "/models/m", "cuda", None, None)


class Base:
    def determine_available_memory(self) -> int:
        return 7

    def compile_or_warm_up_model(self) -> str:
        return "warm"


@pytest.mark.parametrize(
    ("compiles", "captures", "told"),
    [
        (True, True, ["compiling", "capturing CUDA graphs"]),
        (False, True, ["capturing CUDA graphs"]),
        (False, False, []),
    ],
)
def test_stages_are_told_where_there_are_any_and_results_pass_through(
    compiles: bool, captures: bool, told: list[str]
) -> None:
    stages: list[str] = []
    worker = staged(Base, stages.append, compiles=compiles, captures=captures)()
    assert worker.determine_available_memory() == 7
    assert worker.compile_or_warm_up_model() == "warm"
    assert stages == told


def test_a_context_is_kept_to_where_the_memory_holds_it() -> None:
    assert kept_context(GPU, 20000) == 20000
    assert kept_context(replace(GPU, context=4096), 20000) == 4096
    with pytest.raises(EngineError, match=r"--context 30000: .* holds 20000 tokens"):
        kept_context(replace(GPU, context=30000), 20000)


def test_a_request_that_names_no_sampling_gets_the_models_own() -> None:
    assert own(None, 0.7) == 0.7
    assert own(0.0, 0.7) == 0.0
