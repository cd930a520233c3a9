from __future__ import annotations

import pytest

from toolchat.wire.messages import AssistantMessage, Part, ToolCall, assistant_message, joined


def said(text: str) -> Part:
    return Part(text)


def thought(text: str) -> Part:
    return Part(text, thinking=True)


def test_thinking_that_all_came_first_needs_no_order() -> None:
    call = ToolCall("abcdefghi", "f", {})
    assert assistant_message([thought("hm"), said("Yes.")], (call,)) == AssistantMessage("Yes.", (call,), "hm")
    assert assistant_message([said("Yes.")]) == AssistantMessage("Yes.")
    assert assistant_message([thought("hm")]) == AssistantMessage(thinking="hm")
    assert assistant_message([]) == AssistantMessage()


def test_thinking_after_text_keeps_its_place() -> None:
    parts = (thought("a"), said("One. "), thought("b"), said("Two."))
    assert assistant_message(parts) == AssistantMessage("One. Two.", (), "a\n\nb", parts)


def test_parts_of_one_kind_with_nothing_between_them_are_one() -> None:
    assert assistant_message([said("One."), thought(""), said("Two."), thought("b")]) == AssistantMessage(
        "One.\n\nTwo.", (), "b", (said("One.\n\nTwo."), thought("b"))
    )


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [("a", "b", "a\n\nb"), ("a ", "b", "a b"), ("a", "\nb", "a\nb"), ("", "b", "b"), ("a", "", "a")],
)
def test_words_do_not_run_together(before: str, after: str, whole: str) -> None:
    assert joined(before, after) == whole
