"""What the checks of vLLM's CUDA build share: the models, and one run of faked_gpu.py for all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from cuda_cases import CASES, MEMORY, Answers, pixtral

HERE = Path(__file__).parent
PATIENCE = 240
"""Seconds: importing vLLM takes 10."""

DRIVER = """
int cuInit(unsigned flags) { return 34; }
int cuDriverGetVersion(int *version) { return 34; }
int cuGetProcAddress_v2(void) { return 34; }
int cuPointerGetAttribute(void) { return 34; }
int cuTensorMapEncodeTiled(void) { return 34; }
"""
"""Of the driver's library, what vLLM's compiled modules cannot be loaded without; 34 is CUDA_ERROR_STUB_LIBRARY."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the files that vLLM's configuration looks at."""
    base = tmp_path_factory.mktemp("models")
    tekken = tiny_models.build(base / "tekken", "v13")
    spm = tiny_models.build(base / "sentencepiece", "v3-spm")
    sees = base / "sees"
    pixtral().write(sees)
    # As params.json of Mistral-7B-Instruct-v0.3 is.
    silent = _variant(tekken, base / "silent", max_position_embeddings=None, max_seq_len=None)
    by_config = _variant(silent, base / "silent-config")
    config = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "max_position_embeddings": 32768}
    (by_config / "config.json").write_text(json.dumps(config))
    return {
        "tekken": tekken,
        "sentencepiece": spm,
        "silent": silent,
        "silent, config.json": by_config,
        "sees": sees,
        "sees, silent": _variant(sees, base / "sees-silent", max_position_embeddings=None, max_seq_len=None),
        "fp8": _variant(tekken, base / "fp8", quantization={"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}),
    }


def _variant(source: Path, target: Path, **params: Any) -> Path:
    """A copy of a model with other params; None leaves one out."""
    shutil.copytree(source, target, copy_function=os.link)
    written = json.loads((source / "params.json").read_text()) | params
    (target / "params.json").unlink()  # a hard link
    kept = {name: value for name, value in written.items() if value is not None}
    (target / "params.json").write_text(json.dumps(kept))
    return target


@pytest.fixture(scope="session")
def answers(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What vLLM's CUDA build answers to all cases, in a process of its own."""
    folder = tmp_path_factory.mktemp("faked")
    (folder / "driver.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "a C compiler is needed to stand in for the driver's library: apt install gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "driver.c"], check=True)
    asked = {
        "configurations": [
            {
                "folder": str(models[case.model]),
                "capability": case.capability,
                "gib": case.gib,
                "share": case.share,
                "options": case.options,
            }
            for case in CASES.values()
        ],
        "memory": MEMORY,
    }
    path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
        "PYTHONPATH": os.pathsep.join(path),
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    done = subprocess.run(
        [sys.executable, HERE / "faked_gpu.py", folder / "answers.json"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads((folder / "answers.json").read_text())
    configurations = dict(zip(CASES, found["configurations"], strict=True))
    return Answers(configurations, found["memory"], found["workers"], found["startup_plans"])
