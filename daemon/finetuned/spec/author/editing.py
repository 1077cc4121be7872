"""What every change of a model shares: its message, the model that learns inside of it, and the judge of what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.names import listed, shortened
from finetuned.spec.rules.case import NETWORKS
from finetuned.spec.rules.pipelines import scopes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finetuned.spec.model import Model

Body = pb.NeuralNetwork | pb.NeuralNetworkClassifier | pb.NeuralNetworkRegressor

_TOLD = 6


def opened(data: bytes, *, sound: bool = True) -> pb.Model:
    """Return the message of a `.mlmodel`; errors are those of `decoded`."""
    decoded(data, sound=sound)
    return pb.Model.FromString(data)


def decoded(data: bytes, *, sound: bool = True) -> Model:
    """Return the model of a `.mlmodel`.

    Raises:
        ModelError: the bytes are none, or (where it has to be `sound`) hold layers or samples that contradict each other.
    """
    model = codec.decode(data)
    found = check.faults(model) if sound else ()
    if found:
        raise ModelError(f"the model cannot be changed, for it cannot be run: {_said(found)}")
    return model


def inside(message: pb.Model) -> Sequence[pb.Model]:
    """Return the models of a pipeline of any form; none of another kind."""
    match message.WhichOneof("Type"):
        case "pipeline":
            return message.pipeline.models
        case "pipelineClassifier":
            return message.pipelineClassifier.pipeline.models
        case "pipelineRegressor":
            return message.pipelineRegressor.pipeline.models
        case _:
            return ()


def learner(message: pb.Model) -> pb.Model:
    """Return the model that learns: the last one of a pipeline, however deep, or the model itself."""
    while models := inside(message):
        message = models[-1]
    return message


def scope_of(message: pb.Model) -> str:
    """Return the names of the models that lead to the one that learns, as Core ML scopes them: `kNNClassifier.`; "" of a model alone."""
    scope = []
    model = codec.decode(message.SerializeToString())
    while model.models:
        scope.append(scopes(model)[-1])
        model = model.models[-1]
    return "".join(f"{each}." for each in scope)


def body(message: pb.Model) -> Body:
    """Return the network of a model; ModelError where it has none."""
    match message.WhichOneof("Type"):
        case "neuralNetwork":
            return message.neuralNetwork
        case "neuralNetworkClassifier":
            return message.neuralNetworkClassifier
        case "neuralNetworkRegressor":
            return message.neuralNetworkRegressor
        case kind:
            raise ModelError(f"a {kind} is no neural network; {', '.join(sorted(NETWORKS))} are")


def label_vector(message: pb.NeuralNetworkClassifier | pb.KNearestNeighborsClassifier) -> list[str | int]:
    """Return the class labels of a network, or of the samples of a k-NN classifier."""
    if message.HasField("int64ClassLabels"):
        return list(message.int64ClassLabels.vector)
    return list(message.stringClassLabels.vector)


def set_labels(
    message: pb.NeuralNetworkClassifier | pb.KNearestNeighborsClassifier, labels: Iterable[str | int]
) -> None:
    """Replace the class labels; their kind stays."""
    if message.HasField("int64ClassLabels"):
        message.int64ClassLabels.vector[:] = [int(label) for label in labels]
    else:
        message.stringClassLabels.vector[:] = [str(label) for label in labels]


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return the name, with a number behind it where it is taken."""
    names = set(taken)
    number = 2
    name = wanted
    while name in names:
        name, number = f"{wanted}_{number}", number + 1
    return name


def blob_names(network: Body) -> set[str]:
    """Return the names of all blobs and layers, none of which a new one may have."""
    names = {layer.name for layer in network.layers}
    for layer in network.layers:
        names.update(layer.input, layer.output)
    return names


def sealed(message: pb.Model, before: bytes, *, beyond_coreml: bool | None = None) -> bytes:
    """Return the bytes of a changed model; arguments and errors are those of `judged`."""
    return judged(message.SerializeToString(deterministic=True), before, beyond_coreml=beyond_coreml)


def judged(data: bytes, before: bytes, *, beyond_coreml: bool | None = None) -> bytes:
    """Return the bytes of a changed model as they are, if `check` has nothing against it.

    `beyond_coreml` is by which rules it is judged; None: by those that the model `before` was made for.

    Raises:
        ModelError: `check` refuses it; the message holds the reasons.
    """
    model = codec.decode(data)
    if beyond_coreml is None:
        beyond_coreml = bool(check.departures(codec.decode(before)))
    found = check.reasons(model, beyond_coreml=beyond_coreml) if model.updatable else check.faults(model)
    if found:
        raise ModelError(f"the model that this would make is refused: {_said(found)}")
    return data


def _said(reasons: Sequence[check.Reason]) -> str:
    texts = [*dict.fromkeys(f"{reason.message} ({reason.remedy})" for reason in reasons)]
    more = f"; and {len(texts) - _TOLD} more" if len(texts) > _TOLD else ""
    return shortened("; ".join(texts[:_TOLD])) + more


def named(labels: Sequence[str | int]) -> str:
    """Return some labels, as a message may quote them."""
    return listed([str(label) for label in labels]) or "none"
