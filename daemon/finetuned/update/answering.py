"""How a model of each kind answers: a network by its program, nearest neighbours by votes, a pipeline by one of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from finetuned.errors import ModelError, ParameterError
from finetuned.graph.program import compile_inference, network_of
from finetuned.spec import check
from finetuned.spec.model import ArrayType
from finetuned.update.front import Front, staged
from finetuned.update.parameters import neighbors_of, resolved
from finetuned.update.session import Session
from finetuned.update.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.spec.model import Feature, Model
    from finetuned.update.features import Array


class Answering(Protocol):
    """A model that is ready to be run; what goes in was checked."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it needs."""

    @property
    def labels(self) -> tuple[str | int, ...]:
        """A classifier's labels."""

    def outputs(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        """Return the outputs by name, float32 [N, …]; a classifier has one, its probabilities."""

    def answers(self, inputs: Mapping[str, Array], /) -> tuple[Array, Array]:
        """Return a classifier's answers, int64 [N], and its probabilities, float32 [N, labels]."""


def answering(model: Model, parameters: Mapping[str, object], *, threads: int = 1) -> Answering:
    """Return the model ready to be run.

    Raises:
        ModelError: it cannot be run; the message says why.
        ParameterError: it has no such parameter to be run with, or does not allow the value.
    """
    if model.learner.neighbors is not None:
        count = int(resolved(model, parameters).get("numberOfNeighbors", 0))
    elif parameters:
        raise ParameterError(
            f"a {model.kind} has no parameter {next(iter(parameters))!r} to be run with; nearest neighbours have numberOfNeighbors"
        )
    else:
        count = 0
    return _answering(model, count, threads)


def _answering(model: Model, count: int, threads: int) -> Answering:
    if model.models:
        return _Judged(model, count, threads) if label_of(model) else _Run(model, threads)
    return _Voting(model, count, threads) if model.neighbors is not None else _Network(model, threads)


class _Network:
    """A compiled network."""

    def __init__(self, model: Model, threads: int) -> None:
        self.labels = network_of(model).class_labels
        self._session = Session(compile_inference(model), threads=threads)
        self.inputs = tuple(self._session.program.inputs)

    def outputs(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        return self._session.run(inputs)

    def answers(self, inputs: Mapping[str, Array], /) -> tuple[Array, Array]:
        (array,) = self.outputs(inputs).values()
        shares = array.reshape(len(array), -1)
        return shares.argmax(axis=1), shares


class _Voting:
    """Nearest neighbours."""

    def __init__(self, model: Model, count: int, threads: int) -> None:
        if broken := check.faults(model):
            raise ModelError(f"the model cannot be run: {broken[0].message}")
        found = neighbors_of(model)
        self._stored = Stored(found, count, threads=threads)
        if found.default_label is not None and not len(self._stored):
            self._stored.classes_of([found.default_label])
        self.labels = self._stored.labels
        self.inputs = tuple(feature.name for feature in model.description.inputs)
        self._name = _name_of_shares(model)

    def outputs(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        return {self._name: self.answers(inputs)[1]}

    def answers(self, inputs: Mapping[str, Array], /) -> tuple[Array, Array]:
        (array,) = inputs.values()
        said, shares = self._stored.answer(array.reshape(len(array), -1))
        return said, shares.astype(np.float32)


class _Judged:
    """A pipeline that classifies: one of its models says the label, those before it make what that takes in."""

    def __init__(self, model: Model, count: int, threads: int) -> None:
        label = label_of(model)
        place, judge = next(
            (place, inner)
            for place, inner in reversed(list(enumerate(model.models)))
            if label_of(inner) == label
        )
        self._judge = _answering(judge, count, threads)
        self._wanted = tuple(f for f in judge.description.inputs if f.name in self._judge.inputs)
        stages, self.inputs = staged(model, place, self._wanted)
        self._front = Front(stages, threads=threads)
        self.labels = self._judge.labels
        self._name = _name_of_shares(model)

    def outputs(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        return {self._name: self.answers(inputs)[1]}

    def answers(self, inputs: Mapping[str, Array], /) -> tuple[Array, Array]:
        blobs = self._front.run(inputs)
        return self._judge.answers({feature.name: blobs[feature.name] for feature in self._wanted})


class _Run:
    """A pipeline that makes arrays."""

    labels: tuple[str, ...] = ()

    def __init__(self, model: Model, threads: int) -> None:
        outputs = model.description.outputs
        self._wanted: tuple[Feature, ...] = tuple(f for f in outputs if isinstance(f.type, ArrayType))
        if not self._wanted:
            raise ModelError("none of the pipeline's outputs is a label or a multi-array")
        stages, self.inputs = staged(model, len(model.models), self._wanted)
        self._front = Front(stages, threads=threads)

    def outputs(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        blobs = self._front.run(inputs)
        return {feature.name: blobs[feature.name] for feature in self._wanted}

    def answers(self, inputs: Mapping[str, Array], /) -> tuple[Array, Array]:
        raise ModelError(f"the model makes {', '.join(self.outputs(inputs))}, and no label")


def label_of(model: Model) -> str:
    """Return the output that is a classifier's label, "" of any other model; a pipeline's is that of one of its models."""
    if model.models:
        declared = {feature.name for feature in model.description.outputs}
        return next((name for each in reversed(model.models) if (name := label_of(each)) in declared), "")
    classifies = model.neighbors is not None or (model.network is not None and model.network.class_labels)
    return model.description.predicted_feature if classifies else ""


def _name_of_shares(model: Model) -> str:
    description = model.description
    return description.predicted_probabilities or description.predicted_feature or "probabilities"
