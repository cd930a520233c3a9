"""A simulated weather service: it answers at once, offline, and its answers are invented.

The same place always gets the same weather, so that a chat can be repeated. It must never reach the network.
"""

from __future__ import annotations

import hashlib
from typing import Literal

# The place and the answer of vLLM's offline example of tool calling, which this project set out from.
_DALLAS = ("dallas", "tx")
_DALLAS_FAHRENHEIT = 85
_DALLAS_SKY = "partly cloudy"

_SKIES = ("sunny", "clear", "partly cloudy", "mostly cloudy", "overcast", "rainy", "windy", "foggy")
_COLDEST, _HOTTEST = 41, 95


def get_current_weather(city: str, state: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the current weather in a US city (simulated).

    Args:
        city: The city to find the weather for, e.g. 'San Francisco'
        state: the two-letter abbreviation for the state that the city is in, e.g. 'CA'
        unit: The unit to fetch the temperature in

    Raises:
        ValueError: the city or the state is empty, or the unit is neither of the two.
    """
    city, state = city.strip(), state.strip()
    if not city:
        raise ValueError("the city is empty")
    if not state:
        raise ValueError("the state is empty")
    if unit not in ("celsius", "fahrenheit"):
        raise ValueError(f"unknown unit: {unit}")
    fahrenheit, sky = _weather(city.casefold(), state.casefold())
    if unit == "fahrenheit":
        degrees = fahrenheit
        highs = fahrenheit // 10 * 10 + 10
    else:
        degrees = _celsius(fahrenheit)
        highs = _celsius(fahrenheit // 10 * 10 + 10) // 10 * 10
    sentence = f"The weather in {city}, {state} is {degrees} degrees {unit}. It is {sky}"
    if (city.casefold(), state.casefold()) == _DALLAS:
        return f"{sentence}, with highs in the {highs}'s."
    return f"{sentence}."


def _weather(city: str, state: str) -> tuple[int, str]:
    """The temperature in degrees Fahrenheit and the sky of a place, drawn from the hash of its name."""
    if (city, state) == _DALLAS:
        return _DALLAS_FAHRENHEIT, _DALLAS_SKY
    digest = hashlib.sha256(f"{city}\n{state}".encode("utf-8", "surrogatepass")).digest()
    return _COLDEST + digest[0] % (_HOTTEST - _COLDEST + 1), _SKIES[digest[1] % len(_SKIES)]


def _celsius(fahrenheit: int) -> int:
    return round((fahrenheit - 32) * 5 / 9)
