"""Reduces an engine's failure to one line: vLLM wraps its reasons in pages of pydantic or tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from toolchat.engine.config import EngineConfig
from toolchat.wire.errors import EngineError

TO_THE_CPU = "for the CPU, install its engine: make EXTRA=cpu install"

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b(:|$)")
"""The last line of a traceback."""

_PYDANTIC = re.compile(r"\d+ validation errors? for .+")
"""The first line of pydantic's messages; the second names a field, the third says what is wrong with it."""


def one_line(error: BaseException) -> str:
    """The most telling line of an exception."""
    if isinstance(error, EngineError):
        return str(error)
    rows = [row.strip() for row in str(error).splitlines() if row.strip()]
    text = _telling(rows).split(" [type=")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def why_not_loaded(error: BaseException, config: EngineConfig) -> str:
    """`one_line`, or what is known to be meant by it, and what to do."""
    line = one_line(error)
    if isinstance(error, EngineError):
        return line
    whole = f"{type(error).__name__}: {error}"
    for pattern, explain in _KNOWN:
        if (match := re.search(pattern, whole, re.DOTALL)) is not None:
            return explain(match, config, line)
    if type(error).__name__ == "CalledProcessError" and config.device == "cuda":
        return (
            f"a command that compiles code for the GPU failed ({line}); it needs a C compiler and Python's headers: "
            "Debian, Ubuntu: apt install gcc python3-dev"
        )
    if _PYDANTIC.match(str(error)) and config.engine_args:
        given = ", ".join(f"{name}={value}" for name, value in config.engine_args.items())
        return f"{line}; correct or leave out what was given as --engine-arg: {given}"
    if config.model == "demo" and config.device == "cuda":
        return f"{line}; {TO_THE_CPU}"
    return line


def _no_memory(match: re.Match[str], config: EngineConfig, line: str) -> str:
    if config.device == "cpu":
        return f"the memory does not suffice ({line}); give a smaller --context, or take a smaller model"
    return (
        f"the GPU's memory does not suffice ({line}); close other programs on it, give more of it (--gpu-memory), "
        f"or {_other_ways(config)}"
    )


def _room_for(match: re.Match[str], config: EngineConfig, line: str) -> str:
    estimated = re.search(r"estimated maximum model length is (\d+)", match.string)
    if estimated is None or int(estimated[1]) < 1:
        return _no_memory(match, config, line)
    return f"the memory left beside the weights holds {estimated[1]} tokens of context; give --context {estimated[1]}"


def _held_by_another(match: re.Match[str], config: EngineConfig, line: str) -> str:
    pid, size = match[1], match[2]
    try:
        name = Path("/proc", pid, "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = ""  # in another container, or gone
    who = f"{name} (pid {pid})" if name else f"process {pid}"
    return f"the GPU's memory does not suffice: {who} holds {size} of it; end that, or {_other_ways(config)}"


def _other_ways(config: EngineConfig) -> str:
    return config.need.savings() if config.need is not None else "take a smaller model"


def _told(text: str) -> Explain:
    """A fixed line, in which `{1}` is a group of the pattern and `{line}` what vLLM said."""
    return lambda match, config, line: text.format(match[0], *match.groups(), line=line, model=config.model)


Explain = Callable[[re.Match[str], EngineConfig, str], str]
"""Makes the line of a match in what was raised, the configuration, and `one_line`."""

_KNOWN: tuple[tuple[str, Explain], ...] = (
    # Memory
    (r"out of memory.*Process (\d+) has ([\d.]+ [KMG]iB) memory in use", _held_by_another),
    (r"serve at least one request.*KV\s*cache is needed|to serve even a single token", _room_for),
    (
        r"Free memory on device|No available memory for the cache blocks|out of memory|OutOfMemoryError"
        r"|Available memory on node|CUBLAS_STATUS_ALLOC_FAILED",
        _no_memory,
    ),
    (
        r"Error in memory profiling",
        _told(
            "another program gave GPU memory back while the model was loaded, which vLLM does not allow for; try again"
        ),
    ),
    (
        r"No space left on device",
        _told(
            "a disk is full ({line}): the engine writes to the temporary folder, to /dev/shm and to vLLM's cache "
            "(~/.cache/vllm); make room, or set TMPDIR and VLLM_CACHE_ROOT to folders on another disk"
        ),
    ),
    (
        r"unable to (?:open|mmap|resize) .*shared memory|shm_open|unable to write to file </torch",
        _told("/dev/shm is too small or not there ({line}); give the container more: --shm-size 1g"),
    ),
    # Driver and GPU
    (
        r"NVIDIA driver on your system is too old \(found version (\d+)\)|driver version is insufficient",
        _told(f"the NVIDIA driver is too old for this build of CUDA; update it (580 or newer), or {TO_THE_CPU}"),
    ),
    (
        r"no kernel image is available|is not compatible with the current PyTorch installation",
        _told(
            "vLLM's build has no code for this GPU: it needs compute capability 7.5 (Turing, RTX 20) or newer; choose "
            f"another with CUDA_VISIBLE_DEVICES, or {TO_THE_CPU}"
        ),
    ),
    (
        r"Bfloat16 is only supported on GPUs.*?Your (.+?) GPU",
        _told("{1} does not compute in bfloat16; give --dtype float16"),
    ),
    (
        r"libcuda\.so\S*: cannot open|Found no NVIDIA driver|No CUDA GPUs are available",
        _told(f"no NVIDIA driver answers ({{line}}); install one, or {TO_THE_CPU}"),
    ),
    # The model
    (
        r"Model architectures? \[?'?([^\]']+)'?\]? (?:are not supported for now|was supported|is not supported in-tree)"
        r"|model type `([^`]+)` but Transformers does not recognize",
        lambda match, config, line: (
            f"{config.model} is a {match[1] or match[2]}, which vLLM does not load; take a model of Mistral's "
            "(docs/engines.md)"
        ),
    ),
    (
        r"failed to be inspected",
        _told("vLLM's class of {model} cannot be imported here ({line}); the engine's log says why"),
    ),
    (
        r"in the model config \((.+?)\) does not match the quantization.*?argument\s+\((.+?)\)",
        _told("--quantization {2}: {model} is quantised as {1}; leave --quantization out"),
    ),
    (
        r"Unknown quantization method: (.+?)\. Must be",
        lambda match, config, line: (
            f"--quantization {match[1]}: vLLM has no such method"
            if config.quantization is not None
            else f"{config.model} is quantised as {match[1]}, which vLLM does not know; take another quantisation of it"
        ),
    ),
    (
        r"The `fp8` quantization method no longer supports online",
        _told("--quantization fp8: {model} is in 16 bits; give --quantization fp8_per_tensor"),
    ),
    (
        r"Cannot find the config file for (\S+)",
        _told(
            "--quantization {1}: {model} is not quantised so, and vLLM cannot do it while it loads; take a repository "
            "that is, or on a GPU --quantization fp8_per_tensor"
        ),
    ),
    (
        # An operator that the CPU build declares without a body.
        r"_C::\w*quant\w*\(\) expected at most 0",
        lambda match, config, line: (
            f"--quantization {config.quantization}: vLLM's build for the CPU has no such arithmetic; leave it out"
            if config.quantization is not None
            else f"vLLM's build for the CPU has no arithmetic for the quantisation of {config.model}; take another"
        ),
    ),
    (
        r"(\S+) quantization is currently not supported in (\S+?)\.",
        _told("vLLM has no {1} quantisation on this device ({2}); take the model in 16 bits or another quantisation"),
    ),
    (
        r"quantization method (\S+) is not supported for the current GPU\. Minimum capability: (\d+)\. "
        r"Current capability: (\d+)",
        lambda match, config, line: (
            f"the quantisation {match[1]} needs a GPU of compute capability {int(match[2]) / 10:g}, and this one has "
            f"{int(match[3]) / 10:g}; take another quantisation of {config.model}"
        ),
    ),
    (
        r"torch\.(\w+) is not supported for quantization\s+method (\S+?)\. Supported dtypes: \[torch\.(\w+)",
        _told("the quantisation {2} does not compute in {1}; give --dtype {3}"),
    ),
    (
        r"FP8 KV cache on CPU requires|FP8 KV cache requires head_size",
        _told("this CPU or model has no FP8 cache ({line}); leave --engine-arg kv_cache_dtype out"),
    ),
    (
        r"gated repo|GatedRepoError|401 Client Error|403 Client Error",
        _told(
            "a file of {model} is missing here and its repository is not open to you: accept its terms on "
            "https://huggingface.co, log in with `hf auth login`, and fetch it with `toolchat models pull`"
        ),
    ),
    # The adapter
    (
        r"does not yet support DoRA|does not support (?:LoRA bias|Activated LoRA|layer_replication|QALoRA|block-diag)"
        r"|init_lora_weights=|only supports modules_to_save|is unsupported LoRA weight|LoRA rank|target_modules"
        r"|LoRA config|does not support LoRA|size of tensor a .* must match.*lora",
        _told("--lora: vLLM does not take this adapter ({line}); take a plain LoRA that was made for {model}"),
    ),
)
"""What vLLM, torch and transformers raise, by what their messages contain, and the line that is shown instead.

The texts are those of vLLM 0.32 and 0.33 and of torch 2.13; `tests/engine/worker/test_failures.py` has them whole."""


def _telling(rows: list[str]) -> str:
    for row in rows:
        if row.startswith(("Value error,", "Assertion failed,")):
            return row
    if len(rows) > 2 and _PYDANTIC.fullmatch(rows[0]):
        return f"{rows[1]}: {rows[2]}"
    # A traceback within the message, such as that of vLLM's second interpreter: its end tells, not its beginning.
    if any(row.startswith("Traceback (most recent call last)") for row in rows):
        return next((row for row in reversed(rows) if _EXCEPTION.match(row)), rows[-1])
    return rows[0] if rows else ""
