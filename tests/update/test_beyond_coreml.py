"""Whole updates beyond Core ML: what comes out, what is told, and that the default is untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import builders
import networks as n
import reference
import regions
from finetuned.errors import ModelError, ParameterError, SampleError
from finetuned.graph.program import FEATURES, GRADIENT, LOSS, SAMPLE_WEIGHTS
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.metadata import BEYOND_COREML
from finetuned.spec.model import Convolution
from finetuned.spec.rules.departures import REFUSED
from finetuned.update import checkpoint
from finetuned.update.events import ProgressHandlers
from finetuned.update.features import encoded, one_hot
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from finetuned.update.session import Session
from finetuned.update.task import UpdateTask
from shared import shared

if TYPE_CHECKING:
    from finetuned.spec.model import Model

WEIGHTS = {"label": 2.0, "boxLoss": 0.5}
"""By a target's name, and by a loss's."""
BY_LOSS = {"labelLoss": 2.0, "boxLoss": 0.5}
ASKED: dict[str, Any] = {"learningRate": 0.05, "epochs": 4, "miniBatchSize": 4, "shuffle": False}
SAMPLES = 10


def run(message: pb.Model, weights: dict[str, float] | None = None) -> NetworkUpdate:
    """Train ten samples in four epochs of three mini-batches, the last partial."""
    chosen = regions.update(message, weights, **ASKED)
    for _ in chosen.steps(regions.prepared(chosen, message, SAMPLES)):
        pass
    return chosen


def run_in_pytorch(message: pb.Model, weights: dict[str, float], dtype: str) -> dict[str, Any]:
    """Do the same training, gradients by PyTorch; return the weights."""
    current = pb.Model()
    current.CopyFrom(message)
    data = regions.samples(message, SAMPLES)
    for start in [0, 4, 8] * ASKED["epochs"]:
        part = {name: array[start : start + 4] for name, array in data.items()}
        moves = regions.gradients(current, part, weights, dtype)
        for layer in current.neuralNetwork.layers:
            for name, key in (("weights", "weights"), ("biases", "bias")):
                if (move := moves.get(f"{layer.name}.{name}")) is not None:
                    params = getattr(getattr(layer, layer.WhichOneof("layer") or ""), key)
                    left = reference.floats(params) - ASKED["learningRate"] * move.ravel()
                    n.fill(params, left, updatable=True)
    return reference.stored(layer for layer in current.neuralNetwork.layers if layer.isUpdatable)


@pytest.mark.parametrize(("name", "weights"), [("residual", {}), ("label_and_box", BY_LOSS)])
def test_a_whole_run_ends_where_one_with_gradients_in_float64_does(
    name: str, weights: dict[str, float]
) -> None:
    message = regions.NETWORKS[name]()
    wanted = run_in_pytorch(message, weights, "float64")
    found = pb.Model.FromString(run(message, weights).encode()).neuralNetwork.layers
    for key, array in reference.stored(layer for layer in found if layer.isUpdatable).items():
        np.testing.assert_allclose(array, wanted[key], rtol=0, atol=2e-6, err_msg=key)


def test_what_is_saved_warns_and_every_other_byte_but_the_weights_stays() -> None:
    message = regions.label_and_box()
    message.description.metadata.userDefined["made by"] = "hand"
    data = message.SerializeToString(deterministic=True)
    found = pb.Model.FromString(run(message, WEIGHTS).encode())
    said = found.description.metadata.userDefined.pop(BEYOND_COREML)
    assert said.startswith(REFUSED)
    assert "2 losses ('labelLoss', 'boxLoss')" in said
    for layer, before in zip(found.neuralNetwork.layers, message.neuralNetwork.layers, strict=True):
        if layer.isUpdatable:
            assert layer != before
            layer.CopyFrom(before)
    assert found.SerializeToString(deterministic=True) == data


def test_what_is_saved_can_be_trained_again_and_warns_once() -> None:
    message = regions.residual()
    once = run(message).encode()
    again = run(pb.Model.FromString(once)).encode()
    assert len(again) == len(once)
    assert "the layer 'l3' (add)" in codec.decode(again).description.metadata[BEYOND_COREML]
    assert check.reasons(codec.decode(again), beyond_coreml=True) == ()


# ── the default ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", [name for name in regions.NETWORKS if name != "frozen_between"])
def test_the_default_refuses_each_by_name_and_tells_the_way_out(name: str) -> None:
    model = n.decoded(regions.NETWORKS[name]())
    blocker = {"label_and_box": "2 loss layers", "chained": "'l11', reshape"}.get(
        name, "(add|concat|multiply)"
    )
    with pytest.raises(ModelError, match=f"{blocker}.*--beyond-coreml"):
        NetworkUpdate(model, resolve(update_of(model), {}, seed=0))


def test_the_way_out_is_not_told_where_there_is_none() -> None:
    message = regions.residual()
    message.neuralNetwork.updateParams.ClearField("epochs")
    with pytest.raises(ModelError, match="epochs") as refused:
        NetworkUpdate(n.decoded(message), {"learningRate": 0.1, "miniBatchSize": 4, "shuffle": False})
    assert "beyond" not in str(refused.value)


def test_within_core_ml_the_flag_changes_no_byte_and_nothing_is_warned_of() -> None:
    model = codec.decode(builders.dense_classifier(optimizer="adamOptimizer"))
    force = resolve(update_of(model), {"epochs": 3, "seed": 5}, seed=0)
    data = {"features": n.numbers(7, 4), "label": list("abcabca")}
    results, identities = [], []
    for beyond in (False, True):
        chosen = NetworkUpdate(model, force, beyond_coreml=beyond)
        samples = encoded(chosen, data)
        identities.append(chosen.identity(samples))
        list(chosen.steps(samples))
        results.append(chosen.encode())
        assert chosen.departures == ()
    assert results[0] == results[1]
    assert identities[0] == identities[1]
    assert len(results[0]) == len(model.data)


# ── weights ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"shape": 1}, "'labelLoss' .target 'label'., 'boxLoss' .target 'box'."),
        ({"box": 0}, "finite number above 0"),
        ({"box": -1}, "finite number above 0"),
        ({"box": "nan"}, "finite number above 0"),
        ({"box": "much"}, "'much'"),
        ({"box": 1e39}, "finite number above 0"),
        ({"box": 1e-50}, "finite number above 0"),
        ({"box": 1, "boxLoss": 2}, "given two weights"),
    ],
)
def test_a_weight_that_is_none_is_refused_with_what_there_is(asked: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        regions.update(regions.label_and_box(), asked)


def test_a_target_that_two_losses_share_names_neither() -> None:
    message = regions.label_and_box()
    message.neuralNetwork.layers[4].CopyFrom(message.neuralNetwork.layers[2])
    message.neuralNetwork.layers[4].name, message.neuralNetwork.layers[4].output[:] = "l4", ["l4"]
    softmax = message.neuralNetwork.layers.add(name="l5", input=["l4"], output=["l5"])
    softmax.softmax.SetInParent()
    auxiliary = message.neuralNetwork.updateParams.lossLayers[1].categoricalCrossEntropyLossLayer
    auxiliary.input, auxiliary.target = "l5", "label"
    del message.description.trainingInput[2]
    with pytest.raises(ParameterError, match="there are 2 losses 'label'"):
        regions.update(message, {"label": 2})
    chosen = regions.update(message, {"boxLoss": 0.3})
    assert regions.prepared(chosen, message, 4).targets.shape == (4, 6)


def test_one_loss_takes_no_weight() -> None:
    with pytest.raises(ParameterError, match="learningRate"):
        regions.update(regions.residual(), {"loss": 2})


def test_a_checkpoint_of_other_weights_is_foreign() -> None:
    message = regions.label_and_box()
    identities = []
    for weights in (None, {"box": 2}, {"box": "2.0"}):
        chosen = regions.update(message, weights, **ASKED)
        identities.append(chosen.identity(regions.prepared(chosen, message, SAMPLES)))
    assert identities[0] != identities[1]
    assert identities[1] == identities[2]


# ── a task ──────────────────────────────────────────────────────────────────────────────────────
def test_a_task_trains_label_and_box_and_ends_in_the_same_bytes_after_a_resume() -> None:
    message = regions.label_and_box()
    data, samples = message.SerializeToString(), regions.samples(message, SAMPLES)
    options: dict[str, Any] = {"beyond_coreml": True, "loss_weights": WEIGHTS, "parameters": ASKED}

    def task(**more: Any) -> UpdateTask:  # noqa: ANN401 - those of a task
        return UpdateTask(data, samples, **options, **more)

    whole = task()
    whole.resume()
    begun = task(handlers=ProgressHandlers(progress=lambda context: context.task.suspend()))
    for _ in range(3):
        begun.resume()
    resumed = task(resume_from=begun.checkpoint())
    resumed.resume()
    assert resumed.model.encode() == whole.model.encode() == run(message, WEIGHTS).encode()
    measure = whole.model.evaluate(samples)
    assert measure.accuracy is not None
    assert measure.error is not None


def test_a_model_with_labels_and_a_box_takes_its_label_by_name() -> None:
    message = regions.label_and_box()
    data = classifier_with_box(message)
    samples = regions.samples(message, SAMPLES)
    named = {
        **samples,
        "label": ["red" if c == 0 else "green" if c == 1 else "blue" for c in samples["label"]],
    }
    task = UpdateTask(data, named, beyond_coreml=True, parameters=ASKED)
    task.resume()
    layers = pb.Model.FromString(task.model.encode()).neuralNetworkClassifier.layers
    plain = pb.Model.FromString(run(message).encode()).neuralNetwork.layers
    assert list(layers) == list(plain)


def classifier_with_box(message: pb.Model) -> bytes:
    """Return the same network as a classifier of red, green and blue."""
    found = pb.Model()
    found.CopyFrom(message)
    plain = message.neuralNetwork
    classifier = found.neuralNetworkClassifier
    classifier.layers.extend(plain.layers)
    classifier.updateParams.CopyFrom(plain.updateParams)
    classifier.updateParams.lossLayers[0].categoricalCrossEntropyLossLayer.target = "label_true"
    classifier.stringClassLabels.vector[:] = ["red", "green", "blue"]
    classifier.labelProbabilityLayerName = "l3"
    description = found.description
    del description.output[:]
    for name in ("label", "l3"):
        description.output.add(name=name)
    description.output[0].type.stringType.SetInParent()
    description.output[1].type.dictionaryType.stringKeyType.SetInParent()
    description.predictedFeatureName, description.predictedProbabilitiesName = "label", "l3"
    description.trainingInput[1].type.stringType.SetInParent()
    return found.SerializeToString()


def test_a_target_that_is_missing_is_named() -> None:
    message = regions.label_and_box()
    samples = regions.samples(message, SAMPLES)
    for missing in ("label", "box"):
        rest = {name: array for name, array in samples.items() if name != missing}
        with pytest.raises(SampleError, match=f"the target '{missing}' is missing"):
            encoded(regions.update(message), rest)


def test_targets_of_different_numbers_of_samples_are_told() -> None:
    message = regions.label_and_box()
    samples = regions.samples(message, SAMPLES)
    with pytest.raises(SampleError, match="'label': 9, 'box': 10"):
        encoded(regions.update(message), {**samples, "label": samples["label"][:9]})


def test_a_snapshot_of_several_losses_comes_back() -> None:
    message = regions.label_and_box()
    chosen = run(message, WEIGHTS)
    data = regions.prepared(chosen, message, SAMPLES)
    kept = checkpoint.encode(chosen.snapshot(), chosen.identity(data))
    fresh = regions.update(message, WEIGHTS, **ASKED)
    fresh.restore(checkpoint.decode(kept, fresh.identity(data)))
    assert fresh.encode() == chosen.encode()


# ── somebody else's network ─────────────────────────────────────────────────────────────────────
def unfrozen(name: str, count: int) -> Model:
    """Return a model of the shared data whose last `count` convolutions, and its dense layer, are trained, as float32."""
    message = pb.Model.FromString(shared(name).read_bytes())
    known = codec.decode(message.SerializeToString()).network
    assert known is not None
    layers = message.neuralNetworkClassifier.layers
    convolutions = [number for number, layer in enumerate(layers) if layer.HasField("convolution")]
    for number in convolutions[-count:]:
        params, parameters = layers[number].convolution, known.layers[number].parameters
        assert isinstance(parameters, Convolution)
        assert parameters.bias is not None
        weights = codec.array(parameters.weights, codec.weight_shape(parameters))
        bias = codec.array(parameters.bias, (parameters.output_channels,))
        for message_of, array in ((params.weights, weights), (params.bias, bias)):
            message_of.Clear()
            n.fill(message_of, array, updatable=True)
        layers[number].isUpdatable = True
    return n.decoded(message)


def test_a_mobilenet_trains_through_its_residual_its_depthwise_convolutions_and_its_relu6() -> None:
    model = unfrozen("updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel", 6)
    said = [reason.layer for reason in check.departures(model)]
    assert {"add_57", "conv_58_out_relu6", "dw_59_out_relu6"} <= set(said)
    chosen = NetworkUpdate(model, resolve(update_of(model), {}, seed=0), beyond_coreml=True)
    # A depthwise convolution reads the one, and what is added behind it is the other.
    assert chosen.training.cut.blobs == ("conv_54_out", "add_53_out")
    blocks = np.random.default_rng(0).integers(0, 256, (4, 3, 14, 14), np.uint8)
    pictures = blocks.repeat(16, axis=2).repeat(16, axis=3)
    names = [str(label) for label in model.network.class_labels] if model.network else []
    data = encoded(chosen, {"image": pictures, "classLabel": [names[i % 3] for i in range(4)]})
    feeds: dict[str, Any] = {
        FEATURES: data.features[:],
        "target": one_hot(data.targets[:], chosen.training.target_shape),
        SAMPLE_WEIGHTS: np.full(4, 0.25, np.float32),
    }
    for name, each in chosen.weights().items():
        feeds |= {f"{name}.weights": each.weights, f"{name}.biases": each.bias}
    session = Session(chosen.training.step)
    results = session.run(feeds)
    gradients = {name: results[f"{GRADIENT}{name}"] for name in chosen.training.parameters}
    norm = np.sqrt(sum(float(np.square(each, dtype=np.float64).sum()) for each in gradients.values()))

    def loss(way: float) -> float:
        moved = {name: feeds[name] + np.float32(way / norm) * each for name, each in gradients.items()}
        return float(session.run({**feeds, **moved})[LOSS][0])

    # Along its own gradient the loss grows by the gradient's norm.
    assert (loss(1e-3) - loss(-1e-3)) / 2e-3 == pytest.approx(norm, rel=0.01)
