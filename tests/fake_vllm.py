"""A vLLM server as far as the token profile sees one: renders by a real tokenizer, and writes what a test gives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from scripted_server import Asked, Reply, ScriptedServer, as_json, events

from toolchat.engine.remote.proof import WORD

COMPLETIONS = "/v1/completions"


class FakeVllm:
    """Answers the paths of `server`; `writes` are the runs to come, each a list of token ids."""

    def __init__(self, server: ScriptedServer, tokenizer: MistralTokenizer, root: Path) -> None:
        self.server = server
        self.writes: list[Sequence[int]] = []
        self.holds_grammars = True
        self.finish = "stop"
        self.cached: int | None = None
        self._tokenizer = tokenizer
        server.on("/version", as_json({"version": "0.32.0"}))
        self.list_models({"id": "demo", "root": str(root), "parent": None})
        server.on("/tokenize", self._tokenize)
        server.on(COMPLETIONS, self._complete)

    def list_models(self, *cards: dict[str, Any]) -> None:
        known = {"object": "model", "owned_by": "vllm", "max_model_len": 4096}
        self.server.on("/v1/models", as_json({"object": "list", "data": [known | card for card in cards]}))

    def runs(self) -> list[Any]:
        """The bodies of the runs beside that of the proof."""
        return [body for body in self.server.bodies(COMPLETIONS) if not _is_canary(body)]

    def _tokenize(self, asked: Asked) -> Reply:
        request: ChatCompletionRequest[Any] = ChatCompletionRequest(
            messages=asked.body["messages"], tools=asked.body.get("tools")
        )
        tokens = self._tokenizer.encode_chat_completion(request).tokens
        return as_json({"count": len(tokens), "max_model_len": 4096, "tokens": tokens})

    def _complete(self, asked: Asked) -> Reply:
        if _is_canary(asked.body):
            ids = self._canary(asked.body) if self.holds_grammars else self._text("Hello there!")
            return self.stream(asked.body["prompt"], ids, "length")
        return self.stream(asked.body["prompt"], self.writes.pop(0), self.finish)

    def stream(self, prompt: Sequence[int], ids: Sequence[int], finish: str, *, done: bool = True) -> Reply:
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "text": "", "token_ids": [one], "finish_reason": None}]} for one in ids
        ]
        chunks[0]["choices"][0]["prompt_token_ids"] = list(prompt)
        if done:
            chunks[-1]["choices"][0]["finish_reason"] = finish
        details = {} if self.cached is None else {"prompt_tokens_details": {"cached_tokens": self.cached}}
        usage = {"choices": [], "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(ids), **details}}
        return Reply([events(*chunks, *([usage] if done else []), done=done)])

    def _canary(self, body: dict[str, Any]) -> list[int]:
        inner = self._tokenizer.instruct_tokenizer.tokenizer
        calls = [inner.get_special_token("[TOOL_CALLS]")] if "<[" in body["structured_outputs"]["grammar"] else []
        return [*calls, *self._text(WORD)]

    def _text(self, text: str) -> list[int]:
        return list(self._tokenizer.instruct_tokenizer.tokenizer.encode(text, bos=False, eos=False))


def _is_canary(body: dict[str, Any]) -> bool:
    return f'"{WORD}"' in json.dumps(body.get("structured_outputs", "")).replace("\\", "")
