"""Layers and preprocessing of a network: from the message to values, defaults applied.

Defaults: kernel 3 × 3, stride and dilation 1, nGroups 0 means 1, padding `valid` without borders
(NeuralNetwork.proto).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import kind_readers, weights
from finetuned.spec.model import (
    Activation,
    Add,
    Clip,
    Convolution,
    Flatten,
    InnerProduct,
    Layer,
    LayerParameters,
    Opaque,
    Padding,
    Pooling,
    Preprocessing,
    Softmax,
)
from finetuned.spec.reading import LARGEST_SIZE, borders, named, pair, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def layer(message: pb.NeuralNetworkLayer) -> Layer:
    """Return one layer; an error names it."""
    kind = message.WhichOneof("layer") or "unknown"
    try:
        parameters = READERS[kind](message) if kind in READERS else Opaque()
    except ModelError as error:
        raise ModelError(f"layer {message.name!r} ({kind}): {error}") from error
    return Layer(
        name=message.name,
        type=kind,
        inputs=tuple(message.input),
        outputs=tuple(message.output),
        updatable=message.isUpdatable,
        parameters=parameters,
    )


def preprocessing(message: pb.NeuralNetworkPreprocessing) -> Preprocessing:
    """Return what is done to an image before the first layer."""
    if message.WhichOneof("preprocessor") == "meanImage":
        mean = weights.floats(message.meanImage, "meanImage")
        return Preprocessing(feature=message.featureName, mean_image=mean)
    scaler = message.scaler
    numbers = {field.name: value for field, value in scaler.ListFields()}
    if wrong := [name for name, value in numbers.items() if not math.isfinite(value)]:
        raise ModelError(
            f"the preprocessing of {message.featureName!r} has the {wrong[0]} {numbers[wrong[0]]}; a number is needed"
        )
    return Preprocessing(
        feature=message.featureName,
        scale=scaler.channelScale if message.HasField("scaler") else 1.0,
        red_bias=scaler.redBias,
        green_bias=scaler.greenBias,
        blue_bias=scaler.blueBias,
        gray_bias=scaler.grayBias,
    )


# ── helpers ─────────────────────────────────────────────────────────────────────────────────────
def _valid(message: pb.ValidPadding) -> Padding:
    return Padding(amounts=borders(message.paddingAmounts, "valid padding"))


def _last_pixel(amounts: Sequence[int]) -> Padding:
    rows, columns = amounts if len(amounts) == 2 else (0, 0)  # noqa: PLR2004 - height, width
    if len(amounts) not in {0, 2} or max(rows, columns) > LARGEST_SIZE:
        raise ModelError(f"includeLastPixel has padding amounts {list(amounts)}; two are allowed")
    return Padding(mode="includeLastPixel", amounts=((rows, rows), (columns, columns)))


def _padding(message: pb.ConvolutionLayerParams | pb.PoolingLayerParams, mode: str | None) -> Padding:
    if mode == "same":
        heavy = named(message.same, message.same.asymmetryMode, "SamePaddingMode", "padding mode")
        return Padding(mode="same", top_left_heavy=heavy == "TOP_LEFT_HEAVY")
    return _valid(message.valid)


def _pooling_padding(message: pb.PoolingLayerParams) -> Padding:
    mode = message.WhichOneof("PoolingPaddingType")
    if mode == "includeLastPixel":
        return _last_pixel(message.includeLastPixel.paddingAmounts)
    return _padding(message, mode)


# ── one reader a layer type ─────────────────────────────────────────────────────────────────────
def _inner_product(message: pb.NeuralNetworkLayer) -> InnerProduct:
    params = message.innerProduct
    return InnerProduct(
        input_channels=size(params.inputChannels, "inputChannels"),
        output_channels=size(params.outputChannels, "outputChannels"),
        weights=weights.read(params.weights),
        bias=weights.read(params.bias) if params.hasBias else None,
    )


def _convolution(message: pb.NeuralNetworkLayer) -> Convolution:
    params = message.convolution
    return Convolution(
        output_channels=size(params.outputChannels, "outputChannels"),
        kernel_channels=size(params.kernelChannels, "kernelChannels"),
        groups=size(params.nGroups or 1, "nGroups"),
        kernel=pair(params.kernelSize, 3, "kernelSize"),
        stride=pair(params.stride, 1, "stride"),
        dilation=pair(params.dilationFactor, 1, "dilationFactor"),
        padding=_padding(params, params.WhichOneof("ConvolutionPaddingType")),
        deconvolution=params.isDeconvolution,
        output_shape=pair(params.outputShape, 1, "outputShape") if params.outputShape else (),
        weights=weights.read(params.weights),
        bias=weights.read(params.bias) if params.hasBias else None,
    )


def _pooling(message: pb.NeuralNetworkLayer) -> Pooling:
    params = message.pooling
    return Pooling(
        type=named(params, params.type, "PoolingType", "pooling type"),
        # A global pool has neither, whatever stands there: coremltools writes [0, 0].
        kernel=pair(() if params.globalPooling else params.kernelSize, 3, "kernelSize"),
        stride=pair(() if params.globalPooling else params.stride, 1, "stride"),
        padding=_pooling_padding(params),
        exclude_padding=params.avgPoolExcludePadding,
        global_pooling=params.globalPooling,
    )


def _activation(message: pb.NeuralNetworkLayer) -> Activation:
    kind = message.activation.WhichOneof("NonlinearityType")
    if kind is None:
        raise ModelError("the activation has no known type")
    params = getattr(message.activation, kind)
    if isinstance(params, pb.ActivationPReLU):
        return Activation(type=kind, alphas=weights.read(params.alpha))
    if isinstance(params, pb.ActivationParametricSoftplus):
        return Activation(type=kind, alphas=weights.read(params.alpha), betas=weights.read(params.beta))
    alpha, beta = (getattr(params, name, 0.0) for name in ("alpha", "beta"))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        raise ModelError(f"the activation {kind} has alpha {alpha} and beta {beta}; numbers are needed")
    return Activation(type=kind, alpha=alpha, beta=beta)


def _flatten(message: pb.NeuralNetworkLayer) -> Flatten:
    order = named(message.flatten, message.flatten.mode, "FlattenOrder", "order")
    return Flatten(channel_last=order == "CHANNEL_LAST")


def _clip(message: pb.NeuralNetworkLayer) -> Clip:
    minimum, maximum = message.clip.minVal, message.clip.maxVal
    if math.isnan(minimum) or math.isnan(maximum):
        raise ModelError(f"it clips to between {minimum} and {maximum}; numbers are needed")
    return Clip(minimum=minimum, maximum=maximum)


READERS: Mapping[str, Callable[[pb.NeuralNetworkLayer], LayerParameters]] = {
    "innerProduct": _inner_product,
    "convolution": _convolution,
    "pooling": _pooling,
    "activation": _activation,
    "flatten": _flatten,
    "softmax": lambda _: Softmax(),
    "clip": _clip,
    "add": lambda message: Add(alpha=message.add.alpha),
    **kind_readers.READERS,
}
