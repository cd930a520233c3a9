"""A small JSON file that is this user's alone, and that several programs may change at once."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolchat.wire.errors import ToolchatError


class PrivateFile:
    """A JSON file with mode 0600, replaced as a whole and under a lock: a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Any:
        """What it holds; None where it is missing, cannot be read, or is not JSON."""
        try:
            return json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None

    def change(self, change: Callable[[Any], Any]) -> None:
        """Write what `change` makes of what `read` returns, with nobody else changing it meanwhile.

        Raises:
            ToolchatError: it cannot be written.
        """
        from filelock import FileLock

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self._path.with_suffix(".lock"), mode=0o600):
                self._write(change(self.read()))
        except OSError as error:
            raise ToolchatError(
                f"{self._path}: cannot be written ({error.strerror}); make the folder writable"
            ) from None

    def _write(self, data: Any) -> None:
        # mkstemp makes the file with mode 0600; the rename puts it there whole or not at all.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
