"""Asks a server what it is: its models, whether it is vLLM, which tokenizer it has, and by which profile it is used."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from toolchat.engine.config import ASSUMED_CONTEXT
from toolchat.engine.remote.config import Address, ServerConfig
from toolchat.engine.remote.connection import Connection, Wait
from toolchat.engine.remote.failures import RefusedError
from toolchat.wire.errors import EngineError

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.offline import hub_offline, remedy

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

TOKENS, CHAT = "token profile", "chat profile"
_CONTEXT_KEYS = ("max_model_len", "context_window", "context_length", "max_context_length", "n_ctx")
"""What servers call the context: vLLM; Groq; OpenRouter and Together; Mistral's API and LM Studio; llama.cpp."""
_NAMED = 20
"""Models that are named, of those that a server has."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Served:
    """A server's model, and how it is used."""

    address: Address
    model: str
    profile: str
    context: int
    context_known: bool
    """Whether the server or the user said so."""
    why: str = ""
    """Why it is the chat profile, as a part of a sentence."""
    root: str = ""
    """What the server has loaded: a folder of its own, or a Hugging Face id; empty where it does not say."""
    sees: bool | None = None
    """Whether the model takes images; None where the server does not say."""
    version: str = ""
    """Of vLLM; empty for another server, or one that does not say."""
    tokenizer: MistralTokenizer | None = None
    tokenizer_place: str = ""
    generates_with_images: bool = False
    """Whether prompts of token ids may have images beside them."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """What /models says of one model, and of the one that it is an adapter of."""

    name: str
    card: Mapping[str, Any]
    base: Mapping[str, Any]


async def examine(connection: Connection, config: ServerConfig, wait: Wait | None) -> Served:
    """Raises EngineError where the server cannot be reached, or has no such model.

    `wait` is told of waits for a server that is not ready; None has that be an error.
    """
    cards = await _models(connection, config.asked, wait)
    address = connection.address
    connection.models = tuple(str(card["id"]) for card in cards)
    listed = _chosen(cards, config.asked, address)
    allowed = next((size for card in (listed.card, listed.base) if (size := _context(card))), None)
    if config.context is not None and allowed is not None and config.context > allowed:
        raise EngineError(
            f"--context {config.context}: {address.text} allows {allowed} tokens for {listed.name}; "
            "ask for that or fewer, or start it with a larger context (vLLM: --max-model-len)"
        )
    version = await _version(connection)
    served = Served(
        address,
        listed.name,
        CHAT,
        config.context or allowed or ASSUMED_CONTEXT,
        context_known=config.context is not None or allowed is not None,
        root=str(listed.base.get("root") or listed.base.get("id") or ""),
        sees=_sees(listed.card),
        version=version,
    )
    return await _with_profile(connection, served, listed, config, wait)


async def _with_profile(
    connection: Connection, served: Served, listed: _Listed, config: ServerConfig, wait: Wait | None
) -> Served:
    if not served.version:
        vllm = listed.base.get("owned_by") == "vllm"
        why = "a proxy hides /version" if vllm else "it is not vLLM"
        return replace(served, why=why)
    place = config.tokenizer or served.root
    if missing := next((name for name in ("mistral_common", "llguidance") if not _installed(name)), None):
        return replace(served, why=f"{missing} is not installed; pip install 'toolchat[remote]' brings it")
    from toolchat.engine.remote.proof import UnprovenError, check_grammar, check_prompts
    from toolchat.mistral.vocabulary import MistralVocabulary

    try:
        file = tokenizer_file(place, wait or (lambda _: None))
        tokenizer = load_tokenizer(file)
        vocabulary = MistralVocabulary(tokenizer)
        if vocabulary.special("[TOOL_CALLS]") is None:
            raise NoTokenizerError(f"{place} has a tokenizer that knows no tool calls")
        if vocabulary.adds_space and not _installed("xgrammar"):
            raise NoTokenizerError("xgrammar is not installed, which this tokenizer's grammars need")
        await check_prompts(connection, served.model, tokenizer, vocabulary)
        await check_grammar(connection, served.model, tokenizer, vocabulary, wait or (lambda _: None))
    except (NoTokenizerError, UnprovenError) as error:
        return replace(served, why=str(error))
    images = tokenizer.instruct_tokenizer.image_encoder is not None and await _takes_images(connection)
    return replace(served, profile=TOKENS, tokenizer=tokenizer, tokenizer_place=str(file), generates_with_images=images)


async def _takes_images(connection: Connection) -> bool:
    """Whether the server was started with --enable-scale-out: it then finds a request without tokens wrong."""
    from toolchat.engine.remote.completions import GENERATE

    try:
        await connection.post(f"{connection.address.root}{GENERATE}", {"token_ids": []})
    except RefusedError as error:
        return error.status in (400, 422) and "enable-scale-out" not in error.said
    except EngineError:
        return False
    return False


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None and (name != "xgrammar" or _installed("torch"))
    except ValueError:  # what stands in sys.modules as absent
        return False


async def _models(connection: Connection, asked: str | None, wait: Wait | None) -> Sequence[Mapping[str, Any]]:
    """What the server lists; nothing where it lists nothing. Completes the connection's address by a missing /v1.

    Raises EngineError where it has no list and no model is `asked` for: the address may be wrong then.
    """
    try:
        answer = await connection.get(f"{connection.address.api}/models", wait=wait)
    except RefusedError as error:
        if error.status not in (404, 405, 501):
            raise
        answer = None
        if (other := connection.address.with_version()) is not None:
            try:
                answer = await connection.get(f"{other.api}/models", wait=wait)
                connection.address = other
            except RefusedError:
                answer = None
        if answer is None and asked is None:
            raise EngineError(
                f"{connection.address.text}: has no list of models ({error.status}); check the path of the address, "
                "which ends in /v1 as a rule, or name a model with --model"
            ) from None
    data = answer.get("data") if isinstance(answer, dict) else answer
    return [one for one in data if isinstance(one, dict) and one.get("id")] if isinstance(data, list) else []


def _chosen(cards: Sequence[Mapping[str, Any]], asked: str | None, address: Address) -> _Listed:
    names = [str(card["id"]) for card in cards]
    by_name = dict(zip(names, cards, strict=True))
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    if asked is None:
        bases = [name for name in names if not by_name[name].get("parent")]
        usable = bases if len(bases) == 1 else names
        if len(usable) != 1:
            has = f"has several models: {shown}" if usable else "does not say which models it has"
            raise EngineError(f"{address.text}: {has}; name one with --model")
        asked = usable[0]
    if asked not in by_name:
        tagged = next((name for name in names if name.startswith(f"{asked}:")), None)
        if tagged is None and any(card.get("owned_by") == "vllm" for card in cards):
            raise EngineError(f"{address.text}: has no model {asked}; it has {shown}: --model NAME")
        # Others accept names that they do not list.
        asked = tagged or asked
    card = by_name.get(asked, {})
    base = card
    for _ in range(8):  # parents that lead to each other must not hang this
        if not isinstance(parent := base.get("parent"), str) or parent not in by_name:
            break
        base = by_name[parent]
    return _Listed(asked, card, base)


def _context(card: Mapping[str, Any]) -> int | None:
    meta = card.get("meta")
    for source in (card, meta if isinstance(meta, dict) else {}):
        for key in _CONTEXT_KEYS:
            value = source.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _sees(card: Mapping[str, Any]) -> bool | None:
    match card:
        case {"capabilities": {"vision": bool(vision)}}:
            return vision
        case {"architecture": {"input_modalities": list(kinds)}}:
            return "image" in kinds
    return None


async def _version(connection: Connection) -> str:
    """vLLM's, where it is vLLM and says so."""
    try:
        answer = await connection.get(f"{connection.address.root}/version")
    except EngineError:
        return ""
    version = answer.get("version") if isinstance(answer, dict) else None
    # Ollama has /api/version; what answers here with a version alone is vLLM.
    return version if isinstance(version, str) else ""


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


def load_tokenizer(file: Path) -> MistralTokenizer:
    """Raises NoTokenizerError."""
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    try:
        return MistralTokenizer.from_file(str(file))
    except Exception as error:  # pydantic, SentencePiece, JSON and mistral_common each have their own
        reason = " ".join(str(error).split())[:160]
        raise NoTokenizerError(f"{file} cannot be read as a tokenizer of Mistral's ({reason})") from None
