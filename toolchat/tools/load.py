"""From a tools file to a toolbox: reads the file, imports what it names, makes the schemas.

All that is wrong is reported together, one line a problem, at the place in the file that names it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from toolchat.tools.importing import CallableError, import_callable
from toolchat.tools.schema import SchemaError, function_schema
from toolchat.tools.spec import ToolEntry, read_tools_file
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire.errors import UsageError


def sample_tools_path() -> Path:
    """The tools file that is shipped with toolchat."""
    return Path(str(files("toolchat.samples") / "tools.yaml"))


def load_tools(path: Path) -> Toolbox:
    """Load the tools that the file at `path` names. This runs their modules; see `toolchat.tools.trust`.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    folder = path.resolve().parent
    tools: list[Tool] = []
    problems: list[str] = []
    notices: list[str] = []
    for entry in read_tools_file(path).entries:
        try:
            tools.append(_tool(entry, folder, notices))
        except (CallableError, SchemaError) as problem:
            problems.append(f"{entry.place}: {problem}")
    if problems:
        raise UsageError("\n".join(problems))
    return Toolbox(path, tuple(tools), tuple(notices))


def _tool(entry: ToolEntry, folder: Path, notices: list[str]) -> Tool:
    imported = import_callable(entry, folder)
    if imported.printed.strip():
        first = imported.printed.strip().splitlines()[0][:80]
        what = f'module "{entry.module}" printed "{first}" while it was imported'
        notices.append(f"{entry.place}: {what}; it was not shown; print from the function instead")
    try:
        schema = function_schema(imported.function)
    except SchemaError as problem:
        raise SchemaError(f'"{entry.callable_ref}" cannot be a tool: {problem}') from None
    description = entry.description or schema.summary
    if description is None:
        what = f'"{entry.callable_ref}" has no description'
        raise SchemaError(f"{what}; expected one sentence for the model; add description: or a docstring")
    return Tool(
        name=entry.name,
        description=description,
        parameters=schema.parameters,
        function=imported.function,
        callable_ref=entry.callable_ref,
        signature=schema.signature,
        model=schema.model,
        place=entry.place,
    )
