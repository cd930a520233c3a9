"""Maps a model's name to Mistral's repository that it was made from, its tokenizer, and a quantised copy.

By names alone: no network is asked. Whose name tells nothing gets no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    name: str
    """Of a repository of mistralai."""
    tokenizer: str = "tekken.json"
    quantized: str = ""
    """A repository with the same model in fewer bits, by its model card; empty where none is known."""

    @property
    def repository(self) -> str:
        return f"mistralai/{self.name}"


ORIGINS = (
    Origin("Mistral-7B-Instruct-v0.3", "tokenizer.model.v3", "RedHatAI/Mistral-7B-Instruct-v0.3-GPTQ-4bit"),
    Origin("Mixtral-8x22B-Instruct-v0.1", "tokenizer.model.v3"),
    Origin("Codestral-22B-v0.1", "tokenizer.model.v3"),
    Origin("Mistral-Small-Instruct-2409", "tokenizer.model.v3"),
    Origin("Mistral-Large-Instruct-2407", "tokenizer.model.v3"),
    Origin("Mistral-Large-Instruct-2411", "tokenizer.model.v7"),
    Origin("Mistral-Nemo-Instruct-2407"),
    Origin("Ministral-8B-Instruct-2410"),
    Origin("Mistral-Small-24B-Instruct-2501", quantized="RedHatAI/Mistral-Small-24B-Instruct-2501-quantized.w4a16"),
    Origin(
        "Mistral-Small-3.1-24B-Instruct-2503",
        quantized="RedHatAI/Mistral-Small-3.1-24B-Instruct-2503-quantized.w4a16",
    ),
    Origin("Mistral-Small-3.2-24B-Instruct-2506", quantized="RedHatAI/Mistral-Small-3.2-24B-Instruct-2506-FP8"),
    Origin("Devstral-Small-2505"),
    Origin("Devstral-Small-2507"),
    Origin("Magistral-Small-2506"),
    Origin("Magistral-Small-2507"),
    Origin("Magistral-Small-2509"),
    Origin("Ministral-3-3B-Instruct-2512"),
    Origin("Ministral-3-8B-Instruct-2512"),
    Origin("Ministral-3-14B-Instruct-2512"),
)


def origin(*names: str) -> Origin | None:
    """Mistral's repository of which one of `names` is a copy: a repository's or folder's name, or `_name_or_path`."""
    for name in names:
        plain = _plain(name)
        if found := next((one for one in ORIGINS if _plain(one.name) in plain), None):
            return found
    return None


def quantized_repository(name: str) -> str:
    """A repository with the model `name` in fewer bits; empty where none is known, or it is a copy itself."""
    return next((one.quantized for one in ORIGINS if one.repository == name), "")


def where_the_tokenizer_is(*names: str) -> str:
    """For people: which file of which repository the model with one of `names` needs, and how to get it."""
    if (found := origin(*names)) is not None:
        return f"it usually is that of {found.repository}: hf download {found.repository} {found.tokenizer}"
    return "it usually is in the repository of Mistral's that the model was made from: hf download REPOSITORY FILE"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
