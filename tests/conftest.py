"""What every test gets: a home of its own, and the path to the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("TOOLCHAT_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that has every file of a small model, of which only params.json has content: its weights are none."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "params.json").write_text(
        '{"dim": 576, "n_layers": 30, "head_dim": 64, "n_heads": 9, "n_kv_heads": 3, "max_position_embeddings": 4096}'
    )
    (folder / "consolidated.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "tekken.json").write_text("{}")
    return folder
