from __future__ import annotations

import importlib.metadata
import re
from random import Random

import pytest

from toolchat.ui.markdown.stream import MarkdownStream
from toolchat.ui.markdown.table import alignments
from toolchat.ui.text.cells import cut, fitting, width_of

SGR = re.compile(r"\x1b\[[0-9;]*m")


def styled(text: str, width: int = 80) -> str:
    """As under NO_COLOR: attributes, and no colours."""
    stream = MarkdownStream(width, color=False)
    return (stream.feed(text) + stream.finish()).removesuffix("\n")


def unstyled(text: str, width: int = 80) -> str:
    stream = MarkdownStream(width, color=False, attributes=False)
    return stream.feed(text) + stream.finish()


LITERAL = [
    "2*3*4 = 24",
    "a*b*c, 2**3**4 and x**2 + y**2",
    "(a)*(b)*(c)",
    "COUNT(*) + COUNT(*)",
    "**/*.py and **/*.md",
    '"*.py", "*.md"',
    "def f(*args, **kwargs)",
    r"\d+\.\d+",
    r"^\w+\*\d*$ and [a-z]\{2\}",
    r"\\server\share and \\server\_old\_share",
    r"C:\new\_files\*.txt",
    r"\{1\} and \[x\]",
    r"\(x\) and \(a_1 * b_2 * c_3\)",
    r"\[ \sum_{i} x_i \]",
    "$a_1 * b_2 * c$ costs $5 and $6",
    "$$x^* _y_ z^*$$",
    "__init__.py",
    "obj.__init__() and __main__",
    "__FILE__:__LINE__",
    "_private and _other",
    "snake_case_name and a_b_c",
    "path/_build_/x",
    "vector<int>",
    "List<String> and Map<K, V>",
    "vector<std::string>",
    "<div><b>x</b></div>",
    "~5 … ~6",
    "~/a and ~/b",
    "&nbsp; and &ZeroWidthSpace; and &#x202e;",
    "see[^1]",
    "[text][name] and [name]",
    "callbacks[name](value) and m[0](1.5)",
    "https://e.x/a_b_/*x*?y&copy;=2",
    "## C #",
    "*.o *.a and src/**/*.ts",
    "SELECT a.*, b.* FROM t",
    "*/5 * * * * run",
    "int *p, **q; *p = *q; (*p).x",
    "x **= 2; y **= 3; 2 ** 3 ** 4",
    "p* = 3, A*-search and B*-trees",
    "x^{*}_i and y^{*}_j",
    r"C:\*.* and D:\_tmp\_x_",
    r"s/\*/x/g and /\*.*\*/",
    r'"\*" or "\_"',
    r"[\*\_]+ and \*+",
    r"\\?\C:\x and %APPDATA%\npm\_logs",
    r"\$5 and 100\%",
    "_layouts/_default_/x",
    "_foo_bar_ and __a__b__",
    "__attribute__((packed)) and user__name__in",
    "____ fill in ____ the blank",
    "std::map<K, Vec<T>> and <T>",
    "<!-- x --> <?php 1; ?> <your-key>",
    "1 <2> 3, a < b and c > d, x<y && y>z",
    "HEAD~1..HEAD~3 and H~2~O",
    "&nosuch; AT&T; &#0; f?a=1&copy=2",
    "[text][] and [^note]: x",
    "vec![1, 2](x) and f![a.b](c.d)",
    "T[int](x.value) and (f)[x](y.z)",
    "[]() and [a]() and [a] (https://e.x)",
    "https://en.wikipedia.org/wiki/A_(b)_c",
    ">= 5 and > 3",
    ">_< and >:(",
    '>>> print("x")',
    ">/dev/null",
    "#",
    "12\n- 5\n- 3\n= 4",
    "x =\n- 5",
    "$$\na *b* c\n- d_1\n+ e_2\n= f\n# g\n---\n$$",
    "so: $$\nx^*_y_ *z*\n- 2\n$$",
    "\\[\nx_1 *y* z\n- 3\n\\]",
    "\\begin{align}\na &= *b* \\\\\n- c\n\\end{align}",
    "it`s, html`<b>`, `foo' and `bar'",
    "``quoted'' and ``more''",
    "``` inline ``` and `` ` ``",
]


@pytest.mark.parametrize("text", LITERAL)
def test_what_only_looks_like_a_mark_stays(text: str) -> None:
    assert SGR.sub("", styled(text)) == text.removeprefix("## ")
    assert unstyled(text) == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** *em* ~~struck~~", "{1m**bold} {3m*em} {9m~~struck}"),
        ("**「A」**なので**「B」**", "{1m「A」}なので{1m「B」}"),
        ("これは**太字**です", "これは{1m太字}です"),
        ("这是**“重点”**。然后**第二**", "这是{1m“重点”}。然后{1m第二}"),
        ("한국어**「강조」**입니다", "한국어{1m「강조」}입니다"),
        ("注意：**重要。**次の文", "注意：{1m重要。}次の文"),
        ("*「A」*と*「B」*", "{3m「A」}と{3m「B」}"),
        ("**see \\d+** now", "{1msee \\d+} now"),
        ("**https://e.x/_a_**", "{1mhttps://e.x/_a_}"),
        ("**yes**/**no**, **Note:** x, (**y**)", "{1myes}/{1mno}, {1mNote:} x, ({1my})"),
        ("\\*literal\\* snake\\_case", "*literal* snake_case"),
        ("`code` stays quoted", "`code` stays quoted"),
        ("&lt;T&gt; &amp; &copy;", "<T> & ©"),
        ('[a](http://e.x/ü "t")', '{4ma}{2m (http://e.x/ü "t")}'),
        ("<https://e.x>", "{4mhttps://e.x}"),
        ("**한국어**는 **重要**：", "{1m한국어}는 {1m重要}："),
        ("\\*\\*not bold\\*\\* 2 \\* 3", "**not bold** 2 * 3"),
        ("3. a\n2. b\n1. c", "{2m3. }a\n{2m2. }b\n{2m1. }c"),
        ("007) Bond\n\n01. a\n02. b", "{2m007) }Bond\n\n{2m01. }a\n{2m02. }b"),
        ("+ added\n- removed", "{2m+ }added\n{2m• }removed"),
        ("> a\n>b", "{2m│ }a\n{2m│ }b"),
        ("$$\na\n$$\n**b**", "$$\na\n$$\n{1mb}"),
    ],
)
def test_a_mark_is_dropped_where_an_attribute_replaces_it(text: str, shown: str) -> None:
    expected = re.sub(r"\{[0-9]m[*~]+", lambda match: match[0].rstrip("*~"), shown)
    assert styled(text) == re.sub(r"\{(\d)m", "\x1b[\\1m", expected).replace("}", "\x1b[0m")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`a b` and `` ` ``", "{a b} and {`}"),
        ("the `foo`s, 使用`foo`函数", "the {foo}s, 使用{foo}函数"),
        ("it`s and that`s", "it`s and that`s"),
        ("html`<b>` and sql`SELECT 1`", "html`<b>` and sql`SELECT 1`"),
        ("`foo' and `bar'", "`foo' and `bar'"),
        ("``a'' and ``b''", "``a'' and ``b''"),
    ],
)
def test_backticks_are_dropped_only_where_a_colour_replaces_them(text: str, shown: str) -> None:
    stream = MarkdownStream(80)
    printed = (stream.feed(text) + stream.finish()).removesuffix("\n")
    assert printed == shown.replace("{", "\x1b[36m").replace("}", "\x1b[0m")


def test_a_fence_within_a_block_of_markdown_does_not_end_it() -> None:
    text = "```markdown\n```python\n*x*\n```\n*y*\n```\n**end**"
    assert styled(text).splitlines()[1:5] == ["```python", "*x*", "```", "*y*"]
    assert styled(text).endswith("\x1b[1mend\x1b[0m")


@pytest.mark.parametrize(
    "text",
    [
        "````markdown\n```python\n*x*\n```\n*y*\n````\n**end**",
        "```markdown\n~~~python\n*x*\n~~~\n*y*\n```\n**end**",
        "~~~~md\n~~~python\n*x*\n~~~\n```sh\n```\n*y*\n~~~~\n**end**",
    ],
)
def test_a_longer_or_another_fence_is_not_held_open_by_those_within(text: str) -> None:
    rows = styled(text).splitlines()
    assert rows[-1] == "\x1b[1mend\x1b[0m"
    assert rows[2:-2] == text.splitlines()[1:-2][1:]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"escape \` and \* and `\d` here", "escape ` and * and `\\d` here"),
        (r"a\`b and `code`", "a`b and `code`"),
        (r"`C:\` and `\`", r"`C:\` and `\`"),
        (r"C:\new\ and `x`", r"C:\new\ and `x`"),
    ],
)
def test_a_backtick_with_a_backslash_begins_no_code(text: str, shown: str) -> None:
    assert SGR.sub("", styled(text)) == shown


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ("| `a|b` | 22 |", ["`a|b`", "22"]),
        ("| `a || b` | `x|y|z` |", ["`a || b`", "`x|y|z`"]),
        (r"| `a\|b` | 22 |", ["`a|b`", "22"]),
        ("| `a | b` |", ["`a", "b`"]),
        ("| `a | b | c` | d |", ["`a | b | c`", "d"]),
        ("| a | b | c |", ["a", "b | c"]),
    ],
)
def test_a_bar_within_code_ends_a_cell_only_where_there_is_a_column_for_it(row: str, cells: list[str]) -> None:
    last = SGR.sub("", styled(f"| one | two |\n|---|---|\n{row}")).splitlines()[-1]
    assert [cell.strip() for cell in last.split("│")] == cells


@pytest.mark.parametrize("width", [10, 40, 80])
@pytest.mark.parametrize("form", ["see {} now", "- see {}", "> {}", "| a | b |\n|---|---|\n| {} | some words here |"])
def test_an_address_is_never_broken_by_a_newline(form: str, width: int) -> None:
    address = "https://example.org/" + "path/" * 16 + "end?x=1&y=_2_"
    assert address in SGR.sub("", styled(form.format(address), width))


@pytest.mark.parametrize(
    ("text", "cells"), [("⚠️", 2), ("🇩🇪", 2), ("👩\u200d💻", 2), ("👍🏽", 2), ("e\u0301", 1), ("日本", 4)]
)
def test_one_function_measures_everything(text: str, cells: int) -> None:
    assert width_of(text) == cells
    assert fitting(text * 3, cells) == (len(text) if text != "日本" else 2)
    assert cut(text * 2, cells * 2) == text * 2
    table = unstyled(f"| {text} | x |\n|---|---|\n| {'w' * 8} | y |").splitlines()
    assert len({width_of(row.rstrip()) for row in table}) == 1


PIECES = [
    *LITERAL,
    "**bold text**",
    "*em*",
    "`a*b`",
    "~~x~~",
    "[a](http://e.x/_b_)",
    "日本語**「強調」**です",
    "plain words",
]
PIECES += ["\\", "*", "**", "_", "__", "`", "$", "~~", "[", "](", "<", "&lt;", "!", "⚠️", "⚠️ ok", "||", "\\|", "x" * 150]


def generated(random: Random) -> str:
    """An answer whose fences are closed, since an open one is closed on the screen."""

    def line() -> str:
        pieces = [random.choice(PIECES) + random.choice(["", " ", " "]) for _ in range(random.randint(1, 9))]
        return re.sub("~{3,}|`{3,}", "", "".join(pieces))  # fences

    blocks = []
    for _ in range(random.randint(1, 7)):
        match random.randint(0, 6):
            case 0:
                blocks.append("# " + line())
            case 1:
                blocks.append("```python\n" + line().replace("```", "") + "\n```")
            case 2:
                blocks.append("\n".join("- " + line() for _ in range(3)))
            case 3:
                cells = [random.choice(["a", "b_c", "2*3*4", "**d**", "日本", "⚠️"]) for _ in range(6)]
                rows = [f"| {one} | {two} |" for one, two in zip(cells[::2], cells[1::2], strict=True)]
                blocks.append("\n".join([rows[0], "|---|---|", *rows[1:]]))
            case _:
                blocks.append("\n".join(line() for _ in range(random.randint(1, 3))))
    return "\n\n".join(blocks)


def substance(text: str) -> str:
    """The characters that are not blank, without what quotes, tables and fences are drawn with."""
    lines = [line for line in text.splitlines() if not alignments(line.strip(), line.count("|") - 1)]
    return re.sub(r"[\s|>+\-`]", "", "\n".join(lines).replace("\\|", "|"))


def keeps_all(text: str, width: int) -> None:
    assert substance(unstyled(text, width)) == substance(text)
    # With attributes: nothing but marks may go, and nothing may come but what lists and rules are drawn with.
    marks = r"[\\*_~#=\[\]()<!&;]|&lt;"
    seen = re.sub(f"{marks}|[─│┼•◦▪]", "", substance(SGR.sub("", styled(text.replace("&lt;", ""), width))))
    assert seen == re.sub(marks, "", substance(text.replace("&lt;", "")))


@pytest.mark.parametrize(
    "answers", [pytest.param(range(300), id="300"), pytest.param(range(300, 5000), id="5000", marks=pytest.mark.slow)]
)
def test_no_character_of_a_generated_answer_vanishes(answers: range) -> None:
    for seed in answers:
        keeps_all(generated(Random(seed)), (40, 80, 200)[seed % 3])


def test_no_character_of_the_readmes_of_installed_packages_vanishes() -> None:
    texts = {}
    for package in importlib.metadata.distributions():
        text = package.metadata.get_payload() or package.metadata["Description"] or ""
        if len(text) > 800 and "markdown" in (package.metadata["Description-Content-Type"] or ""):
            texts[package.metadata["Name"]] = text[:20_000].replace("\t", " ").replace("\r", "")
    chosen = dict(sorted(texts.items())[:20])
    assert len(chosen) == 20
    for name, text in chosen.items():
        shown = unstyled(text, 1000)  # wide enough that no table becomes a list, which repeats its header
        # Letters and digits alone: broken tables and renumbered lists have their own rules.
        assert sorted(re.sub(r"[\W\d]", "", shown)) == sorted(re.sub(r"[\W\d]", "", text)), name
