"""What coremltools itself refuses: its MLModel, its builder, what it saves."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned_plugins.coremltools_view import NETWORKS, compared, inner_models, ours, theirs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned import Model

# coremltools and its messages have no types.
Message = Any
VERSIONS = "_SPECIFICATION_VERSION_IOS_"
PREPARED = ("losses", "training inputs", "updatable layers")


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
    yield from _otherwise(theirs(spec), theirs(again))


def _otherwise(found: dict[str, object], made: dict[str, object]) -> Iterator[str]:
    """Compare as sets: the order of training inputs is free, and nobody need list all of them."""
    for what in PREPARED:
        there, wanted = _as_set(found[what]), _as_set(made[what])
        if missing := sorted(wanted - there):
            yield f"{what}: coremltools' builder would have made {', '.join(missing)} too"


def _as_set(rows: Any) -> set[str]:  # noqa: ANN401 - rows of any table
    return {_name(row) for row in rows}


def _name(row: object) -> str:
    """Return what a row is called: a loss by its kind, its input and its target, anything else by its name."""
    if not isinstance(row, tuple):
        return repr(row)
    return " of ".join(map(repr, row[1:3])) if isinstance(row[1], str) else repr(row[0])


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
