"""The flags that several commands share, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="demo, a Hugging Face id, or a model's folder.", metavar="MODEL"),
]
Tools = Annotated[
    str | None,
    typer.Option("--tools", "-t", help="The tools file [default: ./tools.yaml, else the samples].", metavar="FILE"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Run tools that would ask, without asking.")]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Run this tool without asking, whatever its file says; repeatable.", metavar="NAME"),
]
Deny = Annotated[
    list[str] | None,
    typer.Option("--deny", help="Never run this tool, whatever else allows it; repeatable.", metavar="NAME"),
]
NoTools = Annotated[bool, typer.Option("--no-tools", help="Offer the model no tools.")]
System = Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.", metavar="TEXT")]
MaxTokens = Annotated[
    str | None,
    typer.Option("--max-tokens", help="At most so many tokens an answer [default: 8192; demo: 512].", metavar="N"),
]
Temperature = Annotated[
    str | None,
    typer.Option("--temperature", help="0 for the likeliest tokens, more for variety [default: 0].", metavar="T"),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="Tokens of prompt and answer together [default: by model].", metavar="N"),
]
KvCache = Annotated[
    str | None,
    typer.Option("--kv-cache", help="GiB for keys and values [default: by context and memory].", metavar="GIB"),
]
ReasoningEffort = Annotated[
    str | None,
    typer.Option(
        "--reasoning-effort", help="How much the model thinks, such as none or high; v15 and later.", metavar="EFFORT"
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", "-i", help="An image to send with the question; may be given again.", metavar="FILE|URL"),
]
ToolChoice = Annotated[
    str | None,
    typer.Option(
        "--tool-choice",
        help="Whether the model calls tools: auto, none, required, or the name of the tool to call [default: auto].",
        metavar="CHOICE",
    ),
]
ParallelCalls = Annotated[
    bool | None,
    typer.Option(
        "--parallel-calls/--no-parallel-calls",
        help="Whether the model may make several calls at once [default: it may].",
        show_default=False,
    ),
]
