"""`toolchat` with fake_vllm_server.py in place of vLLM's: `python serve_program.py ARGUMENT…`. All else is real.

The seam is `server_command.PROGRAMS`. What does not end when asked is killed at once.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from toolchat.cli import main
from toolchat.engine import server_process
from toolchat.engine.server_command import PROGRAMS

FAKE = str(Path(__file__).with_name("fake_vllm_server.py"))

if __name__ == "__main__":
    PROGRAMS |= {"cpu": (sys.executable, FAKE), "cuda": (sys.executable, FAKE, "serve")}
    server_process.run_server = partial(server_process.run_server, grace=0.2)
    main.run(sys.argv[1:])
