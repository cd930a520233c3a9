from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_hub import safetensors

from toolchat.models.files import check_folder, needed
from toolchat.wire.errors import EngineError

INDEX = "consolidated.safetensors.index.json"
WHOLE = safetensors(b"12345678")


def shard(number: int, total: int = 3) -> str:
    return f"consolidated-{number:05}-of-{total:05}.safetensors"


def folder_with(folder: Path, **files: bytes) -> Path:
    for name, data in {"params.json": b"{}", "tekken.json": b"{}", **files}.items():
        (folder / name).write_bytes(data)
    return folder


def indexed(folder: Path, *there: int, total: int = 3) -> Path:
    weights = {f"tensor {number}": shard(number, total) for number in range(1, total + 1)}
    (folder / INDEX).write_text(json.dumps({"weight_map": weights}))
    return folder_with(folder, **{shard(number, total): WHOLE for number in there})


def refusal(folder: Path) -> str:
    with pytest.raises(EngineError) as failure:
        check_folder(folder)
    line = str(failure.value)
    assert "\n" not in line
    return line


def test_a_whole_model_passes(tmp_path: Path) -> None:
    check_folder(indexed(tmp_path, 1, 2, 3))


@pytest.mark.parametrize("data", [WHOLE, (2).to_bytes(8, "little") + b"{}", safetensors(b"")])
def test_weights_in_one_file_pass(tmp_path: Path, data: bytes) -> None:
    check_folder(folder_with(tmp_path, **{"consolidated.safetensors": data}))


def test_the_shards_that_the_index_names_and_the_folder_lacks_are_named(tmp_path: Path) -> None:
    line = refusal(indexed(tmp_path, 2))
    assert line == f"{tmp_path}: not a whole model in Mistral's format: it lacks {shard(1)}, {shard(3)}"


def test_of_many_missing_shards_some_are_named_and_the_others_counted(tmp_path: Path) -> None:
    assert refusal(indexed(tmp_path, 1, total=12)).endswith(f"{shard(5, 12)} and 7 more")


def test_without_an_index_the_shards_own_names_say_how_many_there_are(tmp_path: Path) -> None:
    line = refusal(folder_with(tmp_path, **{shard(1): WHOLE, shard(3): WHOLE}))
    assert line.endswith(f"it lacks {shard(2)}")


def test_a_link_that_leads_nowhere_is_a_missing_shard(tmp_path: Path) -> None:
    indexed(tmp_path, 1, 2)
    (tmp_path / shard(3)).symlink_to(tmp_path / "blob")
    assert refusal(tmp_path).endswith(f"it lacks {shard(3)}")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "{"])
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    folder_with(tmp_path, **{shard(1): WHOLE, INDEX: text.encode()})
    assert refusal(tmp_path).startswith(f"{tmp_path / INDEX}: not an index of weights: ")


@pytest.mark.parametrize("length", [0, 4, 8, 20, len(WHOLE) - 1])
def test_weights_that_are_cut_off_are_found(tmp_path: Path, length: int) -> None:
    line = refusal(folder_with(tmp_path, **{"consolidated.safetensors": WHOLE[:length]}))
    assert "consolidated.safetensors is cut off" in line
    assert line.endswith("fetch that file again")


@pytest.mark.parametrize(
    "data",
    [
        b"this is no tensor" * 100,
        (5).to_bytes(8, "little") + b"[1,2]",
        (6).to_bytes(8, "little") + b"{1: 2}",
        (9).to_bytes(8, "little") + b'{"a": 12}',
        (2**63).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_weights_that_are_no_safetensors_are_found(tmp_path: Path, data: bytes) -> None:
    line = refusal(folder_with(tmp_path, **{"consolidated.safetensors": data}))
    assert "consolidated.safetensors is not a safetensors file" in line


def test_of_a_repository_only_mistrals_format_is_needed() -> None:
    names = (
        *("params.json", "config.json", "generation_config.json", "SYSTEM_PROMPT.txt", "tekken.json", INDEX, shard(1)),
        *("tokenizer.model.v3", "consolidated.safetensors"),
    )
    others = (
        "model.safetensors",
        "README.md",
        "tokenizer.json",
        "old/consolidated.safetensors",
        "consolidated/a.safetensors",
    )
    assert needed((*names, *others)) == list(names)


TOKENIZER = "a tokenizer (tekken.json or tokenizer.model.v3)"


def hugging_face(folder: Path, *, config: object = None, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 32768} if config is None else config))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("tokenizer", ["tekken.json", "tokenizer.model.v3", "tokenizer.model.v7m1"])
def test_a_whole_model_in_the_other_format_passes(tmp_path: Path, tokenizer: str) -> None:
    check_folder(hugging_face(tmp_path, **{"model.safetensors": WHOLE, tokenizer: b"{}"}))


def test_without_mistrals_tokenizer_the_line_says_where_it_usually_is_and_how_to_get_it(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "Mistral-7B-Instruct-v0.3-AWQ", **{"model.safetensors": WHOLE})
    (folder / "tokenizer.json").write_text("{}")  # transformers' own
    assert refusal(folder) == (
        f"{folder}: not a whole model in Hugging Face's format: it lacks {TOKENIZER}; it usually is that of "
        "mistralai/Mistral-7B-Instruct-v0.3: hf download mistralai/Mistral-7B-Instruct-v0.3 tokenizer.model.v3 "
        f"--local-dir {folder}"
    )


def test_the_model_that_it_was_made_from_may_stand_in_its_config(tmp_path: Path) -> None:
    config = {"_name_or_path": "/data/Mistral-Nemo-Instruct-2407"}
    line = refusal(hugging_face(tmp_path / "mine", config=config, **{"model.safetensors": WHOLE}))
    assert "hf download mistralai/Mistral-Nemo-Instruct-2407 tekken.json" in line
    line = refusal(hugging_face(tmp_path / "unknown", **{"model.safetensors": WHOLE}))
    assert "the repository of Mistral's that the model was made from" in line


def test_a_tokenizer_that_names_no_version_is_v1s_and_refused_with_another_vocabulary(tmp_path: Path) -> None:
    files = {"model.safetensors": WHOLE, "tokenizer.model": b"x"}
    assert "tokenizer.model names no version, and mistral_common takes it as v1" in refusal(
        hugging_face(tmp_path / "Mistral-7B-Instruct-v0.3-GPTQ-4bit", **files)
    )
    check_folder(hugging_face(tmp_path / "first", config={"vocab_size": 32000}, **files))
    check_folder(hugging_face(tmp_path / "named", **files, **{"tokenizer.model.v3": b"x"}))


def test_the_shards_of_the_other_format_are_counted(tmp_path: Path) -> None:
    hugging_face(tmp_path, **{"model-00001-of-00002.safetensors": WHOLE, "tekken.json": b"{}"})
    assert refusal(tmp_path).endswith("it lacks model-00002-of-00002.safetensors")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(WHOLE[:-1])
    assert "model-00002-of-00002.safetensors is cut off" in refusal(tmp_path)


def test_of_a_repository_in_the_other_format_weights_tokenizer_and_small_files_are_needed() -> None:
    names = ["config.json", "generation_config.json", "tekken.json", "quantize_config.json"]
    names += ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    others = ["README.md", "tokenizer.json", "pytorch_model.bin", "adapter_model.safetensors", "gguf/a.safetensors"]
    assert sorted(needed([*names, *others])) == sorted(names)
