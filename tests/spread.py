"""Which tests go to which process, where pytest runs several: a file to one, and those that share what is dear too."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

ASK_ONLY = frozenset(
    f"tests/e2e/test_e2e_{name}.py"
    for name in ("context", "engine", "drawn_questions", "prefix_cache", "python", "schema", "mcp")
)
"""The files whose tests share one engine with the demo model."""


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Whole files; those that build the demo model in one process, and those with engines (2 GiB each) in two."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        if file.startswith("tests/models/demo/"):
            return "builds of the demo model"
        if not file.startswith("tests/e2e/"):
            return file
        return "an engine" if file in ASK_ONLY or file.endswith("_valid_calls.py") else "programs with engines"
