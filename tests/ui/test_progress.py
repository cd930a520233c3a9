from __future__ import annotations

import pytest

from toolchat.ui.plain_lines import PlainLines
from toolchat.ui.progress import milestone, progress
from toolchat.wire.events import EngineState, Stamper


def test_where_a_line_stays_a_stage_with_numbers_is_told_once_in_each_tenth() -> None:
    stages = [(f"fetching {part / 10:.1f} of 14.5 GB", part / 145) for part in range(146)]
    told = {milestone(stage, fraction) for stage, fraction in stages}
    assert told == {("fetching", tenth) for tenth in range(11)}


def test_a_stage_without_numbers_is_told_once() -> None:
    assert {milestone("downloading", part / 100) for part in range(101)} == {("downloading", 0)}


def test_without_a_terminal_there_are_few_lines_that_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("mistralai/Tiny") as shown:
        shown.note("mistralai/Tiny: 14.5 GB to fetch")
        for part in range(146):
            shown.report(f"fetching {part / 10:.1f} of 14.5 GB", part / 145)
        shown.report("checking 1.0 of 14.5 GB", 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [
        "mistralai/Tiny: 14.5 GB to fetch",
        "mistralai/Tiny: fetching 0.0 of 14.5 GB",
        "mistralai/Tiny: fetching 1.5 of 14.5 GB (10 %)",
    ]
    assert lines[-2:] == [
        "mistralai/Tiny: fetching 14.5 of 14.5 GB (100 %)",
        "mistralai/Tiny: checking 1.0 of 14.5 GB (100 %)",
    ]
    assert len(lines) == 13


def test_a_title_of_others_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("evil\x1b[2J") as shown:
        shown.report("fetching", 0.0)
        shown.note("evil\x1b[2J")
    assert "\x1b" not in capsys.readouterr().err


def test_the_plain_repl_tells_a_download_once_in_each_tenth_of_it() -> None:
    lines: list[str] = []
    stamp = Stamper("s", lambda: 0.0)
    plain = PlainLines(lines.append, lambda: 0.0, to_person=True)
    states = ["asking the hub", "14.5 GB to fetch into ~/hub, 80 GB free"]
    states += [f"fetching {part / 10:.1f} of 14.5 GB ({part / 1.45:.0f} %)" for part in range(1, 146)]
    states += ["starting", "building (1 %)", "building (50 %)"]
    for state in states:
        plain.show(stamp(EngineState(state, "mistralai/Tiny")))
    assert lines[:4] == [
        "mistralai/Tiny: asking the hub",
        "mistralai/Tiny: 14.5 GB to fetch into ~/hub, 80 GB free",
        "mistralai/Tiny: fetching 0.1 of 14.5 GB (1 %)",
        "mistralai/Tiny: fetching 1.4 of 14.5 GB (10 %)",
    ]
    assert lines[-3:] == [
        "mistralai/Tiny: fetching 14.5 of 14.5 GB (100 %)",
        "mistralai/Tiny: starting",
        "mistralai/Tiny: building",
    ]
    assert len(lines) == 15
