"""How fast the search of k-NN is, side by side with scikit-learn and faiss: writes docs/neighbors.md (`--quick`: nothing).

Every cell is a process of its own: all contenders hold the same samples and answer in turns, so whoever else has the machine
has it for all.  What does not fit into the memory that is free is left out with a word.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "docs" / "neighbors.md"
COUNTS = (100, 1000, 10_000, 100_000, 1_000_000)
DIMENSIONS = (3, 16, 128, 784, 2048)
TREES = 16
"""Up to so many dimensions scikit-learn's k-d tree is asked, too."""
COPIES = 3.3
"""Ours, scikit-learn's and faiss's samples, and what they are made of."""
Cell = dict[str, Any]
HEAD = """# The search of k-NN beside others

Written by `make bench-neighbors` (`benchmarks/neighbors.py`); how fast training is, is told in [benchmarks.md](benchmarks.md).

Milliseconds of one search for the 3 nearest (medians, a process for every n, d and number of threads, the contenders in turns); random float32 samples.
`ratio` is theirs by ours: above 1 we are faster. sklearn is the faster of its brute force and its k-d tree (up to {trees}
dimensions). *first* is our first search with all that it makes, *add* our adding of 10 rows to samples that have grown before, *memory* what we hold
beyond the samples. Aims: at least scikit-learn's speed, and faiss's `IndexFlatL2` within 20 % (ratio ≥ 0.83).

**How to read it.** Our answers are exact to the bit, whatever the method: differences in float64 of whatever samples float32 cannot rule out, the earliest
first of equally near ones. faiss's are float32's, and of a batch they come from ‖x‖² − 2 x·q without being computed again. That is what a few samples of
many numbers cost: at 100 × 2048 and 256 queries most of our time goes to the 768 distances that are told.

One query of up to a thousand samples (of up to 128 numbers) takes faiss 7 to 12 µs and us 23 to 32, in turns: two dozen calls of NumPy, each half a microsecond or
more, of which no single one takes long. No search in Python is as short as one call into a compiled one; such cells miss the aim beside
faiss, and not the one beside scikit-learn. From some 10,000 samples on it is the reading of memory that takes the time.

**Limits.**

* Samples of several clusters, each small and far from all others, defeat float32: the bound on rounding is that of the largest norm. A single such cluster
  is moved to 0 first. Where too many samples are left to compare, all distances are computed in float64: as right, and many times slower.
* The products of several queries have all threads; one query, the choice among scores and the distances in float64 have one (workers give NumPy's BLAS
  one thread, and so does this page). The building of a k-d tree has OpenMP's.
* The memory of samples grows by a quarter when it is full, and is copied then: up to a quarter more than the samples need, and for a moment both.
* The k-d tree (up to 10 dimensions, from some thousands of samples on) is built at the first search where the file asks for one, else after 256 queries;
  samples that came since are compared one by one, up to 64 of them.

| n | d | batch | threads | ours | sklearn | ratio | faiss | ratio | first | add | memory, MB |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def cells(*, quick: bool) -> list[tuple[int, int]]:
    """Return n and d of what is measured."""
    return [(100, 3), (1000, 16)] if quick else [(n, d) for d in DIMENSIONS for n in COUNTS]


def measured(n: int, d: int, threads: int, seconds: float) -> list[Cell] | str:
    """Return what a child measured, by batch; or why there is nothing."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n * d * 4 * COPIES > free:
        return f"n = {n:,}, d = {d}: it does not fit into {free / 1e9:.0f} GB"
    number = str(threads)
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": "1",
    }  # NumPy's, as a worker has it
    child = str(Path(__file__).with_name("neighbors_child.py"))
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, child, str(n), str(d), number, str(seconds)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"n = {n:,}, d = {d}: {(done.stderr.strip() or 'killed').splitlines()[-1]}"
    found: list[Cell] = json.loads(done.stdout)
    return found


def row(cell: Cell) -> str:
    """Return a row of the table."""
    ours, theirs = cell["finetuned"], [cell.get("sklearn"), cell.get("faiss")]
    words = [f"{cell['n']:,}", str(cell["d"]), str(cell["batch"]), str(cell["threads"]), f"{ours:.3f}"]
    for other in theirs:
        words += [f"{other:.3f}", f"{other / ours:.2f}"] if other else ["–", "–"]
    words += [f"{cell['first']:.2f}", f"{cell['add']:.3f}", f"{cell['memory']:.1f}"]
    return "| " + " | ".join(words) + " |\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small cells; nothing is written")
    quick = parser.parse_args().quick
    text, left_out, began = HEAD.format(trees=TREES), [], time.monotonic()
    for threads in (1, 2)[: len(os.sched_getaffinity(0))]:
        for n, d in cells(quick=quick):
            found = measured(n, d, threads, 0.02 if quick else 0.15)
            if isinstance(found, str):
                left_out.append(f"* left out: {found} (threads: {threads})\n")
                continue
            rows = "".join(map(row, found))
            print(rows, end="", file=sys.stderr)
            text += rows
    text += "\n" + "".join(left_out)
    if not quick:
        OUT.write_text(text, encoding="utf-8")
    print(text)
    print(f"it took {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
