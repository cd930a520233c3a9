"""What a constraint lets a model write, told by the backends themselves, with the tokenizers as vLLM gives them.

The backends are imported where they are used: xgrammar brings torch and transformers along, and every process of
`make test` imports this module to know the tests' names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from toolchat.mistral.grammar.constraint import Grammar

if TYPE_CHECKING:
    import llguidance
    import xgrammar


@cache
def _guidance(tokenizer: MistralTokenizer) -> llguidance.LLTokenizer:
    from mistral_common.guidance.tokenizer import from_mistral_tokenizer

    made: llguidance.LLTokenizer = from_mistral_tokenizer(tokenizer)
    return made


@cache
def _xgrammar(tokenizer: MistralTokenizer) -> xgrammar.GrammarCompiler:
    import xgrammar

    # As in vllm/v1/structured_output/backend_xgrammar.py.
    inner: Any = tokenizer.instruct_tokenizer.tokenizer
    return xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(
            encoded_vocab=inner.vocab(),
            vocab_type=xgrammar.VocabType.BYTE_FALLBACK,
            vocab_size=inner.n_words,
            stop_token_ids=[inner.eos_id],
            add_prefix_space=True,
        )
    )


def accepts(tokenizer: MistralTokenizer, grammar: Grammar, ids: Sequence[int], banned: Sequence[int] = ()) -> bool:
    """Whether the model may write exactly `ids`, and then end."""
    if set(ids) & set(banned):
        return False
    if grammar.kind == "lark":
        import llguidance

        matcher = llguidance.LLMatcher(_guidance(tokenizer), grammar.text)
        assert not matcher.is_error(), matcher.get_error()
        return matcher.try_consume_tokens(list(ids)) == len(ids) and matcher.is_accepting()
    import xgrammar

    free = xgrammar.GrammarMatcher(_xgrammar(tokenizer).compile_grammar(grammar.text))
    end: int = tokenizer.instruct_tokenizer.tokenizer.eos_id
    return all(free.accept_token(token) for token in [*ids, end])


class Bytes:
    """A vocabulary of the 256 bytes, for walking through a grammar at random."""

    eos_token_id = 256
    bos_token_id = None
    tokens = [*(bytes([value]) for value in range(256)), b"<end>"]  # noqa: RUF012
    special_token_ids = [256]  # noqa: RUF012

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def _bytes_guidance() -> llguidance.LLTokenizer:
    import llguidance

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


@cache
def _bytes_xgrammar() -> xgrammar.GrammarCompiler:
    import xgrammar

    vocabulary = xgrammar.TokenizerInfo(Bytes.tokens, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[256])
    return xgrammar.GrammarCompiler(vocabulary, cache_enabled=False)


class Walk:
    """A model that knows nothing, let loose in a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._lark = self._free = None
        if grammar.kind == "lark":
            import llguidance

            self._lark = llguidance.LLMatcher(_bytes_guidance(), grammar.text)
            assert not self._lark.is_error(), self._lark.get_error()
        else:
            import xgrammar

            self._free = xgrammar.GrammarMatcher(_bytes_xgrammar().compile_grammar(grammar.text))

    def allowed(self) -> list[int]:
        import torch

        mask = torch.full((1, 9), -1, dtype=torch.int32)
        if self._lark is not None:
            import llguidance.torch

            llguidance.torch.fill_next_token_bitmask(self._lark, mask, 0)
        else:
            assert self._free is not None
            self._free.fill_next_token_bitmask(mask, 0)
        row = mask[0].tolist()
        return [token for token in range(257) if row[token // 32] >> (token % 32) & 1]

    def take(self, token: int) -> None:
        if self._lark is not None:
            assert self._lark.consume_token(token)
        else:
            assert self._free is not None
            assert self._free.accept_token(token)

    def write(self, rng: random.Random, longest: int = 4000) -> bytes | None:
        """Random bytes to the end of the grammar, closing what is open sooner and sooner; None where it goes on."""
        written = bytearray()
        while len(written) < longest:
            allowed = self.allowed()
            if 256 in allowed and (len(allowed) == 1 or rng.random() < 0.5):
                return bytes(written)
            closing = [token for token in allowed if token < 256 and token in b'"]}']
            token = rng.choice(closing if closing and rng.random() < 0.3 else [one for one in allowed if one != 256])
            self.take(token)
            written.append(token)
        return None
