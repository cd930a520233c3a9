"""A calculator whose time and size are bounded before anything is computed; it must never use `eval`.

An expression is rewritten to Python's notation, parsed, checked node by node against a short list of what
arithmetic needs, and only then evaluated by simpleeval with the bounded operations of `calculator_math`.
"""

from __future__ import annotations

import ast
import math
import re

from simpleeval import InvalidExpression, SimpleEval

from toolchat.samples.calculator_math import FUNCTIONS, NAMES, OPERATORS

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
