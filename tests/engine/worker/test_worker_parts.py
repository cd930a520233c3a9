from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.local import worker_environment
from toolchat.engine.worker.loading import staged
from toolchat.engine.worker.server import kept_context, own
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


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_users_folder_reaches_no_interpreter_that_the_worker_starts(device: str) -> None:
    assert worker_environment(replace(GPU, device=device))["PYTHONSAFEPATH"] == "1"


def test_gpus_are_counted_as_nvidia_smi_counts_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert worker_environment(GPU)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert worker_environment(GPU)["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


@pytest.mark.process
def test_a_gpu_that_refuses_is_told_with_the_other_engine() -> None:
    pytest.importorskip("torch")
    # torch stays out of the tests' own process: this one asks a CPU build for a GPU.
    code = (
        "from toolchat.engine.config import EngineConfig\n"
        "from toolchat.engine.worker.server import gpu_share\n"
        "try: gpu_share(EngineConfig('m', '/m', 'cuda', None, None))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("EngineError the GPU cannot be used: ")
    assert "make EXTRA=cpu install" in done.stdout
