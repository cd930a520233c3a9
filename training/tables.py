"""Questions for a Python function, with or without a table of its values, and their answers, drawn without end.

Pure: what is drawn comes from the `random.Random` that is given. A table has what its function returns when it is run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

TABLE_SHARE = 0.7
"""Of questions, how many ask for a table; the others are the same but for that, and are answered by the code alone."""
WHOLE_SHARE = 0.2
"""Of questions for a table, how many are one of WHOLE."""
REFUSED_SHARE = 0.2
"""Of questions without a table, how many say that none is wanted."""
LOWER_SHARE = 0.25
"""Of questions, how many begin in lower case."""
ROWS = 6
"""As many values as are given where the question has no number."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Function(NamedTuple):
    code: str
    name: str
    argument: str
    value: Callable[[Any], Any]
    least: int
    step: int
    words: tuple[str, ...]
    """Its arguments where they are words; else they are numbers from `least` on."""


# For each function: the least argument (and the step to the next) or the words that are its arguments, then what it
# gives as people say it, then its code. What begins with "that" follows "a function", all else "a function for".
TEXT = """
1 | squares; square numbers; the square of a number; squaring a number; that squares a number
def square(n):
    return n * n

1 | cubes; cube numbers; the cube of a number; that returns the cube of a number
def cube(n):
    return n ** 3

1 | fourth powers; the fourth power of a number
def fourth(n):
    return n ** 4

0 | factorials; the factorial; the factorial of n; n!; factorial; that computes the factorial
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)

0 | fibonacci; Fibonacci; the fibonacci numbers; the Fibonacci numbers; the Fibonacci sequence; Fibonacci's sequence; \
the nth Fibonacci number; that returns the nth Fibonacci number
def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a

0 | lucas; the Lucas numbers; Lucas numbers; that gives the nth Lucas number
def lucas(n):
    a, b = 2, 1
    for _ in range(n):
        a, b = b, a + b
    return a

0 | the Pell numbers; Pell numbers; the Pell sequence
def pell(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, 2 * b + a
    return a

0 | tribonacci; the tribonacci numbers; the Tribonacci sequence
def tribonacci(n):
    a, b, c = 0, 0, 1
    for _ in range(n):
        a, b, c = b, c, a + b + c
    return a

1 | triangular numbers; triangle numbers; the nth triangular number
def triangular(n):
    return n * (n + 1) // 2

1 | the sum of the first n numbers; the sum from 1 to n; summing the numbers up to n; that adds the numbers from 1 to n
def total(n):
    return sum(range(1, n + 1))

1 | the sum of the first n squares; the sum of squares; that adds up the squares from 1 to n
def sum_of_squares(n):
    return sum(i * i for i in range(1, n + 1))

1 | the sum of cubes; the sum of the first n cubes
def sum_of_cubes(n):
    return sum(i ** 3 for i in range(1, n + 1))

1 | the sum of the even numbers up to n; adding the even numbers up to n
def sum_of_evens(n):
    return sum(range(2, n + 1, 2))

1 | the sum of the first n odd numbers; adding odd numbers
def sum_of_odds(n):
    return sum(range(1, 2 * n, 2))

1 | pentagonal numbers; the pentagonal numbers
def pentagonal(n):
    return n * (3 * n - 1) // 2

1 | hexagonal numbers; the nth hexagonal number
def hexagonal(n):
    return n * (2 * n - 1)

1 | tetrahedral numbers; the tetrahedral numbers
def tetrahedral(n):
    return n * (n + 1) * (n + 2) // 6

0 | the Catalan numbers; Catalan numbers; catalan
def catalan(n):
    value = 1
    for i in range(n):
        value = value * 2 * (2 * i + 1) // (i + 2)
    return value

0 | powers of two; the powers of 2; 2 to the power of n; that returns 2 to the n
def power_of_two(n):
    return 2 ** n

0 | powers of three; the powers of 3; 3 to the nth power
def power_of_three(n):
    return 3 ** n

0 | powers of ten; the powers of 10
def power_of_ten(n):
    return 10 ** n

1 | the Mersenne numbers; one less than a power of two
def mersenne(n):
    return 2 ** n - 1

0 | the moves of the Tower of Hanoi; the Towers of Hanoi; that counts the moves in the Tower of Hanoi
def hanoi(n):
    return 0 if n == 0 else 2 * hanoi(n - 1) + 1

1 | doubling a number; twice a number; that doubles a number
def double(n):
    return 2 * n

1 | triples; tripling a number; that triples a number
def triple(n):
    return 3 * n

1 | half of a number; halving a number; that halves a number
def half(n):
    return n / 2

1 | even numbers; the nth even number
def even(n):
    return 2 * n

1 | odd numbers; the nth odd number
def odd(n):
    return 2 * n - 1

1 | multiples of seven; the multiples of 7
def multiple_of_seven(n):
    return 7 * n

1 | multiples of nine; the multiples of 9
def multiple_of_nine(n):
    return 9 * n

1 | the remainder by three; n modulo 3; the rest when dividing by 3
def remainder(n):
    return n % 3

5 | integer division by four; dividing by 4 without the remainder
def quarter(n):
    return n // 4

1 | the reciprocal of a number; one over n; 1 divided by n
def reciprocal(n):
    return round(1 / n, 3)

1 | square roots; the square root of a number; that returns the square root rounded to two digits
def root(n):
    return round(n ** 0.5, 2)

8 | the integer square root; the square root rounded down
def whole_root(n):
    return int(n ** 0.5)

1 | the harmonic numbers; harmonic numbers; the harmonic series
def harmonic(n):
    return round(sum(1 / i for i in range(1, n + 1)), 3)

6 | the greatest common divisor with 12; the gcd with 12; gcd of n and 12; that gives the gcd of a number and 12
def gcd_with_12(n):
    a, b = n, 12
    while b:
        a, b = b, a % b
    return a

1 | the least common multiple with 6; the lcm of n and 6
def lcm_with_6(n):
    m = n
    while m % 6:
        m += n
    return m

1 | is_prime; prime numbers; checking primes; whether a number is prime; testing if a number is prime; \
that checks whether a number is prime; that tells if n is prime
def is_prime(n):
    return n > 1 and all(n % i for i in range(2, n))

1 | the nth prime; primes; the prime numbers in order; that returns the nth prime number
def nth_prime(n):
    p = 1
    while n > 0:
        p += 1
        n -= all(p % i for i in range(2, p))
    return p

2 | counting the primes below a number; the number of primes below n; that counts the primes below n
def primes_below(n):
    return sum(all(k % i for i in range(2, k)) for k in range(2, n))

2 | the smallest prime factor; the least factor of a number
def least_factor(n):
    i = 2
    while n % i:
        i += 1
    return i

1 | the number of divisors; counting divisors; how many divisors a number has; that counts the divisors of a number
def divisors(n):
    return sum(n % i == 0 for i in range(1, n + 1))

1 | the sum of the divisors; adding up the divisors of a number
def sum_of_divisors(n):
    return sum(i for i in range(1, n + 1) if n % i == 0)

4 | perfect numbers; checking for perfect numbers; whether a number is perfect
def is_perfect(n):
    return n == sum(i for i in range(1, n) if n % i == 0)

1 | the Collatz steps; collatz; the Collatz sequence's length; counting Collatz steps; \
that counts the steps of the Collatz sequence
def collatz(n):
    steps = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps

1 | the next Collatz number; one Collatz step
def next_collatz(n):
    return n // 2 if n % 2 == 0 else 3 * n + 1

8 | the digit sum; the sum of digits; the sum of a number's digits; digit sums; that adds the digits of a number
def digit_sum(n):
    return sum(int(d) for d in str(n))

8 | the number of digits; counting digits; how many digits a number has
def digits(n):
    return len(str(n))

18 | the last digit; the last digit of a number; that returns the last digit
def last_digit(n):
    return n % 10

12 | reversing a number; reversed numbers; the digits backwards; that reverses the digits of a number
def reverse(n):
    return int(str(n)[::-1])

20 | the product of the digits; multiplying the digits of a number
def digit_product(n):
    value = 1
    for d in str(n):
        value *= int(d)
    return value

98 | palindromic numbers; whether a number is a palindrome; that checks if a number is a palindrome
def is_palindrome(n):
    return str(n) == str(n)[::-1]

1 | binary; binary numbers; binary text; converting to binary; a number in binary; that converts a number to binary
def binary(n):
    return bin(n)[2:]

8 | hexadecimal; hex numbers; converting to hexadecimal; that converts a number to hex
def hexadecimal(n):
    return hex(n)[2:]

6 | octal; octal numbers; converting to octal
def octal(n):
    return oct(n)[2:]

1 | counting the ones in binary; the number of one bits; the bit count
def ones(n):
    return bin(n).count("1")

1 | Roman numerals; roman numerals; roman numbers; converting to Roman numerals; that converts a number to Roman numerals
def roman(n):
    text = ""
    for value, sign in zip((100, 90, 50, 40, 10, 9, 5, 4, 1), "C XC L XL X IX V IV I".split()):
        while n >= value:
            text, n = text + sign, n - value
    return text

1 | fizzbuzz; FizzBuzz; fizz buzz
def fizzbuzz(n):
    if n % 15 == 0:
        return "FizzBuzz"
    if n % 3 == 0:
        return "Fizz"
    return "Buzz" if n % 5 == 0 else n

1 | whether a number is even; checking for even numbers; that checks whether a number is even
def is_even(n):
    return n % 2 == 0

1 | whether a number is odd; that tests if a number is odd
def is_odd(n):
    return n % 2 == 1

1 | even or odd; that says if a number is even or odd
def parity(n):
    return "even" if n % 2 == 0 else "odd"

1 | whether a number is a square; perfect squares; that checks for perfect squares
def is_square(n):
    return int(n ** 0.5) ** 2 == n

1 | whether a number is a power of two; that checks if n is a power of two
def is_power_of_two(n):
    return bin(n).count("1") == 1

1 | whether a number is divisible by three; divisibility by 3; that tests if a number can be divided by 3
def by_three(n):
    return n % 3 == 0

2000 | leap years; leap year; whether a year is a leap year; that checks for leap years
def is_leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)

2000 | the days in a year; the length of a year in days
def days(year):
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 366 if leap else 365

1 | the days in a month; the length of a month; how many days a month has
def month_days(month):
    return [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]

1995+10 | the decade of a year; that gives the decade of a year
def decade(year):
    return year // 10 * 10

0+10 | Celsius to Fahrenheit; celsius to fahrenheit; converting Celsius to Fahrenheit; temperature conversion; \
that converts celsius to fahrenheit
def fahrenheit(c):
    return c * 9 / 5 + 32

32+18 | Fahrenheit to Celsius; converting fahrenheit to celsius; that converts Fahrenheit to Celsius
def celsius(f):
    return round((f - 32) * 5 / 9, 1)

0+10 | Celsius to Kelvin; converting celsius to kelvin
def kelvin(c):
    return c + 273.15

1 | kilometers to miles; km to miles; converting kilometers to miles; that converts km to miles
def miles(km):
    return round(km * 0.621371, 2)

1 | miles to kilometers; miles to km; that converts miles to kilometers
def kilometers(miles):
    return round(miles * 1.609344, 2)

1 | inches to centimeters; converting inches to cm
def centimeters(inches):
    return round(inches * 2.54, 2)

1 | feet to meters; converting feet to meters
def meters(feet):
    return round(feet * 0.3048, 2)

1 | pounds to kilograms; lbs to kg; that converts pounds to kilograms
def kilograms(pounds):
    return round(pounds * 0.45359237, 2)

1 | minutes to seconds; converting minutes to seconds
def seconds(minutes):
    return minutes * 60

1 | hours to minutes; that converts hours to minutes
def minutes(hours):
    return hours * 60

1 | days to hours; the hours in n days
def hours(days):
    return days * 24

1 | weeks to days; that turns weeks into days
def days(weeks):
    return weeks * 7

1 | dozens to pieces; the pieces in n dozens
def pieces(dozens):
    return dozens * 12

60+30 | degrees to radians; converting degrees to radians
def radians(degrees):
    return round(degrees * 3.14159 / 180, 3)

10+10 | adding 20 percent tax; a price with 20 % tax; that adds 20 percent to a price
def with_tax(price):
    return round(price * 1.2, 2)

10+10 | a discount of 10 percent; a price less 10 %; that takes 10 percent off a price
def discounted(price):
    return round(price * 0.9, 2)

1 | compound interest on 100 at 5 percent; the interest on 100 euros at 5 % for n years
def balance(years):
    return round(100 * 1.05 ** years, 2)

1 | the area of a circle; a circle's area; the area of a circle of radius n; that computes the area of a circle
def circle_area(r):
    return round(3.14159 * r ** 2, 2)

1 | the circumference of a circle; a circle's perimeter
def circumference(r):
    return round(2 * 3.14159 * r, 2)

1 | the volume of a sphere; a sphere's volume
def sphere_volume(r):
    return round(4 / 3 * 3.14159 * r ** 3, 2)

1 | the area of a square; a square's area
def square_area(side):
    return side * side

1 | the perimeter of a square; a square's perimeter
def perimeter(side):
    return 4 * side

1 | the volume of a cube; a cube's volume
def cube_volume(side):
    return side ** 3

1 | the surface of a cube; the surface area of a cube
def cube_surface(side):
    return 6 * side ** 2

3 | the angles of a polygon; the sum of the angles in a polygon; the angle sum of a polygon
def angle_sum(sides):
    return (sides - 2) * 180

3 | the diagonals of a polygon; counting the diagonals of a polygon
def diagonals(sides):
    return sides * (sides - 3) // 2

2 | handshakes; the number of handshakes among n people; the number of pairs
def handshakes(people):
    return people * (people - 1) // 2

0 | f(x) = x^2 + 1; the square plus one
def f(x):
    return x ** 2 + 1

0 | f(x) = 2x + 3; the line y = 2x + 3; the linear function 2x + 3
def f(x):
    return 2 * x + 3

0 | the parabola y = x^2 - 4x; the polynomial x^2 - 4x
def y(x):
    return x ** 2 - 4 * x

1 | the letters of the alphabet; the nth letter; that returns the nth letter of the alphabet
def letter(n):
    return chr(96 + n)

0 | spelling out a digit; digits as words; the word for a digit; that spells out a digit
def word(n):
    return "zero one two three four five six seven eight nine".split()[n]

1 | the weekdays; the name of a weekday; the days of the week
def weekday(n):
    return ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][(n - 1) % 7]

1 | month names; the name of a month; the months
def month(n):
    return "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[n - 1]

apple tea sun bread river lamp garden ice | string lengths; the length of a string; the length of a word; \
that returns the length of a string
def length(text):
    return len(text)

cat dog sun tea map bus red ten | reversing a string; reversed words; a string backwards; that reverses a string
def reverse(text):
    return text[::-1]

apple tea sun bread river lamp garden ice | counting vowels; the number of vowels; vowels in a word; \
that counts the vowels in a word
def vowels(text):
    return sum(letter in "aeiou" for letter in text)

level apple noon radar bread kayak river civic | palindromes; checking palindromes; whether a word is a palindrome; \
that checks if a word is a palindrome
def is_palindrome(text):
    return text == text[::-1]

cat dog sun tea map bus red ten | upper case; uppercase; a word in capitals; that makes a word upper case
def upper(text):
    return text.upper()

apple tea sun bread river lamp garden ice | the first letter of a word; the first letter; that gives a word's first letter
def first(text):
    return text[0]

banana apple sun data garden tea papaya bread | counting the letter a; how often a word has the letter a
def count_a(text):
    return text.count("a")
"""
ASKED = (
    "Write a Python function for {f}",
    "Write a Python function for {f}",
    "Write a function for {f} in Python",
    "Python function for {f}",
    "Please write a Python function for {f}",
    "Give me a Python function for {f}",
    "Give me a function for {f}",
    "I need a Python function for {f}",
    "I'd like a function for {f} in Python",
    "Code a function for {f} in Python",
    "Create a Python function for {f}",
    "Define a Python function for {f}",
    "Show me a Python function for {f}",
    "Make a function for {f} in Python",
    "Can you write a Python function for {f}?",
    "Could you give me a Python function for {f}?",
    "Can you code a function for {f} in Python?",
    "Would you write me a function for {f}?",
    "How would you write a Python function for {f}?",
    "Write Python code for {f}",
    "Python code for {f}",
    "Short Python code for {f}",
    "I want Python code for {f}",
    "{f} in Python",
    "{f} as a Python function",
)
"""The question without a table; what is asked for as well comes behind it."""
BESIDE = (
    " with a table of values",
    " with a table of values",
    ", with a table of values",
    " with a table of its values",
    " with a table",
    ", with a table",
    " with a small table of values",
    " with a table of results",
    " with a value table",
    " with a table of some values",
    " and a table of its values",
    " and a table of values",
    " and a table of the first values",
    " and a table of the first {k} values",
    " and a small table of values under it",
    " and add a table with some values",
    " and show a table of values",
    " and show a table of values for {r}",
    " and show its values for {r} in a table",
    " and list its first {k} values in a table",
    " and list the values for {r} in a table",
    " and put some values in a table",
    " together with a small table of its results",
    " together with a table of values",
    " along with a table of values",
    " along with a table of its first {w} values",
    " plus a table",
    " plus a table of values",
    " plus a table for {r}",
    " plus a Markdown table of the results",
    ", and a table with what it returns",
    ", with a table of the first {k} values",
    ", with a table of the first {w} values",
    " with a table for {r}",
    " with a table of values from {r}",
    " with a markdown table",
)
"""What asks for a table in the same sentence: {r} is "0 to 5", {k} "6", {w} "six"."""
AFTER = (
    "Please also give a markdown table.",
    "Please also give a table of values.",
    "Show me its values from {r} in a table.",
    "Show its values for {r} in a table.",
    "Add a table of values.",
    "Add a table of values for {r}.",
    "Also make a table of the first {k} values.",
    "And a table of values, please.",
    "Then give a table with the first {w} values.",
    "Put the values for {r} in a table under it.",
    "Include a table of its values.",
    "I need a table of its results as well.",
    "A table of values would help.",
    "With a table, please.",
)
WHOLE = (
    "A Python function and a table of values for {f}",
    "A table of values and a Python function for {f}",
    "Function and table of values for {f} in Python",
    "I need the code and a table of values for {f}, in Python",
    "Give me code and a table for {f}",
    "Python function plus table for {f}",
    "Show me both a Python function and a table of values for {f}",
    "Write a function and a table of the first {k} values for {f}",
    "With a table of values: a Python function for {f}",
    "Can you give me a function and a value table for {f}?",
)
PLAIN = ("",) * 12 + (
    ", please",
    ", nothing else",
    ", as short as you can",
    " for my homework",
    " for a beginner",
    " for my script",
)
"""What says nothing about a table, in the same sentence; the answer is the code."""
PLAIN_AFTER = ("Thanks!", "Only the code, please.", "Keep it short.", "Just the function.", "I will run it myself.")
REFUSED = (", without a table", " without a table of values", ", no table", ", but no table", ", no table needed")
REFUSED_AFTER = ("No table, please.", "I don't need a table.", "Leave out the table.", "Don't add a table.")


def _read(text: str) -> list[tuple[str, Function]]:
    """What is asked for and its function, as often as there are words for it: what is known to more people comes more often."""
    found = []
    for block in text.strip().split("\n\n"):
        head, _, code = block.partition("\n")
        arguments, _, said = head.partition(" | ")
        names: dict[str, Any] = {}
        exec(code, names)
        match = re.match(r"def (\w+)\((\w+)\)", code)
        assert match is not None, code
        least, _, step = arguments.partition("+")
        words = () if least.isdigit() else tuple(arguments.split())
        start = 0 if words else int(least)
        function = Function(code, match[1], match[2], names[match[1]], start, int(step or 1), words)
        found += [(phrase, function) for phrase in said.split("; ")]
    return found


FUNCTIONS = _read(TEXT)


def draw(rng: random.Random) -> tuple[str, str]:
    """A question, and the answer: the function, and where it is asked for a Markdown table of as many values as are asked for."""
    said, chosen = rng.choice(FUNCTIONS)
    code = f"```python\n{chosen.code}\n```"
    if rng.random() >= TABLE_SHARE:
        refused = rng.random() < REFUSED_SHARE
        beside, after = (REFUSED, REFUSED_AFTER) if refused else (PLAIN, PLAIN_AFTER)
        return _begun(_asked(rng, said, chosen, beside, after), said, rng), code
    if rng.random() < WHOLE_SHARE:
        question = rng.choice(_fitting(WHOLE, said, chosen)).replace(*_place(said))
    else:
        question = _asked(rng, said, chosen, _fitting(BESIDE, "", chosen), _fitting(AFTER, "", chosen))
    first, count = chosen.least, ROWS
    if re.search(r"\{[rkw]\}", question):
        count = rng.choice((4, 5, 5, 6, 6, 7, 8, 10))
    if "{r}" in question:
        first += chosen.step * rng.choice((0, 0, 0, 1, 2))
        count = min(count, 8) if first > chosen.least else count
    arguments: Sequence[Any] = range(first, first + count * chosen.step, chosen.step)
    if chosen.words:
        arguments = rng.sample(chosen.words, rng.choice((4, 5)))
    span = f"{arguments[0]} to {arguments[-1]}" + (f" in steps of {chosen.step}" if chosen.step > 1 else "")
    for slot, value in (("{r}", span), ("{k}", f"{count}"), ("{w}", NUMBERS[count])):
        question = question.replace(slot, value)
    rows = "\n".join(f"| {argument} | {chosen.value(argument)} |" for argument in arguments)
    head = f"| {chosen.argument} | {chosen.name}({chosen.argument}) |\n| --- | --- |"
    return _begun(question, said, rng), f"{code}\n\n{head}\n{rows}"


def _place(said: str) -> tuple[str, str]:
    """What of a question is replaced, and by what."""
    return ("for {f}", said) if said.startswith("that ") else ("{f}", said)


def _fitting(forms: Sequence[str], said: str, function: Function) -> list[str]:
    """Those in which the function can be asked for: words have no range and no first ones."""
    found = [form for form in forms if not (function.words and re.search(r"\{[rkw]\}|first", form))]
    return [form for form in found if not said.startswith("that ") or "function for {f}" in form]


def _asked(rng: random.Random, said: str, chosen: Function, beside: Sequence[str], after: Sequence[str]) -> str:
    """A question for the function, and what is said about a table in the same sentence or in one of its own."""
    question = rng.choice(_fitting(ASKED, said, chosen)).replace(*_place(said))
    if rng.random() < 0.2:
        return f"{question}{'' if question.endswith('?') else '.'} {rng.choice(after)}"
    end = question[-1] if question.endswith("?") else rng.choice(("", "", ".", " please"))
    clause = rng.choice(beside)
    return (
        question.removesuffix("?")
        + clause
        + ("" if end == " please" and "please" in f"{question}{clause}".lower() else end)
    )


def _begun(question: str, said: str, rng: random.Random) -> str:
    """Now and then in lower case, but for what begins with a name or with `said`."""
    if question.startswith((said, "I ", "I'd")) or rng.random() >= LOWER_SHARE:
        return question
    return question[0].lower() + question[1:]
