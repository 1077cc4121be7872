"""Rules for the loss, its wiring, and the labels behind it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from finetuned.spec.names import listed, quoted
from finetuned.spec.rules.case import CROSS_ENTROPY, LOSSES, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.rules.case import Case


def loss_count(case: Case) -> Iterator[Reason]:
    """Exactly one loss (beyond Core ML: at least one), each of a known type."""
    found = len(case.update.losses)
    if not found or (found > 1 and not case.beyond_coreml):
        yield Reason(
            rule="lossCount",
            message=f"the model has {found} loss layers; exactly one is supported",
            remedy="keep one" if found else "add one, with finetuned author updatable",
        )
    for loss in case.update.losses:
        if loss.kind not in LOSSES:
            yield Reason(
                rule="lossType",
                layer=loss.name,
                message=f"the type of the loss {quoted(loss.name)} is not set or not known; {', '.join(LOSSES)} are",
                remedy="use one of these losses",
            )


def loss_input(case: Case) -> Iterator[Reason]:
    """Cross entropy stands directly on a softmax; the squared error on anything that a layer makes."""
    for loss in case.losses:
        producer = case.producers.get(loss.input)
        found = f"the layer {quoted(producer.name)} ({producer.type})" if producer else "no layer"
        is_softmax = producer is not None and producer.type == "softmax" and producer.outputs[0] == loss.input
        if producer is None or (loss.kind == CROSS_ENTROPY and not is_softmax):
            needed = "a softmax output" if loss.kind == CROSS_ENTROPY else "the output of a layer"
            yield Reason(
                rule="lossInput",
                layer=loss.name,
                message=f"the input {quoted(loss.input)} of the loss {quoted(loss.name)} is made by {found}; it must be {needed}",
                remedy="end the network with a softmax layer (not softmaxND) and feed the loss from it"
                if loss.kind == CROSS_ENTROPY
                else "feed the loss from the last layer",
            )


def loss_inputs(case: Case) -> Iterator[Reason]:
    """Each loss judges an output of its own."""
    for blob, count in Counter(loss.input for loss in case.losses).items():
        if count > 1:
            sharing = [loss.name for loss in case.losses if loss.input == blob]
            yield Reason(
                rule="lossInput",
                layer=sharing[1],
                message=f"the losses {listed(sharing)} share the input {quoted(blob)}; one loss an output is supported",
                remedy="keep one of them",
            )


def loss_target(case: Case) -> Iterator[Reason]:
    """The target comes from the training data, never from the network."""
    for loss in case.losses:
        if loss.target in case.producers:
            yield Reason(
                rule="lossTarget",
                layer=loss.name,
                message=f"the target {quoted(loss.target)} of the loss {quoted(loss.name)} is made by the layer "
                f"{quoted(case.producers[loss.target].name)}; it must come from the training data",
                remedy="give the target a name of its own and list it among the training inputs",
            )


def labels(case: Case) -> Iterator[Reason]:
    """A classifier has as many labels as its probabilities are wide, each once."""
    if not case.is_classifier:
        return
    found = case.network.class_labels
    if not found:
        yield Reason(
            rule="labels", message="the classifier has no class labels", remedy="list its class labels"
        )
    if len(set(found)) != len(found):
        yield Reason(
            rule="labels",
            message=f"{len(found) - len(set(found))} of the {len(found)} class labels are there twice",
            remedy="give every class a label of its own",
        )
    for blob in sorted(_probabilities(case)):
        extent = case.extents.get(blob)
        if found and extent is not None and extent.channels not in {None, len(found)}:
            yield Reason(
                rule="labels",
                message=f"the classifier has {len(found)} class labels, and {quoted(blob)} is {extent.channels} wide",
                remedy="list one label for each output of the softmax, in its order",
            )


def _probabilities(case: Case) -> set[str]:
    """Return the blobs that hold a probability for each label."""
    last = case.network.layers[-1].outputs[:1] if case.network.layers else ()
    blobs = {case.network.probability_layer} if case.network.probability_layer else set(last)
    return blobs | _judged_by_label(case)


def _judged_by_label(case: Case) -> set[str]:
    """Return the inputs of cross entropies: of several, those whose target is the classifier's label."""
    named = {feature.name for feature in case.model.description.training_inputs}
    entropies = [loss for loss in case.losses if loss.kind == CROSS_ENTROPY]
    return {loss.input for loss in entropies if len(case.losses) == 1 or loss.target not in named}
