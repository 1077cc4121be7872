"""One model file, read twice: what finetuned and what coremltools find in it, as tables that can be laid side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from finetuned import Model

# coremltools and its messages have no types.
Message = Any
View = dict[str, object]

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
NEIGHBORS = "kNearestNeighborsClassifier"
MOST_SHOWN = 120  # characters of a value
LABEL_KINDS = {"stringClassLabels": "string", "int64ClassLabels": "int64"}
SCALARS = {"int64Type": "int64", "doubleType": "double", "stringType": "string"}
KEYS = {"int64KeyType": "int64", "stringKeyType": "string"}


def differences(model: Model, spec: Message) -> Iterator[str]:
    """Say in what finetuned and coremltools read a file differently."""
    yield from compared(ours(model), theirs(spec), "coremltools")
    inner = inner_models(spec)
    for place, (mine, other) in enumerate(zip(model.models, inner, strict=False)):
        name = model.names[place] if place < len(model.names) else f"model{place}"
        for difference in differences(mine, other):
            yield f"in {name!r}: {difference}"


def compared(mine: View, other: View, who: str) -> Iterator[str]:
    """Name what differs between two views of a model."""
    for what, value in mine.items():
        if value != (found := other.get(what)):
            yield f"{what}: finetuned reads {_shown(value, found)}, {who} {_shown(found, value)}"


def _shown(value: object, other: object) -> str:
    """Show a value; of two tables only the first rows that differ."""
    if isinstance(value, tuple) and isinstance(other, tuple):
        if len(value) != len(other):
            return f"{len(value)} of them"
        value = next(mine for mine, theirs in zip(value, other, strict=True) if mine != theirs)
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


# ── what finetuned reads ────────────────────────────────────────────────────────────────────────
def ours(model: Model) -> View:
    """Return a model as finetuned reads it, without those inside of it."""
    description = model.description
    view: View = {
        "specification version": model.specification_version,
        "type": model.kind,
        "updatable": model.updatable,
        "inputs": _features(description.inputs),
        "outputs": _features(description.outputs),
        "training inputs": _features(description.training_inputs),
        "predicted feature": description.predicted_feature,
        "predicted probabilities": description.predicted_probabilities,
        "metadata": description.metadata,
        "number of models inside": len(model.models),
        "names of the models inside": tuple(model.names),
    }
    if model.network is not None:
        view |= _network(model)
    if model.neighbors is not None:
        found = asdict(model.neighbors)
        view |= {
            f"{word} of the nearest neighbours": found[word] for word in found.keys() - {"numbers", "lengths"}
        }
        view["samples"] = (tuple(found["lengths"].tolist()), found["numbers"].tobytes())
    return view


def _features(features: Iterable[Any]) -> tuple[object, ...]:
    return tuple((each.name, asdict(each.type), each.optional) for each in features)


def _network(model: Model) -> View:
    network: Any = model.network
    update = network.update
    return {
        "layers": tuple((layer.name, layer.type, layer.inputs, layer.outputs) for layer in network.layers),
        "updatable layers": tuple(layer.name for layer in network.layers if layer.updatable),
        "labels": tuple(network.class_labels),
        "losses": tuple((x.name, x.kind, x.input, x.target) for x in update.losses) if update else (),
        "optimizer": update.optimizer if update else "",
        "parameters": tuple(sorted((name, *asdict(row).values()) for name, row in update.parameters.items()))
        if update
        else (),
    }


# ── what coremltools reads ──────────────────────────────────────────────────────────────────────
def theirs(spec: Message) -> View:
    """Return the same of coremltools' message."""
    kind, description = spec.WhichOneof("Type"), spec.description
    view: View = {
        "specification version": spec.specificationVersion,
        "type": kind,
        "updatable": spec.isUpdatable,
        "inputs": _their_features(description.input),
        "outputs": _their_features(description.output),
        "training inputs": _their_features(description.trainingInput),
        "predicted feature": description.predictedFeatureName,
        "predicted probabilities": description.predictedProbabilitiesName,
        "metadata": _their_metadata(description.metadata),
        "number of models inside": len(inner_models(spec)),
        "names of the models inside": tuple(pipeline.names) if (pipeline := _pipeline(spec)) else (),
    }
    if kind in NETWORKS:
        view |= _their_network(getattr(spec, kind))
    if kind == NEIGHBORS:
        view |= _their_neighbors(spec.kNearestNeighborsClassifier)
    return view


def _pipeline(spec: Message) -> Message | None:
    kind = spec.WhichOneof("Type") or ""
    if not kind.startswith("pipeline"):
        return None
    return spec.pipeline if kind == "pipeline" else getattr(spec, kind).pipeline


def inner_models(spec: Message) -> list[Message]:
    """Return the models of a pipeline, of anything else none."""
    pipeline = _pipeline(spec)
    return list(pipeline.models) if pipeline else []


def _their_features(messages: Iterable[Message]) -> tuple[object, ...]:
    return tuple((each.name, _their_type(each.type), each.type.isOptional) for each in messages)


def _their_type(message: Message) -> Mapping[str, object]:
    kind = message.WhichOneof("Type")
    if kind in SCALARS:
        return {"kind": SCALARS[kind]}
    if kind == "imageType":
        image = message.imageType
        return {
            "width": image.width,
            "height": image.height,
            "color": _enum(image, "colorSpace"),
        }
    if kind == "multiArrayType":
        array = message.multiArrayType
        return {"shape": tuple(array.shape), "dtype": _enum(array, "dataType")}
    if kind == "dictionaryType" and (key := message.dictionaryType.WhichOneof("KeyType")):
        return {"key": KEYS[key]}
    return {"kind": kind or "none"}


def _enum(message: Message, field: str) -> str:
    """Return the name of a field's value, its number where it has none."""
    value = getattr(message, field)
    found = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(value)
    return found.name if found else str(value)


def _their_metadata(message: Message) -> dict[str, str]:
    fields = ("shortDescription", "versionString", "author", "license")
    return {name: getattr(message, name) for name in fields if getattr(message, name)} | dict(
        message.userDefined
    )


def _their_network(network: Message) -> View:
    update = network.updateParams
    optimizer = update.optimizer.WhichOneof("OptimizerType") or ""
    rows = list(getattr(update.optimizer, optimizer).ListFields()) if optimizer else []
    rows += [
        (field, value) for field, value in update.ListFields() if field.name in {"epochs", "shuffle", "seed"}
    ]
    labels = network.WhichOneof("ClassLabels") if "ClassLabels" in network.DESCRIPTOR.oneofs_by_name else None
    return {
        "layers": tuple(
            (each.name, each.WhichOneof("layer") or "unknown", tuple(each.input), tuple(each.output))
            for each in network.layers
        ),
        "updatable layers": tuple(each.name for each in network.layers if each.isUpdatable),
        "labels": tuple(getattr(network, labels).vector) if labels else (),
        "losses": tuple(_their_loss(loss) for loss in update.lossLayers),
        "optimizer": optimizer,
        "parameters": tuple(sorted((field.name, *_their_parameter(value)) for field, value in rows)),
    }


def _their_loss(loss: Message) -> tuple[str, str, str, str]:
    kind = loss.WhichOneof("LossLayerType")
    if kind is None:
        return (loss.name, "", "", "")
    ends = getattr(loss, kind)
    return (loss.name, kind, ends.input, ends.target)


def _their_parameter(message: Message) -> tuple[object, ...]:
    """Return default, minimum, maximum and set, as `Parameter` has them."""
    oneof = "AllowedValues" in message.DESCRIPTOR.oneofs_by_name
    allowed = message.WhichOneof("AllowedValues") if oneof else None
    limits = (message.range.minValue, message.range.maxValue) if allowed == "range" else (None, None)
    return (message.defaultValue, *limits, tuple(message.set.values) if allowed == "set" else None)


def _their_neighbors(message: Message) -> View:
    import numpy as np  # noqa: PLC0415 - this process alone pays for it

    index = message.nearestNeighborsIndex
    labels, default = message.WhichOneof("ClassLabels"), message.WhichOneof("DefaultClassLabel")
    number = message.numberOfNeighbors
    names = ("default", "minimum", "maximum", "allowed")
    found: View = {
        "dimensions": index.numberOfDimensions,
        "labels": tuple(getattr(message, labels).vector) if labels else (),
        "label_kind": LABEL_KINDS[labels] if labels else "",
        "default_label": getattr(message, default) if default else None,
        "number_of_neighbors": dict(zip(names, _their_parameter(number), strict=True))
        if message.HasField("numberOfNeighbors")
        else None,
        "index": index.WhichOneof("IndexType") or "",
        "leaf_size": index.singleKdTreeIndex.leafSize,
        "distance": index.WhichOneof("DistanceFunction") or "",
        "weighting": message.WhichOneof("WeightingScheme") or "",
    }
    view: View = {f"{word} of the nearest neighbours": value for word, value in found.items()}
    rows = [np.array(sample.vector, "<f4") for sample in index.floatSamples]
    view["samples"] = (tuple(len(row) for row in rows), b"".join(row.tobytes() for row in rows))
    return view
