from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu import GIB
from toolchat.engine.memory import Need
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


# As vLLM 0.32, torch and transformers raise them, whole.
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 96.00 MiB. GPU 0 has a total capacity of 23.64 GiB of which 12.00 MiB is "
    "free. Process 4194304 has 20.01 GiB memory in use. Including non-PyTorch memory, this process has 3.60 GiB memory "
    "in use. Of the allocated memory 3.20 GiB is allocated by PyTorch, and 80.00 MiB is reserved by PyTorch but "
    "unallocated."
)
NO_CACHE = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine "
    "(this flag also controls CPU memory reservation on the CPU backend, despite its name)."
)
TOO_LONG = (
    "To serve at least one request with the model's max seq len (32768), (4.0 GiB KV cache is needed, which is larger "
    "than the available KV cache memory (1.2 GiB). Based on the available memory, the estimated maximum model length "
    "is 9824. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or "
    "decreasing `max_model_len` when initializing the engine."
)
OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
MISMATCH = """1 validation error for ModelConfig
  Value error, Quantization method specified in the model config (awq) does not match the quantization method \
specified in the `quantization` argument (gptq). [type=value_error, input_value=ArgsKwargs((), {'model': '/m'})]
"""
CACHE_DTYPE = """1 validation error for CacheConfig
cache_dtype
  Input should be 'auto', 'float16', 'bfloat16', 'fp8' [type=literal_error, input_value='fp9', input_type=str]
"""
OTHERS_LEFT = (
    "Error in memory profiling. Initial free memory 46.09 GiB, current free memory 64.88 GiB. This happens when other "
    "processes sharing the same container release GPU memory while vLLM is profiling during initialization. To fix "
    "this, ensure consistent GPU memory allocation or isolate vLLM in its own container."
)
FAILURES = [
    (OTHERS_LEFT, ("another program gave GPU memory back", "try again")),
    (OUT_OF_MEMORY, ("process 4194304 holds 20.01 GiB of it", "end that")),
    (NO_CACHE, ("close other programs on it", "--gpu-memory", "try --engine-arg kv_cache_dtype=fp8 or a smaller")),
    (TOO_LONG, ("holds 9824 tokens", "--context 9824")),
    ("[Errno 28] No space left on device: '/tmp/x'", ("a disk is full", "VLLM_CACHE_ROOT")),
    ("unable to open shared memory object </torch_71_1> in read-write mode", ("--shm-size 1g",)),
    (OLD_DRIVER, ("driver is too old", "580", "make EXTRA=cpu install")),
    ("CUDA driver version is insufficient for CUDA runtime version", ("driver is too old",)),
    ("CUDA error: no kernel image is available for execution on the device", ("compute capability 7.5",)),
    (
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute "
        "capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag in CLI, for example: "
        "--dtype=half.",
        ("Tesla T4 does not compute in bfloat16", "--dtype float16"),
    ),
    ("libcuda.so.1: cannot open shared object file: No such file or directory", ("no NVIDIA driver answers",)),
    (
        "Model architectures ['Qwen9ForCausalLM'] are not supported for now. Supported architectures: dict_keys([])",
        ("m is a Qwen9ForCausalLM", "a model of Mistral's"),
    ),
    (
        "The checkpoint you are trying to load has model type `qwen9` but Transformers does not recognize this "
        "architecture. This could be because of an issue with the checkpoint",
        ("m is a qwen9",),
    ),
    (MISMATCH, ("--quantization gptq: m is quantised as awq", "leave --quantization out")),
    (
        "_C::static_scaled_fp8_quant() expected at most 0 argument(s) but received 4 argument(s). Declaration: "
        "_C::static_scaled_fp8_quant() -> ()",
        ("build for the CPU has no arithmetic for the quantisation of m",),
    ),
    (
        "Unknown quantization method: exl2. Must be one of ['awq', 'auto_awq', 'fp8'].",
        ("m is quantised as exl2, which vLLM does not know", "another quantisation"),
    ),
    ("Cannot find the config file for awq", ("--quantization awq", "fp8_per_tensor")),
    (
        "awq_marlin quantization is currently not supported in cpu.",
        ("no awq_marlin quantisation on this device (cpu)",),
    ),
    (
        "The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current "
        "capability: 75.",
        ("the quantisation fp8 needs a GPU of compute capability 8.9, and this one has 7.5",),
    ),
    (
        "torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: [torch.float16]",
        ("the quantisation gptq does not compute in bfloat16", "--dtype float16"),
    ),
    ("FP8 KV cache on CPU requires x86 with AVX-512 or AMX.", ("no FP8 cache", "kv_cache_dtype")),
    (
        "You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/mistralai/m",
        ("accept its terms", "hf auth login"),
    ),
    ("vLLM does not yet support DoRA.", ("--lora", "a plain LoRA that was made for m")),
    (CACHE_DTYPE, ("cache_dtype: Input should be", "--engine-arg: kv_cache_dtype=fp9")),
]
CONFIGURED = replace(
    GPU, need=Need(8 * GIB, 131072, 16384, context_asked=True, fp8_cache=True), engine_args={"kv_cache_dtype": "fp9"}
)


@pytest.mark.parametrize(("message", "expected"), FAILURES)
def test_what_vllm_raises_is_one_line_with_the_remedy(message: str, expected: tuple[str, ...]) -> None:
    told = why_not_loaded(ValueError(message), CONFIGURED)
    assert "\n" not in told
    for words in expected:
        assert words in told, told


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("v1/core/kv_cache_utils.py", "No available memory for the cache blocks. "),
        ("v1/core/kv_cache_utils.py", "To serve at least one request with the model's max seq len "),
        ("v1/core/kv_cache_utils.py", "the estimated maximum model length is {"),
        ("v1/worker/utils.py", "Free memory on device {"),
        ("v1/worker/gpu_worker.py", "Error in memory profiling. "),
        ("platforms/cuda.py", "Bfloat16 is only supported on GPUs "),
        ("platforms/interface.py", " quantization is currently not supported in {"),
        ("config/vllm.py", "is not supported for the current GPU. Minimum "),
        ("config/vllm.py", " is not supported for quantization "),
        ("config/model.py", "Quantization method specified in the model config "),
        ("model_executor/models/registry.py", " are not supported for now. "),
        ("model_executor/model_loader/weight_utils.py", "Cannot find the config file for {"),
        ("v1/attention/backends/cpu_attn.py", "FP8 KV cache on CPU requires"),
        ("lora/peft_helper.py", "vLLM does not yet support DoRA."),
        ("lora/utils.py", " is unsupported LoRA weight"),
    ],
)
def test_the_installed_vllm_still_says_so(file: str, words: str) -> None:
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    assert words in Path(spec.submodule_search_locations[0], file).read_text(encoding="utf-8")


def test_the_process_that_holds_the_memory_is_named_where_it_is_seen() -> None:
    told = why_not_loaded(RuntimeError(OUT_OF_MEMORY.replace("4194304", str(os.getpid()))), GPU)
    assert f"(pid {os.getpid()}) holds 20.01 GiB" in told


def test_on_a_cpu_too_little_memory_names_the_context() -> None:
    told = why_not_loaded(ValueError("Available memory on node 0 (1.0/4.0 GiB) on startup"), replace(GPU, device="cpu"))
    assert "the memory does not suffice" in told
    assert "--context" in told
