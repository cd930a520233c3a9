"""toolchat's worker on vLLM's GPU model runner, without a GPU: Triton's interpreter runs its kernels on the CPU.

Takes the place of `python -m toolchat.engine.worker`, with its arguments. vLLM's CPU platform has a subclass of that
runner ("V2") and leaves it switched off; asynchronous scheduling, which a GPU gets, is switched on here too. The tokens
are those of the real runner, scheduler and samplers. What runs on a GPU alone (CUDA graphs, attention) does not.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

os.environ |= {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}

import triton.backends

from toolchat.engine.worker import server
from toolchat.engine.worker.in_process import InProcess


class NoDriver:
    """What Triton asks of a backend to see whether its hardware is here; vLLM only counts the backends."""

    @staticmethod
    def is_active() -> bool:
        return False


class MaskByTorch:
    """vLLM's kernel that sets the logits of forbidden tokens to -inf; the interpreter refuses the type of its mask.

    Called as a Triton kernel is: `kernel[grid](arguments)`, for each row of the bit masks and block of the vocabulary.
    """

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(
            logits: Any, _: int, indices: Any, cumulated: Any, masks: Any, __: int, words: int, **constants: int
        ) -> None:
            import torch

            for row in range(grid[0]):
                request, position = divmod(int(indices[row]), constants["MASK_STRIDE"])
                first, end = int(cumulated[request]), int(cumulated[request + 1])
                if first + position >= end:
                    continue
                packed = masks[row].to(torch.int64) & 0xFFFFFFFF
                bits = ((packed[:, None] >> torch.arange(32)) & 1).reshape(-1)[:words]
                logits[first + position][: len(bits)][bits == 0] = -float("inf")

        return run


def schedule_asynchronously() -> None:
    from vllm.platforms import current_platform

    platform = type(current_platform)
    decide = platform.check_and_update_config.__func__

    def decide_and_switch_on(cls: Any, config: Any) -> None:
        decide(cls, config)
        config.scheduler_config.async_scheduling = True

    platform.check_and_update_config = classmethod(decide_and_switch_on)


class OnGpuRunner(InProcess):
    def __init__(self, *arguments: Any) -> None:
        import vllm.v1.worker.gpu.structured_outputs as structured

        schedule_asynchronously()
        structured._apply_grammar_bitmask_kernel = MaskByTorch()
        super().__init__(*arguments)
        runner = self._engine.model_executor.driver_worker.worker.model_runner
        names = [one.__module__ for one in type(runner).__mro__]
        print("runner:", *names, flush=True)
        print("batches:", self._engine.engine_core.engine_core.batch_queue_size, flush=True)


triton.backends.backends["cpu"] = SimpleNamespace(driver=NoDriver, compiler=None)

if __name__ == "__main__":
    server.main(OnGpuRunner)
