"""What trains beyond Core ML's straight chain: branches, merges, several losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kinds as k
import networks as n
import reference
import regions
from finetuned.graph.program import FEATURES, GRADIENT, LOSS, LOSSES, PREDICTION, SAMPLE_WEIGHTS
from finetuned.update.features import one_hot
from finetuned.update.session import Session

if TYPE_CHECKING:
    from random import Random

    from finetuned.spec import coreml_pb2 as pb
    from finetuned.update.network import NetworkUpdate

WEIGHTS = {"labelLoss": 2.0, "boxLoss": 0.25}


def computed(chosen: NetworkUpdate, message: pb.Model, rows: int) -> dict[str, Any]:
    """Return the step's results for a mini-batch of random samples."""
    data = regions.prepared(chosen, message, rows)
    feeds = {
        FEATURES: data.features[:],
        "target": one_hot(data.targets[:], chosen.training.target_shape),
        SAMPLE_WEIGHTS: np.full(rows, 1 / rows, np.float32),
        **{name: a.astype(np.float32) for name, a in reference.stored(message.neuralNetwork.layers).items()},
    }
    return Session(chosen.training.step).run({name: feeds[name] for name in chosen.training.step.inputs})


def weights_for(message: pb.Model) -> dict[str, float]:
    return WEIGHTS if len(message.neuralNetwork.updateParams.lossLayers) > 1 else {}


def assert_close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, array in wanted.items():
        gradient = found[f"{GRADIENT}{name}"]
        np.testing.assert_allclose(gradient, array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", regions.NETWORKS)
def test_gradients_through_branches_and_merges_agree_with_pytorch(name: str, rows: int) -> None:
    message = regions.NETWORKS[name]()
    weights = weights_for(message)
    chosen = regions.update(message, weights)
    wanted = regions.gradients(message, regions.samples(message, rows), weights)
    assert set(wanted) == set(chosen.training.parameters)
    assert_close(computed(chosen, message, rows), wanted)


@pytest.mark.parametrize("name", regions.NETWORKS)
def test_gradients_through_branches_and_merges_agree_with_finite_differences_in_float64(name: str) -> None:
    message, rows = regions.NETWORKS[name](), 3
    weights, network = weights_for(message), message.neuralNetwork
    data = regions.samples(message, rows)
    stored = reference.stored(layer for layer in network.layers if layer.isUpdatable)

    def loss() -> float:
        known = reference.forward(network.layers, {n.INPUT: data[n.INPUT]}, stored)
        total = 0.0
        for each in network.updateParams.lossLayers:
            if each.HasField("meanSquaredErrorLossLayer"):
                kind = each.meanSquaredErrorLossLayer
                losses = reference.squared_error(known[kind.input], data[kind.target].astype(np.float64))
            else:
                entropy = each.categoricalCrossEntropyLossLayer
                losses = reference.cross_entropy(known[entropy.input], data[entropy.target])
            total += weights.get(each.name, 1.0) * float(losses.mean())
        return total

    results = computed(regions.update(message, weights), message, rows)
    assert results[LOSS] == pytest.approx(loss(), rel=1e-5)
    for key, array in stored.items():
        gradient = results[f"{GRADIENT}{key}"]
        # A few places of each array, the first and the last among them: each costs two runs of the oracle.
        places = [tuple(at) for at in np.argwhere(np.ones(array.shape, bool))[:: max(1, array.size // 5)]]
        wanted = reference.differences(loss, array, places)
        found = np.array([gradient[place] for place in places])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(gradient).max(), err_msg=key)


# ── where it is cut ─────────────────────────────────────────────────────────────────────────────
def test_several_blobs_that_enter_what_trains_are_one_row_of_a_samples_features() -> None:
    message = regions.entered_twice()
    chosen = regions.update(message)
    assert chosen.training.cut.blobs == (n.INPUT, "l0")
    assert [layer.name for layer in chosen.training.cut.frozen] == ["l0"]
    assert chosen.training.feature_shape == (2 * 4 * 4 + 1 * 2 * 2,)
    data = regions.samples(message, 2)
    frozen = reference.forward(message.neuralNetwork.layers[:1], {n.INPUT: data[n.INPUT]})["l0"]
    features = regions.prepared(chosen, message, 2).features[:]
    np.testing.assert_array_equal(features[:, :32], data[n.INPUT].reshape(2, -1))
    np.testing.assert_allclose(features[:, 32:], frozen.reshape(2, -1), rtol=1e-5, atol=1e-6)


def test_a_frozen_branch_runs_once_per_sample_and_not_at_every_step() -> None:
    trained = {layer.name for layer in regions.update(regions.entered_twice()).training.cut.region}
    assert trained == {"l1", "l2", "l3", "l4"}


def test_the_head_predicts_for_every_loss_what_the_whole_network_does() -> None:
    message = regions.label_and_box()
    chosen = regions.update(message, WEIGHTS)
    data, samples = regions.prepared(chosen, message, 4), regions.samples(message, 4)
    predictions, losses = chosen.predict(data.features[:], data.targets[:])
    known = reference.forward(message.neuralNetwork.layers, {n.INPUT: samples[n.INPUT]})
    np.testing.assert_allclose(
        predictions, np.concatenate([known["l3"], known["l4"]], axis=1), rtol=1e-4, atol=1e-5
    )
    entropy = reference.cross_entropy(known["l3"], samples["label"])
    squares = reference.squared_error(known["l4"], samples["box"])
    np.testing.assert_allclose(losses, 2.0 * entropy + 0.25 * squares, rtol=1e-5)
    assert set(chosen.training.head.outputs) == {PREDICTION, LOSSES}


def test_a_loss_that_no_trained_layer_moves_is_measured_and_costs_no_gradient() -> None:
    message = regions.label_and_box()
    for layer in (message.neuralNetwork.layers[0], message.neuralNetwork.layers[4]):
        layer.isUpdatable = False
    chosen = regions.update(message)
    assert chosen.training.cut.blobs == ("l1", "l4")
    assert set(chosen.training.parameters) == {"l2.weights", "l2.biases"}
    wanted = regions.gradients(message, regions.samples(message, 3), {})
    assert_close(computed(chosen, message, 3), wanted)


def test_a_softmax_that_something_else_reads_too_is_there_once() -> None:
    message = regions.label_and_box()
    message.neuralNetwork.layers[4].CopyFrom(n.dense(4, regions.CLASSES, updatable=True))
    message.neuralNetwork.layers[4].name = "l4"
    message.neuralNetwork.layers[4].input[:], message.neuralNetwork.layers[4].output[:] = ["l3"], ["l4"]
    assert set(regions.update(message).training.head.outputs) == {PREDICTION, LOSSES}


# ── any wiring ──────────────────────────────────────────────────────────────────────────────────
WIDTH = 4
MERGES = ("add", "multiply", "concat")


def wired(random: Random) -> pb.Model:
    """Return vectors that branch and merge at random, some layers of them trained, and a trained layer at the end."""
    layers: list[n.Layer] = []
    blobs = {n.INPUT: WIDTH}
    for number in range(random.randint(1, 9)):
        first, second = random.choices(list(blobs), k=2)
        kind = random.choice(("dense", "activation", *MERGES))
        if kind == "dense":
            layer, width = n.dense(WIDTH, blobs[first], updatable=random.random() < 0.6, seed=number), WIDTH
        elif kind == "activation":
            layer, width = n.activation(random.choice(("tanh", "sigmoid"))), blobs[first]
        elif kind == "concat" or blobs[first] == blobs[second]:
            layer, width = k.merge(kind, first, second), blobs[first]
            width += blobs[second] if kind == "concat" else 0
        else:
            continue
        layer.input[:] = layer.input or [first]
        layer.name, layer.output[:] = f"n{number}", [f"n{number}"]
        layers.append(layer)
        blobs[f"n{number}"] = width
    last, width = list(blobs.items())[-1]
    return n.trainable([*layers, regions.reading(n.dense(2, width, updatable=True), last)], (WIDTH,))


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_gradients_of_any_wiring_agree_with_pytorch(random: Random) -> None:
    message = wired(random)
    chosen = regions.update(message)
    wanted = regions.gradients(message, regions.samples(message, 3), {})
    found = {name: array for name, array in wanted.items() if name in chosen.training.parameters}
    assert_close(computed(chosen, message, 3), found)
