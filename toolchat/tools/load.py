"""Loads a toolbox from a tools file: reads the file, imports what it names, makes the schemas.

All that is wrong is reported together, one line a problem, at the place in the file that names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchat.tools import import_guard
from toolchat.tools.advice import advice
from toolchat.tools.classes import (
    class_problems,
    function_problems,
    has_methods,
    make_instance,
    method_names,
    method_problems,
)
from toolchat.tools.code import ToolsCode, read_code, source_digest
from toolchat.tools.importing import CallableError, ModuleError, import_callable, quiet
from toolchat.tools.problems import Problems, reason
from toolchat.tools.schema import FunctionSchema, ParametersError, SchemaError, function_schema
from toolchat.tools.signatures import is_record
from toolchat.tools.spec import MAX_DESCRIPTION, TOOL_NAME, ToolEntry, sample_tools_path, scan_tools_file
from toolchat.tools.toolbox import LoadedTool, LoadedToolbox, Tool, Untyped

__all__ = ["load_tools", "sample_tools_path"]


def load_tools(source: Path | ToolsCode, only: Callable[[ToolEntry], bool] | None = None) -> LoadedToolbox:
    """Load the tools of a file. This runs their modules; see `toolchat.tools.trust`.

    With `only`, those entries alone: nothing is imported for the others.

    A class is made here, once, so that a constructor that fails is a problem of the file.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    code = source if isinstance(source, ToolsCode) else read_code(source)
    file, problems = scan_tools_file(code.path, code.text)
    loader = _Loader(code.folder, problems)
    tools: dict[str, LoadedTool] = {}
    digests: dict[str, _Digest] = {}
    for entry in file.entries:
        if only is not None and not only(entry):
            continue
        for loaded, digest in loader.tools(entry):
            name = loaded.tool.name
            if name in tools:
                what = f'a second tool is named "{name}"; the first stands at {tools[name].tool.place}'
                problems.add(
                    entry.places.get("name", entry.place), f"{what}; expected each name once; add another name:"
                )
            else:
                tools[name], digests[name] = loaded, digest
    if problems:
        raise problems.error([*loader.notices, *(note for loaded in tools.values() for note in advice(loaded.tool))])
    # Of what may run for a tool only now it is known what there is.
    guard = import_guard.current()
    code, imported = guard.loaded() if guard is not None else (code, ())
    for name, loaded in tools.items():
        tool = replace(loaded.tool, source_digest=digests[name](code, imported))
        tools[name] = replace(loaded, tool=tool)
    return LoadedToolbox(code.path, tuple(tools.values()), tuple(loader.notices))


_Digest = Callable[[ToolsCode, tuple[str, ...]], str]
"""A tool's `source_digest`, of the code and the files that were imported."""


class _Loader:
    """Loads the entries of one file, one after the other."""

    def __init__(self, folder: Path, problems: Problems) -> None:
        self._folder = folder
        self._problems = problems
        self._failed: set[str] = set()
        self._groups: set[str] = set()
        self.notices: list[str] = []

    def tools(self, entry: ToolEntry) -> Iterator[tuple[LoadedTool, _Digest]]:
        """The tools of an entry: one of a function, several of a class, none where something is wrong."""
        # A module that cannot be imported is one problem, not one for each of its functions.
        if entry.target.where in self._failed:
            return
        try:
            imported = import_callable(entry, self._folder)
        except CallableError as problem:
            self._problems.add(entry.place, str(problem))
            if isinstance(problem, ModuleError):
                self._failed.add(entry.target.where)
            return
        kind = "module" if entry.target.file is None else "file"
        self._printed(entry, f'{kind} "{entry.target.where}"', "while it was imported", imported.printed)
        if imported.owner is not None:
            yield from self._class(entry, imported.owner, entry.target.name)
            return
        if inspect.isclass(imported.value) and not (is_record(imported.value) and not has_methods(imported.value)):
            yield from self._class(entry, imported.value)
            return
        for place, message in function_problems(entry):
            self._problems.add(place, message)
        group = entry.target.where if entry.options.stateful else None
        loaded = self._tool(entry, imported.value, entry.name or entry.target.name, entry.callable_ref, group)
        if loaded is not None:
            yield loaded

    def _class(self, entry: ToolEntry, made_of: type, only: str | None = None) -> Iterator[tuple[LoadedTool, _Digest]]:
        """The methods of a class that is made here; with `only`, that one, which the entry names itself."""
        wrong = class_problems(entry, made_of) if only is None else method_problems(entry)
        instance: Any = None
        if not wrong and entry.sound:
            with quiet() as output:
                instance, wrong = make_instance(entry, made_of, self._folder)
            self._printed(entry, f'"{entry.callable_ref}"', "while it was made", output.getvalue())
        for place, message in wrong:
            self._problems.add(place, message)
        if wrong or not entry.sound:
            return
        stateful = replace(entry, options=replace(entry.options, stateful=True))
        group = self._group(entry)
        for method in method_names(entry, made_of) if only is None else (only,):
            name = entry.name_of(entry.callable_ref if only else f"{entry.callable_ref}.{method}") or method
            reference = entry.callable_ref if only else f"{entry.callable_ref}.{method}"
            loaded = self._tool(stateful, getattr(instance, method), name, reference, group, made_of)
            if loaded is not None:
                yield loaded

    def _group(self, entry: ToolEntry) -> str:
        """The class's name, counted where one file makes several instances: each has its own process."""
        group, number = entry.callable_ref, 1
        while group in self._groups:
            number += 1
            group = f"{entry.callable_ref} {number}"
        self._groups.add(group)
        return group

    def _tool(
        self,
        entry: ToolEntry,
        function: Callable[..., Any],
        name: str,
        reference: str,
        group: str | None,
        made_of: type | None = None,
    ) -> tuple[LoadedTool, _Digest] | None:
        try:
            schema = self._schema(function, entry)
            in_class = made_of is not None and reference != entry.callable_ref
            description = _description(entry, schema.summary, reference, in_class=in_class)
            if not TOOL_NAME.fullmatch(name):
                what = f'"{name}" cannot be a tool\'s name; expected 1 to 64 of the characters a-z A-Z 0-9 _ -'
                raise SchemaError(f"{what}; shorten or change name:")
        except ParametersError as error:
            for place, message in error.problems:
                self._problems.add(place, message)
            return None
        except SchemaError as problem:
            text = str(problem)
            self._problems.add(entry.place, text if text.startswith('"') else f'"{reference}" cannot be a tool: {text}')
            return None
        tool = Tool(
            name=name,
            description=description,
            parameters=schema.parameters,
            callable_ref=reference,
            signature=schema.signature,
            place=self._problems.where(entry.place),
            options=entry.options,
            group=group,
            notes=schema.notes,
            untyped=schema.untyped,
            from_file={name: tuple(said.keywords) for name, said in entry.parameters.items() if said.keywords},
        )
        where = self._problems.where(entry.place)
        self.notices.extend(f'{where}: "{reference}" {note}' for note in schema.notes)

        def digest(code: ToolsCode, imported: tuple[str, ...]) -> str:
            return source_digest(
                function,
                entry,
                code,
                parameters=schema.parameters,
                reference=reference,
                plain=schema.plain,
                made_of=made_of,
                loaded=imported,
            )

        return LoadedTool(tool, schema.call, schema.model), digest

    def _schema(self, function: Callable[..., Any], entry: ToolEntry) -> FunctionSchema:
        """Whatever an object does while it is looked at is a problem of its own tool."""
        try:
            with quiet():
                entries = entry.parameters if "parameters" in entry.places else None
                return function_schema(function, entries, refuse_untyped=entry.options.untyped is Untyped.REFUSE)
        except (SchemaError, ParametersError, KeyboardInterrupt):
            raise
        except BaseException as error:
            what = f"it cannot be looked at: {reason(error, self._folder)}"
            raise SchemaError(f"{what}; expected a signature and a docstring; wrap it in a def") from None

    def _printed(self, entry: ToolEntry, what: str, when: str, text: str) -> None:
        if text.strip():
            first = text.strip().splitlines()[0][:80]
            where = self._problems.where(entry.place)
            self.notices.append(
                f'{where}: {what} printed "{first}" {when}; it was not shown; print from the function instead'
            )


def _description(entry: ToolEntry, summary: str | None, reference: str, *, in_class: bool) -> str:
    text = entry.description or summary
    if text is None:
        what = f'"{reference}" has no description'
        # The entry of a class has no place for the descriptions of its methods.
        fix = "add a docstring, or leave it out by methods:" if in_class else "add description: or a docstring"
        raise SchemaError(f"{what}; expected one sentence for the model; {fix}")
    return text if len(text) <= MAX_DESCRIPTION else _whole_sentences(text)


def _whole_sentences(text: str) -> str:
    """The beginning of a docstring's first paragraph that is longer than a description may be."""
    head = text[: MAX_DESCRIPTION - 1]
    end = max(head.rfind(mark) for mark in (". ", "! ", "? "))
    return head[: end + 1] if end > 0 else f"{head.rpartition(' ')[0] or head}…"
