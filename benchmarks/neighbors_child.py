"""One cell of benchmarks/neighbors.py: who is installed searches the same samples; prints what it took as JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from neighbors import TREES

from finetuned.update.nearest import Nearest

if TYPE_CHECKING:
    from collections.abc import Callable

K = 3
LONG = 2.0
"""Whoever takes longer for one search is not asked again, in seconds."""


def resident() -> float:
    """Return the megabytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def others(samples: Any, threads: int) -> dict[str, Callable[[Any], object]]:  # noqa: ANN401 - arrays
    """Return the searches of those who are installed."""
    found: dict[str, Callable[[Any], object]] = {}
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # of theirs; NumPy's has begun with one, as in a worker
    try:
        import faiss  # noqa: PLC0415 - an extra

        faiss.omp_set_num_threads(threads)
        flat = faiss.IndexFlatL2(samples.shape[1])
        flat.add(samples)
        found["faiss"] = lambda queries: flat.search(queries, K)
    except ImportError:
        pass
    try:
        from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - an extra
    except ImportError:
        return found
    for kind in ("brute", "kd_tree")[: 1 + (samples.shape[1] <= TREES)]:
        searcher = NearestNeighbors(n_neighbors=K, algorithm=kind, n_jobs=threads).fit(samples)
        found[kind] = searcher.kneighbors
    return found


def clocked(act: Callable[[], object]) -> float:
    """Return the milliseconds that it takes."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1e3


def turns(searches: dict[str, Callable[[Any], object]], queries: Any, seconds: float) -> dict[str, float]:  # noqa: ANN401 - arrays
    """Return the medians of milliseconds, by contender."""
    spent: dict[str, list[float]] = {name: [] for name in searches}
    slow = {
        name: first
        for name, search in searches.items()
        if (first := clocked(lambda search=search: search(queries))) > LONG * 1e3
    }
    end = time.perf_counter() + seconds * len(searches)
    while not all(spent[name] or name in slow for name in searches) or time.perf_counter() < end:
        for name, search in searches.items():
            if name not in slow:
                spent[name].append(clocked(lambda search=search: search(queries)))
        if all(name in slow for name in searches):
            break
    return {name: slow.get(name) or statistics.median(spent[name]) for name in searches}


def main() -> None:
    """Measure one cell."""
    n, d, threads = map(int, sys.argv[1:4])
    rng = np.random.default_rng(0)
    samples = rng.random((n, d), np.float32)
    many = rng.random((256, d), np.float32)
    Nearest(many.repeat(2, axis=0)).nearest(many, K)  # onnxruntime and what else is loaded once
    before = resident()
    ours = Nearest(samples, threads=threads, tree=True)
    first = clocked(lambda: ours.nearest(many, K))
    memory = resident() - before
    searches: dict[str, Callable[[Any], object]] = {"finetuned": lambda queries: ours.nearest(queries, K)}
    searches |= others(samples, threads)
    found = []
    for batch in (1, 256):
        cell: dict[str, Any] = {"n": n, "d": d, "batch": batch, "threads": threads}
        cell |= turns(searches, many[:batch], float(sys.argv[4]))
        kinds = [cell[name] for name in ("brute", "kd_tree") if name in cell]
        cell |= {"first": first, "memory": memory} | ({"sklearn": min(kinds)} if kinds else {})
        found.append(cell)
    searches.clear()
    ours.add(many[:10])  # the first makes room
    added = statistics.median(clocked(lambda: ours.add(many[:10])) for _ in range(5))
    print(json.dumps([cell | {"add": added} for cell in found]))


if __name__ == "__main__":
    main()
