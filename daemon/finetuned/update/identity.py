"""What the result of an update depends on, as one digest: a checkpoint is good for the task with the same."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from finetuned import __version__
from finetuned.update.session import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.parameters import Number
    from finetuned.update.features import Array, Encoded


def identity_of(model: bytes, data: Encoded, parameters: Mapping[str, Number], *, threads: int) -> str:
    """Return the SHA-256, hex, over model file, samples in order, parameters, threads, and who computes."""
    digest = hashlib.sha256()
    for part in (model, *_described(data.features), *_described(data.targets)):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    rest = {
        "parameters": dict(sorted(parameters.items())),
        "threads": threads,
        "finetuned": __version__,
        "numpy": np.__version__,
        "onnxruntime": VERSION,
    }
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _described(array: Array) -> tuple[bytes, bytes]:
    """Return an array's type and shape, and its numbers."""
    return f"{array.dtype.str}{array.shape}".encode(), array.tobytes()
