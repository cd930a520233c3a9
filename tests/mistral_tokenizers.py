"""Tokenizers of every version, made from the vocabularies that mistral_common ships.

SentencePiece files are used as they are; tekken ones get the first 8,000 entries of the shipped vocabulary
and the control tokens of their version, so that each takes milliseconds to load.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mistral_common
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from toolchat.mistral.vocabulary import MistralVocabulary

DATA = Path(mistral_common.__file__).parent / "data"
ENTRIES = 8_000
SPECIALS = 64

_SENTENCEPIECE = {
    "v2-spm": "mistral_instruct_tokenizer_240216.model.v2",
    "v3-spm": "mistral_instruct_tokenizer_240323.model.v3",
    "v7-spm": "mistral_instruct_tokenizer_241114.model.v7",
}
_COMMON = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
]
_NAMED = ["[ARGS]", "[CALL_ID]"]
_THINK = ["[THINK]", "[/THINK]"]
_TEKKEN = {
    "v3-tekken": ("v3", []),
    "v7-tekken": ("v7", []),
    "v11": ("v11", _NAMED),
    "v13": ("v13", _NAMED + _THINK),
    "v13-plain": ("v13", _NAMED),
    "v15": ("v15", [*_NAMED, *_THINK, "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"]),
}
ALL = (*_SENTENCEPIECE, *_TEKKEN)
SEEING = tuple(_TEKKEN)
"""Those that can be made to see."""
PATCH, LARGEST_SIDE = 16, 64
"""Pixels of a patch, each of which becomes one token, and of the largest side of an image."""
LISTS = ("v2-spm", "v3-spm", "v3-tekken", "v7-spm", "v7-tekken")
NAMED = ("v11", "v13", "v13-plain", "v15")


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "tekken_240911.json").read_text())
    return found


def sentencepiece_file(label: str) -> str | None:
    """Its name in DATA; None for tekken."""
    return _SENTENCEPIECE.get(label)


def settings_builder(
    efforts: Sequence[str], *, default: str | None = "none", has_schema: bool = False
) -> dict[str, Any]:
    """What a v15 tokenizer's file says of the model's settings; mistral_common 1.13 refuses one without a default."""
    effort = {"type": "enum", "values": [*efforts], "accepts_none": True, "default": default}
    schema = {"type": "json_schema", "accepts_none": False, "default": None}
    return {"reasoning_effort": effort} | ({"json_schema": schema} if has_schema else {})


def tekken_file(
    folder: Path,
    label: str,
    *,
    supports_images: bool = False,
    efforts: Sequence[str] = ("none", "high"),
    has_schema: bool = False,
) -> Path:
    """`efforts` are those of a v15 tokenizer, and `has_schema` gives it a place for the answer's schema.

    Other efforts than those two, and the schema, take mistral_common 1.13.
    """
    version, extra = _TEKKEN[label]
    names = _COMMON + extra
    names += [f"<SPECIAL_{index}>" for index in range(len(names), SPECIALS)]
    content: dict[str, Any] = {
        "config": {
            **_shipped()["config"],
            "version": version,
            "num_vocab_tokens": ENTRIES,
            "default_vocab_size": ENTRIES + SPECIALS,
            "default_num_special_tokens": SPECIALS,
        },
        "vocab": _shipped()["vocab"][:ENTRIES],
        "special_tokens": [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)],
        "type": "Tekken",
        "version": 1,
    }
    if version == "v15":
        content["model_settings_builder"] = settings_builder(efforts, has_schema=has_schema)
    if supports_images:
        content["image"] = {"image_patch_size": PATCH, "max_image_size": LARGEST_SIDE, "spatial_merge_size": 1}
    path = folder / f"tekken_{label}_{supports_images:d}{has_schema:d}_{'_'.join(efforts)}.json"
    path.write_text(json.dumps(content))
    return path


def load(folder: Path, label: str, **options: Any) -> MistralTokenizer:
    """The tokenizer `label`, made in `folder`; the `options` are those of `tekken_file`."""
    piece = sentencepiece_file(label)
    path = DATA / piece if piece is not None else tekken_file(folder, label, **options)
    return MistralTokenizer.from_file(str(path))


@cache
def vocabulary_of(tokenizer: MistralTokenizer) -> MistralVocabulary:
    """The vocabulary of a tokenizer, read once: to list the control tokens of SentencePiece takes 0.1 s each time."""
    return MistralVocabulary(tokenizer)


class Mark(str):
    """A control token, where a plain string would be text."""


def spell(tokenizer: MistralTokenizer, *parts: str | Mark) -> list[int]:
    """Token ids of texts and control tokens, as a model would have generated them."""
    inner = tokenizer.instruct_tokenizer.tokenizer
    ids: list[int] = []
    for part in parts:
        if isinstance(part, Mark):
            ids.append(inner.get_special_token(str(part)))
        else:
            ids += inner.encode(part, bos=False, eos=False)
    return ids


CALLS, ARGS, CALL_ID, EOS = Mark("[TOOL_CALLS]"), Mark("[ARGS]"), Mark("[CALL_ID]"), Mark("</s>")
THINK, END_THINK, PAD, INST = Mark("[THINK]"), Mark("[/THINK]"), Mark("<pad>"), Mark("[INST]")
