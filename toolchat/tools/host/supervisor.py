"""All hosts of one tools file: starts one for each share of its tools, merges what they loaded, opens processes for
calls, starts a host again that died, and ends one that hangs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.host import confine
from toolchat.tools.host.client import IMPORT_SECONDS, HostClient, HostDied, Loaded
from toolchat.tools.host.process_client import CallProcess
from toolchat.tools.host.protocol import Share
from toolchat.tools.problems import ToolsFileError, problems_of
from toolchat.tools.toolbox import Tool, Toolbox, ToolOptions
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import UsageError

CHECK_SECONDS = 10.0
"""For starting a process by forking and checking arguments in it: milliseconds, and a user's own validators."""

PEACE_SECONDS = 1.0
"""For a stateful tool's process to close what it has open, at the end of the chat."""

PATIENCE = 5.0
"""Seconds that a host may be late with the end of a process, on a machine that is overloaded, before it is ended."""

_SAMPLES = "toolchat.samples."
_PLACE = re.compile(r":(\d+):(\d+)(?::|$)")


@dataclass(slots=True)
class Group:
    """The calls that share one process, one after the other."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: CallProcess | None = None
    used: bool = False
    """Whether a call has been run in the process, which may have left something there."""
    lost: bool = False
    """Whether a process that was used has been replaced, and no result has said so yet."""


@dataclass(slots=True)
class Place:
    """Where the tools of one share are."""

    loaded: Loaded
    host: HostClient
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)


class Supervisor:
    """See `start`."""

    def __init__(
        self,
        code: ToolsCode,
        places: Iterable[Place],
        toolbox: Toolbox,
        *,
        log: Path | None,
        import_seconds: float,
        on_refusal: Callable[[NotAccepted], None] | None,
    ) -> None:
        self.toolbox = toolbox
        self.log = log
        self.on_refusal = on_refusal
        self._code = code
        self._places = {place.loaded.share: place for place in places}
        self._import_seconds = import_seconds
        self._closed = False
        self._groups: dict[tuple[Share, str, str | None], Group] = {}
        self._watching: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls,
        code: ToolsCode,
        *,
        log: Path | None = None,
        import_seconds: float = IMPORT_SECONDS,
        on_refusal: Callable[[NotAccepted], None] | None = None,
    ) -> Supervisor:
        """Start the hosts that the tools file takes, one for each share of its tools. Call in the main thread.

        `on_refusal` is called where a call is ended because it imports what was not accepted.

        Raises:
            UsageError: one line for each problem; NotAccepted where other code would run than `code` has.
        """
        hosts = [HostClient(code, log)]
        loading: list[asyncio.Task[Loaded]] = []

        def others(shares: list[Share]) -> None:
            for share in shares:
                hosts.append(HostClient(code, log, share))
                loading.append(asyncio.create_task(hosts[-1].load(import_seconds), name="tools-host-load"))

        loaded: list[Loaded | BaseException] = []
        try:
            loaded += await asyncio.gather(hosts[0].load(import_seconds, others), return_exceptions=True)
            loaded += await asyncio.gather(*loading, return_exceptions=True)
            toolbox = merged(code.path, loaded)
            places = []
            for host, known in zip(list(hosts), loaded, strict=True):
                assert isinstance(known, Loaded)
                if not known.forks:
                    await host.close()
                    hosts.append(host := HostClient(known.code(code), log, known.share, known))
                places.append(Place(known, host))
        except BaseException:
            for task in loading:
                task.cancel()
            for host in hosts:
                await host.close()
            raise
        return cls(code, places, toolbox, log=log, import_seconds=import_seconds, on_refusal=on_refusal)

    async def close(self) -> None:
        """End every process of the tools."""
        self._closed = True
        for task in self._watching:
            task.cancel()
        # A process that is in the middle of a call is ended with its host.
        groups = [group for group in self._groups.values() if group.used and not group.turn.locked()]
        idle = [group.process for group in groups if group.process is not None and group.process.alive]
        await asyncio.gather(*(process.end_in_peace(PEACE_SECONDS) for process in idle))
        await asyncio.gather(*(place.host.close() for place in self._places.values()))
        for group in self._groups.values():
            if group.process is not None:
                group.process.drop()

    @property
    def hosts(self) -> tuple[HostClient, ...]:
        """Those that there are now, in the order of the file's tools."""
        return tuple(place.host for place in self._places.values())

    def check_seconds(self, tool: Tool) -> float:
        """For starting a process for `tool` and checking arguments in it."""
        forks = self._place(tool).loaded.forks
        return CHECK_SECONDS if forks else CHECK_SECONDS + self._import_seconds

    def redactor(self, tool: Tool) -> Redactor:
        """Replaces the values that the tools file gives the tools of the same host."""
        return self._place(tool).host.redactor

    def alive(self, tool: Tool) -> bool:
        """Whether the tool's host lives, as far as is known; where not, the next call starts it again."""
        return self._place(tool).host.alive

    def group(self, tool: Tool) -> Group | None:
        """The group of a stateful tool."""
        if not tool.options.stateful:
            return None
        # Those that run in different folders cannot share a process.
        key = (Share.of(tool.options), tool.group or tool.name, tool.options.cwd)
        return self._groups.setdefault(key, Group())

    async def open(self, tool: Tool) -> CallProcess:
        """A process for `tool`, of a new host where the old one has died.

        Raises:
            HostDied: there is none to be had.
            UsageError: the tools file can no longer be loaded.
        """
        place = self._place(tool)
        async with place.restarting:
            if self._closed:
                raise HostDied("toolchat is ending")
            if not place.host.alive:
                await place.host.close()
                place.host = HostClient(place.loaded.code(self._code), self.log, place.loaded.share, place.loaded)
                if place.loaded.forks:
                    await place.host.load(self._import_seconds)
        once = not tool.options.stateful
        same = [tool] if once else [other for other in self.toolbox.tools if self.group(other) is self.group(tool)]
        orders = tuple(sorted({other.order for other in same}))
        return place.host.open(memory=self.options(tool).memory, once=once, orders=orders, cwd=tool.options.cwd)

    async def end(self, tool: Tool, process: CallProcess) -> None:
        """End a process of `tool` that gave no answer. A host that does not do even that is ended a little later."""
        host = self._place(tool).host
        if await process.end():
            return

        async def watch() -> None:
            if not await process.ended(PATIENCE):
                host.kill()

        task = asyncio.create_task(watch(), name="tools-host-watch")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def options(self, tool: Tool) -> ToolOptions:
        """Those of the tool's process: of a group, what suits all its tools."""
        if not tool.options.stateful:
            return tool.options
        every = [other.options for other in self.toolbox.tools if self.group(other) is self.group(tool)]
        limits = [options.memory for options in every if options.memory is not None]
        return replace(tool.options, memory=max(limits) if len(limits) == len(every) else None)

    def _place(self, tool: Tool) -> Place:
        return self._places[Share.of(tool.options)]


def merged(path: Path, results: Sequence[Loaded | BaseException]) -> Toolbox:
    """The toolbox of all hosts, in the file's order.

    Raises what went wrong in any: NotAccepted with the files of all, of other UsageErrors all lines, once.
    """
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, UsageError):
            raise result
    if refused := [result for result in results if isinstance(result, NotAccepted)]:
        files = dict.fromkeys(file for one in refused for file in one.files)
        raise NotAccepted("\n".join(dict.fromkeys(map(str, refused))), files)
    if wrong := [result for result in results if isinstance(result, UsageError)]:
        # Each host tells what is wrong with the whole file, and then with what is its own.
        lines = dict.fromkeys(line for error in wrong for line in problems_of(error))
        sound = [result.toolbox.notices for result in results if isinstance(result, Loaded)]
        sound += [error.notes for error in wrong if isinstance(error, ToolsFileError)]
        notes = dict.fromkeys(note for notices in sound for note in notices)
        raise ToolsFileError(sorted(lines, key=_position), sorted(notes, key=_position))
    loaded = [result for result in results if isinstance(result, Loaded)]
    tools = sorted((tool for one in loaded for tool in one.toolbox.tools), key=lambda tool: tool.order)
    first: dict[str, Tool] = {}
    for tool in tools:
        if (known := first.setdefault(tool.name, tool)) is not tool:
            what = f'a second tool is named "{tool.name}"; the first stands at {known.place}'
            raise UsageError(f"{tool.place}: {what}; expected each name once; add another name:")
    notices = dict.fromkeys(notice for one in loaded for notice in one.toolbox.notices)
    # The samples mean no harm: who uses nothing else need not hear of it.
    loose = [tool for one in loaded if not one.confined for tool in one.toolbox.tools]
    if not all(tool.callable_ref.startswith(_SAMPLES) for tool in loose):
        notices[confine.NOTICE] = None
    return Toolbox(path, tuple(tools), tuple(notices))


def _position(text: str) -> tuple[int, int]:
    """Of "FILE:LINE:COL" or a message that begins so; what names no place comes first."""
    match = _PLACE.search(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
