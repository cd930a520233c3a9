"""Every setting, once: its type, default, flag, help and row of the reference (docs/settings.md).

A new setting is one entry of `Settings`. The flag of `ask` and `repl`, the variable, the key of config.toml, the rows
of `toolchat config show` and of the reference are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from toolchat.settings import values


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its value. Texts for the reference are Markdown."""

    parse: Callable[[Any], Any]
    """Raises ValueError("expected …")."""
    flag: str
    help: str
    """One line for --help, without the default."""
    about: str
    """What its value may be, for the reference."""
    default: str
    """What counts where nobody says anything, in a few words; empty for nothing."""
    default_about: str = ""
    """The same for the reference, where that says more."""
    short: str = ""
    """The short form of the flag."""
    also: str = ""
    """Another flag that sets it."""
    metavar: str = ""
    """Of the flag's value; empty for a switch."""
    repeated: bool = False
    """Whether the flag may be given several times, for a list."""
    quoted: Callable[[Any], str] = repr
    """A wrong value, as an error quotes it."""
    shown: Callable[[Any], Any] = lambda value: value
    """The value as `config show` shows it."""
    per_chat: bool = False
    """Whether one loaded engine serves every value of it. Where this is not said of a new setting, it is taken to shape
    the engine: too many loads are better than a wrong model."""
    per_turn: bool = False
    """Whether /set changes it within a chat."""
    harmless: bool = False
    """Whether a .toolchat.toml that was merely found may set it: it names no code, model, text, server or key."""
    of_screen: bool = False
    """Whether it is about the chat in the terminal alone: `ask` and the Python API do not have it."""

    @property
    def is_switch(self) -> bool:
        return not self.metavar

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every way to write the flag."""
        no = f"--no-{self.flag.removeprefix('--')}" if self.is_switch else ""
        return tuple(spelling for spelling in (self.flag, self.short, no, self.also) if spelling)


def _of(built_in: Any, parse: Callable[[Any], Any], /, *, in_repr: bool = True, **known: Any) -> Any:
    """The field of a setting with a built-in value."""
    return field(default=built_in, repr=in_repr, metadata={"setting": Setting(parse, **known)})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, resolved. None means: by the model, or none."""

    model: str | None = _of(
        None,
        values.parse_path,
        flag="--model",
        short="-m",
        metavar="MODEL",
        help="demo, a Hugging Face id, or a model's folder.",
        about="`demo`, a Hugging Face id, or the folder of a model, as a path",
        default="by the GPU's memory, else demo",
        default_about="with vLLM's CUDA build by the GPU's memory, see "
        "[engines.md](engines.md#which-model-fits-which-card), else `demo`",
        per_chat=True,
    )
    tools: str | None = _of(
        None,
        values.parse_path,
        flag="--tools",
        short="-t",
        metavar="FILE",
        help="The tools file.",
        about="a tools file, see [tools.md](tools.md)",
        default="./tools.yaml, else the samples",
        default_about="`./tools.yaml`, else the samples",
        per_chat=True,
    )
    system: str | None = _of(
        None,
        values.parse_system,
        flag="--system",
        short="-s",
        also="--no-system",
        metavar="TEXT",
        help="The system prompt.",
        about="the system prompt; `none` (as `--no-system`) for none at all, see [below](#system-prompts)",
        default="the model's own",
        per_chat=True,
    )
    """Empty for none; None for the model's own."""
    max_tokens: int = _of(
        8192,
        values.parse_count,
        flag="--max-tokens",
        metavar="N",
        help="At most so many tokens an answer.",
        about="whole number, at least 1: tokens of one generation; cut to what the context leaves",
        default="8192; demo: 512",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    temperature: float | None = _of(
        None,
        values.number_from(0, 5),
        flag="--temperature",
        metavar="T",
        help="0 for the likeliest tokens, more for variety.",
        about="number from 0 (the likeliest tokens) to 5",
        default="the model's own",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    top_p: float | None = _of(
        None,
        values.number_from(0.01, 1),
        flag="--top-p",
        metavar="P",
        help="Sample among the likeliest tokens of this probability.",
        about="number from 0.01 to 1: sample among the likeliest tokens that have this much of the probability",
        default="the model's own",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    context: int | None = _of(
        None,
        values.parse_count,
        flag="--context",
        metavar="N",
        help="Tokens of prompt and answer together.",
        about="whole number: tokens of prompt and answer together, at most what the model knows",
        default="by model",
        default_about="CPU: 8192, or what the model knows; GPU: the model's, or what its memory holds",
        per_chat=True,
        harmless=True,
    )
    kv_cache_gib: float | None = _of(
        None,
        values.number_from(0.01, 4096, " of GiB"),
        flag="--kv-cache",
        metavar="GIB",
        help="GiB for keys and values.",
        about="GiB for keys and values, 0.01 to 4096",
        default="by context and memory",
        default_about="CPU: room for the context and a quarter more, less where memory is short; GPU: what is left",
    )
    gpu_memory: float | None = _of(
        None,
        values.parse_gpu_memory,
        flag="--gpu-memory",
        metavar="SHARE|GIB",
        help="Of the GPU's memory, a share up to 1 or GiB above 1.",
        about="of the GPU's memory: a share from 0.01 to 1, or GiB above 1, see [engines.md](engines.md#on-a-gpu)",
        default="what is free, at most 0.92",
    )
    """Up to 1 a share of the card, above it GiB."""
    dtype: str | None = _of(
        None,
        values.parse_dtype,
        flag="--dtype",
        metavar="TYPE",
        help="Number format: auto, float32, bfloat16, float16.",
        about="number format: `auto` (that of the weights), `float32`, `bfloat16`, `float16`",
        default="by device",
        default_about="CPU: by its arithmetic; GPU: `auto`",
    )
    fast_start: bool = _of(
        False,
        values.parse_switch,
        flag="--fast-start",
        help="On a GPU, compile less: a quicker start, slower tokens.",
        about="`true` or `false`: on a GPU, compile less: a quicker first start, slower tokens",
        default="compile",
        default_about="`false`",
    )
    text_only: bool = _of(
        False,
        values.parse_switch,
        flag="--text-only",
        help="Load a vision model without its image encoder, which saves memory.",
        about="`true` or `false`: load a vision model without its image encoder, which saves memory",
        default="with it",
        default_about="`false`; by the card for the default model",
        harmless=True,
    )
    quantization: str | None = _of(
        None,
        values.parse_text,
        flag="--quantization",
        metavar="METHOD",
        help="vLLM's method: fp8_per_tensor halves weights of 16 bits.",
        about="vLLM's name of a method, see [engines.md](engines.md#options-of-vllm)",
        default="the model's own",
    )
    revision: str | None = _of(
        None,
        values.parse_text,
        flag="--revision",
        metavar="REVISION",
        help="Branch, tag or commit of the Hugging Face model.",
        about="branch, tag or commit of a Hugging Face model",
        default="main",
        default_about="its main branch",
        per_chat=True,
    )
    """Of a repository on the hub: a branch, a tag or a commit."""
    lora: str | None = _of(
        None,
        values.parse_lora,
        flag="--lora",
        metavar="NAME=PATH",
        help="Answer with a LoRA adapter, by its folder.",
        about="`NAME=PATH`: the folder of a LoRA adapter",
        default="",
        default_about="none",
    )
    """NAME=PATH."""
    enforce_eager: bool = _of(
        False,
        values.parse_switch,
        flag="--enforce-eager",
        help="On a GPU, compile nothing and capture no CUDA graphs: less memory, slower tokens.",
        about="`true` or `false`: on a GPU, compile nothing",
        default="compile",
        default_about="`false`",
    )
    seed: int | None = _of(
        None,
        values.parse_seed,
        flag="--seed",
        metavar="N",
        help="Sample the same tokens each time, at a temperature above 0 too.",
        about="whole number, at least 0: sample the same tokens each time",
        default="",
        default_about="none",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    engine_arg: tuple[str, ...] = _of(
        (),
        values.parse_pairs,
        flag="--engine-arg",
        metavar="KEY=VALUE",
        repeated=True,
        help="Anything else of vLLM's EngineArgs; may be given again.",
        about="`KEY=VALUE`, by the names of vLLM's `EngineArgs`; may be given again; a list in `config.toml`, words as "
        "in a shell in the variable",
        default="",
        default_about="none",
        quoted=lambda value: repr(values.show_pairs(value) if isinstance(value, tuple) else value),
        shown=values.show_pairs,
    )
    """Each KEY=VALUE."""
    reasoning_effort: str | None = _of(
        None,
        values.parse_text,
        flag="--reasoning-effort",
        metavar="EFFORT",
        help="How much the model thinks, such as none or high; v15 and later.",
        about="how much the model thinks before it answers, of what its tokenizer's file names (`none`, `high`); "
        "tokenizers of v15 and later",
        default="the model's own",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    tool_choice: str = _of(
        "auto",
        values.parse_text,
        flag="--tool-choice",
        metavar="CHOICE",
        help="Whether the model calls tools: auto, none, required, or the name of the tool to call.",
        about="`auto` (the model decides), `none` (it calls nothing), `required` (it calls something) or the name of "
        "the tool that it calls",
        default="auto",
        default_about="`auto`",
        per_chat=True,
        per_turn=True,
    )
    parallel_calls: bool = _of(
        True,
        values.parse_switch,
        flag="--parallel-calls",
        help="Whether the model may make several calls at once.",
        about="`true` or `false`: whether the model may make several calls at once",
        default="it may",
        default_about="`true`",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    compact: str = _of(
        "ask",
        values.parse_compact,
        flag="--compact",
        metavar="WHEN",
        help="Whether older turns are summed up when the context is nearly full: off, ask or on.",
        about="`off`, `ask` or `on`: whether the older turns are summed up before a question where 85 % of the "
        "context are full, see [repl.md](repl.md#context); where nobody can be asked, `ask` does nothing",
        default="ask",
        default_about="`ask`",
        per_chat=True,
        per_turn=True,
        harmless=True,
    )
    store: bool = _of(
        True,
        values.parse_switch,
        flag="--store",
        help="Whether the chat is stored.",
        about="`true` or `false`: whether sessions are stored, see [sessions.md](sessions.md)",
        default="it is",
        default_about="`true`",
        per_chat=True,
    )
    """Whether sessions are stored."""
    keep_alive: float | None = _of(
        None,
        values.parse_span,
        flag="--keep-alive",
        metavar="TIME",
        help="How long the model stays loaded after its last use: 10m, 1h, 0, -1 for no end.",
        about="how long the model stays loaded after its last use: `90s`, `10m`, `1h30m` or seconds; `0` for not at "
        "all, `-1` until it is stopped, see [engines.md](engines.md#the-kept-engine)",
        default="5m at a terminal, else 0",
        default_about="`5m` where a person sits at a terminal, else `0`",
        per_chat=True,
    )
    """Seconds that the engine stays loaded after its last use: 0 not at all, negative until it is stopped."""
    server: str | None = _of(
        None,
        values.parse_server,
        flag="--server",
        metavar="URL",
        help="Use the model of a server: vLLM, or any that is OpenAI-compatible.",
        about="use the model of a server: `http://HOST:PORT`, `https://HOST` or `unix:/PATH`, see "
        "[engines.md](engines.md#a-server); `none` loads it here all the same",
        default="load it here",
        quoted=values.quote_server,
        per_chat=True,
    )
    """The address of a server that has the model; None or empty for an engine on this machine."""
    api_key: str | None = _of(
        None,
        values.parse_api_key,
        flag="--api-key",
        metavar="KEY",
        help="The server's key; TOOLCHAT_API_KEY does not show it to this machine's other users.",
        about="the server's key; the flag shows it to the machine's other users",
        default="",
        default_about="none",
        in_repr=False,
        quoted=lambda _: "what is given (not shown)",
        shown=lambda _: "(set, not shown)",
        per_chat=True,
    )
    tokenizer: str | None = _of(
        None,
        values.parse_path,
        flag="--tokenizer",
        metavar="FOLDER|ID",
        help="Where the tokenizer of the server's model is.",
        about="the folder, file or Hugging Face id with the tokenizer of the server's model",
        default="what the server names",
        per_chat=True,
    )
    """The folder, file or Hugging Face id with the tokenizer of the server's model; None for what the server names."""
    before_tool: tuple[str, ...] = _of(
        (),
        values.parse_command,
        flag="--before-tool",
        metavar="COMMAND",
        help="A command of yours that is asked before each call of a tool.",
        about="a command that is asked before each call, see [tools.md](tools.md#hooks): a text, or a list of words; "
        "its program is a name, or a path from `/` or `~` on; `none` for none; not in `.toolchat.toml`",
        default="",
        default_about="none",
        shown=values.show_command,
        per_chat=True,
    )
    """The words of the command; empty for none."""
    after_tool: tuple[str, ...] = _of(
        (),
        values.parse_command,
        flag="--after-tool",
        metavar="COMMAND",
        help="A command of yours that is asked before the model sees a result.",
        about="the same for each result, before the model sees it",
        default="",
        default_about="none",
        shown=values.show_command,
        per_chat=True,
    )
    hook_timeout: float = _of(
        10.0,
        values.number_from(0.1, 3600, " of seconds"),
        flag="--hook-timeout",
        metavar="SECONDS",
        help="How long one of them may take.",
        about="seconds that one of them may take, 0.1 to 3600: one that takes longer has said no",
        default="10",
        default_about="`10`",
        per_chat=True,
    )
    profile: str | None = _of(
        None,
        values.parse_profile,
        flag="--profile",
        metavar="NAME",
        help="Use the settings of [profiles.NAME] in config.toml.",
        about="the name of a [profile](#profiles): its settings go before those of `config.toml`",
        default="",
        default_about="none",
        per_chat=True,
    )
    project: bool = _of(
        True,
        values.parse_switch,
        flag="--project",
        help="Whether .toolchat.toml of the working directory is used.",
        about="`true` or `false`: whether [`.toolchat.toml`](#settings-of-a-folder) of the working directory is used",
        default="it is",
        default_about="`true`",
        per_chat=True,
    )
    editing_mode: str = _of(
        "emacs",
        values.one_of("emacs", "vi"),
        flag="--editing-mode",
        metavar="MODE",
        help="The keys of the chat's input: emacs or vi.",
        about="`emacs` or `vi`: the keys of the chat's input",
        default="emacs",
        default_about="`emacs`",
        per_chat=True,
        harmless=True,
        of_screen=True,
    )
    theme: str = _of(
        "auto",
        values.one_of("auto", "dark", "light"),
        flag="--theme",
        metavar="THEME",
        help="The chat's colours: auto, dark, light.",
        about="`auto` (ask the terminal for its background), `dark`, `light`: the colours of the chat",
        default="auto",
        default_about="`auto`",
        per_chat=True,
        harmless=True,
        of_screen=True,
    )
    thinking: str = _of(
        "fold",
        values.one_of("fold", "show"),
        flag="--thinking",
        metavar="HOW",
        help="What the chat shows of the model's thinking: fold to a row, or show.",
        about="`fold` (a row; `/think` shows it) or `show`: what the chat shows of the model's thinking",
        default="fold",
        default_about="`fold`",
        per_chat=True,
        harmless=True,
        of_screen=True,
    )
    notify: str = _of(
        "auto",
        values.one_of("auto", "bell", "off"),
        flag="--notify",
        metavar="HOW",
        help="How the chat says that a long turn has ended, where you look elsewhere: auto, bell, off.",
        about="`auto` (a notification where the terminal has them, else its bell), `bell`, `off`: how the chat says "
        "that a turn of more than 10 s has ended, or that a call waits for you, while you look elsewhere",
        default="auto",
        default_about="`auto`",
        per_chat=True,
        harmless=True,
        of_screen=True,
    )

    tools_named: bool = True
    """Whether `tools` is consent to use that file. A relative path in a variable means another file in each folder, and
    so does a link of the process, as /proc/self/cwd."""
    tools_place: str = "--tools"
    """Where `tools` was named, for errors."""


SETTINGS: Mapping[str, Setting] = {
    entry.name: entry.metadata["setting"] for entry in fields(Settings) if "setting" in entry.metadata
}

MODEL_BOUND = ("quantization", "revision", "lora")
"""They belong to one model: what is said of them in a place behind the one that names the model is not meant for it."""

PER_CHAT = frozenset(name for name, setting in SETTINGS.items() if setting.per_chat) | {"tools_named", "tools_place"}
"""The settings that one loaded engine serves alike, whatever they are."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"TOOLCHAT_{name.upper()}"
