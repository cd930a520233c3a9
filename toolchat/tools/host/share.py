"""Which tools of a file may share a host process: those that may see the same variables and have the same rights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from toolchat.tools.toolbox import Privileges, ToolOptions


@dataclass(frozen=True, slots=True)
class Share:
    """The tools of one host. What one of them finds in its memory or environment, each of the others may know."""

    env: tuple[str, ...] = ()
    """The variables beyond the basic ones, sorted."""
    keeps_privileges: bool = False

    @classmethod
    def of(cls, options: ToolOptions) -> Self:
        return cls(tuple(sorted(options.env)), options.privileges is Privileges.KEEP)

    @classmethod
    def decode(cls, data: Iterable[object]) -> Self:
        """From what JSON makes of `dataclasses.astuple`."""
        match tuple(data):
            case (list(env), bool(keeps)):
                return cls(tuple(map(str, env)), keeps)
        raise ValueError("not a share")


def shares(every: Iterable[ToolOptions]) -> list[Share]:
    """Those of all these tools, each once, in their order; at least one."""
    return list(dict.fromkeys(map(Share.of, every))) or [Share()]
