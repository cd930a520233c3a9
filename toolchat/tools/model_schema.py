"""Makes the JSON Schema of a class that the user named, such as a pydantic model, in a process of its own.

Importing runs the user's code: naming it on the command line is the consent. The process ends with that; its standard
output leads nowhere, and only the schema comes back.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchat.wire.errors import UsageError

SECONDS = 60.0
"""That importing may take."""
MAX_BYTES = 4 * 1024**2
"""Of a schema."""
_EXPECTED = "a pydantic model, a dataclass, a typed dictionary, another type, or a dictionary with the schema"
_REFERENCE = re.compile(r"(?P<module>[\w.]*\w|.+\.py):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")


def is_reference(written: str) -> bool:
    """Whether it has the form "module:Name" or "./file.py:Name"."""
    return _REFERENCE.fullmatch(written) is not None


def model_schema(reference: str) -> dict[str, Any]:
    """The schema of what `reference` names, whose module may lie in the working directory. Raises UsageError."""
    read, write = os.pipe()
    # -P: Python would put the working directory first itself, before toolchat's own modules are imported.
    command = [sys.executable, "-P", "-m", __name__, str(write), reference]
    try:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(write,),
                start_new_session=True,
            )
        finally:
            os.close(write)
        try:
            data = _line(read, reference)
        finally:
            # Before it is waited for: afterwards the number of its group may be another's.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    except OSError as error:
        raise UsageError(f"--schema {reference}: cannot be imported: {error.strerror or error}") from None
    finally:
        os.close(read)
    return _schema(reference, data)


def _line(descriptor: int, reference: str) -> bytes:
    """What comes up to a newline, or to the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    until = time.monotonic() + SECONDS
    data = b""
    while not data.endswith(b"\n") and len(data) <= MAX_BYTES:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise UsageError(f"--schema {reference}: importing it took more than {SECONDS:.0f} s")
        part = os.read(descriptor, 65536)
        if not part:
            break
        data += part
    return data


def _schema(reference: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        raise UsageError(f"--schema {reference}: its process ended and gave no schema") from None
    if "error" in found:
        raise UsageError(f"--schema {reference}: {found['error']}")
    schema = found["schema"]
    if not isinstance(schema, dict):
        raise UsageError(f"--schema {reference}: expected {_EXPECTED}")
    return schema


def _made(reference: str) -> Any:
    from pydantic import TypeAdapter

    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    module, name = match["module"], match["name"]
    if module.endswith(".py"):
        path = Path(module).expanduser().absolute()
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = loaded
        spec.loader.exec_module(loaded)
    else:
        sys.path.insert(0, str(Path.cwd()))
        loaded = importlib.import_module(module)
    value: Any = loaded
    for part in name.split("."):
        value = getattr(value, part)
    return value if isinstance(value, dict) else TypeAdapter(value).json_schema()


def _answer(reference: str) -> dict[str, Any]:
    try:
        return {"schema": _made(reference)}
    except BaseException as error:  # also SystemExit: an import must not end this without an answer
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return {"error": f"{reason}; expected {_EXPECTED}"}


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as out:
        try:
            text = json.dumps(_answer(sys.argv[2]))
        except (TypeError, ValueError, RecursionError) as error:
            text = json.dumps({"error": f"its schema is not JSON: {error}"})
        out.write(f"{text}\n")
