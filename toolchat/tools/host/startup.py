"""What the host does before it serves: imports the user's modules, tells the chat what came of it, and finds out
whether this process may be forked afterwards.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Never

from toolchat.environment import refused, working_folder
from toolchat.tools import import_guard
from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.host.channel import BlockingChannel, ChannelClosed
from toolchat.tools.host.confine import Fence
from toolchat.tools.host.process_tree import other_threads, own_size, uses_gpu
from toolchat.tools.host.protocol import Share, encode_toolbox, shares
from toolchat.tools.load import load_tools
from toolchat.tools.problems import ToolsFileError
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.tools.tools_file import ToolsFile
from toolchat.tools.values import error_text
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import ToolchatError, UsageError

HARMLESS_THREADS = frozenset(("jemalloc_bg_thd",))
"""Threads, by the kernel's name, across which a process may be forked all the same.

jemalloc, the allocator that pyarrow brings, gives freed memory back in this one. Its handlers of `pthread_atfork` take
all its locks before a fork and make the child's state new. `benchmarks/fork_threads.py` with pyarrow 26.0.1: of 300
children that computed, allocated and read CSV, none hung and none failed. polars starts one of its own beside it, which
no such handler knows of."""
_MAX_NAMED = 3
_SETTLE_SECONDS = 0.2
"""A thread that has been joined can be seen by the kernel's count for a moment longer."""


def load(
    control: BlockingChannel, code: ToolsCode, share: Share | None, fence: Fence, given: Mapping[str, str]
) -> tuple[Share, LoadedToolbox, Mapping[str, str]]:
    """The loaded tools of `share`; of the file's first where that is None. Ends the process where it cannot.

    `given` are the values of the share's variables in arguments, which are returned with it.
    """
    cwd, path = working_folder(), code.path
    try:
        guard = import_guard.install(code)
        file, _ = code.scan()  # its problems are for load_tools to report, with its own
        if share is None:
            share, given = _first_share(control, file)
        confined = share.keeps_privileges or fence.enter()
        with _Watch(control, file):
            loaded = load_tools(code, only=lambda entry: Share.of(entry.options) == share, given=given)
    except ToolchatError as error:
        installed = import_guard.current()
        _refuse(control, path, (installed.refusal() if installed is not None else None) or error, given)
    except ChannelClosed:
        raise
    except BaseException as error:
        what = refused(error) or " ".join(error_text(error).removeprefix("Error: ").split())
        _refuse(control, path, UsageError(f"{path}: the tools cannot be loaded: {what}"), given)
    if (refusal := guard.refusal()) is not None:  # which the code that was refused its import may not have minded
        _refuse(control, path, refusal, given)
    if cwd is not None:
        with suppress(OSError):
            os.chdir(cwd)
    reason = _unsafe_to_fork()
    toolbox = loaded.toolbox
    if reason is not None:
        what = f"{path}: {reason}; each call therefore starts Python anew and imports the tools again, which is slower"
        toolbox = replace(toolbox, notices=(*toolbox.notices, what))
    told = Redactor(given).data(encode_toolbox(toolbox))
    learned = {} if code.closed or code.loaded else guard.code.learned(loaded.imported)
    known = {"toolbox": told, "forks": reason is None, "size": own_size(), "confined": confined, "learned": learned}
    control.send({"op": "loaded", **known})
    return share, loaded, given


def _first_share(control: BlockingChannel, file: ToolsFile) -> tuple[Share, Mapping[str, str]]:
    """Tells the chat what hosts the file takes, and has its values for the variables of the first: this one."""
    found = shares(entry.options for entry in file.entries)
    control.send({"op": "shares", "shares": [asdict(share) for share in found]})
    answer, _ = control.receive()
    os.environ.update(answer["values"])
    return found[0], answer["given"]


def _refuse(control: BlockingChannel, path: Path, error: ToolchatError, given: Mapping[str, str]) -> Never:
    message, files = (f"{path}: {error}", error.files) if isinstance(error, NotAccepted) else (str(error), ())
    told = {"problems": error.problems, "notes": error.notes} if isinstance(error, ToolsFileError) else {}
    try:
        control.send(Redactor(given).data({"op": "refused", "message": message, "files": files, **told}))
    finally:
        os._exit(1)


class _Watch:
    """Tells the chat which module is being imported, so that it can name the one that ends or hangs this process."""

    def __init__(self, control: BlockingChannel, file: ToolsFile) -> None:
        self._control = control
        self._modules = {entry.target.where for entry in file.entries}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self._modules:
            self._control.send({"op": "importing", "module": name})
        return None

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):
            sys.meta_path.remove(self)


def _unsafe_to_fork() -> str | None:
    """Why a copy of this process could hang: a fork copies one thread, and the locks that the others hold for ever."""
    until = time.monotonic() + _SETTLE_SECONDS
    while (others := _unknown_threads()) and time.monotonic() < until:
        time.sleep(0.01)
    if others:
        names = ", ".join(dict.fromkeys(f'"{name}"' for name in others[:_MAX_NAMED]))
        owner = _thread_owner()
        if owner:
            return f'module "{owner}" starts a thread while it is imported ({names})'
        return f"a module or a library of its starts a thread while it is imported ({names})"
    if uses_gpu():
        return "a module uses the GPU while it is imported, so that memory is only watched"
    return None


def _unknown_threads() -> list[str]:
    """The names of the threads beside this one that may hold a lock across a fork: Python's, else the kernel's."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return [names.get(number, name) for number, name in other_threads().items() if name not in HARMLESS_THREADS]


def _thread_owner() -> str | None:
    """The module whose code the first other thread runs; None for threads of native libraries."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame: FrameType | None = frames.get(thread.ident or 0)
        if thread is threading.main_thread():
            continue
        names: list[str] = []
        while frame is not None:
            names.append(str(frame.f_globals.get("__name__")))
            frame = frame.f_back
        # From the outermost frame inwards, past the machinery of threads.
        own = [name for name in reversed(names) if name.partition(".")[0] not in sys.stdlib_module_names]
        if own:
            return own[0]
    return None
