from __future__ import annotations

from subprocess import CalledProcessError

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.worker.failures import one_line, why_not_loaded
from toolchat.wire.errors import EngineError

GPU = EngineConfig("m", "/models/m", "cuda", None, None)
SUBPROCESS = """Error raised in subprocess:
/usr/lib/python3.11/runpy.py:128: RuntimeWarning: 'vllm.model_executor.models.registry' found in sys.modules
  warn(RuntimeWarning(msg))
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/home/me/calendar.py", line 1, in <module>
    raise SystemExit("not a module")
AttributeError: module 'calendar' has no attribute 'timegm'
"""
PYDANTIC = """1 validation error for ModelConfig
  Value error, User-specified max_model_len is too large [type=value_error, input_value=X]
    For further information visit https://errors.pydantic.dev/2.11/v/value_error
"""
FIELD = """1 validation error for ChatCompletionRequest
reasoning_effort
  Input should be 'none' or 'high' [type=enum, input_value='lowest', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/enum
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError(SUBPROCESS), "RuntimeError: AttributeError: module 'calendar' has no attribute 'timegm'"),
        (ValueError(PYDANTIC), "ValueError: Value error, User-specified max_model_len is too large"),
        (ValueError(FIELD), "ValueError: reasoning_effort: Input should be 'none' or 'high'"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (RuntimeError(), "RuntimeError"),
        (EngineError("as it is; said"), "as it is; said"),
        (RuntimeError("Traceback (most recent call last):\n  cut off"), "RuntimeError: cut off"),
    ],
)
def test_the_telling_line_is_taken(error: Exception, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize(
    "message",
    [
        "Free memory on device cuda:0 (3.3/4.0 GiB) on startup is less than desired GPU memory utilization (0.92)",
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "CUDA out of memory. Tried to allocate 96.00 MiB",
    ],
)
def test_too_little_memory_names_flags_that_toolchat_has(message: str) -> None:
    told = why_not_loaded(ValueError(message), GPU)
    assert "--gpu-memory" in told
    assert "a smaller model" in told


def test_a_compiler_that_fails_is_told_with_the_packages() -> None:
    told = why_not_loaded(CalledProcessError(1, ["/usr/bin/gcc", "main.c"]), GPU)
    assert "apt install gcc python3-dev" in told


def test_the_demo_model_where_cuda_cannot_start_names_the_engine_for_the_cpu() -> None:
    error = RuntimeError("CUDA driver initialization failed")
    assert "make EXTRA=cpu install" in why_not_loaded(error, EngineConfig("demo", "/models/d", "cuda", None, None))
    assert "make EXTRA=cpu" not in why_not_loaded(error, EngineConfig("demo", "/models/d", "cpu", 1, 1))
