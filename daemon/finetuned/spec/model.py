"""A Core ML model as frozen values: what the rest of finetuned knows of a `.mlmodel`.

Arrays are read-only float32 views or the raw quantised bytes of the file; nothing is copied until a
compiler asks for it.  Names of layers, blobs, features and labels are the file's own.  Apple's
camelCase names (`innerProduct`, `neuralNetworkClassifier`) are kept as strings, since users know them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from finetuned.spec.kinds import Kind

if TYPE_CHECKING:
    from finetuned.parameters import Parameter
    from finetuned.spec.neighbors import Neighbors

FloatArray = NDArray[np.float32]


# ── features ────────────────────────────────────────────────────────────────────────────────────
class Color(StrEnum):
    """`ImageFeatureType.ColorSpace`, as the file spells it."""

    rgb = "RGB"
    bgr = "BGR"
    grayscale = "GRAYSCALE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageType:
    """An image of `width` × `height` pixels, 8 bits a channel; the network sees [C, H, W] as 0…255."""

    width: int
    height: int
    color: Color

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W]."""
        return (1 if self.color is Color.grayscale else 3, self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayType:
    """An `MLMultiArray`: `dtype` is the file's word (DOUBLE, FLOAT32, INT32, FLOAT16)."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarType:
    """`string`, `int64` or `double`."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DictionaryType:
    """A dictionary from `key` (`string` or `int64`) to double: a classifier's probabilities."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherType:
    """A feature type that finetuned does not read (sequence, state, none); `kind` is its name."""

    kind: str


FeatureType = ImageType | ArrayType | ScalarType | DictionaryType | OtherType


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One input, output or training input of a model."""

    name: str
    type: FeatureType
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`ModelDescription`."""

    inputs: tuple[Feature, ...] = ()
    outputs: tuple[Feature, ...] = ()
    training_inputs: tuple[Feature, ...] = ()
    predicted_feature: str = ""
    predicted_probabilities: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


# ── weights ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """`QuantizationParams`: linear (scale and bias per output channel, or one of each) or a table."""

    bits: int
    scale: FloatArray | None = None
    bias: FloatArray | None = None
    table: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`WeightParams` of one blob, undecoded: exactly one encoding should be filled.

    `encodings` names the filled ones (`floatValue`, `float16Value`, `rawValue`, `int8RawValue`); `data`
    is the payload of the first of them.
    """

    data: bytes = b""
    encodings: tuple[str, ...] = ()
    quantization: Quantization | None = None
    updatable: bool = False


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """`valid` with border amounts, `same` with its asymmetry, or `includeLastPixel` (pooling only).

    `amounts` is ((top, bottom), (left, right)); for includeLastPixel both ends of a row are equal.
    """

    mode: str = "valid"
    amounts: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    top_left_heavy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerProduct:
    """y = W x + b; W is [output_channels, input_channels], row-major."""

    input_channels: int
    output_channels: int
    weights: Weights
    bias: Weights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """2-D convolution; W is [C_out, C_in/groups, kH, kW], for a deconvolution [C_in, C_out/groups, kH, kW]."""

    output_channels: int
    kernel_channels: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding
    deconvolution: bool
    output_shape: tuple[int, ...]
    weights: Weights
    bias: Weights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """`type` is MAX, AVERAGE or L2."""

    type: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    exclude_padding: bool
    global_pooling: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """`type` is Apple's name (ReLU, sigmoid, leakyReLU, …), `alpha` and `beta` its scalars, where it has them.

    `alphas` and `betas` are of PReLU and parametricSoftplus: a number for each channel, or one for all.
    """

    type: str
    alpha: float = 0.0
    beta: float = 0.0
    alphas: Weights | None = None
    betas: Weights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten:
    """[C, H, W] to [C·H·W, 1, 1]; `channel_last` flattens [H, W, C]."""

    channel_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Softmax over the channel axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """min(max(x, minimum), maximum)."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """The sum of all inputs; with a single input, `alpha` is added."""

    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A layer whose parameters finetuned does not read."""


LayerParameters = (
    InnerProduct | Convolution | Pooling | Activation | Flatten | Softmax | Clip | Add | Kind | Opaque
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: `type` is the name of its field in NeuralNetworkLayer (`innerProduct`, `lstm`…)."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    updatable: bool
    parameters: LayerParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Applied to an image input before the first layer: y = scale · x + bias per channel.

    `mean_image` (shape [C·H·W]) is subtracted instead, where the file has one.
    """

    feature: str
    scale: float = 1.0
    red_bias: float = 0.0
    green_bias: float = 0.0
    blue_bias: float = 0.0
    gray_bias: float = 0.0
    mean_image: FloatArray | None = None


# ── update parameters ───────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """`kind` is categoricalCrossEntropyLossLayer or meanSquaredErrorLossLayer."""

    name: str
    kind: str
    input: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """`NetworkUpdateParameters`.

    `optimizer` is `sgdOptimizer`, `adamOptimizer` or "" (unset); `parameters` holds those that the file
    has, by Apple's names: learningRate, miniBatchSize, momentum, beta1, beta2, eps, epochs, shuffle, seed.
    """

    losses: tuple[Loss, ...]
    optimizer: str
    parameters: dict[str, Parameter]


# ── models ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The body of a neuralNetwork, neuralNetworkClassifier or neuralNetworkRegressor.

    `exact_shapes` is arrayInputShapeMapping EXACT (else RANK5).
    """

    layers: tuple[Layer, ...]
    preprocessing: tuple[Preprocessing, ...] = ()
    exact_shapes: bool = False
    update: Update | None = None
    class_labels: tuple[str, ...] | tuple[int, ...] = ()
    probability_layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A Core ML model: `kind` is the name of its field in `Model.Type`.

    `network` is there for the three neural network kinds only, `neighbors` for k-nearest neighbours, `models` and
    their `names` (as many, or none) for pipelines; `data` are the bytes that it was decoded from, the ground on which
    `codec.encode` patches new weights (a model inside a pipeline has none).
    """

    specification_version: int
    updatable: bool
    kind: str
    description: Description
    network: Network | None
    neighbors: Neighbors | None = None
    models: tuple[Model, ...] = ()
    names: tuple[str, ...] = ()
    data: bytes = field(repr=False, default=b"")

    @property
    def learner(self) -> Model:
        """The model that an update changes: of a pipeline, however deep, the last one; else the model itself."""
        return self.models[-1].learner if self.models else self
