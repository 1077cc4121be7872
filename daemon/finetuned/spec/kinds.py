"""The layers that carry no trainable weights, as frozen values: each class holds what its message says, defaults applied.

Shapes are without the batch: [S, C, H, W] (sequence, channels, height, width), as NeuralNetwork.proto counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetuned.spec.model import Weights

Borders = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""


# ── one number per channel ──────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Batchnorm:
    """y = gamma (x - mean) / √(variance + epsilon) + beta; `computed` takes mean and variance from what arrives."""

    channels: int
    epsilon: float
    computed: bool
    gamma: Weights
    beta: Weights
    mean: Weights | None
    variance: Weights | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """y = scale · x + bias; the shapes are [1], [C], [1, H, W] or [C, H, W]."""

    shape: tuple[int, ...]
    scale: Weights
    bias_shape: tuple[int, ...] = ()
    bias: Weights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """y = x + bias, of the shape [1], [C], [1, H, W] or [C, H, W]."""

    shape: tuple[int, ...]
    bias: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Column x of W, [output_channels, words], + b."""

    words: int
    output_channels: int
    weights: Weights
    bias: Weights | None = None


# ── several blobs ───────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Multiply:
    """The product of all inputs; a single input is multiplied by `alpha`."""

    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """One after the other along the channels, or along the sequence."""

    sequence: bool


# ── order ───────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """To [C, H, W], or [S, C, H, W]; `channel_last` counts [H, W, C] on both sides."""

    shape: tuple[int, ...]
    channel_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Permute:
    """Axis i of the output is axis `axes[i]` of the input, of [S, C, H, W]."""

    axes: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """`mode` is constant (with `value`), reflection or replication."""

    mode: str
    amounts: Borders
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsample:
    """`factors` (height, width) times as large; `mode` is NN or BILINEAR."""

    factors: tuple[int, int]
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Without its borders; with a second input, of its size from `offset` (height, width) on."""

    amounts: Borders
    offset: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Every `stride`-th from `start` to before `end` (negative: from the end) along axis 0, 1 or 2 of [C, H, W]."""

    axis: int
    start: int
    end: int
    stride: int


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """A function (`type`: SQRT, RSQRT, …) of scale · x + shift."""

    type: str
    alpha: float
    epsilon: float
    shift: float
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce:
    """`mode` is SUM, AVG, …; `axes` are those of [C, H, W] that become 1."""

    mode: str
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Normalize:
    """y = x / √(Σ x² + epsilon), over all of [C, H, W]."""

    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LRN:
    """y = x / (k + alpha / size · Σ x²)^beta, over `size` neighbouring channels."""

    alpha: float
    beta: float
    size: int
    k: float


Kind = (
    Batchnorm
    | Scale
    | Bias
    | Embedding
    | Multiply
    | Concat
    | Reshape
    | Permute
    | Pad
    | Upsample
    | Crop
    | Slice
    | Unary
    | Reduce
    | L2Normalize
    | LRN
)
