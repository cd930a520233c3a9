from __future__ import annotations

import pytest

from toolchat.ui.text.styles import ROLES, Look, join_styles, paint, prompt_style, sgr


def test_without_colour_the_attributes_stay() -> None:
    assert sgr("bold cyan", Look.COLOUR) == "1;36"
    assert sgr("bold cyan", Look.ATTRIBUTES) == "1"
    assert sgr("cyan", Look.ATTRIBUTES) == ""
    assert sgr("bold", Look.PLAIN) == ""


def test_painted_text_ends_its_style_and_no_text_has_none() -> None:
    assert paint("a", "bold red", color=True) == "\x1b[1;31ma\x1b[0m"
    assert paint("a", "red", color=False) == "a"
    assert paint("", "red", color=True) == ""


def test_styles_add_up() -> None:
    assert join_styles("", "bold", "", "cyan") == "bold cyan"


@pytest.mark.parametrize("role", ROLES)
def test_a_question_looks_alike_printed_and_drawn(role: str) -> None:
    from prompt_toolkit.styles import Style

    style = ROLES[role]
    sgr(style, Look.COLOUR)
    Style.from_dict({"role": prompt_style(style)})  # raises for what it does not know


def test_an_unknown_style_is_a_defect() -> None:
    with pytest.raises(KeyError):
        sgr("blink", Look.COLOUR)
