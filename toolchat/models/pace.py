"""How fast a download goes and how long it will take, as words for a person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from toolchat.images.image import size_text

_WINDOW = 15.0
"""Seconds that the rate is an average of: connections stall for a second or two without meaning it."""
_SOONEST = 1.0
"""Seconds before a rate is worth saying."""


class Pace:
    """The rate of one download, from the numbers of bytes that were there at times."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def text(self, there: int) -> str:
        """ ", 41 MB/s, 4 min left" with `there` bytes here now; empty while nothing can be said."""
        now = self._clock()
        if self._seen and there < self._seen[-1][1]:
            self._seen.clear()  # a damaged part was thrown away
        self._seen.append((now, there))
        while now - self._seen[0][0] > _WINDOW and now - self._seen[1][0] >= _SOONEST:
            self._seen.popleft()
        began, first = self._seen[0]
        if now - began < _SOONEST:
            return ""
        rate = (there - first) / (now - began)
        if rate < 1:
            return ", waiting for the hub" if there < self._total else ""
        left = f", {_duration((self._total - there) / rate)} left" if there < self._total else ""
        return f", {size_text(int(rate))}/s{left}"


def amounts(there: int, total: int) -> str:
    """ "3.2 of 14.5 GB": both in the unit of the whole, so that the width does not change while it grows."""
    unit = size_text(total).rpartition(" ")[2]
    scale, digits = {"bytes": (1, 0), "kB": (10**3, 0), "MB": (10**6, 1), "GB": (10**9, 1)}[unit]
    return f"{there / scale:.{digits}f} of {total / scale:.{digits}f} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
