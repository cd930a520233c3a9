from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_tokenizers import load


@pytest.fixture(scope="session")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MistralTokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return cache(lambda label, **options: load(folder, label, **options))
