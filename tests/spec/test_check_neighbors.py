"""COREML.md §4: what `check` says of k-nearest neighbours, a row a rule."""

from __future__ import annotations

import pytest

from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from more_models import neighbors, with_nan
from shared import shared
from spec.row import Row, assign, judge, reasons


def knn(model: pb.Model) -> pb.KNearestNeighborsClassifier:
    return model.kNearestNeighborsClassifier


def index(model: pb.Model) -> pb.NearestNeighborsIndex:
    return knn(model).nearestNeighborsIndex


def int_labels(model: pb.Model) -> None:
    """Give integer labels, where everything else is for strings."""
    count = len(knn(model).stringClassLabels.vector)
    knn(model).int64ClassLabels.vector.extend(range(count))


def int_labels_alone(model: pb.Model) -> None:
    """Give integer labels and default label; the output stays a string."""
    int_labels(model)
    knn(model).defaultInt64Label = 7
    model.description.trainingInput[1].type.int64Type.SetInParent()


def tree(leaf_size: int) -> pb.SingleKdTreeIndex:
    return pb.SingleKdTreeIndex(leafSize=leaf_size)


def choose_set(model: pb.Model, *values: int) -> None:
    knn(model).numberOfNeighbors.set.values.extend(values)


def second_input(model: pb.Model) -> None:
    feature = model.description.input.add(name="more")
    feature.CopyFrom(model.description.input[0])
    feature.name = "more"


def image_input(model: pb.Model) -> None:
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        image = feature.type.imageType
        assign(image, width=2, height=2, colorSpace=pb.ImageFeatureType.GRAYSCALE)


def optional_input(model: pb.Model) -> None:
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        feature.type.isOptional = True


def reshape_input(model: pb.Model) -> None:
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        feature.type.multiArrayType.shape[:] = [5]


def forget_labels(model: pb.Model) -> None:
    knn(model).ClearField("ClassLabels")
    knn(model).ClearField("DefaultClassLabel")
    index(model).ClearField("floatSamples")


ROWS = [
    Row(rule="samples", change=lambda m: knn(m).stringClassLabels.vector.append("c"), words=("4 labels for 3 samples",)),
    Row(rule="samples", change=lambda m: index(m).ClearField("floatSamples"), words=("no data points, and 3 labels",)),
    Row(rule="samples", change=lambda m: knn(m).ClearField("ClassLabels"), words=("0 labels for 3 samples",)),
    Row(rule="samples", change=lambda m: assign(index(m).floatSamples[1], vector=bytes(12)), words=("1 of the 3 samples", "sample 1 has 3 numbers", "numberOfDimensions (4)")),
    Row(rule="samples", change=lambda m: assign(index(m).floatSamples[2], vector=b""), words=("sample 2 has 0 numbers",)),
    Row(rule="notFinite", change=with_nan, words=("4 of the 12 stored numbers are NaN",), apple="accepts"),
    Row(rule="index", change=lambda m: index(m).ClearField("IndexType"), words=("no index type", "linearIndex and singleKdTreeIndex")),
    Row(rule="index", change=lambda m: index(m).singleKdTreeIndex.SetInParent(), words=("leafSize is 0",)),
    Row(rule="index", change=lambda m: index(m).singleKdTreeIndex.CopyFrom(tree(-3)), words=("leafSize is -3", "must be positive")),
    Row(rule="index", change=lambda m: index(m).ClearField("DistanceFunction"), words=("no distance function", "squaredEuclideanDistance")),
    Row(rule="index", change=lambda m: knn(m).ClearField("WeightingScheme"), words=("no weighting scheme", "uniformWeighting", "inverseDistanceWeighting")),
    Row(rule="parameterMissing", change=lambda m: knn(m).ClearField("numberOfNeighbors"), words=("numberOfNeighbors is missing",)),
    Row(rule="parameterValue", change=lambda m: assign(knn(m).numberOfNeighbors, defaultValue=0), words=("numberOfNeighbors is expected to be positive",)),
    Row(rule="parameterValue", change=lambda m: assign(knn(m).numberOfNeighbors, defaultValue=1001), words=("(1001) is out of the allowed value range 1 to 1000 for numberOfNeighbors",)),
    Row(rule="parameterValue", change=lambda m: assign(knn(m).numberOfNeighbors.range, minValue=0), words=("its range holds 0",)),
    Row(rule="parameterValue", change=lambda m: choose_set(m, 1, 5), words=("(3) is not found in the allowed values set [1, 5]",)),
    Row(rule="parameterValue", change=lambda m: choose_set(m, 3, -1), words=("its set holds -1",), apple="accepts"),
    Row(rule="labels", change=lambda m: assign(knn(m), defaultInt64Label=7), words=("of type string, the default label is of type int64",)),
    Row(rule="labels", change=forget_labels, words=("neither class labels nor a default label",)),
    Row(rule="predictedFeature", change=int_labels_alone, words=("'label' is of the type string; int64 is needed",)),
    Row(rule="predictedFeature", change=lambda m: assign(m.description, predictedProbabilitiesName="nowhere"), words=("'nowhere' are no output",)),
    Row(rule="predictedFeature", change=lambda m: m.description.output[1].type.stringType.SetInParent(), words=("'probabilities'", "a dictionary is needed")),
    Row(rule="predictedFeature", change=lambda m: m.description.ClearField("predictedFeatureName"), words=("names no predictedFeatureName",)),
    Row(rule="featureShape", change=reshape_input, words=("'embedding' has the shape [5]", "numberOfDimensions is 4"), apple="accepts"),
    Row(rule="featureShape", change=image_input, words=("is of the type image 2 × 2 GRAYSCALE; a MultiArray is needed",), apple="accepts"),
    Row(rule="featureShape", change=second_input, words=("has 2 inputs; it takes one",), apple="accepts"),
    Row(rule="optional", change=optional_input, words=("the input 'embedding' is optional",)),
    Row(rule="trainingInputs", change=lambda m: m.description.ClearField("trainingInput"), words=("the input 'embedding': there are none", "the label 'label'"), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(0), words=("the input 'embedding': they are 'label'",), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(1), words=("the label 'label'",), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput[1].type.int64Type.SetInParent(), words=("'label' is of the type int64, and the labels are string",), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput[0].type.stringType.SetInParent(), words=("'embedding' is of another type",), apple="accepts"),
    Row(rule="isUpdatable", change=lambda m: assign(m, isUpdatable=False), words=("not marked as updatable",), apple="accepts"),
    Row(rule="updatableVersion", change=lambda m: assign(m, specificationVersion=3), words=("is 3", "4 or above")),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_a_broken_rule_is_found_and_no_other(row: Row) -> None:
    judge(neighbors(), row)


def no_dimensions(model: pb.Model) -> None:
    index(model).numberOfDimensions = 0


def test_dimensions_that_cannot_be_are_found_with_what_follows_from_them() -> None:
    model = neighbors()
    index(model).numberOfDimensions = 0
    assert {reason.rule for reason in reasons(model)} == {"dimensions", "samples", "featureShape"}


def empty(model: pb.Model) -> None:
    knn(model).ClearField("ClassLabels")
    index(model).ClearField("floatSamples")


def without_default(model: pb.Model) -> None:
    knn(model).ClearField("DefaultClassLabel")


def a_tree_and_votes_by_distance(model: pb.Model) -> None:
    index(model).singleKdTreeIndex.leafSize = 30
    knn(model).inverseDistanceWeighting.SetInParent()


def array_probabilities(model: pb.Model) -> None:
    model.description.output[1].type.multiArrayType.dataType = pb.ArrayFeatureType.DOUBLE


@pytest.mark.parametrize(
    "change", [empty, without_default, a_tree_and_votes_by_distance, array_probabilities]
)
def test_a_sound_model_can_be_updated(change: object) -> None:
    model = neighbors()
    assert callable(change)
    change(model)
    assert check.reasons(codec.decode(model.SerializeToString())) == ()


def test_apples_sample_of_an_empty_classifier_is_sound() -> None:
    drawing = codec.decode(shared("apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel").read_bytes())
    inner = drawing.models[-1]
    assert inner.neighbors is not None
    assert (inner.neighbors.default_label, len(inner.neighbors.lengths)) == ("unknown", 0)
