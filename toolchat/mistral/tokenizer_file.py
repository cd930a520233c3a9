"""What a tokenizer's own file asks of the installed mistral_common, told in one line where that refuses it."""

from __future__ import annotations

import json
from pathlib import Path

from toolchat.private_file import read_file

_MOST = 256 * 1024**2
"""Bytes of a tokenizer's file."""


def refusal(folder: Path) -> str | None:
    """Why the installed mistral_common refuses the model settings in `folder`'s tokenizer; None where it does not.

    1.12 knows the reasoning efforts none and high alone, and no schema; 1.13 refuses an effort without a default.
    For a model that did not load: reads the whole file, some 15 MB.
    """
    path = folder / "tekken.json"
    try:
        written = json.loads(read_file(path, _MOST))
        builder = written.get("model_settings_builder")
    except (OSError, ValueError, AttributeError):
        return None  # no file of tekken's, or one that is broken in another way
    if builder is None:
        return None

    import mistral_common
    from mistral_common.tokens.tokenizers.model_settings_builder import ModelSettingsBuilder
    from pydantic import ValidationError

    try:
        ModelSettingsBuilder.model_validate(builder)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in ("model_settings_builder", *problem["loc"]))
        version = mistral_common.__version__
        other = ">=1.13" if tuple(int(part) for part in version.split(".")[:2]) < (1, 13) else "<1.13"
        return (
            f"{path}: mistral_common {version} refuses its {place}: {problem['msg']}; "
            f"take another version: pip install 'mistral_common{other}'"
        )
    return None
