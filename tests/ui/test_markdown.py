from __future__ import annotations

import re
import subprocess
import sys

import pytest

from toolchat.ui.markdown.stream import MarkdownStream
from toolchat.ui.text.cells import width_of as cells

SGR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str, width: int = 80) -> list[str]:
    stream = MarkdownStream(width, color=False, attributes=False)
    return (stream.feed(text) + stream.finish()).splitlines()


def coloured(text: str, width: int = 80) -> str:
    stream = MarkdownStream(width)
    return stream.feed(text) + stream.finish()


UNFENCED = ["def f(n):", "    a, b = 0, 1", "    for _ in range(n):", "        a, b = b, a_b * 2", "    return `a`"]


def test_code_that_no_fence_is_around_keeps_its_indentation() -> None:
    text = "\n".join(UNFENCED)
    assert plain(text) == UNFENCED
    assert SGR.sub("", coloured(text)).splitlines() == [row.replace("`", "") for row in UNFENCED]
    # A row that hangs by less is one of the paragraph's.
    assert plain("- item\n  more\n   of it") == ["- item", "  more", "  of it"]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("a paragraph\n\n\n\nanother", ["a paragraph", "", "another"]),
        ("one line\nand the next", ["one line", "and the next"]),
        ("\n\nfirst", ["first"]),
        ("**bold** *em* ~~struck~~ `code` \\*literal\\*", ["**bold** *em* ~~struck~~ `code` \\*literal\\*"]),
        ("2 * 3 * 4 and snake_case_name", ["2 * 3 * 4 and snake_case_name"]),
        ("a [link](https://e.x/y) here", ["a [link](https://e.x/y) here"]),
        ("<https://e.x> [https://e.x](https://e.x)", ["<https://e.x> [https://e.x](https://e.x)"]),
        ("![a cat](cat.png)", ["![a cat](cat.png)"]),
        ("[x](javascript:alert)", ["[x](javascript:alert)"]),
        ("[text][name]\n\n[name]: https://e.x", ["[text][name]", "", "[name]: https://e.x"]),
        ("<div>\n<b>x</b>\n</div>", ["<div>", "<b>x</b>", "</div>"]),
        ("a<br>b `<br>`", ["a<br>b `<br>`"]),
        ("&lt;tag&gt; &amp;", ["&lt;tag&gt; &amp;"]),
        ("text\n# Title #\ntext", ["text", "", "# Title #", "text"]),
        ("#hashtag", ["#hashtag"]),
        ("Title\n===\ntext", ["Title", "===", "text"]),
        ("a sentence\n---\nanother", ["a sentence", "---", "another"]),
        ("***", ["***"]),
        ("- a\n- b\n\n  more\n- c", ["- a", "- b", "", "  more", "- c"]),
        ("* a\n    * b\n        * c", ["* a", "  * b", "    * c"]),
        ("- [x] done\n- [ ] open", ["[x] done", "[ ] open"]),
        ("1. a\n1. b\n1. c", ["1. a", "2. b", "3. c"]),
        ("1. a\n2. b\n4. c", ["1. a", "2. b", "4. c"]),
        ("9) a\n10) b\nlazy", ["9) a", "10) b", "    lazy"]),
        ("1. a\n  - indented by too little\n2. b", ["1. a", "   - indented by too little", "2. b"]),
        ("It was\n1986. A good year", ["It was", "1986. A good year"]),
        ("-", ["-"]),
        ("- - a\n  - b", ["- - a", "  - b"]),
        ("> a\n>\n> b\nlazy\n\nc", ["> a", ">", "> b", "> lazy", "", "c"]),
        ("> - a\n>   b", ["> - a", ">   b"]),
        ("    indented\n      code", ["    indented", "      code"]),
        ("```py\nx = 1\n\n\ty\n```\nafter", ["```py", "x = 1", "", "\ty", "```", "after"]),
        ("~~~\n```\n~~~", ["~~~", "```", "~~~"]),
        ("```\nnever closed", ["```", "never closed", "```"]),
        (
            "- a\n  ```\n  x\nindented by too little\n  ```\n- b",
            ["- a", "  ```", "  x", "  indented by too little", "  ```", "- b"],
        ),
        ("> ```\n> x\nnot code", ["> ```", "> x", "> ```", "not code"]),
        ("| a | b\n|not a table", ["| a | b", "|not a table"]),
        ("[bold]no markup[/bold]", ["[bold]no markup[/bold]"]),
    ],
)
def test_each_kind_of_block_reads_well_without_colour(source: str, rows: list[str]) -> None:
    assert plain(source) == rows


def test_a_table_is_aligned_by_cells() -> None:
    source = "Cities:\n| City | °C |\n|:--|--:|\n| 東京 | 22 |\n| München \\| x | 7 |\n| a | b | c |\nafter"
    assert plain(source) == [
        "Cities:",
        "City        |    °C",
        "------------+------",
        "東京        |    22",
        "München | x |     7",
        "a           | b | c",
        "after",
    ]


def test_a_wide_table_breaks_its_cells_and_a_very_wide_one_becomes_lists() -> None:
    source = "| name | what it does |\n|---|---|\n| alpha | a text that has to be broken over rows |\n"
    assert plain(source, 30) == [
        "name  | what it does",
        "------+-----------------------",
        "alpha | a text that has to be",
        "      | broken over rows",
    ]
    many = "|" + "|".join(f"column {n}" for n in range(9)) + "|\n" + "|---" * 9 + "|\n"
    rows = plain(f"{many}{'| some value ' * 9}|\n{'| x ' * 9}|", 40)
    assert rows[:2] == ["column 0: some value", "column 1: some value"]
    assert rows[9:11] == ["---", "column 0: x"]


def test_rows_that_break_are_told_apart_by_rules() -> None:
    rows = plain("| a | b |\n|---|---|\n| x | some longer text here |\n| y | z |", 20)
    assert rows == [
        "a | b",
        "--+-----------------",
        "x | some longer text",
        "  | here",
        "--+-----------------",
        "y | z",
    ]


def test_a_long_table_is_printed_before_it_ends() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    assert stream.feed("| a | b |\n|---|---|\n" + "| x | y |\n" * 39) == ""
    assert stream.feed("| last | of the first |\n").count("\n") == 42
    assert stream.feed("| one | more |\n") == "one  | more\n"
    fat = MarkdownStream(80, color=False, attributes=False)
    assert "x" in fat.feed("| a | b |\n|---|---|\n" + f"| {'x ' * 1000} | y |\n" * 9)


def test_a_table_without_rows_keeps_its_header() -> None:
    assert plain("| a | b |\n|---|---|") == ["a | b", "--+--"]


def test_code_is_printed_line_by_line_and_copied_as_it_is() -> None:
    stream = MarkdownStream(40)
    stream.feed("```python\n")
    line = 'value = "' + "x" * 100 + '"  # long'
    assert SGR.sub("", stream.feed(f"{line}\n")) == f"{line}\n"
    assert stream.feed("if True") == ""
    assert SGR.sub("", "".join(stream.live(4))) == "if True"


@pytest.mark.parametrize(
    ("language", "lines", "style"),
    [
        ("python", ['"""A docstring', "for all", 'of it."""'], "32"),
        ("javascript", ["/* A comment", " * function if return", " */"], "2"),
        ("c", ["int x; /* A comment", "return 0;", "*/ int y;"], "2"),
        ("rust", ["/* A comment", "fn return 0", "*/"], "2"),
    ],
)
def test_what_is_open_at_the_end_of_a_line_colours_the_next(language: str, lines: list[str], style: str) -> None:
    body = "\n".join(lines)
    assert f"\x1b[{style}m{lines[1]}\x1b[0m" in coloured(f"```{language}\n{body}\n```")


def test_a_comment_that_ends_ends() -> None:
    assert "\x1b[35mreturn\x1b[0m" in coloured("```c\n/* a\nb */ return x;\n```")
    assert "\x1b[35mreturn\x1b[0m" in coloured('```c\nchar *s = "/*";\nreturn x;\n```')


@pytest.mark.parametrize(
    "language", ["", "no-such-language", "Python extra words", "json", "yaml", "html", "ruby", "console"]
)
def test_code_of_any_language_keeps_its_text(language: str) -> None:
    code = '{"a": [1, "<b>"]}\n- x: |\n    y\n<!-- <p>\n$ ls /* && x = <<EOF\nEOF\n"""'
    assert SGR.sub("", coloured(f"```{language}\n{code}\n```")).splitlines()[1:-1] == code.splitlines()


def test_an_endless_line_of_code_is_given_out() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    printed = stream.feed("```\n" + "x" * 10_000)
    assert printed.count("x") == 8192
    assert (printed + stream.feed("\n```\n") + stream.finish()).count("x") == 10_000


def test_a_long_paragraph_is_printed_row_by_row_and_its_rows_do_not_change() -> None:
    text = " ".join(f"word{number}" for number in range(300))
    stream = MarkdownStream(40, color=False, attributes=False)
    printed = ""
    for word in text.split(" "):
        printed += stream.feed(f"{word} ")
        assert len(stream.live(50)) <= 6
    assert printed.count("\n") > 40
    assert (printed + stream.finish()).splitlines() == plain(text, 40)
    assert " ".join(plain(text, 40)) == text


def test_prose_stays_readable_on_a_very_wide_terminal() -> None:
    assert max(map(len, plain("word " * 200, 300))) <= 120


def test_emphasis_over_several_rows_stays_whole() -> None:
    text = f"{'x ' * 70}**{'bold ' * 60}end** {'y ' * 70}[{'link ' * 50}](http://e.x) z"
    joined = " ".join(SGR.sub("", coloured(text, 40)).splitlines())
    assert "*" not in joined
    assert "link (http://e.x) z" in joined


def test_a_marker_that_is_never_closed_does_not_hold_the_text_for_ever() -> None:
    stream = MarkdownStream(40, color=False, attributes=False)
    assert "**never" in stream.feed("**never closed " + "word " * 200)


def test_the_end_of_a_quote_is_not_lost_in_a_narrow_terminal() -> None:
    rows = plain(">" * 30 + " deep inside, some words", 10)
    assert any("inside," in row for row in rows)


def test_wide_text_breaks_without_spaces_and_never_before_a_full_stop() -> None:
    rows = plain("日本語の文章です。" * 20, 20)
    assert all(cells(row) <= 20 for row in rows)
    assert not any(row.startswith("。") for row in rows)
    assert "".join(rows) == "日本語の文章です。" * 20


def test_controls_are_visible_also_those_that_entities_stand_for() -> None:
    text = "".join(plain("a\x1b[31mb &#x202e;c `\x9b` [l](http://e.x/\u202e)\r"))
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "␛[31m" in text


def test_a_line_end_over_two_feeds_is_one() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    assert stream.feed("a\r") + stream.feed("\nb\r") + stream.finish() == "a\nb␍\n"


def test_the_live_rows_show_what_is_open_as_if_it_were_closed() -> None:
    stream = MarkdownStream(80)
    stream.feed("some **bold te")
    assert stream.live(8) == ["some \x1b[1mbold te\x1b[0m"]
    stream.feed("xt** and `co")
    assert stream.live(8) == ["some \x1b[1mbold text\x1b[0m and \x1b[36mco\x1b[0m"]
    assert SGR.sub("", stream.feed("de`\n\nnext")) == "some bold text and code\n"
    assert stream.live(8) == ["", "next"]


def test_the_live_rows_are_the_last_with_a_sign_that_there_are_more() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    stream.feed("| a |\n|---|\n" + "".join(f"| {number} |\n" for number in range(20)))
    assert stream.live(4) == ["…", "17", "18", "19"]
    assert stream.live(1) == ["19"]
    assert stream.live(0) == []
    assert len(stream.live(50)) == 22


def test_half_a_closing_fence_is_not_seen_as_code() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    stream.feed("```\nx\n``")
    assert stream.live(8) == []
    assert stream.feed("`\n") == "```\n"


def test_a_resize_is_for_the_rows_to_come() -> None:
    stream = MarkdownStream(80, color=False, attributes=False)
    before = stream.feed("word " * 30 + "\n\n")
    stream.resize(20)
    after = stream.feed("word " * 30 + "\n\n") + stream.finish()
    assert max(map(len, before.splitlines())) > 20
    assert max(map(len, after.splitlines())) <= 20
    assert (before + after).count("word") == 60


@pytest.mark.process
def test_nothing_heavy_is_imported_before_there_is_text() -> None:
    code = (
        "import sys; from toolchat.ui.markdown.stream import MarkdownStream; MarkdownStream(80).live(8);"
        "print([name for name in ('rich', 'pygments', 'markdown_it', 'wcwidth') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
