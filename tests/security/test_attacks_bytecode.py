"""Attacks with compiled code: what a reviewer reads is the source, and what runs must be that."""

from __future__ import annotations

import importlib.util
import py_compile
import shutil
from pathlib import Path

import pytest
from attacked_folder import GREET, Attacked, chat

pytestmark = pytest.mark.process


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    return Attacked.below(tmp_path)


def plant(attacked: Attacked, source: Path) -> None:
    """Bytecode of other code beside `source`, such as Python takes without looking at the source (PEP 552)."""
    good = source.read_text()
    source.write_text(good + attacked.evil)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    made = py_compile.compile(str(source), invalidation_mode=mode, doraise=True)
    assert made == importlib.util.cache_from_source(str(source))
    source.write_text(good)


def test_bytecode_that_comes_with_a_folder_never_runs(attacked: Attacked) -> None:
    (attacked.folder / "pack").mkdir()
    (attacked.folder / "pack" / "__init__.py").touch()
    (attacked.folder / "pack" / "inner.py").touch()
    attacked.write(mine=f"import helper\nimport pack.inner\n{GREET}", helper="")
    attacked.tools("./mine.py:greet", approval="allow")
    for victim in ("mine.py", "helper.py", "pack/__init__.py", "pack/inner.py"):
        plant(attacked, attacked.folder / victim)
    attacked.accept()
    assert not attacked.refusal()
    assert not attacked.ran


def test_bytecode_that_comes_with_a_folder_never_runs_in_a_call_or_in_a_program_that_a_tool_starts(
    attacked: Attacked,
) -> None:
    attacked.write(
        mine='import subprocess, sys\n\ndef go() -> str:\n    """Go."""\n    import helper\n'
        '    return subprocess.run([sys.executable, "-c", "import helper; print(helper.X)"], capture_output=True,'
        " text=True, cwd=helper.__file__.rpartition('/')[0]).stdout\n",
        helper="X = 1\n",
    )
    path = attacked.tools("./mine.py:go")
    plant(attacked, attacked.folder / "helper.py")
    with chat(path) as tools:
        assert tools.call("go") == "1\n"
    assert not attacked.ran


def test_no_bytecode_is_written_into_a_folder(attacked: Attacked) -> None:
    attacked.write(mine=f"import helper\n{GREET}", helper="")
    attacked.tools("mine:greet")
    attacked.accept()
    assert attacked.load().names == ("greet",)
    assert not (attacked.folder / "__pycache__").exists()


def test_compiled_modules_that_take_the_place_of_accepted_source_are_refused(attacked: Attacked) -> None:
    attacked.write(mine=f"def later():\n    import helper\n{GREET}", helper="")
    attacked.tools("./mine.py:greet")
    attacked.accept()
    assert not attacked.refusal()
    # A package comes before a module, and a compiled module before a .py file.
    (attacked.folder / "other.py").write_text(attacked.evil)
    py_compile.compile(str(attacked.folder / "other.py"), cfile=str(attacked.folder / "helper.pyc"), doraise=True)
    assert attacked.refusal()
    (attacked.folder / "helper.pyc").unlink()
    assert not attacked.refusal()
    (attacked.folder / "helper").mkdir()
    (attacked.folder / "helper" / "__init__.py").write_text(attacked.evil)
    assert attacked.refusal()
    assert not attacked.ran


SHARED = [Path(found.origin) for found in [importlib.util.find_spec("yaml._yaml")] if found and found.origin]


@pytest.mark.skipif(not SHARED, reason="this PyYAML was built without libyaml")
def test_a_compiled_module_runs_as_it_was_accepted_and_not_after_a_change(attacked: Attacked) -> None:
    library = attacked.folder / f"_yaml{''.join(SHARED[0].suffixes)}"
    shutil.copy(SHARED[0], library)
    attacked.write(mine='def version() -> str:\n    """V."""\n    import _yaml\n    return _yaml.__file__\n')
    path = attacked.tools("./mine.py:version")
    with chat(path) as tools:
        assert tools.call("version") == str(library)
        with library.open("ab") as file:
            file.write(b"changed")
        assert "has changed" in tools.call("version")


def test_sourceless_bytecode_runs_as_it_was_accepted_and_not_after_a_change(attacked: Attacked) -> None:
    attacked.write(mine='def value() -> int:\n    """V."""\n    import helper\n    return helper.X\n')
    (attacked.folder / "source.py").write_text("X = 1\n")
    compiled = attacked.folder / "helper.pyc"
    py_compile.compile(str(attacked.folder / "source.py"), cfile=str(compiled), doraise=True)
    with chat(attacked.tools("./mine.py:value")) as tools:
        assert tools.call("value") == "1"
        (attacked.folder / "source.py").write_text(f"X = 1\n{attacked.evil}")
        py_compile.compile(str(attacked.folder / "source.py"), cfile=str(compiled), doraise=True)
        assert "has changed" in tools.call("value")
    assert not attacked.ran
