"""Rules for pipelines (COREML.md §5): names, wiring, marks, and what a training sample must contain.

Each model inside is judged by itself, too: `finetuned.spec.check` does that.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from finetuned.spec.names import listed, quoted
from finetuned.spec.rules.case import NETWORKS, Reason
from finetuned.spec.rules.container import INSTEAD, UPDATABLE_KINDS
from finetuned.spec.rules.interface import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from finetuned.spec.model import Feature, Model


def scopes(model: Model) -> tuple[str, ...]:
    """Return what the models are called in scoped names: their names, or `model0`, `model1`, and so on."""
    if len(model.names) == len(model.models):
        return model.names
    return tuple(f"model{position}" for position in range(len(model.models)))


def models(model: Model) -> Iterator[Reason]:
    """A pipeline holds models; where it names them, each has a name of its own."""
    if not model.models:
        yield Reason(
            rule="pipelineEmpty",
            message="the pipeline is empty; it must contain one or more models",
            remedy="add models to it, the updatable one last",
        )
    if model.names and len(model.names) != len(model.models):
        yield _name(f"the pipeline has {len(model.names)} names for {len(model.models)} models")
    for name, count in Counter(model.names).items():
        if count > 1:
            yield _name(f"the pipeline's name {quoted(name)} stands for {count} models")


def _name(message: str) -> Reason:
    return Reason(
        rule="pipelineNames", message=message, remedy="give every model a name of its own, or none of them"
    )


def kinds(model: Model) -> Iterator[Reason]:
    """Only what finetuned can run may be inside: a reference to another file or to Apple's system cannot."""
    for scope, inner in zip(scopes(model), model.models, strict=True):
        if inner.kind not in UPDATABLE_KINDS:
            yield Reason(
                rule="modelType",
                layer=scope,
                message=f"the model {quoted(scope)} inside the pipeline is of type {inner.kind or 'unknown'}, "
                f"which finetuned cannot run; it runs {', '.join(sorted(NETWORKS))}",
                remedy=INSTEAD.get(inner.kind, "use a neural network in its place"),
            )


def wiring(model: Model) -> Iterator[Reason]:
    """Every model's inputs are found by name, of identical type, among the pipeline's inputs and earlier outputs."""
    known = {feature.name: feature for feature in model.description.inputs}
    for scope, inner in zip(scopes(model), model.models, strict=True):
        for feature in inner.description.inputs:
            yield from _found(
                f"the input {quoted(feature.name)} of the model {quoted(scope)}", scope, feature, known
            )
        known |= {feature.name: feature for feature in inner.description.outputs}
    for feature in model.description.outputs if model.models else ():
        yield from _found(f"the output {quoted(feature.name)} of the pipeline", "", feature, known)


def _found(what: str, scope: str, feature: Feature, known: dict[str, Feature]) -> Iterator[Reason]:
    found = known.get(feature.name)
    if found is None:
        yield _wire(scope, f"{what} is neither an input of the pipeline nor an output of a model before")
    elif found.type != feature.type:
        yield _wire(
            scope, f"{what} is of the type {in_words(feature)}, and what comes in is {in_words(found)}"
        )


def _wire(scope: str, message: str) -> Reason:
    return Reason(
        rule="pipelineWiring",
        layer=scope,
        message=message,
        remedy="models are wired by name: give both ends the same name and the same type",
    )


def marks(model: Model) -> Iterator[Reason]:
    """Only the last model may be updatable; in an updatable pipeline it must be, in any other none may."""
    last = len(model.models) - 1
    for position, (scope, inner) in enumerate(zip(scopes(model), model.models, strict=True)):
        if inner.updatable and not model.updatable:
            yield _mark(
                scope,
                f"the model {quoted(scope)} at position {position} is updatable inside a non-updatable pipeline",
                "mark the pipeline as updatable, too, or unmark the model",
            )
        elif inner.updatable and position < last:
            yield _mark(
                scope,
                "only the last model in a pipeline can be updatable, "
                f"and the model {quoted(scope)} at position {position} of {last + 1} is",
                "unmark it: it then stays as it is",
            )
        elif model.updatable and position == last and not inner.updatable:
            yield _mark(
                scope,
                f"the last model in an updatable pipeline, {quoted(scope)}, is not marked as updatable",
                "mark it (isUpdatable), or unmark the pipeline",
            )


def _mark(scope: str, message: str, remedy: str) -> Reason:
    return Reason(rule="pipelineMarks", layer=scope, message=message, remedy=remedy)


# ── training inputs ─────────────────────────────────────────────────────────────────────────────
def training_inputs(model: Model) -> Iterator[Reason]:
    """A sample of the pipeline holds what its models take in, and what the last one learns from besides."""
    if not model.updatable or not model.models or not model.models[-1].updatable:
        return
    given = {feature.name: feature for feature in model.description.training_inputs}
    if not given:
        yield _training("the pipeline has no training inputs")
        return
    scope, last = scopes(model)[-1], model.models[-1]
    before = model.models[:-1]
    made = {feature.name: feature for inner in before for feature in inner.description.outputs}
    for name, feature in _needed(before, last, made).items():
        found = given.get(name)
        if found is None:
            yield _training(
                f"{quoted(name)} is needed to train {quoted(scope)}; neither a model before it makes it, nor is it "
                f"among the training inputs ({listed(list(given))})"
            )
        elif found.type != feature.type:
            yield _training(
                f"the training input {quoted(name)} is of the type {in_words(found)}; {in_words(feature)} is needed"
            )


def _needed(before: Iterable[Model], last: Model, made: dict[str, Feature]) -> dict[str, Feature]:
    """Return what no model makes and a sample must have: inputs of the frozen models in use, and the last one's."""
    features = list(last.description.training_inputs)
    if any(feature.name in made for feature in features):
        features += [feature for inner in before for feature in inner.description.inputs]
    return {feature.name: feature for feature in features if feature.name not in made}


def _training(message: str) -> Reason:
    return Reason(
        rule="trainingInputs",
        message=message,
        remedy="list the pipeline's inputs and the last model's target in description.trainingInput",
    )
