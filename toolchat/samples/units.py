"""Conversion between units of measurement with pint, which is imported at the first conversion.

A unit's name is taken apart here and only words and small exponents are handed on: pint must never evaluate
text that a model wrote.
"""

from __future__ import annotations

import math
import re
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pint

# Calls of one round run at once, and pint's registry, filling caches as it goes, is not made for that.
_lock = Lock()

_MAX_NAME = 60
_MAX_TERMS = 4

_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3", "·": "*", "×": "*", "µ": "u", "μ": "u", "_": " "})
# "square meter", "ft", "m^2", "s**-1"; at most one exponent, of one digit: no tower of powers can be built.
_TERM = re.compile(r"(?:(square|sq|cubic|cu)\.? )?([a-z]+)\.?(?: ?(?:\^|\*\*)? ?(-?[1-4]))?", re.IGNORECASE)
_SEPARATOR = re.compile(r" ?(/|\*(?!\*)(?<!\*\*)| per ) ?")
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}

# What people write and pint does not know, or reads as something else.
_ALIASES = {
    "acre": "international_acre",
    "acres": "international_acre",
    "centigrade": "degree_Celsius",
    "cubic centimeters": "cm^3",
    "fluid ounce": "fluid_ounce",
    "fluid ounces": "fluid_ounce",
    "fl oz": "fluid_ounce",
    "fl. oz": "fluid_ounce",
    "fl. oz.": "fluid_ounce",
    "hr": "hour",
    "hrs": "hour",
    "imperial gallon": "imperial_gallon",
    "imperial gallons": "imperial_gallon",
    "imperial pint": "imperial_pint",
    "imperial pints": "imperial_pint",
    "kmh": "kilometer/hour",
    "kmph": "kilometer/hour",
    "kph": "kilometer/hour",
    "kilowatt hour": "kilowatt_hour",
    "kilowatt hours": "kilowatt_hour",
    "knots": "knot",
    "light year": "light_year",
    "light years": "light_year",
    "metric ton": "metric_ton",
    "metric tons": "metric_ton",
    "min": "minute",
    "mins": "minute",
    "mpg": "mile/gallon",
    "mps": "meter/second",
    "nautical mile": "nautical_mile",
    "nautical miles": "nautical_mile",
    "sec": "second",
    "secs": "second",
    "stones": "stone",
    "tonnes": "metric_ton",
    "us gallon": "gallon",
    "us gallons": "gallon",
    "yr": "year",
    "yrs": "year",
}
_TEMPERATURES = {
    "c": "degree_Celsius",
    "celsius": "degree_Celsius",
    "centigrade": "degree_Celsius",
    "degc": "degree_Celsius",
    "f": "degree_Fahrenheit",
    "fahrenheit": "degree_Fahrenheit",
    "degf": "degree_Fahrenheit",
    "k": "kelvin",
    "kelvin": "kelvin",
    "kelvins": "kelvin",
    "rankine": "degree_Rankine",
}
_DEGREES = re.compile(r"(?:degrees?|deg\.?|°|º) ?(?=[a-z])", re.IGNORECASE)


def convert_units(value: float, from_unit: str, to_unit: str) -> str:
    """Convert a value from one unit to another.

    Args:
        value: The number to convert
        from_unit: Unit to convert from
        to_unit: Unit to convert to

    Raises:
        ValueError: a unit is unknown, the two measure different things, or the value is out of range.
    """
    if not math.isfinite(value):
        raise ValueError("the value is not a number")
    with _lock:
        return _convert(float(value), from_unit, to_unit)


def _convert(value: float, from_unit: str, to_unit: str) -> str:
    temperatures = (_temperature(from_unit), _temperature(to_unit))
    if all(temperatures):
        source, target = (_registry().Unit(name) for name in temperatures)
        if _registry().Quantity(value, source).to("kelvin").magnitude < 0:
            raise ValueError(f"{value:g} {from_unit.strip()} is below absolute zero")
    else:
        source, target = _unit(from_unit), _unit(to_unit)
    result = _converted(value, source, target, from_unit, to_unit)
    return _fixed(result, places=1) if all(temperatures) else _written(result)


def _converted(value: float, source: Any, target: Any, from_unit: str, to_unit: str) -> float:
    import pint

    try:
        result = float(_registry().Quantity(value, source).to(target).magnitude)
    except (pint.DimensionalityError, pint.OffsetUnitCalculusError):
        raise ValueError(f"cannot convert {from_unit.strip()} to {to_unit.strip()}") from None
    except (OverflowError, ZeroDivisionError):
        result = math.inf
    if not math.isfinite(result):
        raise ValueError("the result is too large")
    return result


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint

    registry = pint.UnitRegistry()
    # Pint's own acre stands on the survey foot, which NIST retired in 2022.
    registry.define("international_acre = 43560 * foot ** 2")
    return registry


def _temperature(name: str) -> str | None:
    """The scale of temperature that `name` means where both units may be one ("C" is a coulomb elsewhere)."""
    return _TEMPERATURES.get(_DEGREES.sub("", name.strip().replace("_", " ")).casefold())


def _unit(name: str) -> Any:
    """The unit that pint knows under `name`, its plural or its usual abbreviation."""
    import pint

    if len(name) > _MAX_NAME:
        raise ValueError(f"the name of a unit is too long: {name[:_MAX_NAME]}...")
    unknown = ValueError(f"unknown unit: {name.strip()}")
    scale = _temperature(name)
    if scale and len(name.strip()) > 1:
        return _registry().Unit(scale)
    tokens = _SEPARATOR.split(" ".join(name.translate(_SUPERSCRIPTS).split()))
    if len(tokens) > 2 * _MAX_TERMS - 1:
        raise unknown
    unit: Any = None
    try:
        for position in range(0, len(tokens), 2):
            term = _term(tokens[position])
            multiplied = position and tokens[position - 1] == "*"
            unit = term if not position else unit * term if multiplied else unit / term
    except (pint.PintError, ValueError, AttributeError):
        raise unknown from None
    return unit


def _term(text: str) -> Any:
    alias = _ALIASES.get(text.casefold())
    if alias is not None:
        return _registry().Unit(alias)
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(text)
    prefix, word, exponent = match.groups()
    power = int(exponent or 1) * (_POWERS[prefix.casefold()] if prefix else 1)
    return _word(word) ** power


def _word(word: str) -> Any:
    """The unit of one word. Case counts in symbols (MB, mb) but not in words ("Miles", "Kg")."""
    import pint

    lower = word.casefold()
    if lower in _ALIASES:
        return _registry().Unit(_ALIASES[lower])
    if len(word) > 3 and word.istitle():
        word = lower
    try:
        return _registry().Unit(word)
    except pint.UndefinedUnitError:
        return _registry().Unit(lower)


def _written(value: float) -> str:
    """The number as people write it: 6.21, 1200, 0.000247."""
    if abs(value) >= 1e15:
        return f"{value:.6g}"
    if abs(value) < 0.1:
        return f"{value:.3g}"
    return _fixed(value, places=2)


def _fixed(value: float, places: int) -> str:
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
