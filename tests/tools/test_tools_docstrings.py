from __future__ import annotations

from typing import Any

import pytest

from toolchat.tools.docstrings import documentation
from toolchat.tools.schema import function_schema

GOOGLE = """Find places
within a distance.

More, with a :class:`Place` in it.

Args:
    city (str): The city,
        on two lines
    limit: At most: this many
    *rest: Others

Returns:
    list: places
"""
NUMPY = """Find places
within a distance.

Parameters
----------
city : str
    The city,
    on two lines
limit, rest : int, optional
    At most: this many

Returns
-------
list
"""
SPHINX = """Find places
within a distance.

:param city: The city,
    on two lines
:type city: str
:param int limit: At most: this many
:returns: places
"""
EPYDOC = """Find places
within a distance.

@param city: The city,
    on two lines
@param limit: At most: this many
"""


def described(text: str | None) -> Any:
    def find(city: str, limit: int = 3, rest: int = 0) -> None: ...

    find.__doc__ = text
    return documentation(find, ("city", "limit", "rest"))


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX, EPYDOC], ids=["google", "numpy", "sphinx", "epydoc"])
def test_every_style_gives_the_same_words(text: str) -> None:
    found = described(text)
    assert found.summary == "Find places within a distance."
    assert found.parameters["city"] == "The city, on two lines"
    assert found.parameters["limit"] == "At most: this many"


def test_shared_and_starred_names_are_split() -> None:
    assert described(NUMPY).parameters["rest"] == "At most: this many"
    assert described(GOOGLE).parameters["rest"] == "Others"


@pytest.mark.parametrize(
    ("text", "summary", "city"),
    [
        (None, None, None),
        ("", None, None),
        ("Args:\n    city: The city", None, "The city"),
        ("Parameters\n----------\ncity : str\n    The city", None, "The city"),
        (":param city: The city", None, "The city"),
        ("Find.\nArgs:\n    city: The city", "Find.", "The city"),
        ("Find it: now.", "Find it: now.", None),
        ("Find.\n\nArgs:\n    not a parameter\n    city: The city", "Find.", None),
        (":param", None, None),
        ("Find.\n\n:param :", "Find.", None),
    ],
)
def test_odd_docstrings_are_read_as_far_as_they_go(text: str | None, summary: str | None, city: str | None) -> None:
    found = described(text)
    if city is not None:
        assert found.parameters.get("city") == city
    assert found.summary == summary


def test_the_docstring_describes_the_schema() -> None:
    def find(city: str) -> None:
        """Find.

        Parameters
        ----------
        city : str
            The city
        """

    assert function_schema(find).parameters["properties"]["city"]["description"] == "The city"
