"""Which samples may be among the nearest, by products of matrices in float32.

‖x‖² − 2 x·q is computed tile by tile, with the least of every few samples beside it; the k-th of these least is no less than
the k-th of all, so a sample that is farther than that by more than rounding can explain is none of the k nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from finetuned.graph.emit import IR_VERSION, OPSET
from finetuned.graph.program import Program
from finetuned.update.nearest_known import CROWD, Known
from finetuned.update.nearest_one import near
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
_SMALL = 1 << 14
"""Of a memory of so few numbers NumPy computes all scores before onnxruntime has begun."""
_LEAST = 1 << 8
"""As long as it has so few samples: later it is the choice that takes time."""
_FEW = 24
"""With fewer groups there is little to be spared."""


class Filter:
    """What is known of the samples, and the program that compares; both are made when they are needed.

    Args:
        threads: threads of the products of several queries; those of one are NumPy's.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._session: Session | None = None
        self._known = Known()

    def candidates(self, samples: Array, queries: Array, k: int) -> Pairs | None:
        """Return rows of queries and positions of samples, among them the k nearest of every query; k ≤ n.

        None where float32 does not tell enough: numbers that are not finite, or too large, or all of one cluster.
        """
        self._known.learn(samples)
        queries = self._known.centered(queries)
        if len(queries) == 1:
            positions = near(self._known, samples, queries[0], k)
            return None if positions is None else (np.zeros(len(positions), np.int64), positions)
        width = samples.shape[1]
        with np.errstate(over="ignore"):
            squares = np.vecdot(queries, queries).astype(np.float64)
        reach = self._known.length(squares, width)
        if not self._known.is_told(np.max(reach)):
            return None
        slack = self._known.slack(reach, width)
        if samples.size <= _SMALL and len(samples) <= _LEAST:
            return self._looked_at(samples, queries, k, slack)
        return self._searched(samples, queries, k, slack)

    def _looked_at(self, samples: Array, queries: Array, k: int, slack: Array) -> Pairs:
        """Return the candidates of few samples."""
        scores = np.matmul(queries * -2, self._known.centered(samples).T)
        scores += self._known.norms[: len(samples)]
        limit = _limit(np.partition(scores, k - 1, axis=1)[:, k - 1], slack)
        rows, positions = np.divmod(np.flatnonzero(scores <= limit[:, None]), len(samples))
        return rows, positions

    def _searched(self, samples: Array, queries: Array, k: int, slack: Array) -> Pairs | None:
        m, n = len(queries), len(samples)
        step = max(_GROUPS[0], _TILE // m)
        best = np.full((m, k), np.inf, np.float32)
        found: list[tuple[Array, Array, Array]] = []
        crowd = 0
        held = np.empty(min(n, step) * m, np.float32)
        for first in range(0, n, step):
            tile = self._known.centered(samples[first : first + step])
            group = _group(len(tile), k)
            whole = len(tile) - len(tile) % group
            scores = held[: len(tile) * m].reshape(-1, m)
            norms = self._known.norms[first : first + len(tile), None]
            least = self._scored(tile[:whole], queries, norms[:whole], group, scores[:whole])
            rest = scores[whole:]
            np.matmul(tile[whole:] * -2, queries.T, out=rest)
            rest += norms[whole:]
            best = _merged(best, least)
            limit = _limit(best[:, -1], slack)
            for begin, some, size in ((first, least, group), (first + whole, rest, 1)):
                rows, positions, score = _below(scores[begin - first :], some, limit, size)
                found.append((rows, positions + begin, score))
                crowd += len(rows)
            if crowd > CROWD * m * (k + len(found)):
                return None
        rows, positions, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = score <= _limit(best[:, -1], slack)[rows]
        return rows[kept], positions[kept]

    def _scored(self, tile: Array, queries: Array, norms: Array, group: int, scores: Array) -> Array:
        """Write ‖x‖² − 2 x·q into the scores, [t, m]; return the least of every `group` of them, [t / group, m]."""
        m = len(queries)
        if self._session is None:
            self._session = Session(_program(), threads=self._threads)
        least = np.empty((len(tile) // group, m), np.float32)
        feeds = {"samples": tile, "queries": queries, "norms": norms, "folded": np.array([-1, group, m])}
        self._session.bind(feeds, {"scores": scores, "least": least}).run()
        return least


def _group(rows: int, k: int) -> int:
    """Return of how many samples of a tile the least is taken."""
    return next((size for size in _GROUPS if rows >= max(_FEW, 2 * k) * size), 1)


def _merged(best: Array, least: Array) -> Array:
    """Return the k least of both for every query, ascending nowhere but at the end: [m, k], the k-th of them last."""
    k = best.shape[1]
    better = np.flatnonzero(least.min(axis=0) < best[:, -1])
    if len(better):
        both = np.concatenate([best.take(better, 0), least.T.take(better, 0)], axis=1)
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
    there, rows = np.divmod(
        np.flatnonzero(least <= limit), m
    )  # so, since NumPy's nonzero of two axes takes ten times as long
    if group == 1:
        return rows, there, least[there, rows]
    members = scores[: groups * group].reshape(groups, group, m)[there, :, rows]
    pair, of_group = np.divmod(np.flatnonzero(members <= limit[rows, None]), group)
    return rows[pair], there[pair] * group + of_group, members[pair, of_group]


def _program() -> Program:
    """Return the program of a tile: samples [t, d], queries [m, d], norms [t, 1] and the shape in which scores are grouped."""
    single, shape = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["samples", "queries", "norms"], ["scores"], alpha=-2.0, transB=1),
            helper.make_node("Reshape", ["scores", "folded"], ["groups"]),
            helper.make_node("ReduceMin", ["groups"], ["least"], axes=[1], keepdims=0),
        ],
        "nearest",
        [
            helper.make_tensor_value_info("samples", single, ["t", "d"]),
            helper.make_tensor_value_info("queries", single, ["m", "d"]),
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
