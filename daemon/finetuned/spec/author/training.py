"""A plain network made updatable: layers marked, the loss that fits, an optimizer with ranges, training inputs.

It writes what coremltools' `make_updatable`, `set_categorical_cross_entropy_loss`, `set_mean_squared_error_loss`, `set_epochs`
and the rest write (COREML.md §1.3), with ranges in the place of one-element sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author import numbers, settings
from finetuned.spec.author.editing import Body, blob_names, body, free_name, opened, sealed
from finetuned.spec.author.networks import SGD, Adam, Training, add_update_parameters
from finetuned.spec.names import listed, quoted
from finetuned.spec.rules.case import NETWORKS, case
from finetuned.spec.rules.extents import follow
from finetuned.spec.rules.layers import TRAINABLE
from finetuned.spec.rules.paths import way

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.spec.author.settings import Setting
    from finetuned.spec.model import Layer, Model

UPDATABLE_VERSION = 4
OPTIMIZERS = {"sgd": SGD, "adam": Adam}
TRUE = "_true"
"""What coremltools puts behind the name of a blob to name its target."""

_SHAPING = frozenset({"flatten", "reshape"})
"""What may stand between a softmax and a classifier's probabilities: the numbers stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Which layers are trained: those named, the `last` fully connected ones, or (`everything`) all that a gradient reaches."""

    layers: Sequence[str] = ()
    last: int = 0
    everything: bool = False


def updatable(  # noqa: PLR0913 - what a training is made of, by name
    data: bytes,
    marked: Marked,
    *,
    optimizer: str = "sgd",
    parameters: Mapping[str, Setting] | None = None,
    output: str = "",
    softmax: bool = False,
    beyond_coreml: bool = False,
) -> bytes:
    """Return the network as one that can be updated.

    A classifier and a softmax get cross entropy, anything else the squared error.  Quantised and float16 weights of the
    layers that are trained become float32, exactly; so do all float16 ones, which no updatable network may hold.

    Args:
        data: a `.mlmodel` with a neural network.
        marked: the layers to train; any others are unmarked.
        optimizer: `sgd` or `adam`.
        parameters: what is not to be as in `Training()`: learningRate, miniBatchSize, momentum, …, epochs, shuffle, seed.
        output: which of several outputs is trained.
        softmax: put a softmax behind the output, where there is none.
        beyond_coreml: let gradients pass where Apple's validator does not.

    Raises:
        ModelError: a layer that is not there or cannot be trained, an output without a loss that fits, or what `check` says.
        ParameterError: a parameter that the optimizer does not have, or a wrong value.
    """
    message = opened(data)
    if message.WhichOneof("Type") not in NETWORKS:
        raise ModelError(
            f"a {message.WhichOneof('Type')} has no layers of its own to train; "
            f"{', '.join(sorted(NETWORKS))} have (of a pipeline, make the last model updatable before it is put in)"
        )
    network = body(message)
    numbers.unmark(network.layers)
    numbers.widen_float16(network.layers)
    _describe(message, network, optimizer)
    settings.apply(message, parameters or {})
    blob = _judged(message, network, output, softmax=softmax)
    _attach(message, network, blob)
    for entry in _chosen(message, network, marked, beyond_coreml=beyond_coreml):
        numbers.mark(entry)
    return sealed(message, data, beyond_coreml=beyond_coreml)


def _describe(message: pb.Model, network: Body, optimizer: str) -> None:
    """Say that the model is updatable, with optimizer and epochs; what it had of this before is gone."""
    if optimizer not in OPTIMIZERS:
        raise ModelError(f"there is no optimizer {quoted(optimizer)}; {' and '.join(OPTIMIZERS)} are there")
    message.isUpdatable = True
    message.specificationVersion = max(UPDATABLE_VERSION, message.specificationVersion)
    network.ClearField("updateParams")
    message.description.ClearField("trainingInput")
    message.description.trainingInput.extend(message.description.input)
    add_update_parameters(network.updateParams, Training(optimizer=OPTIMIZERS[optimizer]()))


# ── the loss ────────────────────────────────────────────────────────────────────────────────────
def _judged(message: pb.Model, network: Body, output: str, *, softmax: bool) -> str:
    """Return the blob that the loss is put on."""
    blob = _output(message, network, output)
    producer = _producer(network, blob)
    if producer is None:
        raise ModelError(f"no layer makes the output {quoted(blob)}, so there is nothing to put a loss on")
    found: pb.NeuralNetworkLayer | None = producer
    while found is not None and found.WhichOneof("layer") in _SHAPING and len(found.input) == 1:
        found = _producer(network, found.input[0])
    is_there = found is not None and found.HasField("softmax")
    if softmax and not is_there:
        _add_softmax(network, producer, blob)
        return blob
    if not softmax and not isinstance(network, pb.NeuralNetworkClassifier):
        return blob
    if found is None or not is_there:
        kind = (found or producer).WhichOneof("layer")
        raise ModelError(
            f"the probabilities {quoted(blob)} of the classifier are made by {quoted((found or producer).name)} ({kind}), and "
            "cross entropy needs a softmax there (not softmaxND); with the option softmax one is put behind it, "
            "which is right where the layer makes logits"
        )
    return found.output[0]


def _output(message: pb.Model, network: Body, wanted: str) -> str:
    """Return the blob behind the output that is trained."""
    if isinstance(network, pb.NeuralNetworkClassifier) and not wanted:
        last = network.layers[-1].output[:1] if network.layers else [""]
        return network.labelProbabilityLayerName or "".join(last)
    names = [feature.name for feature in message.description.output]
    if wanted and wanted not in names:
        raise ModelError(f"the model has no output {quoted(wanted)}; it has {listed(names)}")
    if not wanted and len(names) != 1:
        raise ModelError(f"the model has {len(names)} outputs ({listed(names)}); say which one is trained")
    return wanted or names[0]


def _producer(network: Body, blob: str) -> pb.NeuralNetworkLayer | None:
    return next((entry for entry in network.layers if blob in entry.output), None)


def _add_softmax(network: Body, producer: pb.NeuralNetworkLayer, blob: str) -> None:
    """Let a softmax make the blob, out of what was called so before."""
    logits = free_name(f"{blob}_logits", blob_names(network))
    name = free_name("softmax", blob_names(network))
    producer.output[:] = [logits if each == blob else each for each in producer.output]
    entry = network.layers.add(name=name, input=[logits], output=[blob])
    entry.softmax.SetInParent()


def _attach(message: pb.Model, network: Body, blob: str) -> None:
    """Put the loss on the blob, and its target among the training inputs, named as coremltools does."""
    producer = _producer(network, blob)
    target = f"{blob}{TRUE}"
    loss = network.updateParams.lossLayers.add(name=free_name("lossLayer", blob_names(network)))
    entropy = producer is not None and producer.HasField("softmax")
    ends = loss.categoricalCrossEntropyLossLayer if entropy else loss.meanSquaredErrorLossLayer
    ends.input, ends.target = blob, target
    description = message.description
    if entropy and isinstance(network, pb.NeuralNetworkClassifier):
        label = description.predictedFeatureName
        kind = [feature.type for feature in description.output if feature.name == label]
        description.trainingInput.add(name=label, type=kind[0] if kind else None)
        return
    feature = description.trainingInput.add(name=target).type.multiArrayType
    feature.dataType = pb.ArrayFeatureType.INT32 if entropy else pb.ArrayFeatureType.DOUBLE
    feature.shape[:] = [1] if entropy else _shape(message, blob)


def _shape(message: pb.Model, blob: str) -> list[int]:
    """Return the shape of a target of the squared error: that of the output, or what is known of the blob."""
    for feature in message.description.output:
        if feature.name == blob and feature.type.multiArrayType.shape:
            return list(feature.type.multiArrayType.shape)
    model = codec.decode(message.SerializeToString())
    extent = follow(model, model.network).get(blob) if model.network else None
    if extent is None or extent.size is None:
        raise ModelError(
            f"how many numbers the output {quoted(blob)} has is neither said in the file nor known without running it; "
            "give the output a shape"
        )
    return [extent.size]


# ── the layers ──────────────────────────────────────────────────────────────────────────────────
def _chosen(
    message: pb.Model, network: Body, marked: Marked, *, beyond_coreml: bool
) -> list[pb.NeuralNetworkLayer]:
    if sum((bool(marked.layers), bool(marked.last), marked.everything)) != 1:
        raise ModelError(
            "say which layers are trained: some by name, the last few fully connected ones, or all"
        )
    if marked.layers:
        return [_named(network, name) for name in dict.fromkeys(marked.layers)]
    if marked.last:
        return _last(network, marked.last)
    model = codec.decode(message.SerializeToString())
    return _reached(model, network, beyond_coreml=beyond_coreml)


def _named(network: Body, name: str) -> pb.NeuralNetworkLayer:
    found = [entry for entry in network.layers if entry.name == name]
    if not found:
        raise ModelError(f"the network has no layer {quoted(name)}; {_those(network)}")
    kind = found[0].WhichOneof("layer")
    if kind not in TRAINABLE:
        raise ModelError(f"the layer {quoted(name)} ({kind}) cannot be trained; {_those(network)}")
    return found[0]


def _those(network: Body) -> str:
    names = [entry.name for entry in network.layers if entry.WhichOneof("layer") in TRAINABLE]
    kinds = " and ".join(sorted(TRAINABLE))
    return f"{kinds} can be: {listed(names[::-1])} (the last first)" if names else f"it has no {kinds}"


def _last(network: Body, count: int) -> list[pb.NeuralNetworkLayer]:
    found = [entry for entry in network.layers if entry.HasField("innerProduct")]
    if not 1 <= count <= len(found):
        raise ModelError(
            f"the network has {len(found)} fully connected layer{'' if len(found) == 1 else 's'}; the last {count} cannot be marked, "
            + (_allowed(len(found)) if found else "name convolutions by their names")
        )
    return found[-count:]


def _allowed(count: int) -> str:
    return "1 can" if count == 1 else f"1 to {count} can"


def _reached(model: Model, network: Body, *, beyond_coreml: bool) -> list[pb.NeuralNetworkLayer]:
    """Return everything that can be trained and that a gradient reaches."""
    if (
        model.network is None
        or not (judged := case(model, model.network, beyond_coreml=beyond_coreml)).losses
    ):
        return []
    reached = {
        station.layer.name for station in way(judged) if station.blocker is None and _is_whole(station.layer)
    }
    found = [entry for entry in network.layers if entry.name in reached]
    if not found:
        raise ModelError(
            f"no layer can be trained: a gradient reaches none from {quoted(judged.losses[0].input)} on"
        )
    return found


def _is_whole(layer: Layer) -> bool:
    """Tell a layer that can be trained; a convolution that takes its weights from a blob has none."""
    return layer.type in TRAINABLE and len(layer.inputs) == 1
