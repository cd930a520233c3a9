"""The bare contender: the generations of a session on vLLM's `LLMEngine`, with nothing of a chat around them.

Run as `python bare_engine.py WORK REPORT`, both JSON files; see `_common.engine_work`. The engine has the settings that
toolchat's worker gives it. Of toolchat it takes the two work-arounds without which vLLM does not load on a CPU
beside PyPI's torchvision, so that neither side has them to itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    report: dict[str, Any] = {"started": time.time(), "generations": []}

    from toolchat.engine.worker.loading import hide_unloadable_modules, register_model

    hide_unloadable_modules()
    import vllm.v1.engine.llm_engine  # noqa: F401  # the better part of vLLM's imports

    report["imported"] = time.time()
    from vllm import EngineArgs, LLMEngine, SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    config = work["engine"]
    settings: dict[str, Any] = {
        "model": config["folder"],
        "tokenizer_mode": "mistral",
        "config_format": "mistral",
        "load_format": "mistral",
        "dtype": work.get("dtype", config["dtype"]),
        "max_model_len": config["context"] if config["device"] == "cpu" else -1,
        "max_num_seqs": config["max_num_seqs"],
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    if config["kv_cache_bytes"] is not None:
        settings["kv_cache_memory_bytes"] = config["kv_cache_bytes"]
    if config["eager"]:
        settings["enforce_eager"] = True
    if config["device"] == "cpu":
        settings["block_size"] = work["block"]
    register_model(Path(config["folder"]))
    engine = LLMEngine.from_engine_args(EngineArgs(**settings))
    report["ready"] = time.time()
    for number, generation in enumerate(work["generations"]):
        began = time.time()
        grammar = generation["grammar"]
        params = SamplingParams(
            max_tokens=work["max_tokens"],
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        )
        engine.add_request(str(number), tokens_input(generation["prompt"]), params)
        first = 0.0
        tokens: list[int] = []
        while engine.has_unfinished_requests():
            for output in engine.step():
                tokens += output.outputs[0].token_ids
                first = first or time.time()
        report["generations"].append({"began": began, "first": first, "last": time.time(), "tokens": len(tokens)})
    Path(sys.argv[2]).write_text(json.dumps(report), encoding="utf-8")
    if work["hard_exit"]:
        os._exit(0)


if __name__ == "__main__":
    main()
