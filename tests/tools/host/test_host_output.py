from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.host.process_client import HEAD, TAIL, Window


def shown(*parts: bytes, each: bool = False) -> list[str]:
    """What a window tells of these parts; with `each`, what it would tell after each of them."""
    told: list[str] = []

    async def main() -> None:
        window = Window(told.append)
        for part in parts:
            window.feed(part)
            if each:
                window._show()
        window.finish()

    asyncio.run(main())
    return told


BARS = {
    "the carriage return before": b"".join(b"\r%3d%%" % percent for percent in range(101)) + b"\n",
    "the carriage return behind": b"".join(b"%3d%%\r" % percent for percent in range(101)) + b"\n",
    "without an end": b"".join(b"\r%3d%%" % percent for percent in range(101)),
    "erased to the end of the line": b"".join(b"\r%3d%%\x1b[K" % percent for percent in range(101)) + b"\n",
    "the line erased first": b"".join(b"\x1b[2K\r%3d%%" % percent for percent in range(101)) + b"\n",
    "lines of DOS": b"100%\r\n",
    "the first column": b"".join(b"\x1b[1G%3d%%" % percent for percent in range(101)) + b"\n",
    "as Node.js writes it": b"".join(b"\x1b[2K\x1b[G%3d%%" % percent for percent in range(101)) + b"\n",
    "backspaces before": b"  0%" + b"".join(b"\b\b\b\b%3d%%" % percent for percent in range(1, 101)) + b"\n",
    "backspaces behind": b"".join(b"%3d%%\b\b\b\b" % percent for percent in range(101)) + b"\n",
    "a wheel": b"".join(b"|\b/\b-\b\\\b" for _ in range(9)) + b"100%\n",
    "backspaces without an end": b"".join(b"%3d%%\b\b\b\b" % percent for percent in range(101)),
}


@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
def test_of_a_progress_bar_the_last_state_stays_however_it_comes(bar: bytes) -> None:
    whole = b"begin\n" + bar
    for size in (1, 2, 3, 7, len(whole)):
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert "".join(shown(*parts)).rstrip("\n") == "begin\n100%"


def test_a_row_that_is_replaced_is_told_as_it_is_at_the_moment() -> None:
    assert shown(b"begin\n\r  0%", b"\r  5", b"%", b"\r100%\n", b"done\n", each=True) == [
        "begin\n  0%\r",
        "  5\r",
        "  5%\r",
        "100%\n",
        "done\n",
    ]


def test_a_bar_that_wipes_itself_leaves_nothing() -> None:
    assert shown(b"\r 50%", b"\r    \r", each=True) == [" 50%\r", "    \r", "\r"]
    assert shown(b"\r 50%\r    \r") == []


def test_a_long_progress_bar_takes_no_room_from_what_comes_after() -> None:
    bar = b"".join(b"\r%70d" % step for step in range(2 * HEAD // 70))
    assert "".join(shown(bar, b"\nfinished\n")) == f"{2 * HEAD // 70 - 1:70d}\nfinished\n"


@settings(max_examples=100)
@given(st.text("ab𝄞é\n\r\b", max_size=60), st.integers())
def test_how_output_is_parted_changes_nothing(text: str, seed: int) -> None:
    data = text.encode()
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(5))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert "".join(shown(*parts)) == "".join(shown(data))


def test_what_is_left_out_is_counted_in_characters() -> None:
    text = "".join(shown(("𝄞" * (HEAD + TAIL + 5)).encode()))
    assert f"\n[… 5 of {HEAD + TAIL + 5:,} characters are left out here …]\n" in text
    assert text.count("𝄞") == HEAD + TAIL
    assert "left out" not in "".join(shown(("𝄞" * (HEAD + TAIL)).encode()))
