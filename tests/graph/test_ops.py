from __future__ import annotations

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


def _softmax(x: Any) -> Any:  # noqa: ANN401 - arrays
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


# Each row: the shapes that go in, the attributes, and the meaning in float64 NumPy.  None: the operator is ONNX's own, and
# onnx's reference evaluator says what it means.
CASES: dict[str, list[tuple[tuple[Shape, ...], dict[str, Any], Callable[..., Any] | None]]] = {
    "Gemm": [
        ((V, (4, 2), (2,)), {}, lambda a, b, c: a @ b + c),
        ((V, (2, 4)), {"transB": 1}, lambda a, b: a @ b.T),
        ((V, (BATCH, 2)), {"transA": 1}, lambda a, b: a.T @ b),
    ],
    "Relu": [((V,), {}, lambda x: np.maximum(x, 0))],
    "Sigmoid": [((V,), {}, lambda x: 1 / (1 + np.exp(-x)))],
    "Tanh": [((V,), {}, np.tanh)],
    "Reshape": [((I,), {"shape": (60,)}, lambda x: x.reshape(-1, 60))],
    "Transpose": [((I,), {"perm": (0, 2, 3, 1)}, lambda x: np.moveaxis(x, 1, 3))],
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
    "Conv": [((I, (4, 1, 2, 3), (4,)), {**WINDOW, "group": 2}, None)],
    "MaxPool": [((I,), POOL, None)],
    "AveragePool": [((I,), {**POOL, "count_include_pad": flag}, None) for flag in (0, 1)],
    "LpPool": [((I,), {**POOL, "p": 2, "pads": (0, 0, 0, 0)}, None)],
    "GlobalMaxPool": [((I,), {}, lambda x: x.max(axis=(2, 3), keepdims=True))],
    "GlobalAveragePool": [((I,), {}, lambda x: x.mean(axis=(2, 3), keepdims=True))],
    "GlobalLpPool": [((I,), {"p": 2}, lambda x: np.sqrt((x**2).sum(axis=(2, 3), keepdims=True)))],
    "LeakyRelu": [((V,), {"alpha": 0.2}, lambda x: np.where(x < 0, 0.2 * x, x))],
    "Elu": [((V,), {"alpha": 0.5}, lambda x: np.where(x < 0, 0.5 * np.expm1(x), x))],
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


def test_an_output_may_be_an_input_under_another_name() -> None:
    graph = Graph()
    graph.outputs["y"] = graph.input("x", V)
    program = Program(onnx=emit(graph), inputs={"x": (4,)}, outputs={"y": (4,)})
    x = n.numbers(2, 4)
    np.testing.assert_array_equal(Session(program).run({"x": x})["y"], x)


def test_emitted_models_pass_onnx_own_checker() -> None:
    graph, _ = built("CrossEntropy", (V, V), {})
    onnx.checker.check_model(onnx.load_from_string(emit(graph)), full_check=True)
