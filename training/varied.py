"""Conversations with other names in them: tools, parameters, places and people, so that what is offered must be read.

Pure: what is drawn comes from the `random.Random` that is given. A conversation is as expand.py makes it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import values

VERBS = (
    ("get", "fetch", "find", "lookup", "retrieve", "read", "query", "show", ""),
    ("calculate", "compute", "calc", "get", "find", "determine", "evaluate", ""),
    ("search", "find", "query", "lookup", "browse", "list"),
    ("create", "add", "make", "new", "insert"),
    ("book", "reserve", "request"),
    ("delete", "remove", "drop", "cancel"),
    ("send", "post", "submit"),
    ("convert", "change", "transform"),
    ("check", "verify", "get", "inspect"),
    ("set", "update", "change", "configure"),
    ("list", "get", "show", "fetch"),
    ("estimate", "predict", "calculate"),
    ("track", "follow", "locate"),
    ("start", "begin", "launch", "run"),
)
"""Verbs of like meaning; the first is the one that is replaced."""
PARAMETERS = {
    "city": ("location", "place", "town", "city_name", "where", "loc"), "location": ("place", "city", "where", "area"),
    "place": ("location", "city", "site"), "date": ("day", "on_date", "when", "date_iso"), "time": ("at", "start_time", "when", "hhmm"),
    "name": ("title", "label", "full_name", "id_name"), "title": ("name", "heading", "label"), "amount": ("value", "sum", "quantity", "total"),
    "number": ("n", "num", "value", "x"), "numbers": ("values", "data", "nums", "array", "items"), "data": ("values", "numbers", "sample"),
    "country": ("nation", "country_name", "land"), "year": ("yr", "in_year", "year_number"), "unit": ("units", "measure", "unit_type"),
    "quantity": ("count", "amount", "qty", "how_many"), "count": ("n", "quantity", "how_many"), "limit": ("max_results", "top", "n"),
    "days": ("num_days", "duration_days", "n_days"), "minutes": ("duration", "mins", "length_minutes"), "price": ("cost", "amount"),
    "max_price": ("budget", "price_limit", "upto"), "query": ("q", "search_term", "keywords", "text"), "text": ("content", "input", "string"),
    "message": ("text", "body", "msg"), "to": ("recipient", "target", "receiver"), "origin": ("from_city", "start", "departure"),
    "destination": ("to_city", "arrival", "target_city"), "radius": ("r", "radius_m", "circle_radius"), "height": ("h", "height_m", "tall"),
    "width": ("w", "width_m", "breadth"), "length": ("l", "length_m", "len"), "weight": ("mass", "weight_kg", "w"), "base": ("b", "base_length"),
    "distance": ("dist", "distance_km", "range"), "rate": ("interest_rate", "r", "percentage"), "player": ("player_name", "athlete"),
    "team": ("team_name", "club", "squad"), "author": ("writer", "by", "author_name"), "artist": ("performer", "by", "artist_name"),
    "product": ("item", "article", "product_name"), "room": ("area", "room_name", "location"), "company": ("company_name", "firm", "stock"),
    "account": ("account_id", "account_number", "acct"), "file": ("filename", "path", "file_name"), "language": ("lang", "language_code"),
    "employee": ("worker", "employee_name", "person"), "topic": ("subject", "theme", "keyword"), "word": ("term", "token", "w"),
    "people": ("guests", "persons", "party_size"), "people_count": ("guests", "persons"), "order_id": ("order", "order_number", "id"),
    "start_date": ("from_date", "begin", "first"), "end_date": ("to_date", "until", "last"), "species": ("organism", "animal"),
}  # fmt: skip
PEOPLE = frozenset(
    "name person employee patient recipient to artist author player contact customer who student friend guest".split()
)
PLACES = frozenset(
    "city place location town origin destination from departure arrival where city1 city2 a b area".split()
)
TOOL_SHARE, PARAMETER_SHARE = 0.7, 0.35
"""How many tools, and of them how many parameters, get another name where any do."""
WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
STYLES: tuple[Callable[[list[str]], str], ...] = (
    "_".join,
    "_".join,
    lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    lambda words: "".join(word.capitalize() for word in words),
    "-".join,
    lambda words: "_".join([words[0], *words[1:]]).upper(),
)
LONGEST = 60


def renamed(conversation: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """With other names for its tools and their parameters, in one style; its calls and what it says follow."""
    style = rng.choice(STYLES)
    prefix = rng.choice(("", "", "", "api", "my", "tool", "v2", "app", "service"))
    names: dict[str, str] = {}
    parameters: dict[str, dict[str, str]] = {}
    for tool in conversation["tools"]:
        name = _tool_name(tool["name"], style, prefix, rng) if rng.random() < TOOL_SHARE else tool["name"]
        if name in names.values() or not re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{LONGEST}}}", name):
            name = tool["name"]
        names[tool["name"]] = name
        parameters[tool["name"]] = _parameter_names(list(tool["parameters"].get("properties", {})), rng)
    if len(set(names.values())) < len(names):
        names = {name: name for name in names}
    tools = [_renamed_tool(tool, names[tool["name"]], parameters[tool["name"]], rng) for tool in conversation["tools"]]
    turns = [_renamed_turn(turn, names, parameters) for turn in conversation["turns"]]
    return {**conversation, "tools": tools, "turns": turns}


def _tool_name(name: str, style: Callable[[list[str]], str], prefix: str, rng: random.Random) -> str:
    words = [word.lower() for word in WORDS.findall(name)]
    for verbs in VERBS:
        if words[0] == verbs[0] and len(words) > 1:
            words = [*filter(None, [rng.choice(verbs)]), *words[1:]]
            break
    else:
        if rng.random() < 0.3 and not any(words[0] in verbs for verbs in VERBS):
            words = [rng.choice(("get", "fetch", "do", "run")), *words]
    return style([*filter(None, [prefix]), *words])


def _parameter_names(names: list[str], rng: random.Random) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        new = name
        if rng.random() < PARAMETER_SHARE:
            words = [word.lower() for word in WORDS.findall(name)] or [name]
            camel = words[0] + "".join(word.capitalize() for word in words[1:])
            new = rng.choice(
                PARAMETERS.get(
                    name,
                    (camel, f"{name}_value", f"the_{name}", name.upper(), words[0][:4] if len(words) == 1 else camel),
                )
            )
        found[name] = name if new in found.values() or new in names else new
    return found


def _renamed_tool(tool: dict[str, Any], name: str, parameters: dict[str, str], rng: random.Random) -> dict[str, Any]:
    schema = dict(tool["parameters"])
    properties = schema.get("properties", {})
    order = list(properties)
    if rng.random() < 0.3:
        rng.shuffle(order)
    schema["properties"] = {parameters[key]: properties[key] for key in order}
    if "required" in schema:
        schema["required"] = [parameters.get(key, key) for key in schema["required"]]
    return {**tool, "name": name, "description": _reworded(tool.get("description", ""), rng), "parameters": schema}


def _reworded(description: str, rng: random.Random) -> str:
    chance = rng.random()
    bare = description.rstrip(".")
    if not bare or chance < 0.5:
        return description
    lower = bare[0].lower() + bare[1:]
    if chance < 0.6:
        return bare
    if chance < 0.7:
        return (
            f"Use this to {lower}."
            if re.match(r"(Get|Find|Calculate|Compute|Search|Book|Send|Set|Add|Create|Look)\b", bare)
            else description
        )
    if chance < 0.8:
        return f"{bare}. Returns a JSON object."
    if chance < 0.9:
        return f"Tool: {lower}"
    return ""


def _renamed_turn(turn: dict[str, Any], names: dict[str, str], parameters: dict[str, dict[str, str]]) -> dict[str, Any]:
    ((kind, body),) = turn.items()
    if kind == "call":
        return {
            kind: [
                {
                    "name": names.get(call["name"], call["name"]),
                    "arguments": {
                        parameters.get(call["name"], {}).get(key, key): value
                        for key, value in call["arguments"].items()
                    },
                }
                for call in body
            ]
        }
    if kind == "say":
        for old, new in names.items():
            if len(WORDS.findall(old)) > 1:
                body = re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", new, body)
        return {kind: body}
    return turn


def names_single_word(conversation: dict[str, Any]) -> bool:
    """Whether an answer may name a tool that has a name of one word, which cannot be told from the word."""
    says = " ".join(turn["say"] for turn in conversation["turns"] if "say" in turn)
    return any(len(WORDS.findall(tool["name"])) == 1 and tool["name"] in says for tool in conversation["tools"])


def other_values(conversation: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """With made-up places and people where calls have those of the question, the same everywhere."""
    swaps: dict[str, str] = {}
    asked = " ".join(turn["user"] for turn in conversation["turns"] if "user" in turn)
    tools = json.dumps(conversation["tools"])
    for turn in conversation["turns"]:
        for call in turn.get("call", ()):
            if not _may_change(call["arguments"], asked):
                continue
            for key, value in call["arguments"].items():
                if not isinstance(value, str) or not re.fullmatch(r"[A-Z][a-z]{2,}( [A-Z][a-z]+)?", value):
                    continue
                if not re.search(rf"\b{value}\b", asked) or value in tools:
                    continue
                if key.lower() in PLACES:
                    swaps.setdefault(value, values.city(rng))
                elif key.lower() in PEOPLE:
                    swaps.setdefault(value, values.person(rng) if " " in value else values.first_name(rng))
    if not swaps:
        return conversation
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(swaps, key=len, reverse=True))) + r")\b")

    def swapped(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda match: swaps[match[1]], value)
        if isinstance(value, list):
            return [swapped(item) for item in value]
        if isinstance(value, dict):
            return {key: swapped(item) for key, item in value.items()}
        return value

    return {**conversation, "turns": swapped(conversation["turns"])}


def _may_change(arguments: dict[str, Any], asked: str) -> bool:
    """Not where a state or a time zone follows from the place: it is to be known, not copied."""
    for key, value in arguments.items():
        if key.lower() in ("state", "country", "timezone", "tz", "zone", "region") and str(value) not in asked:
            return False
    return True
