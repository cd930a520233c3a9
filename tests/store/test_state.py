from __future__ import annotations

from pathlib import Path

from toolchat.store import state


def test_a_log_that_grew_too_long_is_set_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "tools.log"
    assert state.appendable(path) == path
    path.write_bytes(b"old" * state.LARGEST)
    state.appendable(path).write_text("new")
    assert path.with_suffix(".log.1").stat().st_size == 3 * state.LARGEST
    assert state.appendable(path).read_text() == "new"
    assert path.parent.stat().st_mode & 0o777 == 0o700
