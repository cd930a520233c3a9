"""A toolbox as the host tells the chat of it, in JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchat.tools.toolbox import Approval, Privileges, Tool, Toolbox, ToolOptions, Untyped


def encode_toolbox(toolbox: Toolbox) -> dict[str, Any]:
    return {"tools": [asdict(tool) for tool in toolbox.tools], "notices": list(toolbox.notices)}


def decode_toolbox(path: Path, data: dict[str, Any]) -> Toolbox:
    """The toolbox that `encode_toolbox` was given, whose file lies at `path`."""
    return Toolbox(path, tuple(_tool(**tool) for tool in data["tools"]), tuple(data["notices"]))


def _tool(*, options: dict[str, Any], **rest: Any) -> Tool:
    options = options | {
        "approval": Approval(options["approval"]),
        "env": tuple(options["env"]),
        "privileges": Privileges(options["privileges"]),
        "untyped": Untyped(options["untyped"]),
    }
    return Tool(**rest, options=ToolOptions(**options))
