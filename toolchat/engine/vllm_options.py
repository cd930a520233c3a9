"""Checks what the user asks of vLLM by its own names, without importing it.

That is --engine-arg, --quantization and --lora, and the flags behind `--` of `toolchat serve`. The names and types of
`EngineArgs` are read off vLLM's source, so that they are those of the installed version, and a misspelt one is told in
milliseconds instead of after vLLM's imports.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from toolchat.engine.params import read_object
from toolchat.wire.errors import UsageError

_ONE_GPU = "toolchat's own engine takes one GPU"
_BY_FILES = "toolchat chooses it by the model's files"
_ITS_OWN = "toolchat needs it as it is"

OURS: Mapping[str, str] = {
    "model": "use --model",
    "tokenizer": f"{_BY_FILES} (--model)",
    "tokenizer_mode": _BY_FILES,
    "config_format": _BY_FILES,
    "load_format": _BY_FILES,
    "served_model_name": "use --model",
    "skip_tokenizer_init": _ITS_OWN,
    "dtype": "use --dtype",
    "quantization": "use --quantization",
    "revision": "use --revision",
    "tokenizer_revision": "use --revision",
    "code_revision": "use --revision",
    "seed": "use --seed",
    "max_model_len": "use --context",
    "hf_overrides": "toolchat sets the context in it; use --context",
    "gpu_memory_utilization": "use --gpu-memory",
    "kv_cache_memory_bytes": "use --kv-cache",
    "language_model_only": "use --text-only",
    "enforce_eager": "use --enforce-eager",
    "enable_lora": "use --lora",
    "max_lora_rank": "use --lora, which takes it from the adapter",
    "max_loras": "use --lora",
    "max_num_seqs": _ITS_OWN,
    "structured_outputs_config": f"{_ITS_OWN}: tool calls are held to their schemas by it",
    "worker_cls": _ITS_OWN,
    "runner": _ITS_OWN,
    "convert": _ITS_OWN,
    "disable_log_stats": _ITS_OWN,
    "enable_prompt_embeds": _ITS_OWN,
    "hf_token": "use HF_TOKEN; models are fetched before vLLM starts",
    "download_dir": "use HF_HOME; models are fetched before vLLM starts",
    "tensor_parallel_size": _ONE_GPU,
    "pipeline_parallel_size": _ONE_GPU,
    "data_parallel_size": _ONE_GPU,
    "prefill_context_parallel_size": _ONE_GPU,
    "decode_context_parallel_size": _ONE_GPU,
    "distributed_executor_backend": _ONE_GPU,
    "nnodes": _ONE_GPU,
    "node_rank": _ONE_GPU,
    "device_ids": f"{_ONE_GPU}; use CUDA_VISIBLE_DEVICES",
}
"""vLLM's arguments that toolchat sets or relies on, and what to do instead."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_MADE_BEFORE = ("fp8", "awq", "awq_marlin", "gptq", "gptq_marlin", "auto_awq", "auto_gptq", "compressed-tensors")
"""vLLM's methods that need weights, or a file with numbers, that were made before."""
_SHORT = {"-q": "quantization", "-sc": "structured-outputs-config", "-cc": "compilation-config", "-r": "node-rank"}
"""vLLM's short names of flags that toolchat may set."""
_MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the library's own limit."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""vLLM's `MaxLoRARanks`."""


@dataclass(frozen=True, slots=True)
class PassedFlag:
    """One of vLLM's flags, as the user wrote it behind `--`."""

    written: str
    name: str
    """With dashes, without those before it and without "no-"; "structured-outputs-config.backend" of a dotted one."""
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter that every request uses."""

    name: str
    folder: str
    rank: int
    """The least of vLLM's `MaxLoRARanks` that holds it."""
    bytes: int = 0
    """Of its weights."""
    dim: int | None = None
    """The width of the model that it was made for, where its weights say so."""


@cache
def engine_fields() -> Mapping[str, str]:
    """The names of vLLM's `EngineArgs`, each with its annotation as it is written; empty without vLLM."""
    for node in ast.walk(_parsed("engine/arg_utils.py")):
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            return {name: ast.unparse(annotation) for name, annotation in _fields(node).items()}
    return {}


def _fields(kind: ast.ClassDef) -> dict[str, ast.expr]:
    return {
        field.target.id: field.annotation
        for field in kind.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not field.target.id.startswith("_")
    }


@cache
def quantizations() -> tuple[str, ...]:
    """The methods that vLLM's --quantization knows; empty without vLLM."""
    for node in ast.walk(_parsed("model_executor/layers/quantization/__init__.py")):
        match node:
            case ast.Assign(targets=[ast.Name("QuantizationMethods")], value=ast.Subscript(slice=ast.Tuple(elts))):
                return tuple(str(one.value) for one in elts if isinstance(one, ast.Constant))
    return ()


@cache
def server_flags() -> frozenset[str]:
    """The flags of vLLM's server as they are written, "--port" and "-tp"; empty without vLLM."""
    flags: set[str] = set()
    for file in ("engine/arg_utils.py", "entrypoints/launchers/cli_args.py"):
        for node in ast.walk(_parsed(file)):
            match node:
                case ast.Constant(str(text)) if re.fullmatch(r"--?[A-Za-z][\w-]*", text):
                    flags.add(text)
                # Each field of these classes is a flag.
                case ast.ClassDef(name) if name.endswith(("EngineArgs", "FrontendArgs")):
                    flags |= {f"--{field.replace('_', '-')}" for field in _fields(node)}
    # Where only one of the two files is there, the flags of the other would be refused.
    return frozenset(flags) if {"--port", "--tensor-parallel-size"} <= flags else frozenset()


@cache
def registered_parsers(package: Literal["tool_parsers", "reasoning"]) -> frozenset[str]:
    """The names that vLLM's --tool-call-parser or --reasoning-parser knows; empty without vLLM."""
    for node in ast.walk(_parsed(f"{package}/__init__.py")):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Dict(keys)) if name.endswith("_TO_REGISTER"):
                return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return frozenset()


@cache
def choices(alias: str) -> tuple[str, ...]:
    """The words that a name of vLLM's own in an annotation stands for, such as CacheDType; empty for anything else."""
    if (place := _vllm()) is None or not alias.isidentifier():
        return ()
    for file in sorted((place / "config").glob("*.py")):
        with suppress(OSError, SyntaxError, ValueError):
            text = file.read_text(encoding="utf-8")
            if (match := re.search(rf"^{alias} = Literal\[([^\]]*)\]", text, re.MULTILINE)) is not None:
                words = ast.literal_eval(f"[{match[1]}]")
                return tuple(word for word in words if isinstance(word, str))
    return ()


def _vllm() -> Path | None:
    """The folder of the installed vLLM, which is found without being imported."""
    spec = find_spec("vllm")
    return Path(spec.submodule_search_locations[0]) if spec is not None and spec.submodule_search_locations else None


def _parsed(file: str) -> ast.AST:
    """A source file of vLLM's; an empty module where it is not there."""
    try:
        return ast.parse(((_vllm() or Path()) / file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def read_engine_args(pairs: Sequence[str], fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The values of `pairs`, each "name=value", by vLLM's names. Raises UsageError, one line, for a wrong one.

    Dashes in a name are taken as underscores. Relative paths begin in the folder that the user is in, whatever folder
    vLLM is started in. `fields` are those of `engine_fields`; where there are none, vLLM itself refuses what it does
    not know.
    """
    if not pairs:
        return {}  # without reading vLLM's source, which takes longer than all else that a warm command does
    fields = engine_fields() if fields is None else fields
    values: dict[str, Any] = {}
    for pair in pairs:
        written, _, value = pair.partition("=")
        name = written.strip().removeprefix("--").replace("-", "_")
        if (instead := OURS.get(name)) is not None:
            raise UsageError(f"--engine-arg {written.strip()}: this is not to be set so; {instead}")
        if fields and name not in fields:
            near = get_close_matches(name, [one for one in fields if one not in OURS], n=1)
            hint = f"did you mean {near[0]}?" if near else "docs.vllm.ai, Engine Arguments, lists them"
            raise UsageError(f"--engine-arg {written.strip()}: vLLM's EngineArgs have no such name; {hint}")
        if name in values:
            raise UsageError(f"--engine-arg {name}: given twice; leave one of them out")
        values[name] = _absolute(_typed(name, value.strip(), fields.get(name, "")))
    return values


def _is_relative_path(text: str) -> bool:
    """Whether it is plain that a text is a path that begins in some folder: "./draft", "..", and no "owner/name"."""
    return text in (".", "..") or text.startswith(("./", "../"))


def _absolute(value: Any) -> Any:
    """`value` with what is a relative path in it made absolute: what is plainly one, and as for vLLM itself what leads
    to something that is there."""
    match value:
        case str() if _is_relative_path(value) or ("/" in value and os.path.lexists(value)):
            return str(Path(value).absolute())
        case dict():
            return {name: _absolute(one) for name, one in value.items()}
        case list():
            return [_absolute(one) for one in value]
    return value


def _typed(name: str, value: str, annotation: str) -> Any:
    """`value` as the type that `annotation` names. Names of vLLM's own are taken as JSON, else as text."""
    kinds = {kind.strip().partition("[")[0] for kind in annotation.split("|")}
    lower = value.lower()
    if "None" in kinds and lower in ("none", "null"):
        return None
    if "bool" in kinds and lower in (*_TRUE, *_FALSE):
        return lower in _TRUE
    for kind, convert in (("int", int), ("float", float)):
        if kind in kinds:
            try:
                return convert(value)
            except ValueError:
                continue
    plain = {"bool": "true or false", "int": "a whole number", "float": "a number"}
    if kinds and kinds <= {*plain, "None"}:
        expected = " or ".join(words for kind, words in plain.items() if kind in kinds)
        raise UsageError(f"--engine-arg {name}: expected {expected}, not {value!r}")
    if "str" in kinds and value[:1] not in ("{", "["):
        return value
    words = [word for kind in sorted(kinds) for word in choices(kind)]
    if words and value in words:
        return value
    if words and kinds <= {kind for kind in kinds if choices(kind) or kind == "None"}:
        near = get_close_matches(value, words, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--engine-arg {name}: expected one of {', '.join(words)}, not {value!r}{hint}")
    try:
        found = json.loads(value)
    except ValueError:
        if value[:1] in ("{", "[") or kinds & {"dict", "list", "set"}:
            raise UsageError(f"--engine-arg {name}: expected JSON, as '{{\"key\": 1}}', not {value!r}") from None
        return value
    # A name of vLLM's own may stand for words: "1" is then a number all the same.
    return found


def read_passed(arguments: Sequence[str], known: Collection[str] = ()) -> list[PassedFlag]:
    """The flags behind `--`. Raises UsageError for what is no flag, and for one that vLLM has not.

    `known` are vLLM's flags as they are written (`server_flags`); where there are none, any passes.
    """
    found: list[PassedFlag] = []
    for argument in arguments:
        if not _is_flag(argument):
            if not found:
                raise UsageError(f"serve: expected vLLM's own flags behind --, not {argument!r}")
            found[-1] = replace(found[-1], values=(*found[-1].values, argument))
            continue
        written, equals, value = argument.partition("=")
        found.append(_named(written, known, (value,) if equals else ()))
    return found


def _is_flag(argument: str) -> bool:
    return re.match(r"--?[A-Za-z]", argument) is not None


def _named(written: str, known: Collection[str], values: tuple[str, ...]) -> PassedFlag:
    if not written.startswith("--"):
        # "-tp", "-O3", "-q": which letters there are is vLLM's matter.
        short, dot, rest = written.partition(".")
        return PassedFlag(written, _SHORT.get(short, short) + dot + rest, values)
    first, dot, rest = written[2:].partition(".")
    name = first.replace("_", "-")
    flags = {flag[2:] for flag in known if flag.startswith("--")}
    if flags and name not in flags and not (name.startswith("no-") and name[3:] in flags):
        # Python's argparse takes the beginning of a flag for the flag.
        begun = [flag for flag in flags if flag.startswith(name)]
        if len(begun) != 1:
            near = get_close_matches(name, flags, n=1)
            hint = f"did you mean --{near[0]}?" if near else "docs.vllm.ai, vllm serve, lists them"
            raise UsageError(f"serve -- {written}: the installed vLLM has no such flag; {hint}")
        name = begun[0]
    negated = name.startswith("no-") and name not in flags
    return PassedFlag(written, name.removeprefix("no-") + dot + rest if negated else name + dot + rest, values, negated)


def check_quantization(method: str, made_by: str) -> None:
    """Raise UsageError for a method that vLLM has not, or that only fits a model which is quantised already.

    `made_by` is how it is (`params.quantized_by`); vLLM compares the two, since some methods stand for others.
    """
    known = quantizations()
    if method in _MADE_BEFORE and not made_by:
        raise UsageError(
            f"--quantization {method}: this model is in 16 bits, and {method} is only for one that was quantised so "
            "before; name such a one, or on a GPU have it quantised while it is loaded: --quantization fp8_per_tensor"
        )
    if known and method not in known:
        near = get_close_matches(method, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
        raise UsageError(f"--quantization {method}: vLLM has no such method; {hint}")


def read_lora(written: str) -> Lora:
    """The adapter of "NAME=PATH". Raises UsageError, one line, where there is none that vLLM could take."""
    name, _, path = written.partition("=")
    folder = Path(path).expanduser()
    where = f"--lora {written}"
    if not folder.is_dir():
        raise UsageError(f"{where}: {folder} is no folder; expected one with adapter_config.json, as PEFT writes it")
    try:
        config = read_object(folder / "adapter_config.json")
    except Exception as error:
        raise UsageError(f"{where}: {error}") from None
    if config is None:
        raise UsageError(f"{where}: {folder} has no adapter_config.json; expected an adapter's folder, as of PEFT")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise UsageError(f"{where}: the adapter's peft_type is {kind}; vLLM takes LORA")
    weights = next(
        (
            folder / f"adapter_model.{end}"
            for end in ("safetensors", "bin", "pt")
            if (folder / f"adapter_model.{end}").is_file()
        ),
        None,
    )
    if weights is None:
        raise UsageError(f"{where}: {folder} has no adapter_model.safetensors")
    patterns = config.get("rank_pattern")
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    if not all(isinstance(rank, int) and 0 < rank <= _RANKS[-1] for rank in ranks):
        raise UsageError(
            f"{where}: adapter_config.json: expected a rank r from 1 to {_RANKS[-1]}, not {config.get('r')!r}"
        )
    rank = next(least for least in _RANKS if least >= max(ranks))
    return Lora(name.strip(), str(folder.resolve()), rank, weights.stat().st_size, _width(weights))


def check_lora(lora: Lora, model: str, params: Mapping[str, Any]) -> None:
    """Raise UsageError where the adapter was made for a model of another width. vLLM finds other differences."""
    dim = params.get("dim")
    if lora.dim is not None and isinstance(dim, int) and dim != lora.dim:
        raise UsageError(
            f"--lora {lora.name}={lora.folder}: it was made for a model of width {lora.dim}, and {model} has {dim}; "
            "name the model that stands in its adapter_config.json as base_model_name_or_path"
        )


def _width(weights: Path) -> int | None:
    """The width of what goes into the queries that an adapter changes, by the header of its safetensors file."""
    if weights.suffix != ".safetensors":
        return None
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        for name, entry in header.items():
            if re.search(r"\.[qkv]_proj\.lora_A\.", name):
                return int(entry["shape"][1])
    return None
