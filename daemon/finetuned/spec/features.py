"""`ModelDescription` to values: inputs, outputs, training inputs, metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import (
    ArrayType,
    Color,
    Description,
    DictionaryType,
    Feature,
    FeatureType,
    ImageType,
    OtherType,
    ScalarType,
)
from finetuned.spec.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

SCALARS = {"int64Type": "int64", "doubleType": "double", "stringType": "string"}
MOST_DIMENSIONS = 32
KEYS = {"int64KeyType": "int64", "stringKeyType": "string"}


def description(message: pb.ModelDescription) -> Description:
    """Return the description; `metadata` joins Apple's four fields with the user's own."""
    return Description(
        inputs=_features(message.input),
        outputs=_features(message.output),
        training_inputs=_features(message.trainingInput),
        predicted_feature=message.predictedFeatureName,
        predicted_probabilities=message.predictedProbabilitiesName,
        metadata=_metadata(message.metadata),
    )


def _metadata(message: pb.Metadata) -> dict[str, str]:
    named = {
        "shortDescription": message.shortDescription,
        "versionString": message.versionString,
        "author": message.author,
        "license": message.license,
    }
    return {key: text for key, text in named.items() if text} | dict(message.userDefined)


def _features(messages: Iterable[pb.FeatureDescription]) -> tuple[Feature, ...]:
    return tuple(_feature(message) for message in messages)


def _feature(message: pb.FeatureDescription) -> Feature:
    """Return one feature; ModelError for more dimensions than anything has: their product alone would take a while."""
    dimensions = len(message.type.multiArrayType.shape)
    if dimensions > MOST_DIMENSIONS:
        raise ModelError(
            f"the feature {quoted(message.name)} has {dimensions} dimensions; {MOST_DIMENSIONS} are the most"
        )
    return Feature(name=message.name, type=_type(message.type), optional=message.type.isOptional)


def _type(message: pb.FeatureType) -> FeatureType:
    match message.WhichOneof("Type"):
        case ("int64Type" | "doubleType" | "stringType") as kind:
            return ScalarType(kind=SCALARS[kind])
        case "imageType":
            return _image(message.imageType)
        case "multiArrayType":
            return _array(message.multiArrayType)
        case "dictionaryType":
            kind = message.dictionaryType.WhichOneof("KeyType")
            return DictionaryType(key=KEYS[kind]) if kind else OtherType(kind="dictionaryType")
        case kind:
            return OtherType(kind=kind or "none")


def _image(message: pb.ImageFeatureType) -> FeatureType:
    names = pb.ImageFeatureType.ColorSpace.DESCRIPTOR.values_by_number
    color = names[message.colorSpace].name if message.colorSpace in names else str(message.colorSpace)
    if color not in set(Color):
        return OtherType(kind=f"imageType in {color}")
    return ImageType(width=message.width, height=message.height, color=Color(color))


def _array(message: pb.ArrayFeatureType) -> ArrayType:
    names = pb.ArrayFeatureType.ArrayDataType.DESCRIPTOR.values_by_number
    known = message.dataType in names
    return ArrayType(
        shape=tuple(message.shape),
        dtype=names[message.dataType].name if known else str(message.dataType),
    )
