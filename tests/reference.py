"""An independent oracle: Core ML's layers in float64 NumPy, loops and all, written from NeuralNetwork.proto.

It shares nothing with `finetuned.graph`: it reads the messages, knows no ONNX, and prefers the text's own formulas to
speed.  Blobs are [N, C, H, W] or [N, C].
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

import reference_kinds

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
    """Return the float64 weights that can be trained, by `<layer>.weights` and `<layer>.biases`."""
    found = {}
    for layer in layers:
        kind = layer.WhichOneof("layer")
        if kind not in {"innerProduct", "convolution"}:
            continue
        params = getattr(layer, kind)
        found[f"{layer.name}.weights"] = floats(params.weights).reshape(weight_shape(params))
        if params.hasBias:
            found[f"{layer.name}.biases"] = floats(params.bias)
    return found


def weight_shape(params: Any) -> tuple[int, ...]:  # noqa: ANN401 - of either message
    """Return the shape that the text gives to a layer's weights."""
    if not hasattr(params, "kernelSize"):
        return (params.outputChannels, params.inputChannels)
    if params.isDeconvolution:
        return (params.kernelChannels, params.outputChannels // params.nGroups, *params.kernelSize)
    return (params.outputChannels, params.kernelChannels, *params.kernelSize)


def floats(message: pb.WeightParams) -> Array:
    """Return the weights of a message in float64."""
    return np.frombuffer(message.floatValue, "<f4").astype(np.float64)


def cross_entropy(probabilities: Array, classes: Array) -> Array:
    """-log(input[target]) of each sample."""
    return -np.log(probabilities.reshape(len(classes), -1)[np.arange(len(classes)), classes])


def squared_error(prediction: Array, target: Array) -> Array:
    """The mean over a sample's numbers of (ŷ - y)²."""
    return ((prediction - target) ** 2).reshape(len(target), -1).mean(axis=1)


def differences(
    loss: Callable[[], float], array: Array, at: Iterable[Any] | None = None, step: float = 1e-6
) -> Array:
    """Return d loss / d array by central differences, everywhere or `at` these places; the array (float64) is restored."""
    places = np.ndindex(array.shape) if at is None else at
    gradient = []
    for index in places:
        middle = array[index]
        array[index] = middle + step
        above = loss()
        array[index] = middle - step
        gradient.append((above - loss()) / (2 * step))
        array[index] = middle
    return np.reshape(gradient, array.shape) if at is None else np.array(gradient)


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
    **reference_kinds.ACTIVATIONS,
}


def _activation(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    kind = layer.activation.WhichOneof("NonlinearityType") or ""
    return ACTIVATIONS[kind](inputs[0], getattr(layer.activation, kind))


def _softmax(_: pb.NeuralNetworkLayer, inputs: list[Array], __: Mapping[str, Array]) -> Array:
    powers = np.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _clip(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    return np.minimum(np.maximum(inputs[0], layer.clip.minVal), layer.clip.maxVal)


def _add(layer: pb.NeuralNetworkLayer, inputs: list[Array], _: Mapping[str, Array]) -> Array:
    if len(inputs) == 1:
        return inputs[0] + layer.add.alpha
    maps = [image(x) for x in inputs]
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


def _convolution(layer: pb.NeuralNetworkLayer, inputs: list[Array], weights: Mapping[str, Array]) -> Array:
    used = {**stored([layer]), **weights}
    w, bias = used[f"{layer.name}.weights"], used.get(f"{layer.name}.biases", np.zeros(1))
    rule = _deconvolved if layer.convolution.isDeconvolution else _convolved
    return rule(layer.convolution, image(inputs[0]), w) + bias[:, None, None]


def image(x: Array) -> Array:
    """Return an image; a vector, [..., C, 1, 1] in the text, is one of a single pixel."""
    return x.reshape(*x.shape, 1, 1) if x.ndim == 2 else x


def _taps(params: pb.ConvolutionLayerParams) -> Iterator[tuple[int, int, int, int]]:
    """Each place of the kernel, and where it lies with the dilation."""
    dilation = params.dilationFactor or [1, 1]
    for row, column in np.ndindex(*params.kernelSize):
        yield row, column, row * dilation[0], column * dilation[1]


def _extents(params: pb.ConvolutionLayerParams) -> list[int]:
    """KernelSize <-- (kernelSize - 1) * dilationFactor + 1."""
    dilation = params.dilationFactor or [1, 1]
    return [(k - 1) * d + 1 for k, d in zip(params.kernelSize, dilation, strict=True)]


def _grouped(w: Array, x: Array, groups: int, equation: str) -> Array:
    if groups == 1:
        return np.einsum(equation, w, x)
    pairs = zip(np.split(w, groups), np.split(x, groups, axis=1), strict=True)
    return np.concatenate([np.einsum(equation, *pair) for pair in pairs], axis=1)


def _convolved(params: pb.ConvolutionLayerParams, x: Array, w: Array) -> Array:
    extent, stride = _extents(params), params.stride
    ends = [borders(params, x.shape[2 + axis], axis, extent[axis]) for axis in (0, 1)]
    x = np.pad(x, [(0, 0), (0, 0), *ends])
    out = [(x.shape[2 + a] - extent[a]) // stride[a] + 1 for a in (0, 1)]
    y = np.zeros((len(x), params.outputChannels, *out))
    for row, column, top, left in _taps(params):
        seen = x[:, :, top :: stride[0], left :: stride[1]][:, :, : out[0], : out[1]]
        y += _grouped(w[:, :, row, column], seen, params.nGroups, "oi,nihw->nohw")
    return y


def _deconvolved(params: pb.ConvolutionLayerParams, x: Array, w: Array) -> Array:
    """Every number lays the kernel down, one stride further on; then the borders are cut off, or zeros added."""
    extent, stride = _extents(params), params.stride
    whole = [(x.shape[2 + a] - 1) * stride[a] + extent[a] for a in (0, 1)]
    y = np.zeros((len(x), params.outputChannels, *whole))
    for row, column, top, left in _taps(params):
        laid = y[:, :, top :: stride[0], left :: stride[1]][:, :, : x.shape[2], : x.shape[3]]
        laid += _grouped(w[:, :, row, column], x, params.nGroups, "io,nihw->nohw")
    (top, bottom), (left, right) = (deconvolution_borders(params, x.shape[2 + a], a) for a in (0, 1))
    y = np.pad(y, [(0, 0), (0, 0), (0, max(-bottom, 0)), (0, max(-right, 0))])
    return y[:, :, top : y.shape[2] - max(bottom, 0), left : y.shape[3] - max(right, 0)]


def deconvolution_borders(params: pb.ConvolutionLayerParams, size: int, axis: int) -> tuple[int, int]:
    """Return how much is cut off before and after along an axis; below 0: that many zeros are added.

    Where the text gives the output's size alone (same, or outputShape, which ignores the type of padding), the borders are those
    of the `same` convolution that leads back.
    """
    extent, stride = _extents(params)[axis], params.stride[axis]
    whole = (size - 1) * stride + extent
    if not params.outputShape and params.HasField("valid"):
        amounts = params.valid.paddingAmounts.borderAmounts
        return (amounts[axis].startEdgeSize, amounts[axis].endEdgeSize) if amounts else (0, 0)
    total = whole - (params.outputShape[axis] if params.outputShape else size * stride)
    if total < 0:
        return (0, total)
    top_left = not params.outputShape and params.same.asymmetryMode == 1
    return (ceil(total / 2), floor(total / 2)) if top_left else (floor(total / 2), ceil(total / 2))


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
    params, x = layer.pooling, image(inputs[0])
    if params.globalPooling:
        return _pooled(params, x)[:, :, None, None]
    ends, out = pooling_borders(params, x.shape[2:])
    padded = np.pad(x, [(0, 0), (0, 0), *ends], constant_values=np.nan)
    y = np.zeros((*x.shape[:2], *out))
    counts = window_counts(params, x.shape[2:], ends)
    for (row, column), window in _windows(padded, params.kernelSize, params.stride, out):
        y[:, :, row, column] = _pooled(params, window, counts[0, 0, row : row + 1, column])
    return y


def pooling_borders(params: pb.PoolingLayerParams, sizes: Any) -> tuple[list[tuple[int, int]], list[int]]:  # noqa: ANN401 - a pair
    """Return how much stands before and after the image along each axis, and the output's size."""
    kernel, stride = params.kernelSize, params.stride
    if params.HasField("includeLastPixel"):
        out = [last_pixel_size(params, sizes[axis], axis) for axis in (0, 1)]
        starts = params.includeLastPixel.paddingAmounts
        reach = [(out[a] - 1) * stride[a] + kernel[a] - sizes[a] - starts[a] for a in (0, 1)]
        return [(starts[a], max(0, reach[a])) for a in (0, 1)], out
    ends = [borders(params, sizes[axis], axis, kernel[axis]) for axis in (0, 1)]
    return ends, [(sizes[a] + sum(ends[a]) - kernel[a]) // stride[a] + 1 for a in (0, 1)]


def window_counts(params: pb.PoolingLayerParams, sizes: Any, ends: Any) -> Array:  # noqa: ANN401 - pairs
    """Return how many numbers the mean of each window counts, [1, 1, H_out, W_out].

    The padding counts unless avgPoolExcludePadding; what includeLastPixel takes beyond the stated padding never does (Caffe).
    """
    counted = np.zeros((1, 1, *(size + sum(end) for size, end in zip(sizes, ends, strict=True))))
    region: list[slice] = []
    for (start, end), size in zip(ends, sizes, strict=True):
        if params.avgPoolExcludePadding:
            region.append(slice(start, start + size))
        elif params.HasField("includeLastPixel"):
            region.append(slice(0, start + size + start))
        else:
            region.append(slice(0, start + size + end))
    counted[:, :, region[0], region[1]] = 1
    out = [(counted.shape[2 + a] - params.kernelSize[a]) // params.stride[a] + 1 for a in (0, 1)]
    totals = np.zeros((1, 1, *out))
    for (row, column), window in _windows(counted, params.kernelSize, params.stride, out):
        totals[:, :, row, column] = window.sum()
    return totals


def _pooled(params: pb.PoolingLayerParams, window: Array, count: Array | None = None) -> Array:
    if params.type == 0:
        return np.nanmax(window, axis=(2, 3))
    if params.type == 2:
        return np.sqrt(np.nansum(window**2, axis=(2, 3)))
    return np.nansum(window, axis=(2, 3)) / (window[0, 0].size if count is None else count)


RULES: dict[str, Callable[[pb.NeuralNetworkLayer, list[Array], Mapping[str, Array]], Array]] = {
    "innerProduct": _inner_product,
    "activation": _activation,
    "softmax": _softmax,
    "clip": _clip,
    "add": _add,
    "convolution": _convolution,
    "pooling": _pooling,
    **reference_kinds.RULES,
}
