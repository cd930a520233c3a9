"""Loads a toolbox from a tools file: reads the file, imports what it names, and has a tool made of each callable.

All that is wrong is reported together, one line a problem, at the place in the file that names it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchat.samples import sample_tools_path
from toolchat.tools import import_guard
from toolchat.tools.callable_tool import Digest, NameProblem, Source, bare_description, make_tool, refusal
from toolchat.tools.classes import (
    class_problems,
    function_problems,
    has_methods,
    make_instance,
    method_names,
    method_problems,
    plumbing,
    without_silent,
)
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.commands import UnusableCommandError, command_of, function_of
from toolchat.tools.entry import MethodEntry, ToolEntry
from toolchat.tools.importing import CallableError, ModuleError, functions_of, import_callable, quiet
from toolchat.tools.problems import Place, Problems, advice, listed, reason
from toolchat.tools.schema import ParametersError, SchemaError
from toolchat.tools.signatures import is_record
from toolchat.tools.toolbox import LoadedTool, LoadedToolbox, Untyped
from toolchat.tools.variables import MissingVariable, basic_environment, expanded, working_folder_of

__all__ = ["load_tools", "sample_tools_path"]


def load_tools(
    source: Path | ToolsCode,
    only: Callable[[ToolEntry], bool] | None = None,
    given: Mapping[str, str] | None = None,
) -> LoadedToolbox:
    """Load the tools of a file. This runs their modules; see `toolchat.tools.trust`.

    A class is made here, once, so that a constructor that fails is a problem of the file.

    Args:
        source: the file, or its code as it was read.
        only: whether an entry is loaded; nothing is imported for the others.
        given: the values of the variables that `arguments` and `env` name; None where this process has them itself.

    Raises:
        UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
    """
    code = source if isinstance(source, ToolsCode) else read_code(source)
    file, problems = code.scan()
    environment = dict(os.environ) if given is None else {**basic_environment(os.environ), **given}
    loader = _Loader(code, problems, environment)
    tools: dict[str, LoadedTool] = {}
    digests: dict[str, Digest] = {}
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
        raise problems.error(
            [*file.notices, *loader.notices, *(note for loaded in tools.values() for note in advice(loaded.tool))]
        )
    # Of what may run for a tool only now it is known what there is.
    guard = import_guard.current()
    code, imported = guard.loaded() if guard is not None else (code, ())
    for name, loaded in tools.items():
        tool = replace(loaded.tool, source_digest=digests[name](code, imported))
        tools[name] = replace(loaded, tool=tool)
    notices = tuple(dict.fromkeys((*file.notices, *loader.notices)))
    return LoadedToolbox(code.path, tuple(tools.values()), notices, imported)


class _Loader:
    """Loads the entries of one file, one after the other."""

    def __init__(self, code: ToolsCode, problems: Problems, environment: Mapping[str, str]) -> None:
        self._code = code
        self._folder = code.folder
        self._problems = problems
        self._environment = environment
        self._failed: set[str] = set()
        self._groups: set[str] = set()
        self._instances: dict[tuple[type, str], tuple[Any, str]] = {}
        """By class and the word that the entries share: the object, and the group of its tools."""
        self.notices: list[str] = []

    def tools(self, entry: ToolEntry) -> Iterator[tuple[LoadedTool, Digest]]:
        """The tools of an entry: one of a function, several of a class or pattern, none where something is wrong."""
        if not self._environment_is_there(entry):
            return
        if entry.command is not None:
            yield from self._command(entry)
            return
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
        if entry.target.is_pattern:
            yield from self._with_rules(entry, self._several(entry, functions_of(imported.value, entry)))
        elif imported.owner is not None:
            yield from self._class(entry, imported.owner, entry.target.name)
        elif inspect.isclass(imported.value) and not (is_record(imported.value) and not has_methods(imported.value)):
            yield from self._with_rules(entry, self._class(entry, imported.value))
        else:
            for place, message in function_problems(entry):
                self._problems.add(place, message)
            source = Source(
                imported.value,
                f"{entry.prefix}{entry.name or entry.target.name}",
                entry.callable_ref,
                entry.options,
                entry.description,
                entry.parameters if "parameters" in entry.places else None,
                entry.arguments,
                entry.misread,
                entry.places,
                entry.target.where if entry.options.stateful else None,
            )
            if (loaded := self._tool(entry, source)) is not None:
                yield loaded

    def _environment_is_there(self, entry: ToolEntry) -> bool:
        """Whether the variables are set that `env` and `cwd` need, and the folder is there."""
        problems: list[tuple[Place, str]] = []
        for name, template in entry.options.sets:
            try:
                expanded(template, self._environment)
            except MissingVariable as missing:
                what = f"{name} of env needs the variable {missing.name}, which is not set"
                problems.append((entry.places.get("env", entry.place), f"{what}; set it before toolchat starts"))
        if entry.options.cwd is not None:
            _, wrong = working_folder_of(entry.options.cwd, self._folder, self._environment)
            problems += [(entry.places.get("cwd", entry.place), wrong)] if wrong else []
        for place, what in problems:
            self._problems.add(place, what)
        return not problems

    def _with_rules(
        self, entry: ToolEntry, loaded: Iterator[tuple[LoadedTool, Digest]]
    ) -> Iterator[tuple[LoadedTool, Digest]]:
        """`loaded`; an argument that a rule of the entry names and that none of them has is a slip."""
        names = entry.options.rules.names() if "approval" in entry.places else set()
        found = False
        for one in loaded:
            found = True
            names -= one[0].tool.parameters.get("properties", {}).keys()
            yield one
        for name in sorted(names) if found else ():
            what = f'approval names the argument "{name}", which none of its functions has; correct it'
            self._problems.add(entry.places["approval"], what)

    def _several(
        self, entry: ToolEntry, functions: Mapping[str, Callable[..., Any]]
    ) -> Iterator[tuple[LoadedTool, Digest]]:
        """The functions that a pattern fits. One that cannot be a tool is left out: nobody has named it."""
        found = False
        undescribed: list[str] = []
        for name, function in functions.items():
            if not entry.takes(name):
                continue
            group = entry.target.where if entry.options.stateful else None
            reference = f"{entry.target.where}:{name}"
            source = Source(function, f"{entry.prefix}{name}", reference, entry.options, group=group)
            loaded = self._tool(entry, source, named=False)
            if loaded is not None:
                found = True
                if loaded[0].tool.description == bare_description(reference):
                    undescribed.append(name)
                yield loaded
        self._told_the_names(entry, undescribed, "add docstrings, or exclude: them")
        # Of a package, others of its entry points may be what is meant.
        if not found and entry.package is None:
            what = f'"{entry.callable_ref}" fits no function that can be a tool'
            self._problems.add(entry.place, f"{what}; expected one at least; name a function, or correct the pattern")

    def _command(self, entry: ToolEntry) -> Iterator[tuple[LoadedTool, Digest]]:
        line = entry.command
        assert line is not None
        for name in entry.parameters:
            if name not in line.names:
                known = f"expected {', '.join(line.names)}" if line.names else "expected none"
                what = f'unknown parameter "{name}"; {known}; write {{{name}}} in the command, or remove it'
                self._problems.add(entry.parameters[name].place, what)
        try:
            command = command_of(entry, self._folder, self._code.files)
        except UnusableCommandError as problem:
            self._problems.add(entry.place, str(problem))
            return
        if not entry.sound or any(name not in line.names for name in entry.parameters):
            return
        function, parameters = function_of(entry, command)
        source = Source(
            function,
            entry.name or entry.target.name,
            entry.callable_ref,
            entry.options,
            entry.description,
            parameters,
            entry.arguments,
            entry.misread,
            entry.places,
            command=command,
        )
        if (loaded := self._tool(entry, source)) is not None:
            yield loaded

    def _class(self, entry: ToolEntry, made_of: type, only: str | None = None) -> Iterator[tuple[LoadedTool, Digest]]:
        """The methods of a class that is made here; with `only`, that one, which the entry names itself."""
        wrong = class_problems(entry, made_of) if only is None else method_problems(entry)
        instance, group = None, ""
        if not wrong and entry.sound:
            instance, group, wrong = self._instance(entry, made_of)
        for place, message in wrong:
            self._problems.add(place, message)
        if wrong or not entry.sound:
            return
        if only is None and (hidden := plumbing(entry, made_of)):
            where = self._problems.where(entry.place)
            names = ", ".join(hidden)
            what = f'"{entry.callable_ref}" is offered without what manages its object ({names})'
            self.notices.append(f"{where}: {what}; name it in methods: if it is meant, or in exclude: if not")
        if only is None and (silent := without_silent(entry, made_of)) is not None:
            self.notices.append(f"{self._problems.where(entry.place)}: {silent}")
        # As with a pattern: who names the class has named none of its methods.
        named = only is not None or entry.methods is not None or entry.options.untyped is Untyped.REFUSE
        unfit: dict[str, SchemaError] = {}
        undescribed: list[str] = []
        found = False
        for method in method_names(entry, made_of) if only is None else (only,):
            refusals = None if named or method in entry.settings else unfit
            try:
                source = self._method(entry, made_of, instance, group, method, only=only)
            except SchemaError as problem:
                self._refuse(entry, f"{entry.callable_ref}.{method}", problem, refusals)
                continue
            loaded = self._tool(entry, source, refusals=refusals)
            if loaded is not None:
                found = True
                if only is None and loaded[0].tool.description == bare_description(source.reference):
                    undescribed.append(method)
                yield loaded
        self._left_out(entry, unfit, found=found)
        self._told_the_names(entry, undescribed, "add docstrings, or write methods: {NAME: {description: …}}")

    def _told_the_names(self, entry: ToolEntry, undescribed: Collection[str], fix: str) -> None:
        """Says which of the tools of an entry have no description: in one line, however many."""
        if undescribed:
            what = f'"{entry.callable_ref}" has no description of {listed(undescribed)}'
            where = self._problems.where(entry.place)
            self.notices.append(f"{where}: {what}; the model is told the names only; {fix}")

    def _method(
        self, entry: ToolEntry, made_of: type, instance: Any, group: str, method: str, *, only: str | None
    ) -> Source:
        """Where the tool of a method comes from. Raises SchemaError where the object does not give the method."""
        reference = entry.callable_ref if only else f"{entry.callable_ref}.{method}"
        settings = entry.settings.get(method, MethodEntry()) if only is None else MethodEntry()
        try:
            with quiet():
                function = getattr(instance, method)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise SchemaError(f'"{reference}" cannot be had: {reason(error, self._folder)}; correct it') from None
        return Source(
            function,
            entry.name_of(reference) or method,
            reference,
            replace(entry.options, stateful=True, **settings.options),
            entry.description if only else settings.description,
            (entry.parameters if "parameters" in entry.places else None)
            if only
            else (settings.parameters if "parameters" in settings.places else None),
            None if only else settings.arguments,
            {} if only else settings.misread,
            entry.places if only else settings.places,
            group,
            made_of,
            instance,
        )

    def _left_out(self, entry: ToolEntry, unfit: Mapping[str, SchemaError], *, found: bool) -> None:
        """Says which methods of a class are no tools: in one line, or as problems where none is one."""
        if unfit and found:
            names = listed(reference.rpartition(".")[2] for reference in unfit)
            what = f'"{entry.callable_ref}" is offered without {names}: {next(iter(unfit.values()))}'
            self.notices.append(f"{self._problems.where(entry.place)}: {what}; exclude: them, or say more in methods:")
        elif not found:
            for reference, problem in unfit.items():
                self._problems.add(entry.place, refusal(reference, problem))

    def _instance(self, entry: ToolEntry, made_of: type) -> tuple[Any, str, list[tuple[Place, str]]]:
        """The object of a class, and the group of its tools; that of another entry where both say so."""
        shared = (made_of, entry.instance) if entry.instance is not None else None
        if shared in self._instances:
            return *self._instances[shared], []
        with quiet() as output:
            instance, wrong = make_instance(entry, made_of, self._folder, self._environment)
        self._printed(entry, f'"{entry.callable_ref}"', "while it was made", output.getvalue())
        group = self._group(entry)
        if shared is not None and not wrong:
            self._instances[shared] = (instance, group)
        return instance, group, wrong

    def _group(self, entry: ToolEntry) -> str:
        """The class's name, counted where one file makes several instances: each has its own process."""
        group, number = entry.callable_ref, 1
        while group in self._groups:
            number += 1
            group = f"{entry.callable_ref} {number}"
        self._groups.add(group)
        return group

    def _tool(
        self, entry: ToolEntry, source: Source, *, named: bool = True, refusals: dict[str, SchemaError] | None = None
    ) -> tuple[LoadedTool, Digest] | None:
        """The tool; None where it cannot be one, which is a problem of the file where the file has `named` it.

        `refusals`, where it is given, is told instead, by the callable's name.
        """
        where = self._problems.where(entry.place)
        try:
            made = make_tool(entry, source, where, folder=self._folder, environment=self._environment)
        except ParametersError as error:
            for place, message in error.problems:
                self._problems.add(place, message)
            return None
        except SchemaError as problem:
            if source.made_of is not None and source.reference == entry.callable_ref and "arguments:" in str(problem):
                method = source.reference.rpartition(".")[2]
                fix = f"arguments of a method stand with its class, methods: {{{method}: {{arguments: …}}}}"
                problem = SchemaError(f"{problem}; {fix}")
            if named or refusals is not None:
                self._refuse(entry, source.reference, problem, refusals)
            else:
                self.notices.append(f"{where}: {refusal(source.reference, problem)}; it is left out")
            return None
        tool = made.loaded.tool
        # Rules of the defaults, or of several functions, mean those that have such arguments.
        said = source.places.get("approval")
        for what in source.options.rules.problems(tool.parameters, all_known=said is not None):
            self._problems.add(said or entry.places.get("approval", entry.place), what)
        self.notices.extend(f'{where}: "{source.reference}" {note}' for note in tool.notes)
        if not made.described and source.reference == entry.callable_ref:
            what = f'"{source.reference}" has no description; the model is told the name only'
            self.notices.append(f"{where}: {what}; add description: or a docstring")
        return made.loaded, made.digest

    def _refuse(
        self, entry: ToolEntry, reference: str, problem: SchemaError, refusals: dict[str, SchemaError] | None
    ) -> None:
        if refusals is None or isinstance(problem, NameProblem):
            self._problems.add(entry.place, refusal(reference, problem))
        else:
            refusals[reference] = problem

    def _printed(self, entry: ToolEntry, what: str, when: str, text: str) -> None:
        if text.strip():
            first = text.strip().splitlines()[0][:80]
            where = self._problems.where(entry.place)
            self.notices.append(
                f'{where}: {what} printed "{first}" {when}; it was not shown; print from the function instead'
            )
