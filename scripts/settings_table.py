"""Writes the table of settings in docs/settings.md from the settings themselves; --check only says whether it is right.

python scripts/settings_table.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from toolchat.settings.table import SETTINGS, variable

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN = "<!-- settings: made by scripts/settings_table.py -->\n"
END = "<!-- settings: end -->\n"


def table() -> str:
    rows = ["| flag | variable | `config.toml` | value | default |", "| --- | --- | --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        flags = ", ".join(f"`{spelling}`" for spelling in setting.spellings)
        default = setting.default_about or setting.default
        cells = (flags, f"`{variable(name)}`", f"`{name}`", setting.about, default)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page, with the table as it should be. Raises ValueError where its marks are gone."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}{table()}{end}{after}"


def main(arguments: list[str]) -> int:
    written = PAGE.read_text(encoding="utf-8")
    made = with_table(written)
    if arguments == ["--check"]:
        if made != written:
            print(f"{PAGE.name}: the table of settings is not the program's; run: make docs", file=sys.stderr)
        return int(made != written)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
