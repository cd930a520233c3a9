from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from toolchat.samples import files
from toolchat.samples.files import list_files, read_file


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    outside = tmp_path / "outside"
    work = tmp_path / "work"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret.txt").write_text("secret")
    (work / "docs").mkdir(parents=True)
    (work / ".git").mkdir()
    (work / "empty").mkdir()
    (work / ".env").write_text("KEY=1")
    (work / ".git" / "config").write_text("hidden")
    (work / "notes.txt").write_text("one\ntwo\nthree\n")
    (work / "docs" / "a.md").write_text("# a")
    (work / "docs" / "b.txt").write_text("b")
    (work / "inside").symlink_to("docs")
    (work / "out").symlink_to(outside)
    (work / "out.txt").symlink_to(outside / "secret.txt")
    (work / "hidden.txt").symlink_to(".env")
    (work / "loop").symlink_to("loop")
    monkeypatch.chdir(work)
    return work


def test_a_folder_is_listed_sorted_without_hidden_names() -> None:
    assert list_files(".").splitlines() == [
        "docs/", "empty/", "hidden.txt", "inside", "loop", "notes.txt", "out", "out.txt",
    ]  # fmt: skip
    assert list_files("docs") == "a.md\nb.txt"
    assert list_files("empty") == "(empty)"


def test_a_pattern_selects_names() -> None:
    assert list_files("docs", "*.md") == "a.md"
    assert list_files("docs", "*.py") == "No files match *.py."
    assert list_files(".", "doc*") == "docs/"


def test_a_hostile_pattern_does_not_take_long(work: Path) -> None:
    (work / ("a" * 250)).touch()
    assert list_files(".", "*a" * 90 + "b") == f"No files match {'*a' * 90}b."


def test_many_names_are_cut(work: Path) -> None:
    for number in range(505):
        (work / "empty" / f"{number:04}").touch()
    lines = list_files("empty").splitlines()
    assert len(lines) == 501
    assert lines[-1] == "... and 5 more"


def test_a_name_with_control_characters_stays_one_line(work: Path) -> None:
    (work / "empty" / "a\nb\x1b[31m").touch()
    (work / "empty" / os.fsdecode(b"bad\xff")).touch()
    assert list_files("empty") == "a\\nb\\x1b[31m\nbad\\udcff"


def test_a_file_is_read_whole_or_its_first_lines(work: Path) -> None:
    assert read_file("notes.txt") == "one\ntwo\nthree"
    assert read_file("notes.txt", 2) == "one\ntwo"
    assert read_file("notes.txt", 99) == "one\ntwo\nthree"
    assert read_file(str(work / "notes.txt")) == "one\ntwo\nthree"
    assert read_file("docs/../notes.txt", 1) == "one"


def test_links_inside_the_working_directory_are_followed() -> None:
    assert read_file("inside/a.md") == "# a"
    assert list_files("inside") == "a.md\nb.txt"


def test_bytes_that_are_text_read_as_text(work: Path) -> None:
    (work / "bom.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\nx\r\n")
    (work / "none.txt").touch()
    assert read_file("bom.txt") == "café\nx"
    assert read_file("none.txt") == "(empty)"


def test_a_long_file_is_cut_with_a_note_of_its_size(work: Path) -> None:
    (work / "long.txt").write_bytes(b"x" + "é".encode() * 50_000)
    text = read_file("long.txt")
    assert text.startswith("xéé")
    assert text.endswith("é\n... (cut: these are the first 65536 of 100001 bytes)")


@pytest.mark.parametrize("data", [b"\x7fELF\x00\x01", b"\xff\xfe\x00", b"caf\xe9", b"\x89PNG\r\n\x1a\n"])
def test_binary_files_are_refused(work: Path, data: bytes) -> None:
    (work / "data.bin").write_bytes(data)
    with pytest.raises(ValueError, match=r"^data\.bin is not a text file$"):
        read_file("data.bin")


OUTSIDE = "is outside the working directory"
HIDDEN = "is hidden"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing.txt", FileNotFoundError, "^no such file: missing.txt$"),
        ("docs/missing/x", FileNotFoundError, "no such file"),
        ("notes.txt/x", FileNotFoundError, "no such file"),
        ("loop", ValueError, "is not a regular file"),
        ("x\0y", FileNotFoundError, "no such file"),
        ("\ud800", FileNotFoundError, "no such file"),
        ("a" * 5000, FileNotFoundError, "no such file"),
        ("/" * 5000 + "a", PermissionError, OUTSIDE),
        ("docs", IsADirectoryError, "is a folder, not a file"),
        (".", IsADirectoryError, "is a folder, not a file"),
        ("../outside/secret.txt", PermissionError, OUTSIDE),
        ("docs/../../outside/secret.txt", PermissionError, OUTSIDE),
        ("/etc/passwd", PermissionError, OUTSIDE),
        ("out/secret.txt", PermissionError, OUTSIDE),
        ("out.txt", PermissionError, OUTSIDE),
        ("/proc/self/environ", PermissionError, OUTSIDE),
        (".env", PermissionError, HIDDEN),
        ("./.env", PermissionError, HIDDEN),
        (".git/config", PermissionError, HIDDEN),
        ("docs/../.env", PermissionError, HIDDEN),
        ("hidden.txt", PermissionError, HIDDEN),
        (".missing", PermissionError, HIDDEN),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_file(path)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing", FileNotFoundError, "^no such folder: missing$"),
        ("notes.txt", NotADirectoryError, "is a file, not a folder"),
        ("..", PermissionError, OUTSIDE),
        ("/", PermissionError, OUTSIDE),
        ("out", PermissionError, OUTSIDE),
        ("out/deep", PermissionError, OUTSIDE),
        (".git", PermissionError, HIDDEN),
        ("docs/../.git", PermissionError, HIDDEN),
    ],
)
def test_folders_that_lie_elsewhere_are_refused(path: str, error: type[OSError], message: str) -> None:
    with pytest.raises(error, match=message):
        list_files(path)


def test_a_neighbour_whose_name_begins_alike_is_outside(work: Path) -> None:
    (work.parent / "work2").mkdir()
    (work.parent / "work2" / "x").write_text("x")
    with pytest.raises(PermissionError, match=OUTSIDE):
        read_file("../work2/x")


def test_pipes_and_sockets_are_refused_without_waiting(work: Path) -> None:
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "socket"):
            with pytest.raises(ValueError, match="is not a regular file"):
                read_file(name)


def test_a_link_swapped_in_after_the_check_is_not_followed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = files._parts

    def swap_folder(path: str, missing: FileNotFoundError) -> tuple[str, ...]:
        parts = checked(path, missing)
        (work / "docs").rename(work / "docs2")
        (work / "docs").symlink_to(work.parent / "outside")
        return parts

    (work / "docs" / "secret.txt").write_text("mine")
    monkeypatch.setattr(files, "_parts", swap_folder)
    with pytest.raises(OSError, match="no such file"):
        read_file("docs/secret.txt")


def test_a_file_swapped_for_a_link_or_a_pipe_is_not_opened(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_stat = (work / "notes.txt").stat()
    (work / "notes.txt").unlink()
    monkeypatch.setattr(os, "stat", lambda *_args, **_options: real_stat)
    os.mkfifo(work / "pipe")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_file("pipe")

    def unresolved(_path: str, _missing: FileNotFoundError) -> tuple[str, ...]:
        return ("out.txt",)

    monkeypatch.setattr(files, "_parts", unresolved)
    with pytest.raises(OSError, match="no such file"):
        read_file("out.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named_plainly(work: Path) -> None:
    (work / "notes.txt").chmod(0)
    with pytest.raises(PermissionError, match=r"^notes\.txt may not be read$"):
        read_file("notes.txt")


@pytest.mark.parametrize("lines", [0, -1])
def test_a_number_of_lines_below_one_is_refused(lines: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        read_file("notes.txt", lines)


@pytest.mark.parametrize("pattern", ["docs/*", "*" * 300])
def test_a_pattern_for_more_than_names_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern must match the names"):
        list_files(".", pattern)


def test_descriptors_are_closed(work: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(20):
        read_file("notes.txt")
        list_files("docs")
        with pytest.raises(OSError, match="no such file"):
            read_file("missing")
        with pytest.raises(OSError, match="a folder"):
            read_file("docs")
    assert count() == before


COMPOSED, DECOMPOSED = "größe.md", "gro\u0308ße.md"


@pytest.mark.parametrize(("kept", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_name_is_the_same_with_its_accents_composed_or_not(work: Path, kept: str, asked: str) -> None:
    folder = work / kept.replace(".md", "")
    folder.mkdir()
    (folder / kept).write_text("here")
    asked_folder = asked.replace(".md", "")
    assert read_file(f"{asked_folder}/{asked}") == "here"
    assert list_files(asked_folder, asked.replace(".md", "*")) == kept


def test_of_two_files_that_differ_in_their_accents_each_is_read_by_its_own_name(work: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        (work / name).write_text(ascii(name))
    assert [read_file(name) for name in (COMPOSED, DECOMPOSED)] == [ascii(COMPOSED), ascii(DECOMPOSED)]


def test_another_spelling_leads_no_further_out_than_the_name_itself(work: Path) -> None:
    (work / DECOMPOSED).symlink_to(work.parent / "outside" / "secret.txt")
    with pytest.raises(PermissionError, match="outside the working directory"):
        read_file(COMPOSED)
