from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.host.call_process import HEAD, TAIL, Window


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=TAIL).map(lambda data: data.replace(b"\r", b"")), max_size=8), st.integers(0, 3))
def test_a_window_shows_the_beginning_and_the_end(parts: list[bytes], big: int) -> None:
    shown: list[str] = []

    async def main() -> None:
        window = Window(shown.append)
        for part in parts:
            window.feed(part)
            window.feed(b"y" * (HEAD // 2) * big)
        window.finish()

    asyncio.run(main())
    whole = b"".join(part + b"y" * (HEAD // 2) * big for part in parts).decode("utf-8", "replace")
    text = "".join(shown)
    if len(whole) <= HEAD + TAIL:
        assert text == whole
    else:
        assert text.startswith(whole[:HEAD])
        assert text.endswith(whole[-TAIL:])
        assert f"{len(whole) - HEAD - TAIL:,} of {len(whole):,} characters are left out here" in text
