"""Run by Python at the start of vLLM's server and of each of its processes: PYTHONPATH names this folder.

It has the server end when toolchat does, however that ends. It hides modules that are installed but cannot be loaded,
or mends them when they are imported, which most of the processes never do.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_PR_SET_PDEATHSIG = 1


def _die_with_toolchat(parent: int) -> None:
    import ctypes
    import signal

    # SIGTERM, at which the server ends its own processes.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


class _Mender(importlib.abc.MetaPathFinder):
    """Finds modules whose compiled part cannot be loaded, and gives them a loader that helps itself."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _MendingLoader(spec.loader)
        return spec


class _MendingLoader(importlib.abc.Loader):
    """Declares the operators that the compiled part would have declared, where the module fails without them."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader  # what reads a package's files asks it
        try:
            self._loader.exec_module(module)
        except RuntimeError:
            from toolchat.engine.worker.loading import declare_torchvision_operators

            for name in [name for name in sys.modules if name.startswith(f"{module.__name__}.")]:
                del sys.modules[name]
            declare_torchvision_operators()
            self._loader.exec_module(module)


def _run_the_next() -> None:
    """Another sitecustomize.py on sys.path, such as a distribution's or coverage's, which this one stands before."""
    here = Path(__file__).parent
    path = [place for place in sys.path if Path(place) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# Not inherited: the processes of the server are the server's to end.
if parent := os.environ.pop("TOOLCHAT_SERVE_PARENT", ""):
    _die_with_toolchat(int(parent))
for name in filter(None, os.environ.get("TOOLCHAT_ABSENT_MODULES", "").split(":")):
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail
if names := os.environ.get("TOOLCHAT_MENDED_MODULES", ""):
    sys.meta_path.insert(0, _Mender(names.split(":")))
_run_the_next()
