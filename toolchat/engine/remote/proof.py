"""Proves, before the first answer, that a server's prompts are those rendered here and that grammars hold there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from toolchat.engine.remote.completions import token_stream
from toolchat.engine.remote.connection import Connection
from toolchat.engine.remote.failures import BrokenStreamError, RefusedError
from toolchat.engine.worker.source import SourceRun
from toolchat.mistral.grammar.constraint import Grammar, Step
from toolchat.mistral.grammar.lark import supports_lark
from toolchat.mistral.render import encode, render
from toolchat.wire.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.mistral.vocabulary import MistralVocabulary

WORD = "toolchat"
_CALL = ToolCall("a1B2c3D4e", "read_clock", {"zone": "Europe/Paris", "seconds": False})
TOOLS = (
    ToolSpec(
        "read_clock",
        "Tells the time in a zone.",
        {
            "type": "object",
            "properties": {
                "zone": {"type": "string", "description": "Such as Europe/Paris — or UTC."},
                "seconds": {"type": "boolean", "default": False},
            },
            "required": ["zone"],
            "additionalProperties": False,
        },
    ),
)
CONVERSATION: tuple[Message, ...] = (
    SystemMessage("You are brief."),
    UserMessage("What time is it in Paris? [INST]"),
    AssistantMessage("", (_CALL,)),
    ToolMessage(_CALL.id, _CALL.name, '{"time": "12:34", "zone": "Europe/Paris"}'),
    AssistantMessage("It is 12:34 in Paris."),
    UserMessage("And  in\nTōkyō? 🕐"),
)


class UnprovenError(Exception):
    """The server cannot be used by token ids; the message is the reason, as a part of a sentence."""


async def check_prompts(
    connection: Connection, model: str, tokenizer: MistralTokenizer, vocabulary: MistralVocabulary
) -> None:
    """Raise UnprovenError where the server renders a fixed conversation with tools otherwise than it is done here."""
    thinks = vocabulary.special("[THINK]") is not None
    ours = encode(tokenizer, vocabulary.version, CONVERSATION, TOOLS, supports_reasoning=thinks).tokens
    groups = render(CONVERSATION, vocabulary.version, supports_reasoning=thinks)
    request = {
        "model": model,
        "messages": [one for group in groups for one in group],
        "tools": [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in TOOLS
        ],
    }
    try:
        answer = await connection.post(f"{connection.address.root}/tokenize", request)
    except RefusedError as error:
        hidden = error.status in (401, 403, 404, 405)
        why = "a proxy hides /tokenize" if hidden else "it cannot tokenize a conversation with tools"
        raise UnprovenError(f"{why} ({error.status}{f': {error.said}' if error.said else ''})") from None
    theirs = answer.get("tokens") if isinstance(answer, dict) else None
    if theirs == ours:
        return
    if not isinstance(theirs, list):
        raise UnprovenError("its /tokenize does not answer as vLLM's does")
    same = next((n for n, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))
    raise UnprovenError(
        f"it renders prompts otherwise than Mistral's tokenizer here, from token {same} on; start it with "
        "--tokenizer-mode mistral, and compare its tokenizer's files with those here"
    )


async def check_grammar(
    connection: Connection,
    model: str,
    tokenizer: MistralTokenizer,
    vocabulary: MistralVocabulary,
    wait: Callable[[str], None],
) -> None:
    """Raise UnprovenError where a grammar that allows one thing is not held to, or refused.

    What it allows has a control token where tokenizers tell those from text, and the request forbids a token, since
    both are needed: speculative decoding refuses the one, a reasoning parser can switch off the other.
    """
    prompt = encode(tokenizer, vocabulary.version, [UserMessage("Say hello.")], [])
    calls, begin = vocabulary.special("[TOOL_CALLS]"), vocabulary.special("<s>")
    if supports_lark(vocabulary):
        grammar = Grammar("lark", f'start: <[{calls}]> "{WORD}"\n')
    else:
        grammar = Grammar("ebnf", f'root ::= " "? "{WORD}"\n')
    step = Step(grammar, (begin,) if begin is not None else ())
    run = SourceRun("canary", prompt, step, 24, None, 0.0, 1.0, None)
    written: list[int] = []
    try:
        async with aclosing(token_stream(connection, model, run, wait)) as outputs:
            async for tokens in outputs:
                written += tokens.ids
    except (RefusedError, BrokenStreamError) as error:
        said = error.said if isinstance(error, RefusedError) and error.said else str(error)
        raise UnprovenError(f"it refuses grammars, or what goes with them ({said})") from None
    text = b"".join(vocabulary.piece(one) for one in written if not vocabulary.is_special(one))
    if text.strip() == WORD.encode() and (grammar.kind == "ebnf" or written[:1] == [calls]):
        return
    if not written:
        raise UnprovenError("it sends no token ids; vLLM 0.11 or newer does")
    raise UnprovenError(
        "it does not hold answers to grammars; with a reasoning parser, start it with "
        "--structured-outputs-config.enable_in_reasoning true"
    )
