"""Keeps a host for the tools of one file: gives out processes, starts a host again that died, ends one that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.host.client import IMPORT_SECONDS, Host, HostDied, Loaded
from toolchat.tools.host.process import Process
from toolchat.tools.toolbox import Tool, ToolOptions

CHECK_SECONDS = 10.0
"""For starting a process by forking and checking arguments in it: milliseconds, and a user's own validators."""

PATIENCE = 5.0
"""Seconds that a host may be late with the end of a process, on a machine that is overloaded, before it is ended."""


@dataclass(slots=True)
class Group:
    """The calls that share one process, one after the other."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: Process | None = None
    used: bool = False
    """Whether a call has been run in the process, which may have left something there."""
    lost: bool = False
    """Whether a process that was used has been replaced, and no result has said so yet."""


class Supervisor:
    """See `start`."""

    def __init__(
        self,
        code: ToolsCode,
        loaded: Loaded,
        host: Host,
        *,
        log: Path | None,
        import_seconds: float,
        on_refusal: Callable[[NotAccepted], None] | None,
    ) -> None:
        self.loaded = loaded
        self.host = host
        self.log = log
        self._code = code
        self.on_refusal = on_refusal
        self._import_seconds = import_seconds
        self._restarting = asyncio.Lock()
        self._closed = False
        self._groups: dict[str, Group] = {}
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
        """Start a host that suits the tools file. Call in the main thread.

        `on_refusal` is called where a call is ended because it imports what was not accepted.

        Raises:
            UsageError: one line for each problem; NotAccepted where other code would run than `code` has.
        """
        host = Host(code, log, known=None)
        loaded = await host.load(import_seconds)
        if not loaded.forks:
            await host.close()
            host = Host(code, log, known=loaded)
        return cls(code, loaded, host, log=log, import_seconds=import_seconds, on_refusal=on_refusal)

    async def close(self) -> None:
        """End every process of the tools."""
        self._closed = True
        for task in self._watching:
            task.cancel()
        await self.host.close()
        for group in self._groups.values():
            if group.process is not None:
                group.process.drop()

    @property
    def check_seconds(self) -> float:
        """For starting a process and checking arguments in it."""
        return CHECK_SECONDS if self.loaded.forks else CHECK_SECONDS + self._import_seconds

    @property
    def alive(self) -> bool:
        """Whether the host lives, as far as is known; where not, the next call starts it again."""
        return self.host.alive

    def group(self, tool: Tool) -> Group | None:
        """The group of a stateful tool."""
        if not tool.options.stateful:
            return None
        return self._groups.setdefault(tool.group or tool.name, Group())

    async def open(self, tool: Tool) -> Process:
        """A process for `tool`, of a new host where the old one has died.

        Raises:
            HostDied: there is none to be had.
            UsageError: the tools file can no longer be loaded.
        """
        async with self._restarting:
            if self._closed:
                raise HostDied("toolchat is ending")
            if not self.host.alive:
                await self.host.close()
                self.host = Host(self._code, self.log, known=self.loaded)
                if self.loaded.forks:
                    await self.host.load(self._import_seconds)
        options = self._options(tool)
        return self.host.open(memory=options.memory, env=options.env, once=not options.stateful)

    async def end(self, process: Process) -> None:
        """End a process that gave no answer. A host that does not even do that is ended too, a little later."""
        host = self.host
        if await process.end():
            return

        async def watch() -> None:
            if not await process.ended(PATIENCE):
                host.kill()

        task = asyncio.create_task(watch(), name="tools-host-watch")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def _options(self, tool: Tool) -> ToolOptions:
        """Those of the process: of a group, what suits all its tools."""
        if not tool.options.stateful:
            return tool.options
        every = [other.options for other in self.loaded.toolbox.tools if self.group(other) is self.group(tool)]
        limits = [options.memory for options in every if options.memory is not None]
        return replace(
            tool.options,
            memory=max(limits) if len(limits) == len(every) else None,
            env=tuple(sorted({name for options in every for name in options.env})),
        )
