"""Training samples: scenarios drawn from data/, varied, and encoded by Mistral's own tokenizer. Knows no model."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expand import expand
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

DATA = Path(__file__).with_name("data")
CHAT_FILE = "plain_chat"

CHAT_SHARE = 0.08
"""Of samples, how many are plain chat."""
CHAT_TOOLS_SHARE = 0.6
"""Of plain chats, how many have tools beside them that they must not call."""
CHAT_WORDS = 45
"""Plain chats whose first answer has as many words or more are left out."""
DISTRACTOR_SHARE = 0.35
"""Of scenarios with one to three tools, how many get tools of other scenarios beside theirs."""

Sample = tuple[list[int], list[int]]
"""Token ids, and for each whether the model is to learn it (1) or only to read it (0)."""


def read_scenarios(name: str) -> list[dict[str, Any]]:
    """The scenarios of data/NAME.jsonl."""
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


class Samples:
    """Draws samples without end from the files of data/ named in `names`."""

    def __init__(self, tokenizer: Path, names: list[str], rng: random.Random) -> None:
        self._rng = rng
        self._tokenizer = MistralTokenizer.from_file(str(tokenizer), mode=ValidationMode.finetuning)
        special = self._tokenizer.instruct_tokenizer.tokenizer.get_special_token
        self._before_answer = (special("[/INST]"), special("[/TOOL_RESULTS]"))
        self._results, self._end = special("[TOOL_RESULTS]"), special("</s>")
        main = [scenario for name in sorted(names) if name != CHAT_FILE for scenario in read_scenarios(name)]
        # The example weather tool, and the first minutes with the sample tools (ids "g-..."), count twice.
        main += [s for s in main if "gcw" in s["id"] or s["id"].startswith("g-")]
        self.main = main
        chats = read_scenarios(CHAT_FILE) if CHAT_FILE in names else []
        self.chats = [chat for chat in chats if len(chat["turns"][1]["say"].split()) < CHAT_WORDS]
        self.tools = [tool for scenario in main for tool in scenario["tools"]]

    def draw(self) -> Sample:
        """One conversation. Raises what the tokenizer's validators raise for one that is not legal."""
        return self._encode(self._conversation())

    def _conversation(self) -> dict[str, Any]:
        rng = self._rng
        if rng.random() < CHAT_SHARE and self.chats:
            chat = {**rng.choice(self.chats), "slots": {}}
            if rng.random() < CHAT_TOOLS_SHARE:
                chat["tools"] = rng.sample(self.tools, rng.randint(1, 3))
            return expand(chat, rng)
        conversation = expand(rng.choice(self.main), rng)
        tools = conversation["tools"] = list(conversation["tools"])
        if tools and rng.random() < DISTRACTOR_SHARE and len(tools) < 4:
            names = {tool["name"] for tool in tools}
            for tool in rng.sample(self.tools, rng.randint(1, 2)):
                if tool["name"] not in names:
                    names.add(tool["name"])
                    tools.append(tool)
        # An answer that lists the tools lists them in their order.
        if not any("tools do you have" in json.dumps(turn) for turn in conversation["turns"]):
            rng.shuffle(tools)
        return conversation

    def _encode(self, conversation: dict[str, Any]) -> Sample:
        request = ChatCompletionRequest(
            messages=list(self._messages(conversation)),
            tools=[{"type": "function", "function": tool} for tool in conversation["tools"]] or None,
        )
        tokens = self._tokenizer.encode_chat_completion(request).tokens
        return tokens, self._learned(tokens)

    def _messages(self, conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if conversation.get("system"):
            yield {"role": "system", "content": conversation["system"]}
        ids: list[str] = []
        for turn in conversation["turns"]:
            ((kind, body),) = turn.items()
            match kind:
                case "user":
                    yield {"role": "user", "content": body}
                case "say":
                    yield {"role": "assistant", "content": body}
                case "call":
                    ids = [self._call_id() for _ in body]
                    calls = [_tool_call(i, call) for i, call in zip(ids, body, strict=True)]
                    yield {"role": "assistant", "content": "", "tool_calls": calls}
                case "result":
                    for i, result in zip(ids, body, strict=True):
                        content = result if isinstance(result, str) else json.dumps(result)
                        yield {"role": "tool", "tool_call_id": i, "content": content}

    def _learned(self, tokens: list[int]) -> list[int]:
        """1 for what the model writes: from the end of a question or of the results to `</s>`."""
        mask, writing = [], False
        for i, token in enumerate(tokens):
            if i and tokens[i - 1] in self._before_answer and token != self._results:
                writing = True
            mask.append(int(writing))
            if token == self._end:
                writing = False
        return mask

    def _call_id(self) -> str:
        return "".join(self._rng.choice(string.ascii_letters + string.digits) for _ in range(9))


def _tool_call(call_id: str, call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": call["name"], "arguments": arguments}}
