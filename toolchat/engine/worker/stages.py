"""vLLM's worker class, which tells of the stages of loading as they are reached. Runs in the engine's process only.

vLLM takes a worker by its name (`worker_cls`), so the class is made here, before the engine is, from the one that the
platform would have taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BASES = {"cpu": "vllm.v1.worker.cpu_worker.CPUWorker", "cuda": "vllm.v1.worker.gpu_worker.Worker"}
"""What vLLM's platforms put in place of "auto" (vllm/platforms/cpu.py and cuda.py, `check_and_update_config`)."""


def install(device: str, announce: Callable[[str], None], *, compiles: bool, captures: bool) -> None:
    """Make `StagedWorker` for `device`. `announce` is called with each stage that follows the loading of weights.

    `compiles` and `captures` say whether this engine compiles code, and whether it captures CUDA graphs.
    """
    from vllm.utils.import_utils import resolve_obj_by_qualname

    globals()["StagedWorker"] = staged(
        resolve_obj_by_qualname(BASES[device]), announce, compiles=compiles, captures=captures
    )


def staged(base: Any, announce: Callable[[str], None], *, compiles: bool, captures: bool) -> type:
    """`base`, a worker of vLLM, with its stages told."""

    class StagedWorker(base):  # type: ignore[misc]  # a class of vLLM's, known at run time only
        def determine_available_memory(self) -> int:
            # The first run of the model: whatever is compiled is compiled here.
            if compiles:
                announce("compiling")
            available: int = super().determine_available_memory()
            return available

        def compile_or_warm_up_model(self) -> Any:
            if captures:
                announce("capturing CUDA graphs")
            return super().compile_or_warm_up_model()

    return StagedWorker
