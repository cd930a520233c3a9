from __future__ import annotations

import time
from pathlib import Path

import pytest

from toolchat.ui.file_names import OFFERED, begun_mention, completions, parsed_rule, paths


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    for name in ("src/main.py", "src/main_test.py", "docs/a b.md", "build/main.o", "src/gen/main.c", ".env", "x.log"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    (place / ".git" / "info").mkdir(parents=True)
    (place / ".git" / "info" / "exclude").write_text("x.log\n")
    (place / ".gitignore").write_text("# made\n/build/\n*.o\n")
    (place / "src" / ".gitignore").write_text("gen\n!main_test.py\n")
    monkeypatch.chdir(place)
    return place


def offered(begun: str) -> list[str]:
    return [text for text, _ in completions(begun)]


def test_a_word_is_looked_for_in_all_names_without_what_git_ignores() -> None:
    assert offered("main") == ["@src/main.py", "@src/main_test.py"]
    assert offered("log") == []


def test_a_path_goes_on_in_its_folder_and_folders_come_first(tree: Path) -> None:
    (tree / "src" / "sub").mkdir()
    assert offered("src/") == ["@src/sub/", "@src/main.py", "@src/main_test.py"]
    assert offered("./s") == ["@./src/"]
    assert offered(f"{tree}/sr") == [f"@{tree}/src/"]


def test_an_ignored_folder_that_is_named_is_opened(tree: Path) -> None:
    (tree / "build" / "log.txt").write_text("")
    assert offered("build/") == ["@build/log.txt"]


def test_hidden_files_are_offered_behind_a_dot_only() -> None:
    assert "@.env" in offered(".e")
    assert "@.env" not in offered("env")


def test_a_name_with_a_blank_is_quoted() -> None:
    assert offered("docs/") == ['@"docs/a b.md"']
    assert begun_mention('see @"docs/a b') == ("docs/a b", len('@"docs/a b'))


def test_a_name_that_could_control_the_terminal_is_not_offered(tree: Path) -> None:
    (tree / "src" / "ma\x1b[2Jin").write_text("")
    (tree / "src" / "ma\u202ein").write_text("")
    assert offered("src/ma") == ["@src/main.py", "@src/main_test.py"]


def test_outside_a_repository_the_folders_own_rules_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitignore").write_text("*.tmp\n")
    (tmp_path / "a.tmp").write_text("")
    (tmp_path / "a.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert offered("a.") == ["@a.txt"]


def test_a_large_tree_takes_no_long_time_and_few_are_offered(tree: Path) -> None:
    for number in range(300):
        (tree / f"file{number}").write_text("")
    begun = time.monotonic()
    assert len(offered("file")) == OFFERED
    assert time.monotonic() - begun < 2


def test_no_folder_and_no_home_offer_nothing() -> None:
    assert offered("nowhere/") == offered("~nobody-of-that-name/") == offered("a\0/") == []


def test_paths_alone_are_completed_for_commands() -> None:
    assert paths("src/m") == ["src/main.py", "src/main_test.py"]


@pytest.mark.parametrize(
    ("text", "begun"), [("@", ("", 1)), ("a @b", ("b", 2)), ("a@b", None), ("@a b", None), ("@a\\ b", ("a b", 5))]
)
def test_a_mention_is_begun_behind_a_blank(text: str, begun: tuple[str, int] | None) -> None:
    assert begun_mention(text) == begun


@pytest.mark.parametrize(
    ("line", "path", "matches"),
    [
        ("*.pyc", "a/b.pyc", True),
        ("build/", "a/build", True),
        ("/x", "a/x", False),
        ("/x", "x", True),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/b/c", False),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/d/c", True),
        ("**/foo", "q/foo", True),
        ("foo/**", "foo/a/b", True),
        ("foo/**", "foo", False),
        ("src/src/**", "src/a.py", False),
        ("src/src/**", "src/src/a.py", True),
        ("a/**/**/c", "a/c", True),
        ("*.py[cod]", "x.pyo", True),
        ("[!a]x", "bx", True),
        ("[!a]x", "ax", False),
        ("a*b*c", "abbcXc", True),
        ("a*b*c", "acb", False),
        ("\\#x", "#x", True),
        ("a.b", "axb", False),
        ("doc/*.txt", "doc/a/b.txt", False),
        ("trailing   ", "trailing", True),
    ],
)
def test_rules_match_as_gits(line: str, path: str, matches: bool) -> None:
    rule = parsed_rule(line)
    assert rule is not None
    assert bool(rule.pattern.fullmatch(path)) is matches


@pytest.mark.parametrize("line", ["", "  ", "# words", "/", "a" * 600, "**/a/**/a/**/a/**/a/**/a"])
def test_what_is_no_rule_is_left_out(line: str) -> None:
    assert parsed_rule(line) is None


def test_no_rule_takes_a_long_time() -> None:
    begun = time.process_time()
    for line in ("*a" * 200 + "b", "**/" * 4 + "*a*a*a*a*b", "[" * 200, "*" * 400 + "b"):
        rule = parsed_rule(line)
        if rule is not None:
            rule.pattern.fullmatch("a/" * 20 + "a" * 255)
    assert time.process_time() - begun < 1
