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
COPIES = 3.3
"""Ours, scikit-learn's and faiss's samples, and what they are made of."""
Cell = dict[str, Any]
HEAD = """# The search of k-NN beside others

Milliseconds of one search for the 3 nearest (medians, one process per row, the contenders in turns); random float32 samples.
`ratio` is theirs by ours: above 1 we are faster. sklearn is the faster of its brute force and its k-d tree (up to 16
dimensions). *first* is our first search with all that it makes, *add* our adding of 10 rows to samples that have grown before, *memory* what we hold
beyond the samples. Aims: at least scikit-learn's speed, and faiss's `IndexFlatL2` within 20 % (ratio ≥ 0.83).

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
        "OPENBLAS_NUM_THREADS": "1" if threads == 1 else number,
    }
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
    text, left_out, began = HEAD, [], time.monotonic()
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
