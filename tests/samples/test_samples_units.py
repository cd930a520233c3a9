from __future__ import annotations

import subprocess
import sys
import time

import pytest

from toolchat.samples.units import convert_units


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        (3, "miles", "km", "4.83"),
        (10, "kilometers", "miles", "6.21"),
        (1.5, "Miles", "KM", "2.41"),
        (12, "meters", "centimeters", "1200"),
        (100, "Meters", "Feet", "328.08"),
        (120, "cm", "inches", "47.24"),
        (50, "kmh", "mph", "31.07"),
        (120, "mph", "km/h", "193.12"),
        (1, "meters per second", "km/h", "3.6"),
        (9, "lbs", "kg", "4.08"),
        (14, "ounces", "grams", "396.89"),
        (8, "gallons", "litres", "30.28"),
        (0.5, "cups", "ml", "118.29"),
        (10, "fl oz", "ml", "295.74"),
        (12, "acres", "square meters", "48562.28"),
        (20, "acres", "hectares", "8.09"),
        (100, "sq ft", "m^2", "9.29"),
        (100, "square_feet", "m²", "9.29"),
        (2, "m3", "liters", "2000"),
        (45, "mins", "hrs", "0.75"),
        (14, "weeks", "days", "98"),
        (2, "nautical miles", "km", "3.7"),
        (2048, "MB", "GB", "2.05"),
        (25, "mpg", "km/l", "10.63"),
        (90, "degrees", "radians", "1.57"),
        (72, "fahrenheit", "celsius", "22.2"),
        (350, "degrees Fahrenheit", "°C", "176.7"),
        (0, "F", "C", "-17.8"),
        (37, "C", "fahrenheit", "98.6"),
        (-40, "celsius", "fahrenheit", "-40"),
        (20, "celsius", "kelvin", "293.1"),
        (1, "square meter", "acres", "0.000247"),
        (0.0001, "mm", "km", "1e-10"),
        (-0.001, "m", "m", "-0.001"),
        (0, "m", "ft", "0"),
        (-17.8, "C", "F", "0"),
    ],
)
def test_conversion(value: float, source: str, target: str, result: str) -> None:
    assert convert_units(value, source, target) == result


@pytest.mark.parametrize(
    ("value", "source", "target", "message"),
    [
        (40, "km", "liters", "^cannot convert km to liters$"),
        (9, "degrees celsius", "km", "^cannot convert degrees celsius to km$"),
        (-500, "C", "F", "below absolute zero"),
        (1, "parsnips", "m", "^unknown unit: parsnips$"),
        (1, "m", "", "unknown unit"),
        (float("nan"), "m", "km", "not a number"),
        (float("inf"), "m", "km", "not a number"),
        (1e308, "km", "nm", "too large"),
        (1, "m^9^9^9", "m", "unknown unit"),
        (1, "m**9**9**9", "m", "unknown unit"),
        (1, "km**99999999", "m", "unknown unit"),
        (1, "9**9**9 m", "m", "unknown unit"),
        (1, "m/s/s/s/s/s", "m", "unknown unit"),
        (1, "__import__('os').system('true')", "m", "unknown unit"),
        (1, "(lambda: 0)()", "m", "unknown unit"),
        (1, "m.__class__", "m", "unknown unit"),
        (1, "a" * 10_000, "m", "too long"),
        (1, "m\0", "m", "unknown unit"),
    ],
)
def test_what_cannot_be_converted_ends_at_once_with_a_reason(
    value: float, source: str, target: str, message: str
) -> None:
    convert_units(1, "m", "km")
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        convert_units(value, source, target)
    assert time.perf_counter() - started < 0.5


FIRST_CALLS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import pint
from toolchat.samples.units import _registry, convert_units

barrier = Barrier(8)

def convert(_):
    barrier.wait()
    return convert_units(3, "miles", "km")

sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(8) as pool:
    print(*set(pool.map(convert, range(8))), _registry.cache_info().misses)
"""


@pytest.mark.process
def test_conversions_that_come_all_at_once_share_one_registry() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_CALLS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("4.83 1\n", "")
