"""A Mistral-format checkpoint in memory and on disk: tokenizer, parameters, bfloat16 tensors.

The safetensors container is read and written here, byte for byte as its specification says
(https://github.com/huggingface/safetensors#format): the library's raw interface changed between
versions and wants every tensor at once, and the file's checksum must hold on every machine.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchat.models.demo import pins
from toolchat.private_file import make_folder
from toolchat.wire.errors import EngineError

Tensors = dict[str, NDArray[np.uint16]]
"""bfloat16 bits by name."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole model."""

    tokenizer: bytes
    """The text of tekken.json."""
    params: bytes
    """The text of params.json."""
    tensors: Tensors


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises OSError, and EngineError for a malformed tensor file."""
    return Checkpoint(
        (folder / pins.TOKENIZER).read_bytes(),
        (folder / pins.PARAMS).read_bytes(),
        read_tensors(folder / pins.WEIGHTS),
    )


def write(checkpoint: Checkpoint, folder: Path, progress: Callable[[float], None] | None = None) -> None:
    """Write `checkpoint` into `folder`, made if absent, and wait until the disk has it. Raises OSError."""
    make_folder(folder)
    for name, text in ((pins.TOKENIZER, checkpoint.tokenizer), (pins.PARAMS, checkpoint.params)):
        with (folder / name).open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    write_tensors(folder / pins.WEIGHTS, checkpoint.tensors, progress)
    sync_folder(folder)


def read_tensors(path: Path) -> Tensors:
    """All tensors of a safetensors file, which must be bfloat16. Raises OSError, EngineError."""
    content = path.read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + size])
        header.pop("__metadata__", None)
        return {name: _tensor(content, 8 + size, **entry) for name, entry in header.items()}
    except (struct.error, ValueError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{path} is not a safetensors file of bfloat16 tensors ({error}); fetch or make it again"
        ) from error


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[np.uint16]], progress: Callable[[float], None] | None = None
) -> None:
    """Write `tensors` in order of their names; `progress` gets the fraction written. Raises OSError."""
    names = sorted(tensors)
    ends = list(accumulate(tensors[name].nbytes for name in names))
    header = {
        name: {
            "dtype": "BF16",
            "shape": tensors[name].shape,
            "data_offsets": [end - tensors[name].nbytes, end],
        }
        for name, end in zip(names, ends, strict=True)
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, end in zip(names, ends, strict=True):
            file.write(np.ascontiguousarray(tensors[name], dtype="<u2").data)
            if progress:
                progress(end / ends[-1])
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has `folder`'s list of names. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tensor(content: bytes, base: int, *, dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray[np.uint16]:
    if dtype != "BF16":
        raise ValueError(f"dtype is {dtype}")
    start, end = data_offsets
    return np.frombuffer(content, "<u2", (end - start) // 2, base + start).reshape(shape)
