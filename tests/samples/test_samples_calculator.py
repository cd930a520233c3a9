from __future__ import annotations

import math
import threading
import time
import warnings
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toolchat.samples.calculator import calculate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("12 * 22", "264"),
        ("64 / 4", "16"),
        ("31 / 9", "3.44444444444"),
        ("0.1 + 0.2", "0.3"),
        ("1e300 * 10", "1e+301"),
        ("7 // 2", "3"),
        ("275 % 3", "2"),
        ("-2 ** 2", "-4"),
        ("2 * 3^2", "18"),
        ("5 × 4 ÷ 2 − 1", "9"),
        ("3² + √16 + √(9)", "16"),
        ("= 3 + 4 = ?", "7"),
        ("1\n + 2", "3"),
        ("1,234 + 1,000,000", "1001234"),
        ("max(1,234)", "234"),
        ("sqrt(441)", "21"),
        ("sqrt(10**200)", "1" + "0" * 100),
        ("cbrt(27)", "3"),
        ("5! + factorial(3)", "126"),
        ("round(2.567, 2)", "2.57"),
        ("gcd(12, 18)", "6"),
        ("min(3, 1, 2)", "1"),
        ("ln(e) + log10(1000) + log2(8) + log(9, 3)", "9"),
        ("sin(pi / 2) + cos(0) + atan(0)", "2"),
        ("floor(2.7) + ceil(2.1) + abs(-1)", "6"),
        ("2 ** -3", "0.125"),
        ("(-1) ** (10 ** 100)", "1"),
        ("10**400 / 10**399", "10"),
        ("0.0 * -1", "0"),
    ],
)
def test_arithmetic(expression: str, result: str) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize("expression", ["1 / 0", "1 // 0", "5 % 0", "1.0 / 0", "0 ** -1", "0.0 ** -1", "1 / (2 - 2)"])
def test_division_by_zero_always_says_the_same(expression: str) -> None:
    with pytest.raises(ZeroDivisionError, match=r"^division by zero$"):
        calculate(expression)


TOO_LARGE = "too large"
NOT_ARITHMETIC = "not an arithmetic"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("9**9**9", TOO_LARGE),
        ("9**9**9**9", TOO_LARGE),
        ("2 ** 4096", TOO_LARGE),
        ("2**4000 * 2**4000", TOO_LARGE),
        ("(10**1000) ** (10**1000)", TOO_LARGE),
        ("factorial(537)", TOO_LARGE),
        ("factorial(10**1000)", TOO_LARGE),
        ("99999999!", TOO_LARGE),
        ("exp(1000)", TOO_LARGE),
        ("1e999", TOO_LARGE),
        ("1e308 * 10 / 10", TOO_LARGE),
        ("10**400 + 0.5", TOO_LARGE),
        ("sqrt(10**1001)", TOO_LARGE),
        ("round(5, -1000000000)", "round is not defined"),
        ("round(5.5, 1000000000)", "round is not defined"),
        ("sqrt(-1)", "sqrt is not defined for -1"),
        ("log(0)", "log is not defined for 0"),
        ("asin(2)", "asin is not defined for 2"),
        ("factorial(2.5)", "factorial is not defined for 2.5"),
        ("(-8) ** (1/3)", "not a real number"),
        ("12% of 250", "for percent write"),
        ("2pi", "write the multiplication sign"),
        ("2(3 + 4)", "write the multiplication sign"),
        ("sqrt(1, 2)", "wrong number or kind of arguments"),
        ("min()", "wrong number or kind of arguments"),
        ("foo(1)", "unknown function: foo; the functions are sqrt"),
        ("x + 1", "unknown name: x; the names are pi, e"),
        ("sqrt", "unknown name: sqrt"),
        ("", "empty"),
        (" = ? ", "empty"),
        ("'a' * 9", NOT_ARITHMETIC),
        ("().__class__", NOT_ARITHMETIC),
        ("e.real", NOT_ARITHMETIC),
        ("[x for x in (1,)]", NOT_ARITHMETIC),
        ("(1, 2)", NOT_ARITHMETIC),
        ("lambda: 1", NOT_ARITHMETIC),
        ("1 if 2 else 3", NOT_ARITHMETIC),
        ("__import__('os')", NOT_ARITHMETIC),
        ("min(1, 2, key=abs)", NOT_ARITHMETIC),
        ("min(*1)", NOT_ARITHMETIC),
        ("a := 3", NOT_ARITHMETIC),
        ("1 == 1", NOT_ARITHMETIC),
        ("1 and 2", NOT_ARITHMETIC),
        ("not 1", NOT_ARITHMETIC),
        ("1 << 5", NOT_ARITHMETIC),
        ("1; 2", NOT_ARITHMETIC),
        ("True", NOT_ARITHMETIC),
        ("2j", NOT_ARITHMETIC),
        ("２+２", NOT_ARITHMETIC),
        ("1\0", NOT_ARITHMETIC),
        ("-" * 400 + "1", "nested too deeply"),
        ("1+" * 240 + "1", "nested too deeply"),
        ("(" * 240 + "1" + ")" * 240, NOT_ARITHMETIC),
        ("-abs(" * 80 + "1" + ")" * 80, "nested too deeply"),
        ("1+" * 250 + "1", "too long"),
    ],
)
def test_hostile_and_wrong_expressions_end_at_once_with_a_short_reason(expression: str, message: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message) as caught:
        calculate(expression)
    assert time.perf_counter() - started < 0.5
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_a_sum_of_many_terms_is_no_nesting_to_refuse() -> None:
    assert calculate(" + ".join(["1"] * 90)) == "90"


def test_depth_is_bounded_below_the_recursion_limit_of_a_thread() -> None:
    results: list[str] = []

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            results.append(calculate("+" * 95 + "1"))

    thread = threading.Thread(target=deep, args=(300,))
    thread.start()
    thread.join()
    assert results == ["1"]


def test_long_whole_numbers_are_shortened() -> None:
    assert calculate("100!") == str(math.factorial(100))
    assert calculate("-2 ** 1000") == "-1.07150860718e+301 (302 digits)"


@settings(deadline=1000, max_examples=150)
@given(st.text(alphabet="0123456789.+-*/%^()!, episqrtfactoldmx", max_size=40))
@example("200!")
def test_any_text_ends_in_a_number_or_a_short_error(expression: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = calculate(expression)
        except (ValueError, ZeroDivisionError):
            return
    assert len(result) <= 250
    # As a Decimal: whole numbers may be longer than any float, such as 200!.
    assert Decimal(result.split(" ")[0]).is_finite()


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_whole_numbers_are_exact(left: int, right: int) -> None:
    assert calculate(f"{left} * {right} - ({right})") == str(left * right - right)
