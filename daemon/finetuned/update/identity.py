"""What the result of an update depends on, as one digest: a checkpoint is good for the task with the same."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from finetuned import __version__
from finetuned.rows import row_bytes, slices
from finetuned.update.session import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.update.features import Encoded


def identity_of(model: bytes, data: Encoded, parameters: Mapping[str, object], *, threads: int) -> str:
    """Return the SHA-256, hex, over model file, samples in order, parameters, threads, and who computes."""
    digest = hashlib.sha256()
    _add(digest, model)
    for rows in (data.features, data.targets):
        _add(digest, f"{rows.dtype.str}{rows.shape}".encode())
        digest.update((len(rows) * row_bytes(rows)).to_bytes(8, "little"))
        for part in slices(len(rows), row_bytes(rows)):
            digest.update(np.ascontiguousarray(rows[part]).data)
    rest = {
        "parameters": dict(sorted(parameters.items())),
        "threads": threads,
        "finetuned": __version__,
        "numpy": np.__version__,
        "onnxruntime": VERSION,
    }
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)
