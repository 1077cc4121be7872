"""What a lowering works on: the graph, the blobs so far, and which layers' weights are fed.

How shapes are held.  Core ML's RANK5 tensors are [S, B, C, H, W]; a network that trains has S = 1.  What runs forward is held
as [N, C, H, W], or [N, C] where it is a vector (H = W = 1): onnxruntime's own convolutions want it so.  In a chain that trains
images have the batch last, [C, H, W, N]: then weights, columns and flattened images lie in memory as Core ML's files have
them, and every group of a convolution is a matrix of its own (`primitives.positions`).  A value's shape tells which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph.values import BATCH, IMAGE_RANK, VECTOR_RANK, Value
from finetuned.spec import codec

if TYPE_CHECKING:
    from finetuned.graph.ir import Graph
    from finetuned.graph.values import Array
    from finetuned.spec.model import Layer, Weights


@dataclass(slots=True)
class Context:
    """What a lowering function works on: the graph, the blobs so far, and which layers' weights are fed.

    `fed_layers` names the layers whose weights are inputs of the graph (`<layer>.weights`, `<layer>.biases`); every other
    layer's weights become constants.  `trains`: images are held with the batch last.
    """

    graph: Graph
    blobs: dict[str, Value] = field(default_factory=dict)
    fed_layers: frozenset[str] = frozenset()
    fed: dict[str, Value] = field(default_factory=dict)
    trains: bool = False

    def blob(self, name: str, layer: Layer) -> Value:
        """Return a blob that an earlier layer (or an input) made."""
        try:
            return self.blobs[name]
        except KeyError:
            raise ModelError(f"layer {layer.name!r} reads {name!r}, which nothing before it makes") from None

    def parameter(
        self, layer: Layer, key: str, weights: Weights, shape: tuple[int, ...], *, axis: int = 0
    ) -> Value:
        """Return a layer's weights: an input of the graph where they are trained, else a constant.

        `axis` is that of the output channels, by which quantised weights are scaled.
        """
        name = f"{layer.name}.{key}"
        if layer.name in self.fed_layers:
            if name not in self.fed:
                self.fed[name] = self.graph.input(name, shape)
            return self.fed[name]
        return self.graph.constant(name, stored(layer, weights, shape, axis=axis))


Lowering = Callable[["Context", "Layer", list[Value]], Value]


@contextmanager
def blamed(layer: Layer) -> Iterator[None]:
    """Name the layer where its numbers cannot be: a ValueError becomes a ModelError."""
    try:
        yield
    except ValueError as error:
        raise ModelError(f"layer {layer.name!r} ({layer.type}): {error}") from error


def stored(layer: Layer, weights: Weights, shape: tuple[int, ...], *, axis: int = 0) -> Array:
    """Return the numbers of a layer's weights; where the file does not hold them, a ModelError names the layer."""
    try:
        return codec.array(weights, shape, axis=axis)
    except ModelError as error:
        raise ModelError(f"layer {layer.name!r} ({layer.type}): {error}") from error


# ── forms ───────────────────────────────────────────────────────────────────────────────────────
def is_image(value: Value) -> bool:
    """Tell [N, C, H, W] and [C, H, W, N] from [N, C]."""
    return len(value.shape) == IMAGE_RANK


def is_batch_last(value: Value) -> bool:
    """Tell an image of a chain that trains."""
    return value.shape[-1] == BATCH


def as_image(context: Context, value: Value, layer: Layer) -> Value:
    """Return an image, [N, C, H, W] or where it trains [C, H, W, N]; a vector is one of a single pixel."""
    if is_batch_last(value):
        return value
    size = value.sizes if is_image(value) else (*value.sizes, 1, 1)
    if context.trains:
        return batch_last(context, value, size, layer.name)
    if is_image(value):
        return value
    return context.graph.add("Reshape", value, shape=(BATCH, *size), origin=layer.name)


def as_vector(context: Context, value: Value, layer: Layer) -> Value:
    """[N, C, H, W] → [N, C·H·W], row-major (NeuralNetwork.proto, InnerProductLayerParams)."""
    if len(value.shape) == VECTOR_RANK:
        return value
    return batch_first(context, value, (prod(value.sizes),), layer.name)


def batch_last(context: Context, value: Value, size: tuple[int, ...], origin: str) -> Value:
    """[N, …] → [*size, N]."""
    graph = context.graph
    rows = graph.add("Reshape", value, shape=(BATCH, prod(size)), origin=origin)
    columns = graph.add("Transpose", rows, perm=(1, 0), origin=origin)
    return graph.add("Reshape", columns, shape=(*size, BATCH), origin=origin)


def batch_first(context: Context, value: Value, size: tuple[int, ...], origin: str) -> Value:
    """[…, N], or [N, …], → [N, *size]."""
    graph = context.graph
    if is_batch_last(value):
        columns = graph.add("Reshape", value, shape=(prod(size), BATCH), origin=origin)
        value = graph.add("Transpose", columns, perm=(1, 0), origin=origin)
    return graph.add("Reshape", value, shape=(BATCH, *size), origin=origin)


def channel_axis(value: Value) -> int:
    """Return the axis of the channels."""
    return 0 if is_batch_last(value) else 1


def per_channel(value: Value) -> tuple[int, ...]:
    """Return the shape in which one number per channel broadcasts over `value`."""
    return (-1,) + (1,) * (len(value.shape) - 1 - channel_axis(value))
