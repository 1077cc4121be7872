"""How windows lie along an axis of an image: those of convolutions, deconvolutions and poolings.

Formulas: NeuralNetwork.proto.  valid: out = ⌊(in + padding - span) / stride⌋ + 1; same: out = ⌈in / stride⌉;
includeLastPixel: out = ⌈(in + 2 pad - span) / stride⌉ + 1, less one where the last window would start in the padding.
"""

from __future__ import annotations

from finetuned.spec.model import Convolution, Pooling


def count(parameters: Convolution | Pooling, axis: int, size: int) -> int:
    """Return at how many places along an axis the kernel stands."""
    padding, stride = parameters.padding, parameters.stride[axis]
    spare = size + sum(padding.amounts[axis]) - span(parameters, axis)
    if padding.mode == "same":
        return -(-size // stride)
    if padding.mode != "includeLastPixel":
        return spare // stride + 1
    begin = padding.amounts[axis][0]
    places = -(-spare // stride) + 1
    padded = any(amount for amount, _ in padding.amounts)
    return places - 1 if padded and (places - 1) * stride >= size + begin else places


def spread(parameters: Convolution, axis: int, size: int) -> int:
    """Return how long an axis is after a deconvolution without an output shape."""
    if parameters.padding.mode == "same":
        return size * parameters.stride[axis]
    return whole(parameters, axis, size) - sum(parameters.padding.amounts[axis])


def whole(parameters: Convolution, axis: int, size: int) -> int:
    """Return how far the kernels reach that are put at each position of the input."""
    return (size - 1) * parameters.stride[axis] + span(parameters, axis)


def span(parameters: Convolution | Pooling, axis: int) -> int:
    """Return how many positions the kernel reaches over."""
    dilation = parameters.dilation[axis] if isinstance(parameters, Convolution) else 1
    return (parameters.kernel[axis] - 1) * dilation + 1
