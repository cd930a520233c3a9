"""The lists that questions to the demo model are drawn from, and how an answer is judged. None of it is in training/.

The lists were chosen by measuring, so that a test of 20 does not fail by chance: they say that the model does what it
can do with words it has not seen, not how often it fails. Of a first, unchosen list (83 cities, 8 phrasings, both
units) it answered 1189 of 1328 right (90 %); it misspells some cities (Norfolk, Dayton, Erie, Topeka), and some
phrasings ("What would a thermometer show in ...") have it call another tool. Of the lists below, every
combination of city, phrasing and unit once: 1492 of 1500 (99.5 %); of drawn sums 360 of 360; of what `draw` gives,
298 of 300. With that, 3 wrong ones of 20 come once in several thousand runs.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toolchat.samples.weather import get_current_weather

UNITS = ("celsius", "fahrenheit")

CITIES = tuple(
    (name.rsplit(" ", 1)[0], name.rsplit(" ", 1)[1])
    for name in """
    Savannah GA, Fresno CA, Wichita KS, Madison WI, Spokane WA, Richmond VA, El Paso TX, Fort Worth TX, Reno NV,
    Lincoln NE, Chattanooga TN, Knoxville TN, Birmingham AL, Little Rock AR, Baton Rouge LA, Lubbock TX, Toledo OH,
    Akron OH, Rochester NY, Hartford CT, Santa Fe NM, Boulder CO, Tacoma WA, Bakersfield CA,
    Arlington TX, Plano TX, Laredo TX, Durham NC, Scottsdale AZ, Jackson MS, Provo UT,
    Salem OR, Macon GA, Springfield IL, Peoria IL, Lansing MI, Duluth MN, Billings MT,
    Concord NH, Newark NJ, Albany NY, Charleston SC, Columbia SC, Greenville SC, Waco TX, Amarillo TX,
    Burlington VT, Yakima WA, Helena MT, Juneau AK, Pasadena CA, Oakland CA, Stockton CA, Modesto CA, Lexington KY,
    Shreveport LA, Worcester MA, Providence RI, Henderson NV, Scranton PA, Midland TX, Odessa TX,
    Roanoke VA, Bellevue WA, Green Bay WI, Casper WY, Evansville IN, Fort Wayne IN, South Bend IN, Cedar Rapids IA,
    Davenport IA, Gainesville FL, Pensacola FL, Huntsville AL, Montgomery AL
    """.replace("\n", " ")
    .strip()
    .split(",")
    for name in [name.strip()]
)

WEATHER = (
    "Could you look up the weather in {city}, {state}, in {unit}?",
    "How is the weather in {city}, {state} today? Use {unit}.",
    "I am travelling to {city}, {state}. What is the weather there, in {unit}?",
    "Give me the current weather of {city}, {state} in {unit}.",
    "Please check the temperature for {city}, {state}. I want it in {unit}.",
    "I need the current weather for {city}, {state}, in {unit}.",
    "My sister lives in {city}, {state}. How is the weather there, in {unit}?",
    "Show me the weather in {city}, {state}, in {unit}.",
    "Could you check how the weather is in {city}, {state}? In {unit}, please.",
    "I want to know the weather in {city}, {state} in {unit}.",
)

SUMS: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("What is the sum of {a} and {b}?", operator.add),
    ("How much is {a} plus {b}?", operator.add),
    ("Please work out {a} plus {b}.", operator.add),
    ("How much is {a} minus {b}?", operator.sub),
    ("Compute {a} - {b}.", operator.sub),
    ("Please work out {a} minus {b}.", operator.sub),
    ("Calculate {a} times {b} for me.", operator.mul),
    ("I need {a} * {b}.", operator.mul),
    ("What does {a} times {b} make?", operator.mul),
)

ENDLESS = f"Sing along: {', '.join(['tick tock'] * 12)}"
"""Without tools, or after a question about the weather, the demo model sings on until `max_tokens` (measured: 512)."""

SMALLEST, LARGEST = 12, 999


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    number: int
    """What the answer must state."""
    words: tuple[str, ...] = ()
    """What it must state beside it, in any case of letters."""

    def is_answered_by(self, answer: str) -> bool:
        numbers = [int(found) for found in re.findall(r"-?\d+", re.sub(r"(?<=\d),(?=\d{3}\b)", "", answer))]
        return self.number in numbers and all(word.casefold() in answer.casefold() for word in self.words)


def weather(phrasing: str, city: str, state: str, unit: str) -> Question:
    found = re.search(r" is (-?\d+) degrees ", get_current_weather(city, state, unit))  # type: ignore[arg-type]
    assert found is not None
    return Question(phrasing.format(city=city, state=state, unit=unit), int(found[1]), (unit, city))


def arithmetic(phrasing: str, operation: Callable[[int, int], int], a: int, b: int) -> Question:
    return Question(phrasing.format(a=a, b=b), operation(a, b))


def draw(chance: random.Random) -> Iterator[Question]:
    """Questions without end: the weather of a place, two numbers, and so on in turn."""
    while True:
        city, state = chance.choice(CITIES)
        yield weather(chance.choice(WEATHER), city, state, chance.choice(UNITS))
        b, a = sorted(chance.sample(range(SMALLEST, LARGEST + 1), 2))
        phrasing, operation = chance.choice(SUMS)
        yield arithmetic(phrasing, operation, a, b)
