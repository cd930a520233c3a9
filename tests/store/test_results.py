from __future__ import annotations

import stat
from pathlib import Path

from image_files import image
from stored import stored_rows

from toolchat.images.image import image_bytes
from toolchat.store.record import SessionRecord
from toolchat.store.results import keep_image
from toolchat.wire import events
from toolchat.wire.events import Stamper
from toolchat.wire.messages import ToolResult


def test_an_image_is_kept_in_a_private_file_and_knows_it(tmp_path: Path) -> None:
    kept = keep_image(tmp_path / "s", image(kind="JPEG"))
    file = Path(kept.file)
    assert (file.parent, file.suffix) == (tmp_path / "s", ".jpg")
    assert file.read_bytes() == image_bytes(image(kind="JPEG"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_same_image_is_kept_once(tmp_path: Path) -> None:
    first, second, other = (keep_image(tmp_path, image(color)) for color in ("red", "red", "blue"))
    assert first.file == second.file != other.file
    assert len(list(tmp_path.iterdir())) == 2


def test_an_image_that_cannot_be_kept_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert keep_image(tmp_path / "file" / "s", image()) == image()
    assert keep_image(None, image()) == image()


def test_what_a_session_leaves_behind_holds_every_image_whole(tmp_path: Path) -> None:
    record = SessionRecord(tmp_path, "s")
    kept = keep_image(tmp_path / "s", image())
    result = ToolResult("abcdefghi", "draw", "[image 1]", images=(kept,))
    record.append(Stamper("s", lambda: 0.0)(events.CallFinished(result)))
    (stored,) = stored_rows(tmp_path)
    record.close()
    assert kept.data not in str(stored)
    (row,) = stored["data"]["result"]["images"]
    assert Path(row["file"]).read_bytes() == image_bytes(kept)
