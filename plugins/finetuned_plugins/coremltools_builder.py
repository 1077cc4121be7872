"""What coremltools itself refuses: its MLModel, its builder, what it saves."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned_plugins.coremltools_view import NETWORKS, compared, inner_models, ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned import Model

# coremltools and its messages have no types.
Message = Any
VERSIONS = "_SPECIFICATION_VERSION_IOS_"


def objections(spec: Message) -> Iterator[str]:
    """Say what coremltools refuses of a model, or would have made otherwise."""
    yield from _unknown_version(spec)
    yield from _refused(spec)
    yield from _updates(spec)


def _unknown_version(spec: Message) -> Iterator[str]:
    import coremltools  # noqa: PLC0415 - only who asks it pays for it

    newest = max(number for name, number in vars(coremltools).items() if name.startswith(VERSIONS))
    if spec.specificationVersion > newest:
        yield f"specification version {spec.specificationVersion} is newer than coremltools', which is {newest}"


def _refused(spec: Message) -> Iterator[str]:
    from coremltools.models import MLModel  # noqa: PLC0415 - as above

    try:
        MLModel(spec, skip_model_load=True)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        yield f"coremltools' MLModel refuses it: {_said(error)}"


def saved(model: Model, spec: Message) -> Iterator[str]:
    """Say in what a file that coremltools saves differs for finetuned."""
    from coremltools.models.utils import save_spec  # noqa: PLC0415 - as above

    from finetuned import decode  # noqa: PLC0415 - NumPy and protobuf are paid for by who asks

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "saved.mlmodel")
        save_spec(spec, str(path))
        again = decode(path.read_bytes())
    for difference in compared(ours(model), ours(again), "of what coremltools saved"):
        yield f"saved by coremltools it reads otherwise: {difference}"


# ── made again ──────────────────────────────────────────────────────────────────────────────────
def _updates(spec: Message) -> Iterator[str]:
    """Say what coremltools' builder would not have made: of the network that is trained, the last of a pipeline."""
    inner = inner_models(spec)
    if inner:
        yield from _updates(inner[-1])
    if not spec.isUpdatable or (kind := spec.WhichOneof("Type")) not in NETWORKS:
        return
    if not getattr(spec, kind).updateParams.lossLayers:
        yield "the model is marked as updatable and has no loss, which coremltools' builder would have attached"
        return
    try:
        again = _made_again(spec, kind)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        yield f"coremltools' builder refuses to make it: {_said(error)}"
        return
    yield from _untold(spec, again)


def _untold(spec: Message, again: Message) -> Iterator[str]:
    """Say what the builder would have asked for: a target; its name is free, and not every input need be listed."""
    inputs = {each.name for each in spec.description.input}
    told = {
        each.type.WhichOneof("Type") for each in spec.description.trainingInput if each.name not in inputs
    }
    target = again.description.trainingInput[-1]
    if (kind := target.type.WhichOneof("Type")) not in told:
        yield f"training inputs: coremltools' builder would have asked for the loss's target, a {kind} as {target.name!r}"


def _made_again(spec: Message, kind: str) -> Message:
    """Return the network without its update data, made updatable again by coremltools' builder."""
    from coremltools.models.neural_network import NeuralNetworkBuilder  # noqa: PLC0415 - as above

    bare = copy.deepcopy(spec)
    network = getattr(bare, kind)
    loss = network.updateParams.lossLayers[0]
    trained = [layer.name for layer in network.layers if layer.isUpdatable]
    network.ClearField("updateParams")
    bare.description.ClearField("trainingInput")
    builder = NeuralNetworkBuilder(spec=bare)
    builder.make_updatable(trained)
    if loss.WhichOneof("LossLayerType") == "categoricalCrossEntropyLossLayer":
        builder.set_categorical_cross_entropy_loss(loss.name, loss.categoricalCrossEntropyLossLayer.input)
    else:
        _attach_squares(builder, loss, spec)
    return builder.spec


def _attach_squares(builder: Any, loss: Message, spec: Message) -> None:  # noqa: ANN401 - coremltools' builder
    """Attach the squared error; the builder wants the shape of its input, which the target's description has."""
    from coremltools.models import datatypes  # noqa: PLC0415 - as above

    ends = loss.meanSquaredErrorLossLayer
    shapes = {each.name: tuple(each.type.multiArrayType.shape) for each in spec.description.trainingInput}
    shape = shapes.get(ends.target) or (1,)
    builder.set_mean_squared_error_loss(loss.name, (ends.input, datatypes.Array(*shape)))


def _said(error: Exception) -> str:
    """Return an exception's words, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
