"""The lists that questions to the demo model are drawn from, and how an answer is judged. None of it is in training/.

The lists are not chosen by measuring: the cities were written down first, also those that the first edition of the
model misspelled; those that training/ has are left out. Of 1,800 questions of `draw` 1,731 were answered right (96 %):
all 900 sums, and 831 of 900 about the weather. In the others the call had another name of the city (Dover for Dayton,
Hampford for Hampton, "E Erie"). With 8 % wrong about the weather, 7 wrong ones of 20 come once in half a million runs.
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
    Baton Rouge LA, Arlington TX, Scottsdale AZ, Provo UT, Springfield IL, Columbia SC, Greenville SC, Yakima WA,
    Helena MT, Henderson NV, Midland TX, Odessa TX, Casper WY, Fort Wayne IN, South Bend IN, Davenport IA,
    Norfolk VA, Dayton OH, Erie PA, Chandler AZ, Glendale AZ, Chesapeake VA, Garland TX, Hialeah FL, Fremont CA,
    Irving TX, Kalamazoo MI, Mesquite TX, Killeen TX, Hampton VA, Lynchburg VA, Grand Forks ND, Great Falls MT,
    Idaho Falls ID, Nampa ID, Gillette WY, Fort Collins CO, Greeley CO, Visalia CA, Redding CA, Palmdale CA,
    Oxnard CA, Torrance CA, Corvallis OR, Kennewick WA, Independence MO, Sedalia MO, Lawrence KS, Salina KS,
    Dodge City KS, Grand Island NE, Decatur IL, Terre Haute IN, Kokomo IN, Altoona PA, Schenectady NY, Elmira NY,
    Lewiston ME, Pittsfield MA, New Bedford MA, Danbury CT, Waterbury CT, Paterson NJ, Hickory NC, Spartanburg SC,
    Valdosta GA, Marietta GA, Lakeland FL, Daytona Beach FL, Dothan AL, Tuscaloosa AL, Gulfport MS, Lake Charles LA,
    Texarkana AR, Jonesboro AR, Fort Smith AR, Enid OK, Stillwater OK, Johnson City TN, Owensboro KY,
    Parkersburg WV, Huntington WV, Oshkosh WI, Eau Claire WI, La Crosse WI, Mankato MN, Saint Cloud MN, Bemidji MN
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
    "What would a thermometer show in {city}, {state}, in {unit}?",
    "Is it warm in {city}, {state} at the moment? In {unit}, please.",
    "{city}, {state}: tell me the weather there, in {unit}.",
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
