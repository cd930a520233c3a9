"""Whether what `--tool-choice` asks for can be had."""

from __future__ import annotations

from toolchat.tools.problems import did_you_mean
from toolchat.tools.toolbox import Toolbox
from toolchat.wire.errors import UsageError

NEEDS_NO_TOOL = ("auto", "none")


def check_tool_choice(choice: str, toolbox: Toolbox) -> None:
    """Raise UsageError where `choice` has no meaning and names no tool, or there are no tools to call."""
    if choice in NEEDS_NO_TOOL:
        return
    if not toolbox.tools:
        raise UsageError(f"--tool-choice {choice}: there are no tools to call; see --tools and --no-tools")
    if choice == "required" or choice in toolbox.names:
        return
    known = [*toolbox.names, *NEEDS_NO_TOOL, "required"]
    hint = did_you_mean(choice, known, f"the tools are {', '.join(toolbox.names)}")
    raise UsageError(f"--tool-choice {choice}: there is no such tool; {hint}")
