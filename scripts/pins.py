"""Writes versions into constraints/, for scripts/install.py to install again. Two ways:

    pins.py cpu|cuda            those that are installed here; run by `make pins` in .venv
    pins.py cuda --python 3.12  those that fit together by their metadata, for that Python; run by `make pins-cuda`

The second installs nothing, so it needs neither that Python nor a GPU, and what it writes was not run; it needs uv.
Addresses and hashes are left out: whichever index pip is pointed at serves.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

# vllm pins torch itself, in a build that differs from machine to machine; the others are the environment's own.
_LEFT_OUT = ("toolchat", "torch", "torchvision", "torchaudio", "pip", "setuptools", "wheel", "uv")

TESTED = "# The versions that passed `make lint test`; written by `make pins`, read by scripts/install.py.\n"
RESOLVED = (
    "# Versions that fit together by their metadata: resolved by `make pins-cuda`, not run on a GPU.\n"
    "# Read by scripts/install.py.\n"
)

# Without the first, uv pairs the newest cuda-bindings with a cuda-python of CUDA 12 that names none.
_HINTS = ("cuda-python>=13,<14",)
_PLATFORM = "x86_64-manylinux_2_28"
"""That of vLLM's wheels."""


class PinsError(Exception):
    """Why no file was written: the one line that a person sees."""


def pinned(installed: Iterable[Distribution]) -> list[str]:
    """`name==version` of each, by name."""
    versions = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version for one in installed}
    return _lines(versions)


def _lines(versions: dict[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in _LEFT_OUT]


def resolved(printed: str) -> list[str]:
    """The same of what `uv pip compile` printed. Raises PinsError where a line is none of `name==version`."""
    versions = {}
    for line in filter(None, map(str.strip, printed.splitlines())):
        found = re.fullmatch(r"([a-z0-9.-]+)==([^\s;\[\]]+)", line)
        if found is None:
            raise PinsError(f"uv printed {line!r} where name==version was expected; is this uv 0.5 or newer?")
        versions[found[1].replace(".", "-")] = found[2]
    return _lines(versions)


def resolve(extra: str, python: str) -> list[str]:
    """Ask uv for the newest versions that fit the extra and the development tools on `python`, such as 3.12."""
    if importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    elif program := shutil.which("uv"):
        uv = [program]
    else:
        raise PinsError("uv is missing, which resolves for other Pythons: .venv/bin/python -m pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        hints = Path(folder) / "hints.txt"
        hints.write_text("".join(f"{hint}\n" for hint in _HINTS), encoding="utf-8")
        command = [*uv, "pip", "compile", "pyproject.toml", "--extra", extra, "--extra", "dev", "--quiet"]
        command += ["--python-version", python, "--python-platform", _PLATFORM, "--constraint", str(hints)]
        command += ["--no-header", "--no-annotate", "--strip-extras"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace"
        )
    if done.returncode:
        rows = [row.strip() for row in done.stderr.splitlines() if row.strip()]
        raise PinsError(f"uv found no versions for Python {python}: {' '.join(rows)[:500] or 'it said nothing'}")
    return resolved(done.stdout)


def write(extra: str, python: str, head: str, lines: list[str]) -> Path:
    file = Path(f"constraints/{extra}-{python}.txt")
    file.parent.mkdir(exist_ok=True)
    file.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description="Write versions into constraints/.")
    parser.add_argument("extra", choices=("cpu", "cuda"))
    parser.add_argument("--python", nargs="+", default=(), metavar="3.12", help="resolve for these, install nothing")
    options = parser.parse_args()
    try:
        for python in options.python:
            if not re.fullmatch(r"3\.\d+", python):
                raise PinsError(f"--python {python}: expected a version such as 3.12")
            print(f"{write(options.extra, python, RESOLVED, resolve(options.extra, python))} is written", flush=True)
        if not options.python:
            here = f"{sys.version_info.major}.{sys.version_info.minor}"
            print(f"{write(options.extra, here, TESTED, pinned(distributions()))} is written")
    except PinsError as error:
        print(f"pins: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
