"""A `.mlmodel`'s bytes to values, and what was learnt back into the bytes: trained weights, or stored samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import features, layers, neighbors, updates, wire
from finetuned.spec.model import (
    Convolution,
    FloatArray,
    InnerProduct,
    Layer,
    Model,
    Network,
    Weights,
)
from finetuned.spec.names import shortened
from finetuned.spec.survey import MOST_SAMPLES, survey
from finetuned.spec.weights import array, weight_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.spec.neighbors import Neighbors

__all__ = ["LayerWeights", "array", "decode", "encode", "encode_neighbors", "weight_shape"]

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
NEIGHBORS = "kNearestNeighborsClassifier"

# What people hand over instead of an .mlmodel: how it starts, and what to do.
MISTAKEN = (
    (b"PK", "a zip archive, perhaps a packed .mlpackage: unpack it and give the .mlmodel file inside"),
    (b"{", "JSON, perhaps a part of an .mlpackage or of a compiled .mlmodelc: give the .mlmodel file"),
    (b"[", "JSON, perhaps a part of a compiled .mlmodelc: give the .mlmodel that it was compiled from"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (b"\x89HDF", "HDF5, perhaps a Keras model: convert it with coremltools"),
)


# ── decode ──────────────────────────────────────────────────────────────────────────────────────
def decode(data: bytes) -> Model:
    """Return the model in the bytes of an `.mlmodel`; ModelError says what they are instead."""
    try:
        return _decoded(data)
    except ModelError as error:
        # A file may be made to fill a log with its names.
        raise ModelError(shortened(str(error))) from error


def _decoded(data: bytes) -> Model:
    message = _parsed(data)
    if message.WhichOneof("Type") is None:
        raise ModelError(f"not a Core ML model: {len(data)} bytes hold no model of a known type{_hint(data)}")
    return _model(message, bytes(data))


def _model(message: pb.Model, data: bytes = b"") -> Model:
    """Return a model, or (without data) one inside a pipeline, whose kind may be missing: `check` says so."""
    kind = message.WhichOneof("Type") or ""
    pipeline = _pipeline(message, kind)
    return Model(
        specification_version=message.specificationVersion,
        updatable=message.isUpdatable,
        kind=kind,
        description=features.description(message.description),
        network=_network(getattr(message, kind)) if kind in NETWORKS else None,
        neighbors=neighbors.neighbors(message.kNearestNeighborsClassifier) if kind == NEIGHBORS else None,
        models=tuple(_model(inner) for inner in pipeline.models),
        names=tuple(pipeline.names),
        data=data,
    )


def _pipeline(message: pb.Model, kind: str) -> pb.Pipeline:
    """Return what a pipeline of any form holds; nothing for other kinds."""
    if kind in {"pipelineClassifier", "pipelineRegressor"}:
        return getattr(message, kind).pipeline  # type: ignore[no-any-return]  # generated classes are read by name
    return message.pipeline if kind == "pipeline" else pb.Pipeline()


def _parsed(data: bytes) -> pb.Model:
    if not data:
        raise ModelError("not a Core ML model: the file is empty")
    try:
        survey(data)
        return pb.Model.FromString(data)
    except (ModelError, DecodeError) as error:
        what = f"{len(data)} bytes starting with {data[:8]!r}: {error}"
        raise ModelError(f"not a Core ML model that can be read: {what}{_hint(data)}") from error


def _hint(data: bytes) -> str:
    return next((f"; this looks like {what}" for start, what in MISTAKEN if data.startswith(start)), "")


def _network(message: pb.NeuralNetwork | pb.NeuralNetworkClassifier | pb.NeuralNetworkRegressor) -> Network:
    classifier = message if isinstance(message, pb.NeuralNetworkClassifier) else pb.NeuralNetworkClassifier()
    has_update = message.HasField("updateParams")
    return Network(
        layers=tuple(layers.layer(entry) for entry in message.layers),
        preprocessing=tuple(layers.preprocessing(entry) for entry in message.preprocessing),
        exact_shapes=message.arrayInputShapeMapping == pb.EXACT_ARRAY_MAPPING,
        update=updates.update(message.updateParams) if has_update else None,
        class_labels=_labels(classifier),
        probability_layer=classifier.labelProbabilityLayerName,
    )


def _labels(message: pb.NeuralNetworkClassifier) -> tuple[str, ...] | tuple[int, ...]:
    match message.WhichOneof("ClassLabels"):
        case "stringClassLabels":
            return tuple(message.stringClassLabels.vector)
        case "int64ClassLabels":
            return tuple(message.int64ClassLabels.vector)
        case _:
            return ()


# ── encode ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """The trained numbers of one layer, float32, in the layer's own shapes; `bias` None if it has none."""

    weights: FloatArray
    bias: FloatArray | None = None


def encode(model: Model, weights: Mapping[str, LayerWeights]) -> bytes:
    """Return the model's bytes with new weights for the named layers; every other byte stays.

    Of a pipeline they are the layers of its last model.

    ModelError when a layer is missing, named twice or not updatable, when a shape differs, or when a number
    is NaN or infinite: such a model is never saved.
    """
    pieces: list[tuple[int, bytes]] = []
    for name, trained in weights.items():
        index, layer = _trainable(model.learner, name)
        pieces += _pieces(model, index, layer, trained)
    return wire.patch(model.data, pieces)


def encode_neighbors(model: Model, samples: FloatArray, labels: Sequence[str | int]) -> bytes:
    """Return the bytes of a nearest-neighbours model with these samples, and nothing else changed.

    Args:
        model: the model, or a pipeline that ends in one.
        samples: float32 [n, d], all that are stored from now on.
        labels: one a sample, of the model's type.

    Raises:
        ModelError: they do not fit the model, or a number is NaN or infinite: such a model is never saved.
    """
    found = model.learner.neighbors
    if found is None:
        raise ModelError(f"cannot save: a {model.learner.kind} stores no samples")
    _check_samples(found, samples, labels)
    path = [*_way(model), _step_to(model.learner)]
    span = wire.find(model.data, path)
    pieces = neighbors.with_samples(model.data, span, samples, labels, kind=found.kind)
    return wire.splice(model.data, path, pieces)


def _check_samples(found: Neighbors, samples: FloatArray, labels: Sequence[str | int]) -> None:
    if samples.shape != (len(labels), found.dimensions):
        raise ModelError(
            f"cannot save: samples of the shape {samples.shape} and {len(labels)} labels; "
            f"the model's samples have {found.dimensions} numbers and a label each"
        )
    if len(samples) > MOST_SAMPLES:
        raise ModelError(
            f"cannot save: {len(samples)} samples, and {MOST_SAMPLES} are the most that finetuned reads; give the model a limit"
        )
    if not np.isfinite(samples).all():
        raise ModelError("cannot save: a sample holds numbers that are NaN or infinite")
    kind = str if found.kind == "string" else int
    if not all(type(label) is kind for label in dict.fromkeys(labels)):
        raise ModelError(f"cannot save: the model's labels are of the type {found.kind}")


def _trainable(model: Model, name: str) -> tuple[int, Layer]:
    found = [
        (i, layer)
        for i, layer in enumerate(model.network.layers if model.network else ())
        if layer.name == name
    ]
    if len(found) != 1:
        raise ModelError(f"cannot save: the model has {len(found)} layers named {name!r}")
    if not found[0][1].updatable:
        raise ModelError(f"cannot save: the layer {name!r} is not marked as updatable")
    return found[0]


def _pieces(model: Model, index: int, layer: Layer, trained: LayerWeights) -> list[tuple[int, bytes]]:
    parameters = layer.parameters
    if not isinstance(parameters, InnerProduct | Convolution):
        raise ModelError(f"cannot save: the layer {layer.name!r} ({layer.type}) has no trainable weights")
    if (parameters.bias is None) != (trained.bias is None):
        raise ModelError(f"cannot save: the layer {layer.name!r} and its new weights disagree about a bias")
    shape = weight_shape(parameters)
    path = [*_way(model), *_path(model.learner.kind, index, layer.type)]
    pieces = [
        _piece(model.data, [*path, _step(layer.type, "weights")], parameters.weights, trained.weights, shape)
    ]
    if parameters.bias is not None and trained.bias is not None:
        width = (parameters.output_channels,)
        pieces.append(
            _piece(model.data, [*path, _step(layer.type, "bias")], parameters.bias, trained.bias, width)
        )
    return pieces


_PARAMETERS = {
    "innerProduct": pb.InnerProductLayerParams.DESCRIPTOR.fields_by_name,
    "convolution": pb.ConvolutionLayerParams.DESCRIPTOR.fields_by_name,
}


def _step(layer_type: str, name: str) -> wire.Step:
    """Return the step from a layer's parameters to its `weights` or `bias`."""
    return wire.Step(name=name, number=_PARAMETERS[layer_type][name].number)


def _way(model: Model) -> list[wire.Step]:
    """Return the steps from the file to the model that learns: into the last one of every pipeline."""
    if not model.models:
        return []
    steps = [_step_to(model)]
    if model.kind != "pipeline":
        steps.append(wire.Step(name="pipeline", number=pb.PipelineClassifier.PIPELINE_FIELD_NUMBER))
    steps.append(
        wire.Step(name="models", number=pb.Pipeline.MODELS_FIELD_NUMBER, index=len(model.models) - 1)
    )
    return [*steps, *_way(model.models[-1])]


def _step_to(model: Model) -> wire.Step:
    """Return the step into what a model is of its kind."""
    return wire.Step(name=model.kind, number=pb.Model.DESCRIPTOR.fields_by_name[model.kind].number)


def _path(kind: str, index: int, layer_type: str) -> list[wire.Step]:
    """Return the steps from a network's model to a layer's parameters."""
    fields, layer_fields = pb.Model.DESCRIPTOR.fields_by_name, pb.NeuralNetworkLayer.DESCRIPTOR.fields_by_name
    return [
        wire.Step(name=kind, number=fields[kind].number),
        wire.Step(name="layers", number=pb.NeuralNetwork.LAYERS_FIELD_NUMBER, index=index),
        wire.Step(name=layer_type, number=layer_fields[layer_type].number),
    ]


def _piece(
    data: bytes,
    path: list[wire.Step],
    old: Weights,
    new: FloatArray,
    shape: tuple[int, ...],
) -> tuple[int, bytes]:
    """Return where in the file the new numbers go, and their bytes."""
    if old.encodings != ("floatValue",):
        raise ModelError(
            f"cannot save {path[-1].name}: the file holds {old.encodings}, only floatValue can be trained"
        )
    values = np.ascontiguousarray(new, "<f4")
    if values.shape != shape:
        raise ModelError(f"cannot save {path[-1].name} of shape {values.shape}: the layer's are {shape}")
    if not np.isfinite(values).all():
        raise ModelError(f"cannot save {path[-1].name}: the training left NaN or infinite numbers")
    step = wire.Step(name="floatValue", number=pb.WeightParams.FLOATVALUE_FIELD_NUMBER)
    start, end = wire.find(data, [*path, step])
    if end - start != 4 * math.prod(shape):
        raise ModelError(
            f"cannot save {path[-1].name}: the file holds {end - start} bytes for {shape} float32"
        )
    return start, values.tobytes()
