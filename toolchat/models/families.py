"""What vLLM's own server is told of a model: traits of Mistral's by their files, other families' parsers by a table.

Models of other families are for the server alone: toolchat's own engine takes those with a Mistral tokenizer.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from toolchat.engine.params import CONFIG, has_vision, read_object, read_params
from toolchat.engine.server_command import MistralTraits, Parsers
from toolchat.engine.vllm_options import registered_parsers
from toolchat.models.card import MAX_TOKENIZER
from toolchat.models.files import FIRST_WORDS, lacking, lacking_kinds, lacks_tokenizer, needed, only_bare_tokenizer
from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError

TEKKEN = "tekken.json"
_THINKING = "[THINK]"


@dataclass(frozen=True, slots=True)
class _Family:
    """A row of vLLM's documents, "Tool Calling" and "Reasoning Outputs" (0.32)."""

    types: str
    """A pattern of `model_type` in config.json."""
    tools: str | None
    reasoning: str | None = None
    name: str = ""
    """A pattern that the model's name must hold, in lower case; "" for any."""


_FAMILIES = (
    # The first that fits counts.
    _Family(r"qwen3(_moe)?|qwen3_next", "qwen3_coder", name="coder"),
    _Family(r"qwen3(_moe)?|qwen3_next", "hermes", name="instruct"),
    _Family(r"qwen3(_moe)?|qwen3_next", "hermes", "qwen3"),
    _Family(r"qwen2", "hermes", "deepseek_r1", name=r"qwq|deepseek-r1"),
    _Family(r"qwen2(_moe|_vl|_5_vl)?", "hermes"),
    _Family(r"llama", "hermes", name="hermes"),
    _Family(r"llama", None, "deepseek_r1", name="deepseek-r1"),
    _Family(r"llama", "llama3_json", name=r"llama-?3"),
    _Family(r"llama4", "llama4_pythonic"),
    _Family(r"granitemoehybrid", "granite4"),
    _Family(r"granite(moe)?", "granite"),
    _Family(r"gpt_oss", "openai", "openai_gptoss"),
    _Family(r"glm4_moe", "glm47", "glm47", name="4.7"),
    _Family(r"glm4_moe", "glm45", "glm45"),
    _Family(r"deepseek_v3", "deepseek_v31", "deepseek_v3", name="v3.1"),
    _Family(r"deepseek_v3", "deepseek_v3", "deepseek_r1", name="r1"),
    _Family(r"deepseek_v3", "deepseek_v3"),
    _Family(r"minimax_m2", "minimax_m2", "minimax_m2"),
    _Family(r"seed_oss", "seed_oss", "seed_oss"),
    _Family(r"phi3", "phi4_mini_json", name="phi-4-mini"),
    _Family(r"internlm2", "internlm"),
    _Family(r"jamba", "jamba"),
    _Family(r"mistral|mixtral", "mistral"),
)


def mistral_traits(folder: Path) -> MistralTraits:
    """Of a model with a Mistral tokenizer whose files are in `folder`. Raises EngineError where they are unreadable."""
    path = folder / TEKKEN
    tekken = path.is_file()
    thinks = False
    if tekken:
        try:
            written = json.loads(read_file(path, MAX_TOKENIZER))
            specials = written.get("special_tokens") or ()
            thinks = any(one.get("token_str") == _THINKING for one in specials)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise EngineError(f"{path}: cannot be read: {error}") from None
    return MistralTraits(tekken, thinks, has_vision(read_params(folder)))


def is_other_folder(folder: Path) -> bool:
    """Whether `folder` holds a model without a Mistral tokenizer. Raises OSError or EngineError."""
    names = {path.name for path in folder.iterdir()}
    if kinds := lacking_kinds(names):
        return CONFIG in names and len(kinds) == 1 and lacks_tokenizer(kinds[0])
    return CONFIG in names and lacks_tokenizer(lacking(folder))


def is_other_repository(names: Collection[str], config: Path | None) -> bool:
    """The same of a repository with these files, and its config.json if that is here."""
    wanted = needed(names)
    if CONFIG not in wanted:
        return False
    if kinds := lacking_kinds(wanted):
        return len(kinds) == 1 and lacks_tokenizer(kinds[0])
    words = (read_object(config) or {}).get("vocab_size") if config is not None else None
    return only_bare_tokenizer(wanted) and isinstance(words, int) and words > FIRST_WORDS


def parsers_for(name: str, config: Path) -> tuple[Parsers, str]:
    """The parsers of a model of another family by its config.json, and what is to be said of them; "" for nothing."""
    kind = str((read_object(config) or {}).get("model_type") or "")
    lower = name.lower()
    family = next(
        (one for one in _FAMILIES if re.fullmatch(one.types, kind) and re.search(one.name, lower)), _Family("", None)
    )
    tools = family.tools if family.tools in registered_parsers("tool_parsers") else None
    reasoning = family.reasoning if family.reasoning in registered_parsers("reasoning") else None
    without = f"{name} has no tokenizer of Mistral's: toolchat uses it by chat completions, and checks its calls"
    if tools is None:
        without += (
            "; no parser of calls is known for it here, and without one it calls no tools: "
            "-- --tool-call-parser names one of vLLM's"
        )
    return Parsers(tools, reasoning), without


def unloadable_modules(*, sees: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of what is installed and not loadable beside this build of torch: the modules to hide, and those to mend.

    PyPI's torchvision, torchaudio and torchcodec are compiled for PyPI's torch. The version of another build of torch
    has a label ("2.13.0+cpu"), and what is built for that has the same. `sees` is whether vLLM's class of the model
    needs torchvision: see `engine/worker/loading.py`.
    """
    label = _label("torch")
    if not label:
        return (), ()
    wrong = [name for name in ("torchvision", "torchaudio", "torchcodec") if _label(name) not in (None, label)]
    mended = tuple(name for name in wrong if sees and name == "torchvision")
    return tuple(name for name in wrong if name not in mended), mended


def _label(distribution: str) -> str | None:
    """What stands behind "+" in its version; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution).partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        return None
