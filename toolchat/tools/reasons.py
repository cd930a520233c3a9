"""Why a person's code failed while it was loaded, in one line with the place in that code; never a traceback."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path


def reason(error: BaseException, folder: Path) -> str:
    """ "ValueError: no key (my_tools.py:3)": one line, with the line of the person's code that raised it."""
    text, where = _message(error), _raised_at(error, folder)
    if isinstance(error, SyntaxError) and error.filename:
        text, where = error.msg, f"{_relative(error.filename, folder)}:{error.lineno}"
    kind = type(error).__name__
    line = " ".join(f"{kind}: {text}".split()) if text else kind
    return f"{line} ({where})" if where else line


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _raised_at(error: BaseException, folder: Path) -> str | None:
    """The innermost line in `folder`, else the innermost of all, the import machinery left out."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not _ours(frame.filename)
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    if not frames:
        return None
    frame = (own or frames)[-1]
    return f"{_relative(frame.filename, folder)}:{frame.lineno}"


def _ours(filename: str) -> bool:
    return filename == importlib.__file__ or Path(filename).parent == Path(__file__).parent


def _relative(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else filename


def with_article(noun: str) -> str:
    """ "an int", "a dict"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
