"""`toolchat tools new`: a function and its entry to begin a tool with. Never overwrites what is there."""

from __future__ import annotations

import keyword
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from toolchat.tools.file_keys import TOOL_NAME
from toolchat.tools.problems import Place
from toolchat.tools.tools_file import read_tools_file, scan_tools_file
from toolchat.tools.yaml_file import compose, read_bytes
from toolchat.wire.errors import ToolchatError, UsageError

_SOURCE = '''"""The tool {name}, for toolchat."""

from __future__ import annotations

from typing import Literal


def {name}(text: str, style: Literal["plain", "loud"] = "plain", limit: int = 100) -> str:
    """Say in one sentence what this does, and when to use it.

    Args:
        text: what it is given; an example helps, such as Dallas
        style: how the answer is written
        limit: at most so many characters
    """
    if not text.strip():
        raise ValueError("text is empty; give at least one word")
    answer = text[:limit]
    return answer.upper() if style == "loud" else answer
'''
_FILE = "version: 1\n\ntools:\n"


@dataclass(frozen=True, slots=True)
class NewTool:
    """What was made."""

    name: str
    source: Path
    file: Path
    """The tools file that has its entry now."""
    is_new: bool
    """Whether the tools file is new, too."""


def new_tool(name: str, file: Path) -> NewTool:
    """Write `NAME.py` beside the tools file `file`, which gets an entry for it, and is made where there is none.

    Raises:
        UsageError: the name cannot be a tool's, or something of that name is there already; nothing is written then.
        ToolchatError: a file cannot be written.
    """
    _check_name(name)
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}; expected one; make it, or name another file")
    source = file.parent / f"{name}.py"
    if source.exists() or source.is_symlink():
        raise UsageError(f"{source}: is there already, and nothing was written; choose another name")
    reference = f"./{source.name}:{name}"
    exists = file.exists() or file.is_symlink()
    text = _with_entry(file, name, reference) if exists else f"{_FILE}  - callable: {reference}\n"
    _write(source, _SOURCE.format(name=name), new=True)
    try:
        _write(file, text, new=not exists)
    except ToolchatError:
        source.unlink(missing_ok=True)
        raise
    return NewTool(name, source, file, not exists)


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or not TOOL_NAME.fullmatch(name):
        fix = "".join(char if char.isalnum() and char.isascii() else "_" for char in name).strip("_")
        usable = fix.isidentifier() and not keyword.iskeyword(fix) and TOOL_NAME.fullmatch(fix)
        hint = f'write for example "{fix}"' if usable else "write for example find_books"
        raise UsageError(f'"{name}": expected the name of a Python function, in letters a-z, digits and _; {hint}')
    if name in sys.stdlib_module_names:
        what = f'"{name}" is a module of Python\'s own, whose place {name}.py would take'
        raise UsageError(f"{what}; expected another name; write for example my_{name}")


def _with_entry(file: Path, name: str, reference: str) -> str:
    """What a tools file holds, with one more entry; all the rest as it is, comments too."""
    data = read_bytes(file)
    before = read_tools_file(file, data)
    for entry in before.entries:
        if entry.name_of(entry.callable_ref) == name:
            place = f"{file}:{entry.place.line}:{entry.place.column}"
            raise UsageError(f'{place}: a tool is named "{name}" already, and nothing was written; choose another name')
    text = data.decode()
    changed = _appended(file, text, f"- callable: {reference}")
    if changed is not None:
        after, problems = scan_tools_file(file, changed.encode())
        # Read back: YAML can be written in more ways than are foreseen here.
        if not problems and [entry.callable_ref for entry in after.entries] == [
            *(entry.callable_ref for entry in before.entries),
            reference,
        ]:
            return changed
    where = Place.of(_tools_node(file, text))
    what = f"{file}:{where.line}:{where.column}: an entry cannot be added to a list that is written like this"
    raise UsageError(f"{what}, and nothing was written; begin each tool in a row of its own with - callable:")


def _tools_node(file: Path, text: str) -> yaml.Node:
    root = compose(file, text.encode())
    assert isinstance(root, yaml.MappingNode)
    node: yaml.Node = next(value for key, value in root.value if key.value == "tools")
    return node


def _appended(file: Path, text: str, entry: str) -> str | None:
    """`text` with the row `entry` behind the last item of its list of tools; None where that is not in rows."""
    tools = _tools_node(file, text)
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if not isinstance(tools, yaml.SequenceNode) or (tools.flow_style and tools.value):
        return None
    if not tools.value:
        row = lines[tools.start_mark.line]
        if row.split("#")[0].strip() != "tools: []":
            return None
        lines[tools.start_mark.line] = row.replace("[]", "", 1).replace("tools: ", "tools:", 1)
        at, indent = tools.start_mark.line + 1, "  "
    else:
        last = tools.value[-1]
        at = last.end_mark.line + (1 if last.end_mark.column else 0)
        while at > 0 and not lines[at - 1].split("#")[0].strip():
            at -= 1  # blank rows and comments behind the last item belong to what follows
        dash = lines[tools.value[0].start_mark.line]
        indent = dash[: len(dash) - len(dash.lstrip())]
    if at > 0 and not lines[at - 1].endswith("\n"):
        lines[at - 1] += newline
    lines.insert(at, f"{indent}{entry}{newline}")
    return "".join(lines)


def _write(path: Path, text: str, *, new: bool) -> None:
    """Write a file; a new one only where there is none, an old one through a link to where it lies."""
    try:
        if new:
            with path.open("x", encoding="utf-8", newline="") as stream:
                stream.write(text)
            return
        with path.open("r+", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.truncate()
    except FileExistsError:
        raise UsageError(f"{path}: is there already, and nothing was written; choose another name") from None
    except OSError as error:
        raise ToolchatError(f"{path}: cannot be written: {error.strerror}") from None
