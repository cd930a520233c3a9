from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchat.ui.editor import editor_of
from toolchat.ui.hand_over import HandOver
from toolchat.wire.errors import UsageError


def test_the_editor_is_the_one_of_visual_then_of_editor(tmp_path: Path) -> None:
    spaced = tmp_path / "my editors" / "vi"
    spaced.parent.mkdir()
    for program in (tmp_path / "code", spaced):
        program.touch(0o755)
    path = str(tmp_path)
    assert editor_of({"PATH": path, "VISUAL": "code --wait", "EDITOR": "vi"}) == ["code", "--wait"]
    assert editor_of({"PATH": path, "VISUAL": " ", "EDITOR": f"'{spaced}' -n"}) == [str(spaced), "-n"]


def test_a_usual_editor_is_looked_for_where_none_is_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no editor; set EDITOR to one, such as nano or vim"):
        editor_of({"PATH": str(tmp_path)})
    for name in ("emacs", "vi", "editor"):
        (tmp_path / name).touch(0o755)
        assert editor_of({"PATH": str(tmp_path)}) == [str(tmp_path / name)]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("vim 'x", 'expected a command, not "vim \'x" (No closing quotation)'),
        ("''", "expected a command, not \"''\" (no program is named)"),
        ("/nowhere/ed -w", "/nowhere/ed is no program that can be started"),
        ("/dev/null", "/dev/null is no program that can be started"),
    ],
)
def test_what_is_no_command_is_refused_and_the_chat_says_so(
    monkeypatch: pytest.MonkeyPatch, written: str, reason: str
) -> None:
    line = f"EDITOR: {reason}; set it to your editor"
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
