"""Trains on a few samples, then on many, in one process, and prints its peak of memory after each, in bytes.

argv: how (`worker`, `command`, `script`), the folder to work in, the two numbers of samples.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np

from builders import dense_classifier
from finetuned import rows
from finetuned.edge import update_cli
from finetuned.service import inputs
from finetuned.service.messages import SampleRef, TaskSpec
from finetuned.service.work import Work
from finetuned.update.events import ProgressHandlers
from finetuned.update.task import UpdateTask
from service.samples import npy

SIZE = 4096
"""Numbers of a sample: 16 kB."""
MODEL = dense_classifier(inputs=SIZE, hidden=0)
ONCE = {"epochs": 1, "miniBatchSize": 100}


def worker(folder: Path, count: int) -> int:
    """Do what a worker does."""
    digests = [f"{number:064d}" for number in range(count)]
    with inputs.opened(folder / "inputs.db") as db:
        inputs.put_inputs(db, "raw", ((digest, bytes(4 * SIZE)) for digest in digests))
    path = folder / "base.mlmodel"
    path.write_bytes(MODEL)
    digest = hashlib.sha256(MODEL).hexdigest()
    spec = TaskSpec(
        task="T",
        model="some",
        model_path=str(path),
        model_digest=digest,
        base_digest=digest,
        inputs_path=str(folder / "inputs.db"),
        input_signature="raw",
        samples=tuple(
            SampleRef(digest=each, label="abc"[number % 3], held_out=number % 5 == 0)
            for number, each in enumerate(digests)
        ),
        folder=str(folder),
        parameters=dict(ONCE),
    )
    for _ in Work(spec).run():
        pass
    return memory("VmHWM")


def command(folder: Path, count: int) -> int:
    """Do what `finetuned update` does."""
    path = folder / "base.mlmodel"
    path.write_bytes(MODEL)
    with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("label.npy", npy(["abc"[number % 3] for number in range(count)]))
        with archive.open("features.npy", "w") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, SIZE)}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(count):
                file.write(bytes(4 * SIZE))
    job = update_cli.Job(
        model=path, data=folder / "data.npz", out=folder / "out.mlmodel", validate=None, threads=1
    )
    update_cli.update(job, [f"{name}={value}" for name, value in ONCE.items()], None, json=True)
    return memory("VmHWM")


def script(folder: Path, count: int) -> int:
    """Do what a script does with arrays of its own, which are mapped from a file: that is not the engine's memory."""
    path = folder / "features.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, SIZE)).flush()
    labels = ["abc"[number % 3] for number in range(count)]
    data = {"features": np.load(path, mmap_mode="r"), "label": labels}
    found: list[int] = []
    handlers = ProgressHandlers(progress=lambda _: found.append(memory("RssAnon")))
    UpdateTask(MODEL, data, parameters=ONCE, validation_data=data, handlers=handlers).resume()
    return max(found)


WAYS = {"worker": worker, "command": command, "script": script}


def memory(name: str) -> int:
    """Return what the kernel says of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return int(status[name].split()[0]) * 1024


def main(way: str, folder: str, *counts: str) -> None:
    """Measure."""
    rows.IN_MEMORY = 1 << 20
    for number, count in enumerate(counts):
        own = Path(folder) / str(number)
        own.mkdir()
        sys.stderr.write(f"{WAYS[way](own, int(count))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
