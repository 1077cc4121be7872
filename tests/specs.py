"""Real tasks for real workers: a model's file, an inputs.db with decoded samples, and the spec over both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finetuned.service import inputs
from finetuned.service.messages import InputSpec, Metrics, SampleRef, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(kw_only=True)
class Material:
    """A model and its samples: `arrays` [N, …] of the one input's dtype, a label for each, the held-out ones last."""

    folder: Path
    model: bytes
    want: InputSpec
    arrays: NDArray[Any]
    labels: list[str]
    held_out: int = 0
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Write both files."""
        self.path.write_bytes(self.model)
        self.digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in self.arrays]
        self.put(self.want.signature)

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.folder / "base.mlmodel"

    @property
    def database(self) -> Path:
        """The decoded inputs."""
        return self.folder / "inputs.db"

    @property
    def task(self) -> Path:
        """The task's own folder."""
        return self.folder / "task"

    def result(self, attempt: int = 1) -> Path:
        """Where an attempt puts the updated model."""
        return self.task / str(attempt) / "result.mlmodel"

    def put(self, signature: str) -> None:
        """Keep the samples as decoded to this signature."""
        rows = zip(self.digests, (array.tobytes() for array in self.arrays), strict=True)
        with inputs.opened(self.database) as db:
            inputs.put_inputs(db, signature, rows)

    def forget_inputs(self) -> None:
        """Remove every decoded input; features stay."""
        with inputs.opened(self.database) as db, db:
            db.execute("DELETE FROM inputs")

    @property
    def trained(self) -> int:
        """How many samples are trained on."""
        return len(self.labels) - self.held_out

    def spec(
        self,
        parameters: Mapping[str, float],
        *,
        signature: str = "",
        interval_s: float = 0.0,
        **fields: object,
    ) -> TaskSpec:
        """Return a spec with everything in order, but for what is given."""
        found = hashlib.sha256(self.model).hexdigest()
        held = [number >= self.trained for number in range(len(self.labels))]
        spec = TaskSpec(
            task="T",
            model="some",
            model_path=str(self.path),
            model_digest=found,
            base_digest=found,
            inputs_path=str(self.database),
            input_signature=signature or self.want.signature,
            samples=tuple(
                SampleRef(digest=digest, label=label, held_out=out)
                for digest, label, out in zip(self.digests, self.labels, held, strict=True)
            ),
            folder=str(self.task),
            parameters=dict(parameters),
            seed=7,
            report_interval_s=interval_s,
        )
        return msgspec.structs.replace(spec, **fields)


def loss(measured: Metrics) -> float:
    """Return a loss that is a finite number."""
    assert measured.loss_value is not None
    return measured.loss_value


def vectors(folder: Path, model: bytes, *, count: int = 20, held_out: int = 5, size: int = 4) -> Material:
    """Return material for a dense classifier of a, b and c: each label's vectors lie around its own axis."""
    names = ["abc"[number % 3] for number in range(count)]
    rng = np.random.default_rng(3)
    arrays = rng.normal(scale=0.3, size=(count, size)) + np.eye(size)[["abc".index(name) for name in names]]
    return Material(
        folder=folder,
        model=model,
        want=InputSpec(name="features", shape=(size,)),
        arrays=np.ascontiguousarray(arrays, "<f4"),
        labels=names,
        held_out=held_out,
    )
