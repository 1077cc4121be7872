"""The scale of pixels, said by the file: so that every run time, Core ML's too, sees the same numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from finetuned.errors import ModelError, ParameterError
from finetuned.spec.author.editing import Body, body, inside, opened, sealed
from finetuned.spec.names import quoted
from finetuned.spec.rules.case import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec import coreml_pb2 as pb


def scaled(data: bytes, scale: float) -> bytes:
    """Return the model whose networks see the pixels of its images multiplied by `scale` before all else.

    Each network that takes an image gets a scaler, or has the one that it has multiplied; biases stay.

    Raises:
        ParameterError: the scale is not a positive number, or what is there cannot be multiplied by it as a float32.
        ModelError: no network takes an image, or one subtracts a mean image from it, before which the format has no scale.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ParameterError(f"the pixel scale is {scale}; a positive number is allowed, 1/255 for instance")
    message = opened(data)
    found = list(_images(message))
    if not found:
        raise ModelError("no network of the model takes an image, so there are no pixels to scale")
    for network, names in found:
        for step in {_first(network, name) for name in names}:
            _multiply(network.preprocessing[step].scaler, scale)
    return sealed(message, data)


def _multiply(scaler: pb.NeuralNetworkImageScaler, scale: float) -> None:
    """Multiply what the file holds as a float32."""
    before = scaler.channelScale
    scaler.channelScale = before * scale
    if not (math.isfinite(scaler.channelScale) and scaler.channelScale):
        raise ParameterError(
            f"the pixel scale {scale:g} makes {scaler.channelScale:g} of the {before:g} that is there: the format's float32 needs a "
            "number that is neither zero nor infinite, 1/255 for instance"
        )


def _images(message: pb.Model) -> Iterator[tuple[Body, list[str]]]:
    """Yield each network that takes images, with their names."""
    for model in inside(message):
        yield from _images(model)
    names = [feature.name for feature in message.description.input if feature.type.HasField("imageType")]
    if names and message.WhichOneof("Type") in NETWORKS:
        yield body(message), names


def _first(network: Body, name: str) -> int:
    """Return the position of the scaler that an image goes through first, which is made where there is none.

    A step without a name is every image's.
    """
    for position, step in enumerate(network.preprocessing):
        if step.featureName in {"", name}:
            if step.HasField("scaler"):
                return position
            raise ModelError(
                f"the network subtracts a mean image from {quoted(name)}, and the format has no scale before it"
            )
    network.preprocessing.add(featureName=name).scaler.channelScale = 1.0
    return len(network.preprocessing) - 1
