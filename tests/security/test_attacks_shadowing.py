"""Attacks with new files: what takes the place of an installed module, or of a folder, was accepted by nobody."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest
from at_the_terminal import reply
from attacked_folder import GREET, Attacked, chat, ended, toolchat

from toolchat.cli.trust_question import describe
from toolchat.tools.code import read_code
from toolchat.tools.import_guard import ImportGuard, Whose
from toolchat.tools.run import load_toolbox

pytestmark = pytest.mark.process

FANCY = "try:\n    import simplefancy\nexcept ImportError:\n    simplefancy = None\n"
UNITS = "toolchat.samples.units:convert_units"


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    """With an installed package, `fancy`, that takes `simplefancy` where it is there."""
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "fancy.py").write_text(FANCY)
    return Attacked.below(tmp_path, site)


def test_a_new_file_in_the_place_of_an_installed_module_is_refused_by_name_and_asked_about(attacked: Attacked) -> None:
    attacked.write(mine=f"import fancy\n{GREET}")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert not attacked.refusal()
    attacked.write(simplefancy=attacked.evil)
    assert "simplefancy.py is imported, and is not among what you accepted" in attacked.refusal()
    assert not attacked.ran
    with attacked.terminal(*toolchat("tools", "list")) as child:
        child.expect(r"simplefancy\.py")
        child.expect("Accept it")
        assert not attacked.ran
        reply(child, "n")
        assert ended(child) == 2
    assert not attacked.ran
    # Whoever has looked at it may accept it, and is not asked again.
    attacked.accept()
    assert not attacked.refusal()
    assert attacked.ran


def test_a_new_file_that_is_imported_within_a_call_is_refused_by_name(attacked: Attacked) -> None:
    lazy = 'def go() -> str:\n    """Go."""\n    import fancy\n    return str(fancy.simplefancy)\n'
    attacked.write(mine=lazy)
    attacked.tools("./mine.py:go")
    attacked.accept()
    attacked.write(simplefancy=attacked.evil)
    ran = attacked.ask([["go", {}]], "Done.", flags=("--yes",))
    assert "simplefancy.py" in ran.err
    assert "toolchat tools trust" in ran.err
    assert not attacked.ran
    assert attacked.refusal()


@pytest.mark.parametrize("also", ["", "import pint, simpleeval\n"])
def test_the_samples_never_import_from_the_folder(attacked: Attacked, also: str) -> None:
    attacked.write(mine=also + GREET, pint="UnitRegistry = None\n", simpleeval="SimpleEval = None\n")
    path = attacked.tools("./mine.py:greet", UNITS, "toolchat.samples.calculator:calculate")
    with chat(path) as tools:
        assert tools.call("convert_units", value=1, from_unit="km", to_unit="m") == "1000"
        assert tools.call("calculate", expression="6 * 7") == "42"
        assert tools.call("greet", person="A") == "Hello A"


def test_a_package_that_is_a_link_counts_with_what_it_leads_to(attacked: Attacked) -> None:
    elsewhere = attacked.folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "__init__.py").touch()
    (attacked.folder / "pack").mkdir()
    (attacked.folder / "pack" / "__init__.py").touch()
    (attacked.folder / "pack" / "sub").symlink_to(elsewhere)
    attacked.write(mine=f"import pack.sub\n{GREET}")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert not attacked.refusal()
    (elsewhere / "__init__.py").write_text(attacked.evil)
    assert attacked.refusal()
    (elsewhere / "__init__.py").write_text("")
    assert not attacked.refusal()
    other = attacked.folder.parent / "other"
    other.mkdir()
    (other / "__init__.py").write_text(attacked.evil)
    (attacked.folder / "pack" / "sub").unlink()
    (attacked.folder / "pack" / "sub").symlink_to(other)
    assert attacked.refusal()
    assert not attacked.ran


def test_a_package_that_links_to_itself_is_read_once(attacked: Attacked) -> None:
    (attacked.folder / "pack").mkdir()
    (attacked.folder / "pack" / "__init__.py").touch()
    (attacked.folder / "pack" / "again").symlink_to(attacked.folder / "pack")
    attacked.write(mine=f"import pack\n{GREET}")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert not attacked.refusal()


@pytest.mark.long
@pytest.mark.parametrize("deep", [20, 150])
def test_links_that_lead_everywhere_are_given_up_in_one_line(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch, deep: int
) -> None:
    monkeypatch.setattr("toolchat.tools.local_modules.MAX_PLACES", 1000)
    for number in range(deep):
        folder = attacked.folder / f"p{number}"
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).symlink_to(attacked.folder / f"p{number + 1}")
    attacked.write(mine=f"import p0\n{GREET}")
    attacked.tools("./mine.py:greet")
    refusal = attacked.refusal()
    assert "expected at most 1000 files and folders, 100 deep" in refusal
    assert "\n" not in refusal


def test_an_accepted_file_in_the_place_of_another_is_refused(attacked: Attacked) -> None:
    attacked.write(mine=f"import harmless, other\n{GREET}", harmless="", other=f"def use():\n    {attacked.evil}")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    (attacked.folder / "harmless.py").unlink()
    (attacked.folder / "harmless.py").symlink_to("other.py")
    assert attacked.refusal()


@pytest.mark.parametrize("name", ["files:_walk", "files:_opened", "calculator:_factorial"])
def test_a_file_of_samples_names_the_six_sample_tools_and_nothing_else_of_the_package(
    attacked: Attacked, name: str
) -> None:
    attacked.tools(UNITS, f"toolchat.samples.{name}")
    assert "toolchat tools trust" in attacked.refusal()


def test_a_name_that_looks_like_a_sample_is_marked_wherever_it_is_accepted(attacked: Attacked) -> None:
    name = "t\u043e\u043elchat.samples.weather:get_current_weather"
    (attacked.folder / "t\u043e\u043elchat" / "samples").mkdir(parents=True)
    (attacked.folder / "t\u043e\u043elchat" / "samples" / "weather.py").write_text(
        GREET.replace("greet", "get_current_weather")
    )
    attacked.tools(name)
    with attacked.terminal(*toolchat("tools", "list")) as child:
        child.expect("CYRILLIC SMALL LETTER O")
        child.expect("Accept it")
        reply(child, "n")
        assert ended(child) == 2
    assert any("CYRILLIC SMALL LETTER O" in row for row in describe(read_code(attacked.folder / "tools.yaml")))
    assert "CYRILLIC SMALL LETTER O" in attacked("tools", "list", "--tools", "tools.yaml").out


def test_code_beside_the_folder_that_accepted_code_reaches_for_is_refused_until_it_is_accepted(
    attacked: Attacked,
) -> None:
    library = attacked.folder.parent / "src" / "mylib"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("from mylib import inner\n")
    (library / "inner.py").touch()
    attacked.write(mine=f"import sys\nsys.path.append({str(library.parent)!r})\nimport mylib\n{GREET}")
    path = attacked.tools("./mine.py:greet")
    # A person who named the file has consented to what its code does.
    assert load_toolbox(path).names == ("greet",)
    attacked.accept()
    assert str(library / "__init__.py") in attacked.refusal()
    # The package is accepted as a whole.
    attacked.accept()
    assert not attacked.refusal()
    (library / "inner.py").write_text(attacked.evil)
    assert attacked.refusal()
    assert not attacked.ran


def test_what_is_installed_is_told_from_what_a_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, site, source = tmp_path / "work", tmp_path / "dist-packages", tmp_path / "work" / "src"
    editable, inner = tmp_path / "src", tmp_path / "work" / "site-packages"
    for made in (folder, site, source, editable, inner):
        made.mkdir()
    (folder / "tools.yaml").write_text("version: 1\ntools: []\n")
    (folder / "link").symlink_to(site)
    (editable / "link").symlink_to(site)
    (site / "link").symlink_to(folder)
    monkeypatch.setattr(sys, "path", ["", *map(str, (site, folder, source, editable, inner)), *sys.path])
    virtual = folder / ".venv" / "site-packages"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"purelib": str(virtual), "data": str(folder)})
    guard = ImportGuard(read_code(folder / "tools.yaml"))
    expected = {
        folder / "mine.py": Whose.FOLDER,
        folder / "link" / "fancy.py": Whose.FOLDER,
        source / "mine.py": Whose.FOLDER,
        inner / "mine.py": Whose.FOLDER,
        editable / "mine.py": Whose.OTHER,
        editable / "link" / "fancy.py": Whose.OTHER,
        tmp_path / "other.py": Whose.OTHER,
        site / "fancy.py": Whose.INSTALLED,
        site / "link" / "mine.py": Whose.INSTALLED,
        virtual / "requests.py": Whose.INSTALLED,
        Path(pytest.__file__): Whose.INSTALLED,
    }
    assert {path: guard.whose(str(path)) for path in expected} == expected
