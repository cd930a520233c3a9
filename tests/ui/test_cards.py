from __future__ import annotations

import re
from dataclasses import replace

import pytest
from prompt_toolkit.utils import get_cwidth

from toolchat.ui.calls import result_lines
from toolchat.ui.cards import RESULT_LINES, Card, seconds
from toolchat.wire.messages import CallOrigin, FailedCall, ResultStatus, ToolCall, ToolResult

CALL = ToolCall("a" * 9, "find", {"what": "x"}, CallOrigin.CONSTRAINED)


def rows(result: ToolResult, call: ToolCall | FailedCall = CALL, width: int = 80) -> list[str]:
    return ["".join(text for _, text in row) for row in Card(call).rows(result, width)]


def result(content: str = "ok", status: ResultStatus = ResultStatus.OK, took: float = 1.25) -> ToolResult:
    return ToolResult("a" * 9, "find", content, status, took)


def test_each_ending_has_a_head_of_its_own() -> None:
    heads = {status: rows(result(status=status))[0] for status in ResultStatus}
    assert heads[ResultStatus.OK] == '✓ find(what="x")  1.2 s, constrained'
    assert heads[ResultStatus.ERROR] == '✗ find(what="x")  failed, 1.2 s, constrained'
    assert len(set(heads.values())) == len(ResultStatus)


@pytest.mark.parametrize("origin", list(CallOrigin))
def test_the_mark_says_how_the_call_came_to_be(origin: CallOrigin) -> None:
    assert rows(result(), ToolCall("a" * 9, "find", {}, origin))[0].endswith(str(origin))


def test_what_a_hook_has_done_is_said() -> None:
    hooked = replace(result(), hooks="result by after_tool\x1b")
    assert rows(hooked)[0] == '✓ find(what="x")  1.2 s, constrained, result by after_tool␛'


def test_a_long_result_is_cut_and_what_is_left_out_counted() -> None:
    shown = rows(result("\n".join(f"row {number}" for number in range(100))))
    assert shown[1:] == [f"  row {number}" for number in range(RESULT_LINES)] + [
        f"  … {100 - RESULT_LINES} more lines; /last shows all"
    ]


def test_a_single_endless_line_is_cut_too() -> None:
    shown = rows(result("x" * 100_000), width=40)
    assert shown[1:-1] == ["  " + "x" * 38] * RESULT_LINES
    assert shown[-1] == "  … /last shows all"


@pytest.mark.parametrize("width", [20, 40, 80])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    call = ToolCall("a" * 9, "search", {"text": "日本語 " * 30, "more": "z" * 100}, CallOrigin.REPAIRED)
    card = Card(call)
    card.start(call, 0.0)
    card.say("said 日本語 " * 20)
    shown = ["".join(text for _, text in row) for row in card.rows(result("結果 " * 50), width)]
    live = [re.sub("\x1b\\[[0-9;]*m", "", row) for row in card.live(width, 100.0, color=True)]
    assert max(map(get_cwidth, [*shown, *live])) <= width


def test_what_a_tool_says_is_made_safe_and_its_end_kept() -> None:
    card = Card(CALL)
    card.say("".join(f"step {number}\n" for number in range(20)) + "\x1b[2Jlast")
    shown = ["".join(text for _, text in row) for row in card.rows(result(), 80)]
    assert "  │ ␛[2Jlast" in shown
    assert "  │ … 16 lines before" in shown


def test_a_running_call_counts_seconds_and_shows_what_was_said_last() -> None:
    card = Card(CALL)
    assert card.live(80, 5.0, color=False)[0] == '\x1b[2m→ find(what="x")\x1b[0m'
    card.start(CALL, 5.0)
    card.say("one\ntwo\n")
    head, said = card.live(80, 8.2, color=False)
    assert head.startswith('→ find(what="x") ')
    assert head.endswith(" 3 s")
    assert "│ two" in said


@pytest.mark.parametrize(
    ("number", "text"), [(0.0004, "1 ms"), (0.012, "12 ms"), (0.26, "0.3 s"), (9.96, "10.0 s"), (61.5, "1 min 1 s")]
)
def test_durations_for_people(number: float, text: str) -> None:
    assert seconds(number) == text


def test_a_progress_bar_is_one_row_that_is_replaced() -> None:
    card = Card(CALL)
    card.start(CALL, 0.0)
    lives = []
    for text in ("begin\n  0%\r", "  5%\r", " 90%\r", "100%\nnext\n"):
        card.say(text)
        lives.append(re.sub("\x1b\\[[0-9;]*m", "", card.live(80, 1.0, color=False)[1]))
    assert lives == ["  │   0%", "  │   5%", "  │  90%", "  │ next"]
    assert rows_of(card) == ["  │ begin", "  │ 100%", "  │ next", "  ok"]


def test_a_progress_bar_that_was_wiped_leaves_nothing() -> None:
    card = Card(CALL)
    for text in ("begin\n", " 5%\r", "\r"):
        card.say(text)
    assert rows_of(card) == ["  │ begin", "  ok"]


def test_a_carriage_return_that_a_result_holds_is_seen_as_the_model_sees_it() -> None:
    assert rows(result(" 0%\r 5%\u2028x\r\nend\n"))[1:] == ["   0%␍ 5%<U+2028>x", "  end"]


def rows_of(card: Card) -> list[str]:
    return ["".join(text for _, text in row) for row in card.rows(result(), 80)][1:]


def test_of_a_result_that_the_model_is_shown_a_part_of_no_more_is_promised_than_that() -> None:
    cut = ToolResult("a" * 9, "find", "\n".join("abcdefghij"), left_out=100)
    assert rows(cut)[-1] == "  … 5 more lines of what the model is shown of it; /last shows more"
    assert result_lines(cut)[-1] == "  … 5 more lines of what the model is shown of it"
