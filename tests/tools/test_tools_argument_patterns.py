from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.tools.argument_patterns import LONGEST, Fit, Kind, Stars, glob, kind_of, possibly, problem_of, surely

PATH = {"type": "string"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    home = tmp_path / "home"
    work = home / "work"
    for name in ("docs/deep", "secrets", "other"):
        (work / name).mkdir(parents=True)
    for name in ("docs/a.md", "docs/deep/b.md", "secrets/key", "readme.md"):
        (work / name).write_text("x")
    (work / "docs" / "out").symlink_to(work / "secrets")
    (work / "way").symlink_to(work / "secrets")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SECRETS", "secrets")
    return str(work)


@pytest.mark.parametrize(
    ("name", "pattern", "kind"),
    [
        ("path", "x", Kind.PATH),
        ("outputDir", "x", Kind.PATH),
        ("file_name", "x", Kind.TEXT),
        ("dest", "x", Kind.PATH),
        ("note", "docs/**", Kind.PATH),
        ("note", "~/x", Kind.PATH),
        ("command", "cat /etc/*", Kind.COMMAND),
        ("url", "*", Kind.URL),
        ("page", "https://a.org/**", Kind.URL),
        ("title", "a / b", Kind.TEXT),
        ("count", 3, Kind.TEXT),
    ],
)
def test_what_an_argument_holds_is_told_by_its_name_or_the_pattern(name: str, pattern: Any, kind: Kind) -> None:
    assert kind_of(name, {"type": "string"}, pattern) is kind


def test_what_an_argument_holds_is_told_by_its_schema() -> None:
    assert kind_of("x", {"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "a") is Kind.PATH
    assert kind_of("x", {"type": "array", "items": {"type": "string", "format": "file-path"}}, "a") is Kind.PATH


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("docs/**", "docs/a.md"),
        ("docs/**", "./docs//deep/../a.md"),
        ("docs/**", "docs/deep/b.md"),
        ("docs/**", "docs/new/file"),
        ("docs/*", "docs/a.md"),
        ("docs/**/*.md", "docs/a.md"),
        ("docs/**/*.md", "docs/deep/b.md"),
        ("*.md", "readme.md"),
        ("~/work/docs/**", "docs/a.md"),
        ("docs/**", "~/work/docs/a.md"),
        ("docs/?.md", "docs/a.md"),
        ("docs/**", "docs/[id].tsx"),
        ("**", "docs/a.md"),
    ],
)
def test_a_path_that_is_meant_fits_surely(folder: str, pattern: str, value: str) -> None:
    # A home folder that is not the real one has "~" in no reading but this.
    value = value.replace("~", str(Path.home())) if value.startswith("~") else value
    assert surely(pattern, value, Kind.PATH, folder)
    assert possibly(pattern, value, Kind.PATH, folder) is Fit.YES


@pytest.mark.parametrize(
    "value",
    [
        "docs/../secrets/key",
        "docs/../../../etc/passwd",
        "/etc/passwd",
        "docs/out/key",
        "docs/out/../secrets/key",
        "docs",
        "docs/..",
        "docsx/a",
        "docs/a.md\n/etc/passwd",
        "docs/\0a",
        "docs/*",
        "docs/a.md\u2028",
        "~/docs/a.md",
        "~root/docs/a",
        "file:docs/a.md",
        "http://docs/a",
        "docs/$SECRETS/../../secrets/key",
        "/proc/self/cwd/docs/a.md",
        "DOCS/a.md",
        "ｄocs/a.md",
        "",
        "x" * (LONGEST + 1),
        None,
        True,
        3,
        {"path": "docs/a.md"},
        [],
        ["docs/a.md", "secrets/key"],
        [["docs/a.md"]],
        ["docs/a.md", None],
        ["docs/a.md"] * 1001,
        "docs/" + "a/" * 4096,
    ],
)
def test_what_may_lead_elsewhere_never_fits_surely(folder: str, value: Any) -> None:
    assert not surely("docs/**", value, Kind.PATH, folder)


def test_a_link_in_place_of_an_allowed_folder_allows_nothing(folder: str) -> None:
    os.rename(f"{folder}/docs", f"{folder}/before")  # noqa: PTH104
    Path(folder, "docs").symlink_to("/etc")
    assert not surely("docs/**", "docs/passwd", Kind.PATH, folder)
    assert not surely("docs/**", "/etc/passwd", Kind.PATH, folder)


def test_each_of_several_paths_has_to_fit(folder: str) -> None:
    assert surely("docs/**", ["docs/a.md", "docs/deep/b.md"], Kind.PATH, folder)


@pytest.mark.parametrize(
    ("pattern", "value", "fit"),
    [
        ("secrets/**", "secrets/key", Fit.YES),
        ("secrets/**", "docs/../secrets/key", Fit.YES),
        ("secrets/**", "docs/out/key", Fit.YES),
        ("secrets/**", "way/key", Fit.YES),
        ("secrets/**", "$SECRETS/key", Fit.YES),
        ("way/**", "secrets/key", Fit.YES),
        ("way", "secrets/key", Fit.YES),
        ("secrets/**", "SECRETS/KEY", Fit.MAYBE),
        ("secrets/**", "ｓecrets/key", Fit.MAYBE),
        ("secrets/**", "secrets", Fit.MAYBE),
        ("secrets/**", ".", Fit.MAYBE),
        ("secrets/**", "/", Fit.MAYBE),
        ("secrets/**", "/proc/self/cwd/secrets/key", Fit.MAYBE),
        ("secrets/**", "s*/key", Fit.MAYBE),
        ("secrets/**", "docs/\0", Fit.MAYBE),
        ("secrets/**", None, Fit.MAYBE),
        ("secrets/**", "x" * (LONGEST + 1), Fit.MAYBE),
        ("secrets/**", "docs/a.md", Fit.NO),
        ("secrets/**", "secretsx/a", Fit.NO),
        ("secrets/**", ["docs/a.md", "secrets/key"], Fit.YES),
        ("secrets/**", {"from": {"path": "secrets/key"}}, Fit.YES),
        ("secrets/**", ["docs/a.md"], Fit.NO),
        (".env", "sub/.env", Fit.YES),
        (".env", "/else/.env", Fit.YES),
        ("*.pem", "sub/my.pem", Fit.YES),
        (".git", "sub/.git/config", Fit.YES),
        ("**/.env", "sub/.env", Fit.YES),
        ("**/.env", "sub/env", Fit.NO),
        ("/etc", "/etc/passwd", Fit.YES),
    ],
)
def test_a_denied_path_is_found_by_every_way_to_it(folder: str, pattern: str, value: Any, fit: Fit) -> None:
    assert possibly(pattern, value, Kind.PATH, folder) is fit


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("git *", "git log --oneline", True),
        ("git *", "git commit -m 'a b'", True),
        ("git *", ["git", "log"], True),
        ("git status", "git status", True),
        ("git log | head *", "git log | head -3", True),
        ("git *", "git", False),
        ("git *", "gitx y", False),
        *(
            ("git *", f"git x{end}", False)
            for end in ("; rm y", "\nrm y", " && rm y", " | sh", " $(rm y)", " `rm y`", " > f", " & rm", " #", "\rrm y")
        ),
        ("git *", "git \\\nx", False),
        ("git * --dry-run", "git push # --dry-run", False),
        ("git *", ["git", "x; rm y"], False),
        ("git *", " git log", False),
        ("git *", "git log\u2028rm", False),
        ("git *", {"command": "git log"}, False),
    ],
)
def test_a_command_fits_surely_only_if_no_shell_makes_more_of_it(pattern: str, value: Any, fits: bool) -> None:
    assert surely(pattern, value, Kind.COMMAND, "/") is fits


@pytest.mark.parametrize(
    ("value", "fit"),
    [
        ("rm -rf x", Fit.YES),
        ("rm", Fit.YES),
        ("  rm\t-rf x", Fit.YES),
        ("/bin/rm x", Fit.YES),
        ("ls; rm x", Fit.YES),
        ("ls\nrm x", Fit.YES),
        ("ls && rm x", Fit.YES),
        ("echo $(rm x)", Fit.YES),
        ("echo `rm x`", Fit.YES),
        ("A=1 rm x", Fit.YES),
        ("r''m x", Fit.YES),
        ('"rm" x', Fit.YES),
        ("r\\m x", Fit.YES),
        (["rm", "x"], Fit.YES),
        ("(rm x)", Fit.YES),
        ("sudo rm x", Fit.MAYBE),
        ("xargs rm", Fit.MAYBE),
        ("bash -c 'rm x'", Fit.MAYBE),
        ("bash script", Fit.MAYBE),
        ("rm$IFS-x", Fit.MAYBE),
        ("R=rm; $R x", Fit.MAYBE),
        ("/bin/r? x", Fit.MAYBE),
        ("RM x", Fit.MAYBE),
        ("echo 'unfinished", Fit.MAYBE),
        ("git rm x", Fit.MAYBE),
        ("ls -la", Fit.NO),
        ("rmdir x", Fit.NO),
        ("git log", Fit.NO),
    ],
)
def test_a_denied_command_is_found_in_every_spelling_that_is_seen_and_else_doubted(value: Any, fit: Fit) -> None:
    assert possibly("rm *", value, Kind.COMMAND, "/") is fit


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("https://docs.org/**", "https://docs.org/a/b?c=d", True),
        ("https://docs.org/*", "https://docs.org/a", True),
        ("https://*.docs.org/**", "https://en.docs.org/a", True),
        ("https://docs.org/*", "https://docs.org/a/b", False),
        ("https://docs.org/**", "https://docs.org@evil.org/", False),
        ("https://docs.org/**", "https://docs.org.evil.org/", False),
        ("https://docs.org/**", "https://docs.org/\\@evil.org", False),
        ("https://docs.org/open/**", "https://docs.org/open/../closed", False),
        ("https://docs.org/open/**", "https://docs.org/open/%2e%2e/closed", False),
        ("https://*.docs.org/**", "https://evil.org/.docs.org/a", False),
        ("https://*.docs.org/**", "https://evil.org#.docs.org/a", False),
        ("https://docs.org/**", "https://docs.org/a\nb", False),
        ("https://docs.org/**", "http://docs.org/a", False),
        ("https://docs.org/**", "//docs.org/a", False),
    ],
)
def test_a_url_fits_surely_only_with_the_host_that_is_meant(pattern: str, value: str, fits: bool) -> None:
    assert surely(pattern, value, Kind.URL, "/") is fits


@pytest.mark.parametrize(
    ("value", "fit"),
    [
        ("https://evil.org/x", Fit.YES),
        ("HTTPS://EVIL.org/x", Fit.MAYBE),
        ("http://evil.org:80/", Fit.MAYBE),
        ("https://me@evil.org/", Fit.MAYBE),
        ("https://evil.org./", Fit.MAYBE),
        ("https://good.org/", Fit.NO),
    ],
)
def test_a_denied_host_is_doubted_in_other_spellings(value: str, fit: Fit) -> None:
    assert possibly("https://evil.org/**", value, Kind.URL, "/") is fit


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        (False, False, True),
        (False, 0, False),
        (1, True, False),
        (3, 3, True),
        (3, "3", False),
        ("3", 3, True),
        ("true", True, True),
        (None, None, True),
        ("*", None, False),
        ("a*", "abc", True),
        ("a*", "a\nb", False),
    ],
)
def test_values_that_are_no_text_fit_as_they_are(pattern: Any, value: Any, fits: bool) -> None:
    assert surely(pattern, value, Kind.TEXT, "/") is fits


@pytest.mark.parametrize(
    ("pattern", "kind", "wrong"),
    [
        ("docs/*/../x", Kind.PATH, "goes up"),
        ("../docs/**", Kind.PATH, ""),
        ("https://docs.org*", Kind.URL, "any host"),
        ("https://docs.*/x", Kind.URL, "any host"),
        ("https://*.docs.org/**", Kind.URL, ""),
        ("x" * 1001, Kind.TEXT, "1000"),
        (3, Kind.PATH, ""),
    ],
)
def test_a_pattern_that_means_more_than_it_seems_to_is_a_problem(pattern: Any, kind: Kind, wrong: str) -> None:
    found = problem_of(pattern, kind)
    assert (wrong in found) if wrong else not found


@settings(max_examples=200, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_mean_what_a_regular_expression_says(pattern: str, text: str) -> None:
    expression = re.sub(r"\*+", ".*", pattern.replace("?", "."))
    assert glob(pattern, text, Stars()) is (re.fullmatch(expression, text) is not None)


def test_no_pattern_and_value_take_long() -> None:
    started = time.thread_time()
    assert not surely("*a" * 100 + "b", "a" * 20_000, Kind.TEXT, "/")
    assert possibly("rm *" * 20, "x " * 20_000, Kind.COMMAND, "/") is Fit.MAYBE
    assert possibly("*rm *x", " ".join(["a" * 80] * 49), Kind.COMMAND, "/") is Fit.NO
    assert possibly("*rm *x", " ".join(["a" * 1000] * 49), Kind.COMMAND, "/") is Fit.MAYBE
    assert possibly("x/**", [{"a": "y"}] * 2000, Kind.PATH, "/") is Fit.MAYBE
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("value", [3, True, 1.5, None])
def test_a_number_is_no_path(folder: str, value: Any) -> None:
    assert not surely("**", value, Kind.PATH, folder)


def test_what_looks_like_an_assignment_behind_the_program_is_its_argument(folder: str) -> None:
    assert possibly("dd of=/dev/*", "true; dd of=/dev/sda bs=1M", Kind.COMMAND, folder) is Fit.YES
    assert possibly("git push --force*", "cd x && git push --force-with-lease=a b", Kind.COMMAND, folder) is Fit.YES
