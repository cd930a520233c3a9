"""Tools that a Python program gives as objects: which can be imported by name, and a runner for those that cannot.

A function that can be imported by name runs as one of a tools file does, in a process of its own. Any other (of a
notebook, of the script itself, of another function) is known to this process alone, and runs in a thread of it:
without isolation, and without an end from outside.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from toolchat.chat.calls import CallRunner, PreparedCall, ServedRunner
from toolchat.images.returned import received
from toolchat.session.background import in_background
from toolchat.settings import user_path
from toolchat.tools.argument_check import Rejected, check_arguments
from toolchat.tools.callable_tool import tool_description
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.file_keys import TOOL_NAME
from toolchat.tools.hints import plain_function
from toolchat.tools.installed import Installed, absolute
from toolchat.tools.mcp.elicitation import Elicit
from toolchat.tools.problems import reason
from toolchat.tools.result import MAX_KEPT
from toolchat.tools.schema import ParametersError, SchemaError, function_schema
from toolchat.tools.signatures import held_function
from toolchat.tools.toolbox import LoadedTool, LoadedToolbox, Tool, Toolbox
from toolchat.tools.values import error_text
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.excerpt import Excerpt
from toolchat.wire.messages import CallOrigin, CutResult, ResultStatus, ToolCall, ToolResult

T = TypeVar("T")
GivenTool: TypeAlias = Callable[..., Any] | str | Path
"""A function, or the path of a tools file."""

CHECK_SECONDS = 10.0
"""For checking arguments, with a user's own validators."""
_FILE = "toolchat-given-tools.yaml"
"""What the tools file is called that stands for functions, and is on no disk."""
_FIRST_LINE = 3
"""Of that file, the line of its first function."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """Functions that a process of the tools imports by name, and the code that they lead to."""

    code: ToolsCode
    places: tuple[str, ...]
    """Of each, in order, what an error calls it: "tools[0]"."""

    def worded(self, text: str) -> str:
        """`text` with these places for those in the file that nobody has written."""

        def place(match: re.Match[str]) -> str:
            return self.places[int(match[1]) - _FIRST_LINE] if match[1] else "tools"

        return re.sub(re.escape(str(self.code.path)) + r"(?::(\d+):\d+)?", place, text)


Part: TypeAlias = Path | Isolated | LoadedToolbox
"""Tools that one runner has: of a tools file, by name, or in threads."""


def sort_tools(given: Sequence[GivenTool], empty_folder: Path) -> list[Part]:
    """The parts that the tools of a program are run in. Of functions, those that can share a process share one.

    `empty_folder` is where installed modules are imported from: nothing there can take the place of one.

    Raises UsageError, one line that names the tool, for what cannot be one.
    """
    files: list[Part] = []
    by_root: dict[Path, list[tuple[str, str]]] = {}
    threads: list[LoadedTool] = []
    notices: list[str] = []
    for index, tool in enumerate(given):
        place = f"tools[{index}]"
        if isinstance(tool, str | Path):
            files.append(_tools_file(tool, place))
            continue
        if not callable(tool) and held_function(tool) is None:
            kind = type(tool).__name__
            raise UsageError(f"{place}: expected a function or the path of a tools file, not {kind}; give one of them")
        try:
            reference, root = import_name(tool)
        except NotImportableError as why:
            loaded = thread_tool(tool, place)
            threads.append(loaded)
            notices.append(
                f"{loaded.tool.name} runs in a thread of this program, not in a process of its own, since {why}; "
                "put it into a module to have it isolated and stoppable"
            )
        else:
            by_root.setdefault(root or empty_folder, []).append((reference, place))
    parts: list[Part] = [_isolated(root, functions) for root, functions in by_root.items()]
    if threads:
        parts.append(LoadedToolbox(Path(), tuple(threads), tuple(notices)))
    return [*parts, *files]


def _tools_file(written: str | Path, place: str) -> Path:
    path = user_path(str(written))
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise UsageError(f"{place}: {written}: {what}; expected a function or the path of a tools file")
    return path


class NotImportableError(Exception):
    """Why a function cannot be imported by name, as the end of a sentence."""


def import_name(function: Any) -> tuple[str, Path | None]:
    """The reference "module:name" of a function, and the folder that its module is imported from.

    The folder is None for an installed module. Raises NotImportableError where another process could not import it,
    or would get another object by that name.
    """
    name, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str):
        raise NotImportableError(f"it is an object of the type {type(function).__name__}")
    if module == "__main__":
        raise NotImportableError("it is defined in the program itself or in a notebook")
    if "<" in name:
        raise NotImportableError("it is defined within another function")
    owner = sys.modules.get(module)
    found: Any = owner
    for part in name.split("."):
        found = getattr(found, part, None)
    # A class method is another object each time it is looked up.
    same = found is function or (inspect.ismethod(function) and inspect.ismethod(found) and found == function)
    if not same:
        bound = inspect.ismethod(function) and not inspect.isclass(function.__self__)
        raise NotImportableError("it is bound to an object" if bound else f"{module} has another object of its name")
    spec = getattr(owner, "__spec__", None)
    if spec is None or spec.origin is None:
        raise NotImportableError(f"the module {module} was not imported from a file")
    root = _root(module, spec)
    return f"{module}:{name}", root


def _root(module: str, spec: Any) -> Path | None:
    """The folder that has the module's outermost package; None for an installed one."""
    if not spec.has_location:  # built into Python
        return None
    file = Path(absolute(spec.origin))
    package = spec.submodule_search_locations is not None
    parts = module.split(".")
    names = [*file.parts[:-1], *([] if package else [file.name.partition(".")[0]])]
    if names[-len(parts) :] != parts:
        raise NotImportableError(f"the module {module} lies in {file}, which has another name")
    root = Path(*names[: -len(parts)])
    return None if Installed(root / "-").has(str(file)) else root


def _isolated(root: Path, functions: Iterable[tuple[str, str]]) -> Isolated:
    references, places = zip(*functions, strict=True)
    lines = ["version: 1", "tools:", *(f"- callable: {json.dumps(one, ensure_ascii=False)}" for one in references)]
    code = read_code(root / _FILE, text="\n".join([*lines, ""]).encode())
    return Isolated(code, places)


def thread_tool(function: Any, place: str) -> LoadedTool:
    """A function of this process as a tool. Raises UsageError, which begins with `place`, where it cannot be one."""
    try:
        if inspect.isclass(function):
            raise SchemaError("it is a class; expected a function; give methods of an object of it")
        name = _name(function)
        if not TOOL_NAME.fullmatch(name):
            what = f'"{name}" cannot be a tool\'s name; expected 1 to 64 of the characters a-z A-Z 0-9 _ -'
            raise SchemaError(f"{what}; write a function with such a name (def)")
        try:
            schema = function_schema(function)
        except (SchemaError, ParametersError, KeyboardInterrupt):
            raise
        except BaseException as error:
            why = f"it cannot be looked at: {reason(error, Path.cwd())}"
            raise SchemaError(f"{why}; expected a signature and a docstring; wrap it in a def") from None
        description = tool_description(schema.summary, name)
    except SchemaError as error:
        raise UsageError(f"{place}: {error}") from None
    tool = Tool(name, description, schema.parameters, name, schema.signature, place, notes=schema.notes)
    return LoadedTool(tool, schema.call, schema.model)


def _name(function: Any) -> str:
    if held_function(function) is not None:
        return str(function.name)
    plain = plain_function(function)
    return str(type(function).__name__ if plain.__name__ == "__call__" else plain.__name__)


class ThreadRunner:
    """See `CallRunner` for the protocol. Calls run at the same time, each in a thread of its own."""

    def __init__(self, loaded: LoadedToolbox) -> None:
        self._loaded = loaded
        self.toolbox = loaded.toolbox

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> ThreadCall | ToolResult:
        """Check and convert the arguments, in a thread as well: a type may have code of its own for that."""
        loaded = self._loaded.get(tool.name)
        assert loaded is not None
        try:
            # A copy: the function gets lists and objects of its own, and changes none that was shown or is recorded.
            given = deepcopy(call.arguments)
            checked = await _within(CHECK_SECONDS, cancel, lambda: check_arguments(loaded, given))
        except StoppedError as stopped:
            return stopped.result(call, "did not check its arguments")
        except Exception as error:  # of a validator of the user's
            return ToolResult(call.id, call.name, error_text(error), ResultStatus.ERROR)
        if isinstance(checked, Rejected):
            return ToolResult(call.id, call.name, checked.message, ResultStatus.ERROR)
        if checked.repaired:
            call = replace(call, arguments=deepcopy(checked.arguments), origin=CallOrigin.REPAIRED)
        return ThreadCall(loaded, call, checked.values)

    async def close(self) -> None:
        """A thread cannot be ended: what runs in one goes on, and nobody waits for it."""


class ThreadCall:
    """See `PreparedCall` for the protocol."""

    def __init__(self, loaded: LoadedTool, call: ToolCall, values: Mapping[str, Any]) -> None:
        self.call = call
        self.tool = loaded.tool
        self._function = loaded.function
        self._values = dict(values)

    async def run(
        self, cancel: asyncio.Event, on_output: Callable[[str], None], on_part: Callable[[str], None]
    ) -> ToolResult:
        from toolchat.tools.host.executor import Executor, Outcome

        loop = asyncio.get_running_loop()

        def say(text: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens to this call any more
                loop.call_soon_threadsafe(on_output, text)

        def work() -> Outcome:
            executor = Executor(say, has_file=False)
            try:
                return executor.run(self._function, self._values)
            finally:
                executor.close()

        began = time.monotonic()
        try:
            result = self._result(await _within(self.tool.options.timeout, cancel, work), on_part)
        except StoppedError as stopped:
            result = stopped.result(self.call, "did not answer")
        return replace(result, seconds=time.monotonic() - began)

    def _result(self, outcome: Any, on_part: Callable[[str], None]) -> ToolResult:
        status = ResultStatus.OK if outcome.ok else ResultStatus.ERROR
        images = received(list(outcome.images), self.tool.name) or ()
        if not isinstance(outcome.content, Excerpt):
            return ToolResult(self.call.id, self.call.name, outcome.content, status, images=images)
        on_part(outcome.whole.encode()[:MAX_KEPT].decode(errors="ignore"))
        excerpt = outcome.content
        return CutResult(
            self.call.id,
            self.call.name,
            excerpt.text(),
            status,
            images=images,
            left_out=excerpt.left_out,
            excerpt=excerpt,
        )

    async def discard(self) -> None:
        """Nothing waits for it."""


class StoppedError(Exception):
    """What runs in a thread is not waited for any longer; it runs on."""

    def __init__(self, seconds: float | None = None) -> None:
        """`seconds` have passed; None where the user has interrupted it."""
        self.seconds = seconds

    def result(self, call: ToolCall, what: str) -> ToolResult:
        if self.seconds is None:
            content, status = "Error: interrupted by the user", ResultStatus.INTERRUPTED
        else:
            content, status = f"Error: {call.name} {what} within {self.seconds:g} s", ResultStatus.TIMEOUT
        return ToolResult(call.id, call.name, f"{content}; the function runs on in its thread", status)


async def _within(seconds: float, cancel: asyncio.Event | None, work: Callable[[], T]) -> T:
    """What `work` returns or raises in a thread. Raises StoppedError after so many seconds, or once `cancel` is set."""
    running = asyncio.ensure_future(in_background(lambda _: work()))
    cancelled = asyncio.ensure_future((cancel or asyncio.Event()).wait())
    try:
        await asyncio.wait({running, cancelled}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        raise StoppedError(None if cancelled.done() else seconds)
    finally:
        for task in (running, cancelled):
            task.cancel()
        await asyncio.gather(running, cancelled, return_exceptions=True)


class JoinedRunner:
    """Several runners as one, see `CallRunner`. `start` makes it."""

    def __init__(self, runners: Sequence[CallRunner], notices: Sequence[str]) -> None:
        """Raises UsageError where two tools have the same name."""
        self._by_name: dict[str, CallRunner] = {}
        self._runners = tuple(runners)
        tools: list[Tool] = []
        for runner in runners:
            for tool in runner.toolbox.tools:
                if tool.name in self._by_name:
                    what = f'two of the tools are named "{tool.name}"'
                    raise UsageError(f"tools: {what}; expected each name once; rename one, or leave it out")
                self._by_name[tool.name] = runner
                tools.append(tool)
        self._own = Toolbox(Path(), tuple(tools), tuple(dict.fromkeys(notices)))

    @property
    def toolbox(self) -> Toolbox:
        """All tools; those of MCP servers come and go, and of two with one name the first is taken."""
        served = self._served
        if not served:
            return self._own
        tools = {tool.name: tool for tool in self._own.tools if not tool.server}
        for runner in served:
            tools |= {tool.name: tool for tool in runner.toolbox.tools if tool.server and tool.name not in tools}
        boxes = [runner.toolbox for runner in served]
        notices = dict.fromkeys((*self._own.notices, *(line for box in boxes for line in box.notices)))
        return Toolbox(
            Path(), tuple(tools.values()), tuple(notices), tuple(line for box in boxes for line in box.broken)
        )

    @property
    def pending(self) -> tuple[str, ...]:
        return tuple(name for runner in self._served for name in runner.pending)

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: one for runner in self._served for name, one in runner.prompts.items()}

    @property
    def serves_resources(self) -> tuple[str, ...]:
        return tuple(name for runner in self._served for name in runner.serves_resources)

    @property
    def resources(self) -> Mapping[str, Mapping[str, str]]:
        return {name: one for runner in self._served for name, one in runner.resources.items()}

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        for runner in self._served:
            if name in runner.prompts:
                return await runner.prompt(name, arguments)
        raise ToolchatError(f"the prompt {name} is not there any more")

    async def resource(self, server: str, uri: str) -> str:
        for runner in self._served:
            if server in runner.serves_resources:
                return await runner.resource(server, uri)
        raise ToolchatError(f"the server {server} is not there any more")

    @property
    def _served(self) -> list[ServedRunner]:
        return [runner for runner in self._runners if isinstance(runner, ServedRunner)]

    async def settled(self) -> None:
        await asyncio.gather(*(runner.settled() for runner in self._served))

    def attach(self, on_notice: Callable[[str], None], elicit: Elicit | None) -> None:
        for runner in self._served:
            runner.attach(on_notice, elicit)

    @classmethod
    async def start(
        cls, parts: Sequence[Part], start: Callable[[Path | ToolsCode], Awaitable[CallRunner]]
    ) -> CallRunner:
        """The runner of all `parts`; `start` starts that of a tools file. Raises UsageError, and leaves no process."""

        async def begin(part: Part) -> tuple[CallRunner, list[str]]:
            match part:
                case LoadedToolbox():
                    return ThreadRunner(part), list(part.notices)
                case Path():
                    runner = await start(part)
                    return runner, list(runner.toolbox.notices)
            try:
                runner = await start(part.code)
            except UsageError as error:
                raise UsageError(part.worded(str(error))) from None
            return runner, [part.worded(notice) for notice in runner.toolbox.notices]

        tasks = [asyncio.create_task(begin(part), name="tools-start") for part in parts]
        try:
            begun = await asyncio.gather(*tasks)
            return cls([runner for runner, _ in begun], [notice for _, notices in begun for notice in notices])
        except BaseException:
            for task in tasks:
                task.cancel()
            for one in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(one, BaseException):
                    await one[0].close()
            raise

    async def prepare(
        self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None
    ) -> PreparedCall | ToolResult:
        runner = self._by_name.get(tool.name)
        if runner is None or tool.server:
            runner = next(one for one in self._runners if tool in one.toolbox.tools or one is self._runners[-1])
        return await runner.prepare(tool, call, cancel)

    async def close(self) -> None:
        await asyncio.gather(*(runner.close() for runner in self._runners))
