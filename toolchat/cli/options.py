"""The flags that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from toolchat.store.sessions import Opened

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
System = Annotated[
    str | None, typer.Option("--system", "-s", help="The system prompt [default: the model's own].", metavar="TEXT")
]
NoSystem = Annotated[bool, typer.Option("--no-system", help="No system prompt, not even the model's own.")]
MaxTokens = Annotated[
    str | None,
    typer.Option("--max-tokens", help="At most so many tokens an answer [default: 8192; demo: 512].", metavar="N"),
]
Temperature = Annotated[
    str | None,
    typer.Option(
        "--temperature", help="0 for the likeliest tokens, more for variety [default: the model's own].", metavar="T"
    ),
]
TopP = Annotated[
    str | None,
    typer.Option(
        "--top-p", help="Sample among the likeliest tokens of this probability [default: the model's own].", metavar="P"
    ),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="Tokens of prompt and answer together [default: by model].", metavar="N"),
]
KvCache = Annotated[
    str | None,
    typer.Option("--kv-cache", help="GiB for keys and values [default: by context and memory].", metavar="GIB"),
]
GpuMemory = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory",
        help="Of the GPU's memory, a share up to 1 or GiB above 1 [default: what is free, at most 0.92].",
        metavar="SHARE|GIB",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="Number format: auto, float32, bfloat16, float16 [default: by device].", metavar="TYPE"
    ),
]
FastStart = Annotated[
    bool | None,
    typer.Option(
        "--fast-start/--no-fast-start",
        help="On a GPU, compile less: a quicker start, slower tokens [default: compile].",
        show_default=False,
    ),
]
TextOnly = Annotated[
    bool | None,
    typer.Option(
        "--text-only/--no-text-only",
        help="Load a vision model without its image encoder, which saves memory [default: with it].",
        show_default=False,
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        "--keep-alive",
        help="How long the model stays loaded after its last use: 10m, 1h, 0, -1 for no end [default: 5m at a "
        "terminal, else 0].",
        metavar="TIME",
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(
        "--quantization",
        help="vLLM's method: fp8_per_tensor halves weights of 16 bits [default: the model's own].",
        metavar="METHOD",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision", help="Branch, tag or commit of the Hugging Face model [default: main].", metavar="REVISION"
    ),
]
Lora = Annotated[
    str | None, typer.Option("--lora", help="Answer with a LoRA adapter, by its folder.", metavar="NAME=PATH")
]
EnforceEager = Annotated[
    bool | None,
    typer.Option(
        "--enforce-eager/--no-enforce-eager",
        help="On a GPU, compile nothing and capture no CUDA graphs: less memory, slower tokens [default: compile].",
        show_default=False,
    ),
]
Seed = Annotated[
    str | None,
    typer.Option("--seed", help="Sample the same tokens each time, at a temperature above 0 too.", metavar="N"),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option("--engine-arg", help="Anything else of vLLM's EngineArgs; may be given again.", metavar="KEY=VALUE"),
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

Store = Annotated[
    bool | None,
    typer.Option("--store/--no-store", help="Whether the chat is stored [default: it is].", show_default=False),
]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Go on with the session that was used last.")]
Name = Annotated[
    str | None, typer.Option("--name", help="What the session is called, to find it again.", metavar="NAME")
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        help="Use the model of a server: vLLM, or any that is OpenAI-compatible [default: load it here].",
        metavar="URL",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="The server's key; TOOLCHAT_API_KEY does not show it to this machine's other users.",
        metavar="KEY",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Where the tokenizer of the server's model is [default: what the server names].",
        metavar="FOLDER|ID",
    ),
]


def _go_offline(value: bool) -> bool:
    if value:
        from toolchat.offline import go_offline

        go_offline()
    return value


Offline = Annotated[
    bool,
    typer.Option("--offline", callback=_go_offline, help="Ask nothing of the network: use what is on this machine."),
]


def settings_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are settings, by the settings' names. Raises UsageError, see `_system`."""
    from toolchat.settings import SETTINGS

    parameters = {name: setting.flag.removeprefix("--").replace("-", "_") for name, setting in SETTINGS.items()}
    flags = {name: given.get(parameter) for name, parameter in parameters.items()}
    return {**flags, "system": _system(given["system"], given["no_system"])}


def session_to_open(key: str | None, last: bool, store: bool, flag: str) -> Opened | None:
    """The stored session that --continue and `flag` mean. Raises ToolchatError where there is none."""
    from toolchat.settings import state_folder
    from toolchat.store.sessions import LAST, open_session_of
    from toolchat.wire.errors import UsageError

    if key is None and not last:
        return None
    if key is not None and last:
        raise UsageError(f"{flag} and --continue contradict each other; leave one of them out")
    if not store:
        raise UsageError(
            f"{'--continue' if last else flag} needs stored sessions, and --no-store or store = false is said"
        )
    return open_session_of(state_folder() / "sessions", LAST if key is None else key)


def _system(system: str | None, no_system: bool) -> str | None:
    """The setting that --system and --no-system come to. Raises UsageError where both are given."""
    from toolchat.settings import NO_SYSTEM
    from toolchat.wire.errors import UsageError

    if no_system and system is not None:
        raise UsageError("--system and --no-system contradict each other; leave one of them out")
    return NO_SYSTEM if no_system else system
