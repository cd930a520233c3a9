"""Writes down the versions that are installed here, for scripts/install.py to install again: `pins.py cpu|cuda`.

Run by `make pins` in .venv. Addresses and hashes are left out: whichever index pip is pointed at serves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

# vllm pins torch itself, in a build that differs from machine to machine; the others are the environment's own.
_LEFT_OUT = ("toolchat", "torch", "torchvision", "torchaudio", "pip", "setuptools", "wheel")


def pinned(installed: Iterable[Distribution]) -> list[str]:
    """`name==version` of each, by name."""
    versions = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version for one in installed}
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in _LEFT_OUT]


def main() -> None:
    extra = sys.argv[1]
    file = Path(f"constraints/{extra}-{sys.version_info.major}.{sys.version_info.minor}.txt")
    file.parent.mkdir(exist_ok=True)
    head = "# The versions that passed `make lint test`; written by `make pins`, read by scripts/install.py.\n"
    file.write_text(head + "".join(f"{line}\n" for line in pinned(distributions())))
    print(f"{file} is written")


if __name__ == "__main__":
    main()
