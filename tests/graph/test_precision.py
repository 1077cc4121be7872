"""Where a number is right in a picture's units and wrong in its own: slopes of what is small, and names like our own."""

from __future__ import annotations

import numpy as np
import pytest

from finetuned.graph.emit import emit
from finetuned.graph.grad import gradients
from finetuned.graph.ir import Graph
from finetuned.graph.program import Program
from finetuned.graph.values import BATCH, Array
from finetuned.update.session import Session


def run(graph: Graph, **feeds: Array) -> dict[str, Array]:
    """Run what the graph's outputs need."""
    program = Program(onnx=emit(graph), inputs={}, outputs=dict.fromkeys(graph.outputs, ()))
    return Session(program).run(feeds)


def test_a_sigmoid_is_right_in_its_own_last_digits_however_small_it_is() -> None:
    graph = Graph()
    graph.outputs["y"] = graph.add("Sigmoid", graph.input("x", (BATCH, 1)))
    x = np.linspace(-80, 20, 2001, dtype=np.float32)[:, None]
    np.testing.assert_allclose(run(graph, x=x)["y"], 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-25, 1e-20, 1.0])
def test_the_slope_of_a_root_of_squares_is_a_number_and_never_above_one(size: float) -> None:
    graph = Graph()
    x, seed = graph.input("x", (BATCH, 1)), graph.input("seed", (BATCH, 1))
    root = graph.add("Sqrt", graph.add("Mul", x, x))
    (graph.outputs["dx"],) = gradients(graph, root, seed, [x])
    found = run(graph, x=np.array([[size]], np.float32), seed=np.array([[1e15]], np.float32))["dx"]
    assert 0 <= found[0, 0] <= 1e15 * (1 + 1e-6)


@pytest.mark.parametrize("name", ["a#0", ":a#0", "a/0", ":a/0", "::a/0.shape", "gradient of a"])
def test_whatever_a_model_calls_its_blobs_they_are_not_taken_for_the_compilers_own(name: str) -> None:
    graph = Graph()
    x = graph.input(name, (BATCH, 2))
    shifted = graph.add("Add", x, graph.constant("a", np.array([10, 20], np.float32)), origin="a")
    graph.outputs["b/2"] = graph.add("Reshape", shifted, shape=(BATCH, 2, 1), origin="a")
    graph.outputs[":a/1"] = graph.add("Neg", shifted, origin="b")
    found = run(graph, **{name: np.array([[1, 2]], np.float32)})
    assert {key: array.ravel().tolist() for key, array in found.items()} == {
        "b/2": [11, 22],
        ":a/1": [-11, -22],
    }
