"""A second oracle: Core ML's layers in PyTorch, which differentiates them itself, at either precision.

Padding that PyTorch does not have (same, includeLastPixel, outputShape) is laid around the image by `reference`'s reading of
the text; windows, ties and gradients are PyTorch's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_kinds
import reference
from shared import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from finetuned.spec import coreml_pb2 as pb

Tensor = Any
Parameters = "Mapping[str, Tensor]"


def forward(layers: Iterable[pb.NeuralNetworkLayer], x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return a chain's output; `parameters` are `<layer>.weights` and `<layer>.biases`, where they are trained."""
    torch = oracle("torch")
    torch.set_num_threads(1)  # for arrays of this size more only cost time
    for layer in layers:
        kept = {k: torch.tensor(v, dtype=x.dtype) for k, v in reference.stored([layer]).items()}
        x = RULES[layer.WhichOneof("layer") or ""](torch, layer, x, {**kept, **parameters})
    return x


def losses(entropy: bool, y: Tensor, target: Tensor) -> Tensor:  # noqa: FBT001 - which of the two
    """Return the loss of each sample: cross entropy of logits and classes, or the squared error."""
    functions = oracle("torch").nn.functional
    if entropy:
        return functions.cross_entropy(y.flatten(1), target, reduction="none")
    return functions.mse_loss(y, target, reduction="none").flatten(1).mean(1)


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _inner_product(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401 - PyTorch has no types here
    w, b = p[f"{layer.name}.weights"], p.get(f"{layer.name}.biases")
    return torch.nn.functional.linear(x.flatten(1), w, b)


def _convolution(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    params, functions, x = layer.convolution, torch.nn.functional, _image(x)
    options = {
        "stride": tuple(params.stride),
        "dilation": tuple(params.dilationFactor),
        "groups": params.nGroups,
    }
    w = p[f"{layer.name}.weights"]
    if params.isDeconvolution:
        cuts = [reference.deconvolution_borders(params, x.shape[2 + axis], axis) for axis in (0, 1)]
        y = _laid(functions, functions.conv_transpose2d(x, w, **options), cuts, sign=-1)
    else:
        extents = [(k - 1) * d + 1 for k, d in zip(params.kernelSize, params.dilationFactor, strict=True)]
        ends = [reference.borders(params, x.shape[2 + axis], axis, extents[axis]) for axis in (0, 1)]
        y = functions.conv2d(_laid(functions, x, ends), w, **options)
    return y + p[f"{layer.name}.biases"][:, None, None] if params.hasBias else y


def _image(x: Tensor) -> Tensor:
    return x[:, :, None, None] if x.dim() == 2 else x


def _laid(functions: Any, x: Tensor, ends: Any, *, sign: int = 1, value: float = 0.0) -> Tensor:  # noqa: ANN401
    """Lay ((top, bottom), (left, right)) around an image, or cut it off."""
    (top, bottom), (left, right) = ends
    return functions.pad(x, [sign * each for each in (left, right, top, bottom)], value=value)


def _pooling(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    params, functions, x = layer.pooling, torch.nn.functional, _image(x)
    sizes = tuple(x.shape[2:])
    kernel, stride = (
        (sizes, (1, 1)) if params.globalPooling else (tuple(params.kernelSize), tuple(params.stride))
    )
    ends, out = (
        ([(0, 0), (0, 0)], [1, 1]) if params.globalPooling else reference.pooling_borders(params, sizes)
    )
    if params.type == 0:
        return functions.max_pool2d(_laid(functions, x, ends, value=-torch.inf), kernel, stride)
    padded = _laid(functions, x, ends)
    if params.type == 1:
        total = functions.avg_pool2d(padded, kernel, stride, divisor_override=1)
        counts = sizes[0] * sizes[1] if params.globalPooling else reference.window_counts(params, sizes, ends)
        return total / torch.as_tensor(counts, dtype=x.dtype)
    columns = functions.unfold(padded.flatten(0, 1)[:, None], kernel, stride=stride)
    # The norm's own gradient is 0 where all is 0.
    return torch.linalg.vector_norm(columns, dim=1).reshape(*x.shape[:2], *out)


def _flatten(_: Any, layer: pb.NeuralNetworkLayer, x: Tensor, __: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    last = layer.flatten.mode == 1 and x.dim() == 4
    return (x.permute(0, 2, 3, 1) if last else x).flatten(1)


def _activation(torch: Any, layer: pb.NeuralNetworkLayer, x: Tensor, _: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    kind = layer.activation.WhichOneof("NonlinearityType") or ""
    functions = {"ReLU": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
    if kind in functions:
        return functions[kind](x)
    return pytorch_kinds.ACTIVATIONS[kind](torch, x, getattr(layer.activation, kind))


RULES: dict[str, Callable[..., Tensor]] = {
    "innerProduct": _inner_product,
    "convolution": _convolution,
    "pooling": _pooling,
    "flatten": _flatten,
    "activation": _activation,
    **pytorch_kinds.RULES,
}
