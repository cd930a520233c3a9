from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest
from mistral_cases import parse, word
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_tokenizers import ALL, DATA

from toolchat.mistral.vocabulary import MistralVocabulary, Vocabulary


@pytest.mark.parametrize("label", ALL)
def test_version_and_control_tokens(tokenizer_of, label):
    vocabulary = MistralVocabulary(tokenizer_of(label))
    assert isinstance(vocabulary, Vocabulary)
    assert f"v{vocabulary.version}" == label.split("-")[0]
    assert vocabulary.adds_space == label.endswith("spm")
    calls, args = vocabulary.special("[TOOL_CALLS]"), vocabulary.special("[ARGS]")
    assert vocabulary.is_special(calls)
    assert vocabulary.piece(calls) == b"[TOOL_CALLS]"
    assert (args is not None) == (vocabulary.version >= 11)
    assert (vocabulary.special("[THINK]") is not None) == (label in ("v13", "v15"))
    assert vocabulary.special("weather") is None
    assert vocabulary.special("") is None


@pytest.mark.parametrize("label", ALL)
def test_a_text_reads_as_the_tokenizer_decodes_it(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    inner = tokenizer.instruct_tokenizer.tokenizer
    rng = random.Random(label)
    for _ in range(200):
        wanted = word(rng)
        ids = inner.encode(wanted, bos=False, eos=False)
        assert parse(tokenizer, [[token] for token in ids]).text == inner.decode(ids) == wanted


def test_sentencepiece_drops_one_space_and_only_at_the_start(tokenizer_of):
    tokenizer = tokenizer_of("v3-spm")
    inner = tokenizer.instruct_tokenizer.tokenizer
    ids = inner.encode("  two  spaces", bos=False, eos=False)
    assert parse(tokenizer, [ids]).text == "  two  spaces"
    assert parse(tokenizer, [[*ids, *ids]]).text == "  two  spaces   two  spaces"


@pytest.mark.long
def test_the_full_vocabulary_costs_nothing_at_start():
    tokenizer = MistralTokenizer.from_file(str(DATA / "tekken_240911.json"))
    began = time.perf_counter()
    vocabulary = MistralVocabulary(tokenizer)
    assert vocabulary.piece(1000 + ord("a")) == b"a"
    assert time.perf_counter() - began < 0.05


@pytest.mark.process
def test_importing_the_room_imports_nothing_heavy():
    modules = ", ".join(f"toolchat.mistral.{name}" for name in ("ids", "vocabulary", "parse", "grammar.constraint"))
    heavy = {"mistral_common", "numpy", "torch", "vllm", "llguidance", "xgrammar", "jinja2"}
    script = f"import sys, {modules}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
