"""`python -m fuzz.models`: model files as nobody should write them, guided by what of the code they reach (docs/models.md).

Needs atheris (`pip install 'finetuned[fuzz]'`).  Ends with another status than 0 if anything was wrong; the file that did
it lies in the folder that is named.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from fuzz.mutations import mutated


def change(data: bytes, most: int, seed: int) -> bytes:
    """Return another file: a change inside of a message, or any bytes where it is none."""
    dice = Random(seed)  # noqa: S311 - no secret
    try:
        found = mutated(data, dice)
    except Exception:  # noqa: BLE001 - what is no protobuf any more cannot be changed inside
        found = atheris().Mutate(data, most)
    return found[:most] if found else atheris().Mutate(data, most)


def atheris() -> Any:  # noqa: ANN401 - an optional module has no type here
    """Return the fuzzer, or end with what to do."""
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: make fuzz TARGET=models EXTRAS=test,fuzz")


def main(seconds: int, seed: int, folder: Path) -> None:
    """Fuzz for so long; the process ends with it."""
    fuzzer = atheris()
    with fuzzer.instrument_imports(include=["finetuned.spec", "finetuned.graph"]):
        survival = importlib.import_module("fuzz.survival")
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(survival.small_models()):
        (corpus / f"built-{number}").write_bytes(data)
    limits = ["-max_len=65536", "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/"]
    fuzzer.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", *limits, str(corpus)],
        survival.endure,
        custom_mutator=change,
    )
    fuzzer.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fuzz.models", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1, 10**6))
    parser.add_argument("--folder", type=Path, help="Where the corpus grows and finds are left.")
    asked = parser.parse_args()
    main(asked.seconds, asked.seed, asked.folder or Path(tempfile.mkdtemp(prefix="finetuned-fuzz-")))
