"""Which threads a library starts when it is imported, and whether forked children can use the library all the same.

It is the evidence for `HARMLESS_THREADS` of `toolchat.tools.host.process_tree`. The libraries are no dependency: put
them into a folder of their own with `pip install --target FOLDER pyarrow polars`, and name the folder.

    .venv/bin/python benchmarks/fork_threads.py FOLDER [--forks 300]
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
from _ending import ENDING, unwind_when_ended

from toolchat.tools.host.process_tree import other_threads

SECONDS = 10.0
"""After which a child that should take a tenth of one counts as hung."""


def use_pyarrow() -> None:
    arrow: Any = importlib.import_module("pyarrow")
    compute: Any = importlib.import_module("pyarrow.compute")
    csv: Any = importlib.import_module("pyarrow.csv")
    numbers = arrow.array(list(range(20_000)))
    assert compute.sum(compute.multiply(numbers, 3)).as_py() == 3 * sum(range(20_000))
    buffers = [arrow.allocate_buffer(1 << 20) for _ in range(32)]
    del buffers
    assert csv.read_csv(io.BytesIO(b"a,b\n" + b"1,2\n" * 50_000)).num_rows == 50_000


def use_polars() -> None:
    polars: Any = importlib.import_module("polars")
    assert polars.DataFrame({"a": range(1000)}).group_by("a").len().height == 1000


USES: dict[str, Callable[[], None]] = {"pyarrow": use_pyarrow, "polars": use_polars}


def child(name: str, forks: int) -> None:
    """In a process of its own: import one library, fork, and print a row."""
    importlib.import_module(name)
    time.sleep(0.3)
    threads = sorted(other_threads().values())
    hung = failed = 0
    for _ in range(forks):
        pid = os.fork()
        if pid == 0:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            try:
                USES[name]()
            except BaseException:
                os._exit(1)
            os._exit(0)
        until = time.monotonic() + SECONDS
        ended = (0, 0)
        try:
            while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < until:
                time.sleep(0.002)
        finally:
            if ended[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                hung += 1
        failed += ended[0] != 0 and ended[1] != 0
    print(f"{name}\t{', '.join(threads) or 'none'}\t{forks}\t{hung}\t{failed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="with the libraries")
    parser.add_argument("--forks", type=int, default=300)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unwind_when_ended()
    if options.only:
        sys.path.insert(0, options.folder)
        child(options.only, options.forks)
        return
    rows = []
    # All of a library's children may hang: that is a row, too.
    seconds = options.forks * SECONDS + 60
    # As toolchat starts its hosts: numpy's OpenBLAS would start threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in USES:
        command = [sys.executable, __file__, options.folder, "--forks", str(options.forks), "--only", name]
        done = common.run(command, environment=os.environ, folder=Path.cwd(), seconds=seconds)
        rows.append(done.output.strip().split("\t"))
    print(common.table(["library", "threads after its import", "children", "hung", "failed"], rows))


if __name__ == "__main__":
    main()
