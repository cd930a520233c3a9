"""Questions for a Python function and a table of its values, and their answers, drawn without end."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple


class Function(NamedTuple):
    said: str
    """What it gives: "the square of a number"."""
    name: str
    body: str
    value: Callable[[int], float]
    least: int = 1


def _fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def _primes_below(n: int) -> int:
    return sum(all(k % i for i in range(2, k)) for k in range(2, n))


FUNCTIONS = (
    Function("the square of a number", "square", "return n * n", lambda n: n * n),
    Function("squares", "square", "return n ** 2", lambda n: n**2),
    Function("cubes", "cube", "return n ** 3", lambda n: n**3),
    Function("factorials", "factorial", "return 1 if n < 2 else n * factorial(n - 1)", math.factorial, 0),
    Function("the factorial", "factorial", "return 1 if n < 2 else n * factorial(n - 1)", math.factorial),
    Function("powers of two", "power", "return 2 ** n", lambda n: 2**n, 0),
    Function("powers of three", "power", "return 3 ** n", lambda n: 3**n, 0),
    Function("triangular numbers", "triangular", "return n * (n + 1) // 2", lambda n: n * (n + 1) // 2),
    Function("the sum of the first n numbers", "total", "return sum(range(1, n + 1))", lambda n: n * (n + 1) // 2),
    Function("doubling a number", "double", "return 2 * n", lambda n: 2 * n),
    Function("half of a number", "half", "return n / 2", lambda n: n / 2),
    Function("even numbers", "even", "return 2 * n", lambda n: 2 * n),
    Function("odd numbers", "odd", "return 2 * n - 1", lambda n: 2 * n - 1),
    Function(
        "the fibonacci numbers",
        "fibonacci",
        "a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
        _fibonacci,
        0,
    ),
    Function(
        "Fibonacci",
        "fibonacci",
        "a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
        _fibonacci,
        0,
    ),
    Function("the number of digits", "digits", "return len(str(n))", lambda n: len(str(n)), 8),
    Function("the area of a square", "area", "return n * n", lambda n: n * n),
    Function("minutes to seconds", "seconds", "return n * 60", lambda n: n * 60),
    Function("hours to minutes", "minutes", "return n * 60", lambda n: n * 60),
    Function("dozens to pieces", "pieces", "return 12 * n", lambda n: 12 * n),
    Function("weeks to days", "days", "return 7 * n", lambda n: 7 * n),
    Function("multiples of nine", "nine", "return 9 * n", lambda n: 9 * n),
    Function("the remainder by three", "rest", "return n % 3", lambda n: n % 3),
    Function(
        "counting the primes below a number",
        "primes",
        "return sum(all(k % i for i in range(2, k)) for k in range(2, n))",
        _primes_below,
        2,
    ),
)
ASKED = (
    "Write a Python function for {f} and a table of its values",
    "write a python function for {f}, with a table of the first {k} values",
    "Python function for {f} plus a table of values please",
    "Give me a function for {f} and show a table of values for {a} to {b}.",
    "Can you write {f} as a Python function and add a table with some values?",
    "I need a Python function for {f}. Show me its values from {a} to {b} in a table.",
    "{f} in Python, with a table",
    "Code a function for {f} in Python and list its first {k} values in a table",
    "Please write a function for {f}, and a small table of values under it.",
)


def draw(rng: random.Random) -> tuple[str, str]:
    """A question, and the answer: the function, and a Markdown table of as many values as are asked for."""
    chosen = rng.choice(FUNCTIONS)
    count = rng.choice((4, 5, 5, 6, 6, 7, 8))
    first = chosen.least
    last = first + count - 1
    question = rng.choice(ASKED).format(f=chosen.said, k=count, a=first, b=last)
    rows = "\n".join(f"| {n} | {chosen.value(n)} |" for n in range(first, last + 1))
    code = f"```python\ndef {chosen.name}(n):\n    {chosen.body}\n```"
    return question[0].upper() + question[1:], f"{code}\n\n| n | {chosen.name}(n) |\n| --- | --- |\n{rows}"
