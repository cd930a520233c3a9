from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest

from toolchat.samples.clock import current_time, time_in


def noon(zone: tzinfo) -> datetime:
    return datetime(2025, 3, 17, 12, 0, 30, tzinfo=UTC).astimezone(zone)


@pytest.mark.parametrize(
    ("timezone", "time"),
    [
        ("Europe/Paris", "2025-03-17 13:00"),
        ("asia/kolkata", "2025-03-17 17:30"),
        (" America/New York ", "2025-03-17 08:00"),
        ("Pacific/Kiritimati", "2025-03-18 02:00"),
        ("utc", "2025-03-17 12:00"),
    ],
)
def test_the_time_in_a_zone(timezone: str, time: str) -> None:
    assert time_in(timezone, noon) == time


def test_the_tool_reads_the_real_clock() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    shown = datetime.strptime(current_time("UTC"), "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert before <= shown <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("timezone", "message"),
    [
        ("Asia/Nowhere", r"^unknown time zone: Asia/Nowhere$"),
        ("Tokyo", r"^unknown time zone: Tokyo; did you mean Asia/Tokyo\?$"),
        ("new york", r"did you mean America/New_York\?$"),
        ("America/New_Yrok", r"did you mean America/New_York\?$"),
        ("", "unknown time zone"),
        ("../../etc/passwd", "unknown time zone"),
        ("/etc/localtime", "unknown time zone"),
        ("x\0y", "unknown time zone"),
        ("a" * 10_000, r"^unknown time zone: a{64}$"),
    ],
)
def test_an_unknown_zone_is_named(timezone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_in(timezone, noon)
