"""A calculator whose time and size are bounded before anything is computed; it must never use `eval`.

An expression is rewritten to Python's notation, parsed, checked node by node against a short list of what
arithmetic needs, and only then evaluated by simpleeval with the bounded operations below.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

from simpleeval import InvalidExpression, SimpleEval

_MAX_LENGTH = 500
# Two Python frames a level: 100 levels stay far below the recursion limit of any thread.
_MAX_DEPTH = 100
# 100! has 158 digits. More digits than this only fill the model's context.
_MAX_DIGITS = 200

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_SPELLINGS = {"^": "**", "²": "**2", "³": "**3", "π": "pi", "√": "sqrt"}
_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,])")
_ROOT = re.compile(r"√ ?(\d+(?:\.\d+)?)")
_FACTORIAL = re.compile(r"(?<![\w.])(\d+)!(?!=)")
_CALL = re.compile(r"[A-Za-z]\w*\s*\(")
_ALLOWED = re.compile(r"[0-9A-Za-z_.+\-*/%(), ]*")
_IMPLICIT = re.compile(r"(?<![A-Za-z_])[\d.]*\d(?![eE][+-]?\d)[A-Za-z]")

_PERCENT = " (for percent write 12 / 100 * 250)"
_MULTIPLY = " (write the multiplication sign, as in 2 * pi)"

_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Call,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.operator,
    ast.unaryop,
)


def calculate(expression: str) -> str:
    """A calculator for arithmetic expressions.

    Args:
        expression: The expression, e.g. '17 * 23'

    Raises:
        ValueError: the expression is not arithmetic, has no real value, or is too large to compute.
        ZeroDivisionError: it divides by zero.
    """
    text = _rewritten(expression)
    tree = _parsed(text, expression.strip())
    evaluator = SimpleEval(operators=OPERATORS, functions=FUNCTIONS, names=NAMES)
    try:
        value = evaluator.eval(text, previously_parsed=tree.body)
    except ZeroDivisionError:
        raise ZeroDivisionError("division by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None
    except TypeError:
        raise ValueError(f"a function got the wrong number or kind of arguments: {text}") from None
    except InvalidExpression:
        raise ValueError(f"not an arithmetic expression: {text}") from None
    return _written(value)


def _rewritten(expression: str) -> str:
    """The expression in Python's notation: one line, ASCII, without thousands separators."""
    if len(expression) > _MAX_LENGTH:
        raise ValueError(f"the expression is too long ({len(expression)} characters; at most {_MAX_LENGTH})")
    text = " ".join(expression.split()).lstrip("= ").rstrip("=? ").translate(_SIGNS)
    text = _ROOT.sub(r"sqrt(\1)", text)
    for sign, spelling in _SPELLINGS.items():
        text = text.replace(sign, spelling)
    text = _FACTORIAL.sub(r"factorial(\1)", text)
    # In max(1,234) a comma separates arguments: only without a call can it be nothing but a thousands mark.
    if not _CALL.search(text):
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    if not text:
        raise ValueError("the expression is empty")
    return text


def _parsed(text: str, written: str) -> ast.Expression:
    """The syntax tree of `text`, holding nothing but arithmetic; `written` is what an error quotes."""
    if not _ALLOWED.fullmatch(text):
        raise ValueError(f"not an arithmetic expression: {written}")
    if _IMPLICIT.search(text):
        raise ValueError(f"not an arithmetic expression: {written}{_PERCENT if '%' in text else _MULTIPLY}")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        raise ValueError(f"not an arithmetic expression: {written}{_PERCENT if '%' in text else ''}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deeply") from None
    _check(tree, written)
    return tree


def _check(tree: ast.Expression, written: str) -> None:
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("the expression is nested too deeply")
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise ValueError(f"unknown function: {name}; the functions are {', '.join(FUNCTIONS)}")
                pending.extend((argument, depth + 1) for argument in arguments)
                continue
            case ast.Call():
                raise ValueError(f"not an arithmetic expression: {written}{_MULTIPLY}")
            case ast.Name(id=name) if name not in NAMES:
                raise ValueError(f"unknown name: {name}; the names are {', '.join(NAMES)}")
            case ast.Constant(value=value) if type(value) not in (int, float):
                raise ValueError(f"not an arithmetic expression: {written}")
            case ast.Constant(value=float() as value) if math.isinf(value):
                raise ValueError("a number in the expression is too large")
            case ast.operator() | ast.unaryop() if type(node) not in OPERATORS:
                raise ValueError(f"not an arithmetic operator in: {written}")
            case _ if not isinstance(node, _NODES):
                raise ValueError(f"not an arithmetic expression: {written}")
        pending.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _written(value: int | float) -> str:
    """Whole numbers plainly, others with at most 12 significant digits, so that 0.1 + 0.2 is 0.3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, float):
        return f"{value:.12g}"
    # bit_length first: writing out the digits of a huge number is itself slow.
    if value.bit_length() <= _MAX_DIGITS * math.log2(10):
        return str(value)
    digits = str(abs(value))
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:12]}e+{len(digits) - 1} ({len(digits)} digits)"


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
