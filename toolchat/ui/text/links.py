"""Makes addresses in printed rows into links (OSC 8) that a terminal opens with a click.

Only an address that stands on the screen is linked, and it leads to what it reads: no text hides where it leads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

LONGEST = 2048
"""Bytes of an address; terminals refuse longer ones (VTE from 2,083 on)."""

_ADDRESS = re.compile(r"\b(?:https?|ftp)://[^\s<>\"`│\x00-\x20\x7f-\x9f]+", re.IGNORECASE)
_TRAILING = ".,;:!?'*_~”’»…"
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"

# What their terminals set, and what TERM is where ssh passes on nothing else.
_VARIABLES = ("KITTY_WINDOW_ID", "WEZTERM_PANE", "KONSOLE_VERSION", "WT_SESSION", "ALACRITTY_WINDOW_ID", "DOMTERM")
_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio", "Tabby", "contour")
_TERMS = ("xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm", "contour", "tmux")
_FIRST_VTE = 5000
"""VTE 0.50 was the first that knew links."""


def takes_links(environment: Mapping[str, str]) -> bool:
    """True where the terminal is known to take links, or to drop them unseen, as tmux before 3.4 does.

    `FORCE_HYPERLINK` decides where it is set, as in other programs: 0 or empty for none.
    """
    forced = environment.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced not in ("", "0", "false", "no")
    if environment.get("STY"):
        return False
    vte = environment.get("VTE_VERSION", "")
    return (
        any(environment.get(name) for name in _VARIABLES)
        or environment.get("TERM_PROGRAM", "") in _PROGRAMS
        or environment.get("TERM", "").startswith(_TERMS)
        or (vte.isdigit() and int(vte) >= _FIRST_VTE)
    )


def addresses(text: str) -> list[tuple[int, int]]:
    """Where in `text` addresses begin and end, without the punctuation that only follows them."""
    if "://" not in text:
        return []
    found = []
    for match in _ADDRESS.finditer(text):
        address = match[0]
        while address:
            last = address[-1]
            if last in _TRAILING or (last in _BRACKETS and address.count(last) > address.count(_BRACKETS[last])):
                address = address[:-1]
            else:
                break
        if not address.endswith("//"):
            found.append((match.start(), match.start() + len(address)))
    return found


def linked(address: str, painted: str) -> str:
    """`painted`, which reads `address`, as a link to it; as it is where the address cannot be written in one."""
    target = quote(address, safe=_SAFE)
    if len(target) > LONGEST:
        return painted
    return f"\x1b]8;;{target}\x1b\\{painted}\x1b]8;;\x1b\\"
