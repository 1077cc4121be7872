"""A network turned into a pipeline: its front makes features, and a k-nearest-neighbours classifier learns from them.

It is what coremltools' `KNearestNeighborsClassifierBuilder` and `PipelineClassifier` build (COREML.md §1.3, §5): the front is
frozen, the k-NN is empty and answers its default label until it has samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.parameters import Parameter
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author.editing import free_name, opened, sealed
from finetuned.spec.author.extractor import front_of
from finetuned.spec.author.neighbors import configure
from finetuned.spec.author.settings import Setting, write
from finetuned.spec.author.training import UPDATABLE_VERSION
from finetuned.spec.names import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTRACTOR, NEIGHBORS = "FeatureExtractor", "kNNClassifier"
FEATURES, LABEL, PROBABILITIES = "features", "label", "labelProbability"
K = Parameter(default=5, minimum=1, maximum=1000)
"""coremltools' own."""
UNKNOWN: dict[str, str | int] = {"string": "unknown", "int64": -1}
"""What an empty model answers, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """How a k-NN classifier decides.

    `weighting` is `uniform` or `inverse` (of the distance); `index` is `linear` or `kd-tree`, whose `leaf_size` is 30 unless it is
    given; `labels` is `string` or `int64`, "" being as the network's own, or else string; `default` is the answer of an empty model.
    """

    k: Setting = K
    weighting: str = "inverse"
    index: str = "linear"
    leaf_size: int = 0
    labels: str = ""
    default: str | int | None = None


def nearest(data: bytes, *, at: str = "", vote: Vote | None = None, dimensions: int = 0) -> bytes:
    """Return a pipeline of the network's front and an empty k-NN classifier.

    Args:
        data: a `.mlmodel` with a neural network.
        at: the layer (or blob) whose output are the features; what comes after it is dropped.  By default it is what the
            last fully connected layer takes in.
        vote: how the k-NN decides.
        dimensions: how many numbers a sample has there; 0: as far as it is known without running the network.

    Raises:
        ModelError: there is no such layer, nothing before it, or what `check` says.
        ParameterError: a wrong number of neighbours.
    """
    message = opened(data)
    vote = vote or Vote()
    front = front_of(message, at, dimensions)
    features = front.description.output[0]
    answer = _answer(message, {*_names(front.description.input), features.name}, _kind(message, vote))
    version = max(UPDATABLE_VERSION, message.specificationVersion)
    made = pb.Model(specificationVersion=version, isUpdatable=True, description=answer)
    _take(made.description, front.description.input)
    made.description.metadata.CopyFrom(message.description.metadata)
    pipeline = made.pipelineClassifier.pipeline
    pipeline.models.add().CopyFrom(front)
    pipeline.models.add().CopyFrom(_neighbors(features, answer, vote))
    pipeline.names[:] = [EXTRACTOR, NEIGHBORS]
    return sealed(made, data)


def vectors(dimensions: int, *, vote: Vote | None = None, name: str = FEATURES) -> bytes:
    """Return an empty k-NN classifier of vectors, without a network before it; its input is called `name`.

    Raises:
        ModelError: what `check` says, of `dimensions` for example.
        ParameterError: a wrong number of neighbours.
    """
    vote = vote or Vote()
    features = pb.FeatureDescription(name=name)
    features.type.multiArrayType.shape[:] = [dimensions]
    features.type.multiArrayType.dataType = pb.ArrayFeatureType.FLOAT32
    answer = _answer(pb.Model(), {name}, _kind(pb.Model(), vote))
    return sealed(_neighbors(features, answer, vote), b"", beyond_coreml=False)


def _names(features: Sequence[pb.FeatureDescription]) -> set[str]:
    return {feature.name for feature in features}


def _kind(source: pb.Model, vote: Vote) -> str:
    """Return the kind of the labels: as asked for, as the network's own, or string."""
    if vote.labels and vote.labels not in UNKNOWN:
        raise ModelError(
            f"there are no labels of the kind {quoted(vote.labels)}; {' and '.join(UNKNOWN)} are there"
        )
    own = source.neuralNetworkClassifier.HasField("int64ClassLabels")
    return vote.labels or ("int64" if own else "string")


def _answer(source: pb.Model, taken: set[str], kind: str) -> pb.ModelDescription:
    """Return a description of label and probabilities; a classifier's own names are kept, so that an app finds them where they were."""
    own = source.description if source.HasField("neuralNetworkClassifier") else pb.ModelDescription()
    label = free_name(own.predictedFeatureName or LABEL, taken)
    probabilities = free_name(own.predictedProbabilitiesName or PROBABILITIES, {*taken, label})
    made = pb.ModelDescription(predictedFeatureName=label, predictedProbabilitiesName=probabilities)
    predicted, chances = made.output.add(name=label).type, made.output.add(name=probabilities).type
    if kind == "string":
        predicted.stringType.SetInParent()
        chances.dictionaryType.stringKeyType.SetInParent()
    else:
        predicted.int64Type.SetInParent()
        chances.dictionaryType.int64KeyType.SetInParent()
    return made


def _take(description: pb.ModelDescription, inputs: Sequence[pb.FeatureDescription]) -> None:
    """List the inputs, and what a training sample must contain: them and the label."""
    description.input.extend(inputs)
    description.trainingInput.extend(inputs)
    description.trainingInput.add(name=description.output[0].name, type=description.output[0].type)


def _neighbors(features: pb.FeatureDescription, answer: pb.ModelDescription, vote: Vote) -> pb.Model:
    made = pb.Model(specificationVersion=UPDATABLE_VERSION, isUpdatable=True, description=answer)
    _take(made.description, [features])
    message = made.kNearestNeighborsClassifier
    message.nearestNeighborsIndex.numberOfDimensions = features.type.multiArrayType.shape[0]
    message.nearestNeighborsIndex.squaredEuclideanDistance.SetInParent()
    write(message.numberOfNeighbors, "numberOfNeighbors", vote.k)
    kind = "string" if answer.output[0].type.HasField("stringType") else "int64"
    if kind == "string":
        message.stringClassLabels.SetInParent()
    else:
        message.int64ClassLabels.SetInParent()
    default = UNKNOWN[kind] if vote.default is None else vote.default
    configure(message, weighting=vote.weighting, index=vote.index, leaf_size=vote.leaf_size, default=default)
    return made
