"""Values for questions, drawn from sets so large that they must be copied, not remembered. Pure but for zoneinfo's names.

A value is what a question says ("$1,200") and what a call holds (1200).
"""

from __future__ import annotations

import random
import re
import zoneinfo
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple


class Value(NamedTuple):
    said: str
    meant: Any


ONSETS = "b bl br c ch cl d dr f fl g gl gr h j k kl l m n p pl pr qu r s sch sh sk sl st t th tr v w wh y z".split()
VOWELS = "a a a e e e i i o o u ai ea ee ie oa oo ou y".split()
CODAS = "ck ft l ld ll lm lt m mp n nd ng nk nt r rd rk rn rt s sk ss st t th tt x".split()
TOWN_WORDS = (
    "Falls Springs Beach City Rapids Hills Grove Creek Park Island Haven Valley Point Bluffs Forks Junction".split()
)
CITY_ENDS = "ville ton bury ford field port burg dale haven mouth wick by stad berg ia ona eira ova ino".split()
US_CITIES = """Abilene Akron Albany Albuquerque Amarillo Anchorage Asheville Augusta Bakersfield Baltimore Bellevue Billings
Birmingham Bismarck Boise Boulder Bozeman Bridgeport Burlington Cambridge Carson+City Cedar+Rapids Charleston Charlotte
Chattanooga Cheyenne Cincinnati Cleveland Columbus Concord Corpus+Christi Des+Moines Duluth Durham El+Paso Eugene Evansville
Fargo Flagstaff Flint Fort+Worth Fresno Gainesville Galveston Grand+Rapids Green+Bay Greensboro Harrisburg Hartford Honolulu
Huntsville Irvine Jackson Juneau Kansas+City Knoxville Lansing Laredo Lexington Lincoln Little+Rock Long+Beach Louisville
Lubbock Macon Madison Memphis Mesa Milwaukee Missoula Mobile Modesto Montgomery Naperville Newark Oakland Omaha Orlando
Palo+Alto Pasadena Pensacola Peoria Pittsburgh Plano Portland Providence Pueblo Raleigh Reno Richmond Roanoke Rochester
Rockford Sacramento Salem Salt+Lake+City Santa+Fe Savannah Scranton Shreveport Sioux+Falls Spokane St.+Paul Stockton Syracuse
Tacoma Tallahassee Tempe Toledo Topeka Trenton Tucson Tulsa Waco Wichita Wilmington Worcester Yonkers Youngstown""".split()
COUNTRIES = """Albania Algeria Angola Argentina Armenia Australia Austria Bangladesh Belgium Bolivia Botswana Brazil Bulgaria
Cambodia Cameroon Canada Chad Chile China Colombia Croatia Cuba Cyprus Denmark Ecuador Egypt Estonia Ethiopia Fiji Finland France
Gabon Georgia Germany Ghana Greece Guatemala Haiti Honduras Hungary Iceland India Indonesia Iran Iraq Ireland Israel Italy Jamaica
Japan Jordan Kazakhstan Kenya Kuwait Laos Latvia Lebanon Libya Lithuania Luxembourg Madagascar Malaysia Mali Malta Mexico Moldova
Mongolia Morocco Mozambique Namibia Nepal Netherlands New+Zealand Nicaragua Nigeria Norway Oman Pakistan Panama Paraguay Peru
Philippines Poland Portugal Qatar Romania Rwanda Saudi+Arabia Senegal Serbia Singapore Slovakia Slovenia South+Africa South+Korea
Spain Sri+Lanka Sudan Sweden Switzerland Syria Tanzania Thailand Tunisia Turkey Uganda Ukraine Uruguay Venezuela Vietnam Yemen
Zambia Zimbabwe""".split()
STATES = """AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI
SC SD TN TX UT VT VA WA WV WI WY""".split()
STATE_NAMES = """Alabama Alaska Arizona Arkansas California Colorado Connecticut Delaware Florida Hawaii Idaho Illinois Indiana Iowa
Kansas Kentucky Louisiana Maine Maryland Massachusetts Michigan Minnesota Mississippi Missouri Montana Nebraska Nevada
New+Hampshire New+Jersey New+Mexico North+Carolina North+Dakota Ohio Oklahoma Oregon Pennsylvania Rhode+Island South+Carolina
South+Dakota Tennessee Texas Utah Vermont Virginia Wisconsin Wyoming""".split()
FIRST_NAMES = """Aaliyah Abdul Ada Adrian Agnes Ahmed Aiko Alan Alba Alice Amara Amir Ana Anders Andre Anika Anton Arjun Astrid
Aurora Ava Ben Bianca Boris Bruno Camille Carla Cedric Chloe Clara Conrad Dalia Daniel Dario David Deepa Diego Dmitri Edith Elena
Eli Elif Emeka Emil Emma Erik Esther Eva Farid Fatima Felix Fiona Frank Freya Gabriel Gerda Gianni Grace Greta Gustav Hana Harold
Hassan Heidi Helen Henry Hugo Ian Ibrahim Ilse Imani Ines Ingrid Iris Isaac Ivan Jack Jamal Jana Jasper Jin Joan Jonas Jorge Julia
Kai Kamal Karen Karim Kavya Kenji Kira Kofi Lars Laura Leila Leo Liam Lina Lola Lucas Luis Magda Malik Mara Marco Maria Marta Mateo
Maya Mei Mia Miguel Mikael Mina Mohamed Mona Nadia Naomi Nico Nina Noah Nora Olaf Olga Oliver Omar Oscar Otto Pablo Paula Pedro Petra
Pia Priya Quinn Rafael Raj Rania Rosa Ruth Ryan Sadia Sam Sandra Sara Sean Selma Sofia Stella Sven Tara Tariq Teresa Theo Thomas Tina
Tomas Uma Ursula Valerie Vera Viktor Walter Wanda Wei Wendy William Xavier Yara Yasmin Yuki Yusuf Zara Zoe""".split()
ADJECTIVES = """amber ancient blue bold brave bright broken calm clever cold copper crimson crooked dark distant dusty early eastern
empty endless fading famous first forgotten frozen gentle giant golden grand green grey happy hidden hollow hungry iron ivory last
late little lonely long lost lucky merry midnight misty modern narrow new noble northern old open pale paper perfect quiet rapid red
restless royal rusty sacred salty second secret seven shallow silent silver simple sleeping small smart solid southern stone strange
summer sweet tall third tiny urban velvet wandering warm western white wild wooden yellow young""".split()
NOUNS = """anchor apple arrow atlas autumn bakery basket bay beacon bear bell bird boat book branch bridge brook budget butter cabin
candle canyon castle cedar circle city cliff clock cloud coast compass copper coral corner creek crow crown dawn desert diamond door
dragon dream eagle echo ember empire engine falcon feather ferry field fire fish forest fountain fox garden gate ghost glass grove
harbor hawk heart hill horizon horse house island ivy jacket journey key kingdom kitchen lake lamp lantern leaf letter light lily lion
lotus maple market meadow meeting mirror moon mountain night oak oasis ocean olive orchard otter owl palace panda path pearl pepper
phoenix piano pine planet plan pocket pond prairie rabbit rain report ridge river road robin rocket rose sail salt sand school sea
shadow ship shore signal sky snow song spark spring star station stone storm story stream street sun swan table temple thunder tide
tiger tower trail train tree tulip valley village violet voyage wagon wall water wave whale wheel willow wind window winter wolf""".split()
LISTS = {
    "cur": "USD EUR GBP JPY CHF CAD AUD SEK NOK DKK PLN CZK INR CNY BRL MXN ZAR TRY KRW SGD HKD NZD THB".split(),
    "chem": "H2O CO2 NaCl CH4 C6H12O6 H2SO4 NH3 HCl CaCO3 C2H5OH NaOH Fe2O3 KMnO4 O3 N2O SiO2 H2O2 MgO Al2O3".split(),
    "el": """hydrogen helium lithium carbon nitrogen oxygen fluorine neon sodium magnesium aluminum silicon phosphorus sulfur
        chlorine argon potassium calcium titanium iron cobalt nickel copper zinc bromine silver tin iodine tungsten platinum gold
        mercury lead uranium""".split(),
    "animal": """tiger otter snow+leopard gray+wolf barn+owl emperor+penguin blue+whale koala red+panda moose puffin gecko axolotl
        hedgehog komodo+dragon sea+turtle ibex lynx beaver bald+eagle honey+badger manatee""".split(),
    "activity": """running swimming cycling rowing yoga hiking boxing dancing climbing skiing gardening skating walking surfing
        rope+jumping tennis""".split(),
    "lang": """English French Spanish German Italian Dutch Danish Swedish Polish Turkish Greek Arabic Hindi Japanese Korean Mandarin
        Swahili Finnish Czech Hungarian Thai""".split(),
    "drug": """ibuprofen aspirin paracetamol warfarin metformin lisinopril amoxicillin omeprazole atorvastatin insulin sertraline
        prednisone codeine simvastatin""".split(),
    "dish": """lasagna pad+thai goulash ramen falafel chicken+curry lentil+soup apple+pie paella risotto tacos pancakes beef+stew
        ratatouille banana+bread fish+chowder chili borscht dumplings moussaka tiramisu""".split(),
    "food": "rice oats spinach salmon almonds yogurt tofu cheddar lentils eggs avocado bread beef quinoa walnuts pears".split(),
    "cuisine": "Italian Thai Mexican Indian French Greek Korean Ethiopian Lebanese Vietnamese Turkish Spanish Peruvian".split(),
    "team": """Tigers Hawks Rovers Wolves Rangers Lions Wanderers Comets Bears United Falcons Sharks Pirates Kings Stars Storm
        Dragons Eagles""".split(),
    "league": """Northern+League First+Division Premier+League Coastal+Cup Eastern+Conference National+League Junior+League
        Champions+Trophy""".split(),
    "chord": "C G D A E F Am Em Dm Bm G7 Cmaj7 F#m Bb Eb".split(),
    "topic": """climate+change patents privacy space+travel taxes+on+sugar electric+cars immigration ancient+Rome photosynthesis
        machine+learning housing contract+law free+speech elections bees volcanoes copyright nutrition quantum+physics fractions
        medicine engineering""".split(),
    "product": """running+shoes coffee+maker desk+lamp wireless+mouse rain+jacket yoga+mat headphones water+bottle backpack toaster
        garden+hose office+chair phone+case bluetooth+speaker wool+socks tent kettle blender notebook sunglasses""".split(),
    "room": """kitchen bedroom living+room bathroom garage office hallway basement attic nursery dining+room guest+room""".split(),
    "device": "dishwasher washing+machine dryer fridge heater oven television computer air+conditioner water+pump".split(),
    "planet": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune Pluto".split(),
    "star": "Sirius Vega Rigel Betelgeuse Polaris Antares Altair Deneb Arcturus Capella Spica Aldebaran Regulus".split(),
    "crop": "wheat corn barley rye soybeans potatoes rice oats canola sunflowers sugar+beets cotton".split(),
    "job": """data+analyst nurse welder software+engineer project+manager accountant electrician editor driver designer cook
        architect teacher sales+clerk""".split(),
    "color": "red blue yellow green orange purple white black teal pink brown grey".split(),
}  # fmt: skip
"""By kind; a plus stands for a space."""
MONTHS = "January February March April May June July August September October November December".split()
SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()


@cache
def _zones() -> tuple[str, ...]:
    """Places in the names of time zones."""
    names = {name.rpartition("/")[2].replace("_", " ") for name in zoneinfo.available_timezones() if "/" in name}
    return tuple(sorted(name for name in names if re.fullmatch(r"[A-Z][a-z]{2,}( [A-Z][a-z]+)*", name)))


def made_up(rng: random.Random, least: int = 1, most: int = 3) -> str:
    """A word that looks like a name: "Drovelt", "Schanuck"."""
    parts = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(least, most))]
    return ("".join(parts) + (rng.choice(CODAS) if rng.random() < 0.6 else "")).capitalize()


def blended(rng: random.Random) -> str:
    """The beginning of one name with the end of another: "Huntgomery", "Alblin". Such names are near to known ones."""
    one, other = (
        _plain(rng.choice(rng.choice((US_CITIES, FIRST_NAMES, NOUNS, COUNTRIES)))).split()[-1] for _ in range(2)
    )
    return (one[: rng.randint(2, 5)] + other[-rng.randint(2, 5) :]).capitalize()


def city(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.2:
        return blended(rng)
    if chance < 0.5:
        name = made_up(rng, 1, 2) + (rng.choice(CITY_ENDS) if rng.random() < 0.5 else "")
        return (
            f"{rng.choice(('New', 'San', 'Port', 'Lake', 'Fort', 'Upper', 'Santa'))} {name}"
            if rng.random() < 0.1
            else name
        )
    return rng.choice(_zones()) if chance < 0.75 else _plain(rng.choice(US_CITIES))


def town(rng: random.Random) -> str:
    """A name of the kinds that American towns have: "Amber Falls", "Marchville", "Fort Elena"."""
    word = rng.choice((rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(FIRST_NAMES))).capitalize()
    match rng.randrange(6):
        case 0:
            return f"{word} {rng.choice(TOWN_WORDS)}"
        case 1:
            return f"{rng.choice(('Fort', 'Port', 'New', 'Saint', 'Mount', 'Lake', 'North', 'East', 'Glen'))} {word}"
        case 2:
            return word
        case 3 | 4:
            return blended(rng)
        case _:
            return word + rng.choice(CITY_ENDS)


def place(rng: random.Random) -> str:
    """A city with its state or country: "Akron, OH"."""
    if rng.random() < 0.3:
        return f"{city(rng)}, {_plain(rng.choice(COUNTRIES))}"
    return f"{rng.choice((city, town, town))(rng)}, {rng.choice(STATES)}"


def formula(rng: random.Random) -> str:
    """A function of x, as it is typed: "3x^2 - 4x + 1"."""
    a, b, c, n = rng.randint(2, 12), rng.randint(1, 20), rng.randint(1, 40), rng.randint(2, 5)
    sign, other = rng.choice("+-"), rng.choice("+-")
    power = rng.choice((f"x^{n}", f"x**{n}"))
    shapes = (
        f"{a}{power} {sign} {b}x {other} {c}", f"{power} {sign} {b}x", f"{a}x {sign} {c}", f"{a}*{power} {sign} {c}", power,
        f"{rng.choice(('sin', 'cos', 'exp', 'ln'))}({rng.choice(('x', f'{a}x'))})", f"{a}{power}{sign}{b}x{other}{c}",
    )  # fmt: skip
    return rng.choice(shapes)


def first_name(rng: random.Random) -> str:
    return made_up(rng, 1, 2) if rng.random() < 0.25 else rng.choice(FIRST_NAMES)


def person(rng: random.Random) -> str:
    name = f"{first_name(rng)} {made_up(rng, 1, 3)}"
    return f"{rng.choice(('Dr.', 'Mr.', 'Ms.'))} {name}" if rng.random() < 0.06 else name


def company(rng: random.Random) -> str:
    name = (
        made_up(rng) if rng.random() < 0.5 else rng.choice(NOUNS).capitalize() + rng.choice(("", "ly", "soft", "works"))
    )
    return f"{name} {rng.choice(('Inc', 'Corp', 'Group', 'Motors', 'Foods', 'Labs'))}" if rng.random() < 0.5 else name


def title(rng: random.Random) -> str:
    adjective, noun, other = rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(NOUNS)
    shapes = (
        f"The {adjective} {noun}", f"{adjective} {noun}", f"{noun} of {made_up(rng)}", f"{noun} and {other}",
        f"{made_up(rng)} {noun}", f"{made_up(rng)}", f"the {noun} {other}", f"{made_up(rng)} {made_up(rng)}",
    )  # fmt: skip
    text = rng.choice(shapes)
    return text.title() if rng.random() < 0.75 else text.lower()


def code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 4)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 7)))
    shapes = (f"{letters}{digits}", f"{letters}-{digits}", digits, f"{letters.lower()}_{digits}", f"{digits}-{letters}",
        f"{letters}{digits[:2]}{letters[:1]}{digits[2:]}")  # fmt: skip
    return rng.choice(shapes)


def _plain(word: str) -> str:
    return word.replace("+", " ")


def _word(rng: random.Random) -> str:
    return rng.choice(NOUNS) if rng.random() < 0.7 else made_up(rng).lower()


def _team(rng: random.Random) -> str:
    return f"{city(rng)} {rng.choice(LISTS['team'])}"


def _mail(rng: random.Random) -> str:
    who = first_name(rng).lower() + rng.choice(("", "." + made_up(rng).lower(), str(rng.randint(1, 99))))
    return f"{who}@{made_up(rng).lower()}.{rng.choice(('com', 'org', 'net', 'io', 'de', 'edu'))}"


def _phone(rng: random.Random) -> str:
    return f"{rng.choice(('+1-', '+44 ', '', '0'))}{rng.randint(200, 999)}-{rng.randint(100, 999)}-{rng.randint(1000, 9999)}"


def _host(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return ".".join(str(rng.randint(1, 250)) for _ in range(4))
    return rng.choice(
        (f"{_word(rng)}{rng.randint(1, 20)}", f"{_word(rng)}.{made_up(rng).lower()}.com", f"web-{_word(rng)}")
    )


def _file(rng: random.Random) -> str:
    name = rng.choice((_word(rng), f"{_word(rng)}_{rng.randint(1, 2030)}", f"{_word(rng)}-{_word(rng)}"))
    return f"{name}.{rng.choice(('txt', 'pdf', 'png', 'jpg', 'csv', 'py', 'docx', 'md', 'zip'))}"


def _path(rng: random.Random) -> str:
    return "/" + "/".join(_word(rng) for _ in range(rng.randint(1, 3)))


STRINGS: dict[str, Callable[[random.Random], str]] = {
    "c": city, "n": person, "f": first_name, "o": company, "w": title, "k": code, "word": _word, "team": _team, "mail": _mail,
    "phone": _phone, "host": _host, "file": _file, "path": _path,
    "C": lambda rng: _plain(rng.choice(COUNTRIES)), "cs": place, "fx": formula, "state": lambda rng: _plain(rng.choice(STATE_NAMES)),
    "dna": lambda rng: "".join(rng.choice("ACGT") for _ in range(rng.randint(4, 14))),
    "handle": lambda rng: f"{rng.choice(('@', ''))}{_word(rng)}{rng.choice(('', '_', str(rng.randint(1, 99))))}{_word(rng)}",
}  # fmt: skip
PLURALS = {
    "chems": "chem", "drugs": "drug", "chords": "chord", "names": "f", "cities": "c", "words": "word", "rooms": "room",
    "files": "file", "colors": "color",
}  # fmt: skip


def string(kind: str, rng: random.Random) -> str:
    made = STRINGS.get(kind)
    return made(rng) if made else _plain(rng.choice(LISTS[kind]))


def grouped(number: float) -> str:
    return f"{number:,}"


def integer(rng: random.Random, large: bool = False) -> Value:
    if large:
        if rng.random() < 0.08:
            return _in_words(rng)
        number = rng.choice(
            (rng.randint(100, 999), rng.randint(1000, 99_999), rng.randint(1, 90) * 1000, rng.randint(10**5, 10**7))
        )
        return Value(grouped(number) if number > 999 and rng.random() < 0.5 else str(number), number)
    number = rng.choice((rng.randint(1, 12), rng.randint(2, 30), rng.randint(2, 120)))
    return Value(SMALL[number] if number <= 12 and rng.random() < 0.15 else str(number), number)


def _in_words(rng: random.Random) -> Value:
    """A round number as people say large ones: "2.5 million"."""
    word, unit = rng.choice((("thousand", 10**3), ("million", 10**6), ("million", 10**6), ("billion", 10**9)))
    tenths = rng.choice((rng.randint(1, 99) * 10, rng.randint(11, 95)))
    return Value(f"{tenths / 10:g} {word}", tenths * unit // 10)


def decimal(rng: random.Random) -> Value:
    number: float = rng.choice((
        rng.randint(1, 99), rng.randint(1, 40) * 5, round(rng.uniform(0.1, 9.9), 1), round(rng.uniform(0.01, 99), 2),
        round(rng.uniform(10, 999), 1), rng.randint(100, 2500),
    ))  # fmt: skip
    if number == int(number):
        number = int(number)
    if rng.random() < 0.03:
        number = -number
    return Value(str(number), number)


def percent(rng: random.Random) -> float:
    number: float = rng.choice(
        (rng.randint(1, 30), rng.randint(1, 19) * 5, rng.randint(2, 40) / 4, round(rng.uniform(0.5, 12), 1))
    )
    return int(number) if number == int(number) else number


def money(rng: random.Random) -> Value:
    if rng.random() < 0.1:
        said, meant = _in_words(rng)
        return Value(f"{'$' if rng.random() < 0.5 else ''}{said}{rng.choice((' dollars', ''))}", meant)
    amount: float = rng.choice(
        (
            rng.randint(5, 99),
            rng.randint(1, 99) * 10,
            rng.randint(1, 90) * 500,
            rng.randint(1000, 900_000),
            rng.randint(1, 99) * 10 ** rng.randint(4, 6),
        )
    )
    if rng.random() < 0.12:
        amount = round(rng.uniform(3, 900), 2)
    plain, comma = str(amount), grouped(amount)
    shapes = (f"${plain}", f"${comma}", f"{plain} dollars", f"{comma} dollars", plain, f"{comma} USD", f"{plain} euros")
    return Value(rng.choice(shapes), int(amount) if amount == int(amount) else amount)


def date(rng: random.Random) -> Value:
    year, month, day = rng.randint(2019, 2031), rng.randint(1, 12), rng.randint(1, 28)
    meant = f"{year}-{month:02}-{day:02}"
    name, end = MONTHS[month - 1], "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    shapes = (
        meant,
        meant,
        f"{name} {day}, {year}",
        f"{day} {name} {year}",
        f"{name[:3]} {day}, {year}",
        f"{name} {day}{end}, {year}",
        f"the {day}{end} of {name} {year}",
    )
    return Value(rng.choice(shapes), meant)


def time(rng: random.Random) -> Value:
    hour, minute = rng.randint(6, 22), rng.choice((0, 0, 15, 30, 45, rng.randint(0, 59)))
    meant = f"{hour:02}:{minute:02}"
    twelve, half = (hour - 1) % 12 + 1, "am" if hour < 12 else "pm"
    short = f"{twelve} {half}" if not minute else f"{twelve}:{minute:02} {half}"
    return Value(rng.choice((meant, meant, short)), meant)


def listing(texts: Sequence[str], rng: random.Random) -> str:
    """ "a, b and c", in one of the ways that people write it."""
    if len(texts) > 1 and rng.random() < 0.7:
        return f"{', '.join(texts[:-1])}{rng.choice((' and ', ', and ', ' and '))}{texts[-1]}"
    return ", ".join(texts)


def numbers(rng: random.Random, fractions: bool) -> Value:
    count = rng.choice((2, 2, 3, 3, 4, 5, 6))
    spread = rng.choice((9, 40, 100, 900))
    meant: list[float] = [
        round(rng.uniform(0, spread), 1) if fractions and rng.random() < 0.6 else rng.randint(1, spread)
        for _ in range(count)
    ]
    if rng.random() < 0.12:
        meant = [-number if rng.random() < 0.4 else number for number in meant]
    texts = [str(number) for number in meant]
    inside = ", ".join(texts)
    return Value(rng.choice((inside, f"[{inside}]", f"({inside})", listing(texts, rng))), meant)


def draw(kind: str, rng: random.Random) -> Value:
    """A value of a kind of made_tools.txt; what it means has the JSON type of `schema`."""
    match kind:
        case "i" | "I":
            return integer(rng, kind == "I")
        case "d":
            return decimal(rng)
        case "$":
            return money(rng)
        case "y":
            year = rng.randint(1650, 2026)
            return Value(str(year), year)
        case "p" | "r":
            number = percent(rng)
            said = rng.choice((f"{number}%", f"{number}%", f"{number} percent"))
            if kind == "p":
                return Value(said, number)
            part = round(number / 100, 6)
            return Value(str(part) if rng.random() < 0.3 else said, part)
        case "D":
            return date(rng)
        case "T":
            return time(rng)
        case "is" | "ds":
            return numbers(rng, kind == "ds")
        case _ if kind.startswith("es("):
            able = choices(kind)
            picked = rng.sample(able, min(len(able), rng.choice((1, 1, 2, 2, 3))))
            return Value(listing([str(one).replace("_", " ") for one in picked], rng), picked)
        case _ if kind.startswith("e("):
            choice = rng.choice(choices(kind))
            return Value(str(choice).replace("_", " "), choice)
        case _ if kind in PLURALS:
            texts = list(dict.fromkeys(string(PLURALS[kind], rng) for _ in range(rng.choice((1, 2, 2, 3, 4)))))
            return Value(listing(texts, rng), texts)
        case "b":
            flag = rng.random() < 0.6
            return Value(rng.choice(("true", "yes", "on") if flag else ("false", "no", "off")), flag)
        case "w":
            text = title(rng)
            return Value(rng.choice((text, text, f'"{text}"', f"'{text}'")), text)
        case "c" if rng.random() < 0.12:
            text = place(rng)
            return Value(text, text)
    text = string(kind, rng)
    return Value(f"'{text}'" if rng.random() < 0.05 else text, text)


def filled(text: str, rng: random.Random) -> str:
    """`text` with a value said in the place of each `{kind}`."""
    return re.sub(r"\{([^{}]+)\}", lambda match: draw(match[1], rng).said, text)


def choices(kind: str) -> list[Any]:
    """The members of e(a/b/c) and es(a/b/c); numbers where all are."""
    members = kind[kind.index("(") + 1 : -1].split("/")
    return [int(member) for member in members] if all(member.isdecimal() for member in members) else members


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind's values."""
    match kind:
        case "i" | "I" | "y":
            return {"type": "integer"}
        case "d" | "$" | "p" | "r":
            return {"type": "number"}
        case "b":
            return {"type": "boolean"}
        case "is" | "ds":
            return {"type": "array", "items": {"type": "integer" if kind == "is" else "number"}}
        case _ if kind in PLURALS:
            return {"type": "array", "items": {"type": "string"}}
        case _ if kind.startswith("es("):
            return {"type": "array", "items": schema(kind.replace("es(", "e(", 1))}
        case _ if kind.startswith("e("):
            members = choices(kind)
            return {"type": "integer" if isinstance(members[0], int) else "string", "enum": members}
    return {"type": "string"}
