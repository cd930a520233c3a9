from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchat.ui.editor import editor_of
from toolchat.ui.hand_over import HandOver
from toolchat.wire.errors import UsageError


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({"VISUAL": "code --wait", "EDITOR": "vi"}, ["code", "--wait"]),
        ({"VISUAL": " ", "EDITOR": "'/my editors/vi' -n"}, ["/my editors/vi", "-n"]),
    ],
)
def test_the_editor_is_the_one_of_visual_then_of_editor(environment: dict[str, str], command: list[str]) -> None:
    assert editor_of(environment) == command


def test_a_usual_editor_is_looked_for_where_none_is_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no editor; set EDITOR to one, such as nano or vim"):
        editor_of({"PATH": str(tmp_path)})
    for name in ("emacs", "vi", "editor"):
        (tmp_path / name).touch(0o755)
        assert editor_of({"PATH": str(tmp_path)}) == [str(tmp_path / name)]


@pytest.mark.parametrize(("written", "reason"), [("vim 'x", "No closing quotation"), ("''", "no program is named")])
def test_what_is_no_command_is_refused_and_the_chat_says_so(
    monkeypatch: pytest.MonkeyPatch, written: str, reason: str
) -> None:
    line = f"EDITOR: expected a command, not {written!r} ({reason}); set it to your editor"
    with pytest.raises(UsageError) as refused:
        editor_of({"EDITOR": written})
    assert str(refused.value) == line
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", written)
    said = []
    nobody: Any = SimpleNamespace(text="begun")

    async def edit() -> None:
        hand_over = HandOver(nobody, nobody, nobody, lambda *row: said.append(row), print)
        hand_over.edit(None)
        assert hand_over._editing is not None
        await hand_over._editing

    asyncio.run(edit())
    assert said == [(line, "red")]
