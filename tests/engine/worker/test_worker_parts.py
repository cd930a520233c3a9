from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from toolchat.engine import gpu
from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu import GIB
from toolchat.engine.local import worker_environment
from toolchat.engine.worker.in_process import gpu_share, kept_context
from toolchat.engine.worker.loading import staged
from toolchat.engine.worker.server import own
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
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    assert worker_environment(GPU)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert worker_environment(GPU)["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_no_sampler_is_used_that_has_to_be_compiled_with_nvcc_unless_the_user_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    assert worker_environment(GPU)["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in worker_environment(replace(GPU, device="cpu"))
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    assert worker_environment(GPU)["VLLM_USE_FLASHINFER_SAMPLER"] == "1"


@pytest.mark.parametrize(("uuid", "number"), [("1111", 0), ("2222", 1)])
def test_the_programs_are_named_that_hold_the_gpu_that_cuda_measured(
    monkeypatch: pytest.MonkeyPatch, uuid: str, number: int
) -> None:
    queried: list[str] = []

    def nvidia_smi(*arguments: str) -> str:
        queried.append(arguments[0])
        if arguments[0].startswith("--query-gpu"):
            return "0, GPU-1111, RTX, 24564, 500, 8.9, 580.1\n1, GPU-2222, GTX, 24564, 500, 7.5, 580.1"
        return "71, /usr/bin/blender, 23000"

    cuda = SimpleNamespace(
        mem_get_info=lambda _: (GIB // 4, 24 * GIB), get_device_properties=lambda _: SimpleNamespace(uuid=uuid)
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(gpu, "_nvidia_smi", nvidia_smi)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    gpu.all_gpus.cache_clear()
    try:
        with pytest.raises(EngineError, match=r"0\.2 of the GPU's 24\.0 .* \(held by blender \(pid 71, 22\.5 GiB\)\)"):
            gpu_share(GPU)
    finally:
        gpu.all_gpus.cache_clear()
    assert queried[-1] == f"--id={number}"


@pytest.fixture(scope="module")
def told_by_torch() -> list[str]:
    """What code prints that imports torch, which stays out of the tests' own process."""
    pytest.importorskip("torch")
    code = (
        "from toolchat.engine.config import EngineConfig\n"
        "from toolchat.engine.number_format import torch_multiplication\n"
        "from toolchat.engine.worker.in_process import gpu_share\n"
        "try: gpu_share(EngineConfig('m', '/m', 'cuda', None, None))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "for name in ('auto', 'float32'): print(torch_multiplication(name)().dtype)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.process
def test_a_gpu_that_refuses_is_told_with_the_other_engine(told_by_torch: list[str]) -> None:
    # A CPU build of torch is asked for a GPU.
    assert told_by_torch[0].startswith("EngineError the GPU cannot be used: ")
    assert "make EXTRA=cpu install" in told_by_torch[0]


@pytest.mark.process
def test_the_formats_that_are_measured_are_bfloat16_and_float32(told_by_torch: list[str]) -> None:
    assert told_by_torch[1:] == ["torch.bfloat16", "torch.float32"]
