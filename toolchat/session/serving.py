"""Decides what `toolchat serve` starts: which model, how it is loaded, and vLLM's command for both. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolchat.engine.config import EngineConfig, plan
from toolchat.engine.gpu import GIB
from toolchat.engine.params import CONFIG
from toolchat.engine.server_command import (
    MistralTraits,
    Place,
    ServedModel,
    ServerCommand,
    server_command,
)
from toolchat.engine.vllm_options import PassedFlag, read_engine_args, read_lora
from toolchat.models.choice import ModelChoice, choose_model
from toolchat.models.families import (
    is_other_folder,
    is_other_repository,
    mistral_traits,
    parsers_for,
    unloadable_modules,
)
from toolchat.models.hardware import engine_device, gpu_total
from toolchat.offline import hub_offline
from toolchat.settings import Settings, cache_folder, resolve, user_path
from toolchat.wire.errors import EngineError, UsageError


@dataclass(frozen=True, slots=True)
class ServePlan:
    command: ServerCommand
    device: str
    """ "cpu" or "cuda"."""
    notes: tuple[str, ...] = ()
    """What a person should know before it starts."""


@dataclass(frozen=True, slots=True)
class _Found:
    model: ServedModel
    settings: Settings
    folder: Path | None = None
    """Of the model's files, where it has a Mistral tokenizer."""
    eager: bool = False
    """Whether it is loaded sooner than compiled."""
    notes: tuple[str, ...] = ()


def plan_server(
    flags: Mapping[str, Any],
    place: Place,
    passed: Sequence[PassedFlag],
    key: str,
    obtain: Callable[[ModelChoice], Path],
) -> ServePlan:
    """The server of a model that `flags`, as of `settings.resolve`, name; `obtain` builds or fetches it where need be.

    Raises UsageError or EngineError where there is none to be had.
    """
    device = engine_device()
    found = _find(flags, obtain)
    config = _config(found, device, flags)
    sees = not isinstance(found.model.kind, MistralTraits) or (
        found.model.kind.sees and config is not None and not config.text_only
    )
    absent, mended = unloadable_modules(sees=sees) if device == "cpu" else ((), ())
    command = server_command(
        found.model,
        place,
        config,
        device,
        passed,
        os.environ,
        share=_share(found.settings.gpu_memory, device),
        key=key,
        parent=os.getpid(),
        absent=absent,
        mended=mended,
    )
    return ServePlan(command, device, (*found.notes, *(config.notes if config is not None else ())))


def _find(flags: Mapping[str, Any], obtain: Callable[[ModelChoice], Path]) -> _Found:
    settings = resolve(flags)
    name = settings.model
    if name is not None and name.startswith((".", "/", "~")):
        folder = user_path(name)
        if folder.is_dir() and is_other_folder(folder):
            return _other(folder.resolve().name, str(folder.resolve()), folder / CONFIG, settings)
    choice = choose_model(name, cache_folder(), settings.revision)
    if choice.kind == "hub" and choice.folder is None:
        from toolchat.models import hub

        try:
            names, config = hub.described(choice.name, settings.revision)
        except EngineError:
            pass  # a mirror may know files and no lists; `obtain` tells what else is wrong
        else:
            if config is not None and is_other_repository(names, config):
                if _hidden_by_a_folder(choice.name):
                    what = f"{choice.name}: vLLM would take the folder of that name in this directory for it"
                    raise UsageError(f"{what}; change to another directory, or write ./{choice.name} if it is meant")
                return _other(choice.name, choice.name, config, settings)
    folder = obtain(choice)
    settings = resolve(flags, model_defaults=choice.defaults)
    label, at, revision = choice.name, str(folder), None
    if choice.kind == "folder":
        label = folder.name
    elif choice.kind == "hub" and not hub_offline() and not _hidden_by_a_folder(choice.name):
        # By its id: clients on other machines find the tokenizer's files by what the server says that it has loaded.
        at, revision = choice.name, choice.revision
    notes = (choice.notice,) if choice.notice else ()
    return _Found(
        ServedModel(label, at, mistral_traits(folder), revision), settings, folder, choice.kind == "demo", notes
    )


def _hidden_by_a_folder(name: str) -> bool:
    """Whether vLLM would take a folder of this directory for the hub's model: what lies at that path comes first."""
    return os.path.lexists(name)


def _other(name: str, at: str, config: Path, settings: Settings) -> _Found:
    parsers, note = parsers_for(name, config)
    return _Found(ServedModel(name, at, parsers, settings.revision), settings, notes=(note,))


def _config(found: _Found, device: str, flags: Mapping[str, Any]) -> EngineConfig | None:
    """How it is loaded; None for a model of another family. Without a look at the card: it may be one of several."""
    settings = found.settings
    if found.folder is None:
        ignored = [name for name in ("context", "kv_cache_gib", "text_only") if flags.get(name) is not None]
        if ignored:
            raise UsageError(
                f"--{ignored[0].removesuffix('_gib').replace('_', '-')}: is for models with a Mistral tokenizer, and "
                f"{found.model.name} has none; give vLLM's own flag behind --"
            )
        return None
    config = plan(
        found.model.name,
        found.folder,
        device,
        context=settings.context,
        kv_cache_gib=settings.kv_cache_gib,
        gpu_memory=settings.gpu_memory,
        dtype=settings.dtype,
        eager=found.eager,
        fast_start=settings.fast_start,
        text_only=settings.text_only,
        enforce_eager=settings.enforce_eager,
        quantization=settings.quantization,
        lora=read_lora(settings.lora) if settings.lora is not None else None,
        engine_args=read_engine_args(settings.engine_arg),
        flags={name for name, value in flags.items() if value is not None},
    )
    # What a GPU holds of the context vLLM finds out, unless it was said.
    return replace(config, context=settings.context) if device == "cuda" else config


def _share(gpu_memory: float | None, device: str) -> float | None:
    """vLLM's share of each card; None for its own default."""
    if device == "cpu" or gpu_memory is None or gpu_memory <= 1:
        return None if device == "cpu" else gpu_memory
    total = gpu_total(device)
    if not total or gpu_memory * GIB > total:
        raise UsageError(f"--gpu-memory {gpu_memory:g}: expected a share up to 1, or GiB that the GPU has")
    return round(gpu_memory * GIB / total, 4)
