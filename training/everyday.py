"""Exchanges about toolchat's own sample tools, drawn without end: what people ask in their first minutes.

Words and places are in data/everyday.yaml. Results come from the tools themselves, so that no sum and no conversion is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import tables
import values
import yaml
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

DATA = yaml.safe_load(Path(__file__).with_name("data").joinpath("everyday.yaml").read_text(encoding="utf-8"))
PHRASINGS: dict[str, list[str]] = DATA["phrasings"]
US_CITIES: list[tuple[str, str]] = [(city, state) for state, cities in DATA["us_cities"].items() for city in cities]

ABROAD_SHARE = 0.2
"""Of questions about the weather."""
STRANGE_SHARE = 0.4
"""Of the others, how many are about a place whose name has to be copied, since there are too many to be remembered."""
NO_UNIT_SHARE = 0.3
"""Of questions about the weather, how many name no unit."""
PATTERN_SHARE = 0.3
"""Of questions about files, how many are about one kind, and need a pattern."""
LONG_LISTING_SHARE = 0.35
"""Of questions about all files, how many find up to 60 files of any name."""
SAME_BEGINNING_SHARE = 0.25
"""Of those, in how many all names that are made up begin and end the same."""
LINED_NAMES = 7
"""So many files or more are told in a block as the tool does it, a line each: that is read more easily and copied more surely."""
MISSING_FILE_SHARE = 0.2
TABLE_SHARE = 0.2
"""Of small talk, how much is a wish for a function with a table of its values."""
CODE_SHARE = 0.35
"""Of the rest of it, how much is a wish for a few lines of code."""


def draw(rng: random.Random) -> Exchange:
    """One exchange about one of the sample tools."""
    (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
    return kind(rng)


def _called(name: str, arguments: dict[str, object], result: str, question: str, say: str) -> Exchange:
    call: Call = {"name": name, "arguments": arguments}
    return Exchange(question, say, (TOOLS[name],), (call,), (result,))


def _one(rng: random.Random, phrasing: str, **values: object) -> str:
    return rng.choice(PHRASINGS[phrasing]).format(**values)


def weather(rng: random.Random) -> Exchange:
    """A place in the USA with its state in letters or in words, or one abroad with its country."""
    if rng.random() < ABROAD_SHARE:
        city, state = rng.choice(DATA["abroad"]).split(", ")
        place, unit = f"{city}, {state}", "celsius"
    else:
        city, state = _us_city(rng)
        full = DATA["states"][state]
        place = rng.choice((f"{city}, {state}", f"{city}, {state}", f"{city}, {full}", f"{city} {state}"))
        unit = "fahrenheit"
    phrasing = "weather_without_unit"
    if rng.random() > NO_UNIT_SHARE:
        phrasing, unit = "weather", rng.choice((unit, "celsius", "fahrenheit"))
    return _weather(rng, city, state, unit, _case(rng, _one(rng, phrasing, place=place, unit=unit)))


def _us_city(rng: random.Random) -> tuple[str, str]:
    if rng.random() < STRANGE_SHARE:
        return values.city(rng) if rng.random() < 0.6 else values.town(rng), rng.choice(list(DATA["states"]))
    return rng.choice(US_CITIES)


def _weather(rng: random.Random, city: str, state: str, unit: str, question: str) -> Exchange:
    result = get_current_weather(city, state, unit)  # type: ignore[arg-type]
    degrees = result.split(" is ")[1].split(" ")[0]
    sky = result.split(" It is ")[1].rstrip(".")
    forms = (
        "It is {degrees} degrees {unit} in {city}, {state}. It is {sky}.",
        "It is {degrees} degrees {unit} and {sky} in {city}, {state}.",
        "In {city}, {state} it is {degrees} degrees {unit} and {sky}.",
    )
    (form,) = rng.choices(forms, weights=(3, 1, 1))
    say = form.format(city=city, state=state, degrees=degrees, unit=unit, sky=sky)
    return _called("get_current_weather", {"city": city, "state": state, "unit": unit}, result, question, say)


def _sum(expression: str, question: str, said: str) -> Exchange:
    result = calculate(expression)
    return _called("calculate", {"expression": expression}, result, question, said.format(r=result))


def percent(rng: random.Random) -> Exchange:
    """A share, what remains without it, or a whole with it on top."""
    p: float = rng.choice((5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 2.5, 7.5, 12.5, rng.randint(2, 97)))
    b = rng.choice((rng.randint(2, 99) * 10, rng.randint(11, 999), rng.randint(2, 60) * 50, rng.randint(100, 9999)))
    s = rng.choice(("%", "%", " percent"))
    match rng.choices(("of", "off", "on_top"), weights=(11, 5, 4))[0]:
        case "of":
            return _sum(f"{b} * {p} / 100", _one(rng, "percent_of", p=p, s=s, b=b), f"{p}{s} of {b} is {{r}}.")
        case "off":
            question = _one(rng, "percent_off", p=p, s=s, b=b)
            return _sum(f"{b} - {b} * {p} / 100", question, f"{b} with {p}{s} off is {{r}}.")
        case _:
            question = _one(rng, "percent_on_top", p=p, s=s, b=b)
            return _sum(f"{b} + {b} * {p} / 100", question, f"{b} plus {p}{s} is {{r}}.")


def fraction(rng: random.Random) -> Exchange:
    name, written = rng.choice(list(DATA["fractions"].items()))
    share = Fraction(written)
    b = rng.randint(2, 80) * share.denominator
    above = "" if share.numerator == 1 else f" * {share.numerator}"
    question = _one(rng, "fraction", f=name, b=b)
    said = f"{name[0].upper()}{name[1:]} {b} is {{r}}."
    return _sum(f"{b}{above} / {share.denominator}", question[0].upper() + question[1:], said)


SPOKEN = {"+": ("plus", "added to"), "-": ("minus",), "*": ("times", "multiplied by"), "/": ("divided by",)}


def arithmetic(rng: random.Random) -> Exchange:
    """Two or three numbers in digits or words, roots, powers and parentheses."""
    a, b, c = (rng.choice((rng.randint(2, 30), rng.randint(2, 999), rng.randint(2, 99))) for _ in range(3))
    sign = rng.choice("++-***/")
    if sign == "/":
        a *= b
    match rng.choices(("spoken", "written", "root", "power", "longer"), weights=(30, 30, 12, 12, 16))[0]:
        case "spoken":
            spoken = rng.choice(SPOKEN[sign])
            shown = (words(a), words(b)) if rng.random() < 0.4 else (a, b)
            question = _one(rng, "spoken_sum", a=shown[0], b=shown[1], o=spoken)
            return _sum(f"{a} {sign} {b}", question, rng.choice(("It is {r}.", f"{a} {spoken} {b} is {{r}}.")))
        case "written":
            text = rng.choice((f"{a} {sign} {b}", f"{a} {sign} {b}", f"{a}{sign}{b}"))
            said = rng.choice((f"{a} {sign} {b} = {{r}}.", "It is {r}."))
            return _sum(f"{a} {sign} {b}", _one(rng, "written_sum", e=text), said)
        case "root":
            n = rng.randint(3, 60) ** 2
            return _sum(f"sqrt({n})", _one(rng, "root", n=n), f"The square root of {n} is {{r}}.")
        case "power":
            n, e = rng.randint(2, 25), rng.choice((2, 2, 3, 4, 5, 8, 10))
            forms = [f"{n} to the power {e}", f"{n}^{e}", f"{n} ** {e}"]
            if e in (2, 3):
                forms.append(f"What is {n} {'squared' if e == 2 else 'cubed'}?")
            return _sum(f"{n} ** {e}", rng.choice(forms), rng.choice(("It is {r}.", f"{n} ** {e} = {{r}}.")))
        case _:
            expression = _one(rng, "expressions", a=a, b=b, c=c)
            said = rng.choice((f"{expression} = {{r}}.", "The result is {r}."))
            return _sum(expression, _one(rng, "evaluate", e=expression), said)


def story(rng: random.Random) -> Exchange:
    """A sum in a small story."""
    a, b = rng.randint(3, 24), rng.randint(5, 95)
    numbers = {"a": a, "b": b, "c": a * rng.randint(4, 60), "d": b + rng.randint(10, 400), "y": rng.randint(1940, 2010)}
    told = rng.choice(DATA["stories"])
    said = rng.choice(("It is {r}.", "That is {r}."))
    return _sum(told["sum"].format(**numbers), told["ask"].format(**numbers), said)


def units(rng: random.Random) -> Exchange:
    source, target = rng.choice(DATA["units"]).split(" -> ")
    value: float = rng.choice(
        (rng.randint(1, 20), rng.randint(2, 300), rng.randint(1, 90) / 2, rng.randint(11, 99) / 10)
    )
    value = int(value) if float(value).is_integer() else value
    question = _case(rng, _one(rng, "units", v=value, f=source, t=target))
    result = convert_units(value, source, target)
    say = rng.choice((f"{value} {source} is {result} {target}.",) * 2 + (f"It is {result} {target}.",))
    return _called("convert_units", {"value": value, "from_unit": source, "to_unit": target}, result, question, say)


def time(rng: random.Random) -> Exchange:
    city, zone = rng.choice(list(DATA["zones"].items()))
    return _time(rng, city, zone, _case(rng, _one(rng, "time", c=city)))


def _time(rng: random.Random, city: str, zone: str, question: str) -> Exchange:
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    result = f"{rng.randint(2024, 2027)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {clock}"
    say = rng.choice((f"It is {clock} in {city}.", f"In {city} it is {clock}."))
    if "date" in question:
        say = f"In {city} it is {result}."
    return _called("current_time", {"timezone": zone}, result, question, say)


def files(rng: random.Random) -> Exchange:
    """Lists a folder; with a pattern only where one kind of file is asked for."""
    folder = _folder(rng, DATA["folders"])
    if rng.random() > PATTERN_SHARE:
        return _all_files(folder, _many_names(rng) if rng.random() < LONG_LISTING_SHARE else _few_names(rng), rng)
    ending, kind = rng.choice(list(DATA["endings"].items()))
    stems = rng.sample(("a", "plan", "data", "old", "test", "main"), rng.randint(1, 3))
    names = sorted(f"{stem}.{ending}" for stem in stems)
    question = _one(rng, "kind_here" if folder == "." else "kind_in", k=kind, e=ending, d=folder)
    say = _listed(names, folder, rng)
    return _called("list_files", {"path": folder, "pattern": f"*.{ending}"}, "\n".join(names), question, say)


def listing(rng: random.Random) -> Exchange:
    """Lists a folder of many files."""
    return _all_files(_folder(rng, [*DATA["folders"], *DATA["project_folders"]]), _many_names(rng), rng)


def _folder(rng: random.Random, known: Sequence[str]) -> str:
    return "." if rng.random() < 0.6 else rng.choice(known)


def _all_files(folder: str, names: Sequence[str], rng: random.Random) -> Exchange:
    question = _one(rng, "files_here" if folder == "." else "files_in", d=folder)
    return _called("list_files", {"path": folder}, "\n".join(names), question, _listed(names, folder, rng))


def _listed(names: Sequence[str], folder: str, rng: random.Random) -> str:
    """In a sentence if they are few."""
    where = "here" if folder == "." else f"in {folder}"
    if len(names) >= LINED_NAMES:
        lines = "\n".join(names)
        return f"The files {where} are:\n```\n{lines}\n```"
    if len(names) == 1:
        return f"There is {names[0]} {where}."
    told = f"{', '.join(names[:-1])} and {names[-1]}"
    return rng.choice((f"The files {where} are {told}.", f"There are {told} {where}."))


def _few_names(rng: random.Random) -> list[str]:
    return sorted(rng.sample(DATA["files"], rng.randint(1, 5)))


def _many_names(rng: random.Random) -> list[str]:
    """Of a project, or made up, some with the same beginnings; in the order of `list_files`."""
    stems = [values.string("word", rng) for _ in range(rng.randint(1, 4))]
    endings = rng.choices(("txt", "md", "py", "csv", "json", "svg", "jpg", "yaml", "log", "html", "pdf", "sh"), k=3)
    known = rng.random()
    common = (
        rng.choice(("test_", "test-", f"{stems[0]}_", f"{stems[0]}-")) if rng.random() < SAME_BEGINNING_SHARE else ""
    )

    def name() -> str:
        chance = rng.random()
        if chance < 0.6 * known:
            return rng.choice(DATA["project_files"])
        if chance < 0.9 * known:
            return f"{rng.choice(DATA['project_folders'])}/"
        if chance > 0.93:
            return values.string("file", rng)
        stem, other, ending = rng.choice(stems), values.string("word", rng), rng.choice(endings)
        if common:
            return f"{common}{rng.choice((stem, other, other, f'{stem}_{other}', f'{other}_{stem}'))}.{endings[0]}"
        return rng.choice(
            (
                f"{stem}.{ending}",
                f"{stem}s.{ending}",
                f"{stem}_{rng.randint(1, 30)}.{ending}",
                f"{stem}-{other}.{ending}",
                f"{other}_{stem}.{ending}",
                f"{other}.{ending}",
                f"{stem}/",
                f"{stem}{other}/",
                f"{stem}-{rng.randint(2001, 2026)}-{rng.randint(1, 12):02}.{ending}",
                f"{stem.capitalize()}.{ending}",
            )
        )

    most = rng.randint(5, 26) if rng.random() < 0.85 else rng.randint(27, 60)
    return sorted({name() for _ in range(most)})


def reading(rng: random.Random) -> Exchange:
    """Reads a file, with a number of lines only where one is said; now and then there is no such file."""
    stem = rng.choice(
        ("letter", "plan", "config", "table", "hello", "garden", "bill", "rules", "history", "ideas", "memo")
    )
    path = f"{stem}.{rng.choice(('txt', 'md', 'csv', 'py', 'log'))}"
    if rng.random() < 0.25:
        path = f"{rng.choice(DATA['folders'])}/{path}"
    arguments: dict[str, object] = {"path": path}
    question = _one(rng, "read", p=path)
    if rng.random() < 0.25:
        arguments["max_lines"] = lines = rng.choice((1, 2, 3, 4, 5, 8, 10, 20))
        question = _one(rng, "first_lines", n=lines, p=path)
    if rng.random() < MISSING_FILE_SHARE:
        result = f"Error: FileNotFoundError: there is no file {path}"
        say = rng.choice((f"There is no file {path}.", f"Sorry, there is no file {path}.", f"I could not find {path}."))
    else:
        text = rng.choice(DATA["texts"])
        result, say = text["text"], text["say"]
    return _called("read_file", arguments, result, question, say)


def wrong(rng: random.Random) -> Exchange:
    """Calls that fail for a reason in the question."""
    match rng.randrange(3):
        case 0:
            source, target = rng.choice(DATA["bad_units"]).split(" -> ")
            value = rng.randint(1, 99)
            arguments: dict[str, object] = {"value": value, "from_unit": source, "to_unit": target}
            say = rng.choice((f"I cannot convert {source} to {target}.", f"Sorry, {source} cannot be made {target}."))
            error = f"Error: ValueError: cannot convert {source} to {target}"
            question = _one(rng, "units", v=value, f=source, t=target)
            return _called("convert_units", arguments, error, question, say)
        case 1:
            place = rng.choice(DATA["no_places"])
            error = f"Error: ValueError: unknown time zone: {place}"
            say = rng.choice((f"I don't know the time zone of {place}.", f"Sorry, I know no time zone {place}."))
            return _called("current_time", {"timezone": place}, error, _one(rng, "time", c=place), say)
        case _:
            a = rng.randint(2, 99)
            error = "Error: ZeroDivisionError: division by zero"
            question = rng.choice((f"What is {a} / 0?", f"{a} divided by 0", f"divide {a} by zero"))
            say = rng.choice(
                ("A number cannot be divided by zero.", "That is a division by zero, which has no result.")
            )
            return _called("calculate", {"expression": f"{a} / 0"}, error, question, say)


KINDS: dict[Callable[[random.Random], Exchange], float] = {
    weather: 5,
    percent: 4,
    fraction: 1,
    arithmetic: 4,
    story: 2,
    units: 3,
    time: 3,
    files: 3,
    reading: 2,
    wrong: 1,
}


def follow_up(exchange: Exchange, rng: random.Random) -> Exchange | None:
    """A short second question that means the first one's tool: "and in Lyon?", "same in celsius"."""
    (call,) = exchange.calls
    arguments = call["arguments"]
    match call["name"]:
        case "get_current_weather" if rng.random() < 0.4:
            unit = "celsius" if arguments["unit"] == "fahrenheit" else "fahrenheit"
            question = rng.choice(("in {u}?", "and what is that in {u}?", "same in {u} please", "Now in {u}.", "{u}?"))
            return _weather(rng, arguments["city"], arguments["state"], unit, question.format(u=unit))
        case "get_current_weather":
            city, state = _us_city(rng)
            question = rng.choice(("and in {p}?", "What about {p}?", "how about {p}", "And {p}?")).format(
                p=f"{city}, {state}"
            )
            return _weather(rng, city, state, arguments["unit"], question)
        case "current_time":
            city, zone = rng.choice(list(DATA["zones"].items()))
            question = rng.choice(("and in {c}?", "And in {c}?", "what about {c}", "How about {c}?")).format(c=city)
            return _time(rng, city, zone, question)
        case "calculate" if exchange.results[0].replace(".", "", 1).isdigit() and len(exchange.results[0]) < 8:
            n, sign = rng.randint(2, 40), rng.choice("+-*/")
            question = rng.choice(("and that {o} {n}?", "now {o} {n}", "{o} {n}?", "And {o} {n}?"))
            text = question.format(o=SPOKEN[sign][0], n=n)
            return _sum(f"{exchange.results[0]} {sign} {n}", text, "That is {r}.")
    return None


def chat(rng: random.Random) -> Exchange:
    """Something that needs no tool: a fact, small talk, a few lines of text or code."""
    if rng.random() < TABLE_SHARE:
        question, say = tables.draw(rng)
        return Exchange(_case(rng, question), say)
    row = rng.choice(DATA["code"] if rng.random() < CODE_SHARE else DATA["facts"])
    return Exchange(_case(rng, row["ask"]), row["say"])


def unable(rng: random.Random, sorry: Sequence[str]) -> Exchange:
    """Something that none of the sample tools does."""
    question = rng.choice(DATA["unable"]).format(
        h=rng.choice(("7", "6:45", "half past five", "noon", "8 pm", "quarter to nine")),
        n=rng.choice((2, 3, 4, 5, 12, 15, 20, 22, 25, 90)),
        c=rng.choice(DATA["abroad"]).split(", ")[0],
        who=rng.choice(("Anna", "my mother", "Tom", "Dr. Hill", "my boss", "Ravi", "the plumber", "Ines")),
        m=rng.choice(("jazz", "rock", "classical music", "folk", "reggae", "piano music")),
        l=rng.choice(("French", "German", "Polish", "Spanish", "Turkish")),
    )
    return Exchange(_case(rng, question), rng.choice(sorry))


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


def words(n: int) -> str:
    """A number in words: "three hundred and forty-two"; one of a million or more in digits."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n >= 1_000_000:
        return str(n)
    size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = n % size
    joint = " and " if rest and (size == 100 or rest < 100) else " "
    return f"{words(n // size)} {name}{joint + words(rest) if rest else ''}"


def _case(rng: random.Random, question: str) -> str:
    """The question as it is, mostly; in lower case, or with a polite word."""
    chance = rng.random()
    if chance < 0.12:
        return question.lower().rstrip("?.") if len(question) < 60 else question
    if chance < 0.17:
        return f"{rng.choice(('hi, ', 'hey, ', 'Hello! ', 'please: ', 'quick question: '))}{question[0].lower()}{question[1:]}"
    return question
