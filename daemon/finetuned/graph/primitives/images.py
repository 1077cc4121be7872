"""Primitives on images [N, C, H, W] that only run forward: onnxruntime's own, which are its fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.graph.primitive import Primitive
from finetuned.graph.values import IMAGE_RANK, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence


def _window(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    out = (size + pads - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"a kernel of {kernel} does not fit into {size} with {pads} of padding")
    return out


def _spatial(
    a: Shape,
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Shape:
    half = len(pads) // 2
    return tuple(
        _window(int(size), k, s, d, pads[i] + pads[i + half])
        for i, (size, k, s, d) in enumerate(zip(a[2:], kernel, strides, dilations, strict=True))
    )


def _conv(
    x: Shape,
    w: Shape,
    *_: Shape,
    group: int,
    **window: Sequence[int],
) -> Shape:
    if len(x) != IMAGE_RANK:
        raise ValueError("an image [C, H, W] is expected")
    if x[1] != int(w[1]) * group:
        raise ValueError(f"{x[1]} channels arrive, {int(w[1]) * group} are expected")
    if int(w[0]) % group:
        raise ValueError(f"{group} groups cannot share {w[0]} output channels")
    return (x[0], w[0], *_spatial(x, [int(k) for k in w[2:]], **window))


def _transposed(  # noqa: PLR0913 - ONNX's attributes
    x: Shape,
    w: Shape,
    *_: Shape,
    group: int,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    output_padding: Sequence[int],
) -> Shape:
    if len(x) != IMAGE_RANK or x[1] != w[0]:
        raise ValueError(f"an image of {w[0]} channels is expected")
    axes = zip(x[2:], w[2:], strides, dilations, pads[:2], pads[2:], output_padding, strict=True)
    size = [
        (int(in_) - 1) * stride + dilation * (int(kernel) - 1) + 1 - begin - end + beyond
        for in_, kernel, stride, dilation, begin, end, beyond in axes
    ]
    return (x[0], int(w[1]) * group, *size)


def _pool(
    x: Shape, *, kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int], **_: object
) -> Shape:
    if len(x) != IMAGE_RANK:
        raise ValueError("an image [C, H, W] is expected")
    return (*x[:2], *_spatial(x, kernel_shape, strides=strides, pads=pads, dilations=(1, 1)))


def _global(x: Shape, **_: object) -> Shape:
    return (*x[:2], *(1 for _ in x[2:]))


PRIMITIVES: dict[str, Primitive] = {
    "Conv": Primitive(shape=_conv),
    "ConvTranspose": Primitive(shape=_transposed),
    "MaxPool": Primitive(shape=_pool),
    "AveragePool": Primitive(shape=_pool),
    "LpPool": Primitive(shape=_pool),
    "GlobalMaxPool": Primitive(shape=_global),
    "GlobalAveragePool": Primitive(shape=_global),
    "GlobalLpPool": Primitive(shape=_global),
}
