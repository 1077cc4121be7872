from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import builders
import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph.cut import find_cut
from finetuned.graph.program import (
    FEATURES,
    GRADIENT,
    LOSS,
    LOSSES,
    PREDICTION,
    SAMPLE_WEIGHTS,
    compile_inference,
    compile_training,
    network_of,
)
from finetuned.spec import codec
from finetuned.update.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec import coreml_pb2 as pb

IMAGE = (2, 4, 4)


def layered() -> pb.Model:
    """Return frozen convolution and pooling, trained dense, frozen dense, trained dense, softmax."""
    return n.trainable(
        [
            n.convolution(3, 2),
            n.pooling("MAX", kernel=(2, 2), stride=(2, 2)),
            n.dense(5, 3, updatable=True),
            n.activation("tanh"),
            n.dense(6, 5, seed=1),
            n.dense(3, 6, updatable=True, bias=False),
            n.softmax(),
        ],
        IMAGE,
    )


def test_training_cuts_below_the_first_trained_layer() -> None:
    cut = find_cut(network_of(n.decoded(layered())))
    assert [layer.name for layer in cut.frozen] == ["l0", "l1"]
    assert [layer.name for layer in cut.region] == ["l2", "l3", "l4", "l5"]
    assert cut.trained == ("l2", "l5")


def test_only_trained_layers_have_parameters_and_gradients() -> None:
    training = compile_training(n.decoded(layered()))
    assert training.parameters == {"l2.weights": (5, 3), "l2.biases": (5,), "l5.weights": (3, 6)}
    gradients = {name.removeprefix(GRADIENT) for name in training.step.outputs} - {LOSS}
    assert gradients == set(training.parameters)


def test_what_the_first_trained_layer_reads_as_it_is_needs_no_features() -> None:
    training = compile_training(n.decoded(n.trainable([n.dense(3, 4, updatable=True), n.softmax()], (4,))))
    assert training.features is None
    assert training.feature_shape == (4,)
    assert training.target_shape == (3,)


def test_frozen_features_and_head_together_compute_what_the_whole_network_does() -> None:
    message = layered()
    training = compile_training(n.decoded(message))
    layers = message.neuralNetwork.layers
    x, classes = n.numbers(5, *IMAGE), np.array([0, 1, 2, 1, 0])
    expected = reference.forward(layers, {n.INPUT: x})
    assert training.features is not None
    features = Session(training.features).run({n.INPUT: x})[FEATURES]
    np.testing.assert_allclose(features, expected["l1"], rtol=1e-5, atol=1e-6)
    weights = {k: v.astype(np.float32) for k, v in reference.stored(layers).items()}
    feeds = {FEATURES: features, "target": np.eye(3, dtype=np.float32)[classes], **weights}
    head = Session(training.head).run({name: feeds[name] for name in training.head.inputs})
    np.testing.assert_allclose(head[PREDICTION], expected["l6"], rtol=1e-5)
    np.testing.assert_allclose(head[LOSSES], reference.cross_entropy(expected["l6"], classes), rtol=1e-5)


def test_the_steps_loss_and_gradients_are_those_of_the_weighted_sum_over_the_samples() -> None:
    message = n.trainable([n.dense(2, 3, updatable=True)], (3,))
    training = compile_training(n.decoded(message))
    layers = message.neuralNetwork.layers
    x, y, each = n.numbers(4, 3), n.numbers(4, 2, seed=1), np.array([0.5, 0.25, 0.25, 0], np.float32)
    weights = reference.stored(layers)
    feeds = {FEATURES: x, "target": y, SAMPLE_WEIGHTS: each}
    feeds |= {k: v.astype(np.float32) for k, v in weights.items()}
    step = Session(training.step).run(feeds)

    def loss() -> float:
        output = reference.forward(layers, {n.INPUT: x}, weights)["l0"]
        return float((reference.squared_error(output, y.astype(np.float64)) * each).sum())

    assert step[LOSS] == pytest.approx(loss(), rel=1e-6)
    for name, array in weights.items():
        wanted = reference.differences(loss, array)
        np.testing.assert_allclose(step[f"{GRADIENT}{name}"], wanted, rtol=1e-5, atol=1e-6)


def test_a_classifiers_only_output_are_its_probabilities() -> None:
    model = codec.decode(builders.dense_classifier())
    program = compile_inference(model)
    assert list(program.outputs) == ["labelProbability"]
    unnamed = builders.edited(
        builders.dense_classifier(),
        lambda m: m.neuralNetworkClassifier.ClearField("labelProbabilityLayerName"),
    )
    assert compile_inference(codec.decode(unnamed)).outputs == program.outputs


def test_an_input_that_nothing_depends_on_is_not_asked_for() -> None:
    message = layered()
    n.array_feature(message.description.input.add(name="idle"), (7,))
    assert list(compile_inference(n.decoded(message)).inputs) == [n.INPUT]
    features = compile_training(n.decoded(message)).features
    assert features is not None
    assert list(features.inputs) == [n.INPUT]


# ── models that are wrong ───────────────────────────────────────────────────────────────────────
def cycle(message: pb.Model) -> None:
    message.neuralNetwork.layers[2].input[:] = ["l5"]


def in_place(message: pb.Model) -> None:
    layer = message.neuralNetwork.layers[3]
    layer.output[:] = layer.input


def no_input(message: pb.Model) -> None:
    message.neuralNetwork.layers[2].ClearField("input")


def no_input_at_the_softmax(message: pb.Model) -> None:
    message.neuralNetwork.layers[6].ClearField("input")


def no_output(message: pb.Model) -> None:
    message.neuralNetwork.layers[5].ClearField("output")


def no_layers(message: pb.Model) -> None:
    message.neuralNetwork.ClearField("layers")


def no_loss(message: pb.Model) -> None:
    message.neuralNetwork.updateParams.ClearField("lossLayers")


def dangling(message: pb.Model) -> None:
    message.neuralNetwork.layers[0].input[:] = ["nowhere"]


def made_twice(message: pb.Model) -> None:
    message.neuralNetwork.layers[1].output[:] = ["l0"]
    message.neuralNetwork.layers[2].input[:] = ["l0"]


def an_input_made_again(message: pb.Model) -> None:
    message.neuralNetwork.layers[1].output[:] = [n.INPUT]
    message.neuralNetwork.layers[2].input[:] = [n.INPUT]


WRONG: dict[str, Callable[[pb.Model], None]] = {
    change.__name__: change
    for change in (
        cycle,
        in_place,
        no_input,
        no_input_at_the_softmax,
        no_output,
        no_layers,
        no_loss,
        dangling,
        made_twice,
        an_input_made_again,
    )
}


@pytest.mark.parametrize("name", WRONG)
def test_a_network_that_contradicts_itself_is_refused_by_the_compiler_too(name: str) -> None:
    message = layered()
    WRONG[name](message)
    with pytest.raises(ModelError):
        compile_training(n.decoded(message))


def test_layers_in_another_order_than_they_run_are_refused() -> None:
    message = layered()
    layers = list(message.neuralNetwork.layers)
    message.neuralNetwork.ClearField("layers")
    message.neuralNetwork.layers.extend(reversed(layers))
    with pytest.raises(ModelError, match="nothing before it makes"):
        compile_inference(n.decoded(message))


def test_what_merges_with_a_trained_branch_is_in_the_region() -> None:
    message = n.trainable(
        [n.dense(4, 4), n.add("x", "l0"), n.dense(3, 4, updatable=True, seed=1), n.softmax()], (4,)
    )
    cut = find_cut(network_of(n.decoded(message)))
    assert (cut.trained, cut.blobs) == (("l2",), ("l1",))
    message.neuralNetwork.layers[2].isUpdatable = False
    message.neuralNetwork.layers[0].isUpdatable = True
    cut = find_cut(network_of(n.decoded(message)))
    assert (cut.trained, cut.blobs) == (("l0",), ("x",))
    assert [layer.name for layer in cut.region] == ["l0", "l1", "l2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.description.output.add(name="nothing"), "'nothing'"),
        (lambda m: m.description.output.add(name=n.INPUT), "'x'"),
        (lambda m: m.description.ClearField("output"), "no output"),
        (lambda m: m.description.input[0].type.stringType.SetInParent(), "neither an image nor"),
        (lambda m: m.description.ClearField("input"), "nothing before it makes"),
    ],
)
def test_inputs_and_outputs_that_cannot_be_are_named(
    change: Callable[[pb.Model], object], words: str
) -> None:
    message = layered()
    change(message)
    with pytest.raises(ModelError, match=words):
        compile_inference(n.decoded(message))


@pytest.mark.parametrize("compiled", [compile_inference, compile_training])
def test_a_classifier_with_other_than_one_label_per_class_is_refused(
    compiled: Callable[..., object],
) -> None:
    data = builders.edited(
        builders.dense_classifier(classes=3),
        lambda m: m.neuralNetworkClassifier.stringClassLabels.vector.append("one too many"),
    )
    with pytest.raises(ModelError, match="4 labels for 3 classes"):
        compiled(codec.decode(data))


def test_a_model_without_a_network_says_which_kinds_have_one() -> None:
    data = builders.edited(builders.dense_classifier(), lambda m: m.mlProgram.SetInParent())
    with pytest.raises(ModelError, match="mlProgram"):
        compile_inference(codec.decode(data))
