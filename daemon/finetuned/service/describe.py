"""What may be known of a model, as the JSON of `check` and of the ledger: from the values of spec to `ModelInfo`.

It runs in a worker or in a command, never in the daemon: reading a model means protobuf and NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.service.messages import FeatureInfo, InputSpec, LayerInfo, ModelInfo, ParameterInfo
from finetuned.spec import check
from finetuned.spec.model import (
    ArrayType,
    Convolution,
    DictionaryType,
    Feature,
    FeatureType,
    ImageType,
    InnerProduct,
    Layer,
    Model,
)
from finetuned.spec.rules.pipelines import scopes
from finetuned.update.features import target_name
from finetuned.update.parameters import allowed
from finetuned.update.updating import check_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.parameters import Parameter


_BEYOND = "; or train the model as it is, outside of Core ML, with --beyond-coreml (beyond_coreml in the configuration)"


def describe(model: Model, *, beyond_coreml: bool = False) -> ModelInfo:
    """Return everything that a person or the daemon may know of the model; nothing here raises on a bad one.

    `beyond_coreml`: what only Apple's validator forbids is no reason against an update, but told as a departure.
    """
    reasons = list(why_not(model, beyond_coreml=beyond_coreml))
    learner = model.learner
    neighbors = learner.neighbors
    update = learner.network.update if learner.network else None
    learnt = neighbors or update
    return ModelInfo(
        updatable=not reasons,
        kind=model.kind,
        specification_version=model.specification_version,
        reasons=tuple(reasons),
        departures=tuple(each.message for each in check.departures(learner)) if beyond_coreml else (),
        inputs=_features(model.description.inputs),
        outputs=_features(model.description.outputs),
        training_inputs=_features(model.description.training_inputs),
        layers=tuple(_layers(model)),
        samples=len(neighbors.lengths) if neighbors else None,
        dimensions=neighbors.dimensions if neighbors else None,
        models=_models(model),
        losses=tuple(
            {"name": x.name, "type": x.kind, "input": x.input, "target": x.target} for x in update.losses
        )
        if update
        else (),
        optimizer=update.optimizer if update else "",
        parameters={name: _parameter(row) for name, row in allowed(learnt).items()} if learnt else {},
        class_labels=known_labels(model),
        label_kind=_label_kind(model),
        open_labels=bool(new_labels(model)),
        metadata=dict(model.description.metadata),
        sample_inputs=sample_inputs(model),
        target=target_of(model) if not reasons else "",
    )


def why_not(model: Model, *, beyond_coreml: bool = False) -> tuple[str, ...]:
    """Return every reason why this model cannot be updated, each a sentence with its remedy.

    The rules come first; a model that breaks none is compiled, so that a layer which cannot be run is told now and
    not by the first task.
    """
    broken = check.reasons(model, beyond_coreml=beyond_coreml)
    if broken:
        way_out = "" if beyond_coreml or why_not(model, beyond_coreml=True) else _BEYOND
        return tuple(f"{reason.message}. {reason.remedy}{way_out}" for reason in broken)
    try:
        check_runs(model)
    except ModelError as error:
        return (str(error),)
    return ()


# ── rows ────────────────────────────────────────────────────────────────────────────────────────
def _features(features: tuple[Feature, ...]) -> tuple[FeatureInfo, ...]:
    return tuple(FeatureInfo(name=f.name, type=_in_words(f.type), shape=_shape(f.type)) for f in features)


def _in_words(type_: FeatureType) -> str:
    if isinstance(type_, ImageType):
        return f"image {type_.width} × {type_.height} {type_.color}"
    if isinstance(type_, ArrayType):
        return f"multiArray {' × '.join(map(str, type_.shape))} {type_.dtype}"
    if isinstance(type_, DictionaryType):
        return f"dictionary {type_.key} → double"
    return type_.kind


def _shape(type_: FeatureType) -> tuple[int, ...]:
    return type_.shape if isinstance(type_, (ImageType, ArrayType)) else ()


def _layers(model: Model, scope: str = "") -> Iterator[LayerInfo]:
    """Yield the layers; those of a pipeline's models are called as Core ML scopes names."""
    for layer in model.network.layers if model.network else ():
        yield LayerInfo(
            name=f"{scope}{layer.name}",
            type=layer.type,
            trainable=layer.updatable,
            parameters=_count(layer),
        )
    for row, inner in zip(_models(model), model.models, strict=True):
        yield from _layers(inner, f"{scope}{row['name']}.")


def _models(model: Model) -> tuple[dict[str, str], ...]:
    """Return a pipeline's models; one that has no name is called after its place."""
    pairs = zip(scopes(model), model.models, strict=True)
    return tuple({"name": name, "kind": inner.kind} for name, inner in pairs)


def known_labels(model: Model) -> tuple[str | int, ...]:
    """Return the labels, of a pipeline those of its last model; nearest neighbours have those of their samples."""
    learner = model.learner
    if learner.neighbors is not None:
        return tuple(dict.fromkeys(learner.neighbors.labels))
    return learner.network.class_labels if learner.network else ()


def new_labels(model: Model) -> str:
    """Return the kind of labels (`string`, `int64`) that the model takes beside those it knows; "": it takes none."""
    neighbors = model.learner.neighbors
    return neighbors.kind if neighbors is not None else ""


def _label_kind(model: Model) -> str:
    """Return the type of the labels, "" where there are none."""
    known = known_labels(model)
    return new_labels(model) or (("string" if isinstance(known[0], str) else "int64") if known else "")


def target_of(model: Model) -> str:
    """Return what the target is called: by the loss, or of a model that has none by its one label or output."""
    try:
        return target_name(model.learner)
    except ModelError:
        outputs = [feature.name for feature in model.description.outputs]
        return model.description.predicted_feature or (outputs[0] if len(outputs) == 1 else "")


def _count(layer: Layer) -> int:
    p = layer.parameters
    if isinstance(p, InnerProduct):
        return p.input_channels * p.output_channels + (p.output_channels if p.bias else 0)
    if isinstance(p, Convolution):
        kernel = p.kernel[0] * p.kernel[1] * p.kernel_channels * p.output_channels
        return kernel + (p.output_channels if p.bias else 0)
    return 0


def _parameter(row: Parameter) -> ParameterInfo:
    if row.allowed is not None:
        return ParameterInfo(default=row.default, set=row.allowed)
    if row.minimum is None or row.maximum is None:
        return ParameterInfo(default=row.default)
    return ParameterInfo(default=row.default, range=(row.minimum, row.maximum))


def sample_inputs(model: Model) -> tuple[InputSpec, ...]:
    """What a decoder makes of files for this model; inputs that no file can fill are left out."""
    specs = []
    for feature in model.description.inputs:
        if isinstance(feature.type, ImageType):
            specs.append(
                InputSpec(name=feature.name, shape=feature.type.shape, color=feature.type.color.value)
            )
        elif isinstance(feature.type, ArrayType):
            specs.append(InputSpec(name=feature.name, shape=feature.type.shape))
    return tuple(specs)
