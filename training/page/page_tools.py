"""The tools of the everyday page beside toolchat's samples: a shop, a home, a list of tasks, a travel desk.

They answer from fixed tables, so that an answer can be graded by rules. What is not in a table is an error.
"""

from __future__ import annotations

from typing import Literal

ORDERS = {"A1042": "shipped, arrives on Friday", "B2210": "being packed", "C3307": "delivered on 3 May"}
STOCK = {"kettle": 14, "desk lamp": 0, "backpack": 6, "headphones": 23, "yoga mat": 9}
PRICES = {"kettle": "29.90", "desk lamp": "18.50", "backpack": "54.00", "headphones": "79.00", "yoga mat": "22.75"}
DOORS = ("front", "back", "garage")
ROOMS = ("kitchen", "bedroom", "bathroom", "office", "living room", "hall")
TASKS = {1: "call the plumber", 2: "water the plants", 3: "renew the passport"}
PEOPLE = {"Mia": "+44 20 5550 117", "Oscar": "+44 20 5550 164", "Leila": "+44 20 5550 139"}
TRAINS = {
    ("vienna", "graz"): "09:25, 12:25",
    ("lyon", "marseille"): "08:10, 14:40",
    ("leeds", "york"): "10:05, 11:35",
    ("bern", "basel"): "07:34, 13:04",
}
RATES = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "CHF": 0.95, "JPY": 165.0}
HOTELS = {"vienna": 118, "lyon": 96, "york": 104, "basel": 143}


def order_status(order_id: str) -> str:
    """Tell where an order is.

    Args:
        order_id: Number of the order, e.g. 'A1042'
    """
    if order_id.upper() not in ORDERS:
        raise ValueError(f"there is no order {order_id}")
    return f"Order {order_id.upper()}: {ORDERS[order_id.upper()]}"


def cancel_order(order_id: str, reason: str | None = None) -> str:
    """Cancel an order that was not sent yet.

    Args:
        order_id: Number of the order
        reason: Why it is cancelled, if the customer says so
    """
    if order_id.upper() not in ORDERS:
        raise ValueError(f"there is no order {order_id}")
    if "packed" not in ORDERS[order_id.upper()]:
        raise ValueError(f"order {order_id.upper()} was sent already")
    return f"Order {order_id.upper()} is cancelled"


def stock_level(product: str) -> str:
    """How many pieces of a product are in stock.

    Args:
        product: Name of the product
    """
    return f"{product}: {STOCK[_product(product)]} in stock"


def product_price(product: str) -> str:
    """The price of a product in euros.

    Args:
        product: Name of the product
    """
    return f"{product}: {PRICES[_product(product)]} euros"


def set_temperature(room: str, degrees: float) -> str:
    """Set the heating of a room.

    Args:
        room: Name of the room
        degrees: Temperature in degrees Celsius
    """
    if not 5 <= degrees <= 30:
        raise ValueError(f"{degrees:g} degrees is out of range (5 to 30)")
    return f"{_room(room)} is set to {degrees:g} degrees"


def switch_lamp(room: str, on: bool) -> str:
    """Switch the lamp of a room on or off.

    Args:
        room: Name of the room
        on: true for on, false for off
    """
    return f"the lamp in the {_room(room)} is {'on' if on else 'off'}"


def door_state(door: Literal["front", "back", "garage"]) -> str:
    """Tell whether a door is locked.

    Args:
        door: Which door
    """
    return f"the {door} door is {'unlocked' if door == 'back' else 'locked'}"


def start_cleaner(room: str, minutes: int | None = None) -> str:
    """Send the robot vacuum cleaner to a room.

    Args:
        room: Name of the room
        minutes: Stop after so many minutes
    """
    if _room(room) == "bathroom":
        raise ValueError("the cleaner cannot get into the bathroom")
    return f"the cleaner is on its way to the {_room(room)}"


def add_task(title: str, due: str | None = None) -> str:
    """Put a task on the list.

    Args:
        title: What is to be done
        due: By when, as the user says it
    """
    return f"added: {title}" + (f", due {due}" if due else "")


def show_tasks() -> str:
    """Show all tasks on the list."""
    return "\n".join(f"{number}. {title}" for number, title in TASKS.items())


def finish_task(number: int) -> str:
    """Tick a task off.

    Args:
        number: Number of the task on the list
    """
    if number not in TASKS:
        raise ValueError(f"there is no task {number}")
    return f"done: {TASKS[number]}"


def phone_number(person: str) -> str:
    """Look a person's phone number up in the address book.

    Args:
        person: First name
    """
    if person.title() not in PEOPLE:
        raise ValueError(f"{person} is not in the address book")
    return PEOPLE[person.title()]


def find_trains(origin: str, destination: str, day: str | None = None) -> str:
    """Find the departures of trains between two cities.

    Args:
        origin: City of departure
        destination: City of arrival
        day: Day of travel; today if left out
    """
    found = TRAINS.get((origin.casefold(), destination.casefold()))
    if found is None:
        raise ValueError(f"no trains from {origin} to {destination}")
    return f"departures: {found}"


def exchange(amount: float, from_currency: str, to_currency: str) -> str:
    """Convert an amount of money.

    Args:
        amount: How much
        from_currency: Three-letter code, e.g. 'EUR'
        to_currency: Three-letter code
    """
    for code in (from_currency, to_currency):
        if code.upper() not in RATES:
            raise ValueError(f"unknown currency: {code}")
    return f"{amount / RATES[from_currency.upper()] * RATES[to_currency.upper()]:.2f} {to_currency.upper()}"


def hotel_price(city: str, nights: int) -> str:
    """The price of a stay in a hotel.

    Args:
        city: City of the hotel
        nights: How many nights
    """
    if city.casefold() not in HOTELS:
        raise ValueError(f"no hotel in {city}")
    return f"{HOTELS[city.casefold()] * nights} euros"


def _product(name: str) -> str:
    key = name.casefold().removesuffix("s") if name.casefold() not in STOCK else name.casefold()
    if key not in STOCK:
        raise ValueError(f"there is no product {name}")
    return key


def _room(name: str) -> str:
    room = name.casefold().replace("_", " ").removeprefix("the ")
    if room not in ROOMS:
        raise ValueError(f"there is no room {name}")
    return room
