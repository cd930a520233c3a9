from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from approval_calls import pending
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from toolchat.chat.approval import Reply, Scope
from toolchat.tools.rules import Rule, Rules
from toolchat.ui.dialogs import ARMING_SECONDS, ApprovalDialog, State

KEYS = [*"ysSaAenrYNx ?1", "c-m", "c-j", "enter", "escape", "c-d", "up", "<any>", "c-h", "日"]
LATER = 100.0


def opened(**arguments: Any) -> ApprovalDialog:
    """A dialog that was opened at 0.0 and is armed at `LATER`."""
    dialog = ApprovalDialog(pending(**arguments))
    dialog.take_above(80)
    dialog.opened(0.0)
    return dialog


def text(rows: list[tuple[str, str]]) -> str:
    return "\n".join(row for _, row in rows)


@pytest.mark.parametrize(
    ("key", "reply"),
    [
        ("y", Reply(True)),
        ("s", Reply(True, Scope.SESSION)),
        ("S", Reply(True, Scope.SESSION, exact=True)),
        ("a", Reply(True, Scope.ALWAYS)),
        ("A", Reply(True, Scope.ALWAYS, exact=True)),
        ("n", Reply(False)),
        ("c-m", Reply(False)),
        ("enter", Reply(False)),
        ("escape", Reply(False)),
        ("c-d", Reply(False)),
        ("c-c", Reply(False, end_turn=True)),
    ],
)
def test_each_key_is_one_answer(key: str, reply: Reply) -> None:
    dialog = opened(path="a")
    dialog.key(key, LATER)
    assert (dialog.state, dialog.result) == (State.DONE, reply)
    assert dialog.rows(80, LATER) == []


@pytest.mark.parametrize("key", ["Y", "x", " ", "up", "日", "E", "1"])
def test_any_other_key_answers_nothing_and_disarms(key: str) -> None:
    dialog = opened()
    dialog.key(key, LATER)
    assert dialog.state is State.QUESTION
    assert not dialog.armed(LATER + ARMING_SECONDS - 0.01)
    dialog.key("y", LATER + 0.1)
    assert dialog.result is None


# A thousandth short of the pause: the sums of a long sequence are rounded.
typed_without_a_pause = st.lists(
    st.tuples(st.floats(0, ARMING_SECONDS - 0.001), st.sampled_from(KEYS)), min_size=1, max_size=60
)


@given(typed=typed_without_a_pause, open_after=st.integers(0, 59), share=st.floats(0, 1), start=st.floats(0, 1e6))
@example(typed=[(0.39, "y")] * 50, open_after=1, share=0.0, start=0.0)
def test_nothing_typed_without_a_pause_since_before_the_dialog_opened_can_answer(
    typed: list[tuple[float, str]], open_after: int, share: float, start: float
) -> None:
    dialog = ApprovalDialog(pending())
    now = start
    for index, (gap, key) in enumerate(typed):
        if index == min(open_after, len(typed) - 1):
            dialog.opened(now + gap * share)
        now += gap
        dialog.key(key, now)
    assert (dialog.state, dialog.result) == (State.QUESTION, None)


@given(keys=st.lists(st.tuples(st.floats(0, 5), st.sampled_from(KEYS)), max_size=20))
def test_a_dialog_that_is_not_on_the_screen_cannot_be_answered(keys: list[tuple[float, str]]) -> None:
    dialog = ApprovalDialog(pending())
    for now, (_, key) in zip(accumulate(gap for gap, _ in keys), keys, strict=True):
        dialog.key(key, now)
    assert dialog.result is None
    assert dialog.arms_at is None


@given(keys=st.lists(st.tuples(st.floats(0, 2), st.sampled_from(KEYS)), max_size=30))
def test_whatever_is_allowed_was_one_key_of_an_armed_dialog(keys: list[tuple[float, str]]) -> None:
    dialog = opened()
    last = 0.0
    for now, (gap, key) in zip(accumulate(gap for gap, _ in keys), keys, strict=True):
        dialog.key(key, now)
        if dialog.result is not None and dialog.result.allowed:
            assert key in "ysSaA"
            assert now - last >= ARMING_SECONDS - 1e-9
            assert gap > 0
        if dialog.state is not State.QUESTION:
            break
        last = now


def test_ctrl_c_ends_the_turn_at_once_in_every_state() -> None:
    ended = Reply(False, end_turn=True)
    fresh = ApprovalDialog(pending())
    asked, editing, giving_a_reason, checking = opened(), opened(), opened(), opened()
    editing.key("e", LATER)
    giving_a_reason.key("r", LATER)
    checking.key("e", LATER)
    checking.submit("{}", LATER)
    assert checking.state is State.CHECKING
    for dialog in (fresh, asked, editing, giving_a_reason, checking):
        dialog.key("c-c", 0.0)
        assert dialog.result == ended


def test_an_answer_stands() -> None:
    dialog = opened()
    dialog.key("n", LATER)
    for key in ("y", "c-c", "e"):
        dialog.key(key, LATER + 9)
    dialog.submit("{}", LATER + 9)
    dialog.cancel(LATER + 9)
    assert dialog.result == Reply(False)


def test_the_host_can_see_when_keys_begin_to_count() -> None:
    dialog = opened()
    assert dialog.arms_at == ARMING_SECONDS
    dialog.key("x", 0.2)
    assert dialog.arms_at == 0.2 + ARMING_SECONDS
    assert not dialog.armed(0.5)
    assert dialog.armed(0.2 + ARMING_SECONDS)
    styles = [{style for style, row in dialog.rows(80, now) if "y once" in row} for now in (0.5, LATER)]
    assert styles == [{"dim"}, {"key"}]
    dialog.key("e", LATER)
    assert dialog.arms_at is None


TOO_SOON = "What was typed came too soon"


def test_a_key_that_came_too_soon_is_told_until_one_counts() -> None:
    dialog = opened()
    assert TOO_SOON not in text(dialog.rows(80, 0.1))
    dialog.key("y", 0.2)
    assert TOO_SOON in text(dialog.rows(80, 0.3))
    assert TOO_SOON in text(dialog.rows(80, LATER))
    dialog.key("x", LATER)
    assert TOO_SOON not in text(dialog.rows(80, LATER))
    dialog.key("y", LATER + 0.1)
    assert TOO_SOON in text(dialog.rows(80, LATER + 0.1))
    dialog.key("y", LATER + 1)
    assert dialog.result == Reply(True)


def test_a_key_is_told_of_that_came_while_the_question_was_covered_or_before_it_was_there() -> None:
    covered = opened()
    covered.covered()
    covered.key("y", LATER)
    fresh = ApprovalDialog(pending())
    fresh.key("y", 0.0)
    flushed = ApprovalDialog(pending())
    flushed.opened(0.0, dropped=True)
    for dialog in (covered, fresh, flushed):
        dialog.opened(LATER)
        assert TOO_SOON in text(dialog.rows(80, LATER))
        assert dialog.result is None


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_telling_that_a_key_came_too_soon_moves_nothing(width: int) -> None:
    dialog = opened()
    before = dialog.rows(width, 0.1)
    dialog.key("y", 0.1)
    after = dialog.rows(width, 0.1)
    assert len(after) == len(before)
    assert all(cell_len(row) <= width for _, row in after)
    assert text(after).replace("\n", " ").strip().endswith("press again.")


def test_a_reason_is_for_the_model() -> None:
    dialog = opened()
    dialog.key("r", LATER)
    assert dialog.state is State.REASON
    dialog.key("y", LATER)
    assert dialog.result is None
    dialog.submit("  use the other folder\n", LATER)
    assert dialog.result == Reply(False, reason="use the other folder")


@pytest.mark.parametrize("key", ["e", "r"])
def test_leaving_the_editor_asks_again_and_disarms(key: str) -> None:
    dialog = opened(path="a")
    dialog.key(key, LATER)
    dialog.cancel(LATER + 5)
    assert dialog.state is State.QUESTION
    dialog.key("y", LATER + 5.1)
    assert dialog.result is None
    assert dialog.take_above(80) == []
    dialog.key("y", LATER + 9)
    assert dialog.result == Reply(True)


def test_edited_arguments_are_checked_shown_and_given_back() -> None:
    dialog = opened(path="a", size=1)
    dialog.key("e", LATER)
    assert json.loads(dialog.text) == {"path": "a", "size": 1}
    dialog.submit('{"path": "b", "size": 1}', LATER)
    assert (dialog.state, dialog.candidate) == (State.CHECKING, {"path": "b", "size": 1})
    dialog.validated(None, LATER)
    assert dialog.state is State.QUESTION
    assert '"b"' in text(dialog.take_above(80))
    assert dialog.take_above(80) == []
    assert "with your arguments" in text(dialog.rows(80, LATER))
    dialog.key("y", LATER + 0.1)
    assert dialog.result is None
    dialog.key("s", LATER + 1)
    assert dialog.result == Reply(True, Scope.SESSION, arguments={"path": "b", "size": 1})


@pytest.mark.parametrize("edited", ['{"path": "b"', "[]", '{"a": NaN}', "", "null", "[" * 100_000, '{"path": "\x1b"}'])
def test_text_that_holds_no_arguments_stays_in_the_editor_with_the_problem(edited: str) -> None:
    dialog = opened(path="a")
    dialog.key("e", LATER)
    dialog.submit(edited, LATER)
    assert (dialog.state, dialog.text) == (State.EDIT, edited)
    assert any(style == "error" for style, _ in dialog.rows(80, LATER))
    dialog.submit('{"path": "a"}', LATER)
    dialog.validated(None, LATER)
    assert not any(style == "error" for style, _ in dialog.rows(80, LATER))


def test_arguments_that_do_not_fit_stay_in_the_editor_with_the_problem() -> None:
    dialog = opened(path="a")
    dialog.key("e", LATER)
    dialog.submit('{"path": 7}', LATER)
    dialog.validated("path must be a string\x1b[2J", LATER)
    assert (dialog.state, dialog.text) == (State.EDIT, '{"path": 7}')
    assert "path must be a string␛[2J" in text(dialog.rows(80, LATER))
    dialog.cancel(LATER)
    dialog.key("y", LATER + 9)
    assert dialog.result == Reply(True)


def test_one_and_true_are_not_the_same_edit() -> None:
    dialog = opened(force=1)
    dialog.key("e", LATER)
    dialog.submit('{"force": true}', LATER)
    dialog.validated(None, LATER)
    assert "true" in text(dialog.take_above(80))
    dialog.key("y", LATER + 9)
    assert dialog.result is not None
    assert dialog.result.arguments == {"force": True}
    assert dialog.result.arguments["force"] is True


def test_an_edit_that_changes_nothing_is_none() -> None:
    dialog = opened(path="a", size=1)
    dialog.key("e", LATER)
    dialog.submit('{"size": 1, "path": "a"}', LATER)
    dialog.validated(None, LATER)
    assert dialog.take_above(80) == []
    dialog.key("y", LATER + 9)
    assert dialog.result == Reply(True)


def test_a_declined_call_gives_no_arguments_back() -> None:
    dialog = opened(path="a")
    dialog.key("e", LATER)
    dialog.submit('{"path": "b"}', LATER)
    dialog.validated(None, LATER)
    dialog.key("n", LATER + 9)
    assert dialog.result == Reply(False)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_live_rows_fit_the_screen_and_take_at_most_a_third_of_it(width: int) -> None:
    dialog = opened(path="a" * 5000)
    every = [dialog.rows(width, 0.0), dialog.rows(width, LATER)]
    dialog.key("e", LATER)
    dialog.submit("{", LATER)
    every.append(dialog.rows(width, LATER))
    for rows in every:
        assert all(cell_len(row) <= width and "\n" not in row for _, row in rows)
        if width >= 40:
            assert len(rows) <= 24 // 3


def paged(rows: int = 30) -> ApprovalDialog:
    dialog = ApprovalDialog(pending(text="\n".join(f"row {number}" for number in range(rows))))
    assert len(dialog.take_above(80, 10)) == 10
    dialog.opened(0.0)
    return dialog


@pytest.mark.parametrize("key", "ysSaA")
def test_a_call_that_does_not_fit_the_screen_is_not_allowed_before_its_end_was_seen(key: str) -> None:
    dialog = paged()
    pages = 1
    while "more rows" in text(dialog.rows(80, LATER)):
        dialog.key(key, LATER * pages)
        assert dialog.result is None
        dialog.key(" ", LATER * pages + 1)
        assert dialog.take_above(80, 10)
        dialog.opened(LATER * pages + 1)
        pages += 1
    assert pages > 3
    assert dialog.take_above(80, 10) == []
    dialog.key(key, LATER * pages)
    assert dialog.result is not None
    assert dialog.result.allowed


@pytest.mark.parametrize("key", ["n", "escape", "c-d", "c-c"])
def test_a_call_may_be_declined_without_having_been_read(key: str) -> None:
    dialog = paged()
    dialog.key(key, LATER)
    assert dialog.result is not None
    assert not dialog.result.allowed


@pytest.mark.parametrize("key", [" ", "enter", "c-m", "pagedown", "down"])
def test_the_next_page_is_printed_once(key: str) -> None:
    dialog = paged()
    before = text(dialog.rows(80, LATER))
    dialog.key(key, LATER)
    assert len(dialog.take_above(80, 10)) == 10
    assert dialog.take_above(80, 10) == []
    assert text(dialog.rows(80, LATER)) != before
    assert dialog.result is None


def test_a_key_that_is_held_does_not_page_on() -> None:
    dialog = paged()
    for beat in range(60):
        dialog.key(" ", ARMING_SECONDS / 2 + beat / 30)
    assert dialog.take_above(80, 10) == []


def test_edited_arguments_are_shown_from_the_beginning() -> None:
    dialog = paged()
    dialog.key("e", LATER)
    dialog.submit(json.dumps({"text": "short"}), LATER)
    dialog.validated(None, LATER)
    assert "short" in text(dialog.take_above(80, 10))
    assert "more rows" not in text(dialog.rows(80, LATER))


def test_a_narrower_screen_has_the_call_printed_again_and_no_key_counts_before() -> None:
    dialog = opened(path="x" * 200)
    dialog.resized(40)
    dialog.key("y", LATER)
    assert dialog.result is None
    rows = dialog.take_above(40)
    assert max(len(row) for _, row in rows) <= 40
    dialog.opened(LATER)
    dialog.key("y", LATER + ARMING_SECONDS)
    assert dialog.result == Reply(True)


def test_a_wider_screen_prints_nothing_again_but_disarms() -> None:
    dialog = opened(path="x" * 200)
    dialog.resized(120)
    dialog.key("y", LATER)
    assert dialog.result is None
    assert dialog.take_above(120) == []


# Calls that are alike.


@pytest.mark.parametrize(("key", "scope"), [("p", Scope.SESSION), ("P", Scope.ALWAYS)])
def test_what_is_granted_by_pattern_is_what_is_shown(key: str, scope: Scope) -> None:
    dialog = opened(path="/usr/share/a", content="x")
    assert "p, P: s, a for calls like it: path: /usr/share/*; content: any text" in text(dialog.rows(80, LATER))
    dialog.key(key, LATER)
    assert dialog.result is not None
    assert dialog.result.like is not None
    assert dialog.result.scope is scope
    assert dialog.result.like.text() == "path: /usr/share/*; content: any text"


def test_no_key_grants_by_pattern_where_none_is_shown() -> None:
    dialog = opened(content="x")
    assert "p, P" not in text(dialog.rows(80, LATER))
    for key in "pP":
        dialog.key(key, LATER)
    assert dialog.result is None


def test_the_pattern_is_that_of_the_arguments_as_they_were_edited() -> None:
    dialog = opened(path="/usr/share/a")
    dialog.key("e", LATER)
    dialog.submit('{"path": "/usr/lib/b"}', LATER)
    dialog.validated(None, LATER)
    dialog.take_above(80)
    assert "/usr/lib/*" in text(dialog.rows(80, LATER))
    dialog.key("p", LATER + 1)
    assert dialog.result is not None
    assert dialog.result.like is not None
    assert "/usr/lib/*" in dialog.result.like.text()


def test_a_call_that_is_not_seen_to_its_end_is_not_granted_by_pattern() -> None:
    dialog = ApprovalDialog(pending(path="/usr/share/a", content="\n".join("x" * 50)))
    dialog.take_above(80, 10)
    dialog.opened(0.0)
    dialog.key("p", LATER)
    assert dialog.result is None


def test_it_says_where_only_exact_arguments_answer_the_next_question() -> None:
    asked = pending(path="/usr/share/a")
    rules = Rules(ask=(Rule((("path", ("**",)),)), Rule((("path", ("/usr/**",)),))))
    properties = {"properties": {"path": {"type": "string"}}}
    tool = replace(asked.tool, parameters=properties, options=replace(asked.tool.options, rules=rules))
    dialog = ApprovalDialog(replace(asked, tool=tool))
    dialog.take_above(80)
    dialog.opened(0.0)
    assert "only S and A answer" in text(dialog.rows(200, LATER))
    dialog.key("p", LATER)
    assert dialog.result is None
