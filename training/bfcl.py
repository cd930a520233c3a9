"""The Berkeley Function-Calling Leaderboard's questions and its own checker, from an installed bfcl-eval. Asks nothing.

`pip install --no-deps --target FOLDER bfcl-eval`: it pins versions that toolchat cannot live with, and only its data and its
checker are used.
"""

from __future__ import annotations

import json
import random
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.wire.messages import ToolSpec

CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
_MODEL = "toolchat"


@dataclass(frozen=True)
class Case:
    name: str
    category: str
    question: str
    functions: list[dict[str, Any]]
    answer: list[Any] | None
    """What the checker compares with; None where nothing is to be called."""

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The functions as toolchat offers them: JSON Schema's types, and no dots in names."""
        return tuple(
            ToolSpec(_legal(function["name"]), function["description"], _schema(function["parameters"]))
            for function in self.functions
        )


def cases(folder: Path, category: str, count: int) -> list[Case]:
    """`count` cases of a category, drawn with seed 0. Those with more than one question are left out."""
    data = folder / "bfcl_eval" / "data"
    rows = _rows(data / f"BFCL_v4_{category}.json")
    answers = {}
    if category != "irrelevance":
        answers = {
            row["id"]: row["ground_truth"] for row in _rows(data / "possible_answer" / f"BFCL_v4_{category}.json")
        }
    chosen = random.Random(0).sample(rows, min(count, len(rows)))
    return [
        Case(row["id"], category, row["question"][0][-1]["content"], row["function"], answers.get(row["id"]))
        for row in chosen
    ]


def is_right(folder: Path, case: Case, calls: list[tuple[str, dict[str, Any]]]) -> bool:
    """Whether BFCL's checker accepts the calls."""
    if case.answer is None:
        return not calls
    checker, python = _checker(folder)
    output = [{name: arguments} for name, arguments in calls]
    try:
        return bool(checker(case.functions, output, case.answer, python, case.category, _MODEL)["valid"])
    except Exception:  # its checker trips over values of an unexpected type
        return False


def _checker(folder: Path) -> tuple[Any, Any]:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        # The checker asks this module one thing of a model, and it imports the clients of a dozen services.
        config = types.ModuleType("bfcl_eval.constants.model_config")
        config.MODEL_CONFIG_MAPPING = {_MODEL: types.SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
        sys.modules[config.__name__] = config
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    return ast_checker, Language.PYTHON


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _legal(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def _schema(value: Any) -> Any:
    """BFCL's schema with JSON Schema's names of types."""
    if isinstance(value, list):
        return [_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _schema(item) for key, item in value.items()}
    if isinstance(value.get("type"), str):
        renamed["type"] = _TYPES.get(value["type"], value["type"])
    return renamed
