"""The real engine with the demo model, started once for all tests that share it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs
import pytest

from toolchat.models import demo

# Read before the autouse fixture gives each test a home of its own.
USER_CACHE = Path(platformdirs.user_cache_dir("toolchat"))


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toolchat cache folder that holds the demo model: the user's own where it is built there, else a new one."""
    if demo.is_built(USER_CACHE):
        return USER_CACHE
    cache = tmp_path_factory.mktemp("cache") / "toolchat"
    demo.build(cache)
    return cache


@pytest.fixture
def cached_demo(demo_cache: Path, home: Path) -> Path:
    """Gives the test's own home the built demo model; returns that home."""
    folder = home / ".cache" / "toolchat" / "models"
    folder.mkdir(parents=True)
    source = demo.demo_folder(demo_cache)
    target = folder / source.name
    target.mkdir()
    for file in source.iterdir():
        # Hard links, where the file system allows: the model is 270 MB.
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy(file, target / file.name)
    return home
