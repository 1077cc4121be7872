"""Parameters, pixels and metadata of a model that is there already."""

from __future__ import annotations

import numpy as np
import pytest

import more_models as more
import networks as n
from builders import dense_classifier, dense_regressor, edited
from finetuned.errors import ModelError, ParameterError
from finetuned.parameters import Parameter
from finetuned.spec import author, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.predictor import Predictor
from shared import shared

IMAGE = dense_classifier(image=author.ImageInput(width=3, height=3, scale=0.5, bias=0.25))


def test_a_parameter_gets_another_default_within_what_is_allowed() -> None:
    model = codec.decode(author.with_parameters(dense_classifier(), {"learningRate": 0.5, "seed": 3}))
    assert model.network is not None
    assert model.network.update is not None
    assert model.network.update.parameters["learningRate"] == Parameter(default=0.5, minimum=0, maximum=1)
    assert model.network.update.parameters["seed"] == Parameter(default=3)
    with pytest.raises(ModelError, match=r"default value \(2.0\) is out of the allowed value range"):
        author.with_parameters(dense_classifier(), {"learningRate": 2})


def test_a_model_that_is_not_updatable_has_no_parameters() -> None:
    plain = n.network([n.dense(2, 2)], (2,)).SerializeToString()
    with pytest.raises(ModelError, match="make it updatable first"):
        author.with_parameters(plain, {"epochs": 3})
    with pytest.raises(ParameterError, match="it has numberOfNeighbors"):
        author.with_parameters(more.neighbors().SerializeToString(), {"epochs": 3})


@pytest.mark.parametrize("name", ["numberOfNeighbors", "b.numberOfNeighbors"])
def test_in_a_pipeline_a_name_may_have_its_scope(name: str) -> None:
    data = more.pipeline(more.front(), more.neighbors(), names=["a", "b"]).SerializeToString()
    found = codec.decode(author.with_parameters(data, {name: 7})).learner.neighbors
    assert found is not None
    assert found.number_of_neighbors == Parameter(default=7, minimum=1, maximum=1000)
    with pytest.raises(ParameterError, match=r"no parameter 'a.numberOfNeighbors'"):
        author.with_parameters(data, {"a.numberOfNeighbors": 7})


# ── pixels ──────────────────────────────────────────────────────────────────────────────────────
def test_a_scaled_model_sees_what_the_other_sees_of_scaled_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 128, (4, 1, 3, 3), np.uint8)
    doubled = Predictor(codec.decode(author.scaled(IMAGE, 2.0))).probabilities({"image": pixels})
    np.testing.assert_array_equal(
        doubled, Predictor(codec.decode(IMAGE)).probabilities({"image": pixels * 2})
    )


def test_apples_drawings_are_scaled_by_the_file_and_by_a_scaler_that_it_did_not_have() -> None:
    data = (shared("apple_updatable_drawing") / "UpdatableDrawingClassifier.mlmodel").read_bytes()
    before, after = (codec.decode(each).models[0].network for each in (data, author.scaled(data, 1 / 255)))
    assert before is not None
    assert after is not None
    assert before.preprocessing == ()
    (step,) = after.preprocessing
    assert (step.feature, step.scale, step.gray_bias) == ("drawing", float(np.float32(1 / 255)), 0)


def two_images(message: pb.Model) -> None:
    """Add an image that the network looks at, and let its one scaler be of both."""
    second = message.description.input.add()
    second.CopyFrom(message.description.input[0])
    second.name = "mask"
    message.neuralNetworkClassifier.preprocessing[0].featureName = ""


def test_a_step_of_all_images_is_scaled_once() -> None:
    network = codec.decode(author.scaled(edited(IMAGE, two_images), 4.0)).network
    assert network is not None
    assert [step.scale for step in network.preprocessing] == [2.0]


def mean(message: pb.Model) -> None:
    message.neuralNetworkClassifier.preprocessing[0].meanImage.meanImage = bytes(36)


@pytest.mark.parametrize(("data", "scale", "complaint"), [
    (dense_classifier(), 2.0, "no network of the model takes an image"),
    (edited(IMAGE, mean), 2.0, "subtracts a mean image from 'image'"),
    (IMAGE, 0.0, "a positive number is allowed, 1/255"),
    (IMAGE, float("nan"), "a positive number"),
    (IMAGE, 1e300, r"the pixel scale 1e\+300 makes inf of the 0.5"),
    (IMAGE, 1e-300, "the pixel scale 1e-300 makes 0 of the 0.5"),
    (IMAGE, 1e-46, "the pixel scale 1e-46 makes 0 of the 0.5"),
])  # fmt: skip
def test_what_cannot_be_scaled_is_refused(data: bytes, scale: float, complaint: str) -> None:
    with pytest.raises((ModelError, ParameterError), match=complaint):
        author.scaled(data, scale)


# ── metadata ────────────────────────────────────────────────────────────────────────────────────
def test_metadata_is_set_kept_and_taken_away_and_nothing_else_changes() -> None:
    data = dense_regressor()
    said = author.described(data, {"author": "me", "license": "MIT", "made in": "Bern"})
    assert codec.decode(said).description.metadata == {"author": "me", "license": "MIT", "made in": "Bern"}
    more_said = author.described(said, {"versionString": "2", "made in": "", "author": ""})
    assert codec.decode(more_said).description.metadata == {"license": "MIT", "versionString": "2"}
    assert author.described(more_said, {"license": "", "versionString": ""}) == edited(
        data, lambda m: m.description.metadata.SetInParent()
    )
