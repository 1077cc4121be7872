"""Nearest neighbours and pipelines for tests: valid by default, spoiled on purpose by `builders.edited`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import builders
import networks as n
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

DIMENSIONS = 4
Message = pb.Model | pb.KNearestNeighborsClassifier


def neighbors(
    labels: Sequence[str] = ("a", "b", "a"), *, dimensions: int = DIMENSIONS, seed: int = 0
) -> pb.Model:
    """Return an updatable classifier of `embedding` [dimensions] with a random sample for each label."""
    model = pb.Model(specificationVersion=4, isUpdatable=True)
    knn = model.kNearestNeighborsClassifier
    index = knn.nearestNeighborsIndex
    index.numberOfDimensions = dimensions
    index.linearIndex.SetInParent()
    index.squaredEuclideanDistance.SetInParent()
    for number, _ in enumerate(labels):
        index.floatSamples.add(vector=n.numbers(dimensions, seed=seed + number).tobytes())
    knn.numberOfNeighbors.defaultValue = 3
    knn.numberOfNeighbors.range.minValue, knn.numberOfNeighbors.range.maxValue = 1, 1000
    knn.stringClassLabels.vector.extend(labels)
    knn.defaultStringLabel = "unknown"
    knn.uniformWeighting.SetInParent()
    describe_neighbors(model.description, dimensions)
    return model


def describe_neighbors(description: pb.ModelDescription, dimensions: int) -> None:
    """Let the input be `embedding`, the label `label` and its probabilities `probabilities`."""
    n.array_feature(description.input.add(name="embedding"), (dimensions,))
    description.output.add(name="label").type.stringType.SetInParent()
    description.output.add(name="probabilities").type.dictionaryType.stringKeyType.SetInParent()
    description.predictedFeatureName, description.predictedProbabilitiesName = "label", "probabilities"
    description.trainingInput.add().CopyFrom(description.input[0])
    description.trainingInput.add().CopyFrom(description.output[0])


def front(inputs: int = 6, outputs: int = DIMENSIONS) -> pb.Model:
    """Return a frozen network from `x` to `embedding`."""
    model = n.network([n.dense(outputs, inputs)], (inputs,))
    model.specificationVersion = 1
    model.neuralNetwork.layers[0].output[0] = "embedding"
    model.description.output[0].name = "embedding"
    model.description.output[0].type.multiArrayType.shape.append(outputs)
    return model


def taking_embedding(message: pb.Model) -> pb.Model:
    """Let a network of one vector take what `front` makes."""
    old, made = message.description.input[0].name, front().description.output[0]
    for feature in (*message.description.input, *message.description.trainingInput):
        if feature.name == old:
            feature.CopyFrom(made)
    for layer in getattr(message, message.WhichOneof("Type") or "").layers:
        layer.input[:] = ["embedding" if name == old else name for name in layer.input]
    return message


def head() -> pb.Model:
    """Return a classifier of `embedding` of which the last layer is trained, behind a frozen one."""
    data = builders.dense_classifier(inputs=DIMENSIONS, train_hidden=False)
    return taking_embedding(pb.Model.FromString(data))


def pipeline(*models: pb.Model, names: Sequence[str] = (), updatable: bool = True) -> pb.Model:
    """Return a classifier of these models: `x` goes in, the last one's outputs come out; it is trained on `x` and `label`."""
    inside = models or (front(), neighbors())
    model = pb.Model(specificationVersion=4, isUpdatable=updatable)
    model.pipelineClassifier.pipeline.models.extend(inside)
    model.pipelineClassifier.pipeline.names.extend(names)
    description = model.description
    description.input.add().CopyFrom(inside[0].description.input[0])
    description.output.extend(inside[-1].description.output)
    description.predictedFeatureName = inside[-1].description.predictedFeatureName
    description.trainingInput.add().CopyFrom(description.input[0])
    description.trainingInput.extend(inside[-1].description.trainingInput[1:])
    return model


def nested(*names: str, last: pb.Model | None = None) -> pb.Model:
    """Return a pipeline of a network from `y` [8] to `x` [6], and of a pipeline from that to the last model's outputs."""
    first = front(8, 6)
    layer = first.neuralNetwork.layers[0]
    layer.input[0], layer.output[0] = "y", "x"
    first.description.input[0].name, first.description.output[0].name = "y", "x"
    return pipeline(first, pipeline(front(), last or neighbors(), names=names), names=names)


def with_nan(model: pb.Model) -> None:
    """Make the first sample NaN."""
    model.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples[0].vector = np.full(
        DIMENSIONS, np.nan, "<f4"
    ).tobytes()
