"""The time now, anywhere: names of time zones in, local time out. It must never guess a zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

_MAX_NAME = 64


def current_time(timezone: str) -> str:
    """Return the date and time now in a given time zone.

    Args:
        timezone: IANA time zone name, e.g. 'Europe/Paris'

    Raises:
        ValueError: there is no such time zone.
    """
    return time_in(timezone, datetime.now)


def time_in(timezone: str, now: Callable[[tzinfo], datetime]) -> str:
    """The time in `timezone` as "2025-03-17 13:20", by the clock `now`."""
    return now(_zone(timezone)).strftime("%Y-%m-%d %H:%M")


def _zone(name: str) -> ZoneInfo:
    key = name.strip().replace(" ", "_").casefold()
    zones = _zones()
    if key in zones:
        return ZoneInfo(zones[key])
    problem = f"unknown time zone: {name[:_MAX_NAME]}"
    nearest = _nearest(key[:_MAX_NAME], zones)
    raise ValueError(f"{problem}; did you mean {' or '.join(nearest)}?" if nearest else problem)


@cache
def _zones() -> dict[str, str]:
    """Every zone by its case-folded name. Reading the list touches hundreds of files, hence the cache."""
    return {name.casefold(): name for name in sorted(available_timezones())}


def _nearest(key: str, zones: dict[str, str]) -> list[str]:
    """Zones of that city ("tokyo" is Asia/Tokyo), else the zone with the most similar name."""
    cities = [name for folded, name in zones.items() if "/" in folded and folded.rpartition("/")[2] == key]
    return cities[:3] or [zones[match] for match in get_close_matches(key, zones, n=1, cutoff=0.75)]
