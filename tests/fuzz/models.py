"""`python -m fuzz.models`: model files as nobody should write them, guided by what of the code they reach (docs/models.md).

Needs atheris (`pip install 'finetuned[fuzz]'`).  Ends with another status than 0 if anything was wrong; the file that did
it lies in the folder that is named.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from finetuned.errors import ModelError


def main(seconds: int, seed: int, folder: Path) -> None:
    """Fuzz for so long; the process ends with it."""
    try:
        fuzzer: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: make fuzz TARGET=models EXTRAS=test,fuzz")
    with fuzzer.instrument_imports(include=["finetuned.spec", "finetuned.graph"]):
        survival = importlib.import_module("fuzz.survival")
        mutations = importlib.import_module("fuzz.mutations")

    def change(data: bytes, most: int, number: int) -> bytes:
        """Return another file: a change inside of a message, or any bytes where it is none."""
        try:
            found: bytes = mutations.mutated(data, Random(number))  # noqa: S311 - no secret
        except ModelError:
            found = b""
        return found if 0 < len(found) <= most else fuzzer.Mutate(data, most)

    warnings.simplefilter("error")  # what a stranger's numbers do to NumPy is a find, too
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(survival.small_models()):
        (corpus / f"built-{number}").write_bytes(data)
    times = [f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=60"]
    limits = ["-max_len=8192", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/"]
    command = [sys.argv[0], *times, *limits, str(corpus)]
    fuzzer.Setup(command, survival.endure, custom_mutator=change)
    fuzzer.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fuzz.models", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1, 10**6))
    parser.add_argument("--folder", type=Path, help="Where the corpus grows and finds are left.")
    asked = parser.parse_args()
    main(asked.seconds, asked.seed, asked.folder or Path(tempfile.mkdtemp(prefix="finetuned-fuzz-")))
