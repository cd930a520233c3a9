from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchat.models.demo import bf16, convert, pins
from toolchat.models.demo.build import ADAPTER, quick_digest
from toolchat.wire.errors import EngineError

# From the tekken.json that the adapter was trained with (SHA-256 73bbbdf6…), by mistral_common 1.12.0.
KNOWN_IDS = [
    ("Hello, world!", [19608, 92, 957, 81]),
    ("What's the weather like in Dallas, TX?", [1832, 558, 312, 3999, 754, 333, 26271, 92, 29498, 111]),
    ("El Niño à Zürich, où?", [13845, 28090, 25834, 1829, 7222, 5182, 92, 315, 45638, 111]),
    (
        "17 * 23 = 391, 2026-01-05",
        [97, 103, 1724, 80, 98, 99, 498, 80, 99, 105, 97, 92, 80, 98, 96, 98, 102, 93, 96, 97, 93, 96, 101],
    ),
    (
        "🙂🚀 naïve 日本語",
        [10865, 38939, 10865, 202, 176, 15538, 46546, 17149, 199, 213, 41045, 280, 218, 206],
    ),
    (
        'def f(x):\n    return x**2\n\n\tprint(f"{x}")',
        [1656, 327, 88, 168, 779, 524, 1055, 1844, 880, 98, 1168, 57, 3324, 88, 150, 14789, 168, 15253],
    ),
    ("  two  spaces\n\n\n", [80, 879, 80, 5652, 16558]),
    (
        "[TOOL_CALLS] </s> <|im_start|>",
        [139, 10231, 7165, 143, 115, 3258, 12093, 141, 22629, 163, 110, 2119, 172, 358, 143, 3790, 172, 110],
    ),
    (
        '{"city": "Dallas", "unit": "fahrenheit"}',
        [39480, 20773, 1851, 528, 116, 22793, 1054, 528, 9618, 1851, 528, 150, 20603, 23649],
    ),
    ("\x00\x04ÿ", [48, 52, 243, 239]),
]

SPECIAL_IDS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "[INST]": 3,
    "[/INST]": 4,
    "[AVAILABLE_TOOLS]": 5,
    "[/AVAILABLE_TOOLS]": 6,
    "[TOOL_RESULTS]": 7,
    "[/TOOL_RESULTS]": 8,
    "[TOOL_CALLS]": 9,
    "<pad>": 11,
    "[SYSTEM_PROMPT]": 17,
    "[/SYSTEM_PROMPT]": 18,
    "[ARGS]": 32,
    "[CALL_ID]": 33,
}


@pytest.fixture(scope="module")
def tekken(built: Path) -> Any:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    return Tekkenizer.from_file(built / pins.TOKENIZER)


@pytest.mark.process
@pytest.mark.parametrize(("text", "ids"), KNOWN_IDS)
def test_text_becomes_the_ids_the_model_was_trained_on(tekken: Any, text: str, ids: list[int]) -> None:
    assert tekken.encode(text, bos=False, eos=False) == ids
    assert tekken.decode(ids) == text


@pytest.mark.process
def test_special_tokens_are_where_version_13_has_them(tekken: Any) -> None:
    assert {name: tekken.get_special_token(name) for name in SPECIAL_IDS} == SPECIAL_IDS
    assert tekken.version.value == "v13"
    assert tekken.n_words == 49_204


@pytest.mark.process
def test_a_chat_with_tools_is_rendered_in_the_protocol_of_version_13(built: Path) -> None:
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    function = {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": "hi"}],
        tools=[{"type": "function", "function": function}],
    )
    tokens = MistralTokenizer.from_file(str(built / pins.TOKENIZER)).encode_chat_completion(request).tokens
    assert [token for token in tokens if token < convert.N_SPECIAL] == [1, 5, 6, 3, 4]


@pytest.mark.process
def test_params_state_the_shape_that_the_tensors_have(built: Path) -> None:
    params = json.loads((built / pins.PARAMS).read_text())
    with (built / pins.WEIGHTS).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["tok_embeddings.weight"]["shape"] == [params["vocab_size"], params["dim"]]
    assert header["layers.0.attention.wk.weight"]["shape"] == [params["n_kv_heads"] * 64, params["dim"]]
    assert header["layers.29.feed_forward.w2.weight"]["shape"] == [params["dim"], params["hidden_dim"]]
    assert len(header) == params["n_layers"] * 9 + 2


@pytest.mark.process
@pytest.mark.parametrize("name", [pins.TOKENIZER, pins.PARAMS, pins.WEIGHTS])
def test_every_file_is_the_pinned_one(built: Path, name: str) -> None:
    with (built / name).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == pins.SHA256[name]
    assert (built / name).stat().st_size == pins.BYTES[name]
    assert quick_digest(built / name) == pins.QUICK[name]


def test_the_shipped_adapter_is_the_measured_one() -> None:
    digest = hashlib.sha256(ADAPTER.read_bytes()).hexdigest()
    assert digest == "2efb2a2e57e70e572b77e035805105e969dddd97420296e4c66604f97152b58b"


def test_tekken_order_puts_all_bytes_first() -> None:
    ordered = convert.tekken_order([b"the", b"b", b"a", b" x"])
    assert ordered[:256] == [bytes([i]) for i in range(256)]
    assert ordered[256:] == [b"the", b" x"]


def test_bytes_that_are_no_text_have_no_token_string() -> None:
    content = json.loads(convert.tekken_json([b"a", b"\xff"]))
    assert content["vocab"] == [
        {"rank": 0, "token_bytes": base64.b64encode(b"a").decode(), "token_str": "a"},
        {"rank": 1, "token_bytes": base64.b64encode(b"\xff").decode(), "token_str": None},
    ]


def test_rows_follow_their_tokens_into_the_new_order() -> None:
    entries = [b"b", b"the", b"a"]
    old: np.ndarray = np.arange(20, dtype=np.float32).reshape(20, 1) + 1  # row i holds i + 1: exact in bfloat16
    ordered = convert.tekken_order(entries)
    rows = bf16.to_float32(convert.embedding_rows(old, entries, ordered))[:, 0]
    assert len(rows) == 48 + 257
    assert rows[48 + ord("b")] == 18
    assert rows[48 + ord("a")] == 20
    assert rows[48 + 256] == 19
    assert rows[48 + ord("z")] == 1  # a byte that the old vocabulary lacks
    by_name = dict(zip(convert.special_names(), rows, strict=False))
    assert by_name["[INST]"] == 2
    assert by_name["[/INST]"] == 3
    assert by_name["[TOOL_CALLS]"] == 9  # the mean of 1 to 17


def test_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="rope_freqs"):
        convert.tensor_name("rope_freqs.weight")


def test_a_file_that_is_no_gguf_is_one_line_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(EngineError, match=r"x\.gguf"):
        convert.convert(path)
