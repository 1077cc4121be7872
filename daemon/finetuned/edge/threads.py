"""How many threads a task computes with."""

from __future__ import annotations

import os

MOST = 4


def threads_of(wanted: int) -> int:
    """Return how many threads are meant; 0 means one per core, four at most: more gain little on small batches."""
    return wanted or min(os.cpu_count() or 1, MOST)
