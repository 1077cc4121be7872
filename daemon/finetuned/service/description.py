"""What is said of a model: the values that messages, the ledger and `check` describe one with."""

from __future__ import annotations

from typing import Literal

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base of the untagged values."""


class InputSpec(Value, frozen=True, kw_only=True):
    """One input of a model, as far as a decoder must know it.

    An image: `shape` is [C, H, W], it becomes uint8.  An array: `shape` is the file's, it becomes float32.  `fit` is
    `stretch` (Core ML's scaleFill) or `crop`.
    """

    name: str
    shape: tuple[int, ...]
    color: Literal["", "RGB", "BGR", "GRAYSCALE"] = ""
    fit: Literal["stretch", "crop"] = "stretch"

    @property
    def signature(self) -> str:
        """A name for the decoded form: two models with the same signature share decoded inputs."""
        return f"{self.color or 'array'}:{'x'.join(map(str, self.shape))}:{self.fit if self.color else ''}"

    @property
    def dtype(self) -> str:
        """The decoded element type, little-endian: `u1` for images, `<f4` for arrays."""
        return "u1" if self.color else "<f4"


class ParameterInfo(Value, frozen=True, kw_only=True):
    """An update parameter: default and range, or set."""

    default: float | int | bool
    range: tuple[float, float] | None = None
    set: tuple[int, ...] | None = None


class LayerInfo(Value, frozen=True, kw_only=True):
    """A row of `check`'s table; `parameters` is how many numbers the layer holds."""

    name: str
    type: str
    trainable: bool
    parameters: int


class FeatureInfo(Value, frozen=True, kw_only=True):
    """An input, output or training input: name, type in words (`image 224 × 224 RGB`), shape."""

    name: str
    type: str
    shape: tuple[int, ...] = ()


class ModelInfo(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What the daemon, and a person who types `check`, may know of a model (the JSON of CLI.md).

    `departures`, where it was asked for them: the ways in which it leaves Core ML; else it is not updatable.
    `samples` of `dimensions` numbers are those of nearest neighbours, `models` (`name`, `kind`) those of a pipeline.
    `pixel_scale`: what its pixels were multiplied by when it was registered (0: left as they were), and then `source` is the
    SHA-256 of the file that it was registered from.  `open_labels`: it takes new labels, of the kind `label_kind` (`string` or `int64`), and holds the very samples that it
    has learnt from; `class_labels` are those that it knows.
    """

    updatable: bool
    kind: str
    specification_version: int
    reasons: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()
    inputs: tuple[FeatureInfo, ...] = ()
    outputs: tuple[FeatureInfo, ...] = ()
    training_inputs: tuple[FeatureInfo, ...] = ()
    layers: tuple[LayerInfo, ...] = ()
    samples: int | None = None
    dimensions: int | None = None
    models: tuple[dict[str, str], ...] = ()
    losses: tuple[dict[str, str], ...] = ()
    optimizer: str = ""
    parameters: dict[str, ParameterInfo] = {}
    class_labels: tuple[str | int, ...] = ()
    label_kind: str = ""
    open_labels: bool = False
    metadata: dict[str, str] = {}
    sample_inputs: tuple[InputSpec, ...] = ()
    target: str = ""
    pixel_scale: float = 0.0
    source: str = ""
