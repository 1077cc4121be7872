"""The second oracle's layers without trainable weights: PyTorch's own functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reference_kinds as reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from finetuned.spec import coreml_pb2 as pb

Tensor = Any


def _floats(torch: Any, x: Tensor, message: pb.WeightParams) -> Tensor:  # noqa: ANN401 - PyTorch has no types here
    return torch.tensor(reference.floats(message), dtype=x.dtype)


def _batchnorm(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    p = layer.batchnorm
    mean, variance, gamma, beta = (_floats(torch, x, each) for each in (p.mean, p.variance, p.gamma, p.beta))
    return torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=p.epsilon or 1e-5)


def _spread(torch: Any, x: Tensor, message: pb.WeightParams, shape: Iterable[int]) -> Tensor:  # noqa: ANN401
    """Return numbers of the shape [1], [C], [1, H, W] or [C, H, W] as they lie on `x`."""
    numbers = _floats(torch, x, message).reshape(*shape)
    return numbers[:, None, None] if numbers.dim() == 1 and x.dim() == 4 else numbers


def _scale(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    p = layer.scale
    y = x * _spread(torch, x, p.scale, p.shapeScale)
    return y + _spread(torch, x, p.bias, p.shapeBias) if p.hasBias else y


def _bias(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    return x + _spread(torch, x, layer.bias.bias, layer.bias.shape)


def _reshape(_: Any, layer: pb.NeuralNetworkLayer, x: Tensor, __: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    channels, rows, columns = layer.reshape.targetShape
    if layer.reshape.mode == 0:
        return x.reshape(len(x), channels, rows, columns)
    return x.permute(0, 2, 3, 1).reshape(len(x), rows, columns, channels).permute(0, 3, 1, 2)


def _permute(_: Any, layer: pb.NeuralNetworkLayer, x: Tensor, __: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    sequence, *image = layer.permute.axis
    assert sequence == 0
    return x.permute(0, *image)


def _padding(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    p = layer.padding
    rows, columns = p.paddingAmounts.borderAmounts
    ends = (columns.startEdgeSize, columns.endEdgeSize, rows.startEdgeSize, rows.endEdgeSize)
    mode = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}[
        p.WhichOneof("PaddingType")
    ]
    more = {"value": p.constant.value} if mode == "constant" else {}
    return torch.nn.functional.pad(x, ends, mode=mode, **more)


def _upsample(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    return torch.nn.functional.interpolate(
        x, scale_factor=tuple(layer.upsample.scalingFactor), mode="nearest"
    )


def _clip(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    return torch.clamp(x, layer.clip.minVal, layer.clip.maxVal)


ACTIVATIONS: dict[str, Callable[[Any, Tensor, Any], Tensor]] = {
    "leakyReLU": lambda torch, x, p: torch.nn.functional.leaky_relu(x, p.alpha),
    "ELU": lambda torch, x, p: torch.nn.functional.elu(x, p.alpha),
    "PReLU": lambda torch, x, p: torch.nn.functional.prelu(x, _floats(torch, x, p.alpha)),
    "softplus": lambda torch, x, _: torch.nn.functional.softplus(x),
}

RULES: dict[str, Callable[..., Tensor]] = {
    "batchnorm": _batchnorm,
    "scale": _scale,
    "bias": _bias,
    "reshape": _reshape,
    "permute": _permute,
    "padding": _padding,
    "upsample": _upsample,
    "clip": _clip,
}
