"""A plain network made updatable: against what coremltools' builder writes, and what `check` says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import more_models as more
import networks as n
from builders import edited
from finetuned.errors import ModelError, ParameterError
from finetuned.parameters import Parameter
from finetuned.spec import author, check, codec
from finetuned.spec import coreml_pb2 as pb
from shared import oracle, shared

if TYPE_CHECKING:
    from finetuned.spec.model import Model

LAST = author.Marked(last=1)


def classifier(*layers: pb.NeuralNetworkLayer, labels: str = "abc") -> bytes:
    """Return a plain classifier of `x` [4], as a converter writes it."""
    message = n.network(layers or [n.dense(5, 4), n.activation("ReLU"), n.dense(3, 5), n.softmax()], (4,))
    network, blob = message.neuralNetwork, message.description.output[0].name
    kept = list(network.layers)
    message.neuralNetworkClassifier.layers.extend(kept)
    message.neuralNetworkClassifier.stringClassLabels.vector.extend(labels)
    message.neuralNetworkClassifier.labelProbabilityLayerName = blob
    description = message.description
    description.ClearField("output")
    description.output.add(name=blob).type.dictionaryType.stringKeyType.SetInParent()
    description.output.add(name="classLabel").type.stringType.SetInParent()
    description.predictedFeatureName, description.predictedProbabilitiesName = "classLabel", blob
    return message.SerializeToString()


def trained(data: bytes) -> list[str]:
    model = codec.decode(data)
    assert check.reasons(model) == ()
    return [layer.name for layer in network_of(model).layers if layer.updatable]


def network_of(model: Model) -> Any:  # noqa: ANN401 - there, in these tests
    assert model.network is not None
    return model.network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_classifier_becomes_what_coremltools_builder_makes_of_it(optimizer: str) -> None:
    builders = oracle("coremltools.models.neural_network.builder")
    params = oracle("coremltools.models.neural_network.update_optimizer_utils")
    plain = classifier()
    theirs = builders.NeuralNetworkBuilder(spec=oracle("coremltools.proto.Model_pb2").Model.FromString(plain))
    theirs.make_updatable(["l2"])
    theirs.set_categorical_cross_entropy_loss(name="lossLayer", input="l3")
    if optimizer == "sgd":
        theirs.set_sgd_optimizer(params.SgdParams(lr=0.01, batch=8, momentum=0))
    else:
        theirs.set_adam_optimizer(params.AdamParams(lr=0.01, batch=8))
    theirs.set_epochs(10)
    # Sets of one element are all that differs.
    ours = author.updatable(
        plain, LAST, optimizer=optimizer, parameters={"miniBatchSize": Parameter(default=8, allowed=(8,)),
                                                      "epochs": Parameter(default=10, allowed=(10,))}
    )  # fmt: skip
    assert ours == theirs.spec.SerializeToString(deterministic=True)


def test_a_run_may_choose_from_ranges_and_sets() -> None:
    asked = {name: author.setting(name, text) for name, text in {
        "learningRate": "0.05:0:0.5", "epochs": "5{1,5,20}", "momentum": "0.9", "shuffle": "no", "seed": "7",
    }.items()}  # fmt: skip
    found = network_of(codec.decode(author.updatable(classifier(), LAST, parameters=asked))).update.parameters
    assert found["learningRate"] == Parameter(default=0.05, minimum=0, maximum=0.5)
    assert found["epochs"] == Parameter(default=5, allowed=(1, 5, 20))
    assert found["momentum"] == Parameter(
        default=0.9, minimum=0, maximum=1
    )  # a new default, the range as it was
    assert (found["shuffle"].default, found["seed"].default) == (False, 7)
    assert found["miniBatchSize"] == Parameter(default=8, minimum=1, maximum=1024)


@pytest.mark.parametrize(("name", "text", "complaint"), [
    ("learningRate", "fast", "'fast' is not a finite number"),
    ("learningRate", "0.1{0.1,0.2}", "not a whole number"),
    ("learningRate", "0.1{1,2}", "the format has no sets"),
    ("learningRate", "2:0:1", "out of the allowed value range"),
    ("epochs", "5:1", "is not DEFAULT, DEFAULT:MIN:MAX or DEFAULT{a,b,c}"),
    ("epochs", "2.5", "not a whole number"),
    ("epochs", "5{1,2}", "not found in the allowed values set"),
    ("miniBatchSize", "0:0:8", "not allowed"),
    ("shuffle", "3", "true or false"),
    ("beta1", "0.9", "it has learningRate, miniBatchSize, momentum, epochs, shuffle, seed"),
    ("learningRate", "nan", "finite"),
])  # fmt: skip
def test_a_wrong_parameter_is_refused_with_what_is_allowed(name: str, text: str, complaint: str) -> None:
    with pytest.raises((ParameterError, ModelError), match=complaint):
        author.updatable(classifier(), LAST, parameters={name: author.setting(name, text)})


# ── which layers ────────────────────────────────────────────────────────────────────────────────
DEEP = (n.convolution(2, 1, kernel=(1, 1)), n.activation("leakyReLU"), n.flatten(), n.dense(6, 8), n.activation("tanh"), n.dense(3, 6), n.softmax())  # fmt: skip


def deep() -> bytes:
    layers = [pb.NeuralNetworkLayer.FromString(layer.SerializeToString()) for layer in DEEP]
    data = classifier(*layers)
    return edited(
        data, lambda m: m.description.input[0].type.multiArrayType.shape.__setitem__(slice(None), [1, 2, 2])
    )


def test_everything_is_what_a_gradient_reaches() -> None:
    assert trained(author.updatable(deep(), author.Marked(everything=True))) == ["l3", "l5"]
    beyond = author.updatable(deep(), author.Marked(everything=True), beyond_coreml=True)
    assert [layer.name for layer in network_of(codec.decode(beyond)).layers if layer.updatable] == [
        "l0",
        "l3",
        "l5",
    ]


def test_layers_are_chosen_by_name_or_as_the_last_few_and_a_second_choice_replaces_the_first() -> None:
    both = author.updatable(deep(), author.Marked(last=2))
    assert trained(both) == ["l3", "l5"]
    assert trained(author.updatable(both, author.Marked(layers=["l5"]))) == ["l5"]


@pytest.mark.parametrize(("marked", "complaint"), [
    (author.Marked(layers=["l0"]), r"a layer \('l1', leakyReLU\), which does not support backpropagation"),
    (author.Marked(layers=["l1"]), r"the layer 'l1' \(activation\) cannot be trained; .* 'l5', 'l3', 'l0'"),
    (author.Marked(layers=["head"]), "no layer 'head'"),
    (author.Marked(last=3), "has 2 fully connected layers; the last 3 cannot be marked, 1 to 2 can"),
    (author.Marked(), "say which layers are trained"),
    (author.Marked(last=1, everything=True), "say which layers are trained"),
])  # fmt: skip
def test_layers_that_cannot_be_trained_are_refused_by_name(marked: author.Marked, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        author.updatable(deep(), marked)


def test_of_one_layer_it_is_spoken_in_the_singular() -> None:
    with pytest.raises(ModelError, match="has 1 fully connected layer; the last 2 cannot be marked, 1 can"):
        author.updatable(classifier(n.dense(3, 4), n.softmax()), author.Marked(last=2))


# ── the loss ────────────────────────────────────────────────────────────────────────────────────
def losses(data: bytes) -> Any:  # noqa: ANN401 - a message of either loss
    (loss,) = network_of(codec.decode(data)).update.losses
    return loss


def test_a_plain_network_gets_the_loss_that_fits_its_output() -> None:
    plain = n.network([n.dense(3, 4)], (4,))
    squared = author.updatable(plain.SerializeToString(), LAST)
    assert (losses(squared).kind, losses(squared).target) == ("meanSquaredErrorLossLayer", "l0_true")
    assert codec.decode(squared).description.training_inputs[-1].type.shape == (3,)  # type: ignore[union-attr]  # an array's
    entropy = author.updatable(n.network([n.dense(3, 4), n.softmax()], (4,)).SerializeToString(), LAST)
    assert losses(entropy).kind == "categoricalCrossEntropyLossLayer"
    target = codec.decode(entropy).description.training_inputs[-1]
    assert (target.name, target.type.shape, target.type.dtype) == ("l1_true", (1,), "INT32")  # type: ignore[union-attr]


def test_a_classifier_without_a_softmax_is_refused_unless_one_is_asked_for() -> None:
    logits = classifier(n.dense(3, 4))
    with pytest.raises(ModelError, match=r"made by 'l0' \(innerProduct\), and cross entropy needs a softmax"):
        author.updatable(logits, LAST)
    data = author.updatable(logits, LAST, softmax=True)
    assert trained(data) == ["l0"]
    assert network_of(codec.decode(data)).probability_layer == "l0"  # an app finds its output where it was


def test_a_softmax_behind_which_only_shapes_change_is_not_put_in_twice() -> None:
    plain = classifier(n.dense(3, 4), n.softmax(), n.flatten())
    asked = author.updatable(plain, LAST, softmax=True)
    assert asked == author.updatable(plain, LAST)
    assert losses(asked).input == "l1"


def test_an_older_file_is_raised_to_the_version_that_can_be_updated_and_a_newer_one_is_left() -> None:
    for given, expected in ((1, 4), (5, 5)):
        data = edited(classifier(), lambda m, given=given: setattr(m, "specificationVersion", given))  # type: ignore[misc]
        assert codec.decode(author.updatable(data, LAST)).specification_version == expected


def test_what_is_no_network_is_refused() -> None:
    pipeline = more.pipeline(more.front(), more.neighbors())
    with pytest.raises(ModelError, match="a pipelineClassifier has no layers of its own"):
        author.updatable(pipeline.SerializeToString(), LAST)
    with pytest.raises(ModelError, match="cannot be changed, for it cannot be run"):
        author.updatable(n.network([n.dense(2, 3)], (2,)).SerializeToString(), LAST)


# ── weights ─────────────────────────────────────────────────────────────────────────────────────
def test_float16_weights_become_float32_everywhere_and_lose_nothing() -> None:
    def halve(message: pb.Model) -> None:
        for layer in message.neuralNetworkClassifier.layers:
            for weights in (
                (layer.innerProduct.weights, layer.innerProduct.bias)
                if layer.HasField("innerProduct")
                else ()
            ):
                weights.float16Value = np.frombuffer(weights.floatValue, "<f4").astype("<f2").tobytes()
                weights.floatValue = b""

    halves = edited(classifier(), halve)
    before, after = (
        network_of(codec.decode(each)).layers for each in (halves, author.updatable(halves, LAST))
    )
    for old, new in zip(before, after, strict=True):
        if old.type == "innerProduct":
            shape = codec.weight_shape(old.parameters)
            assert new.parameters.weights.encodings == ("floatValue",)
            np.testing.assert_array_equal(
                codec.array(old.parameters.weights, shape), codec.array(new.parameters.weights, shape)
            )


def test_a_quantised_backbone_gets_a_head_of_the_very_numbers_that_its_codes_stood_for() -> None:
    plain = (shared("imagenet_backbone") / "MobileNetV1_0.25_128_int8.mlmodel").read_bytes()
    data = author.updatable(plain, LAST)
    assert trained(data) == ["logits"]
    old, new = (network_of(codec.decode(each)).layers[-2].parameters for each in (plain, data))
    np.testing.assert_array_equal(
        codec.array(old.weights, (1001, 256)), codec.array(new.weights, (1001, 256))
    )
    assert (old.weights.encodings, new.weights.encodings) == (("rawValue",), ("floatValue",))
    with pytest.raises(ModelError, match=r"a layer \('conv_26_out_relu6', clip\), which does not support"):
        author.updatable(plain, author.Marked(layers=["conv_26"]))
