"""A network's front and an empty k-NN behind it; and what a k-NN has stored, removed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import more_models as more
import networks as n
from builders import dense_classifier, edited
from finetuned.errors import ModelError, ParameterError
from finetuned.parameters import Parameter
from finetuned.spec import author, check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import ArrayType, Model
from finetuned.update.predictor import Predictor
from shared import oracle, shared

V1, V2 = "MobileNetV1_0.25_128_int8.mlmodel", "MobileNetV2_1.0_224_int8.mlmodel"


def front(model: Model) -> Model:
    return model.models[0]


def stored(data: bytes) -> tuple[list[list[float]], list[str | int]]:
    model = codec.decode(data)
    found = (model.models[-1] if model.models else model).neighbors
    assert found is not None
    return found.numbers.reshape(-1, found.dimensions).tolist(), list(found.labels)


# ── the pipeline ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("name", "numbers"), [(V1, 256), (V2, 1280)])
def test_a_backbone_becomes_an_extractor_and_an_empty_classifier(name: str, numbers: int) -> None:
    model = codec.decode(author.nearest((shared("imagenet_backbone") / name).read_bytes()))
    assert check.reasons(model) == ()
    assert (model.kind, model.names) == ("pipelineClassifier", ("FeatureExtractor", "kNNClassifier"))
    (features,) = front(model).description.outputs
    assert (features.name, features.type) == ("flat", ArrayType(shape=(numbers,), dtype="FLOAT32"))
    description = model.description
    assert [feature.name for feature in description.inputs] == ["image"]
    assert [feature.name for feature in description.training_inputs] == ["image", "classLabel"]
    assert (description.predicted_feature, description.predicted_probabilities) == (
        "classLabel",
        "classLabelProbs",
    )


def test_the_pipeline_says_what_the_one_built_with_coremltools_says() -> None:
    """HandskNN was built from the same network with `KNearestNeighborsClassifierBuilder` and `PipelineClassifier`."""
    theirs = pb.Model.FromString(
        (shared("updatable_built") / "HandskNN_MobileNetV1_025_updatable.mlmodel").read_bytes()
    )
    plain = edited((shared("imagenet_backbone") / "MobileNetV1_0.25_128.mlmodel").read_bytes(), rename)
    vote = author.Vote(k=Parameter(default=3, minimum=1, maximum=10), default="???")
    ours = pb.Model.FromString(author.nearest(plain, at="gap", vote=vote))
    mine, built = (each.pipelineClassifier.pipeline for each in (ours, theirs))
    # Theirs ends in an identity that calls the features so; ours leaves out what does nothing.
    for each in (ours, theirs, mine.models[1], built.models[1]):
        each.description.ClearField("metadata")
    assert ours.description == theirs.description
    assert (list(mine.names), ours.specificationVersion) == (list(built.names), theirs.specificationVersion)
    assert mine.models[1].kNearestNeighborsClassifier == built.models[1].kNearestNeighborsClassifier
    assert mine.models[0].neuralNetwork.preprocessing == built.models[0].neuralNetwork.preprocessing
    assert list(mine.models[0].neuralNetwork.layers) == list(built.models[0].neuralNetwork.layers)[:-1]


def rename(message: pb.Model) -> None:
    """Call label and probabilities as that model does."""
    names = {"classLabel": "label", "classLabelProbs": "labelProbability"}
    description = message.description
    first, second = description.output
    first.name, second.name = names[first.name], names[second.name]
    description.output.reverse()
    description.predictedFeatureName, description.predictedProbabilitiesName = "label", "labelProbability"


@pytest.mark.filterwarnings("ignore")
def test_coremltools_loads_what_is_written() -> None:
    models = oracle("coremltools.models")
    spec = oracle("coremltools.proto.Model_pb2").Model.FromString(author.nearest(dense_classifier()))
    loaded = models.MLModel(spec, skip_model_load=True)
    assert [feature.name for feature in loaded.get_spec().description.trainingInput] == ["features", "label"]


def test_the_extractor_computes_what_the_network_computed_there() -> None:
    data = dense_classifier(inputs=4, hidden=8, labels=[7, 8, 9])
    model = codec.decode(author.nearest(data))
    x = n.numbers(5, 4)
    message = pb.Model.FromString(data)
    hidden = message.neuralNetworkClassifier.layers[0].innerProduct
    weights, bias = (
        np.frombuffer(hidden.weights.floatValue, "<f4").reshape(8, 4),
        np.frombuffer(hidden.bias.floatValue, "<f4"),
    )
    (found,) = Predictor(front(model)).outputs({"features": x}).values()
    np.testing.assert_allclose(found.reshape(5, 8), np.maximum(x @ weights.T + bias, 0), rtol=1e-5, atol=1e-6)
    # It is a network like any other: nothing of its training is left, and its labels' kind is the classifier's.
    assert not front(model).updatable
    assert front(model).network is not None
    assert [layer.updatable for layer in front(model).network.layers] == [False, False]  # type: ignore[union-attr]
    knn = model.models[1].neighbors
    assert knn is not None
    assert (knn.default_label, knn.label_kind) == (-1, "int64")


def test_a_cut_through_a_picture_is_flattened_and_what_only_later_layers_need_is_gone() -> None:
    layers = [n.convolution(2, 1, kernel=(2, 2)), n.flatten(), n.dense(3, 8), n.add("l2", "y"), n.dense(2, 3)]
    message = n.network(layers, (1, 3, 3))
    n.array_feature(message.description.input.add(name="y"), (3,))
    model = codec.decode(author.front(message.SerializeToString(), "l0"))
    assert [feature.name for feature in model.description.inputs] == ["x"]
    assert model.network is not None
    assert [layer.type for layer in model.network.layers] == ["convolution", "flatten"]
    assert model.description.outputs[0].type == ArrayType(shape=(8,), dtype="FLOAT32")
    # What an addition makes is not followed without running the network.
    with pytest.raises(ModelError, match="say its dimensions"):
        author.nearest(message.SerializeToString())
    assert codec.decode(author.nearest(message.SerializeToString(), dimensions=3)).updatable


def test_a_cut_that_is_none_is_refused() -> None:
    data = dense_classifier(hidden=0)
    with pytest.raises(
        ModelError, match=r"takes the input 'features' as it is: nothing before it makes features"
    ):
        author.nearest(data)
    with pytest.raises(ModelError, match="no layer 'pool'; the last ones are 'softmax', 'output'"):
        author.nearest(data, at="pool")


def test_an_input_as_it_is_can_be_what_the_neighbours_are_near_in() -> None:
    image = dense_classifier(image=author.ImageInput(width=3, height=2, scale=0.5))
    extractor = front(codec.decode(author.nearest(image, at="image")))
    pixels = np.random.default_rng(0).integers(0, 255, (2, 1, 2, 3), np.uint8)
    (found,) = Predictor(extractor).outputs({"image": pixels}).values()
    np.testing.assert_array_equal(found.reshape(2, 6), pixels.reshape(2, 6) * np.float32(0.5))


@pytest.mark.parametrize(("vote", "complaint"), [
    (author.Vote(k=0), "numberOfNeighbors"),
    (author.Vote(k=Parameter(default=3, allowed=(1, 5))), "not found in the allowed values set"),
    (author.Vote(weighting="none"), "no weighting 'none'; uniform and inverse are there"),
    (author.Vote(index="ball"), "no index 'ball'"),
    (author.Vote(leaf_size=9), "a linear index has no leaves"),
    (author.Vote(leaf_size=1 << 31, index="kd-tree"), "leaves of 2147483648 samples cannot be; 1 to 2147483647"),
    (author.Vote(labels="float"), "no labels of the kind 'float'"),
    (author.Vote(labels="int64", default="none"), "'none' is no whole number"),
])  # fmt: skip
def test_a_vote_that_there_is_not_is_refused(vote: author.Vote, complaint: str) -> None:
    with pytest.raises((ModelError, ParameterError), match=complaint):
        author.nearest(dense_classifier(), vote=vote)


# ── what is stored ──────────────────────────────────────────────────────────────────────────────
BARE = more.neighbors(("a", "b", "a", "c"))


@pytest.mark.parametrize("message", [BARE, more.pipeline(more.front(), BARE)])
def test_samples_and_labels_are_removed_and_nothing_else(message: pb.Model) -> None:
    data = message.SerializeToString()
    samples, labels = stored(data)
    assert stored(author.without_samples(data, [3, 1])) == ([samples[0], samples[2]], ["a", "a"])
    assert stored(author.without_label(data, "a")) == ([samples[1], samples[3]], ["b", "c"])
    emptied = author.emptied(data)
    assert stored(emptied) == ([], [])
    refilled = pb.Model.FromString(emptied)
    knn = (
        refilled.pipelineClassifier.pipeline.models[-1]
        if refilled.HasField("pipelineClassifier")
        else refilled
    )
    knn.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples.extend(
        BARE.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples
    )
    knn.kNearestNeighborsClassifier.stringClassLabels.vector.extend(map(str, labels))
    assert refilled == message
    assert labels == ["a", "b", "a", "c"]


def test_removing_what_is_not_there_is_refused() -> None:
    data = BARE.SerializeToString()
    with pytest.raises(ModelError, match=r"no samples at \[-1, 4\]; 0 to 3 are there"):
        author.without_samples(data, [4, -1, 2])
    with pytest.raises(ModelError, match="no sample labelled 'd'; it has samples of 'a', 'b', 'c'"):
        author.without_label(data, "d")
    with pytest.raises(ModelError, match="a neuralNetworkClassifier stores no samples"):
        author.emptied(dense_classifier())


def test_a_classifier_without_a_default_label_is_not_emptied() -> None:
    data = edited(
        BARE.SerializeToString(), lambda m: m.kNearestNeighborsClassifier.ClearField("defaultStringLabel")
    )
    with pytest.raises(ModelError, match="neither class labels nor a default label"):
        author.emptied(data)
    assert stored(author.emptied(author.voting(data, default="nobody"))) == ([], [])


def test_how_it_votes_can_be_changed() -> None:
    data = author.voting(
        BARE.SerializeToString(), weighting="inverse", index="kd-tree", leaf_size=7, default="x"
    )
    data = author.with_parameters(data, {"numberOfNeighbors": Parameter(default=2, allowed=(1, 2))})
    found: Any = codec.decode(data).neighbors
    assert (found.weighting, found.index, found.leaf_size) == (
        "inverseDistanceWeighting",
        "singleKdTreeIndex",
        7,
    )
    assert (found.default_label, found.number_of_neighbors) == ("x", Parameter(default=2, allowed=(1, 2)))
