"""An independent oracle: Core ML's layers in float64 NumPy, loops and all, written from NeuralNetwork.proto.

It shares nothing with `finetuned.graph`: it reads the messages, knows no ONNX, and prefers the text's own formulas to
speed.  Blobs are [N, C, H, W] or [N, C].
"""

from __future__ import annotations

from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from finetuned.spec import coreml_pb2 as pb

Array = Any
Weights = "Mapping[str, Array]"


def forward(
    layers: Iterable[pb.NeuralNetworkLayer],
    blobs: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Return every blob; `weights` (`<layer>.weights`, `<layer>.biases`) replace those in the layers."""
    known = {name: np.asarray(array, np.float64) for name, array in blobs.items()}
    for layer in layers:
        rule = RULES[layer.WhichOneof("layer") or ""]
        known[layer.output[0]] = rule(layer, [known[name] for name in layer.input], weights or {})
    return known


def stored(layers: Iterable[pb.NeuralNetworkLayer]) -> dict[str, Array]:
    """Return the float64 weights of every inner product, by `<layer>.weights` and `<layer>.biases`."""
    found = {}
    for layer in layers:
        if layer.HasField("innerProduct"):
            params = layer.innerProduct
            found[f"{layer.name}.weights"] = floats(params.weights).reshape(params.outputChannels, -1)
            if params.hasBias:
                found[f"{layer.name}.biases"] = floats(params.bias)
    return found


def floats(message: pb.WeightParams) -> Array:
    """Return the weights of a message in float64."""
    return np.frombuffer(message.floatValue, "<f4").astype(np.float64)


def cross_entropy(probabilities: Array, classes: Array) -> Array:
    """-log(input[target]) of each sample."""
    return -np.log(probabilities.reshape(len(classes), -1)[np.arange(len(classes)), classes])


def squared_error(prediction: Array, target: Array) -> Array:
    """The mean over a sample's numbers of (ŷ - y)²."""
    return ((prediction - target) ** 2).reshape(len(target), -1).mean(axis=1)


def differences(loss: Callable[[], float], array: Array, step: float = 1e-6) -> Array:
    """Return d loss / d array by central differences; `array` (float64) is changed in place and restored."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        middle = array[index]
        array[index] = middle + step
        above = loss()
        array[index] = middle - step
        gradient[index] = (above - loss()) / (2 * step)
        array[index] = middle
    return gradient


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _inner_product(layer: pb.NeuralNetworkLayer, inputs: list[Array], weights: Mapping[str, Array]) -> Array:
    used = {**stored([layer]), **weights}
    x = inputs[0].reshape(len(inputs[0]), -1)
    return x @ used[f"{layer.name}.weights"].T + used.get(f"{layer.name}.biases", 0.0)


ACTIVATIONS: dict[str, Callable[[Array, Any], Array]] = {
    "linear": lambda x, p: p.alpha * x + p.beta,
    "ReLU": lambda x, _: np.maximum(0, x),
    "leakyReLU": lambda x, p: np.where(x >= 0, x, p.alpha * x),
    "thresholdedReLU": lambda x, p: np.where(x >= p.alpha, x, 0),
    "tanh": lambda x, _: (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)),
    "scaledTanh": lambda x, p: p.alpha * np.tanh(p.beta * x),
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "sigmoidHard": lambda x, p: np.minimum(np.maximum(p.alpha * x + p.beta, 0), 1),
    "ELU": lambda x, p: np.where(x >= 0, x, p.alpha * (np.exp(x) - 1)),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "softplus": lambda x, _: np.log(1 + np.exp(x)),
}


def _activation(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    kind = layer.activation.WhichOneof("NonlinearityType") or ""
    return ACTIVATIONS[kind](inputs[0], getattr(layer.activation, kind))


def _softmax(_: pb.NeuralNetworkLayer, inputs: list[Array], __: Mapping[str, Array]) -> Array:
    powers = np.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _flatten(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    x = inputs[0]
    if layer.flatten.mode == 1 and x.ndim == 4:
        x = np.moveaxis(x, 1, 3)
    return x.reshape(len(x), prod(x.shape[1:]))


def _clip(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    return np.minimum(np.maximum(inputs[0], layer.clip.minVal), layer.clip.maxVal)


def _add(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    if len(inputs) == 1:
        return inputs[0] + layer.add.alpha
    maps = [x.reshape(*x.shape, 1, 1) if x.ndim == 2 else x for x in inputs]
    total = maps[0]
    for x in maps[1:]:
        total = total + x
    return total if any(x.ndim == 4 for x in inputs) else total[:, :, 0, 0]


# ── windows ─────────────────────────────────────────────────────────────────────────────────────
def borders(params: Any, size: int, axis: int, kernel: int) -> tuple[int, int]:  # noqa: ANN401 - of either message
    """Return how much stands before and after the image along an axis (0 = height), as the text has it."""
    if params.HasField("same"):
        out = ceil(size / params.stride[axis])
        total = max(0, (out - 1) * params.stride[axis] + kernel - size)
        half = floor(total / 2)
        return (half, total - half) if params.same.asymmetryMode == 0 else (total - half, half)
    amounts = params.valid.paddingAmounts.borderAmounts
    return (amounts[axis].startEdgeSize, amounts[axis].endEdgeSize) if amounts else (0, 0)


def _convolution(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    params = layer.convolution
    dilation = params.dilationFactor or [1, 1]
    kernel = [(k - 1) * d + 1 for k, d in zip(params.kernelSize, dilation, strict=True)]
    x = inputs[0]
    ends = [borders(params, x.shape[2 + axis], axis, kernel[axis]) for axis in (0, 1)]
    x = np.pad(x, [(0, 0), (0, 0), *ends])
    w = floats(params.weights).reshape(params.outputChannels, params.kernelChannels, *params.kernelSize)
    out = [(x.shape[2 + axis] - kernel[axis]) // params.stride[axis] + 1 for axis in (0, 1)]
    y = np.zeros((len(x), params.outputChannels, *out))
    share = params.outputChannels // params.nGroups
    for c in range(params.outputChannels):
        first = c // share * params.kernelChannels
        channels = x[:, first : first + params.kernelChannels]
        for (row, column), window in _windows(channels, kernel, params.stride, out):
            y[:, c, row, column] = (window[:, :, :: dilation[0], :: dilation[1]] * w[c]).sum(axis=(1, 2, 3))
    return y + (floats(params.bias)[:, None, None] if params.hasBias else 0.0)


def _windows(x: Array, kernel: Any, stride: Any, out: Any) -> Iterator[tuple[tuple[int, int], Array]]:  # noqa: ANN401 - pairs
    for row in range(out[0]):
        for column in range(out[1]):
            top, left = row * stride[0], column * stride[1]
            yield (row, column), x[:, :, top : top + kernel[0], left : left + kernel[1]]


def last_pixel_size(params: Any, size: int, axis: int) -> int:  # noqa: ANN401 - a pooling message
    """H_out of ValidCompletePadding."""
    amounts = params.includeLastPixel.paddingAmounts
    out: int = ceil((size + 2 * amounts[axis] - params.kernelSize[axis]) / params.stride[axis]) + 1
    if (amounts[0] > 0 or amounts[1] > 0) and (out - 1) * params.stride[axis] >= size + amounts[axis]:
        out -= 1
    return out


def _pooling(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    """Pool; what is padded is NaN here, so that a rule says itself what it counts."""
    params, x = layer.pooling, inputs[0]
    if params.globalPooling:
        return _pooled(params, x)[:, :, None, None]
    sizes, kernel = x.shape[2:], params.kernelSize
    if params.HasField("includeLastPixel"):
        out = [last_pixel_size(params, sizes[axis], axis) for axis in (0, 1)]
        starts = params.includeLastPixel.paddingAmounts
        ends = [
            (starts[a], max(0, (out[a] - 1) * params.stride[a] + kernel[a] - sizes[a] - starts[a]))
            for a in (0, 1)
        ]
    else:
        ends = [borders(params, sizes[axis], axis, kernel[axis]) for axis in (0, 1)]
        out = [(sizes[a] + sum(ends[a]) - kernel[a]) // params.stride[a] + 1 for a in (0, 1)]
    padded = np.pad(x, [(0, 0), (0, 0), *ends], constant_values=np.nan)
    y = np.zeros((*x.shape[:2], *out))
    for (row, column), window in _windows(padded, kernel, params.stride, out):
        y[:, :, row, column] = _pooled(params, window)
    return y


def _pooled(params: pb.PoolingLayerParams, window: Array) -> Array:
    if params.type == 0:
        return np.nanmax(window, axis=(2, 3))
    if params.type == 2:
        return np.sqrt(np.nansum(window**2, axis=(2, 3)))
    count = np.sum(~np.isnan(window), axis=(2, 3)) if params.avgPoolExcludePadding else window[0, 0].size
    return np.nansum(window, axis=(2, 3)) / count


RULES: dict[str, Callable[[pb.NeuralNetworkLayer, list[Array], Mapping[str, Array]], Array]] = {
    "innerProduct": _inner_product,
    "activation": _activation,
    "softmax": _softmax,
    "flatten": _flatten,
    "clip": _clip,
    "add": _add,
    "convolution": _convolution,
    "pooling": _pooling,
}
