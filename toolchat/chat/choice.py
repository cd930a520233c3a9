"""Whether the tool that the user chose, or any, can be called in a turn: tools are switched off, and reloaded away."""

from __future__ import annotations

from dataclasses import replace

from toolchat.engine.base import GenerateOptions
from toolchat.tools.toolbox import Toolbox


def possible_choice(options: GenerateOptions, toolbox: Toolbox) -> tuple[GenerateOptions, str]:
    """The options with a choice of tools that can be met, and what to say where the one asked for cannot."""
    choice = options.tool_choice
    match choice:
        case "auto" | "none":
            return options, ""
        case "required" if toolbox.tools:
            return options, ""
        case "required":
            return replace(options, tool_choice="auto"), "no call can be required: there are no tools, or all are off"
        case _ if toolbox.get(choice) is not None:
            return options, ""
    return replace(options, tool_choice="auto"), f"the tool {choice} that was chosen is off: the model decides"
