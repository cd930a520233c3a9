"""The operations of the calculator, each of which bounds the size of its result before it computes it.

Nothing here may take more than microseconds, whatever numbers it is given, nor return an infinity or a NaN.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

Number = int | float

# 1,233 decimal digits: beyond any use in a chat, and every operation on such numbers is instant.
MAX_BITS = 4096
# 536! is the last factorial of at most MAX_BITS bits.
_MAX_FACTORIAL = 536
_MAX_ROUND_DIGITS = 400

TOO_LARGE = "the result is too large"


def _checked(function: Callable[..., object]) -> Callable[..., Number]:
    """`function`, with a result that is neither complex nor infinite nor longer than MAX_BITS."""

    def checked(*arguments: Number) -> Number:
        result = function(*arguments)
        if isinstance(result, int):
            if result.bit_length() > MAX_BITS:
                raise ValueError(TOO_LARGE)
            return int(result)
        if not isinstance(result, float):
            raise ValueError("the result is not a real number")
        if not math.isfinite(result):
            raise ValueError(TOO_LARGE)
        return result

    return checked


def _named(name: str, function: Callable[..., object]) -> Callable[..., Number]:
    """`function`, whose domain errors name it and its argument."""

    def named(*arguments: Number) -> object:
        try:
            return function(*arguments)
        except ValueError as error:
            if str(error) == TOO_LARGE:
                raise
            written = ", ".join(f"{argument:.12g}" for argument in arguments)
            raise ValueError(f"{name} is not defined for {written}") from None

    return _checked(named)


def _multiply(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() + right.bit_length()
        if bits > MAX_BITS + 1:
            raise ValueError(TOO_LARGE)
    return left * right


def _power(base: Number, exponent: Number) -> object:
    """`base ** exponent`; the result has at most bit_length(base) * exponent bits."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        if abs(base) <= 1:
            # Python would square its way through a long exponent; 0, 1 and -1 need only its parity.
            return base if exponent % 2 else base * base
        # The lower bound (bits - 1) * exponent: what passes is at most twice as long as what may stay.
        if (base.bit_length() - 1) * exponent > MAX_BITS:
            raise ValueError(TOO_LARGE)
    return base**exponent


def _whole(value: Number) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    return int(value)


def _factorial(value: Number) -> int:
    number = _whole(value)
    if number > _MAX_FACTORIAL:
        raise ValueError(TOO_LARGE)
    return math.factorial(number)


def _sqrt(value: Number) -> Number:
    """The square root; exact for squares, also where a float has too few digits."""
    if isinstance(value, int) and value >= 0:
        root = math.isqrt(value)
        if root * root == value:
            return root
    return math.sqrt(value)


def _cbrt(value: Number) -> Number:
    root = math.cbrt(value)
    nearest = round(root)
    return nearest if nearest**3 == value else root


def _round(value: Number, digits: Number = 0) -> Number:
    places = _whole(digits)
    # round(5, -10**9) would compute 10**(10**9).
    if abs(places) > _MAX_ROUND_DIGITS:
        raise ValueError("too many digits")
    return round(value, places) if places else round(value)


def _gcd(*values: Number) -> int:
    return math.gcd(*map(_whole, values))


def _extreme(choose: Callable[[tuple[Number, ...]], Number]) -> Callable[..., Number]:
    def extreme(first: Number, *rest: Number) -> Number:
        return choose((first, *rest))

    return extreme


OPERATORS: dict[type[ast.AST], Callable[..., Number]] = {
    ast.Add: _checked(operator.add),
    ast.Sub: _checked(operator.sub),
    ast.Mult: _checked(_multiply),
    ast.Div: _checked(operator.truediv),
    ast.FloorDiv: _checked(operator.floordiv),
    ast.Mod: _checked(operator.mod),
    ast.Pow: _checked(_power),
    ast.USub: _checked(operator.neg),
    ast.UAdd: _checked(operator.pos),
}

_FUNCTIONS: dict[str, Callable[..., object]] = {
    "sqrt": _sqrt,
    "cbrt": _cbrt,
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "log": math.log,
    "ln": lambda value: math.log(value),
    "log2": math.log2,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "min": _extreme(min),
    "max": _extreme(max),
    "factorial": _factorial,
    "gcd": _gcd,
}
FUNCTIONS = {name: _named(name, function) for name, function in _FUNCTIONS.items()}

NAMES: dict[str, Number] = {"pi": math.pi, "e": math.e}
