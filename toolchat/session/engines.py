"""The engine factory: makes local engines, and an engine whose model must be downloaded first."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from toolchat.engine.base import Engine, EngineCrashedError, EngineInfo, GenerateOptions, SharedEngine
from toolchat.engine.config import EngineConfig, least_context, plan
from toolchat.engine.gpu import gpus
from toolchat.engine.kept.engine import KeptEngine, Wanted
from toolchat.engine.kept.place import digest, folder_for_sockets, sockets
from toolchat.engine.params import has_vision, read_params, weight_bytes
from toolchat.engine.remote.config import COMMAND, Address, ServerConfig
from toolchat.engine.vllm_options import read_engine_args, read_lora
from toolchat.models.card import by_name, sampling
from toolchat.models.choice import ModelChoice
from toolchat.models.hardware import (
    engine_device,
    engine_gpu,
    fit_warning,
    installed_vllm,
    leaves_out_vision,
    require_cuda,
    vllm_build,
)
from toolchat.models.origins import quantized_repository
from toolchat.private_file import open_private
from toolchat.settings import PER_CHAT, Settings, state_folder
from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec

if TYPE_CHECKING:
    from toolchat.models.hub import RemoteSize


class EngineFactory(Protocol):
    """Where the engine of a session comes from."""

    def make(self, settings: Settings, choice: ModelChoice, folder: Path | None, flags: Mapping[str, Any]) -> Engine:
        """A new engine for a model whose files are in `folder`. Raises EngineError or UsageError where it cannot work.

        It is not started. `flags` are those that the settings were resolved from. `folder` is None for a server's
        model.
        """

    def fits(self, size: RemoteSize, settings: Settings) -> str:
        """What to say about a model of that size before it is fetched; "" for nothing.

        Raises EngineError where no engine of this factory could hold it.
        """

    def leaves_out_vision(self, folder: Path) -> bool:
        """Whether a chat that cannot get images has the model in `folder` loaded without its vision encoder."""


@dataclass(frozen=True, slots=True)
class LocalEngines:
    """Makes engines that run vLLM in a worker process on this machine."""

    device: str
    """"cuda" or "cpu": what the installed vLLM was built for."""
    debug: bool = False
    attended: bool = True
    """Whether a person at a terminal may come back, for whom an engine is kept where the settings do not say."""

    @classmethod
    def installed(cls, *, debug: bool = False) -> LocalEngines:
        """Raises EngineError where no vLLM is installed that can run here."""
        device = installed_vllm()
        # nvidia-smi takes its time, and whoever loaded a model has asked it.
        return cls(device if device == "cuda" and loaded_here(device) else engine_device(), debug)

    def check(self, settings: Settings) -> None:
        """Raise UsageError for an adapter or an argument of vLLM's that there is not, before a model is fetched."""
        read_engine_args(settings.engine_arg)
        if settings.lora is not None:
            read_lora(settings.lora)

    def make(self, settings: Settings, choice: ModelChoice, folder: Path | None, flags: Mapping[str, Any]) -> Engine:
        assert folder is not None
        own_sampling = sampling(folder, choice.name, settings.reasoning_effort)

        def planned() -> EngineConfig:
            if self.device == "cuda":
                require_cuda()
            return plan(
                choice.name,
                folder,
                self.device,
                context=settings.context,
                kv_cache_gib=settings.kv_cache_gib,
                gpu_memory=settings.gpu_memory,
                dtype=settings.dtype,
                # The demo model answers sooner than it compiles.
                eager=choice.kind == "demo",
                fast_start=settings.fast_start,
                text_only=settings.text_only,
                enforce_eager=settings.enforce_eager,
                quantization=settings.quantization,
                lora=read_lora(settings.lora) if settings.lora is not None else None,
                engine_args=read_engine_args(settings.engine_arg),
                sampling=own_sampling,
                card=engine_gpu(self.device),
                smaller=quantized_repository(choice.name),
                flags={name for name, value in flags.items() if value is not None},
                debug=self.debug,
            )

        context = least_context(choice.name, folder, self.device, settings.context)
        if not loaded_here(self.device):
            planned()  # what cannot work is told here and now
        wanted = Wanted(
            model=choice.name,
            device=self.device,
            names=partial(names, settings, folder, self.device),
            context=context,
            plan=planned,
            card=partial(card, self.device),
            sampling=own_sampling,
            debug=self.debug,
        )
        keep = seconds_to_keep(settings, os.environ, sys.stderr if self.attended else None)
        logs, chosen = state_folder() / "logs", settings.keep_alive is not None
        return KeptEngine(wanted, logs, keep, sets_time=chosen, first_time=_first_time)

    def fits(self, size: RemoteSize, settings: Settings) -> str:
        return fit_warning(
            size.name, size.weights, self.device, text_only=settings.text_only, quantization=settings.quantization
        )

    def leaves_out_vision(self, folder: Path) -> bool:
        return leaves_out_vision(weight_bytes(folder), self.device)


KEEP_SECONDS = 300.0
"""Where nothing is said: as long as Ollama keeps a model, which people know."""
UNATTENDED = ("CI", "SLURM_JOB_ID", "INVOCATION_ID")
"""Variables by which a build server, a cluster and systemd say that nobody sits there."""
_TOLD = "kept-engine-told"


def seconds_to_keep(settings: Settings, environment: Mapping[str, str], stderr: TextIO | None) -> float | None:
    """How long an engine stays loaded after its last use; None where nobody asked for it and nobody will come back."""
    if settings.keep_alive is not None:
        return settings.keep_alive
    attended = stderr is not None and stderr.isatty() and not any(environment.get(name) for name in UNATTENDED)
    return KEEP_SECONDS if attended else None


def names(settings: Settings, folder: Path, device: str) -> tuple[str, ...]:
    """What a kept engine for these settings is called: first one that is loaded so, then one that can do more."""
    shaping = {name: value for name, value in asdict(settings).items() if name not in PER_CHAT}
    # With paths made absolute: the same words mean another file in another folder.
    shaping["engine_arg"] = read_engine_args(settings.engine_arg)
    sees = has_vision(read_params(folder))
    kinds = [shaping | {"text_only": settings.text_only and sees}]
    if settings.text_only and sees:
        kinds.append(shaping | {"text_only": False})
    return tuple(digest(folder, device, kind, vllm_build()) for kind in kinds)


def loaded_here(device: str) -> bool:
    """Whether a kept engine may be there, by its socket alone. On such a machine the free memory says little."""
    folder = folder_for_sockets()
    return folder is not None and bool(sockets(folder))


def card(device: str) -> str:
    """The card that an engine of this device takes; "cpu" for none."""
    first = next(iter(gpus()), None) if device == "cuda" else None
    return device if first is None else first.uuid


def _first_time() -> bool:
    """Whether nobody has been told yet that a model stays loaded; from now on somebody has."""
    try:
        os.close(open_private(state_folder() / _TOLD, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class ServerEngines:
    """Makes engines whose model is on a server. Nothing is installed here for it, fetched or loaded."""

    debug: bool = False

    def make(self, settings: Settings, choice: ModelChoice, folder: Path | None, flags: Mapping[str, Any]) -> Engine:
        if missing := missing_client():
            raise EngineError(missing)
        ignored = [flag for name, flag in _LOADING.items() if flags.get(name) is not None]
        notes = [f"{flag} has no effect: the model is on a server, which loaded it" for flag in ignored]
        config = server_config(settings, notes=notes, debug=self.debug)
        from toolchat.engine.local import LocalEngine  # what starts processes, which a kept engine does not need

        return LocalEngine(config, state_folder() / "logs", worker=COMMAND)

    def fits(self, size: RemoteSize, settings: Settings) -> str:
        return ""

    def leaves_out_vision(self, folder: Path) -> bool:
        return False


def missing_client() -> str:
    """What of the client library is not installed, in a line; empty where all is there. Imports none of it."""
    for name in ("httpx", "httpx_sse"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed, which a server is spoken to with; pip install 'toolchat[remote]'"
    return ""


def server_config(settings: Settings, *, notes: Sequence[str] = (), debug: bool = False) -> ServerConfig:
    """How the server of the settings is used."""
    assert settings.server
    address = Address.read(settings.server)
    if settings.api_key and not address.loopback and address.text.startswith("http:"):
        notes = [*notes, f"the API key and the chat go to {address.text} unencrypted; https would encrypt them"]
    return ServerConfig(
        settings.server,
        settings.model or address.short,
        asked=settings.model,
        api_key=settings.api_key or "",
        tokenizer=settings.tokenizer,
        context=settings.context,
        reasoning_effort=settings.reasoning_effort,
        cards=by_name(settings.reasoning_effort),
        debug=debug,
        notes=tuple(notes),
    )


_LOADING = {
    "kv_cache_gib": "--kv-cache",
    "gpu_memory": "--gpu-memory",
    "dtype": "--dtype",
    "fast_start": "--fast-start",
    "text_only": "--text-only",
    "quantization": "--quantization",
    "revision": "--revision",
    "lora": "--lora",
    "enforce_eager": "--enforce-eager",
    "engine_arg": "--engine-arg",
}
"""Settings of loading a model, and their flags."""


Make = Callable[[Callable[[str], None]], Awaitable[Engine]]
"""Makes the engine, and tells each stage on the way. Raises EngineError or UsageError where there can be none."""


class LateEngine:
    """See `Engine` for the protocol. Where `make` fails, `start` does, and the next one tries again."""

    def __init__(self, model: str, make: Make) -> None:
        self._model = model
        self._make = make
        self._engine: Engine | None = None

    @property
    def info(self) -> EngineInfo | None:
        return self._engine.info if self._engine is not None else None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        if self._engine is None:
            stages: asyncio.Queue[str | None] = asyncio.Queue()
            making = asyncio.ensure_future(self._make(stages.put_nowait))
            making.add_done_callback(lambda _: stages.put_nowait(None))
            try:
                while (stage := await stages.get()) is not None:
                    yield EngineState(stage, self._model)
                self._engine = await making
            except UsageError as error:
                # It was found too late for a usage error: the chat goes on, and may have another model.
                raise EngineError(str(error)) from error
            finally:
                making.cancel()
        async for state in self._engine.start():
            yield state

    def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        return self._there().generate(request_id, messages, tools, options)

    def abort(self, request_id: str) -> None:
        if self._engine is not None:
            self._engine.abort(request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        return await self._there().count(messages, tools, reasoning_effort)

    async def ended(self) -> str:
        return await self._there().ended()

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    async def stop(self) -> None:
        if isinstance(self._engine, SharedEngine):
            await self._engine.stop()
        else:
            await self.close()

    def _there(self) -> Engine:
        if self._engine is None:
            raise EngineCrashedError("the engine is not running")
        return self._engine
