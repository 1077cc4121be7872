"""The frozen features of a task's samples: those that are kept, and the others computed and kept.

A model without a frozen part has its inputs for features, which are kept already.

One sample at a time.  So a pause takes effect after one of them, however large the model; and so a feature depends on its
sample alone, not on which others were missing when it was computed: a task that was interrupted in the middle of them
ends in the same bytes.  (onnxruntime 1.32 on x86-64 gives the same bits for any batch, but promises nothing.  A MobileNet
is even faster so; a small dense layer costs 10 to 50 µs a sample, once.)

Features are kept under the name of the device that computed them, since another rounds otherwise: a move changes the bytes
of the task that moves, and of no other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned import __version__
from finetuned.errors import ModelError
from finetuned.rows import Gathering
from finetuned.service import inputs
from finetuned.service.describe import sample_inputs
from finetuned.service.messages import InputSpec, Prepared
from finetuned.update.devices import CPU
from finetuned.update.session import VERSION

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from finetuned.rows import Array, Rows
    from finetuned.service.messages import Report, TaskSpec
    from finetuned.spec.model import Model
    from finetuned.update.updater import Updater

AT_ONCE = 16
"""So many are written together, and told together."""


class Frozen:
    """Gives the features of samples, by the frozen part of the model that is updated.

    It reads and keeps those of the device where it was made; what another computes is used, and not kept.
    """

    def __init__(self, db: sqlite3.Connection, update: Updater, spec: TaskSpec) -> None:
        self._db = db
        self._update = update
        self._want = _one_input(update.model)
        self._signature = spec.input_signature
        # What features depend on beside the sample; the frozen part is the same in every version of a base.
        known = (spec.base_digest, spec.input_signature, str(spec.threads), __version__, VERSION)
        self._device = update.device
        self._key = ":".join((*known, *_elsewhere(self._device)))
        inputs.keep_features_of(db, self._key)

    def of(self, digests: Sequence[str], folder: Path) -> Generator[Report | None, None, Rows]:
        """Return float32 [N, *feature_shape]; a boundary after each that is computed, `Prepared` after a few.

        Those that are too many for memory go to a file in `folder`.
        """
        features = Gathering(self._update.feature_shape, folder=folder)
        for start in range(0, len(digests), AT_ONCE):
            yield from self._add(features, digests[start : start + AT_ONCE])
            yield Prepared(done=len(features), total=len(digests))
        return features.rows()

    def _add(self, features: Gathering, digests: Sequence[str]) -> Iterator[None]:
        """Add a few; those that are computed are kept, also where it ends in the middle of them."""
        made: list[tuple[str, bytes]] = []
        kept = list(inputs.read_features(self._db, self._key, digests))
        shape = (1, *self._update.feature_shape)
        try:
            for digest, data in zip(digests, kept, strict=True):
                if data is not None and len(data) == 4 * prod(shape):
                    features.add(np.frombuffer(data, np.float32).reshape(shape))
                    continue
                computed = self._computed(digest)
                features.add(computed)
                if (
                    self._update.frozen and self._update.device == self._device
                ):  # also after a device failed in this very one
                    made.append((digest, computed.tobytes()))
                yield
        finally:
            with contextlib.suppress(
                sqlite3.OperationalError
            ):  # a full disk: they are computed once more, next time
                inputs.put_features(self._db, self._key, made)

    def _computed(self, digest: str) -> Array:
        (data,) = inputs.read_inputs(self._db, self._signature, [digest])
        array = np.frombuffer(data, self._want.dtype).reshape(1, *self._want.shape)
        return self._update.features_of({self._want.name: array})


def _elsewhere(device: str) -> tuple[str, ...]:
    """What the CPU has computed is kept under the name that it always had."""
    return () if device == CPU else (device,)


def _one_input(model: Model) -> InputSpec:
    """Return the one input that files can fill; a model with several cannot be fed from a folder."""
    specs = sample_inputs(model)
    if len(specs) != 1:
        raise ModelError(
            f"the model has {len(specs)} inputs; a sample in a folder is one file, for a model with one"
        )
    return specs[0]
