"""Which samples may be among the nearest, by products of matrices in float32.

‖x‖² − 2 x·q orders the samples x as their distances to a query q do.  It is computed tile by tile, with the least of every few
samples beside it; the k-th of these least is no less than the k-th of all, so a sample that is farther than that by more
than rounding can explain is none of the k nearest.  The bound on rounding is the usual one of sums of products in any order
(Higham, Accuracy and Stability of Numerical Algorithms, §3.1), with the largest norm there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from finetuned.graph.emit import IR_VERSION, OPSET
from finetuned.graph.program import Program
from finetuned.update.session import Session

if TYPE_CHECKING:
    from finetuned.update.nearest_exact import Pairs

Array = NDArray[Any]

BATCH = 256
"""So many queries are answered at a time: with a tile's samples, what is held in between."""
_TILE = 1 << 19
"""So many scores are held at a time."""
_GROUPS = (32, 16, 8, 4, 2)
"""Of so many scores the least is taken."""
_CROWD = 1 << 8
"""Where so many candidates stand for each of a query's k, rounding tells too little."""
_HALF_ULP, _HALF_ULP_64, _TINY = 2.0**-24, 2.0**-53, 1e-35
_LARGE = 1e15
"""Squares of larger norms, times what rounding multiplies them with, are no business of float32."""
_WIDE = 64
"""From here on NumPy's dot products of one query keep the memory busier than onnxruntime's do."""


class Filter:
    """What is known of the samples, and the program that compares; both are made when they are needed.

    Args:
        threads: threads of the products.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._session: Session | None = None
        self._norms = np.empty(0, np.float32)
        self._known = 0
        self._largest = 0.0
        self._center: Array | None = None

    def candidates(self, samples: Array, queries: Array, k: int) -> Pairs | None:
        """Return rows of queries and positions of samples, among them the k nearest of every query; k ≤ n.

        None where float32 does not tell enough: numbers that are not finite, or too large, or all of one cluster.
        """
        self._learn(samples)
        if self._center is not None:
            queries = queries - self._center
        reach = np.linalg.norm(queries.astype(np.float64), axis=1)
        if not (np.max(reach, initial=0.0) < _LARGE and self._largest < _LARGE):
            return None
        return self._searched(samples, queries, k, self._slack(reach, samples.shape[1]))

    def _slack(self, reach: Array, width: int) -> Array:
        """Return by how much two scores of each query may be in the wrong order, float64, [m]."""
        far = self._largest + reach
        single = (width + 8) * _HALF_ULP * 1.01 * (self._largest**2 + 2 * self._largest * reach)
        if self._center is not None:
            single += 8 * _HALF_ULP * far**2  # the subtraction rounds, too
        double = (width + 8) * _HALF_ULP_64 * far**2
        total: Array = 2 * (single + double + width * _TINY)
        return total

    # ── what is known of the samples ────────────────────────────────────────────────────────────
    def _learn(self, samples: Array) -> None:
        """Compute the norms of the samples that came since."""
        if not self._known and len(samples):
            self._center = _center(samples)
        if len(samples) > len(self._norms):
            size = len(samples) if not self._known else max(len(samples), len(self._norms) * 5 // 4)
            norms = np.empty(size, np.float32)
            norms[: self._known] = self._norms[: self._known]
            self._norms = norms
        step = max(1, _TILE // max(1, samples.shape[1]))
        for first in range(self._known, len(samples), step):
            tile = self._centered(samples[first : first + step]).astype(np.float64)
            squares = np.einsum("nd,nd->n", tile, tile)
            self._largest = float(np.maximum(self._largest, np.sqrt(np.max(squares))))
            with np.errstate(over="ignore"):
                self._norms[first : first + len(tile)] = squares
        self._known = len(samples)

    def _centered(self, tile: Array) -> Array:
        if self._center is None:
            return tile
        with np.errstate(invalid="ignore", over="ignore"):
            moved: Array = tile - self._center
        return moved

    # ── the search ──────────────────────────────────────────────────────────────────────────────
    def _searched(self, samples: Array, queries: Array, k: int, slack: Array) -> Pairs | None:
        m, n = len(queries), len(samples)
        feed = np.ascontiguousarray(-2 * queries.T)
        best = np.full((m, k), np.inf, np.float32)
        found: list[tuple[Array, Array, Array]] = []
        crowd = 0
        held = np.empty(min(n, max(_GROUPS[0], _TILE // m)) * m, np.float32)
        for first, last, group in _tiles(n, max(_GROUPS[0], _TILE // m)):
            tile = self._centered(samples[first:last])
            scores = held[: len(tile) * m].reshape(-1, m)
            least = self._scored(tile, feed, self._norms[first:last, None], group, scores)
            best = _merged(best, least)
            rows, positions, score = _below(scores, least, _limit(best[:, -1], slack), group)
            found.append((rows, positions + first, score))
            crowd += len(rows)
            if crowd > _CROWD * m * (k + len(found)):
                return None
        rows, positions, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = score <= _limit(best[:, -1], slack)[rows]
        return rows[kept], positions[kept]

    def _scored(self, tile: Array, feed: Array, norms: Array, group: int, scores: Array) -> Array:
        """Write ‖x‖² − 2 x·q into the scores, [t, m]; return the least of every `group` of them, [t / group, m]."""
        m = feed.shape[1]
        if m == 1 and self._threads == 1 and len(feed) >= _WIDE:
            np.vecdot(tile, feed[:, 0], out=scores[:, 0])
            scores += norms
            narrow: Array = np.minimum.reduce(scores.reshape(-1, group), axis=1)
            return narrow[:, None]
        if self._session is None:
            self._session = Session(_program(), threads=self._threads)
        least = np.empty((len(tile) // group, m), np.float32)
        feeds = {"samples": tile, "queries": feed, "norms": norms, "folded": np.array([-1, group, m])}
        self._session.bind(feeds, {"scores": scores, "least": least}).run()
        return least


def _center(samples: Array) -> Array | None:
    """Return what the samples lie around, float32, [d], where that is far from 0 for their spread; else None."""
    some = samples[:: max(1, len(samples) // 1024)].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = some.mean(axis=0).astype(np.float32)
        spread = np.square(some - middle).sum(axis=1).max()
        return middle if np.square(some).sum(axis=1).max() > 16 * spread else None


def _tiles(n: int, step: int) -> list[tuple[int, int, int]]:
    """Return first, last and size of the groups of every tile; what is left of the last groups makes a tile of its own."""
    tiles = []
    step -= step % _GROUPS[0]
    first = 0
    while first < n:
        rows = min(step, n - first)
        group = next((size for size in _GROUPS if rows >= 24 * size), 1)
        last = first + rows - rows % group
        tiles.append((first, last, group))
        first = last
    return tiles


def _merged(best: Array, least: Array) -> Array:
    """Return the k least of both for every query, ascending nowhere but at the end: [m, k], the k-th of them last."""
    k = best.shape[1]
    better = np.flatnonzero(least.min(axis=0) < best[:, -1])
    if len(better):
        both = np.concatenate([best[better], least[:, better].T], axis=1)
        best[better] = np.partition(both, k - 1, axis=1)[:, :k]
    return best


def _limit(kth: Array, slack: Array) -> Array:
    """Return the greatest score of a candidate, float32, [m]."""
    with np.errstate(over="ignore"):
        limit = (kth + slack).astype(np.float32)
    return np.nextafter(limit, np.float32(np.inf))


def _below(scores: Array, least: Array, limit: Array, group: int) -> tuple[Array, Array, Array]:
    """Return rows of queries, positions in the tile and scores of what is within the limit, looking into such groups only."""
    groups, m = least.shape
    there, rows = np.nonzero(least <= limit)
    members = scores.reshape(groups, group, m)[there, :, rows]
    pair, of_group = np.nonzero(members <= limit[rows, None])
    return rows[pair], there[pair] * group + of_group, members[pair, of_group]


def _program() -> Program:
    """Return the program of a tile: samples [t, d], queries [d, m], norms [t, 1] and the shape in which scores are grouped."""
    single, shape = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["samples", "queries"], ["products"]),
            helper.make_node("Add", ["products", "norms"], ["scores"]),
            helper.make_node("Reshape", ["scores", "folded"], ["groups"]),
            helper.make_node("ReduceMin", ["groups"], ["least"], axes=[1], keepdims=0),
        ],
        "nearest",
        [
            helper.make_tensor_value_info("samples", single, ["t", "d"]),
            helper.make_tensor_value_info("queries", single, ["d", "m"]),
            helper.make_tensor_value_info("norms", single, ["t", 1]),
            helper.make_tensor_value_info("folded", shape, [3]),
        ],
        [
            helper.make_tensor_value_info("scores", single, ["t", "m"]),
            helper.make_tensor_value_info("least", single, ["g", "m"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return Program(
        onnx=bytes(model.SerializeToString()),
        inputs={"samples": (), "queries": (), "norms": (), "folded": ()},
        outputs={"scores": (), "least": ()},
    )
