"""Makes the tool of one callable: its schema, its description and the digest that identifies it.

Whatever an object does while it is looked at is a problem of its own tool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.tools.bound import expanded_arguments, fit_arguments
from toolchat.tools.code import ToolsCode, source_digest
from toolchat.tools.commands import Command, installed_programs
from toolchat.tools.entry import ToolEntry
from toolchat.tools.file_keys import MAX_DESCRIPTION, TOOL_NAME
from toolchat.tools.importing import quiet
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place, reason
from toolchat.tools.schema import FunctionSchema, ParametersError, SchemaError, function_schema
from toolchat.tools.toolbox import LoadedTool, Tool, ToolOptions, Untyped

Digest = Callable[[ToolsCode, tuple[str, ...]], str]
"""A tool's `source_digest`, of the code and the files that were imported."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one tool comes from."""

    function: Callable[..., Any]
    name: str
    reference: str
    options: ToolOptions
    description: str | None = None
    parameters: Mapping[str, ParameterEntry] | None = None
    """None where the file says nothing of them."""
    arguments: Mapping[str, Any] | None = None
    misread: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    group: str | None = None
    made_of: type | None = None
    owner: Any = None
    command: Command | None = None


class NameProblem(SchemaError):  # noqa: N818
    """The file gives a name that no tool can have."""


@dataclass(frozen=True, slots=True)
class Made:
    """The tool of a callable."""

    loaded: LoadedTool
    """Without its `source_digest`."""
    digest: Digest
    described: bool
    """Whether the file or the docstring says what it does."""


def make_tool(entry: ToolEntry, source: Source, where: str, *, folder: Path, environment: Mapping[str, str]) -> Made:
    """The tool of `source`, which an entry of the file at `where` stands for.

    Args:
        folder: of the tools file.
        environment: the values of the variables that the file gives the function.

    Raises:
        ParametersError: what the file says of its parameters does not fit the function.
        SchemaError: it cannot be a tool.
    """
    bound = _bound(source, environment)
    schema = _schema(source, bound, folder)
    words = source.description or (schema.whole if source.made_of is not None else schema.summary)
    description = tool_description(words, source.reference)
    if not TOOL_NAME.fullmatch(source.name):
        what = f'"{source.name}" cannot be a tool\'s name; expected 1 to 64 of the characters a-z A-Z 0-9 _ -'
        raise NameProblem(f"{what}; shorten or change name:")
    tool = Tool(
        name=source.name,
        description=description,
        parameters=schema.parameters,
        callable_ref=source.reference,
        signature=schema.signature,
        place=where,
        options=source.options,
        folder=str(folder) if source.options.cwd is not None else None,
        group=source.group,
        notes=schema.notes,
        untyped=schema.untyped,
        from_file={name: tuple(said.keywords) for name, said in (source.parameters or {}).items() if said.keywords},
        order=entry.order,
    )

    def digest(code: ToolsCode, imported: tuple[str, ...]) -> str:
        return source_digest(
            source.function,
            entry,
            code,
            parameters=schema.parameters,
            reference=source.reference,
            plain=schema.plain,
            made_of=source.made_of,
            loaded=imported,
            programs=installed_programs(source.command) if source.command is not None else (),
        )

    return Made(LoadedTool(tool, schema.call, schema.model, source.owner), digest, words is not None)


def _bound(source: Source, environment: Mapping[str, str]) -> dict[str, Any]:
    """The values that the file gives the function. Raises ParametersError."""
    given, problems = expanded_arguments(source.arguments, source.places, environment)
    if given:
        name = source.reference
        problems = problems or fit_arguments(
            source.function, source.function, given, source.places, name=name, misread=source.misread
        )
    if problems:
        raise ParametersError(problems)
    return given


def _schema(source: Source, bound: Mapping[str, Any], folder: Path) -> FunctionSchema:
    """Whatever an object does while it is looked at is a problem of its own tool."""
    refuse = source.options.untyped is Untyped.REFUSE
    try:
        with quiet():
            return function_schema(source.function, source.parameters, refuse_untyped=refuse, bound=bound)
    except (SchemaError, ParametersError, KeyboardInterrupt):
        raise
    except BaseException as error:
        what = f"it cannot be looked at: {reason(error, folder)}"
        raise SchemaError(f"{what}; expected a signature and a docstring; wrap it in a def") from None


def refusal(reference: str, problem: SchemaError) -> str:
    text = str(problem)
    return text if text.startswith('"') else f'"{reference}" cannot be a tool: {text}'


def bare_description(reference: str) -> str:
    """What stands for a description where there is none."""
    where, _, name = reference.rpartition(":")
    return f"Calls {name}." if where.endswith(".py") or not where else f"Calls {where}.{name}."


def tool_description(words: str | None, reference: str) -> str:
    """What the model is told that a tool does, no longer than may be.

    Args:
        words: those of the tools file or of a docstring. A function without is told by its name, which often says
            enough, rather than refused: it can be called all the same.
        reference: `module:name`, or a name alone.
    """
    text = words or bare_description(reference)
    return text if len(text) <= MAX_DESCRIPTION else _whole_sentences(text)


def _whole_sentences(text: str) -> str:
    """The beginning of a docstring's first paragraph that is longer than a description may be."""
    head = text[: MAX_DESCRIPTION - 1]
    end = max(head.rfind(mark) for mark in (". ", "! ", "? "))
    return head[: end + 1] if end > 0 else f"{head.rpartition(' ')[0] or head}…"
