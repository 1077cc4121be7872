"""What is told of a model: other people's updatable files one by one, and ours; LeNet also against PyTorch."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builders import dense_classifier, dense_regressor, edited
from finetuned.service.describe import describe
from finetuned.service.messages import FeatureInfo, InputSpec, LayerInfo, ParameterInfo
from finetuned.spec import codec
from finetuned.spec.model import Convolution, InnerProduct
from finetuned.update.predictor import Predictor
from shared import oracle, shared

if TYPE_CHECKING:
    from finetuned.spec.model import Model

LENET = "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel"


def loaded(name: str) -> Model:
    return codec.decode(shared(name).read_bytes())


# ── other people's ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "want", "target"),
    [
        ("mlupdatetask_line/untrained", InputSpec(name="dense_input", shape=(1,)), "output_true"),
        (
            "updatable_built/Hands_MobileNetV1_025_updatable",
            InputSpec(name="image", shape=(3, 128, 128), color="RGB"),
            "classLabel",
        ),
        (
            "updatable_built/Hands_MobileNetV2_int8_updatable",
            InputSpec(name="image", shape=(3, 224, 224), color="RGB"),
            "classLabel",
        ),
    ],
)
def test_an_updatable_model_is_described_with_all_that_a_task_needs(
    name: str, want: InputSpec, target: str
) -> None:
    info = describe(loaded(f"{name}.mlmodel"))
    assert (info.updatable, info.reasons, info.target) == (True, (), target)
    assert info.sample_inputs == (want,)
    hands = target == "classLabel"
    assert [each.name for each in info.layers if each.trainable] == ["logits" if hands else "dense_1"]
    assert info.class_labels[:3] == (("✊", "✋", "✌️") if hands else ())
    rate, sizes = (0.01, (1, 2, 8, 16)) if hands else (0.03, (1,))
    assert info.parameters["learningRate"] == ParameterInfo(default=rate, range=(0.0, 1.0))
    assert info.parameters["miniBatchSize"].set == sizes


@pytest.mark.parametrize(
    ("name", "want", "kind", "target", "neighbors"),
    [
        (
            "apple_updatable_drawing/UpdatableDrawingClassifier",
            InputSpec(name="drawing", shape=(1, 28, 28), color="GRAYSCALE"),
            "string",
            "label",
            ParameterInfo(default=5, range=(1, 1000)),
        ),
        (
            "thirdparty_updatable/arrival_UpdatableKNN",
            InputSpec(name="input", shape=(3,)),
            "string",
            "output",
            ParameterInfo(default=5, range=(1, 1000)),
        ),
    ],
)
def test_nearest_neighbours_bare_or_in_a_pipeline_take_new_labels(
    name: str, want: InputSpec, kind: str, target: str, neighbors: ParameterInfo
) -> None:
    info = describe(loaded(f"{name}.mlmodel"))
    assert (info.updatable, info.reasons, info.target) == (True, (), target)
    assert (info.open_labels, info.label_kind, info.class_labels, info.samples) == (True, kind, (), 0)
    assert info.sample_inputs == (want,)
    assert info.parameters == {"numberOfNeighbors": neighbors}
    assert [row.name for row in info.layers[:1]] == ["model0.conv2d_4"] * (len(info.models) > 0)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("thirdparty_updatable/denissimon_s4tf_pre_trained_model.mlmodel", ["not marked as updatable"]),
        ("apple_updatable_drawing/TinyDrawingEmbedding.mlmodel", ["not marked as updatable"]),
    ],
)
def test_a_model_that_cannot_be_trained_says_every_reason(name: str, reasons: list[str]) -> None:
    info = describe(loaded(name))
    assert (info.updatable, info.target) == (False, "")
    assert len(info.reasons) == len(reasons)
    for reason, words in zip(info.reasons, reasons, strict=True):
        assert words in reason
    assert info.inputs, "what can be told of it is told all the same"


# ── ours ────────────────────────────────────────────────────────────────────────────────────────
def test_a_small_classifier_in_full() -> None:
    info = describe(codec.decode(dense_classifier(train_hidden=False)))
    vector = FeatureInfo(name="features", type="multiArray 4 DOUBLE", shape=(4,))
    assert (info.updatable, info.kind, info.reasons) == (True, "neuralNetworkClassifier", ())
    assert info.inputs == (vector,)
    assert info.training_inputs == (vector, FeatureInfo(name="label", type="string"))
    assert info.layers == (
        LayerInfo(name="hidden", type="innerProduct", trainable=False, parameters=4 * 8 + 8),
        LayerInfo(name="activation", type="activation", trainable=False, parameters=0),
        LayerInfo(name="output", type="innerProduct", trainable=True, parameters=8 * 3 + 3),
        LayerInfo(name="softmax", type="softmax", trainable=False, parameters=0),
    )
    assert (info.optimizer, info.target, info.class_labels) == ("sgdOptimizer", "label", ("a", "b", "c"))
    assert info.sample_inputs == (InputSpec(name="features", shape=(4,)),)
    assert [feature.type for feature in info.outputs] == ["dictionary string → double", "string"]
    assert [loss["type"] for loss in info.losses] == ["categoricalCrossEntropyLossLayer"]


def test_a_regressor_has_no_labels_and_a_target_of_its_own() -> None:
    info = describe(codec.decode(dense_regressor(outputs=2)))
    assert (info.updatable, info.class_labels) == (True, ())
    assert info.target in {feature.name for feature in info.training_inputs}


def test_a_model_whose_rules_are_kept_but_which_cannot_be_compiled_is_told_now_and_not_by_the_first_task() -> (
    None
):
    def spoil(message: Any) -> None:  # noqa: ANN401 - a protobuf message
        message.neuralNetworkClassifier.layers[0].gru.SetInParent()

    info = describe(codec.decode(edited(dense_classifier(train_hidden=False), spoil)))
    assert not info.updatable
    assert len(info.reasons) == 1
    assert "'hidden'" in info.reasons[0]


# ── LeNet ───────────────────────────────────────────────────────────────────────────────────────
def digits(count: int) -> Any:  # noqa: ANN401 - an array
    """Return MNIST test digits as the model takes them, float32 [N, 1, 28, 28] from 0 to 1."""
    data = gzip.decompress(shared("mnist_t10k/t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(data, np.uint8, offset=16)[: count * 784].reshape(count, 1, 28, 28)
    return pixels.astype(np.float32) / 255


def test_lenet_computes_what_pytorch_computes() -> None:
    torch = oracle("torch")
    model, x = loaded(LENET), digits(16)
    assert model.network is not None
    weights = {}
    for layer in model.network.layers:
        p = layer.parameters
        if isinstance(p, (Convolution, InnerProduct)):
            assert p.bias is not None
            shape = (
                (p.output_channels, p.kernel_channels, *p.kernel)
                if isinstance(p, Convolution)
                else (p.output_channels, p.input_channels)
            )
            pair = codec.array(p.weights, shape), codec.array(p.bias, shape[:1])
            weights[layer.name] = tuple(torch.from_numpy(each.copy()) for each in pair)
    f = torch.nn.functional
    y = torch.from_numpy(x)
    for name in ("conv1", "conv2"):
        y = f.max_pool2d(f.relu(f.conv2d(y, *weights[name])), 2)
    y = y.permute(0, 2, 3, 1).flatten(1)  # Core ML's CHANNEL_LAST
    y = f.linear(f.relu(f.linear(y, *weights["hidden1"])), *weights["hidden2"])
    wanted = f.softmax(y, dim=1).numpy()
    found = Predictor(model).probabilities({"image": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert np.ptp(wanted, axis=0).max() > 0.01, "the digits are told apart at all"
