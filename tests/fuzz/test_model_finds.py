"""What the fuzz of model files has found, each made by hand as small as it goes; it was mended where the sentence says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import networks as n
from fuzz.survival import endure

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec import coreml_pb2 as pb


def regressor() -> pb.Model:
    return n.trainable([n.dense(2, 2, updatable=True)], [2])


def losses_of_one_input(model: pb.Model) -> None:
    """The reason named all of them, at any length (`names.listed`)."""
    for number in range(100):
        loss = model.neuralNetwork.updateParams.lossLayers.add(name=f"{number} {'x' * 200}")
        loss.meanSquaredErrorLossLayer.input, loss.meanSquaredErrorLossLayer.target = "l0", n.TARGET


def very_many_allowed_values(model: pb.Model) -> None:
    """The reason told the whole set (`names.few`)."""
    model.neuralNetwork.updateParams.epochs.set.values.extend(range(1000, 9000))


def very_many_dimensions(model: pb.Model) -> None:
    """Their product took minutes (`features.MOST_DIMENSIONS`)."""
    model.description.input[0].type.multiArrayType.shape.extend([127] * 900_000)


def dimensions_without_a_size(model: pb.Model) -> None:
    """The reason told the whole shape (`names.few`)."""
    model.description.trainingInput[1].type.multiArrayType.shape.extend([(1 << 63) - 1] * 30)


@pytest.mark.parametrize(
    "find",
    [
        losses_of_one_input,
        very_many_allowed_values,
        very_many_dimensions,
        dimensions_without_a_size,
    ],
)
def test_a_find_is_told_at_once_and_in_a_short_sentence(find: Callable[[pb.Model], None]) -> None:
    model = regressor()
    find(model)
    endure(model.SerializeToString())
