"""The cold job as a script with finetuned, the counterpart of engine_cold_torch.py.

python engine_cold_script.py MODEL DATA OUT EPOCHS THREADS FOLDER=LABEL…
"""

from __future__ import annotations

import sys
from pathlib import Path

from finetuned import UpdateTask, load_samples


def main(model: str, data: str, out: str, numbers: list[str], labels: list[str]) -> None:
    """Do the job."""
    updatable = Path(model).read_bytes()
    samples = load_samples(data, updatable, dict(each.split("=") for each in labels))
    epochs, threads = map(int, numbers)
    task = UpdateTask(updatable, samples, parameters={"epochs": epochs}, threads=threads)
    task.resume()
    task.model.write(out)


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:6], sys.argv[6:])
