from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import networks as n
from finetuned.errors import ModelError
from finetuned.graph.emit import emit
from finetuned.graph.ir import Graph
from finetuned.graph.ops import PRIMITIVES
from finetuned.graph.program import Program
from finetuned.graph.values import BATCH
from finetuned.update.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.graph.values import Shape

ROWS = 3
WINDOW = {"strides": (2, 1), "pads": (1, 0, 0, 1), "dilations": (1, 1)}
POOL = {"kernel_shape": (2, 3), "strides": (2, 1), "pads": (1, 0, 0, 1)}
V, I = (BATCH, 4), (BATCH, 2, 5, 6)  # noqa: E741 - a vector, an image
L = (2, 3, 2, BATCH)
"""An image of a chain that trains: two channels of six positions, the batch last."""
# Two windows of two places, each the sum of two positions; -1 is a zero.
TABLE_OF_SUMS = np.array([[[0, 1], [5, -1]], [[2, 2], [-1, -1]]], np.int32)


def _softmax(x: Any) -> Any:  # noqa: ANN401 - arrays
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def _collect(x: Any) -> Any:  # noqa: ANN401 - arrays
    """Return number k of window p of channel c: Σ_j x[c, table[j, k, p]]."""
    flat = np.concatenate([x.reshape(2, 6, -1), np.zeros((2, 1, x.shape[-1]))], axis=1)
    return flat[:, TABLE_OF_SUMS].sum(axis=1).reshape(4, 1, 2, -1)


def _product(w: Any, x: Any) -> Any:  # noqa: ANN401 - arrays
    """Return W x of each group of channels: the first two make the first half, the others the second."""
    halves = zip(np.split(w.reshape(6, 2), 2), np.split(x, 2), strict=True)
    return np.concatenate([np.einsum("ri,ipn->rpn", *half) for half in halves])


def _product_back(w: Any, x: Any) -> Any:  # noqa: ANN401 - arrays
    """Return Wᵀ x of each group."""
    halves = zip(np.split(w.reshape(6, 2), 2), np.split(x, 2), strict=True)
    return np.concatenate([np.einsum("ri,rpn->ipn", *half) for half in halves])


def _outer(a: Any, b: Any) -> Any:  # noqa: ANN401 - arrays
    """Return Σ a bᵀ over positions and samples, of each group."""
    halves = zip(np.split(a, 2), np.split(b, 2), strict=True)
    return np.concatenate([np.einsum("rpn,ipn->ri", *half) for half in halves]).reshape(6, 2, 1, 1)


def _scattered(x: Any, w: Any, b: Any) -> Any:  # noqa: ANN401 - arrays
    """Return what `WINDOW` scatters: each number lays its kernel down at (2 row, column), 1 cut off above and right."""
    whole = np.zeros((len(x), 6, 11, 8))
    for (row, column), c in product(np.ndindex(5, 6), range(2)):
        made = np.einsum("n,okl->nokl", x[:, c, row, column], w[c])
        whole[:, 3 * c : 3 * c + 3, 2 * row : 2 * row + 2, column : column + 3] += made
    return whole[:, :, 1:, :-1] + b[:, None, None]


# Each row: the shapes that go in, the attributes, and the meaning in float64 NumPy.  None: the operator is ONNX's own, and
# onnx's reference evaluator says what it means.
CASES: dict[str, list[tuple[tuple[Shape, ...], dict[str, Any], Callable[..., Any] | None]]] = {
    "Gemm": [
        ((V, (4, 2), (2,)), {}, lambda a, b, c: a @ b + c),
        ((V, (2, 4)), {"transB": 1}, lambda a, b: a @ b.T),
        ((V, (BATCH, 2)), {"transA": 1}, lambda a, b: a.T @ b),
    ],
    "Linear": [
        ((V, (2, 4), (2,)), {}, lambda x, w, b: x @ w.T + b),
        ((V, (2, 4)), {}, lambda x, w: x @ w.T),
    ],
    "Relu": [((V,), {}, lambda x: np.maximum(x, 0))],
    "Sigmoid": [((V,), {}, lambda x: 1 / (1 + np.exp(-x)))],
    "Tanh": [((V,), {}, np.tanh)],
    "Reshape": [((I,), {"shape": (BATCH, 60)}, lambda x: x.reshape(-1, 60))],
    "Transpose": [((I,), {"perm": (0, 2, 3, 1)}, lambda x: np.moveaxis(x, 1, 3))],
    "Concat": [((I, (BATCH, 3, 5, 6)), {"axis": 1}, lambda a, b: np.concatenate([a, b], axis=1))],
    "Slice": [((I,), {"axis": 3, "start": 1, "stop": 6, "step": 2}, lambda x: x[..., 1:6:2])],
    "Lookup": [
        (((BATCH,), (4, 2)), {}, lambda x, rows: rows[np.where(np.isin(x, [0, 1, 2]), x + 1, 0).astype(int)])
    ],
    "Pad": [
        ((I,), {"mode": "constant", "amounts": ((1, 0), (2, 3)), "value": 2.5}, None),
        ((I,), {"mode": "reflection", "amounts": ((0, 4), (1, 0)), "value": 0.0}, None),
        ((I,), {"mode": "replication", "amounts": ((0, 7), (1, 0)), "value": 0.0}, None),
    ],
    "Enlarge": [((I,), {"factors": (2, 3)}, lambda x: x.repeat(2, axis=2).repeat(3, axis=3))],
    "ReduceMax": [((I,), {"axes": (1, 3), "keepdims": 1}, lambda x: x.max(axis=(1, 3), keepdims=True))],
    "Kept": [((V, V), {}, lambda x, y: (x == y).astype(float))],
    "Max": [((I, (2, 1, 1)), {}, np.maximum)],
    "Min": [((V, (1,)), {}, np.minimum)],
    "Pow": [((V, (1,)), {}, None)],
    "Exp": [((V,), {}, np.exp)],
    "Log": [((V,), {}, np.log)],
    "Abs": [((V,), {}, np.abs)],
    "LRN": [
        (
            (I,),  # of two channels: the window of three holds both
            {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 2.0},
            lambda x: x / (2 + 0.5 / 3 * (x**2).sum(axis=1, keepdims=True)) ** 0.75,
        )
    ],
    "CrossEntropy": [((V, V), {}, lambda z, y: -(np.log(_softmax(z)) * y).sum(axis=1))],
    "SquaredError": [
        ((V, V), {}, lambda a, b: ((a - b) ** 2).mean(axis=1)),
        ((I, I), {}, lambda a, b: ((a - b) ** 2).mean(axis=(1, 2, 3))),
    ],
    "Step": [((V,), {}, lambda x: (x > 0).astype(float))],
    "Softmax": [((V,), {"axis": 1}, _softmax), ((I,), {"axis": 1}, _softmax)],
    "Add": [((I, (2, 1, 1)), {}, np.add), ((V, (1,)), {}, np.add)],
    "Sub": [((I, (2, 5, 6)), {}, np.subtract)],
    "Mul": [((V, (BATCH, 1)), {}, np.multiply)],
    "ReduceSum": [
        ((V,), {"axes": (0,), "keepdims": 0}, lambda x: x.sum(axis=0)),
        ((V,), {"axes": (0,), "keepdims": 1}, lambda x: x.sum(axis=0, keepdims=True)),
    ],
    "Clip": [((V,), {"minimum": -0.5, "maximum": 0.25}, lambda x: np.clip(x, -0.5, 0.25))],
    "Cast": [((V,), {}, lambda x: x)],
    "Neg": [((V,), {}, np.negative)],
    "Div": [((V, (4,)), {}, np.divide)],
    "Sqrt": [((V,), {}, np.sqrt)],
    "Collect": [((L,), {"table": TABLE_OF_SUMS, "size": (1, 2)}, _collect)],
    "ZeroBehind": [((L,), {}, lambda x: np.pad(x.reshape(2, 6, -1), [(0, 0), (0, 1), (0, 0)]))],
    "Product": [
        (((3, 2), (2, 4, BATCH)), {}, lambda w, x: np.einsum("ri,ipn->rpn", w, x)),
        (((3, 2), (3, 4, BATCH)), {"transposed": 1}, lambda w, x: np.einsum("ri,rpn->ipn", w, x)),
        (
            ((3, 2), (2, 4, BATCH), (3,)),
            {},
            lambda w, x, b: np.einsum("ri,ipn->rpn", w, x) + b[:, None, None],
        ),
        (((6, 2, 1, 1), (4, 5, BATCH)), {"groups": 2}, _product),
        (((6, 2), (6, 5, BATCH)), {"groups": 2, "transposed": 1}, _product_back),
        (((6, 2), (4, 5, BATCH), (6,)), {"groups": 2}, lambda w, x, b: _product(w, x) + b[:, None, None]),
    ],
    "Outer": [
        (((3, 4, BATCH), (2, 4, BATCH)), {"shape": (3, 2)}, lambda a, b: np.einsum("rpn,ipn->ri", a, b)),
        (((6, 5, BATCH), (4, 5, BATCH)), {"shape": (6, 2, 1, 1), "groups": 2}, _outer),
    ],
    "FirstGreatest": [],  # below, where numbers are equal
    "WindowMax": [(((6, 2, BATCH),), {"window": 3}, lambda x: x.reshape(2, 3, 2, -1).max(axis=1))],
    "ConvTranspose": [
        ((I, (2, 3, 2, 3), (6,)), {**WINDOW, "group": 2, "output_padding": (1, 0)}, _scattered),
    ],
    "Conv": [((I, (4, 1, 2, 3), (4,)), {**WINDOW, "group": 2}, None)],
    "MaxPool": [((I,), POOL, None)],
    "AveragePool": [((I,), {**POOL, "count_include_pad": flag}, None) for flag in (0, 1)],
    "LpPool": [((I,), {**POOL, "p": 2, "pads": (0, 0, 0, 0)}, None)],
    "GlobalMaxPool": [((I,), {}, lambda x: x.max(axis=(2, 3), keepdims=True))],
    "GlobalAveragePool": [((I,), {}, lambda x: x.mean(axis=(2, 3), keepdims=True))],
    "GlobalLpPool": [((I,), {"p": 2}, lambda x: np.sqrt((x**2).sum(axis=(2, 3), keepdims=True)))],
    "LeakyRelu": [((V,), {"alpha": 0.2}, lambda x: np.where(x < 0, 0.2 * x, x))],
    "HardSigmoid": [((V,), {"alpha": 0.3, "beta": 0.4}, lambda x: np.clip(0.3 * x + 0.4, 0, 1))],
    "ThresholdedRelu": [((V,), {"alpha": 0.5}, lambda x: np.where(x >= 0.5, x, 0))],
    "Softplus": [((V,), {}, lambda x: np.logaddexp(x, 0))],
    "Softsign": [((V,), {}, lambda x: x / (1 + np.abs(x)))],
}

TABLE = [pytest.param(op, *row, id=f"{op}-{i}") for op, rows in CASES.items() for i, row in enumerate(rows)]


def built(op: str, shapes: tuple[Shape, ...], attributes: dict[str, Any]) -> tuple[Graph, Shape]:
    graph = Graph()
    inputs = [graph.input(f"i{i}", shape) for i, shape in enumerate(shapes)]
    value = graph.add(op, *inputs, origin="here", **attributes)
    graph.outputs["y"] = value
    return graph, value.shape


def sized(shape: Shape) -> tuple[int, ...]:
    return tuple(ROWS if d == BATCH else int(d) for d in shape)


@pytest.mark.parametrize(("op", "shapes", "attributes", "meaning"), TABLE)
def test_a_primitive_computes_what_it_says_in_the_shape_that_it_promised(
    op: str, shapes: tuple[Shape, ...], attributes: dict[str, Any], meaning: Callable[..., Any] | None
) -> None:
    graph, promised = built(op, shapes, attributes)
    feeds = {f"i{i}": n.numbers(*sized(shape), seed=i) for i, shape in enumerate(shapes)}
    feeds["i0"].reshape(-1)[:2] = 0.0, 0.5
    if op in {"Sqrt", "Log"}:
        feeds["i0"] = np.abs(feeds["i0"]) + (op == "Log")
    program = Program(onnx=emit(graph), inputs=dict.fromkeys(feeds, ()), outputs={"y": ()})
    found = Session(program).run(feeds)["y"]
    if meaning is None:
        (wanted,) = ReferenceEvaluator(onnx.load_from_string(program.onnx)).run(None, feeds)
    else:
        wanted = meaning(*(array.astype(np.float64) for array in feeds.values()))
    assert found.shape == sized(promised) == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


EDGES = [0.0, -0.0, 2e-38, -2e-38, 1e-30, -1e-30, 1e30, -1e30, np.inf, -np.inf]


@pytest.mark.parametrize("count", [1, len(EDGES)], ids=["alone", "vectorised"])
@pytest.mark.parametrize("edge", EDGES)
def test_the_step_is_exact_at_zero_next_to_it_and_at_infinity(edge: float, count: int) -> None:
    graph, _ = built("Step", (V,), {})
    program = Program(onnx=emit(graph), inputs={"i0": ()}, outputs={"y": ()})
    rows = np.full((count, 4), edge, np.float32)
    np.testing.assert_array_equal(Session(program).run({"i0": rows})["y"], (rows > 0).astype(np.float32))


@pytest.mark.parametrize(
    ("window", "first"),
    [
        ([0, 0, 0, 0], 0),
        ([-1, 3, 3, 2], 1),
        ([-0.0, 0.0, -0.0, -1], 0),
        ([1e30, 2, 1e30, 1e30], 0),
        ([-1e30, -2, -2, -1e30], 1),
        ([1, 1, 1, 1 + 2**-23], 3),
        ([-3e38, 1e-38, 3e38, 3e38], 2),
        ([0, 2e-38, 2e-38, 0], 1),
    ],
)
def test_of_equal_numbers_the_first_is_the_greatest(window: list[float], first: int) -> None:
    shapes = ((4, 1, BATCH), (1, 1, BATCH), (1, 1, BATCH))
    graph, _ = built("FirstGreatest", shapes, {"window": 4})
    program = Program(onnx=emit(graph), inputs={}, outputs={"y": ()})
    rows = np.repeat(np.array(window, np.float32)[:, None, None], 9, axis=2)  # enough to be vectorised
    feeds = {"i0": rows, "i1": rows.max(axis=0, keepdims=True), "i2": np.full((1, 1, 9), 7, np.float32)}
    wanted = np.zeros_like(rows)
    wanted[first] = 7
    np.testing.assert_array_equal(Session(program).run(feeds)["y"], wanted)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.5), (1.0, 0.0), (0.0, 0.0), (-1.0, 0.0)])
def test_a_hard_sigmoid_takes_a_nought_at_its_word(alpha: float, beta: float) -> None:
    graph, _ = built("HardSigmoid", (V,), {"alpha": alpha, "beta": beta})
    program = Program(onnx=emit(graph), inputs={"i0": ()}, outputs={"y": ()})
    rows = np.array([[0.0, -0.0, 0.25, -0.25], [2.0, -2.0, 1e30, -1e30]], np.float32)
    found = Session(program).run({"i0": rows})["y"]
    np.testing.assert_allclose(found, np.clip(alpha * rows + beta, 0, 1), rtol=0, atol=1e-7)


def test_every_primitive_has_a_row_here() -> None:
    assert set(CASES) == set(PRIMITIVES)


def test_the_loss_stays_finite_where_the_probability_is_too_small_for_a_float32() -> None:
    graph, _ = built("CrossEntropy", (V, V), {})
    program = Program(onnx=emit(graph), inputs={}, outputs={"y": ()})
    logits = np.array([[0, 500, 0, 0]], np.float32)
    onehot = np.array([[1, 0, 0, 0]], np.float32)
    assert Session(program).run({"i0": logits, "i1": onehot})["y"] == [500.0]


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "words"),
    [
        ("Gemm", (V, (3, 4)), {}, "4 inputs arrive, 3 are expected"),
        ("Gemm", (I, (3, 4)), {"transB": 1}, "Gemm"),
        ("Add", (V, (BATCH, 3)), {}, "do not fit each other"),
        ("Reshape", (I,), {"shape": (61,)}, "another count"),
        ("Transpose", (V,), {"perm": (0, 2, 1)}, "Transpose"),
        ("Conv", (V, (2, 4, 1, 1)), {**WINDOW, "group": 1}, "an image"),
        ("Conv", (I, (2, 3, 1, 1)), {**WINDOW, "group": 1}, "2 channels arrive, 3 are expected"),
        ("Conv", (I, (3, 1, 1, 1)), {**WINDOW, "group": 2}, "3 output channels"),
        ("MaxPool", (V,), POOL, "an image"),
        ("MaxPool", (I,), {**POOL, "kernel_shape": (9, 9)}, "does not fit"),
        ("CrossEntropy", (V, (BATCH, 3)), {}, "differ in shape"),
        ("Mul", ((BATCH, 1 << 15, 1), (BATCH, 1, 1 << 15)), {}, "more than"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_layers_name(
    op: str, shapes: tuple[Shape, ...], attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as refused:
        built(op, shapes, attributes)
    assert "layer 'here'" in str(refused.value)


def test_only_what_the_outputs_need_is_emitted() -> None:
    graph = Graph()
    used, unused = graph.input("used", V), graph.input("unused", V)
    graph.add("Relu", unused)
    graph.constant("spare", np.zeros(1000, np.float32))
    graph.outputs["y"] = graph.add("Tanh", used)
    emitted = onnx.load_from_string(emit(graph)).graph
    assert [entry.name for entry in emitted.input] == ["used"]
    assert [node.op_type for node in emitted.node] == ["Tanh"]
    assert not emitted.initializer


def test_a_value_may_be_an_output_twice() -> None:
    graph = Graph()
    x = graph.input("x", V)
    graph.outputs["y"] = graph.outputs["again"] = graph.add("Neg", x)
    found = Session(Program(onnx=emit(graph), inputs={}, outputs={"y": (4,), "again": (4,)})).run(
        {"x": np.ones((1, 4), np.float32)}
    )
    np.testing.assert_array_equal(found["y"], found["again"])


def test_an_output_may_be_an_input_under_another_name() -> None:
    graph = Graph()
    graph.outputs["y"] = graph.input("x", V)
    program = Program(onnx=emit(graph), inputs={"x": (4,)}, outputs={"y": (4,)})
    x = n.numbers(2, 4)
    np.testing.assert_array_equal(Session(program).run({"x": x})["y"], x)


def test_emitted_models_pass_onnx_own_checker() -> None:
    graph, _ = built("CrossEntropy", (V, V), {})
    onnx.checker.check_model(onnx.load_from_string(emit(graph)), full_check=True)
