"""Exchanges about toolchat's own sample tools, drawn without end: what people ask in their first minutes.

Results come from the tools themselves, so that no sum and no conversion is wrong. Must hold no city and no phrasing of
tests/e2e/questions.py, and no question of page/.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from exchanges import Call, Exchange

from toolchat.samples.calculator import calculate
from toolchat.samples.units import convert_units
from toolchat.samples.weather import get_current_weather
from toolchat.tools.load import load_tools, sample_tools_path

TOOLS = {
    spec.name: {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
    for spec in load_tools(sample_tools_path()).toolbox.specs
}
"""The tools of the packaged tools.yaml, in its order."""

STATES = {
    "AL": "Alabama", "AZ": "Arizona", "CA": "California", "CO": "Colorado", "FL": "Florida", "GA": "Georgia",
    "IL": "Illinois", "IN": "Indiana", "MA": "Massachusetts", "MD": "Maryland", "MI": "Michigan", "MN": "Minnesota",
    "MO": "Missouri", "NC": "North Carolina", "NJ": "New Jersey", "NM": "New Mexico", "NV": "Nevada", "NY": "New York",
    "OH": "Ohio", "OR": "Oregon", "PA": "Pennsylvania", "SC": "South Carolina", "TN": "Tennessee", "TX": "Texas",
    "UT": "Utah", "VA": "Virginia", "WA": "Washington", "WI": "Wisconsin", "LA": "Louisiana", "KY": "Kentucky",
    "OK": "Oklahoma", "KS": "Kansas", "IA": "Iowa", "AR": "Arkansas", "NE": "Nebraska", "ID": "Idaho", "ME": "Maine",
    "MT": "Montana", "AK": "Alaska", "HI": "Hawaii", "CT": "Connecticut", "MS": "Mississippi", "ND": "North Dakota",
    "SD": "South Dakota", "VT": "Vermont", "NH": "New Hampshire", "RI": "Rhode Island", "WV": "West Virginia",
    "WY": "Wyoming", "DE": "Delaware",
}  # fmt: skip

US_CITIES = tuple(
    (name.strip().rsplit(" ", 1)[0], name.strip().rsplit(" ", 1)[1])
    for name in [
        "Dallas TX",
        " Houston TX",
        " Austin TX",
        " San Antonio TX",
        " Beaumont TX",
        " Denton TX",
        " Tyler TX",
        " Boston MA",
        " Lowell MA",
        "Cambridge MA",
        " Seattle WA",
        " Everett WA",
        " Olympia WA",
        " Portland OR",
        " Medford OR",
        " Bend OR",
        " Chicago IL",
        " Aurora IL",
        "Rockford IL",
        " Joliet IL",
        " Denver CO",
        " Pueblo CO",
        " Loveland CO",
        " Miami FL",
        " Orlando FL",
        " Naples FL",
        " Ocala FL",
        "Sarasota FL",
        " Tallahassee FL",
        " Atlanta GA",
        " Augusta GA",
        " Athens GA",
        " Phoenix AZ",
        " Tucson AZ",
        " Mesa AZ",
        " Yuma AZ",
        "Tempe AZ",
        " Sedona AZ",
        " Detroit MI",
        " Flint MI",
        " Ann Arbor MI",
        " Grand Rapids MI",
        " Saginaw MI",
        " Minneapolis MN",
        "Saint Paul MN",
        " Bloomington MN",
        " Nashville TN",
        " Memphis TN",
        " Clarksville TN",
        " New Orleans LA",
        "Lafayette LA",
        " Monroe LA",
        " Las Vegas NV",
        " Elko NV",
        " Sparks NV",
        " San Diego CA",
        " San Jose CA",
        " San Francisco CA",
        "Los Angeles CA",
        " Sacramento CA",
        " Long Beach CA",
        " Anaheim CA",
        " Irvine CA",
        " Chico CA",
        " Napa CA",
        " Eureka CA",
        "Santa Rosa CA",
        " Santa Cruz CA",
        " New York NY",
        " Syracuse NY",
        " Utica NY",
        " Ithaca NY",
        " Yonkers NY",
        " Philadelphia PA",
        "Pittsburgh PA",
        " Allentown PA",
        " Lancaster PA",
        " Reading PA",
        " Cleveland OH",
        " Columbus OH",
        " Cincinnati OH",
        " Canton OH",
        "Mansfield OH",
        " Charlotte NC",
        " Raleigh NC",
        " Asheville NC",
        " Wilmington NC",
        " Greensboro NC",
        " Boone NC",
        " Baltimore MD",
        "Annapolis MD",
        " Frederick MD",
        " Milwaukee WI",
        " Racine WI",
        " Kenosha WI",
        " Appleton WI",
        " Salt Lake City UT",
        " Ogden UT",
        "Moab UT",
        " Kansas City MO",
        " Saint Louis MO",
        " Branson MO",
        " Joplin MO",
        " Indianapolis IN",
        " Gary IN",
        " Muncie IN",
        "Virginia Beach VA",
        " Alexandria VA",
        " Newport News VA",
        " Danville VA",
        " Louisville KY",
        " Paducah KY",
        " Bowling Green KY",
        "Oklahoma City OK",
        " Norman OK",
        " Lawton OK",
        " Boise ID",
        " Pocatello ID",
        " Twin Falls ID",
        " Des Moines IA",
        " Ames IA",
        "Sioux City IA",
        " Dubuque IA",
        " Fayetteville AR",
        " Hot Springs AR",
        " Kearney NE",
        " Portland ME",
        " Bangor ME",
        "Missoula MT",
        " Bozeman MT",
        " Butte MT",
        " Anchorage AK",
        " Fairbanks AK",
        " Sitka AK",
        " Honolulu HI",
        " Hilo HI",
        " Stamford CT",
        "New Haven CT",
        " Biloxi MS",
        " Tupelo MS",
        " Hattiesburg MS",
        " Bismarck ND",
        " Minot ND",
        " Sioux Falls SD",
        " Rapid City SD",
        "Montpelier VT",
        " Nashua NH",
        " Newport RI",
        " Wheeling WV",
        " Cheyenne WY",
        " Laramie WY",
        " Dover DE",
        " Trenton NJ",
        " Camden NJ",
        "Hoboken NJ",
        " Atlantic City NJ",
        " Las Cruces NM",
        " Taos NM",
        " Roswell NM",
        " Albuquerque NM",
        " Myrtle Beach SC",
    ]
)
ABROAD = tuple(
    (pair.split(":")[0].strip(), pair.split(":")[1])
    for pair in [
        "Lyon:France",
        " Nice:France",
        " Munich:Germany",
        " Hamburg:Germany",
        " Vienna:Austria",
        " Zurich:Switzerland",
        " Milan:Italy",
        "Venice:Italy",
        " Madrid:Spain",
        " Seville:Spain",
        " Lisbon:Portugal",
        " Porto:Portugal",
        " Dublin:Ireland",
        " Glasgow:Scotland",
        "Manchester:England",
        " Amsterdam:Netherlands",
        " Brussels:Belgium",
        " Copenhagen:Denmark",
        " Stockholm:Sweden",
        "Helsinki:Finland",
        " Warsaw:Poland",
        " Prague:Czechia",
        " Budapest:Hungary",
        " Athens:Greece",
        " Istanbul:Turkey",
        "Nairobi:Kenya",
        " Lagos:Nigeria",
        " Delhi:India",
        " Osaka:Japan",
        " Seoul:South Korea",
        " Bangkok:Thailand",
        " Hanoi:Vietnam",
        "Manila:Philippines",
        " Jakarta:Indonesia",
        " Perth:Australia",
        " Auckland:New Zealand",
        " Lima:Peru",
        " Bogota:Colombia",
        "Montreal:Canada",
        " Vancouver:Canada",
        " Calgary:Canada",
        " Reykjavik:Iceland",
        " Bergen:Norway",
        " Riga:Latvia",
    ]
)
ZONES = tuple(
    (pair.split(":")[0].strip(), pair.split(":")[1])
    for pair in [
        "Tokyo:Asia/Tokyo",
        " Seoul:Asia/Seoul",
        " Beijing:Asia/Shanghai",
        " Shanghai:Asia/Shanghai",
        " Hong Kong:Asia/Hong_Kong",
        "Singapore:Asia/Singapore",
        " Bangkok:Asia/Bangkok",
        " Jakarta:Asia/Jakarta",
        " Manila:Asia/Manila",
        " Delhi:Asia/Kolkata",
        "Kolkata:Asia/Kolkata",
        " Mumbai:Asia/Kolkata",
        " Karachi:Asia/Karachi",
        " Dubai:Asia/Dubai",
        " Tehran:Asia/Tehran",
        "Istanbul:Europe/Istanbul",
        " Athens:Europe/Athens",
        " Rome:Europe/Rome",
        " Vienna:Europe/Vienna",
        " Paris:Europe/Paris",
        "Madrid:Europe/Madrid",
        " Lisbon:Europe/Lisbon",
        " London:Europe/London",
        " Dublin:Europe/Dublin",
        " Oslo:Europe/Oslo",
        "Stockholm:Europe/Stockholm",
        " Helsinki:Europe/Helsinki",
        " Warsaw:Europe/Warsaw",
        " Prague:Europe/Prague",
        "Budapest:Europe/Budapest",
        " Amsterdam:Europe/Amsterdam",
        " Brussels:Europe/Brussels",
        " Zurich:Europe/Zurich",
        "Berlin:Europe/Berlin",
        " Kyiv:Europe/Kyiv",
        " Moscow:Europe/Moscow",
        " Copenhagen:Europe/Copenhagen",
        " Cairo:Africa/Cairo",
        "Nairobi:Africa/Nairobi",
        " Lagos:Africa/Lagos",
        " Johannesburg:Africa/Johannesburg",
        " Casablanca:Africa/Casablanca",
        "New York:America/New_York",
        " Boston:America/New_York",
        " Miami:America/New_York",
        " Toronto:America/Toronto",
        "Chicago:America/Chicago",
        " Dallas:America/Chicago",
        " Houston:America/Chicago",
        " Denver:America/Denver",
        "Phoenix:America/Phoenix",
        " Los Angeles:America/Los_Angeles",
        " San Francisco:America/Los_Angeles",
        "Seattle:America/Los_Angeles",
        " Vancouver:America/Vancouver",
        " Anchorage:America/Anchorage",
        "Honolulu:Pacific/Honolulu",
        " Mexico City:America/Mexico_City",
        " Bogota:America/Bogota",
        " Lima:America/Lima",
        "Sao Paulo:America/Sao_Paulo",
        " Buenos Aires:America/Argentina/Buenos_Aires",
        " Santiago:America/Santiago",
        "Sydney:Australia/Sydney",
        " Melbourne:Australia/Melbourne",
        " Brisbane:Australia/Brisbane",
        " Perth:Australia/Perth",
        "Auckland:Pacific/Auckland",
        " Reykjavik:Atlantic/Reykjavik",
    ]
)
UNITS = (
    ("miles", "kilometers"), ("kilometers", "miles"), ("miles", "km"), ("km", "miles"), ("meters", "feet"),
    ("feet", "meters"), ("inches", "centimeters"), ("centimeters", "inches"), ("inches", "cm"), ("cm", "inches"),
    ("yards", "meters"), ("kg", "pounds"), ("pounds", "kg"), ("pounds", "kilograms"), ("kilograms", "pounds"),
    ("ounces", "grams"), ("grams", "ounces"), ("stones", "kilograms"), ("liters", "gallons"), ("gallons", "liters"),
    ("cups", "milliliters"), ("pints", "liters"), ("celsius", "fahrenheit"), ("fahrenheit", "celsius"),
    ("hours", "minutes"), ("minutes", "seconds"), ("days", "hours"), ("weeks", "days"), ("minutes", "hours"),
    ("km/h", "mph"), ("mph", "km/h"), ("knots", "km/h"), ("acres", "hectares"), ("hectares", "acres"),
    ("square meters", "square feet"), ("tons", "kilograms"), ("feet", "inches"), ("nautical miles", "kilometers"),
)  # fmt: skip
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
FRACTIONS = {
    "half of": Fraction(1, 2), "half": Fraction(1, 2), "a third of": Fraction(1, 3), "one third of": Fraction(1, 3),
    "two thirds of": Fraction(2, 3), "a quarter of": Fraction(1, 4), "three quarters of": Fraction(3, 4),
    "a fifth of": Fraction(1, 5), "two fifths of": Fraction(2, 5), "three fifths of": Fraction(3, 5),
    "an eighth of": Fraction(1, 8), "three eighths of": Fraction(3, 8), "a tenth of": Fraction(1, 10),
}  # fmt: skip


def words(n: int) -> str:
    """A number below 10,000 in words: "three hundred and forty-two"."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = n % size
    joint = " and " if rest and (size == 100 or rest < 100) else " "
    return f"{words(n // size)} {name}{joint + words(rest) if rest else ''}"


def draw(rng: random.Random) -> Exchange:
    """One exchange about one of the sample tools."""
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    return kind(rng)


def _called(name: str, arguments: dict[str, object], result: str, question: str, say: str) -> Exchange:
    call: Call = {"name": name, "arguments": arguments}
    return Exchange(question, say, (TOOLS[name],), (call,), (result,))


def weather(rng: random.Random) -> Exchange:
    """A place in the USA with its state in letters, in words or left out; or one abroad with its country."""
    if rng.random() < 0.8:
        city, state = rng.choice(US_CITIES)
        unit = rng.choice(("fahrenheit", "fahrenheit", "celsius"))
        place = rng.choice((f"{city}, {state}", f"{city}, {state}", f"{city}, {STATES[state]}", f"{city} {state}"))
    else:
        city, state = rng.choice(ABROAD)
        unit = rng.choice(("celsius", "celsius", "fahrenheit"))
        place = f"{city}, {state}"
    phrasings = WEATHER
    if rng.random() < 0.3:
        phrasings = WEATHER_WITHOUT_UNIT
        unit = "celsius" if (city, state) in ABROAD else "fahrenheit"
    question = _case(rng, rng.choice(phrasings).format(place=place, unit=unit))
    return _weather(rng, city, state, unit, question)


def _weather(rng: random.Random, city: str, state: str, unit: str, question: str) -> Exchange:
    result = get_current_weather(city, state, unit)  # type: ignore[arg-type]
    degrees = result.split(" is ")[1].split(" ")[0]
    sky = result.split(" It is ")[1].rstrip(".")
    say = rng.choice(WEATHER_SAID).format(city=city, state=state, degrees=degrees, unit=unit, sky=sky)
    return _called("get_current_weather", {"city": city, "state": state, "unit": unit}, result, question, say)


WEATHER = (
    "What's the weather like in {place}, in {unit}?", "What's the weather in {place} in {unit}?",
    "weather {place} {unit}", "How warm is it in {place}, in {unit}?", "Temperature in {place} in {unit}?",
    "Tell me the weather in {place}, in {unit}.", "How cold is it in {place}? {unit} please",
    "what is the temperature in {place} ({unit})", "I'm in {place}. What's the weather, in {unit}?",
    "Is it hot in {place}? Answer in {unit}.", "How many degrees {unit} is it in {place}?",
    "can you get the weather for {place} in {unit}", "What is it like outside in {place}, in {unit}?",
    "in {unit}, what's the weather in {place}?", "Is it sunny in {place}? in {unit} please",
)  # fmt: skip
WEATHER_WITHOUT_UNIT = (
    "What's the weather like in {place}?", "weather in {place}", "How warm is it in {place}?", "is it cold in {place}",
    "what's the weather in {place} like today?", "Will I need a coat in {place}?", "Is it raining in {place}?",
    "Tell me the weather in {place}.", "temperature in {place}?", "How's {place} today, weather-wise?",
)  # fmt: skip
WEATHER_SAID = (
    *("It is {degrees} degrees {unit} in {city}, {state}. It is {sky}.",) * 3,
    "It is {degrees} degrees {unit} and {sky} in {city}, {state}.",
    "In {city}, {state} it is {degrees} degrees {unit} and {sky}.",
)


def _sum(rng: random.Random, expression: str, question: str, said: str) -> Exchange:
    result = calculate(expression)
    say = said.format(r=result)
    return _called("calculate", {"expression": expression}, result, question, say)


def percent(rng: random.Random) -> Exchange:
    """A share, what remains without it, or a whole with it on top."""
    p = rng.choice(
        (5, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 75, 80, 90, 2.5, 7.5, 12.5, 3, 8, 17, 22, 33)
    )
    b = rng.choice((rng.randint(2, 99) * 10, rng.randint(11, 999), rng.randint(2, 60) * 50, rng.randint(100, 9999)))
    sign = rng.choice(("%", "%", " percent"))
    kind = rng.random()
    if kind < 0.55:
        question = rng.choice((
            "What is {p}{s} of {b}?", "what's {p}{s} of {b}", "{p}{s} of {b}", "How much is {p}{s} of {b}?",
            "calculate {p}{s} of {b}", "Can you tell me {p}{s} of {b}?", "Work out {p}{s} of {b}.", "give me {p}{s} of {b}",
            "Tell me what {p}{s} of {b} is.", "I earn {b} and save {p}{s}. How much do I save?",
            "A bill is {b} dollars. How much is a {p}{s} tip?", "the tax is {p}{s} on {b}, how much tax is that?",
        ))  # fmt: skip
        return _sum(rng, f"{b} * {p} / 100", question.format(p=p, s=sign, b=b), f"{p}{sign} of {b} is {{r}}.")
    if kind < 0.8:
        question = rng.choice((
            "What is {b} minus {p}{s}?", "A coat costs {b} and is {p}{s} off. What is the price now?",
            "{b} with {p}{s} off?", "take {p}{s} off {b}", "the shoes were {b} dollars, now {p}{s} less. How much are they?",
            "There is a discount of {p}{s} on {b}. What do I pay?",
        ))  # fmt: skip
        return _sum(
            rng, f"{b} - {b} * {p} / 100", question.format(p=p, s=sign, b=b), f"{b} with {p}{sign} off is {{r}}."
        )
    question = rng.choice((
        "add {p}{s} to {b}", "What is {b} plus {p}{s}?", "{b} plus {p}{s} tax, what is the total?",
        "My rent of {b} goes up by {p}{s}. What will it be?", "increase {b} by {p}{s}",
    ))  # fmt: skip
    return _sum(rng, f"{b} + {b} * {p} / 100", question.format(p=p, s=sign, b=b), f"{b} plus {p}{sign} is {{r}}.")


def fraction(rng: random.Random) -> Exchange:
    name, share = rng.choice(list(FRACTIONS.items()))
    b = rng.randint(2, 80) * share.denominator
    question = rng.choice(
        ("What is {f} {b}?", "{f} {b}", "how much is {f} {b}?", "Calculate {f} {b}.", "tell me {f} {b}")
    )
    top = f"{b} / {share.denominator}" if share.numerator == 1 else f"{b} * {share.numerator} / {share.denominator}"
    text = question.format(f=name, b=b)
    return _sum(rng, top, text[0].upper() + text[1:], f"{name[0].upper()}{name[1:]} {b} is {{r}}.")


OPERATIONS = {
    "+": ("plus", "added to", "and"), "-": ("minus", "less"), "*": ("times", "multiplied by", "x"),
    "/": ("divided by", "over"),
}  # fmt: skip


def arithmetic(rng: random.Random) -> Exchange:
    """Two or three numbers in digits or words, roots, powers and parentheses."""
    a, b, c = (rng.choice((rng.randint(2, 30), rng.randint(2, 999), rng.randint(2, 99))) for _ in range(3))
    sign = rng.choice("++-***/")
    if sign == "/":
        a *= b
    kind = rng.random()
    if kind < 0.3:
        spoken = rng.choice(OPERATIONS[sign][:1] * 3 + OPERATIONS[sign][1:2])
        shown = rng.choice((
            "What is {a} {o} {b}?", "{a} {o} {b}", "what's {a} {o} {b}", "Tell me {a} {o} {b}.", "{a} {o} {b} equals?",
            "can you do {a} {o} {b}", "What do I get for {a} {o} {b}?",
        ))  # fmt: skip
        if rng.random() < 0.4:
            question = shown.format(a=words(a), b=words(b), o=spoken)
        else:
            question = shown.format(a=a, b=b, o=spoken)
        return _sum(rng, f"{a} {sign} {b}", question, rng.choice(("It is {r}.", f"{a} {spoken} {b} is {{r}}.")))
    if kind < 0.6:
        text = rng.choice(("{a} {o} {b}", "{a} {o} {b}", "{a}{o}{b}")).format(a=a, b=b, o=sign)
        question = rng.choice(
            ("What is {e}?", "{e}", "calculate {e}", "how much is {e}", "{e} = ?", "Solve {e}.", "what's {e}?")
        )
        return _sum(
            rng, f"{a} {sign} {b}", question.format(e=text), rng.choice((f"{a} {sign} {b} = {{r}}.", "It is {r}."))
        )
    if kind < 0.72:
        n = rng.randint(3, 60)
        question = rng.choice((
            "What is the square root of {n}?", "sqrt({n})", "the root of {n}?", "Find the square root of {n}.", "sqrt {n}",
        ))  # fmt: skip
        return _sum(rng, f"sqrt({n * n})", question.format(n=n * n), f"The square root of {n * n} is {{r}}.")
    if kind < 0.84:
        n, e = rng.randint(2, 25), rng.choice((2, 2, 3, 4, 5, 8, 10))
        forms = [
            "{n} to the power {e}",
            "{n}^{e}",
            "{n} ** {e}",
            "what is {n} to the {e}th power" if e > 3 else "{n}^{e}?",
        ]
        if e in (2, 3):
            forms.append(f"What is {{n}} {'squared' if e == 2 else 'cubed'}?")
        return _sum(
            rng, f"{n} ** {e}", rng.choice(forms).format(n=n, e=e), rng.choice(("It is {r}.", f"{n} ** {e} = {{r}}."))
        )
    expression = rng.choice((
        "({a} + {b}) * {c}", "{a} * {b} + {c}", "({a} - {b}) * {c}", "{c} * ({a} + {b})", "{a} + {b} + {c}", "{a} * {b} * {c}",
        "{a} + {b} * {c}",
    )).format(a=a, b=b, c=c)  # fmt: skip
    question = rng.choice(("What is {e}?", "{e}", "calculate {e}", "how much is {e}?", "evaluate {e}")).format(
        e=expression
    )
    return _sum(rng, expression, question, rng.choice((f"{expression} = {{r}}.", "The result is {r}.")))


STORIES: tuple[tuple[str, str], ...] = (
    ("I buy {a} tickets at {b} euros each. What do they cost?", "{a} * {b}"),
    ("{a} boxes with {b} eggs each, how many eggs is that?", "{a} * {b}"),
    ("We are {a} people and share {c} dollars. How much does each get?", "{c} / {a}"),
    ("I had {d} points and lost {b}. How many are left?", "{d} - {b}"),
    ("A flat costs {b} a month. What is that for {a} months?", "{a} * {b}"),
    ("I walked {a} km yesterday and {b} km today, how far is that together?", "{a} + {b}"),
    ("{c} pages in {a} days, how many pages a day?", "{c} / {a}"),
    ("My bread costs {b} cents and I buy {a}. How much is it?", "{a} * {b}"),
    ("split {c} by {a}", "{c} / {a}"),
    ("If I save {b} a week, how much is it after {a} weeks?", "{b} * {a}"),
    ("The train has {a} wagons with {b} seats. How many seats are there?", "{a} * {b}"),
    ("I was born in {y}. How old am I in 2030?", "2030 - {y}"),
)


def story(rng: random.Random) -> Exchange:
    a, b = rng.randint(3, 24), rng.randint(5, 95)
    numbers = {"a": a, "b": b, "c": a * rng.randint(4, 60), "d": b + rng.randint(10, 400), "y": rng.randint(1940, 2010)}
    question, expression = rng.choice(STORIES)
    return _sum(
        rng, expression.format(**numbers), question.format(**numbers), rng.choice(("It is {r}.", "That is {r}."))
    )


def units(rng: random.Random) -> Exchange:
    source, target = rng.choice(UNITS)
    value: float = rng.choice(
        (rng.randint(1, 20), rng.randint(2, 300), rng.randint(1, 90) / 2, rng.randint(11, 99) / 10)
    )
    value = int(value) if float(value).is_integer() else value
    question = rng.choice((
        "Convert {v} {f} to {t}.", "{v} {f} in {t}", "how many {t} are {v} {f}", "What is {v} {f} in {t}?", "{v} {f} to {t}",
        "How many {t} is {v} {f}?", "turn {v} {f} into {t}", "what are {v} {f} in {t}?", "{v} {f} is how many {t}?",
        "I need {v} {f} in {t}", "Change {v} {f} into {t}, please.", "how much is {v} {f} in {t}",
    ))  # fmt: skip
    result = convert_units(value, source, target)
    say = rng.choice(("{v} {f} is {r} {t}.", "{v} {f} is {r} {t}.", "It is {r} {t}.")).format(
        v=value, f=source, t=target, r=result
    )
    arguments = {"value": value, "from_unit": source, "to_unit": target}
    return _called("convert_units", arguments, result, _case(rng, question.format(v=value, f=source, t=target)), say)


def time(rng: random.Random) -> Exchange:
    city, zone = rng.choice(ZONES)
    question = rng.choice((
        "What time is it in {c}?", "time in {c}", "What's the time in {c}?", "what time is it now in {c}", "Current time in {c}?",
        "tell me the time in {c}", "Is it late in {c}?", "how late is it in {c}?", "{c} time?", "What is the date in {c}?",
        "I want to call {c}. What time is it there?",
    ))  # fmt: skip
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    result = f"{rng.randint(2024, 2027)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {clock}"
    if "date" in question:
        say = f"In {city} it is {result}."
    else:
        say = rng.choice((f"It is {clock} in {city}.", f"In {city} it is {clock}."))
    return _called("current_time", {"timezone": zone}, result, _case(rng, question.format(c=city)), say)


FOLDERS = ("src", "docs", "tests", "photos", "music", "reports", "old", "invoices", "scripts", "letters", "backup")
NAMES = (
    "main.py", "utils.py", "index.html", "style.css", "notes.md", "letter.txt", "photo.jpg", "logo.png", "table.csv",
    "sales.csv", "config.json", "app.js", "poem.txt", "plan.md", "song.mp3", "README.md", "setup.cfg", "log.txt", "map.pdf",
    "menu.txt", "backup.zip", "list.csv", "draft.docx", "ideas.txt", "src/", "docs/", "img/",
)  # fmt: skip
ENDINGS = (
    ("txt", "text"),
    ("py", "python"),
    ("csv", "csv"),
    ("md", "markdown"),
    ("jpg", "jpg"),
    ("json", "json"),
    ("html", "html"),
)


def files(rng: random.Random) -> Exchange:
    """Lists a folder; with a pattern only where one kind of file is asked for."""
    here = rng.random() < 0.6
    folder = "." if here else rng.choice(FOLDERS)
    arguments: dict[str, object] = {"path": folder}
    names = sorted(rng.sample(NAMES, rng.randint(1, 5)))
    if rng.random() < 0.3:
        ending, kind = rng.choice(ENDINGS)
        arguments["pattern"] = f"*.{ending}"
        names = sorted(
            f"{stem}.{ending}" for stem in rng.sample(("a", "plan", "data", "old", "test", "main"), rng.randint(1, 3))
        )
        phrasings = (
            (
                "which {k} files are here?",
                "list the {k} files",
                "show me all {k} files here",
                "any *.{e} files?",
                "only *.{e} please: list the files",
            )
            if here
            else (
                "list the {k} files in {d}",
                "which {k} files are in {d}?",
                "show the *.{e} files in {d}",
                "Are there {k} files in {d}?",
            )
        )
    else:
        ending = kind = ""
        phrasings = (
            ("list the files", "What files are here?", "show the files here", "ls", "which files do I have", "what is in this folder?",
             "List all files in this folder", "Show me what is in the current folder.", "which files are there")
            if here
            else ("list the files in {d}", "What is in the folder {d}?", "show me the files in {d}", "ls {d}", "which files are in {d}?",
                  "What's in {d}?", "Look into the {d} folder.")
        )  # fmt: skip
    question = rng.choice(phrasings).format(k=kind, e=ending, d=folder)
    listing = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    where = "here" if here else f"in {folder}"
    verb = "is" if len(names) == 1 else "are"
    say = (
        rng.choice((f"The files {where} are {listing}.", f"There {verb} {listing} {where}."))
        if len(names) > 1
        else f"There is {listing} {where}."
    )
    return _called("list_files", arguments, "\n".join(names), question, say)


TEXTS = (
    ("Buy milk, bread and two lemons.", "It is a shopping list: milk, bread and two lemons."),
    ("The meeting is on Monday at 10:00 in room 4.", "The meeting is on Monday at 10:00 in room 4."),
    ("Dear Anna, thank you for the flowers. Yours, Tom", "It is a letter in which Tom thanks Anna for the flowers."),
    ("port = 8080\nhost = localhost", "It sets the port to 8080 and the host to localhost."),
    ("name,age\nIda,34\nTom,29", "It is a table with names and ages: Ida is 34 and Tom is 29."),
    ("print('hello')", "It is a line of Python that prints hello."),
    ("# Garden\nWater the roses twice a week.", "It says to water the roses twice a week."),
    ("Total: 412 euros, paid on 3 June.", "The total is 412 euros, paid on 3 June."),
    ("Rules: be kind, be on time, bring a pen.", "The rules are to be kind, be on time and bring a pen."),
    ("The old bridge was built in 1871 and is closed now.", "The old bridge was built in 1871 and is closed now."),
    ("- fix the door\n- paint the fence", "It is a list: fix the door and paint the fence."),
    ("Version 2 is faster and needs less memory.", "Version 2 is faster and needs less memory."),
)


def reading(rng: random.Random) -> Exchange:
    """Reads a file, with a number of lines only where one is said; now and then there is no such file."""
    stem = rng.choice(
        ("letter", "plan", "config", "table", "hello", "garden", "bill", "rules", "history", "ideas", "changes", "memo")
    )
    path = f"{stem}.{rng.choice(('txt', 'md', 'csv', 'py', 'log'))}"
    if rng.random() < 0.25:
        path = f"{rng.choice(FOLDERS)}/{path}"
    arguments: dict[str, object] = {"path": path}
    if rng.random() < 0.25:
        lines = rng.choice((1, 2, 3, 5, 10, 20))
        arguments["max_lines"] = lines
        question = rng.choice((
            "read the first {n} lines of {p}", "show me {n} lines of {p}", "What are the first {n} lines of {p}?",
            "the top {n} lines of {p} please",
        )).format(n=lines if lines > 1 else "1", p=path)  # fmt: skip
    else:
        question = rng.choice((
            "read {p}", "What is in {p}?", "show me {p}", "open {p}", "what does {p} say?", "Can you read {p} to me?", "cat {p}",
            "Tell me what {p} says.", "print {p}", "I want to see {p}",
        )).format(p=path)  # fmt: skip
    if rng.random() < 0.2:
        result = f"Error: FileNotFoundError: there is no file {path}"
        say = rng.choice(("There is no file {p}.", "Sorry, there is no file {p}.", "I could not find {p}.")).format(
            p=path
        )
    else:
        result, say = rng.choice(TEXTS)
    return _called("read_file", arguments, result, question, say)


BAD_UNITS = (
    ("kilograms", "liters"),
    ("miles", "hours"),
    ("pounds", "feet"),
    ("celsius", "meters"),
    ("liters", "km"),
    ("seconds", "grams"),
)
NO_PLACES = (
    "Narnia",
    "Mordor",
    "Gondor",
    "Oz",
    "Wonderland",
    "Hogwarts",
    "Springville",
    "El Dorado",
    "Camelot",
    "Lilliput",
)


def wrong(rng: random.Random) -> Exchange:
    """Calls that fail for a reason in the question."""
    match rng.randrange(3):
        case 0:
            source, target = rng.choice(BAD_UNITS)
            value = rng.randint(1, 99)
            question = rng.choice(("convert {v} {f} to {t}", "How many {t} are {v} {f}?", "{v} {f} in {t}"))
            error = f"cannot convert {source} to {target}"
            say = rng.choice(
                (f"I cannot convert {source} to {target}.", f"Sorry, {source} cannot be converted to {target}.")
            )
            arguments: dict[str, object] = {"value": value, "from_unit": source, "to_unit": target}
            question = question.format(v=value, f=source, t=target)
            return _called("convert_units", arguments, f"Error: ValueError: {error}", question, say)
        case 1:
            place = rng.choice(NO_PLACES)
            question = rng.choice(("What time is it in {p}?", "time in {p}", "what's the time in {p} now?")).format(
                p=place
            )
            say = rng.choice(
                (f"I don't know the time zone of {place}.", f"Sorry, {place} is not a time zone that I know.")
            )
            return _called(
                "current_time", {"timezone": place}, f"Error: ValueError: unknown time zone: {place}", question, say
            )
        case _:
            a = rng.randint(2, 99)
            question = rng.choice(("What is {a} / 0?", "{a} divided by 0", "divide {a} by zero")).format(a=a)
            say = rng.choice(
                ("A number cannot be divided by zero.", "That is a division by zero, which has no result.")
            )
            return _called(
                "calculate", {"expression": f"{a} / 0"}, "Error: ZeroDivisionError: division by zero", question, say
            )


KINDS: dict[Callable[[random.Random], Exchange], float] = {
    weather: 5, percent: 4, fraction: 1, arithmetic: 4, story: 2, units: 3, time: 3, files: 3, reading: 2, wrong: 1,
}  # fmt: skip


def follow_up(exchange: Exchange, rng: random.Random) -> Exchange | None:
    """A short second question that means the first one's tool: "and in Lyon?", "same in celsius"."""
    (call,) = exchange.calls or ({"name": ""},)
    match call["name"]:
        case "get_current_weather" if rng.random() < 0.4:
            arguments = call["arguments"]
            unit = "celsius" if arguments["unit"] == "fahrenheit" else "fahrenheit"
            question = rng.choice(
                ("in {u}?", "and what is that in {u}?", "same in {u} please", "Now in {u}.", "{u}?")
            ).format(u=unit)
            return _weather(rng, arguments["city"], arguments["state"], unit, question)
        case "get_current_weather":
            city, state = rng.choice(US_CITIES)
            question = rng.choice(
                ("and in {c}, {s}?", "What about {c}, {s}?", "how about {c} {s}", "And {c}, {s}?")
            ).format(c=city, s=state)
            return _weather(rng, city, state, call["arguments"]["unit"], question)
        case "current_time":
            city, zone = rng.choice(ZONES)
            new = time(rng)
            question = rng.choice(("and in {c}?", "And in {c}?", "what about {c}", "How about {c}?")).format(c=city)
            clock = new.results[0].split(" ")[1]
            return _called("current_time", {"timezone": zone}, new.results[0], question, f"In {city} it is {clock}.")
        case "calculate" if exchange.results[0].replace(".", "", 1).isdigit() and len(exchange.results[0]) < 8:
            n, sign = rng.randint(2, 40), rng.choice("+-*/")
            spoken = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[sign]
            question = rng.choice(("and that {o} {n}?", "now {o} {n}", "{o} {n}?", "And {o} {n}?")).format(
                o=spoken, n=n
            )
            return _sum(rng, f"{exchange.results[0]} {sign} {n}", question, "That is {r}.")
    return None


FACTS: tuple[tuple[str, str], ...] = tuple(
    (row.split("|")[0].strip(), row.split("|")[1].strip())
    for row in """
    What is the capital of Italy? | The capital of Italy is Rome.
    what's the capital of Canada | The capital of Canada is Ottawa.
    What is the capital of Egypt? | The capital of Egypt is Cairo.
    capital of Japan? | The capital of Japan is Tokyo.
    Who painted the Mona Lisa? | Leonardo da Vinci painted the Mona Lisa.
    Who wrote Faust? | Johann Wolfgang von Goethe wrote Faust.
    Who invented the telephone? | Alexander Graham Bell invented the telephone.
    who was the first man on the moon | Neil Armstrong was the first man on the moon.
    How many legs does a spider have? | A spider has eight legs.
    How many continents are there? | There are seven continents.
    how many days are in a leap year | A leap year has 366 days.
    What is the largest ocean? | The largest ocean is the Pacific.
    What's the largest planet? | The largest planet is Jupiter.
    which planet is closest to the sun | Mercury is the closest planet to the sun.
    What is the longest river in Africa? | The longest river in Africa is the Nile.
    What is the highest mountain on Earth? | The highest mountain on Earth is Mount Everest.
    What gas do plants breathe in? | Plants take in carbon dioxide.
    what is H2O | H2O is water.
    What is the opposite of hot? | The opposite of hot is cold.
    what's another word for happy | Another word for happy is glad.
    What language do they speak in Brazil? | In Brazil they speak Portuguese.
    In which country is the Eiffel Tower? | The Eiffel Tower is in France.
    which animal is the fastest on land | The cheetah is the fastest animal on land.
    What do bees make? | Bees make honey.
    what does www mean | WWW means World Wide Web.
    What is an API? | An API is a way for programs to talk to each other.
    What is Python? | Python is a programming language that is easy to read.
    What is a database? | A database stores data so that it can be searched quickly.
    Why do we sleep? | We sleep so that body and brain can rest and recover.
    Why is the sea salty? | Rivers carry salt from rocks into the sea, where it stays.
    Why do leaves turn red? | In autumn leaves lose their green colour, and red and yellow show.
    What is gravity? | Gravity is the force that pulls things towards each other, as to the Earth.
    what is a noun | A noun is a word for a person, a place or a thing.
    What is a haiku? | A haiku is a poem of three short lines.
    What is evaporation? | Evaporation is when a liquid turns into a gas.
    Explain a variable in one sentence | A variable is a name for a value in a program.
    What is a prime number? | A prime number can only be divided by one and itself.
    who are you? | I am a small language model that can chat and call tools.
    are you a human | No, I am a small language model.
    what is your name | I am toolchat's demo model.
    How are you? | I'm fine, thank you. How can I help you?
    tell me something nice | You are doing well, and I am glad to help.
    Do you like music? | I can't hear music, but I like talking about it.
    What should I cook tonight? | How about pasta with tomatoes and basil?
    Give me a tip for better sleep. | Go to bed at the same time each day and leave the phone outside.
    I am bored | You could read a book, take a walk or call a friend.
    I feel sad today | I am sorry to hear that. Do you want to talk about it?
    tell me a joke | Why did the bicycle fall over? It was two-tired.
    write a poem about the sea | The sea is wide, the sea is blue, it sings a quiet song for you.
    Write two lines about spring | The snow is gone, the birds are here, it is the best time of the year.
    Write a haiku about snow | Snow falls on the roof. The garden sleeps under white. A bird leaves its tracks.
    Give me a slogan for a bakery. | Fresh bread, warm hearts.
    Write a birthday wish for my sister. | Happy birthday! May your year be full of joy.
    How do you say thank you in French? | Thank you in French is merci.
    What is hello in Italian? | Hello in Italian is ciao.
    what is cat in german | Cat in German is Katze.
    Translate "good night" into Spanish. | Good night in Spanish is buenas noches.
    """.strip().splitlines()
)
CODE: tuple[tuple[str, str], ...] = (
    ("Write a Python function that adds two numbers.", "def add(a, b):\n    return a + b"),
    ("write a python function for the factorial", "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)"),
    ("Python code that prints the numbers from 1 to 10?", "for n in range(1, 11):\n    print(n)"),
    ("how do I reverse a string in Python", "Use a slice:\n\ntext[::-1]"),
    ("Write a function that checks whether a number is prime.",
     "def is_prime(n):\n    return n > 1 and all(n % i for i in range(2, n))"),
    ("Write a Python function for the multiplication table of a number",
     "def table(n):\n    for i in range(1, 11):\n        print(n, 'x', i, '=', n * i)"),
    ("write a python script that counts the words in a text", "def count(text):\n    return len(text.split())"),
    ("Give me a bash loop over all text files.", "for f in *.txt; do\n  echo \"$f\"\ndone"),
    ("Write a SQL query for all customers from Oslo.", "SELECT * FROM customers WHERE city = 'Oslo';"),
    ("hello world in JavaScript?", "console.log('Hello, world!');"),
    ("write hello world in python", "print('Hello, world!')"),
    ("Write a function that converts celsius to fahrenheit in Python.", "def fahrenheit(c):\n    return c * 9 / 5 + 32"),
    ("python function for the average of a list", "def average(values):\n    return sum(values) / len(values)"),
    ("Write code that reads a file line by line.", "with open('file.txt') as lines:\n    for line in lines:\n        print(line)"),
    ("write a regex for a date like 2024-05-17", "\\d{4}-\\d{2}-\\d{2}"),
    ("Write a git command that undoes the last commit.", "git reset --soft HEAD~1"),
    ("Show me a for loop in C.", "for (int i = 0; i < 10; i++)\n    printf(\"%d\\n\", i);"),
    ("write a class for a dog in python",
     "class Dog:\n    def __init__(self, name):\n        self.name = name\n\n    def bark(self):\n        return 'Woof!'"),
    ("Write a Python function that sorts a list of names.", "def sort_names(names):\n    return sorted(names)"),
    ("How can I sum a list in Python?", "sum(values)"),
    ("Write an HTML page with a title.", "<html>\n  <head><title>My page</title></head>\n  <body></body>\n</html>"),
    ("write a function for the greatest common divisor", "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a"),
)  # fmt: skip
UNABLE = tuple(
    line.strip()
    for line in """
    Set an alarm for {h}
    wake me at {h}
    Remind me to take out the trash tomorrow
    set a timer for {n} minutes
    Send an email to {who}
    send {who} a message that I am late
    Text {who} that dinner is ready
    Call {who}
    book a table for {n} at {h}
    reserve a seat on the plane to {c}
    find me a hotel in {c}
    Order some sushi
    order {n} bottles of water
    put on some {m}
    play my {m} playlist
    Turn off the lights
    turn the heating up to {n} degrees
    Add milk to my shopping list
    put a meeting with {who} into my calendar at {h}
    What is on my calendar today?
    Translate this letter into {l}
    How do I get from {c} to the airport?
    when does the next train to {c} leave
    What is the news today?
    who won the football match yesterday
    What is the price of gold right now?
    how is the stock of Apple doing
    How many euros are {n} dollars?
    what are {n} pounds sterling in yen
    Delete the file old.txt
    rename notes.md to diary.md
    write "hello" into a new file
    Download the picture from that page
    search the web for {m} festivals
    Take a screenshot
    run the tests
    Restart my computer
    Pay the electricity bill
    transfer {n} euros to {who}
    Draw me a picture of a cat
    What is the weather going to be next week in {c}?
    show me a map of {c}
    Track my parcel
    Buy two tickets for the cinema
    scan this document
    Unlock the front door
    Find the phone number of {who}
    """.strip().splitlines()
)


def chat(rng: random.Random) -> Exchange:
    """Something that needs no tool: a fact, small talk, a few lines of text or code."""
    question, say = rng.choice(FACTS if rng.random() < 0.65 else CODE)
    return Exchange(_case(rng, question), say)


def unable(rng: random.Random, sorry: tuple[str, ...]) -> Exchange:
    """Something that none of the sample tools does."""
    question = rng.choice(UNABLE).format(
        h=rng.choice(("7", "6:45", "half past five", "noon", "8 pm", "quarter to nine")),
        n=rng.choice((2, 3, 4, 5, 12, 15, 20, 22, 25, 90)),
        c=rng.choice(ABROAD)[0],
        who=rng.choice(("Anna", "my mother", "Tom", "Dr. Hill", "my boss", "Ravi", "the plumber", "Ines")),
        m=rng.choice(("jazz", "rock", "classical music", "folk", "reggae", "piano music")),
        l=rng.choice(("French", "German", "Polish", "Spanish", "Turkish")),
    )
    return Exchange(_case(rng, question), rng.choice(sorry))


def _case(rng: random.Random, question: str) -> str:
    """The question as it is, mostly; in lower case, or with a polite word."""
    chance = rng.random()
    if chance < 0.12:
        return question.lower().rstrip("?.") if len(question) < 60 else question
    if chance < 0.17:
        return f"{rng.choice(('hi, ', 'hey, ', 'Hello! ', 'please: ', 'quick question: '))}{question[0].lower()}{question[1:]}"
    return question
