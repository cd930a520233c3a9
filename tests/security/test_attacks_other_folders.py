"""Attacks by way of other folders than the tools file's, and of modules that no import statement names."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attacked_folder import GREET, Attacked, chat
from test_attacks_bytecode import SHARED
from test_attacks_grants import grant, is_granted

from toolchat.tools.code import read_code
from toolchat.tools.import_guard import install
from toolchat.tools.load import load_tools
from toolchat.tools.local_modules import digests_below
from toolchat.wire.messages import ToolResult

pytestmark = pytest.mark.process

SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
USE = (
    'import importlib\n\ndef use(name: str) -> str:\n    """Use."""\n    return str(importlib.import_module(name).X)\n'
)
NOT_READ = "was not read with the tools"


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    return Attacked.below(tmp_path)


@pytest.fixture
def library(attacked: Attacked) -> Path:
    """A folder beside the one of the tools file."""
    folder = attacked.folder.parent / "lib"
    folder.mkdir()
    return folder


def searching(folder: Path, source: str) -> str:
    return f"import sys\nsys.path.insert(0, {str(folder)!r})\n{source}"


def plant_compiled(path: Path) -> None:
    """A compiled module: whether it is run shows by the error that its initialisation has another name."""
    shutil.copy(SHARED[0], path)


def plant_zipped(path: Path, **sources: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, source in sources.items():
            file.writestr(f"{name}.py", source)


@pytest.mark.skipif(not SHARED, reason="this PyYAML was built without libyaml")
def test_a_compiled_module_in_another_folder_is_refused_until_it_is_accepted(attacked: Attacked, library: Path) -> None:
    attacked.write(mine=searching(library, f"import wcwidth\n{GREET}"))
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert not attacked.refusal()
    for suffix in (SUFFIX, ".abi3.so", ".so"):
        planted = library / f"wcwidth{suffix}"
        plant_compiled(planted)
        assert "accepted" in attacked.refusal()
        planted.unlink()


@pytest.mark.skipif(not SHARED, reason="this PyYAML was built without libyaml")
def test_a_compiled_module_beside_accepted_source_in_another_folder_does_not_run_in_its_place(
    attacked: Attacked, library: Path
) -> None:
    (library / "core.py").write_text("X = 'source'\n")
    attacked.write(mine=searching(library, USE.replace("importlib.import_module(name)", '__import__("core")')))
    with chat(attacked.tools("./mine.py:use")) as tools:
        assert tools.call("use", name="") == "source"
        plant_compiled(library / f"core{SUFFIX}")
        assert NOT_READ in tools.call("use", name="")


@pytest.mark.skipif(not SHARED, reason="this PyYAML was built without libyaml")
@pytest.mark.parametrize("needs", [b"", b"$ORIGIN/../libs"])
def test_a_compiled_module_of_another_folder_is_loaded_where_it_finds_its_libraries(
    attacked: Attacked, library: Path, needs: bytes
) -> None:
    compiled = library / f"_yaml{SUFFIX}"
    compiled.write_bytes(SHARED[0].read_bytes() + needs)
    there = f"{str(compiled)!r} in open('/proc/self/maps').read()"
    attacked.write(mine=searching(library, f"import _yaml\ndef f() -> bool:\n    '''F.'''\n    return {there}\n"))
    with chat(attacked.tools("./mine.py:f")) as tools:
        assert tools.call("f") == str(bool(needs)).lower()
        tools.kill_host()
        compiled.write_bytes(compiled.read_bytes() + b"changed")
        assert "has changed" in tools.call("f")


@pytest.mark.skipif(not SHARED, reason="this PyYAML was built without libyaml")
def test_what_a_tool_compiles_itself_is_imported(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"""
import importlib.util, os, shutil, tempfile

def build(folder: str = "") -> str:
    '''Build.'''
    folder = folder or tempfile.mkdtemp()
    path = os.path.join(folder, "_yaml{SUFFIX}")
    shutil.copy({str(SHARED[0])!r}, path)
    spec = importlib.util.spec_from_file_location("_yaml", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__name__
"""
    home = attacked.folder.parent / "home"
    (home / ".triton" / "cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    attacked.write(mine=source)
    attacked.tools("./mine.py:build")
    attacked.accept()
    with chat(attacked.folder / "tools.yaml") as tools:
        assert tools.call("build") == "_yaml"
        assert tools.call("build", folder=str(home / ".triton" / "cache")) == "_yaml"
        assert NOT_READ in tools.call("build", folder=str(home))


MAKES = '''
import os, pickle, tempfile

def make() -> str:
    """Make."""
    folder = tempfile.mkdtemp()
    os.mkdir("a", 0o700, dir_fd=os.open(folder, os.O_RDONLY))
    os.mkdir(os.fsencode(folder) + b"/b")
    assert pickle.loads(pickle.dumps(os.mkdir)) is os.mkdir
    assert os.mkdir in os.supports_dir_fd
    return " ".join(sorted(os.listdir(folder)))
'''


def test_that_folders_are_noted_changes_nothing_for_who_makes_them(attacked: Attacked) -> None:
    attacked.write(mine=MAKES)
    with chat(attacked.tools("./mine.py:make")) as tools:
        assert tools.call("make") == "a b"


def test_a_zip_file_runs_as_it_was_read_and_not_after_a_change(attacked: Attacked, library: Path) -> None:
    zipped = library / "lib.zip"
    plant_zipped(zipped, helper="X = 1\n", **{"sub/inner": "X = 2\n"})
    attacked.write(mine=searching(zipped, f"import helper\nsys.path.append({f'{zipped}/sub'!r})\nimport inner\n{USE}"))
    path = attacked.tools("./mine.py:use")
    with chat(path) as tools:
        assert (tools.call("use", name="helper"), tools.call("use", name="inner")) == ("1", "2")
        tools.kill_host()
        plant_zipped(zipped, helper=attacked.evil, **{"sub/inner": "X = 2\n"})
        assert "lib.zip has changed" in tools.call("use", name="helper")
    plant_zipped(zipped, helper="X = 1\n", **{"sub/inner": "X = 2\n"})
    attacked.accept()
    assert "lib.zip is imported, and is not among what you accepted" in attacked.refusal()
    attacked.accept()
    assert not attacked.refusal()
    plant_zipped(zipped, helper=attacked.evil)
    assert attacked.refusal()
    assert not attacked.ran


def test_a_zip_file_in_the_place_of_an_installed_module_is_refused_by_load_module_too(
    attacked: Attacked, library: Path
) -> None:
    load = 'import zipimport\nzipimport.zipimporter({path!r}).load_module("helper")\n'
    attacked.write(mine=load.format(path=str(library / "lib.zip")) + GREET)
    plant_zipped(library / "lib.zip", helper=attacked.evil)
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert attacked.refusal()
    assert not attacked.ran


def test_code_on_pythonpath_is_read_compared_and_asked_about_like_the_folders(
    attacked: Attacked, library: Path
) -> None:
    attacked = Attacked(attacked.folder, (library, *attacked.python_path))
    (library / "pack").mkdir()  # without __init__.py
    (library / "pack" / "part.py").write_text("import neighbour\n")
    (library / "neighbour.py").touch()
    attacked.write(mine=f"def later():\n    import pack.part\nimport pack.part\n{GREET}")
    attacked.tools("./mine.py:greet")
    told = attacked("tools", "trust").out
    assert str(library / "pack" / "part.py") in told
    assert str(library / "neighbour.py") in told
    assert not attacked.refusal()
    (library / "neighbour.py").write_text(attacked.evil)
    assert attacked.refusal()
    (library / "neighbour.py").write_text("")
    (library / "pack" / "part").mkdir()
    (library / "pack" / "part" / "__init__.py").write_text(attacked.evil)
    assert attacked.refusal()
    assert not attacked.ran


EDITABLE = """
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return spec_from_file_location(name, {path!r}) if name == "edited" else None
"""


def test_a_module_that_an_editable_install_finds_counts_as_local_code(
    attacked: Attacked, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library / "edited.py").write_text("def greeting():\n    return 'Hello'\n")
    made: dict[str, Any] = {"__name__": "__editable___edited_finder"}
    exec(EDITABLE.format(path=str(library / "edited.py")), made)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, made["Finder"]])
    attacked.write(mine=f"import edited\n{GREET}")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert str(library / "edited.py") in read_code(attacked.folder / "tools.yaml").reach["./mine.py"]


def swap(*pairs: tuple[Path, Path]) -> Callable[[], None]:
    """Rename the first of each pair away, and the second into its place."""

    def act() -> None:
        for old, new in pairs:
            old.rename(f"{old}.gone")
            new.rename(old)

    return act


def prepared(path: Path, attacked: Attacked, name: str = "plug.py") -> Path:
    """A folder of older files that is to take another's place."""
    path.mkdir(parents=True)
    (path / "mine.py").write_text((attacked.folder / "mine.py").read_text())
    (path / name).write_text(f"X = 'new'\n{attacked.evil}")
    return path


def folder_moved(attacked: Attacked, library: Path) -> Callable[[], None]:
    (attacked.folder / "plug.py").write_text("X = 'old'\n")
    return swap((attacked.folder, prepared(library / "other", attacked)))


def parent_moved(attacked: Attacked, library: Path) -> Callable[[], None]:
    (attacked.folder / "plug.py").write_text("X = 'old'\n")
    other = attacked.folder.parent.with_name(f"{attacked.folder.parent.name}_other")
    prepared(other / "work", attacked)
    return swap((attacked.folder.parent, other))


def file_behind_a_link(attacked: Attacked, library: Path) -> Callable[[], None]:
    (library / "plug.py").write_text("X = 'old'\n")
    (attacked.folder / "plug.py").symlink_to(library / "plug.py")
    return swap((library, prepared(attacked.folder.parent / "other", attacked)))


def folder_behind_a_link(attacked: Attacked, library: Path) -> Callable[[], None]:
    (library / "__init__.py").write_text("X = 'old'\n")
    (attacked.folder / "plug").symlink_to(library)
    return swap((library, prepared(attacked.folder.parent / "other", attacked, "__init__.py")))


def folder_on_the_search_path(attacked: Attacked, library: Path) -> Callable[[], None]:
    (library / "plug.py").write_text("X = 'old'\n")
    attacked.write(mine=searching(library, USE))
    return swap((library, prepared(attacked.folder.parent / "other", attacked)))


def hard_link(attacked: Attacked, library: Path) -> Callable[[], None]:
    (attacked.folder / "plug.py").write_text("X = 'old'\n")
    (library / "same.py").hardlink_to(attacked.folder / "plug.py")
    return lambda: (library / "same.py").write_text(f"X = 'new'\n{attacked.evil}") and None


def old_times(attacked: Attacked, library: Path) -> Callable[[], None]:
    (attacked.folder / "plug.py").write_text("X = 'old'\n")

    def act() -> None:
        (attacked.folder / "plug.py").write_text(f"X = 'new'\n{attacked.evil}")
        os.utime(attacked.folder / "plug.py", (1, 1))

    return act


WAYS = [
    *(folder_moved, parent_moved, file_behind_a_link, folder_behind_a_link),
    *(folder_on_the_search_path, hard_link, old_times),
]


@pytest.mark.parametrize(
    ("way", "when"),
    [
        *((way, "next-call") for way in WAYS),
        (folder_moved, "question-stands"),
        (folder_behind_a_link, "question-stands"),
    ],
)
def test_in_a_chat_with_a_named_file_nothing_takes_the_place_of_what_was_read(
    attacked: Attacked, library: Path, way: Callable[[Attacked, Path], Callable[[], None]], when: str
) -> None:
    attacked.write(mine=USE)
    act = way(attacked, library)
    ran = attacked.folder / "ran"
    with chat(attacked.tools("./mine.py:use")) as tools:
        assert tools.call("use", name="plug") == "old"
        if when == "next-call":
            act()
            answer = tools.call("use", name="plug")
        else:
            shown = tools.prepare("use", name="plug")
            assert not isinstance(shown, ToolResult)
            tools.kill_host()
            act()
            answer = tools.run(shown)
    assert "new" not in answer
    assert "has changed" in answer or "no file" in answer, answer
    assert not ran.exists()


def test_what_is_written_through_a_mapping_that_was_made_before_the_chat_does_not_run(
    tmp_path_factory: pytest.TempPathFactory, memory_folder: Path
) -> None:
    for place in (memory_folder, tmp_path_factory.mktemp("disk")):
        attacked = Attacked.below(place)
        attacked.write(mine=USE)
        body = f"X = 'new'\n{attacked.evil}".encode()
        plug = attacked.folder / "plug.py"
        plug.write_bytes(b"X = 'old'\n".ljust(len(body), b"#"))
        with plug.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:1] = mapped[0:1]
            with chat(attacked.tools("./mine.py:use")) as tools:
                mapped[:] = body
                assert "plug.py has changed" in tools.call("use", name="plug")
        assert not attacked.ran


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def test_the_folder_by_another_name_on_the_search_path_imports_nothing_new(attacked: Attacked, library: Path) -> None:
    alias = attacked.folder.parent / "alias"
    alias.symlink_to(attacked.folder)
    attacked.write(mine=searching(alias, USE))
    (library / "pack").mkdir()
    (library / "pack" / "__init__.py").write_text(f"X = 'new'\n{attacked.evil}")
    with chat(attacked.tools("./mine.py:use")) as tools:
        (library / "pack").rename(attacked.folder / "moved")
        assert NOT_READ in tools.call("use", name="moved")
    assert not attacked.ran


@pytest.mark.parametrize(
    "starts", ["", "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"]
)
def test_a_helper_that_is_imported_late_runs_and_runs_again_with_a_new_host(attacked: Attacked, starts: str) -> None:
    (attacked.folder.parent / "core.py").write_text("X = 'late'\n")
    lazy = USE.replace("importlib.import_module(name).X", "core.X").replace('"""\n', '"""\n    import core\n')
    attacked.write(mine=starts + searching(attacked.folder.parent, lazy))
    with chat(attacked.tools("./mine.py:use")) as tools:
        assert tools.call("use", name="") == "late"
        tools.kill_host()
        assert tools.call("use", name="") == "late"


def test_reload_takes_what_is_there_now(attacked: Attacked, library: Path) -> None:
    attacked.write(mine=searching(library, f"from core import X\n{USE}"))
    (library / "core.py").write_text("X = 1\n")
    path = attacked.tools("./mine.py:use")
    for value in (1, 2):
        (library / "core.py").write_text(f"X = {value}\n")
        with chat(path) as tools:
            assert tools.call("use", name="core") == str(value)


HELPED = 'def greet(person: str) -> str:\n    """Greet."""\n    return g()\n'
LATE = 'def greet(person: str) -> str:\n    """Greet."""\n    {}\n    return g()\n'


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nsys.path.insert(0, {library!r})\nfrom helper import g\n" + HELPED,
        "import sys\nsys.path.insert(0, {library!r})\n" + LATE.format("from helper import g"),
        "import sys, importlib\nsys.path.insert(0, {library!r})\ng = importlib.import_module('helper').g\n" + HELPED,
        "import sys, importlib\nsys.path.insert(0, {library!r})\n"
        + LATE.format("g = importlib.import_module('helper').g"),
        "import sys, importlib\nsys.path.insert(0, {library!r})\n"
        + LATE.format("g = importlib.import_module('hel' + 'per').g"),
        "import sys\nsys.path.insert(0, {library!r})\n"
        + LATE.format("g = getattr(__builtins__, '__import__')('helper').g"),
        "import importlib.util as u\nspec = u.spec_from_file_location('h', {library!r} + '/helper.py')\n"
        "h = u.module_from_spec(spec)\nspec.loader.exec_module(h)\ng = h.g\n" + HELPED,
    ],
    ids=["statement", "late", "by-name", "late-by-name", "computed", "hidden", "by-path"],
)
@pytest.mark.parametrize("beside", [True, False], ids=["beside", "elsewhere"])
def test_a_grant_ends_with_an_edit_of_any_local_helper(
    attacked: Attacked, library: Path, source: str, beside: bool
) -> None:
    place = attacked.folder if beside else library
    (place / "helper.py").write_text("def g():\n    return 'Hello'\n")
    attacked.write(mine=source.format(library=str(place)))
    before = digest(attacked.tools("./mine.py:greet"))
    assert digest(attacked.folder / "tools.yaml") == before
    (place / "helper.py").write_text("def g():\n    return 'Bye'\n")
    assert digest(attacked.folder / "tools.yaml") != before


def digest(path: Path) -> str:
    """What grants of the file's only tool are keyed by, as a process of its own finds it."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(digest_here, (path,))


def digest_here(path: Path) -> str:
    code = read_code(path)
    install(code)
    return load_tools(code).tools[0].tool.source_digest


@pytest.mark.parametrize("inside", [True, False], ids=["src-below-the-folder", "src-elsewhere"])
def test_a_grant_ends_with_an_edit_of_a_package_on_pythonpath(
    attacked: Attacked, library: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    source = attacked.folder / "src" if inside else library
    (source / "pack").mkdir(parents=True)
    (source / "pack" / "__init__.py").touch()
    (source / "pack" / "tool.py").write_text("from pack.helper import g\n" + HELPED)
    (source / "pack" / "helper.py").write_text("def g():\n    return 'Hello'\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (source, *attacked.python_path))))
    attacked.tools("pack.tool:greet")
    grant(attacked, "greet")
    assert is_granted(attacked, "greet")
    (source / "pack" / "helper.py").write_text("def g():\n    return 'Bye'\n")
    assert not is_granted(attacked, "greet")


def test_a_grant_of_a_found_file_ends_with_an_edit_of_what_was_accepted_later(attacked: Attacked) -> None:
    name = "importlib.import_module('hel' + 'per')"
    attacked.write(mine="import importlib\n" + LATE.format(f"g = {name}.g"), helper="def g():\n    return 'Hello'\n")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert "helper.py" in attacked.ask([["greet", {"person": "A"}]], "Done.", flags=("--yes",)).err
    attacked.accept()
    before = attacked.load().tools[0].source_digest
    attacked.write(helper="def g():\n    return 'Bye'\n")
    attacked.accept()
    assert attacked.load().tools[0].source_digest != before


@pytest.mark.parametrize(
    ("source", "computed"),
    [
        ("model.eval(); cursor.exec('x')", False),
        ("import importlib.resources as r; r.files('x')", False),
        ("from importlib import import_module\nimport_module('a.b')", False),
        ("from importlib import import_module as load\nload('a')", True),
        ("import importlib\nimportlib.import_module('a' + x)", True),
        ("getattr(importlib, 'import_module')(x)", True),
        ("eval(x)", True),
        ("import pickle", True),
        ("from joblib import load", True),
    ],
)
def test_code_that_may_import_by_computed_names_is_known(attacked: Attacked, source: str, computed: bool) -> None:
    attacked.write(mine=f"{source}\n{GREET}")
    assert read_code(attacked.tools("./mine.py:greet")).computed == (("./mine.py",) if computed else ())


def test_only_so_much_is_read_for_imports_by_computed_names_and_nothing_else_is_imported(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked.write(mine=USE, near="X = 'near'\n")
    deep = attacked.folder / "deep"
    deep.mkdir()
    for number in range(50):
        (deep / f"m{number}.py").write_text("X = 'deep'\n")
    (deep / "again").symlink_to(attacked.folder)
    whole = digests_below(attacked.folder, [str(attacked.folder)])
    assert len(whole) == 52
    monkeypatch.setattr("toolchat.tools.local_modules.MAX_SEEN", 4)
    assert set(digests_below(attacked.folder, [str(attacked.folder)])) >= {str(attacked.folder / "near.py")}
    monkeypatch.setattr("toolchat.tools.local_modules.MAX_SEEN_BYTES", 5)
    assert not digests_below(attacked.folder, [str(attacked.folder)])
