"""`NetworkUpdateParameters` to values.  Nothing is judged here: a broken file decodes, `check` complains."""

from __future__ import annotations

from finetuned.parameters import Parameter
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import Loss, Update

NumberParameter = pb.Int64Parameter | pb.DoubleParameter


def update(message: pb.NetworkUpdateParameters) -> Update:
    """Return losses, optimizer and those parameters that the file has."""
    optimizer = message.optimizer.WhichOneof("OptimizerType") or ""
    parameters = _optimizer_parameters(getattr(message.optimizer, optimizer)) if optimizer else {}
    for name in ("epochs", "seed"):
        if message.HasField(name):
            parameters[name] = number(getattr(message, name))
    if message.HasField("shuffle"):
        parameters["shuffle"] = Parameter(default=message.shuffle.defaultValue)
    return Update(
        losses=tuple(_loss(loss) for loss in message.lossLayers),
        optimizer=optimizer,
        parameters=parameters,
    )


def _loss(message: pb.LossLayer) -> Loss:
    kind = message.WhichOneof("LossLayerType")
    if kind is None:
        return Loss(name=message.name, kind="", input="", target="")
    ends = getattr(message, kind)
    return Loss(name=message.name, kind=kind, input=ends.input, target=ends.target)


def _optimizer_parameters(message: pb.SGDOptimizer | pb.AdamOptimizer) -> dict[str, Parameter]:
    return {field.name: number(value) for field, value in message.ListFields()}


def number(message: NumberParameter) -> Parameter:
    """Return a number's default and what it may be set to."""
    match message.WhichOneof("AllowedValues"):
        case "range":
            limits = message.range
            return Parameter(default=message.defaultValue, minimum=limits.minValue, maximum=limits.maxValue)
        case "set" if isinstance(message, pb.Int64Parameter):
            return Parameter(default=message.defaultValue, allowed=tuple(message.set.values))
        case _:
            return Parameter(default=message.defaultValue)
