from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Program
from image_files import image_file

pytestmark = pytest.mark.process


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


@pytest.fixture
def seeing_folder(model_folder: Path) -> Path:
    """A model that sees, as far as its params.json tells."""
    params = model_folder / "params.json"
    params.write_text(json.dumps(json.loads(params.read_text()) | {"vision_encoder": {"hidden_size": 8}}))
    return model_folder


def ask(toolchat: Program, model: Path | str, *images: str) -> str:
    flags = [flag for image in images for flag in ("--image", image)]
    return toolchat("ask", "hi", "--model", str(model), *flags).refused(2)


def test_a_model_that_does_not_see_is_named_before_it_is_loaded(toolchat: Program, model_folder: Path) -> None:
    line = ask(toolchat, model_folder, "none.png")
    assert line.startswith(f"--image: the model {model_folder} cannot see images; leave them out, or choose a model")


def test_the_demo_model_does_not_see_and_is_not_built_to_say_so(toolchat: Program, home: Path) -> None:
    assert ask(toolchat, "demo", "none.png").startswith("--image: the model demo cannot see images; ")
    assert not (home / ".cache" / "toolchat" / "models").exists()


def test_a_missing_image_is_named_before_the_model_is_loaded(toolchat: Program, seeing_folder: Path) -> None:
    assert ask(toolchat, seeing_folder, "none.png").startswith("none.png: no such file; ")


def test_every_image_is_looked_at(toolchat: Program, seeing_folder: Path) -> None:
    (toolchat.folder / "a.png").write_bytes(image_file())
    (toolchat.folder / "b.png").write_text("<html>")
    assert ask(toolchat, seeing_folder, "a.png", "b.png").startswith("b.png: not a PNG, JPEG, WebP or GIF image but")


def test_an_older_way_to_say_that_a_model_sees(toolchat: Program, model_folder: Path) -> None:
    params = model_folder / "params.json"
    older = {"multimodal": {"vision_encoder_args": {"hidden_size": 8}}}
    params.write_text(json.dumps(json.loads(params.read_text()) | older))
    assert ask(toolchat, model_folder, "none.png").startswith("none.png: no such file; ")


def test_a_name_that_would_move_the_cursor_is_shown_and_not_obeyed(toolchat: Program, seeing_folder: Path) -> None:
    assert ask(toolchat, seeing_folder, "a\x1b[2J\u202e.png").startswith("a␛[2J<U+202E>.png: no such file; ")
