"""The engine's own process, behind a socket: renders the chat, injects grammars, parses token ids, sends typed deltas.

Run as `python -m toolchat.engine.worker --fd N --parent PID`; the first line on the socket is the `EngineConfig`.
Where the tokens come from is a `TokenSource`: vLLM in this process, or a server (`toolchat.engine.remote`). It lives
exactly as long as its parent: the kernel kills it when the parent dies, and a closed socket ends it too. One that is
kept lives by the clock of its `Channel` instead, from when it is ready on.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from toolchat.engine.config import EngineConfig
from toolchat.engine.params import has_vision, read_params
from toolchat.engine.worker.channel import Channel
from toolchat.engine.worker.failures import one_line, why_not_loaded
from toolchat.engine.worker.generation import Generation, Progress, Run
from toolchat.engine.worker.in_process import InProcess, import_vllm
from toolchat.engine.worker.loading import hide_unloadable_modules, loading_threads
from toolchat.engine.worker.source import Failed, SourceRun, Tokens, TokenSource, Waiting
from toolchat.mistral.grammar.constraint import Constraint, constraint, unconstrained
from toolchat.mistral.vocabulary import refusal
from toolchat.process import die_with_parent, hide_memory
from toolchat.wire.codec import decode_prompt, encode_count, encode_delta
from toolchat.wire.deltas import Delta, Note
from toolchat.wire.messages import Message, ToolSpec

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.mistral.render import Encoded
    from toolchat.mistral.vocabulary import MistralVocabulary


@dataclass(frozen=True, slots=True)
class Serving:
    """A generation under way, and what each of its runs needs."""

    generation: Generation
    prompt: Encoded
    temperature: float
    top_p: float
    seed: int | None


class Worker:
    """A source of tokens, and the requests that it is serving."""

    def __init__(self, channel: Channel, source: TokenSource) -> None:
        from toolchat.mistral.vocabulary import MistralVocabulary

        self._source = source
        self._context = source.context
        self._capacity = source.capacity
        self._tokenizer: MistralTokenizer = source.tokenizer
        self._vocabulary: MistralVocabulary = MistralVocabulary(self._tokenizer)
        self._supports_reasoning = self._vocabulary.special("[THINK]") is not None
        # Tokenizer files are shared: one that knows images may lie beside a model that does not see.
        self._supports_images = source.sees and self._tokenizer.instruct_tokenizer.image_encoder is not None
        self._channel = channel
        self._serving: dict[str, Serving] = {}

    def info(self) -> dict[str, Any]:
        from toolchat.mistral.render import reasoning_efforts

        return {
            "context_window": self._context,
            "capacity": self._capacity,
            "tokenizer_version": self._vocabulary.version,
            "constrains_calls": self._vocabulary.special("[TOOL_CALLS]") is not None,
            "supports_reasoning": self._supports_reasoning,
            "supports_images": self._supports_images,
            "reasoning_efforts": reasoning_efforts(self._tokenizer),
            "details": dict(self._source.details()),
        }

    def serve(self) -> None:
        """Answer commands for ever; waits for one only while the source has nothing to do."""
        commands = self._channel.commands
        while True:
            while not self._source.has_output or not commands.empty():
                self._handle(commands.get())
            self._step()

    def _handle(self, command: dict[str, Any]) -> None:
        match command["op"]:
            case "abort":
                self._abort(command["id"])
            case "keep":
                self._channel.keep(command)
            case "gone":
                for request_id in [key for key in self._serving if key.startswith(f"{command['client']}-")]:
                    self._abort(request_id)
            case "generate" | "count":
                try:
                    self._generate(command) if command["op"] == "generate" else self._count(command)
                except Exception as error:
                    # An illegal history or an impossible grammar is the request's failure, not the engine's.
                    self._fail(command["id"], one_line(error))

    def _encode(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        reasoning_effort: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> Encoded:
        from toolchat.mistral.render import encode

        return encode(
            self._tokenizer,
            self._vocabulary.version,
            messages,
            tools,
            supports_reasoning=self._supports_reasoning,
            supports_images=self._supports_images,
            reasoning_effort=reasoning_effort,
            response_schema=response_schema,
        )

    def _count(self, command: dict[str, Any]) -> None:
        from toolchat.mistral.token_count import count_conversation

        messages, tools = decode_prompt(command)
        tokens = partial(self._tokens, effort=command["reasoning_effort"])
        count = encode_count(
            count_conversation(self._vocabulary, tokens, messages, tools, supports_images=self._supports_images)
        )
        self._channel.send({"op": "count", "id": command["id"], "count": count})

    def _account(
        self, prompt: Sequence[int], messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None
    ) -> dict[str, Any]:
        from toolchat.mistral.token_count import count_tokens

        tokens = partial(self._tokens, effort=effort)
        return encode_count(
            count_tokens(self._vocabulary, tokens, prompt, messages, tools, supports_images=self._supports_images)
        )

    def _tokens(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None = None
    ) -> Sequence[int]:
        return self._encode(messages, tools, effort).tokens

    def _generate(self, command: dict[str, Any]) -> None:
        began = time.monotonic()
        options = command["options"]
        messages, tools = decode_prompt(command)
        encoded = self._encode(messages, tools, options["reasoning_effort"], options["response_schema"])
        prompt = encoded.tokens
        # Each client keeps to its own.
        context = command.get("context") or self._capacity
        room = context - len(prompt)
        if room < options["reserve"]:
            self._channel.send(
                {
                    "op": "overflow",
                    "id": command["id"],
                    "message": f"the conversation takes {len(prompt)} tokens and the context holds {context}; "
                    "start a new one, or shorten the question",
                    "count": self._account(prompt, messages, tools, options["reasoning_effort"]),
                    "context": context,
                }
            )
            return
        generation = Generation(
            command["id"],
            self._vocabulary,
            self._constraint(tools, options),
            prompt_tokens=len(prompt),
            max_tokens=min(options["max_tokens"], room),
            began=began,
        )
        self._serving[generation.id] = Serving(
            generation,
            encoded,
            own(options["temperature"], self._source.sampling.temperature),
            own(options["top_p"], self._source.sampling.top_p),
            options["seed"],
        )
        self._advance(generation.id, generation.begin())

    def _constraint(self, tools: Sequence[ToolSpec], options: dict[str, Any]) -> Constraint:
        if not options["constrained"]:
            return unconstrained(self._vocabulary, choice=options["tool_choice"])
        return constraint(
            self._vocabulary,
            tools,
            choice=options["tool_choice"],
            parallel=options["parallel_tool_calls"],
            answer=options["response_schema"],
        )

    def _run(self, serving: Serving, run: Run) -> None:
        self._source.run(
            SourceRun(
                serving.generation.id,
                replace(serving.prompt, tokens=[*serving.prompt.tokens, *run.written]),
                run.step,
                run.max_tokens,
                run.stop,
                serving.temperature,
                serving.top_p,
                serving.seed,
            )
        )

    def _advance(self, request_id: str, progress: Progress) -> None:
        """Send what came, and run what is next, if anything."""
        serving = self._serving[request_id]
        if progress.deltas:
            self._send_deltas(request_id, progress.deltas)
        if progress.run is not None:
            self._run(serving, progress.run)
        elif progress.over:
            del self._serving[request_id]

    def _abort(self, request_id: str) -> None:
        if (serving := self._serving.pop(request_id, None)) is not None:
            self._source.abort(request_id)
            self._send_deltas(request_id, [serving.generation.abort()])

    def _step(self) -> None:
        for output in self._source.step():
            serving = self._serving.get(output.id)
            if serving is None:
                continue
            match output:
                case Waiting(request_id, why):
                    self._send_deltas(request_id, [Note(why)])
                case Failed(request_id, why):
                    self._break(request_id, why)
                case Tokens(request_id, ids, ended, cached):
                    progress = serving.generation.take(ids, ended, cached)
                    try:
                        self._advance(request_id, progress)
                    except Exception as error:
                        self._fail(request_id, one_line(error))

    def _send_deltas(self, request_id: str, deltas: Sequence[Delta]) -> None:
        self._channel.send({"op": "deltas", "id": request_id, "deltas": [encode_delta(delta) for delta in deltas]})

    def _fail(self, request_id: str, message: str) -> None:
        self._serving.pop(request_id, None)
        self._channel.send({"op": "error", "id": request_id, "message": message})

    def _break(self, request_id: str, why: str) -> None:
        """Of a request that is given up after it began: whether something of it is there is for the chat to see."""
        del self._serving[request_id]
        self._channel.send({"op": "broken", "id": request_id, "message": why})


def own(asked: float | None, default: float) -> float:
    """What a request asks for, else the model's own."""
    return default if asked is None else asked


def open_channel() -> Channel:
    """Be a process that the command line describes, which ends with its parent; the socket to that."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the answer, and not the engine
    die_with_parent(arguments.parent)
    hide_memory()
    return Channel(socket.socket(fileno=arguments.fd))


def main(source_class: type[InProcess] = InProcess) -> None:
    """Be the worker that the command line describes, until the parent ends, or nobody has used it for long enough."""
    channel = open_channel()
    config = EngineConfig.read(channel.receive())
    channel.listen(config.context)
    try:
        # Five thousand modules are imported, and nothing of them is garbage: the collector's rounds over them took a
        # fifth of the imports, and vLLM's own calls of gc.collect another 1.8 s.
        gc.disable()
        channel.send({"op": "state", "state": "importing"})
        hide_unloadable_modules(supports_images=has_vision(read_params(Path(config.folder))) and not config.text_only)
        import_vllm()
        gc.freeze()
        channel.send({"op": "state", "state": "loading weights"})
        with loading_threads(config):
            worker = Worker(channel, source_class(channel, config))
        gc.freeze()
        gc.enable()
    except Exception as error:
        fail_to_load(channel, refusal(Path(config.folder)) or why_not_loaded(error, config))
    channel.send({"op": "ready"} | worker.info())
    serve(worker, channel)


def fail_to_load(channel: Channel, why: str) -> NoReturn:
    """End the process for the exception being handled, which goes into the log."""
    traceback.print_exc()
    channel.send({"op": "failed", "message": why})
    channel.flush()
    os._exit(1)


class Serves(Protocol):
    """What answers the commands of a channel."""

    def serve(self) -> None:
        """Answer them for ever."""


def serve(worker: Serves, channel: Channel) -> NoReturn:
    """Let `worker` serve until the process ends."""
    try:
        worker.serve()
    except Exception as error:
        traceback.print_exc()
        channel.send({"op": "failed", "message": one_line(error)})
        channel.flush()
    finally:
        channel.leave()
        # Not sys.exit: vLLM's and torch's finalizers take seconds and can hang.
        os._exit(1)
