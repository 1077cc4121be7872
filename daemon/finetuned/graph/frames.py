"""How windows lie over an image: sizes and padding of convolutions and poolings (NeuralNetwork.proto).

How many there are along an axis says `spec.windows`.  `same`: of an odd amount of padding the bigger half lies at the
bottom right, or at the top left where the file says so (SamePadding).  A deconvolution is the frame of the convolution that
leads from its output to its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned.graph import tables
from finetuned.spec import windows
from finetuned.spec.model import Convolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetuned.graph.tables import Table
    from finetuned.spec.model import Pooling

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Windows along an axis of `size` pixels: `begin` and `end` are the padding, `out` is how many there are."""

    size: int
    out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    def places(self, *, clamped: bool = False) -> NDArray[np.int64]:
        """Return int64 [kernel, out]: where each tap of each window lies; outside: `tables.NONE`, or clamped the nearest pixel."""
        taps = np.arange(self.kernel)[:, None] * self.dilation
        at = np.arange(self.out)[None, :] * self.stride + taps - self.begin
        if clamped:
            return at.clip(0, self.size - 1)
        return np.where((at >= 0) & (at < self.size), at, tables.NONE)

    @property
    def blind(self) -> bool:
        """Whether a window lies in the padding altogether: the first, or the last."""
        return self.begin >= self.kernel or (self.out - 1) * self.stride - self.begin >= self.size

    def within(self, padding: int) -> NDArray[np.int64]:
        """Return int64 [out]: how many places of each window lie in the axis and `padding` at both of its ends."""
        first = np.arange(self.out) * self.stride - self.begin
        last = np.minimum(first + self.kernel, self.size + padding)
        return (last - np.maximum(first, -padding)).clip(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Windows over an image."""

    rows: Axis
    columns: Axis

    def each(self, name: str) -> Pair:
        """Return a field of both axes."""
        return (getattr(self.rows, name), getattr(self.columns, name))

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """ONNX's pads (top, left, bottom, right)."""
        return (*self.each("begin"), *self.each("end"))

    def table(self, *, clamped: bool = False) -> Table:
        """Return the table [1, kH·kW, oH·oW] of the windows; ValueError where it would be huge.

        Clamped, a place in the padding stands for the nearest pixel, which the window sees too if it sees any.
        """
        tables.check(prod((*self.each("kernel"), *self.each("out"))))
        rows, columns = (axis.places(clamped=clamped) for axis in (self.rows, self.columns))
        return tables.windows(rows, columns, self.columns.size)

    def stages(self) -> tuple[Frame, ...]:
        """Return frames that look at the same windows one after the other: along the rows first, where that is less.

        The first of the greatest in row order stays the first: that of the first row whose greatest is the window's.
        """
        rows, columns = self.rows, self.columns
        at_once = prod((*self.each("kernel"), *self.each("out")))
        if at_once <= columns.out * (columns.kernel * rows.size + rows.kernel * rows.out):
            return (self,)
        return (
            Frame(rows=Axis(size=rows.size, out=rows.size, kernel=1), columns=columns),
            Frame(rows=rows, columns=Axis(size=columns.out, out=columns.out, kernel=1)),
        )

    def within(self, padding: Pair) -> NDArray[np.float32]:
        """Return float32 [oH, oW]: how many places of each window lie in the image and `padding` around it.

        Raises:
            ValueError: there are more windows than a table may have.
        """
        tables.check(self.rows.out * self.columns.out)
        rows, columns = self.rows.within(padding[0]), self.columns.within(padding[1])
        return np.asarray(np.outer(rows, columns), dtype=np.float32)


# ── of a layer ──────────────────────────────────────────────────────────────────────────────────
def convolution(p: Convolution | Pooling, size: Pair) -> Frame:
    """Return the windows of a convolution, or of a pooling, over an image of `size`; ValueError where none fits."""
    rows, columns = (_axis(p, axis, each) for axis, each in enumerate(size))
    return Frame(rows=rows, columns=columns)


def pooling(p: Pooling, size: Pair) -> Frame:
    """Return the windows of a pooling; a global one has one over everything.

    Raises:
        ValueError: no window fits, or one lies in the padding altogether: the format does not say what its result is.
    """
    if p.global_pooling:
        rows, columns = (Axis(size=each, out=1, kernel=each) for each in size)
        return Frame(rows=rows, columns=columns)
    frame = convolution(p, size)
    if frame.rows.blind or frame.columns.blind:
        raise ValueError("a window lies in the padding altogether")
    return frame


def deconvolution(p: Convolution, size: Pair) -> Frame:
    """Return the windows of the convolution that leads from the deconvolution's output to an input of `size`.

    Valid: out = (in - 1) stride + kernel - borders; same: out = in · stride; `outputShape` says it, and the type of padding is
    ignored then.  The text leaves open where the latter two lie in the whole extent (in - 1) stride + kernel: what they lack
    of it is cut off on both sides, the odd one at the end (at the beginning: top left heavy), which makes a `same`
    convolution lead back; what they exceed it by are zeros at the end.
    """
    rows, columns = (_transposed(p, axis, each) for axis, each in enumerate(size))
    return Frame(rows=rows, columns=columns)


def _transposed(p: Convolution, axis: int, size: int) -> Axis:
    stride, whole = p.stride[axis], windows.whole(p, axis, size)
    out = p.output_shape[axis] if p.output_shape else windows.spread(p, axis, size)
    if p.output_shape:
        begin, end = _halves(whole - out)
    elif p.padding.mode == "same":
        begin, end = _halves(whole - out, top_left_heavy=p.padding.top_left_heavy)
    else:
        begin, end = p.padding.amounts[axis]
    if not 0 < out < whole + stride:
        raise ValueError(f"an output of {out} cannot be made from {size}: 1 to {whole + stride - 1} can")
    return Axis(
        size=out,
        out=size,
        kernel=p.kernel[axis],
        stride=stride,
        dilation=p.dilation[axis],
        begin=begin,
        end=end,
    )


def _halves(total: int, *, top_left_heavy: bool = False) -> Pair:
    """Return the two parts of a padding; below 0 all of it lies at the end."""
    small = max(total, 0) // 2
    return (total - small, small) if top_left_heavy and total > 0 else (small, total - small)


# ── along an axis ───────────────────────────────────────────────────────────────────────────────
def _axis(p: Convolution | Pooling, axis: int, size: int) -> Axis:
    out, extent, stride = windows.count(p, axis, size), windows.span(p, axis), p.stride[axis]
    begin, end = p.padding.amounts[axis]
    if out < 1:
        raise ValueError(
            f"a kernel of {p.kernel[axis]} does not fit into {size} with {begin + end} of padding"
        )
    reach = (out - 1) * stride + extent
    if p.padding.mode == "same":
        begin, _ = _halves(max(reach - size, 0), top_left_heavy=p.padding.top_left_heavy)
    # Padding that no window reaches is none: onnxruntime would complain of some.
    end = max(reach - size - begin, 0)
    dilation = p.dilation[axis] if isinstance(p, Convolution) else 1
    return Axis(
        size=size, out=out, kernel=p.kernel[axis], stride=stride, dilation=dilation, begin=begin, end=end
    )
