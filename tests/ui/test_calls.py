from __future__ import annotations

from dataclasses import replace

from image_files import image

from toolchat.images.image import description
from toolchat.ui.calls import call_line, image_line, result_lines
from toolchat.wire.messages import CallOrigin, FailedCall, ResultStatus, ToolCall, ToolResult


def test_call_reads_as_python() -> None:
    call = ToolCall("abcdefghi", "get_current_weather", {"city": "Dallas", "n": 3, "deep": {"a": [1]}})
    assert call_line(call) == 'get_current_weather(city="Dallas", n=3, deep={"a": [1]})'


def test_a_name_of_the_models_own_passes_for_no_other_argument() -> None:
    call = ToolCall("abcdefghi", "f", {'path="ok", x': "bad"})
    assert call_line(call) == 'f("path=\\"ok\\", x"="bad")'


def test_repaired_call_says_so_and_control_characters_show() -> None:
    call = ToolCall("abcdefghi", "f", {"x": "a\u202eb"}, CallOrigin.REPAIRED)
    assert call_line(call) == 'f(x="a<U+202E>b") (repaired)'


def test_unreadable_call_gives_the_reason() -> None:
    assert call_line(FailedCall("abcdefghi", "f", "raw", "no JSON")) == "f(…) could not be read: no JSON"


def test_long_result_is_cut_with_a_count() -> None:
    rows = result_lines(ToolResult("abcdefghi", "f", "\n".join(map(str, range(20)))))
    assert rows[0] == "✓ 0"
    assert rows[-1] == "  … 15 more lines"
    assert len(rows) == 6


def test_what_a_hook_has_done_is_said_below_the_result() -> None:
    hooked = ToolResult("abcdefghi", "f", "x", hooks="result by after_tool\x1b")
    assert result_lines(hooked) == ["✓ x", "  (result by after_tool␛)"]


def test_empty_and_failed_results_have_a_line() -> None:
    assert result_lines(ToolResult("abcdefghi", "f", "")) == ["✓ "]
    assert result_lines(ToolResult("abcdefghi", "f", "Error: no", ResultStatus.ERROR)) == ["✗ Error: no"]


def test_an_image_that_came_back_is_shown_with_the_file_that_keeps_it() -> None:
    kept = replace(image(), file="/sessions/s/abc.png")
    rows = result_lines(ToolResult("abcdefghi", "draw", "[image 1]", images=(kept, image())))
    assert rows[:2] == ["✓ [image 1]", f"  [image: {description(kept)}; /sessions/s/abc.png]"]
    assert rows[2].endswith("; not kept]")


def test_the_name_of_an_image_cannot_move_the_cursor() -> None:
    assert image_line(image(), "a\x1b[2J\n.png").endswith("; a␛[2J⏎.png]")
