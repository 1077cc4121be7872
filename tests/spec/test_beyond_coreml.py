"""What Apple's validator refuses and the arithmetic allows: refused by default, told where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import networks as n
from finetuned.graph.program import compile_training
from finetuned.spec import check
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.rules.paths import BEYOND, CORE_ML
from spec import edits as e

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = 4
MERGES = ("add", "addBroadcastable", "concat", "multiply", "multiplyBroadcastable")


def bare(kind: str) -> n.Layer:
    """Return a layer of this type (or an activation of this kind) with as little as it needs."""
    return e.fill(n.Layer(), kind)


def above(layers: Sequence[n.Layer]) -> pb.Model:
    """Return a network that trains a dense layer before these layers, and one after them."""
    first, last = (n.dense(SIZE, SIZE, updatable=True, seed=seed) for seed in (1, 2))
    return n.trainable([first, *layers, last], [SIZE])


def broken(model: pb.Model, *, beyond_coreml: bool = False) -> list[tuple[str, str]]:
    reasons = check.reasons(n.decoded(model), beyond_coreml=beyond_coreml)
    return [(reason.rule, reason.layer) for reason in reasons]


def left(model: pb.Model) -> list[tuple[str, str]]:
    return [(reason.rule, reason.layer) for reason in check.departures(n.decoded(model))]


BEYOND_LAYERS = {
    kind: bare(kind)
    for kind in sorted((BEYOND.activations | BEYOND.layers) - (CORE_ML.activations | CORE_ML.layers))
}


@pytest.mark.parametrize("kind", BEYOND_LAYERS)
def test_a_layer_beyond_core_ml_is_refused_by_default_and_told_where_it_is_allowed(kind: str) -> None:
    model = above([BEYOND_LAYERS[kind]])
    assert set(compile_training(n.decoded(model)).parameters) >= {"l0.weights", "l0.biases"}
    assert broken(model) == [("backpropagation", "l0")]
    assert broken(model, beyond_coreml=True) == []
    assert left(model) == [("beyondLayer", "l1")]


@pytest.mark.parametrize("kind", ["softmaxND", "lrn", "l2normalize", "unary", "gru", "dot", "sigmoidHard"])
def test_what_neither_mode_passes_is_a_reason_in_both(kind: str) -> None:
    model = above([bare(kind)])
    assert broken(model) == broken(model, beyond_coreml=True) == [("backpropagation", "l0")]
    assert left(model) == []


def test_a_frozen_front_of_any_layers_leaves_nothing() -> None:
    model = n.trainable([bare("lrn"), bare("scale"), n.dense(SIZE, SIZE, updatable=True)], [SIZE])
    assert broken(model) == []
    assert left(model) == []


def two_branches(left_kind: str, right_kind: str, merge: str) -> pb.Model:
    """Return dense `l0` → (two branches) → merge → dense."""
    branches = [bare(left_kind), bare(right_kind), bare(merge)]
    model = above(branches)
    names = [layer.name for layer in model.neuralNetwork.layers]
    branches[1].input[:] = names[:1]
    layers = model.neuralNetwork.layers
    layers[2].input[:] = names[:1]
    layers[3].input[:] = names[1:3]
    return model


@pytest.mark.parametrize("merge", MERGES)
def test_branches_that_meet_are_trained_beyond_core_ml(merge: str) -> None:
    model = two_branches("flatten", "batchnorm", merge)
    assert broken(model) == [("backpropagation", "l0")]
    assert broken(model, beyond_coreml=True) == []
    assert left(model) == [("beyondLayer", "l3")]


def test_a_trained_layer_with_one_of_two_ways_blocked_is_refused() -> None:
    model = two_branches("flatten", "lrn", "add")
    (reason,) = check.reasons(n.decoded(model), beyond_coreml=True)
    assert (reason.rule, reason.layer) == ("backpropagation", "l0")
    assert "('l2', lrn)" in reason.message


def test_an_lstm_in_the_way_waits_in_both_modes() -> None:
    model = above([bare("uniDirectionalLSTM")])
    assert broken(model) == broken(model, beyond_coreml=True) == [("layerLater", "l1")]


def label_and_box() -> pb.Model:
    """Return a trained dense layer with two heads: a softmax to cross entropy, and numbers to a squared error."""
    trunk = n.dense(SIZE, SIZE, updatable=True)
    label, box = n.dense(3, SIZE, updatable=True), n.dense(4, SIZE, updatable=True)
    model = n.trainable([trunk, label, n.softmax(), box], [SIZE])
    model.neuralNetwork.layers[3].input[:] = ["l0"]
    update = model.neuralNetwork.updateParams
    update.lossLayers[0].name = "boxLoss"
    entropy = update.lossLayers.add(name="labelLoss").categoricalCrossEntropyLossLayer
    entropy.input, entropy.target = "l2", "label"
    n.array_feature(model.description.trainingInput.add(name="label"), (1,))
    return model


def test_two_losses_are_refused_by_default_and_told_where_they_are_allowed() -> None:
    model = label_and_box()
    assert broken(model) == [("lossCount", "")]
    assert broken(model, beyond_coreml=True) == []
    (reason,) = check.departures(n.decoded(model))
    assert "2 losses ('boxLoss', 'labelLoss'), and Core ML supports one" in reason.message


def test_each_of_several_losses_is_judged() -> None:
    model = label_and_box()
    del model.description.trainingInput[1]
    model.neuralNetwork.updateParams.lossLayers[1].categoricalCrossEntropyLossLayer.input = "l3"
    assert broken(model, beyond_coreml=True) == [
        ("lossInput", "labelLoss"),
        ("lossInput", "labelLoss"),
        ("trainingInputs", ""),
    ]


def test_no_loss_is_refused_beyond_core_ml_too() -> None:
    model = label_and_box()
    del model.neuralNetwork.updateParams.lossLayers[:]
    assert ("lossCount", "") in broken(model, beyond_coreml=True)


def test_what_leaves_core_ml_is_what_the_default_refuses_and_the_other_mode_does_not() -> None:
    models = [above([layer]) for layer in BEYOND_LAYERS.values()]
    models += [label_and_box(), above([n.activation("ReLU")]), above([bare("lrn")])]
    for model in models:
        freed = set(broken(model)) - set(broken(model, beyond_coreml=True))
        assert bool(left(model)) == bool(freed)
