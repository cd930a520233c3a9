"""The engine's own process: vLLM's `LLMEngine`, behind a socket. The only module that imports vLLM or torch.

Run as `python -m toolchat.engine.worker --fd N --parent PID`; the first line on the socket is the `EngineConfig`.
It renders the chat, injects the grammar, steps the engine, parses token ids and sends typed deltas. It lives exactly
as long as its parent: the kernel kills it when the parent dies, and a closed socket ends it too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.engine.codec import decode_prompt, encode_delta, line
from toolchat.engine.config import BLOCK, EngineConfig, has_vision, read_params
from toolchat.wire.deltas import Delta, Finished, FinishReason, Usage
from toolchat.wire.messages import CallOrigin, Message, ToolSpec

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.mistral.parse import StreamParser
    from toolchat.mistral.render import Encoded
    from toolchat.mistral.vocabulary import MistralVocabulary

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""


NEVER = -100.0
"""The least logit bias that vLLM takes: far below any token that could be chosen."""


class Channel:
    """The worker's end of the socket: commands in, by a thread of its own; messages out, whole lines at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self.commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def receive(self) -> dict[str, Any]:
        """The next command, read here and now. Ends the process where the parent has gone."""
        row = self._file.readline()
        if not row:
            end_with_parent()
        message: dict[str, Any] = json.loads(row)
        return message

    def listen(self) -> None:
        """Read commands for ever, in a thread, so that a parent that goes is noticed also while a model loads."""

        def read() -> None:
            while True:
                self.commands.put(self.receive())

        threading.Thread(target=read, name="commands", daemon=True).start()

    def send(self, *messages: dict[str, Any]) -> None:
        try:
            self._socket.sendall(b"".join(map(line, messages)))
        except OSError:
            end_with_parent()


def end_with_parent() -> None:
    """End at once, with every process this one started: whoever asked for the answer is gone."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when `parent` ends, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the fork and the line above
        os._exit(1)


def hide_unloadable_modules(*, sees: bool = False) -> None:
    """Make absent what is installed but cannot load, before transformers looks for it.

    PyPI's torchvision, torchaudio and torchcodec are built for another torch than the CPU build of it; importing
    them raises ("operator torchvision::nms does not exist"), and transformers imports them wherever it finds them.
    A model that `sees` cannot do without torchvision: vLLM's class for it imports one that does.
    """
    if sees:
        make_torchvision_loadable()
    for name in ("torchvision", "torchaudio", "torchcodec"):
        try:
            __import__(name)
        except Exception:
            sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail


def make_torchvision_loadable() -> None:
    """Let PyPI's torchvision be imported beside the CPU build of torch, where its compiled part cannot be loaded.

    Its Python part stops at two operators that the compiled part would have declared. Declared here, without a body,
    they are enough: what is used of it (`torchvision.transforms.v2.functional`) is Python throughout.
    """
    try:
        __import__("torchvision")
    except ImportError:
        return
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def register_model(folder: Path) -> None:
    """Have vLLM inspect the model's class in this process.

    It would otherwise start a second interpreter to look at the class (to keep CUDA out of this one), which takes
    seconds and knows nothing of the modules hidden here. The name is what vLLM makes of a params.json, by its
    transformers_utils/configs/mistral.py.
    """
    from vllm import ModelRegistry

    params = read_params(folder)
    names = ["MixtralForCausalLM" if params.get("moe") else "MistralForCausalLM"]
    if has_vision(params):
        # Around the model of the language, which is looked up in its turn.
        names.append("PixtralForConditionalGeneration")
    for name in names:
        ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())


@dataclass(slots=True)
class Request:
    """One generation under way."""

    id: str
    parser: StreamParser
    prompt_tokens: int
    began: float
    first: float = 0.0
    cached: int = 0
    completion: int = 0

    def usage(self) -> Usage:
        now = time.monotonic()
        return Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached,
            completion_tokens=self.completion,
            ttft=round((self.first or now) - self.began, 6),
            seconds=round(now - self.began, 6),
        )


class Worker:
    """The loaded engine, and the requests it is serving."""

    def __init__(self, channel: Channel, config: EngineConfig) -> None:
        from vllm import EngineArgs, LLMEngine

        from toolchat.mistral.grammar import supports_lark
        from toolchat.mistral.vocabulary import MistralVocabulary

        folder = Path(config.folder)
        tekken = (folder / "tekken.json").exists()
        arguments: dict[str, Any] = {
            "model": config.folder,
            "served_model_name": config.model,
            "tokenizer_mode": "mistral",
            "config_format": "mistral",
            "load_format": "mistral",
            # -1 has vLLM fit the context to the memory that the GPU has left.
            "max_model_len": config.context if config.context is not None else -1,
            "max_num_seqs": config.max_num_seqs,
            "disable_log_stats": True,
            # One backend serves an engine for life: guidance knows tekken's special tokens and refuses
            # SentencePiece, xgrammar the other way round.
            "structured_outputs_config": {
                "backend": "guidance" if tekken else "xgrammar",
                "disable_any_whitespace": True,
            },
        }
        if config.kv_cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = config.kv_cache_bytes
        if config.device == "cpu":
            arguments |= {"enforce_eager": True, "block_size": BLOCK}
            register_model(folder)
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        self._context: int = self._engine.model_config.max_model_len
        self._tokenizer: MistralTokenizer = self._engine.get_tokenizer().mistral
        self._vocabulary: MistralVocabulary = MistralVocabulary(self._tokenizer)
        self._thinks = self._vocabulary.special("[THINK]") is not None
        self._constrains = supports_lark(self._tokenizer)
        # Tokenizer files are shared: one that knows images may lie beside a model that has no eyes.
        self._sees = has_vision(read_params(folder)) and self._tokenizer.instruct_tokenizer.image_encoder is not None
        self._channel = channel
        self._requests: dict[str, Request] = {}

    def info(self) -> dict[str, Any]:
        from toolchat.mistral.render import reasoning_efforts

        return {
            "context": self._context,
            "tokenizer_version": self._vocabulary.version,
            "constrains_calls": self._constrains,
            "thinks": self._thinks,
            "sees": self._sees,
            "reasoning_efforts": reasoning_efforts(self._tokenizer),
        }

    def serve(self) -> None:
        """Answer commands for ever; waits for one only while nothing is being generated."""
        commands = self._channel.commands
        while True:
            while not self._requests or not commands.empty():
                self._handle(commands.get())
            self._step()

    def _handle(self, command: dict[str, Any]) -> None:
        match command["op"]:
            case "abort":
                self._abort(command["id"])
            case "generate" | "count":
                try:
                    self._generate(command) if command["op"] == "generate" else self._count(command)
                except Exception as error:
                    # An illegal history or an impossible grammar is the request's failure, not the engine's.
                    self._fail(command["id"], one_line(error))

    def _encode(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> Encoded:
        from toolchat.mistral.render import encode

        return encode(
            self._tokenizer,
            self._vocabulary.version,
            messages,
            tools,
            thinks=self._thinks,
            sees=self._sees,
            reasoning_effort=reasoning_effort,
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
        messages, tools = decode_prompt(command)
        count = self._account(self._encode(messages, tools).tokens, messages, tools)
        self._channel.send({"op": "count", "id": command["id"], "count": count})

    def _account(
        self, prompt: Sequence[int], messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None = None
    ) -> dict[str, Any]:
        from toolchat.mistral.account import account

        def again(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
            return self._encode(messages, tools, effort).tokens

        return asdict(account(self._vocabulary, again, prompt, messages, tools, sees=self._sees))

    def _generate(self, command: dict[str, Any]) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        from toolchat.mistral.grammar import tool_call_grammar
        from toolchat.mistral.parse import StreamParser

        began = time.monotonic()
        options = command["options"]
        messages, tools = decode_prompt(command)
        encoded = self._encode(messages, tools, options["reasoning_effort"])
        prompt = encoded.tokens
        room = self._context - len(prompt)
        if room < options["reserve"]:
            self._channel.send(
                {
                    "op": "overflow",
                    "id": command["id"],
                    "message": f"the conversation takes {len(prompt)} tokens and the context holds {self._context}; "
                    "start a new one, or shorten the question",
                    "count": self._account(prompt, messages, tools, options["reasoning_effort"]),
                    "context": self._context,
                }
            )
            return
        grammar = None
        if self._constrains:
            grammar = tool_call_grammar(
                self._tokenizer,
                tools,
                tool_choice=options["tool_choice"],
                parallel=options["parallel_tool_calls"],
            )
        calls_token = self._vocabulary.special("[TOOL_CALLS]")
        no_calls = grammar is None and calls_token is not None and not self._may_call(command)
        params = SamplingParams(
            max_tokens=min(options["max_tokens"], room),
            temperature=options["temperature"],
            seed=options["seed"],
            # Token ids are parsed here; vLLM's own detokenizer would do the work twice and lose the markers.
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
            # A model that learnt to call begins calls also where it was offered nothing to call.
            logit_bias={calls_token: NEVER} if no_calls else None,
        )
        origin = CallOrigin.CONSTRAINED if grammar else CallOrigin.PARSED
        self._engine.add_request(command["id"], self._engine_input(encoded), params)
        self._requests[command["id"]] = Request(
            command["id"], StreamParser(self._vocabulary, origin=origin), len(prompt), began
        )

    @staticmethod
    def _may_call(command: dict[str, Any]) -> bool:
        return bool(command["tools"]) and command["options"]["tool_choice"] != "none"

    def _abort(self, request_id: str) -> None:
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        self._engine.abort_request([request_id])
        self._send_deltas(request, [Finished(FinishReason.ABORT, request.usage())])

    def _step(self) -> None:
        for output in self._engine.step():
            request = self._requests.get(output.request_id)
            if request is None:
                continue
            completion = output.outputs[0]
            token_ids = completion.token_ids
            if token_ids and not request.first:
                request.first = time.monotonic()
                request.cached = output.num_cached_tokens or 0
            request.completion += len(token_ids)
            deltas: list[Delta] = request.parser.feed(token_ids)
            if output.finished:
                del self._requests[request.id]
                reason = FinishReason.LENGTH if completion.finish_reason == "length" else FinishReason.STOP
                deltas += request.parser.finish(truncated=reason is FinishReason.LENGTH)
                deltas.append(Finished(reason, request.usage()))
            if deltas:
                self._send_deltas(request, deltas)

    def _send_deltas(self, request: Request, deltas: list[Delta]) -> None:
        self._channel.send({"op": "deltas", "id": request.id, "deltas": [encode_delta(delta) for delta in deltas]})

    def _fail(self, request_id: str, message: str) -> None:
        self._channel.send({"op": "error", "id": request_id, "message": message})


def one_line(error: BaseException) -> str:
    """The most telling line of an exception: vLLM wraps its reasons in pages of pydantic or tracebacks."""
    rows = [row.strip() for row in str(error).splitlines() if row.strip()]
    telling = [row for row in rows if row.startswith(("Value error,", "Assertion failed,"))] or rows
    text = telling[0].split(" [type=")[0] if telling else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    channel = Channel(socket.socket(fileno=arguments.fd))
    config = EngineConfig(**channel.receive())
    channel.listen()
    try:
        channel.send({"op": "state", "state": "importing"})
        hide_unloadable_modules(sees=has_vision(read_params(Path(config.folder))))
        import vllm.v1.engine.llm_engine  # noqa: F401  # the better part of vLLM's imports

        channel.send({"op": "state", "state": "loading weights"})
        worker = Worker(channel, config)
    except Exception as error:
        import traceback

        traceback.print_exc()  # into the log
        channel.send({"op": "failed", "message": one_line(error)})
        os._exit(1)
    channel.send({"op": "ready"} | worker.info())
    try:
        worker.serve()
    except Exception as error:
        import traceback

        traceback.print_exc()
        channel.send({"op": "failed", "message": one_line(error)})
    finally:
        # Not sys.exit: vLLM's and torch's finalizers take seconds and can hang.
        os._exit(1)


if __name__ == "__main__":
    main()
