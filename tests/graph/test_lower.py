from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.session import Session

IMAGE = (3, 7, 6)
BOTTOM_RIGHT = "BOTTOM_RIGHT_HEAVY"

ACTIVATIONS = {
    "linear": {"alpha": 2.0, "beta": -0.5},
    "ReLU": {},
    "leakyReLU": {"alpha": 0.3},
    "thresholdedReLU": {"alpha": 0.5},
    "tanh": {},
    "scaledTanh": {"alpha": 1.7, "beta": 0.6},
    "sigmoid": {},
    "sigmoidHard": {"alpha": 0.4, "beta": 0.3},
    "ELU": {"alpha": 0.7},
    "softsign": {},
    "softplus": {},
}

OTHERS = {
    "flatten": [n.flatten()],
    "flatten, channels last": [n.flatten(channel_last=True)],
    "softmax over channels": [n.softmax()],
    "clip": [n.clip(-0.5, 0.75)],
    "add a number": [n.add(alpha=1.5)],
    "inner product of an image": [n.dense(4, 3 * 7 * 6)],
    "inner product after flatten": [n.flatten(channel_last=True), n.dense(4, 3 * 7 * 6, bias=False)],
    "a residual": [n.convolution(3, 3, padding=BOTTOM_RIGHT), n.activation("ReLU"), n.add("x", "l1")],
    "three summands": [n.activation("tanh"), n.activation("ReLU"), n.add("x", "l0", "l1")],
    "a channel's mean added": [n.pooling("AVERAGE", everywhere=True), n.add("x", "l0")],
    "a vector added to an image": [
        n.pooling("MAX", everywhere=True),
        n.flatten(),
        n.dense(3, 3),
        n.add("x", "l2"),
    ],
    "one channel added to all": [n.convolution(1, 3, padding=BOTTOM_RIGHT), n.add("x", "l0")],
}

NETWORKS = {
    f"activation, {name}": [n.activation(name, **scalars)] for name, scalars in ACTIVATIONS.items()
} | OTHERS


def run(message: pb.Model, x: Any) -> Any:  # noqa: ANN401 - arrays
    """Return the only output."""
    (output,) = Session(compile_inference(n.decoded(message))).run({n.INPUT: x}).values()
    return output


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_computes_what_the_format_says(name: str) -> None:
    message = n.network(NETWORKS[name], IMAGE)
    x = n.numbers(2, *IMAGE)
    x[0, 0, 0, :2] = 0.0, 0.5  # the kinks of ReLU and of the thresholded one
    expected = reference.forward(message.neuralNetwork.layers, {n.INPUT: x})
    found = run(message, x)
    wanted = expected[message.neuralNetwork.layers[-1].output[0]]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=5e-6)


def test_lists_that_the_file_leaves_empty_mean_three_by_three_with_stride_one() -> None:
    bare = n.convolution(2, 3, bias=False)
    for name in ("kernelSize", "stride", "dilationFactor", "nGroups", "valid"):
        bare.convolution.ClearField(name)
    x = n.numbers(1, *IMAGE)
    full = n.convolution(2, 3, bias=False)
    np.testing.assert_array_equal(run(n.network([bare], IMAGE), x), run(n.network([full], IMAGE), x))


def test_quantised_weights_count_as_their_scale_and_bias_say() -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
    layer = n.dense(4, 3, bias=False)
    layer.innerProduct.weights.ClearField("floatValue")
    layer.innerProduct.weights.rawValue = codes.tobytes()
    layer.innerProduct.weights.quantization.numberOfBits = 8
    linear = layer.innerProduct.weights.quantization.linearQuantization
    scale, bias = np.array([0.5, 1, 2, 4], "<f4"), np.array([-1, 0, 1, 2], "<f4")
    linear.scale, linear.bias = scale.tobytes(), bias.tobytes()
    x = n.numbers(2, 3)
    wanted = x.astype(np.float64) @ (codes * scale[:, None].astype(np.float64) + bias[:, None]).T
    np.testing.assert_allclose(run(n.network([layer], (3,)), x), wanted, rtol=1e-6, atol=1e-4)


# ── images ──────────────────────────────────────────────────────────────────────────────────────
BIASES = {"redBias": -1.0, "greenBias": 0.25, "blueBias": 2.0, "grayBias": -3.0}


@pytest.mark.parametrize(
    ("color", "order"),
    [
        ("RGB", ["redBias", "greenBias", "blueBias"]),
        ("BGR", ["blueBias", "greenBias", "redBias"]),
        ("GRAYSCALE", ["grayBias"]),
    ],
)
@pytest.mark.parametrize("feature", [n.INPUT, ""])
def test_an_image_is_scaled_and_each_channel_gets_its_own_bias(
    color: str, order: list[str], feature: str
) -> None:
    message = n.image_network([n.activation("linear", alpha=1.0)], color=color, width=4, height=3)
    scaler = message.neuralNetwork.preprocessing.add(featureName=feature).scaler
    scaler.channelScale = 1 / 128
    for name, value in BIASES.items():
        setattr(scaler, name, value)
    pixels = np.random.default_rng(1).integers(0, 256, (2, len(order), 3, 4), dtype=np.uint8)
    wanted = pixels / 128 + np.array([BIASES[name] for name in order]).reshape(-1, 1, 1)
    np.testing.assert_allclose(run(message, pixels), wanted, rtol=1e-6, atol=1e-6)


def test_another_inputs_preprocessing_leaves_an_image_as_it_is() -> None:
    message = n.image_network([n.activation("linear", alpha=1.0)], color="RGB", width=2, height=2)
    message.neuralNetwork.preprocessing.add(featureName="other").scaler.channelScale = 0.5
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(run(message, pixels), pixels)


def test_a_mean_image_is_subtracted() -> None:
    message = n.image_network([n.activation("linear", alpha=1.0)], color="RGB", width=2, height=2)
    mean = np.arange(12, dtype="<f4") * 1.5
    message.neuralNetwork.preprocessing.add(featureName=n.INPUT).meanImage.meanImage = mean.tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 2, 2), dtype=np.uint8)
    np.testing.assert_allclose(run(message, pixels), pixels - mean.reshape(3, 2, 2).astype(np.float64))


# ── what does not fit ───────────────────────────────────────────────────────────────────────────
def spoiled(layer: n.Layer, **fields: object) -> n.Layer:
    """Return a copy of the layer with other fields."""
    copy = n.Layer()
    copy.CopyFrom(layer)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def two_inputs(layer: n.Layer) -> n.Layer:
    layer.input.extend(["x", "x"])
    return layer


def of_type(name: str) -> n.Layer:
    layer = n.Layer()
    getattr(layer, name).SetInParent()
    return layer


def without_outputs() -> n.Layer:
    layer = n.softmax()
    layer.output.extend(["a", "b"])
    return layer


REFUSED = {
    "a kernel larger than the image": ([n.convolution(2, 3, kernel=(9, 1))], "does not fit"),
    "a convolution with other channels": ([n.convolution(2, 5)], "channels arrive"),
    "outputs that the groups cannot share": ([n.convolution(4, 3, groups=3)], "groups"),
    "an inner product of another size": ([n.dense(2, 11)], "11 are expected"),
    "summands that do not fit": ([n.pooling("MAX"), n.add("x", "l0")], "do not fit each other"),
    "an unknown type": ([of_type("gru")], "cannot run"),
    "an activation without its weights": ([n.activation("PReLU")], "one encoding"),
    "weights from a blob": ([two_inputs(n.convolution(3, 3))], "2 inputs"),
    "two outputs": ([without_outputs()], "2 outputs"),
    "a blob that nothing makes": ([n.add("x", "nowhere")], "'nowhere'"),
    "a blob that comes later": ([n.add("x", "l1"), n.activation("ReLU")], "'l1'"),
    "more memory than a machine has": (
        [n.convolution(1, 3, kernel=(1, 1), padding=((1 << 30, 0), (1 << 30, 0)))],
        "more than",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_does_not_fit_is_refused_with_its_name(name: str) -> None:
    layers, words = REFUSED[name]
    message = n.network(layers, IMAGE)
    with pytest.raises(ModelError, match=words) as refused:
        compile_inference(n.decoded(message))
    assert "'l" in str(refused.value)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 4), (0,), (3, 0, 2)])
def test_an_array_input_has_one_axis_or_three_and_none_is_empty(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="'x' has shape"):
        compile_inference(n.decoded(n.network([n.activation("ReLU")], shape)))


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 3, 5, 4)])
def test_with_exact_shapes_an_image_may_have_an_axis_of_one_in_front(shape: tuple[int, ...]) -> None:
    x = n.numbers(2, *shape)
    plain = n.network([n.convolution(2, 3), n.flatten()], (3, 5, 4))
    found = run(exact(n.network([n.convolution(2, 3), n.flatten()], shape)), x)
    np.testing.assert_array_equal(found, run(plain, x.reshape(2, 3, 5, 4)))


def test_with_exact_shapes_a_vector_is_one_too() -> None:
    assert run(exact(n.network([n.dense(2, 5)], (5,))), n.numbers(3, 5)).shape == (3, 2)
    assert run(exact(n.network([n.dense(2, 5)], (1, 5))), n.numbers(3, 1, 5)).shape == (3, 2)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5, 4), (1, 1, 3, 5, 4)])
def test_with_exact_shapes_what_has_another_axis_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="EXACT"):
        compile_inference(n.decoded(exact(n.network([n.activation("ReLU")], shape))))


def exact(message: pb.Model) -> pb.Model:
    message.neuralNetwork.arrayInputShapeMapping = pb.EXACT_ARRAY_MAPPING
    return message
