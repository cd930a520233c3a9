"""Rules for call ids and tool names that every Mistral validator accepts, and new legal ids.

Source: mistral_common's protocol/instruct/validator.py. Its patterns end in `$`, which lets a trailing
newline through; these do not.
"""

from __future__ import annotations

import random
import re
import string

INVALID_NAME = "invalid_tool_call"
"""Stands where a call's name is unknown or illegal: history must name something."""

_ALPHABET = string.ascii_letters + string.digits
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SYSTEM_RANDOM = random.SystemRandom()


def new_call_id(rng: random.Random | None = None) -> str:
    """Nine random letters and digits; from the system's entropy unless `rng` makes it reproducible."""
    return "".join((rng or _SYSTEM_RANDOM).choices(_ALPHABET, k=9))


def is_legal_call_id(text: str) -> bool:
    """Whether versions 3 to 11 accept `text` as a call id (later ones accept more)."""
    return _CALL_ID.fullmatch(text) is not None


def is_legal_name(text: str) -> bool:
    """Whether `text` can name a tool."""
    return _NAME.fullmatch(text) is not None
