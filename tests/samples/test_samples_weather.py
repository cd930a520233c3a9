from __future__ import annotations

import re

import pytest

from toolchat.samples.weather import get_current_weather

SENTENCE = re.compile(r"The weather in Reno, NV is (-?\d+) degrees (celsius|fahrenheit)\. It is ([a-z ]+)\.")


def test_dallas_answers_as_in_the_example_of_vllm() -> None:
    assert get_current_weather("Dallas", "TX", "fahrenheit") == (
        "The weather in Dallas, TX is 85 degrees fahrenheit. It is partly cloudy, with highs in the 90's."
    )


def test_dallas_in_celsius_is_the_same_weather() -> None:
    assert get_current_weather("Dallas", "TX", "celsius") == (
        "The weather in Dallas, TX is 29 degrees celsius. It is partly cloudy, with highs in the 30's."
    )


def test_a_place_has_one_weather_in_both_units_and_any_case() -> None:
    warm = SENTENCE.fullmatch(get_current_weather("Reno", "NV", "fahrenheit"))
    cool = SENTENCE.fullmatch(get_current_weather("Reno", "NV", "celsius"))
    assert warm is not None
    assert cool is not None
    assert int(cool[1]) == round((int(warm[1]) - 32) * 5 / 9)
    assert warm[3] == cool[3]
    lower = get_current_weather("reno", "nv", "celsius")
    assert lower.split(" is ", 1)[1] == get_current_weather("Reno", "NV", "celsius").split(" is ", 1)[1]


def test_places_differ_and_stay_plausible() -> None:
    answers = [get_current_weather(f"Town {number}", "OH", "fahrenheit") for number in range(200)]
    degrees = [int(answer.split(" is ")[1].split()[0]) for answer in answers]
    assert min(degrees) >= 32
    assert max(degrees) <= 110
    assert len(set(degrees)) > 30
    assert len({answer.rsplit(" It is ")[1] for answer in answers}) > 4


@pytest.mark.parametrize(("city", "state", "message"), [(" ", "TX", "city"), ("Dallas", "", "state")])
def test_an_empty_place_is_refused(city: str, state: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"the {message} is empty"):
        get_current_weather(city, state, "celsius")
