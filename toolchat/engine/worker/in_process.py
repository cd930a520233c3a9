"""vLLM in this process as a source of tokens: `LLMEngine`, loaded as an `EngineConfig` says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.engine import gpu
from toolchat.engine.config import EngineConfig, Sampling
from toolchat.engine.memory import budget, check_fits, useful
from toolchat.engine.number_format import settled
from toolchat.engine.params import Format, context_window, has_vision, read_params
from toolchat.engine.worker.channel import Channel
from toolchat.engine.worker.failures import TO_THE_CPU, one_line
from toolchat.engine.worker.loading import engine_arguments, install_staged_worker, register_model, startup_plan
from toolchat.engine.worker.source import ENDINGS, Failed, Output, SourceRun, Tokens
from toolchat.wire.errors import EngineError

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from vllm.lora.request import LoRARequest

    from toolchat.mistral.render import Encoded

NEVER = -100.0
"""The least logit bias that vLLM takes: far below any token that could be chosen."""


def import_vllm() -> None:
    """The better part of vLLM's imports, so that what follows is loading alone."""
    import vllm.v1.engine.llm_engine  # noqa: F401


class InProcess:
    """The loaded engine; see `TokenSource` for the protocol."""

    def __init__(self, channel: Channel, config: EngineConfig) -> None:
        from vllm import EngineArgs, LLMEngine

        folder = Path(config.folder)
        vision = has_vision(read_params(folder))
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
        self._under_way: set[str] = set()
        self.width = config.max_num_seqs
        self.capacity: int = self._engine.model_config.max_model_len
        self.context = kept_context(config, self.capacity)
        self.tokenizer: MistralTokenizer = self._engine.get_tokenizer().mistral
        self.sees = vision and not config.text_only

    @property
    def sampling(self) -> Sampling:
        return self._config.sampling

    @property
    def has_output(self) -> bool:
        return bool(self._under_way)

    def details(self) -> Mapping[str, str]:
        loaded = self._engine.vllm_config
        cache = loaded.cache_config
        return {
            "device": self._config.device,
            "number format": str(loaded.model_config.dtype).removeprefix("torch."),
            "context": f"{self.context} of {context_window(Path(self._config.folder)) or 'unknown'} tokens",
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

    def run(self, run: SourceRun) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        grammar = run.step.grammar
        params = SamplingParams(
            max_tokens=run.max_tokens,
            temperature=run.temperature,
            top_p=run.top_p,
            seed=run.seed,
            # Token ids are parsed here; vLLM's own detokenizer would do the work twice and lose the markers.
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            # vLLM tells Lark from EBNF by itself.
            structured_outputs=StructuredOutputsParams(grammar=grammar.text) if grammar else None,
            logit_bias=dict.fromkeys(run.step.banned, NEVER) or None,
            stop_token_ids=[run.stop] if run.stop is not None else None,
        )
        self._engine.add_request(run.id, self._engine_input(run.prompt), params, lora_request=self._lora)
        self._under_way.add(run.id)

    def abort(self, run_id: str) -> None:
        self._under_way.discard(run_id)
        self._engine.abort_request([run_id])

    def step(self) -> Iterator[Output]:
        for output in self._engine.step():
            completion = output.outputs[0]
            ended = None
            if output.finished:
                self._under_way.discard(output.request_id)
                if (ended := ENDINGS.get(completion.finish_reason)) is None:
                    yield Failed(
                        output.request_id,
                        f'vLLM gave this answer up ("{completion.finish_reason}"): a grammar could not be compiled, or '
                        "refused a token; the engine's log says more",
                    )
                    continue
            yield Tokens(output.request_id, tuple(completion.token_ids), ended, output.num_cached_tokens)

    def _engine_input(self, encoded: Encoded) -> Any:
        """The prompt as vLLM takes it: the [IMG] tokens are in it already, and the images go beside it."""
        from vllm.inputs import TokensPrompt, tokens_input

        if not encoded.images:
            return tokens_input(encoded.tokens)
        prompt = TokensPrompt(prompt_token_ids=encoded.tokens, multi_modal_data={"image": encoded.images})
        (rendered,) = self._engine.renderer.render_cmpl([prompt])
        return rendered


def _lora_request(config: EngineConfig) -> LoRARequest | None:
    """What goes with every request where there is an adapter."""
    if config.lora is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(config.lora.name, 1, config.lora.folder)


def _name(member: Enum | None) -> str:
    """Of a member of one of vLLM's enumerations, which it may leave unset."""
    return member.name.lower() if member is not None else "unset"


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
    enough = None
    if config.need is not None and config.kv_cache_bytes is None:
        context = config.context or context_window(Path(config.folder)) or config.window
        enough = useful(config.need, context, config.max_num_seqs) if context else None
    share = budget(free, total, config.gpu_memory, held_by, enough)
    if config.need is not None:
        check_fits(config.model, config.need, share, total, free, held_by)
    return share
