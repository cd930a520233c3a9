from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import settings_table  # noqa: E402


def test_the_table_of_the_page_is_the_programs() -> None:
    page = settings_table.PAGE.read_text()
    assert settings_table.with_table(page) == page, "run: make docs"
    assert settings_table.main(["--check"]) == 0


def test_a_page_that_is_behind_is_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "settings.md"
    page.write_text(f"before\n{settings_table.BEGIN}| old |\n{settings_table.END}after\n")
    monkeypatch.setattr(settings_table, "PAGE", page)
    assert settings_table.main(["--check"]) == 1
    assert capsys.readouterr().err == "settings.md: the table of settings is not the program's; run: make docs\n"
    assert settings_table.main([]) == 0
    assert settings_table.main(["--check"]) == 0
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="expected the lines"):
        settings_table.main([])
