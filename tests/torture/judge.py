"""The campaign's second opinion, a process without any fault: what an undisturbed task ends in, and whether a model predicts.

`python -m torture.judge FOLDER` reads a JSON object on standard input (`orders`, `predictions`) and answers on standard
output.  An order is a version as the ledger has it; its task is run again from its first mini-batch to its last, on inputs
that are decoded anew, in a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from finetuned import Predictor
from finetuned.service import inputs, plugins
from finetuned.service import messages as m
from finetuned.service.decoder import decoded
from finetuned.service.describe import sample_inputs
from finetuned.service.work import Work
from finetuned.spec import codec


def undisturbed(order: dict[str, Any], folder: Path) -> str:
    """Return the SHA-256 of what this task ends in when nothing happens to it."""
    folder.mkdir()
    model = Path(order["model_path"]).read_bytes()
    want = sample_inputs(codec.decode(model))[0]
    rows = [(sample["digest"], _decoded(sample["path"], want)) for sample in order["samples"]]
    with inputs.opened(folder / "inputs.db") as db:
        inputs.put_inputs(db, want.signature, rows)
    refs = tuple(
        m.SampleRef(digest=sample["digest"], label=sample["label"], held_out=bool(sample["held_out"]))
        for sample in sorted(order["samples"], key=lambda sample: str(sample["digest"]))
    )
    spec = m.TaskSpec(
        task="undisturbed",
        model=order["model"],
        model_path=order["model_path"],
        model_digest=hashlib.sha256(model).hexdigest(),
        base_digest=order["base_digest"],
        inputs_path=str(folder / "inputs.db"),
        input_signature=want.signature,
        samples=refs,
        parameters=order["parameters"],
        seed=order["seed"],
        threads=order["threads"],
        adjustments=msgspec.convert(order["adjustments"], tuple[m.Adjustment, ...]),
        folder=str(folder),
    )
    last = [report for report in Work(spec).run() if report is not None][-1]
    assert isinstance(last, m.Completed)
    return last.sha256


def predicted(model: str, picture: str) -> str:
    """Return the label that a model gives a picture."""
    found = codec.decode(Path(model).read_bytes())
    want = sample_inputs(found)[0]
    array = np.frombuffer(_decoded(picture, want), want.dtype).reshape(1, *want.shape)
    label, _ = next(Predictor(found).classify({want.name: array}))
    return str(label)


def _decoded(path: str, want: m.InputSpec) -> bytes:
    request = m.Decode(path=path, name=Path(path).name, want=want)
    return decoded(Path(path).read_bytes(), request, plugins.load().decoders())


def main() -> None:
    """Judge what is asked."""
    folder, asked = Path(sys.argv[1]), json.load(sys.stdin)
    orders = [undisturbed(order, folder / str(number)) for number, order in enumerate(asked["orders"])]
    predictions = [predicted(**each) for each in asked["predictions"]]
    json.dump({"orders": orders, "predictions": predictions}, sys.stdout)


if __name__ == "__main__":
    main()
