"""First prompt: seconds from exec until a prompt can be typed at, beside two peers.

Contenders: `toolchat repl`, `llm chat` (simonw/llm) and `vibe` (mistralai/mistral-vibe), the peers each in a virtual
environment of its own that this script makes, with an empty home and a key that is never used. Each is run on a
pseudo-terminal whose screen is read as a person reads it: once a prompt stands there, three letters are typed, and the
time is that at which they stand behind it. The aim: toolchat needs at most 0.5 s.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import _common as common
import pexpect
import pyte

AIM = 0.5
TYPED = "zqx"
PROMPT = re.compile(r"^\s*[>›❯]\s*$")
ANSWERED = re.compile(rf"^\s*[>›❯]\s*{TYPED}")
ROWS, COLUMNS = 30, 100
PEERS = {"llm chat": ("llm", ("llm", "chat")), "vibe": ("mistral-vibe", ("vibe",))}
"""By the name they are shown with: the package, and the command in its environment."""


def main() -> None:
    parser = common.arguments(__doc__, runs=10)
    parser.add_argument("--venvs", metavar="DIR", help="keep the peers' environments there, and use those that are")
    options = parser.parse_args()
    print(common.machine())
    common.demo_model()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        venvs = Path(options.venvs) if options.venvs else scratch / "venvs"
        contenders: dict[str, Callable[[], float]] = {
            "toolchat repl": lambda: first_prompt(
                [*common.TOOLCHAT, "repl", "--model", "demo"], common.own_folders(scratch), scratch
            )
        }
        versions = []
        for title, (package, command) in PEERS.items():
            made = environment(venvs / package, package)
            if made is None:
                common.say(f"{package} is left out: it could not be installed with any Python here")
                continue
            versions.append(f"{package} {made}")
            home = scratch / package
            home.mkdir()
            words = [str(venvs / package / "bin" / command[0]), *command[1:]]
            contenders[title] = lambda words=words, home=home: first_prompt(words, peer_variables(home), home)
        print(", ".join(versions))
        _, results = common.alternate(contenders, options.runs)
    report(results, options.runs)


def environment(folder: Path, package: str) -> str | None:
    """Make a virtual environment with `package`, by the newest Python that is here; its version, or None."""
    if not (folder / "bin/python").exists():
        common.say(f"installing {package}")
        for python in ("python3.13", "python3.12", sys.executable):
            if (found := shutil.which(python)) is None:
                continue
            made = subprocess.run([found, "-m", "venv", "--clear", str(folder)], capture_output=True)
            pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", package]
            if made.returncode == 0 and subprocess.run(pip, capture_output=True).returncode == 0:
                break
        else:
            return None
    version = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [folder / "bin/python", "-c", version], capture_output=True, text=True, encoding="utf-8"
    ).stdout.strip()


def peer_variables(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(home), "OPENAI_API_KEY": "unused", "MISTRAL_API_KEY": "unused"}


def first_prompt(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> float:
    """Run `command` until what was typed stands behind its prompt; the seconds that took. Ends it then."""
    began = time.monotonic()
    child = pexpect.spawn(
        command[0],
        list(command[1:]),
        env={**variables, "TERM": "xterm-256color"},
        cwd=str(folder),
        dimensions=(ROWS, COLUMNS),
    )
    # The answers that a terminal gives when it is asked for its cursor.
    screen = pyte.Screen(COLUMNS, ROWS)
    screen.write_process_input = child.send
    stream = pyte.ByteStream(screen)
    typed = False
    try:
        while time.monotonic() - began < 60:
            try:
                stream.feed(child.read_nonblocking(65536, timeout=0.005))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            if not typed and any(PROMPT.match(row) for row in screen.display):
                child.send(TYPED)
                typed = True
            elif typed and any(ANSWERED.match(row) for row in screen.display):
                return time.monotonic() - began
    finally:
        child.close(force=True)
    shown = "\n".join(row.rstrip() for row in screen.display if row.strip())
    raise SystemExit(f"{' '.join(command)} showed no prompt that can be typed at:\n{shown}")


def report(results: Mapping[str, Sequence[float]], runs: int) -> None:
    print(f"\nSeconds from exec to a prompt that can be typed at, {runs} alternating runs after a warm-up:\n")
    own = results["toolchat repl"]
    rows = [[name, *common.spread(times, 3), f"{common.ratio(times, own):.1f}"] for name, times in results.items()]
    print(common.table(["program", "median", "least", "most", "it / toolchat"], rows))
    median = float(common.spread(own, 3)[0])
    print(f"\nThe aim of at most {AIM} s is {common.verdict(median <= AIM)}")


if __name__ == "__main__":
    main()
