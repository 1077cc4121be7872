"""Every rule finds the model that breaks it, and nothing else wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from builders import dense_classifier, dense_regressor, edited
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author import ImageInput
from shared import shared

if TYPE_CHECKING:
    from collections.abc import Callable


def rules(data: bytes) -> list[str]:
    """Return the names of the broken rules, each once, in the order of the check."""
    return list(dict.fromkeys(reason.rule for reason in check.reasons(codec.decode(data))))


def network(model: pb.Model) -> pb.NeuralNetworkClassifier:
    return model.neuralNetworkClassifier


def sgd(model: pb.Model) -> pb.SGDOptimizer:
    return network(model).updateParams.optimizer.sgdOptimizer


def loss(model: pb.Model) -> pb.CategoricalCrossEntropyLossLayer:
    return network(model).updateParams.lossLayers[0].categoricalCrossEntropyLossLayer


def hidden(model: pb.Model) -> pb.InnerProductLayerParams:
    """Return the first dense layer, [8, 4]."""
    return network(model).layers[0].innerProduct


def assign(message: object, **fields: object) -> None:
    for name, value in fields.items():
        setattr(message, name, value)


def quantize_hidden(model: pb.Model) -> None:
    weights = hidden(model).weights
    assign(weights, floatValue=b"", rawValue=bytes(32))
    weights.quantization.numberOfBits = 8
    assign(
        weights.quantization.linearQuantization, scale=np.float32(1).tobytes(), bias=np.float32(0).tobytes()
    )


def halve_hidden(model: pb.Model) -> None:
    assign(hidden(model).weights, floatValue=b"", float16Value=bytes(64))


def narrow_hidden(model: pb.Model) -> None:
    """Let the first layer take two numbers where the input has four."""
    hidden(model).inputChannels = 2
    hidden(model).weights.floatValue = bytes(4 * 8 * 2)


def use_lstm(model: pb.Model) -> None:
    """Put an LSTM in front, and mark it."""
    front = pb.NeuralNetworkLayer(name="lstm", input=["features"], output=["remembered"], isUpdatable=True)
    front.uniDirectionalLSTM.SetInParent()
    network(model).layers.insert(0, front)
    network(model).layers[1].input[0] = "remembered"


def use_activation(name: str) -> Callable[[pb.Model], None]:
    def change(model: pb.Model) -> None:
        activation = network(model).layers[1].activation
        activation.Clear()
        getattr(activation, name).SetInParent()

    return change


def add_twice(model: pb.Model) -> None:
    """Let two branches meet between the hidden layer and the loss."""
    layer = network(model).layers[1]
    layer.input.append(layer.input[0])
    layer.add.SetInParent()


def unmark_all(model: pb.Model) -> None:
    for layer in network(model).layers:
        layer.isUpdatable = False


def spare(model: pb.Model) -> None:
    """Mark only a layer that the loss does not depend on."""
    aside = network(model).layers.add()
    aside.CopyFrom(network(model).layers[0])
    assign(aside, name="aside")
    aside.output[0] = "aside"
    network(model).layers[0].isUpdatable = network(model).layers[2].isUpdatable = False
    network(model).labelProbabilityLayerName = "labelProbability"


def soften_twice(model: pb.Model) -> None:
    """Feed the loss from a dense layer that follows the softmax."""
    loss(model).input = "output_output"


def drop_exclusive_input(model: pb.Model) -> None:
    target = model.description.trainingInput[1]
    target.CopyFrom(model.description.input[0])
    model.description.input.add().CopyFrom(target)
    model.description.input[1].name = target.name = "more"


def make_target_a_squared_error(model: pb.Model) -> None:
    entry = network(model).updateParams.lossLayers[0]
    entry.meanSquaredErrorLossLayer.input = "labelProbability"
    entry.meanSquaredErrorLossLayer.target = "nobody"
    network(model).layers[0].isUpdatable = network(model).layers[2].isUpdatable = False
    softmax = network(model).layers[3]
    softmax.ClearField("layer")
    softmax.activation.tanh.SetInParent()
    network(model).layers[2].isUpdatable = True


def index_target(model: pb.Model) -> None:
    """Ask for three class indices where one is needed."""
    target = model.description.trainingInput[1]
    assign(target, name="labelProbability_true")
    target.type.multiArrayType.shape.append(3)


def int_label(model: pb.Model) -> None:
    model.description.trainingInput[1].type.int64Type.SetInParent()


def sequence_input(model: pb.Model) -> None:
    """Make the input a sequence, in training, too."""
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        feature.type.sequenceType.SetInParent()


def shapeless(model: pb.Model) -> None:
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        del feature.type.multiArrayType.shape[:]


def epochs(model: pb.Model) -> pb.Int64Parameter:
    return network(model).updateParams.epochs


def epochs_of(default: int, *allowed: int) -> Callable[[pb.Model], None]:
    def change(model: pb.Model) -> None:
        epochs(model).defaultValue = default
        epochs(model).set.values.extend(allowed)

    return change


BROKEN: list[tuple[str, Callable[[pb.Model], object]]] = [
    ("specificationVersion", lambda m: assign(m, specificationVersion=11)),
    ("featureName", lambda m: m.description.output.add().CopyFrom(m.description.output[0])),
    ("featureType", sequence_input),
    ("featureShape", shapeless),
    ("isUpdatable", lambda m: assign(m, isUpdatable=False)),
    ("updatableVersion", lambda m: assign(m, specificationVersion=3)),
    ("modelType", lambda m: m.glmClassifier.SetInParent()),
    ("modelType", lambda m: m.mlProgram.SetInParent()),
    ("modelTypeLater", lambda m: m.kNearestNeighborsClassifier.SetInParent()),
    ("modelTypeLater", lambda m: m.pipelineClassifier.SetInParent()),
    ("blobMadeTwice", lambda m: network(m).layers[0].output.append("features")),
    ("weights", lambda m: assign(hidden(m).weights, floatValue=bytes(4 * 31))),
    ("weights", lambda m: assign(hidden(m).bias, floatValue=b"")),
    ("weights", lambda m: assign(hidden(m).weights, int8RawValue=bytes(32))),
    ("notFinite", lambda m: assign(hidden(m).bias, floatValue=np.full(8, np.nan, "<f4").tobytes())),
    ("notFinite", lambda m: assign(hidden(m).weights, floatValue=np.full(32, np.inf, "<f4").tobytes())),
    ("channels", narrow_hidden),
    ("layerType", use_lstm),
    ("weightsNotMarked", lambda m: assign(hidden(m).bias, isUpdatable=False)),
    ("quantizedWeights", quantize_hidden),
    ("float16", halve_hidden),
    ("nameCollision", lambda m: assign(network(m).updateParams.lossLayers[0], name="hidden")),
    ("lossCount", lambda m: network(m).updateParams.lossLayers.pop()),
    ("lossType", lambda m: network(m).updateParams.lossLayers[0].ClearField("LossLayerType")),
    ("lossTarget", lambda m: assign(loss(m), target="hidden_output")),
    ("labels", lambda m: network(m).stringClassLabels.vector.append("d")),
    ("labels", lambda m: network(m).ClearField("ClassLabels")),
    ("labels", lambda m: network(m).stringClassLabels.vector.__setitem__(1, "a")),
    ("optimizer", lambda m: network(m).updateParams.ClearField("optimizer")),
    ("parameterMissing", lambda m: sgd(m).ClearField("learningRate")),
    ("parameterMissing", lambda m: sgd(m).ClearField("miniBatchSize")),
    ("parameterMissing", lambda m: network(m).updateParams.ClearField("epochs")),
    ("parameterValue", lambda m: assign(sgd(m).learningRate, defaultValue=1.5)),
    ("parameterValue", lambda m: assign(sgd(m).learningRate, defaultValue=float("nan"))),
    ("parameterValue", lambda m: assign(sgd(m).momentum, defaultValue=7.5)),
    ("parameterValue", lambda m: assign(sgd(m).miniBatchSize.range, minValue=0)),
    ("parameterValue", epochs_of(4, 5, 10)),
    ("parameterValue", epochs_of(4, 4, -1)),  # Apple's validator stops at the default
    ("parameterValue", epochs_of(0, 0)),
    ("backpropagation", use_activation("leakyReLU")),
    ("lossNotReached", spare),
    ("trainingInputs", lambda m: m.description.trainingInput.pop(1)),
    ("trainingInputs", lambda m: m.description.trainingInput.pop(0)),
    ("trainingInputs", drop_exclusive_input),
    ("trainingInputs", lambda m: assign(m.description.trainingInput[1], name="somethingElse")),
    ("trainingInputs", int_label),
    ("trainingInputs", index_target),
    ("trainingInputs", make_target_a_squared_error),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "change"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)]
)
def test_a_broken_rule_is_found_and_no_other(rule: str, change: Callable[[pb.Model], object]) -> None:
    assert rules(edited(dense_classifier(), change)) == [rule]


# What cannot be broken alone.
ENTANGLED: list[tuple[set[str], Callable[[pb.Model], object]]] = [
    ({"blobMissing"}, lambda m: network(m).layers[0].input.__setitem__(0, "nowhere")),
    ({"noUpdatableLayer"}, unmark_all),
    ({"lossInput"}, soften_twice),
    ({"backpropagation"}, add_twice),
]


@pytest.mark.parametrize(("expected", "change"), ENTANGLED, ids=["-".join(sorted(e)) for e, _ in ENTANGLED])
def test_a_rule_is_found_among_its_consequences(
    expected: set[str], change: Callable[[pb.Model], object]
) -> None:
    assert expected <= set(rules(edited(dense_classifier(), change)))


@pytest.mark.parametrize("data", [
    dense_classifier(),
    dense_classifier(optimizer="adamOptimizer", hidden=0, labels=[3, 1, 2]),
    dense_classifier(image=ImageInput(width=4, height=3), activation="sigmoid"),
    dense_regressor(outputs=2),
    edited(dense_classifier(), lambda m: sgd(m).ClearField("momentum")),
    edited(dense_classifier(train_hidden=False), use_activation("leakyReLU")),
    edited(dense_classifier(), lambda m: m.description.trainingInput.add(name="an extra one")),
])  # fmt: skip
def test_a_sound_model_has_no_reason_against_it(data: bytes) -> None:
    assert check.reasons(codec.decode(data)) == ()


def test_all_reasons_are_told_with_layer_and_remedy() -> None:
    def spoil(model: pb.Model) -> None:
        halve_hidden(model)
        assign(sgd(model).momentum, defaultValue=7.5)
        network(model).updateParams.lossLayers.pop()

    found = check.reasons(codec.decode(edited(dense_classifier(), spoil)))
    assert [(reason.rule, reason.layer) for reason in found] == [
        ("float16", "hidden"),
        ("lossCount", ""),
        ("parameterValue", ""),
    ]
    assert (
        "the default value (7.5) is out of the allowed value range 0.0 to 1.0 for momentum"
        in found[2].message
    )
    assert all(reason.remedy for reason in found)


def test_update_data_of_an_unmarked_model_is_judged_too() -> None:
    def spoil(model: pb.Model) -> None:
        model.isUpdatable = False
        network(model).updateParams.lossLayers.pop()

    assert rules(edited(dense_classifier(), spoil)) == ["isUpdatable", "lossCount"]


def test_a_regressor_needs_a_target_as_wide_as_its_output() -> None:
    widened = edited(
        dense_regressor(), lambda m: m.description.trainingInput[1].type.multiArrayType.shape.append(3)
    )
    assert rules(widened) == ["trainingInputs"]


EXPECTED = {
    "mlupdatetask_line/untrained.mlmodel": [],
    "thirdparty_updatable/mangiavacchi_house_trainable.mlmodel": [],
    "thirdparty_updatable/denissimon_s4tf_updatable_model.mlmodel": [],
    "updatable_built/Hands_MobileNetV1_025_updatable.mlmodel": [],
    "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel": [],
    "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel": [],
    "updatable_built/HandskNN_MobileNetV2_int8_updatable.mlmodel": ["modelTypeLater"],
    "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel": ["modelTypeLater"],
    "thirdparty_updatable/postal_UpdatableKNN.mlmodel": ["modelTypeLater"],
    "imagenet_backbone/MobileNetV1_0.25_128.mlmodel": ["isUpdatable"],
    "imagenet_backbone/MobileNetV2_1.0_224_int8.mlmodel": ["isUpdatable"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_models_are_judged_as_they_are(name: str) -> None:
    assert rules(shared(name).read_bytes()) == EXPECTED[name]
