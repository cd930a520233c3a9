"""vLLM's CUDA build on a machine without a GPU, as far as its configuration goes: a script for test_cuda_*.py.

Reads a JSON list of cases from stdin and writes a JSON list of answers to the file named by its argument: what vLLM
makes of the arguments that toolchat gives it, on a card of the capability and memory that the case names. Nothing is
computed. vLLM's compiled modules are the real ones, over a libcuda that refuses every call (see conftest.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

GIB = 1024**3


def fake_the_platform() -> Any:
    """Have vLLM take this machine for one with an NVIDIA card; returns the platform, whose card can be changed."""
    import vllm.platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class FakedPlatform(CudaPlatformBase):  # type: ignore[misc]  # vLLM's types are not followed
        capability = (8, 9)
        total = 24 * GIB

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
            return DeviceCapability(*cls.capability)

        @classmethod
        def has_device_capability(cls, capability: tuple[int, int] | int, device_id: int = 0) -> bool:
            asked = capability if isinstance(capability, int) else capability[0] * 10 + capability[1]
            return bool(cls.get_device_capability().to_int() >= asked)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return "faked"

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return cls.total

        @classmethod
        def get_device_uuid(cls, device_id: int = 0) -> str:
            return "GPU-0"

        @classmethod
        def is_fully_connected(cls, physical_device_ids: list[int]) -> bool:
            return True

        @classmethod
        def device_count(cls) -> int:
            return 1

        @classmethod
        def log_warnings(cls) -> None:
            pass

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 128

        @classmethod
        def is_integrated_gpu(cls, device_id: int = 0) -> bool:
            return False

    # The module's own name for the platform that it would otherwise look for.
    vllm.platforms._current_platform = FakedPlatform()
    return FakedPlatform


def triton_is_here() -> None:
    """Undo what vLLM concludes where Triton finds no driver: each module keeps the flag that it imported."""
    for module in list(sys.modules.values()):
        if module is not None and vars(module).get("HAS_TRITON") is False:
            module.HAS_TRITON = True  # type: ignore[attr-defined]


def configured(case: dict[str, Any]) -> dict[str, Any]:
    """What vLLM's configuration comes to; under "error" why there is none."""
    from cuda_hookup import arguments_for
    from vllm import EngineArgs

    from toolchat.wire.errors import ToolchatError

    try:
        arguments = arguments_for(Path(case["folder"]), case["options"], case["share"])
        found = EngineArgs(**arguments).create_engine_config()
    except (ToolchatError, ValueError, NotImplementedError) as error:
        return {"error": str(error)}
    model, cache, compilation = found.model_config, found.cache_config, found.compilation_config
    return {
        # With -1 vLLM fits the context to the memory later, to this at most.
        "longest_context": model.max_model_len if model.max_model_len > 0 else model.original_max_model_len,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "second_runner": bool(found.use_v2_model_runner),
        "asynchronous": bool(found.scheduler_config.async_scheduling),
        "sequences": found.scheduler_config.max_num_seqs,
        "prefix_caching": bool(cache.enable_prefix_caching),
        "share": cache.gpu_memory_utilization,
        "kv_cache_bytes": cache.kv_cache_memory_bytes,
        "backend": found.structured_outputs_config.backend,
        "any_whitespace": not found.structured_outputs_config.disable_any_whitespace,
        "text_only": model.multimodal_config.language_model_only if model.multimodal_config else None,
        "eager": bool(model.enforce_eager),
        "graphs": compilation.cudagraph_mode.name if compilation.cudagraph_mode is not None else None,
        "compiles": compilation.mode.name if compilation.mode is not None else None,
    }


def memory(gib: float, held: float) -> dict[str, Any]:
    """Whether vLLM starts on a card of so many GiB of which so many are held: by its own share, and by toolchat's."""
    from types import SimpleNamespace

    from cuda_hookup import share_of
    from vllm.v1.worker.utils import request_memory

    free, total = int((gib - held) * GIB), int(gib * GIB)
    snapshot = SimpleNamespace(free_memory=free, total_memory=total, device_="cuda:0")
    share = share_of(free, total)

    def refused(share: float) -> str | None:
        try:
            request_memory(snapshot, SimpleNamespace(gpu_memory_utilization=share, kv_cache_memory_bytes=None))
        except ValueError as error:
            return str(error)
        return None

    return {"share": share, "refused": refused(share), "refused_by_default": refused(0.92)}


def workers(folder: Path) -> dict[str, str]:
    """The worker's class that vLLM takes where none is named, and the base of toolchat's."""
    from cuda_hookup import WORKER_BASE, arguments_for
    from vllm import EngineArgs

    arguments = arguments_for(folder, {}, None)
    arguments.pop("worker_cls", None)
    found = EngineArgs(**arguments).create_engine_config()
    return {"vllm": found.parallel_config.worker_cls, "toolchat": WORKER_BASE}


def startup_plans(folder: Path) -> dict[str, int | None]:
    """The bytes that vLLM's startup plan gives to the second of two starts, by what the first has found; None: no plan.

    vLLM looks the plan up before it fits the context to the memory, and writes it afterwards.
    """
    import os
    from types import SimpleNamespace

    from cuda_hookup import arguments_for
    from vllm import EngineArgs
    from vllm.v1.worker.startup_plan import maybe_apply_startup_plan, maybe_save_startup_plan

    os.environ["VLLM_ENABLE_STARTUP_PLAN"] = "1"

    def started(share: float = 0.92) -> Any:
        configured = EngineArgs(**arguments_for(folder, {}, share)).create_engine_config()
        return SimpleNamespace(
            vllm_config=configured,
            cache_config=configured.cache_config,
            parallel_config=configured.parallel_config,
            rank=0,
            init_snapshot=SimpleNamespace(free_memory=23 * GIB),
        )

    def found(share: float = 0.92) -> int | None:
        second = started(share)
        maybe_apply_startup_plan(second)
        bytes_: int | None = second.cache_config.kv_cache_memory_bytes
        return bytes_

    answers = {}
    first = started()
    first.vllm_config.model_config.max_model_len -= 16
    maybe_save_startup_plan(first, 5 * GIB)
    answers["the context was made shorter"] = found()
    maybe_save_startup_plan(started(), 6 * GIB)
    answers["the whole context fits"] = found()
    answers["the whole context fits, and another share is given"] = found(0.5)
    return answers


def main() -> None:
    asked = json.load(sys.stdin)
    platform = fake_the_platform()
    from toolchat.engine.worker.loading import hide_unloadable_modules, register_model

    hide_unloadable_modules()
    import vllm.v1.engine.llm_engine  # noqa: F401  # as the worker does

    answers = []
    for case in asked["configurations"]:
        platform.capability = tuple(case["capability"])
        platform.total = int(case["gib"] * GIB)
        register_model(Path(case["folder"]))
        triton_is_here()
        answers.append(configured(case))
    found = {
        "configurations": answers,
        "memory": [memory(*card) for card in asked["memory"]],
        "workers": workers(Path(asked["configurations"][0]["folder"])),
        "startup_plans": startup_plans(Path(asked["configurations"][0]["folder"])),
    }
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
