"""Copies text to the clipboard of the user's terminal by OSC 52, which works over ssh as well.

Whether the terminal did so cannot be known: it gives no answer.
"""

from __future__ import annotations

import base64
import re

OSC52_BYTES = 74_994
"""Of the text: what fits into the 100,000 bytes of one sequence that xterm's descendants take."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def copyable(text: str) -> str:
    """`text` without control characters other than newline and tab: it will be pasted into a shell some day."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def copied(text: str) -> str:
    """The control sequence that copies `text`."""
    # Ended by BEL and not by ST: every terminal that knows the sequence takes that.
    return f"\x1b]52;c;{base64.b64encode(text.encode('utf-8', 'replace')).decode()}\x07"
