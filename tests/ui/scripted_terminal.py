"""Where the REPL with a scripted engine is started from, in a terminal or without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from terminal_screen import Terminal

REPOSITORY = Path(__file__).parents[2]
LAUNCHER = Path(__file__).with_name("scripted_repl.py")

BEGINNING = """
import asyncio, os, signal
from pathlib import Path
from scripted_engines import *
"""

OpenRepl = Callable[..., Terminal]
