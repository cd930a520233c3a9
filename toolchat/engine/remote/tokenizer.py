"""Finds the tokenizer's file of a model that a server runs: in a folder of this machine, or on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.offline import hub_offline, remedy
from toolchat.wire.errors import EngineError

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class NoTokenizerError(EngineError):
    """There is none that mistral_common reads; the message is the reason, as a part of a sentence."""


def tokenizer_file(place: str, looking: Callable[[str], None] = lambda _: None) -> Path:
    """The tokenizer's file in `place`, a folder or a repository of the hub, of which that file alone is fetched.

    `looking` is told before the hub is asked. Raises NoTokenizerError.
    """
    from mistral_common.tokens.tokenizers.utils import get_one_valid_tokenizer_file

    folder = Path(place).expanduser()
    try:
        if folder.is_file():
            return folder
        if folder.is_dir():
            return Path(get_one_valid_tokenizer_file(sorted(str(file) for file in folder.iterdir())))
    except ValueError:
        raise NoTokenizerError(f"{place} has no tekken.json and no tokenizer.model of Mistral's") from None
    except OSError as error:
        raise NoTokenizerError(f"{place} cannot be read ({error.strerror})") from None
    if _REPOSITORY.fullmatch(place) is None:
        raise NoTokenizerError(
            f"{place} is no folder of this machine; name one, or a Hugging Face id, with --tokenizer"
        )
    looking(f"looking for the tokenizer of {place}")
    return _from_hub(place)


def _from_hub(repository: str) -> Path:
    """What is in the hub's cache is taken as it is: the proof of prompts finds out whether it fits."""
    with suppress(Exception):
        return _fetched(repository, cached=True)
    if variable := hub_offline():
        raise NoTokenizerError(f"the tokenizer of {repository} is not on this machine, and {remedy(variable)}")
    try:
        return _fetched(repository, cached=False)
    except ValueError:
        raise NoTokenizerError(f"{repository} has no tokenizer of Mistral's on the hub") from None
    except ImportError:
        raise NoTokenizerError("huggingface_hub is not installed, which fetches the tokenizer's file") from None
    except Exception as error:  # the hub's library and its HTTP client raise many kinds
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise NoTokenizerError(
            f"the tokenizer of {repository} cannot be fetched ({reason}); --tokenizer names a folder"
        ) from None


def _fetched(repository: str, *, cached: bool) -> Path:
    from huggingface_hub import get_token
    from mistral_common.tokens.tokenizers.utils import download_tokenizer_from_hf_hub

    return Path(download_tokenizer_from_hf_hub(repository, token=get_token(), local_files_only=cached))


def load(file: Path) -> MistralTokenizer:
    """Raises NoTokenizerError."""
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    try:
        return MistralTokenizer.from_file(str(file))
    except Exception as error:  # pydantic, SentencePiece, JSON and mistral_common each have their own
        reason = " ".join(str(error).split())[:160]
        raise NoTokenizerError(f"{file} cannot be read as a tokenizer of Mistral's ({reason})") from None
