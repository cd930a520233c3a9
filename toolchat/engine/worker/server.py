"""The engine's own process: vLLM's `LLMEngine`, behind a socket.

Run as `python -m toolchat.engine.worker --fd N --parent PID`; the first line on the socket is the `EngineConfig`.
It renders the chat, injects the grammar, steps the engine, parses token ids and sends typed deltas. It lives exactly
as long as its parent: the kernel kills it when the parent dies, and a closed socket ends it too. One that is kept lives
by the clock of its `Channel` instead, from when it is ready on.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.engine import gpu
from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu_memory import budget, check_fits
from toolchat.engine.number_format import settled
from toolchat.engine.params import Format, context_window, has_vision, read_params
from toolchat.engine.worker.channel import Channel
from toolchat.engine.worker.failures import TO_THE_CPU, one_line, why_not_loaded
from toolchat.engine.worker.generation import Generation, Progress, Run
from toolchat.engine.worker.loading import (
    hide_unloadable_modules,
    install_staged_worker,
    loading_threads,
    register_model,
)
from toolchat.engine.worker.vllm_arguments import engine_arguments, startup_plan
from toolchat.mistral.grammar.constraint import Constraint, constraint, unconstrained
from toolchat.mistral.vocabulary import refusal
from toolchat.process import die_with_parent, hide_memory
from toolchat.wire.codec import decode_prompt, encode_count, encode_delta
from toolchat.wire.deltas import Delta, FinishReason
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import Message, ToolSpec

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from vllm.lora.request import LoRARequest

    from toolchat.mistral.render import Encoded
    from toolchat.mistral.vocabulary import MistralVocabulary

NEVER = -100.0
"""The least logit bias that vLLM takes: far below any token that could be chosen."""


ENDINGS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
"""vLLM's names of how a request ends well. It has more: "error" is for what fails in this one request."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A generation under way, and what each of its runs needs."""

    generation: Generation
    prompt: Encoded
    temperature: float
    top_p: float
    seed: int | None


class Worker:
    """The loaded engine, and the requests it is serving."""

    def __init__(self, channel: Channel, config: EngineConfig) -> None:
        from vllm import EngineArgs, LLMEngine

        from toolchat.mistral.vocabulary import MistralVocabulary

        folder = Path(config.folder)
        params = read_params(folder)
        vision = has_vision(params)
        share = gpu_share(config) if config.device == "cuda" else None
        os.environ["VLLM_ENABLE_STARTUP_PLAN"] = "1" if startup_plan(config, share) else "0"
        config = replace(config, dtype=settled(config.dtype))
        arguments = engine_arguments(config, tekken=(folder / "tekken.json").exists(), vision=vision, share=share)
        install_staged_worker(
            config.device,
            lambda stage: channel.send({"op": "state", "state": stage}),
            compiles=not (config.eager or config.fast_start),
            captures=not config.eager,
        )
        register_model(folder)
        self._lora = _lora_request(config)
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        if self._lora is not None:
            # Now, so that an adapter of another model is told before the first question.
            self._engine.add_lora(self._lora)
        self._config = config
        self._share = share
        self._capacity: int = self._engine.model_config.max_model_len
        self._context = kept_context(config, self._capacity)
        self._tokenizer: MistralTokenizer = self._engine.get_tokenizer().mistral
        self._vocabulary: MistralVocabulary = MistralVocabulary(self._tokenizer)
        self._supports_reasoning = self._vocabulary.special("[THINK]") is not None
        # Tokenizer files are shared: one that knows images may lie beside a model that does not see.
        self._supports_images = (
            vision and not config.text_only and self._tokenizer.instruct_tokenizer.image_encoder is not None
        )
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
            "details": self._details(),
        }

    def _details(self) -> dict[str, Any]:
        """How the model was loaded, for --debug and for reports."""
        loaded = self._engine.vllm_config
        cache = loaded.cache_config
        return {
            "device": self._config.device,
            "number format": str(loaded.model_config.dtype).removeprefix("torch."),
            "context": f"{self._context} of {context_window(Path(self._config.folder)) or 'unknown'} tokens",
            "KV cache": f"{(cache.num_gpu_blocks or 0) * cache.block_size} tokens in blocks of {cache.block_size}",
            "GPU memory": f"{self._share:.2%} of the card" if self._share is not None else "none",
            "model runner": "V2" if loaded.use_v2_model_runner else "V1",
            "asynchronous scheduling": "yes" if loaded.scheduler_config.async_scheduling else "no",
            "compilation": _name(loaded.compilation_config.mode),
            "CUDA graphs": _name(loaded.compilation_config.cudagraph_mode),
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
            "files": Format(self._config.format).label,
            "quantization": str(loaded.model_config.quantization or "none"),
            "adapter": f"{lora.name} (rank {lora.rank})" if (lora := self._config.lora) is not None else "none",
            "sampling": f"{self._config.sampling} ({self._config.sampling.source})",
        }

    def serve(self) -> None:
        """Answer commands for ever; waits for one only while nothing is being generated."""
        commands = self._channel.commands
        while True:
            while not self._serving or not commands.empty():
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

    def _engine_input(self, encoded: Encoded) -> Any:
        """The prompt as vLLM takes it: the [IMG] tokens are in it already, and the images go beside it."""
        from vllm.inputs import TokensPrompt, tokens_input

        if not encoded.images:
            return tokens_input(encoded.tokens)
        prompt = TokensPrompt(prompt_token_ids=encoded.tokens, multi_modal_data={"image": encoded.images})
        (rendered,) = self._engine.renderer.render_cmpl([prompt])
        return rendered

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
        context = command["context"] or self._capacity
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
            own(options["temperature"], self._config.sampling.temperature),
            own(options["top_p"], self._config.sampling.top_p),
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
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        grammar = run.step.grammar
        params = SamplingParams(
            max_tokens=run.max_tokens,
            temperature=serving.temperature,
            top_p=serving.top_p,
            seed=serving.seed,
            # Token ids are parsed here; vLLM's own detokenizer would do the work twice and lose the markers.
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            # vLLM tells Lark from EBNF by itself.
            structured_outputs=StructuredOutputsParams(grammar=grammar.text) if grammar else None,
            logit_bias=dict.fromkeys(run.step.banned, NEVER) or None,
            stop_token_ids=[run.stop] if run.stop is not None else None,
        )
        prompt = replace(serving.prompt, tokens=[*serving.prompt.tokens, *run.written])
        self._engine.add_request(serving.generation.id, self._engine_input(prompt), params, lora_request=self._lora)

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
            self._engine.abort_request([request_id])
            self._send_deltas(request_id, [serving.generation.abort()])

    def _step(self) -> None:
        for output in self._engine.step():
            serving = self._serving.get(output.request_id)
            if serving is None:
                continue
            completion = output.outputs[0]
            ended = None
            if output.finished and (ended := ENDINGS.get(completion.finish_reason)) is None:
                self._fail(
                    output.request_id,
                    f'vLLM gave this answer up ("{completion.finish_reason}"): a grammar could not be compiled, or '
                    "refused a token; the engine's log says more",
                )
                continue
            progress = serving.generation.take(completion.token_ids, ended, output.num_cached_tokens)
            try:
                self._advance(output.request_id, progress)
            except Exception as error:
                self._fail(output.request_id, one_line(error))

    def _send_deltas(self, request_id: str, deltas: Sequence[Delta]) -> None:
        self._channel.send({"op": "deltas", "id": request_id, "deltas": [encode_delta(delta) for delta in deltas]})

    def _fail(self, request_id: str, message: str) -> None:
        self._serving.pop(request_id, None)
        self._channel.send({"op": "error", "id": request_id, "message": message})


def _lora_request(config: EngineConfig) -> LoRARequest | None:
    """What goes with every request where there is an adapter."""
    if config.lora is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(config.lora.name, 1, config.lora.folder)


def _name(member: Enum | None) -> str:
    """Of a member of one of vLLM's enumerations, which it may leave unset."""
    return member.name.lower() if member is not None else "unset"


def own(asked: float | None, default: float) -> float:
    """What a request asks for, else the model's own."""
    return default if asked is None else asked


def kept_context(config: EngineConfig, engine: int) -> int:
    """The tokens of context to keep to, where the engine's memory holds `engine`. Raises EngineError if too few."""
    if config.context is None:
        return engine
    if config.context > engine:
        raise EngineError(
            f"--context {config.context}: the memory left beside the weights holds {engine} tokens; "
            "ask for that or fewer, or give more memory (--gpu-memory, --kv-cache)"
        )
    return config.context


def gpu_share(config: EngineConfig) -> float:
    """The share of the GPU's memory that vLLM may take, by what is free on it now. Makes CUDA's context.

    Raises EngineError, who holds the memory and what to do, where it does not suffice.
    """
    import torch

    try:
        free, total = torch.cuda.mem_get_info(0)
    except Exception as error:  # torch has no one class for a driver that refuses
        raise EngineError(f"the GPU cannot be used: {one_line(error)}; {TO_THE_CPU}") from error
    # By its UUID: which of several GPUs is CUDA's first depends on CUDA_DEVICE_ORDER.
    measured = gpu.with_uuid(str(torch.cuda.get_device_properties(0).uuid)) or next(iter(gpu.gpus()), None)
    held_by = gpu.held_by(gpu.holders(measured)) if measured is not None else ""
    share = budget(free, total, config.gpu_memory, held_by)
    if config.need is not None:
        check_fits(config.model, config.need, share, total, free, held_by)
    return share


def main(worker_class: type[Worker] = Worker) -> None:
    """Be the worker that the command line describes, until the parent ends, or nobody has used it for long enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the answer, and not the engine
    die_with_parent(arguments.parent)
    hide_memory()
    channel = Channel(socket.socket(fileno=arguments.fd))
    config = EngineConfig.read(channel.receive())
    channel.listen(config.context)
    try:
        # Five thousand modules are imported, and nothing of them is garbage: the collector's rounds over them took a
        # fifth of the imports, and vLLM's own calls of gc.collect another 1.8 s.
        gc.disable()
        channel.send({"op": "state", "state": "importing"})
        hide_unloadable_modules(supports_images=has_vision(read_params(Path(config.folder))) and not config.text_only)
        import vllm.v1.engine.llm_engine  # noqa: F401  # the better part of vLLM's imports

        gc.freeze()
        channel.send({"op": "state", "state": "loading weights"})
        with loading_threads(config):
            worker = worker_class(channel, config)
        gc.freeze()
        gc.enable()
    except Exception as error:
        import traceback

        traceback.print_exc()  # into the log
        channel.send({"op": "failed", "message": refusal(Path(config.folder)) or why_not_loaded(error, config)})
        channel.flush()
        os._exit(1)
    channel.send({"op": "ready"} | worker.info())
    try:
        worker.serve()
    except Exception as error:
        import traceback

        traceback.print_exc()
        channel.send({"op": "failed", "message": one_line(error)})
        channel.flush()
    finally:
        channel.leave()
        # Not sys.exit: vLLM's and torch's finalizers take seconds and can hang.
        os._exit(1)
