"""Updates of pipelines: the models before the last are run once, the last one learns as it would alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import networks as n
from finetuned.errors import ModelError, ParameterError, SampleError
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.metadata import BEYOND_COREML
from finetuned.spec.model import ImageType
from finetuned.update.events import EVERY_EVENT, ProgressHandlers
from finetuned.update.features import encoded
from finetuned.update.front import Front
from finetuned.update.parameters import ParameterKey
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from finetuned.update.updating import check_runs, updater
from more_models import DIMENSIONS, front, head, neighbors, nested, pipeline, taking_embedding
from shared import shared

X = n.numbers(12, 6, seed=3)
Y = n.numbers(12, 8, seed=3)
NAMES = ["a", "b", "c"] * 4
ASKED = {"learningRate": 0.1, "epochs": 3, "miniBatchSize": 5, "seed": 7}


def model(message: pb.Model) -> Any:  # noqa: ANN401 - Model
    return codec.decode(message.SerializeToString(deterministic=True))


def trained(data: bytes, arrays: dict[str, Any]) -> bytes:
    update = updater(codec.decode(data), ASKED, seed=0)
    list(update.steps(encoded(update, arrays)))
    return update.encode()


def last(message: pb.Model) -> pb.Model:
    while message.WhichOneof("Type") == "pipelineClassifier":
        message = message.pipelineClassifier.pipeline.models[-1]
    return message


def embeddings(x: Any) -> Any:  # noqa: ANN401 - an array
    return Predictor(model(front())).outputs({"x": x})["embedding"].reshape(len(x), -1)


CHAINS: dict[str, tuple[pb.Model, dict[str, Any], str]] = {
    "plain": (pipeline(), {"x": X}, "model1"),
    "named": (pipeline(names=("front", "kNN")), {"x": X}, "kNN"),
    "nested": (nested(), {"y": Y}, "model1.model1"),
    "nested and named": (nested("front", "inner"), {"y": Y}, "inner.inner"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_pipeline_learns_what_its_last_model_learns_from_the_features(name: str) -> None:
    message, inputs, _ = CHAINS[name]
    update = updater(model(message), {}, seed=0)
    assert update.inputs == tuple(inputs)
    data = encoded(update, {**inputs, "label": NAMES})
    list(update.steps(data))
    found = codec.decode(update.encode())
    alone = updater(model(neighbors()), {}, seed=0)
    list(alone.steps(encoded(alone, {"embedding": data.features[:], "label": NAMES})))
    assert last(pb.Model.FromString(found.data)) == pb.Model.FromString(alone.encode())
    assert check.reasons(found) == ()
    labels = [label for label, _ in Predictor(found, parameters={"numberOfNeighbors": 1}).classify(inputs)]
    assert labels == NAMES


def test_the_features_are_those_of_the_models_before() -> None:
    update = updater(model(pipeline()), {}, seed=0)
    assert (encoded(update, {"x": X, "label": NAMES}).features[:] == embeddings(X)).all()


@pytest.mark.parametrize("name", CHAINS)
def test_parameters_may_be_scoped_to_the_model_that_learns(name: str) -> None:
    message, _, scope = CHAINS[name]
    key = ParameterKey(f"{scope}.numberOfNeighbors")
    assert updater(model(message), {key: 7}, seed=0).parameters == {"numberOfNeighbors": 7}
    with pytest.raises(ParameterError, match="given twice"):
        updater(model(message), {key: 7, "numberOfNeighbors": 7}, seed=0)
    with pytest.raises(ParameterError, match=r"no parameter 'other\.numberOfNeighbors'"):
        updater(model(message), {"other.numberOfNeighbors": 7}, seed=0)


@pytest.mark.parametrize("deep", [False, True])
def test_a_network_at_the_end_is_trained_to_the_same_bytes_as_alone(*, deep: bool) -> None:
    message = nested(last=head()) if deep else pipeline(front(), head())
    inputs = {"y": Y} if deep else {"x": X}
    embedded = updater(model(nested() if deep else pipeline()), {}, seed=0)
    embedding = encoded(embedded, {**inputs, "label": NAMES}).features[:]
    found = trained(message.SerializeToString(deterministic=True), {**inputs, "label": NAMES})
    alone = trained(head().SerializeToString(deterministic=True), {"embedding": embedding, "label": NAMES})
    after = pb.Model.FromString(found)
    assert last(after) == pb.Model.FromString(alone)
    assert last(after) != last(message)
    last(after).CopyFrom(last(message))
    assert after == message


def test_a_network_at_the_end_may_leave_core_ml_where_it_is_asked_to() -> None:
    """A branch that adds the vector to what is made of it: its gradients meet at a merge, which Apple's validator refuses."""
    layers = [n.dense(4, 4, updatable=True), n.activation("tanh"), n.add("l1", "l0"), n.dense(3, 4, updatable=True), n.softmax()]  # fmt: skip
    end = taking_embedding(n.trainable(layers, (DIMENSIONS,)))
    message = pipeline(front(), end)
    inside = message.pipelineClassifier.pipeline.models
    message.pipeline.models.extend(inside[:])  # a network that is no classifier ends a plain pipeline
    with pytest.raises(ModelError, match=r"in 'model1': .*'l2', add.*--beyond-coreml"):
        updater(model(message), {}, seed=0)
    ends = []
    for each, arrays in ((message, {"x": X}), (end, {"embedding": embeddings(X)})):
        update = updater(model(each), ASKED, seed=0, beyond_coreml=True)
        list(update.steps(encoded(update, {**arrays, update.target: np.arange(12) % 3})))
        ends.append(pb.Model.FromString(update.encode()))
    whole, alone = ends
    said = whole.description.metadata.userDefined[BEYOND_COREML]
    assert said == alone.description.metadata.userDefined[BEYOND_COREML]
    assert whole.pipeline.models[-1].neuralNetwork == alone.neuralNetwork != end.neuralNetwork


def test_a_task_of_a_pipeline_goes_on_from_a_checkpoint_to_the_same_bytes() -> None:
    data = pipeline(front(), head()).SerializeToString()
    arrays = {"x": X, "label": NAMES}
    kept: list[bytes] = []
    heard = ProgressHandlers(
        for_events=EVERY_EVENT, progress=lambda context: kept.append(context.task.checkpoint())
    )
    whole = UpdateTask(data, arrays, parameters=ASKED, handlers=heard)
    whole.resume()
    again = UpdateTask(data, arrays, parameters=ASKED, resume_from=kept[4])
    again.resume()
    assert again.model.encode() == whole.model.encode()


# ── running ─────────────────────────────────────────────────────────────────────────────────────
def test_a_pipeline_of_networks_makes_what_they_make_one_after_the_other() -> None:
    first = front()
    second = taking_embedding(n.network([n.dense(2, DIMENSIONS)], (DIMENSIONS,)))
    message = pb.Model(specificationVersion=4)
    message.pipeline.models.extend([first, second])
    message.description.input.extend(first.description.input)
    message.description.output.extend(second.description.output)
    name = second.description.output[0].name
    expected = Predictor(model(second)).outputs({"embedding": embeddings(X)})[name]
    assert (Predictor(model(message)).outputs({"x": X})[name] == expected.reshape(12, -1)).all()
    with pytest.raises(ParameterError, match="no parameter 'numberOfNeighbors'"):
        Predictor(model(message), parameters={"numberOfNeighbors": 1})


def test_a_pipeline_that_is_not_updatable_still_answers() -> None:
    message = pipeline(updatable=False)
    last(message).isUpdatable = False
    assert Predictor(model(message)).probabilities({"x": X}).shape == (12, 2)
    with pytest.raises(ModelError, match="not marked as updatable"):
        updater(model(message), {}, seed=0)


def test_a_sample_of_which_a_model_makes_no_numbers_is_refused() -> None:
    update = updater(model(pipeline()), {}, seed=0)
    with pytest.raises(SampleError, match="'embedding' holds numbers that are infinite or NaN"):
        encoded(update, {"x": np.full_like(X, 3e38), "label": NAMES})


def image_between() -> pb.Model:
    message = pipeline()
    for feature in (message.pipelineClassifier.pipeline.models[0].description.output[0],):
        feature.type.imageType.width = feature.type.imageType.height = 2
        feature.type.imageType.colorSpace = pb.ImageFeatureType.GRAYSCALE
    return message


def test_an_image_from_model_to_model_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"'model0' hands on 'embedding', which is no multi-array.* no images"
    ):
        check_runs(model(image_between()))


def test_a_model_before_the_last_that_cannot_be_run_is_told_with_its_name() -> None:
    message = pipeline(names=("front", "kNN"))
    layer = message.pipelineClassifier.pipeline.models[0].neuralNetwork.layers[0]
    layer.ClearField("innerProduct")
    layer.erf.SetInParent() if hasattr(layer, "erf") else layer.softmaxND.SetInParent()
    with pytest.raises(ModelError, match="in 'front': "):
        check_runs(model(message))


@pytest.mark.parametrize("message", [pipeline(), nested(), front(), neighbors(), pipeline(front(), head())])
def test_what_can_be_run_is_not_refused(message: pb.Model) -> None:
    check_runs(model(message))


# ── real ones ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name",
    [
        "apple_updatable_drawing/UpdatableDrawingClassifier",
        "updatable_built/HandskNN_MobileNetV1_025_updatable",
        "updatable_built/HandskNN_MobileNetV2_int8_updatable",
    ],
)
def test_real_pipelines_learn_are_saved_and_learn_again(name: str) -> None:
    data = shared(f"{name}.mlmodel").read_bytes()
    found = codec.decode(data)
    feature = found.description.inputs[0]
    rng = np.random.default_rng(0)
    assert isinstance(feature.type, ImageType)
    pictures = rng.integers(256, size=(4, *feature.type.shape)).astype(np.uint8)
    labels = ["rock", "paper", "rock", "new"]
    once = learnt(learnt(data, pictures[:3], labels[:3]), pictures[3:], labels[3:])
    assert once == learnt(data, pictures, labels)
    answers = Predictor(codec.decode(once), parameters={"numberOfNeighbors": 1}).classify(
        {feature.name: pictures}
    )
    assert [label for label, _ in answers] == labels
    assert without_samples(once) == without_samples(data)


def without_samples(data: bytes) -> pb.Model:
    message = pb.Model.FromString(data)
    knn = last(message).kNearestNeighborsClassifier
    knn.ClearField("ClassLabels")
    knn.nearestNeighborsIndex.ClearField("floatSamples")
    return message


def learnt(data: bytes, pictures: Any, labels: list[str]) -> bytes:  # noqa: ANN401 - an array
    update = updater(codec.decode(data), {}, seed=0)
    list(update.steps(encoded(update, {update.inputs[0]: pictures, update.target: labels})))
    return update.encode()


def test_the_models_before_run_once_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = Front.run

    def counted(self: Front, inputs: Any) -> dict[str, Any]:  # noqa: ANN401 - arrays
        seen.append(len(inputs["x"]))
        return run(self, inputs)

    monkeypatch.setattr(Front, "run", counted)
    update = updater(model(pipeline()), {}, seed=0)
    data = encoded(update, {"x": X, "label": NAMES})
    list(update.steps(data))
    update.measure(data)
    assert seen == [1] * 12
