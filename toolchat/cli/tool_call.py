"""`toolchat tools call`: a tool called by hand, as a chat would call it, without a model.

Of a command line's words only the meaning is decided here, by the tool's schema; whether a value fits is the tool's own
check, the same as in a chat.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.cli.running import run_async
from toolchat.images.image import file_name, image_bytes
from toolchat.mistral.grammar.schema_reader import kind_of, kinds_of
from toolchat.mistral.ids import new_call_id
from toolchat.models.tokenizers import estimated_tokens
from toolchat.settings import state_folder
from toolchat.store.state import appendable
from toolchat.tools.problems import did_you_mean
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Tool
from toolchat.tools.trust import note_refusal
from toolchat.tools.yaml_file import one_name
from toolchat.ui.calls import MARKS, call_line, image_line, output_rows
from toolchat.ui.text.sanitize import sanitize
from toolchat.wire.errors import ExitCode, UsageError
from toolchat.wire.messages import CutResult, Image, ResultStatus, ToolCall, ToolResult

if TYPE_CHECKING:
    from toolchat.cli.running import Interrupts
    from toolchat.tools.code import ToolsCode
    from toolchat.tools.toolbox import Tool, Toolbox

_WORDS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}


def call_tool(
    source: Path | ToolsCode,
    name: str,
    words: Sequence[str],
    *,
    flags: Sequence[str],
    json_text: str | None,
    piped: Callable[[], str],
    times: int,
    images: Path | None,
) -> ExitCode:
    """Call the tool `times` times, one after the other: results on stdout, all else on stderr.

    The arguments are `words`, else `json_text` ("-" for standard input), else what `piped` reads, where the tool takes
    any; `flags` are the command's own flags that were given. Typing the command is the approval.

    Raises:
        UsageError: the tool cannot be called with this at all.
    """

    async def main(interrupts: Interrupts) -> ExitCode:
        debug = bool(os.environ.get("TOOLCHAT_DEBUG"))
        log = appendable(state_folder() / "logs" / "tools.log")
        runner = await ToolRunner.start(source, log, debug=debug, on_refusal=partial(note_refusal, source))
        try:
            await runner.settled()
            for line in runner.toolbox.broken:
                _tell(f"toolchat: {line}")
            tool = named_tool(runner.toolbox, name)
            arguments = _arguments(tool, words, json_text, piped)
            _check_flags(tool, flags, arguments)
            others = tuple(f"{other.place}:" for other in runner.toolbox.tools if other.place != tool.place)
            for notice in runner.toolbox.notices:
                if not notice.startswith(others):
                    _tell(f"toolchat: {notice}")
            cancel = asyncio.Event()
            with interrupts.to(cancel.set):
                return await _Calls(runner, tool, images, cancel).run(arguments, times)
        finally:
            await runner.close()

    return run_async(main)


def named_tool(toolbox: Toolbox, name: str) -> Tool:
    """The tool of that name. Raises UsageError where there is none."""
    tool = toolbox.get(name)
    if tool is None:
        fix = did_you_mean(name, toolbox.names, f"it has: {', '.join(toolbox.names) or 'none'}")
        raise UsageError(f'{toolbox.path}: there is no tool "{name}"; {fix}')
    return tool


def _check_flags(tool: Tool, flags: Sequence[str], arguments: dict[str, Any]) -> None:
    """A word must not be the command's without a person's knowing, where the tool has a parameter of that name."""
    for flag in flags:
        if flag in tool.parameters.get("properties", {}) and flag not in arguments:
            what = f"--{flag} is a flag of this command, and a parameter of {tool.name}, too"
            raise UsageError(f"{what}; write the parameter behind --: toolchat tools call {tool.name} -- --{flag} …")


def _arguments(tool: Tool, words: Sequence[str], json_text: str | None, piped: Callable[[], str]) -> dict[str, Any]:
    if words and json_text is not None:
        raise UsageError(f"--json and {words[0]} both give arguments; leave one of them out")
    if words:
        return arguments_of(tool, words)
    if json_text is not None and json_text != "-":
        return arguments_in(json_text, "--json")
    if json_text == "-" or tool.parameters.get("properties"):
        return arguments_in(piped(), "standard input")
    return {}


class _Calls:
    """Calls of one tool."""

    def __init__(self, runner: ToolRunner, tool: Tool, images: Path | None, cancel: asyncio.Event) -> None:
        self._runner = runner
        self._tool = tool
        self._images = images
        self._cancel = cancel
        self._last: str | None = None

    async def run(self, arguments: dict[str, Any], times: int) -> ExitCode:
        results: list[ToolResult] = []
        for number in range(1, times + 1):
            results.append(await self._once(arguments, number))
            if results[-1].status is ResultStatus.INTERRUPTED:
                break
        if times > 1:
            _tell(_summary(results))
        statuses = {result.status for result in results}
        if ResultStatus.INTERRUPTED in statuses:
            return ExitCode.INTERRUPTED
        return ExitCode.OK if statuses == {ResultStatus.OK} else ExitCode.FAILURE

    async def _once(self, arguments: dict[str, Any], number: int) -> ToolResult:
        call = ToolCall(new_call_id(), self._tool.name, arguments)
        prepared = await self._runner.prepare(self._tool, call, self._cancel)
        parts: list[str] = []
        printed: list[str] = []
        on_output = _printed if number == 1 else printed.append
        if isinstance(prepared, ToolResult):
            result = prepared
            if number == 1:
                _tell(f"→ {call_line(call)}")
        else:
            if number == 1:
                _tell(f"→ {call_line(prepared.call)}")
            result = await prepared.run(self._cancel, on_output, parts.append)
        self._show(result, "".join(parts), printed, number)
        return result

    def _show(self, result: ToolResult, kept: str, printed: Sequence[str], number: int) -> None:
        """The result and what was printed before it, unless the result is that of the call before."""
        content = kept if isinstance(result, CutResult) and kept else result.content
        if content != self._last:
            if number > 1:
                _tell(f"call {number}:")
                for text in printed:
                    _printed(text)
            # Not by typer.echo, which drops control sequences in a pipe, where a result is data.
            sys.stdout.write(f"{sanitize(content) if sys.stdout.isatty() else content}\n")
            sys.stdout.flush()
            if isinstance(result, CutResult):
                total = result.excerpt.total
                if len(content) < total:
                    _tell(f"  the first {len(content):,} of {total:,} characters are shown")
            for image in result.images:
                _tell(f"  {image_line(image, self._saved(image))}")
            self._last = content
            _tell(f"{MARKS[result.status]} {_facts(result, content)}")
            limit = self._tool.options.max_result_tokens
            if limit is not None and estimated_tokens(content) > limit:
                _tell(f"  a chat cuts it in the middle to {limit:,} tokens")

    def _saved(self, image: Image) -> str:
        if self._images is None:
            return "--images FOLDER keeps it"
        path = self._images / file_name(image)
        try:
            self._images.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image_bytes(image))
        except OSError as error:
            return f"{path} cannot be written: {error.strerror}"
        return str(path)


def _facts(result: ToolResult, content: str) -> str:
    characters = f"{len(content):,} character{'s' if len(content) != 1 else ''}"
    tokens = estimated_tokens(content)
    about = f"about {tokens:,} token{'s' if tokens != 1 else ''}"
    return f"{result.status} in {result.seconds:.3f} s; {characters}, {about}"


def _summary(results: Sequence[ToolResult]) -> str:
    counts = {status: sum(result.status is status for result in results) for status in ResultStatus}
    statuses = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    times = [result.seconds for result in results]
    median, spread = statistics.median(times), f"{min(times):.3f} to {max(times):.3f} s"
    return f"{len(results)} calls: {statuses}; median {median:.3f} s ({spread})"


def _printed(text: str) -> None:
    for row in output_rows(text)[0]:
        _tell(f"  │ {row}")


def _tell(text: str) -> None:
    sys.stderr.write(f"{sanitize(text)}\n")
    sys.stderr.flush()


def arguments_of(tool: Tool, words: Sequence[str]) -> dict[str, Any]:
    """The arguments that `words` give, each as `--name value`, `--name=value`, `--flag` or `--no-flag`.

    A name that is given again adds to a list. `--max-tokens` is `max_tokens` too.

    Raises:
        UsageError: a word belongs to no parameter, or a value is missing.
    """
    given: dict[str, list[Any]] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--") or word == "--":
            first = next(iter(_properties(tool)), None)
            fix = f"write --{first} {word}" if first is not None else "it takes no arguments: leave it out"
            raise UsageError(f'"{word}" belongs to no parameter of {tool.name}; expected --NAME VALUE; {fix}')
        name, equals, text = word[2:].partition("=")
        parameter, negated = _parameter(tool, name)
        kinds = _kinds(tool, parameter)
        if negated:
            given.setdefault(parameter, []).append(False)
        elif equals:
            given.setdefault(parameter, []).append(text)
        elif "boolean" in kinds and not (waiting and _is_value_of_flag(waiting[0], kinds)):
            given.setdefault(parameter, []).append(True)
        elif not waiting or (waiting[0].startswith("--") and waiting[0] != "--"):
            what = f"--{name} has no value; expected one behind it"
            raise UsageError(f"{what}; of one that begins with two hyphens, write --{name}=VALUE")
        else:
            given.setdefault(parameter, []).append(waiting.pop(0))
    return {parameter: _value(tool, parameter, values) for parameter, values in given.items()}


def arguments_in(text: str, source: str) -> dict[str, Any]:
    """The JSON object in `text`, which came from `source`; none where it is empty. Raises UsageError."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{source}: not JSON: {error}; expected an object, such as {{"city": "Dallas"}}') from None
    if not isinstance(value, dict):
        raise UsageError(f'{source}: {json.dumps(value)[:60]}; expected an object, such as {{"city": "Dallas"}}')
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _properties(tool: Tool) -> dict[str, Any]:
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    return properties


def _parameter(tool: Tool, name: str) -> tuple[str, bool]:
    """The parameter that a word names, and whether it is its negation, `--no-flag`."""
    properties = _properties(tool)
    for spelled in (one_name(name), one_name(name).replace("-", "_")):
        if spelled in properties:
            return spelled, False
        if spelled[:3] in ("no-", "no_") and spelled[3:] in properties and "boolean" in _kinds(tool, spelled[3:]):
            return spelled[3:], True
    if not properties:
        raise UsageError(f"--{name}: {tool.name} takes no arguments; leave it out")
    fix = did_you_mean(f"--{name}", [f"--{known}" for known in properties], "correct it, or leave it out")
    raise UsageError(f"--{name}: {tool.name} takes {', '.join(f'--{known}' for known in properties)}; {fix}")


def _kinds(tool: Tool, parameter: str) -> frozenset[str]:
    definitions = tool.parameters.get("$defs", {})
    schema = _properties(tool)[parameter]
    return kinds_of(schema, lambda reference: definitions.get(str(reference).rpartition("/")[2], {}))


def _is_value_of_flag(word: str, kinds: frozenset[str]) -> bool:
    """Whether the word behind a flag is its value, and not the next word's beginning."""
    return not word.startswith("--") and (word.lower() in _WORDS or kinds != {"boolean"})


def _value(tool: Tool, parameter: str, values: list[Any]) -> Any:
    kinds, schema = _kinds(tool, parameter), _properties(tool)[parameter]
    if len(values) == 1:
        value = _read(values[0], kinds, schema)
        if kinds <= {"array", "null"} and not isinstance(value, list | None):
            return [_item(values[0], schema)]
        return value
    if "array" not in kinds:
        what = f"--{parameter} is given {len(values)} times; {tool.name} takes one value of it"
        raise UsageError(f"{what}; leave the others out")
    return [_item(value, schema) for value in values]


def _item(text: Any, schema: Any) -> Any:
    items = schema.get("items", {}) if isinstance(schema, dict) else {}
    return _read(text, kinds_of(items, lambda _: {}), items)


def _read(text: Any, kinds: frozenset[str], schema: Any) -> Any:
    """The value that a word is for: JSON where the parameter takes its kind, else text."""
    if not isinstance(text, str):
        return text
    for value in schema.get("enum", ()) if isinstance(schema, dict) else ():
        if text == value or (not isinstance(value, str) and text == json.dumps(value)):
            return value
    if kinds <= {"string", "null"}:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _WORDS.get(text.lower(), text) if "boolean" in kinds and "string" not in kinds else text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    kind = kind_of(value)
    # Quotes that a person typed on purpose, for text that looks like a number.
    fits = kind in kinds or (kind == "integer" and "number" in kinds)
    return value if fits or "string" not in kinds else text
