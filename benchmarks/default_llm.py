"""The default contender: one question with a tool, as vLLM's documentation writes it, with vLLM's own defaults.

Run as `python default_llm.py MODEL_FOLDER QUESTION TOOLS`, the last being a JSON file with OpenAI's list of tools.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vllm import LLM
from vllm.sampling_params import SamplingParams

from toolchat.samples.calculator import calculate


def main() -> None:
    folder, question, tools_file = sys.argv[1:]
    tools = json.loads(Path(tools_file).read_text(encoding="utf-8"))
    llm = LLM(model=folder, tokenizer_mode="mistral", config_format="mistral", load_format="mistral")
    sampling = SamplingParams(max_tokens=512, temperature=0.0)
    messages: list[Any] = [{"role": "user", "content": question}]
    output = llm.chat(messages, sampling_params=sampling, tools=tools)[0].outputs[0].text
    name, arguments = output.removeprefix("[TOOL_CALLS]").split("[ARGS]")
    call = {"id": "abcdefghi", "type": "function", "function": {"name": name, "arguments": arguments}}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": str(calculate(**json.loads(arguments))), "tool_call_id": call["id"], "name": name},
    ]
    print(llm.chat(messages, sampling_params=sampling, tools=tools)[0].outputs[0].text)


# vLLM starts processes of its own, which import this file.
if __name__ == "__main__":
    main()
